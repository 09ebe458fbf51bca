//! Claims about power failures.
//!
//! What [`LogStore::write`](crate::LogStore::write) returned for is there afterwards. A group of writes that was under
//! way is there as a whole or not at all, however much of it has reached the disk: nobody was told of it.

use bytes::Bytes;

use super::{LogStoreFactory, Reached, entry, everything, position, put, recovered};
use crate::ids::LogIndex;
use crate::log_store::{LogStore, Write};

fn promise(id: u64, text: &'static str) -> Write {
    Write { hard_state: Some(Bytes::from_static(text.as_bytes())), ..put(id, []) }
}

/// A write that returned is durable: entries, hard state, removal, trim and restart.
pub fn what_was_written_survives_a_crash<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    let promise = Write { commit: Some(LogIndex(2)), ..promise(1, "promised") };
    store.write(&[promise, put(2, (1..=6).map(|index| entry(index, 1, "x")))]).expect("writes");
    store.write(&[Write { remove_from: Some(LogIndex(5)), ..put(3, []) }]).expect("writes");
    store.trim(position(2, 1)).expect("trims");
    factory.crash(store);

    let store = factory.open().expect("opens after a crash");
    let log = recovered(&store);
    assert_eq!(store.base(), position(2, 1));
    assert_eq!(log.hard_state.as_deref(), Some(&b"promised"[..]));
    assert_eq!(log.commit, LogIndex(2));
    assert_eq!(log.tail, [entry(3, 1, "x"), entry(4, 1, "x")]);
    store.restart_at(position(8, 2)).expect("restarts");
    factory.crash(store);

    let store = factory.open().expect("opens after a crash");
    assert_eq!(store.base(), position(8, 2));
    assert_eq!(everything(&store), []);
    assert_eq!(recovered(&store).hard_state.as_deref(), Some(&b"promised"[..]));
}

/// Of a removal, puts and a promise that belong together no part is ever seen alone.
pub fn a_write_under_way_is_all_there_or_not_at_all<F: LogStoreFactory>(factory: &mut F) {
    for (life, reached) in (1..).zip(Reached::ALL) {
        let store = factory.open().expect("opens");
        let old = (1..=40).map(|index| entry(index, life, "some bytes that are old"));
        store.write(&[promise(1, "old"), put(2, old.clone())]).expect("writes");
        let new = (31..=60).map(|index| entry(index, life + 9, "some bytes that are new"));
        let under_way =
            [promise(3, "new"), Write { remove_from: Some(LogIndex(21)), ..put(4, []) }, put(5, new.clone())];
        factory.crash_during(store, &under_way, reached);

        let store = factory.open().expect("opens after a crash");
        let before = (Some(Bytes::from_static(b"old")), old.collect::<Vec<_>>());
        let after = (Some(Bytes::from_static(b"new")), before.1[..20].iter().cloned().chain(new).collect());
        let found = (recovered(&store).hard_state, everything(&store));
        let whole = found == before || (reached == Reached::Everything && found == after);
        assert!(whole, "{reached:?} of a write left {:?} and {} entries", found.0, found.1.len());
        store.write(&[Write { remove_from: Some(LogIndex(1)), ..put(6, []) }]).expect("writes");
        factory.close(store);
    }
}

/// After a torn write the store goes on as if it had never begun, again and again.
pub fn a_torn_tail_is_cut_off_as_often_as_it_comes<F: LogStoreFactory>(factory: &mut F) {
    let mut expected = Vec::new();
    for life in 1..=6 {
        let store = factory.open().expect("opens after a torn write");
        assert_eq!(everything(&store), expected, "after {} torn writes", life - 1);
        expected.push(entry(life, 1, "kept"));
        store.write(&[put(1, expected.last().cloned())]).expect("writes");
        let reached = if life % 2 == 0 { Reached::FirstHalf } else { Reached::Garbled };
        factory.crash_during(store, &[put(2, [entry(life + 1, 1, "lost"), entry(100, 1, "lost")])], reached);
    }
}
