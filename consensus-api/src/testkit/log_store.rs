//! What every [`LogStore`] must do, as tests that any implementor can run.
//!
//! ```text
//!   LogStoreFactory (the implementor's) ── open ──▶ store ── close, crash, crash_during ──▶ what the disk keeps
//!           ▲                                                                                      │
//!           └──────────────────────────────────── open again ──────────────────────────────────────┘
//! ```
//!
//! One function is one claim and panics where it fails; [`run_all`] runs them all, each on a blank disk. The
//! [`random_life`] at the end runs a store against a plain map.

pub mod crashes;
pub mod random_life;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::ballot_runs::Run;
use crate::engine::LogPosition;
use crate::entry::{Blob, Entry, Payload, SharedEntry};
use crate::ids::{Ballot, EngineName, LogIndex, NodeId, RequestId, StoreId, WriteId};
use crate::log_store::{LogStore, RecoveredLog, Write};
use crate::membership::{Member, Membership};
use crate::time::LogTime;

/// More than any claim here writes.
const PLENTY_BYTES: usize = 1 << 20;

/// How much of a write reached the disk when the power failed in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// None of it.
    Nothing,
    /// The first half of its bytes; the file ends there.
    FirstHalf,
    /// As many bytes as were written, but the last half of them is not what was written.
    Garbled,
    /// All of it, though nobody was told.
    Everything,
}

impl Reached {
    /// Every case.
    pub const ALL: [Reached; 4] = [Reached::Nothing, Reached::FirstHalf, Reached::Garbled, Reached::Everything];
}

/// A disk that a store can be opened on, over and over. Blank when the factory is made.
pub trait LogStoreFactory {
    /// What is tested.
    type Store: LogStore;

    /// Opens the store as its last life left the disk.
    fn open(&mut self) -> Result<Self::Store, <Self::Store as LogStore>::Error>;

    /// Stops the store in good order.
    fn close(&mut self, store: Self::Store) {
        drop(store);
    }

    /// The power fails while nothing is under way.
    fn crash(&mut self, store: Self::Store);

    /// The power fails while these writes are under way as one group, and this much of them has reached the disk.
    fn crash_during(&mut self, store: Self::Store, writes: &[Write], reached: Reached);
}

/// Runs every claim on a disk of its own.
pub fn run_all<F: LogStoreFactory>(mut blank: impl FnMut() -> F) {
    let claims: [fn(&mut F); 18] = [
        a_blank_store_is_empty,
        reopening_gives_what_was_written,
        the_last_hard_state_wins,
        entries_come_in_any_order_and_leave_holes,
        an_entry_is_overwritten_under_any_ballot,
        removal_comes_before_the_puts_of_its_write,
        a_group_of_writes_happens_in_order,
        reads_end_at_their_bytes_but_give_at_least_one,
        recovery_bounds_the_tail_and_gives_all_memberships,
        recovery_gives_the_memberships_that_still_stand,
        the_commit_watermark_rides_along,
        trimming_moves_the_base,
        a_log_may_be_trimmed_past_its_end,
        restarting_keeps_the_hard_state,
        writes_are_numbered_anew_in_each_life,
        crashes::what_was_written_survives_a_crash,
        crashes::a_write_under_way_is_all_there_or_not_at_all,
        crashes::a_torn_tail_is_cut_off_as_often_as_it_comes,
    ];
    for claim in claims {
        claim(&mut blank());
    }
    for seed in 1..=3 {
        random_life::agrees_with_a_plain_map(&mut blank(), seed);
    }
}

/// An entry with a command of this text.
pub fn entry(index: u64, round: u64, text: &'static str) -> SharedEntry {
    let id = RequestId { origin: NodeId(1), boot: 1, sequence: index };
    with_payload(index, round, Payload::Command { id, data: Blob::from(text) })
}

fn with_payload(index: u64, round: u64, payload: Payload) -> SharedEntry {
    let ballot = Ballot::new(round, NodeId(7));
    Arc::new(Entry { index: LogIndex(index), ballot, log_time: LogTime { millis: 10 * index }, payload })
}

/// A write of these entries and nothing else.
pub fn put(id: u64, entries: impl IntoIterator<Item = SharedEntry>) -> Write {
    Write { id: WriteId(id), entries: entries.into_iter().collect(), ..Write::default() }
}

fn position(index: u64, round: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), ballot: Ballot::new(round, NodeId(7)) }
}

fn range(first: u64, last: u64) -> RangeInclusive<LogIndex> {
    LogIndex(first)..=LogIndex(last)
}

fn everything<S: LogStore>(store: &S) -> Vec<SharedEntry> {
    store.read(range(0, u64::MAX), PLENTY_BYTES).expect("reads")
}

fn indexes(entries: &[SharedEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index.0).collect()
}

fn recovered<S: LogStore>(store: &S) -> RecoveredLog {
    store.recover(PLENTY_BYTES).expect("recovers")
}

fn reopened<F: LogStoreFactory>(factory: &mut F, store: F::Store) -> F::Store {
    factory.close(store);
    factory.open().expect("opens again")
}

/// A disk that was never written has nothing to tell.
pub fn a_blank_store_is_empty<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    let log = recovered(&store);
    assert_eq!((log.hard_state, log.commit), (None, LogIndex::ZERO));
    assert_eq!((log.runs.first(), log.tail.len(), log.memberships.len()), (None, 0, 0));
    assert_eq!(store.base(), LogPosition::default());
    assert_eq!(everything(&store), []);
}

/// Entries of every kind and the hard state are the same in the next life.
pub fn reopening_gives_what_was_written<F: LogStoreFactory>(factory: &mut F) {
    let id = RequestId { origin: NodeId(3), boot: 9, sequence: u64::MAX };
    let member = Member { address: "[::1]:7001".into(), store: StoreId(u128::MAX) };
    let membership = Arc::new(Membership::of_voters([(NodeId(1), member)]));
    let entries = vec![
        with_payload(1, 1, Payload::Noop),
        with_payload(2, 1, Payload::Command { id, data: Blob::from(vec![0; 70_000]) }),
        with_payload(3, 1, Payload::Command { id, data: Blob::default() }),
        with_payload(4, 2, Payload::Membership { id, membership: membership.clone() }),
        with_payload(5, 2, Payload::Tick),
        with_payload(6, 2, Payload::StopSign { id, engine: EngineName::new("next"), membership }),
    ];
    let store = factory.open().expect("opens");
    let hard_state = Some(Bytes::from_static(b"promised"));
    store.write(&[Write { hard_state: hard_state.clone(), ..put(1, entries.clone()) }]).expect("writes");
    assert_eq!(everything(&store), entries);

    let store = reopened(factory, store);
    assert_eq!(everything(&store), entries);
    assert_eq!(recovered(&store).tail, entries);
    assert_eq!(recovered(&store).hard_state, hard_state);
}

/// The hard state is what the last write that had one said; a write without one leaves it.
pub fn the_last_hard_state_wins<F: LogStoreFactory>(factory: &mut F) {
    let says = |id, text: &'static str| Write { hard_state: Some(Bytes::from_static(text.as_bytes())), ..put(id, []) };
    let store = factory.open().expect("opens");
    store.write(&[says(1, "first"), says(2, "second")]).expect("writes");
    store.write(&[put(3, [entry(1, 1, "x")])]).expect("writes");
    assert_eq!(recovered(&store).hard_state.as_deref(), Some(&b"second"[..]));
    store.write(&[says(4, "")]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(recovered(&store).hard_state.as_deref(), Some(&b""[..]), "an empty hard state is not an absent one");
}

/// Slots are filled in any order, in one write or in several, and holes stay holes.
pub fn entries_come_in_any_order_and_leave_holes<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    store.write(&[put(1, [entry(9, 2, "i"), entry(4, 2, "d"), entry(8, 2, "h")])]).expect("writes");
    store.write(&[put(2, [entry(1, 1, "a")])]).expect("writes");
    assert_eq!(indexes(&everything(&store)), [1, 4, 8, 9]);
    assert_eq!(indexes(&store.read(range(2, 8), PLENTY_BYTES).expect("reads")), [4, 8]);
    assert_eq!(indexes(&store.read(range(5, 7), PLENTY_BYTES).expect("reads")), [0; 0]);

    let store = reopened(factory, store);
    let runs: Vec<Run> = recovered(&store).runs.iter_from(LogIndex::ZERO).collect();
    let run = |first, last, round| Run {
        first: LogIndex(first),
        last: LogIndex(last),
        ballot: Ballot::new(round, NodeId(7)),
    };
    assert_eq!(runs, [run(1, 1, 1), run(4, 4, 2), run(8, 9, 2)]);
}

/// A store never compares ballots: the last write of an index is what stands there, be its ballot higher or lower.
pub fn an_entry_is_overwritten_under_any_ballot<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    for (id, round) in [(1, 2), (2, 3), (3, 2), (4, 1)] {
        store.write(&[put(id, [entry(5, round, "rewritten")])]).expect("writes");
        assert_eq!(everything(&store), [entry(5, round, "rewritten")]);
    }
    let store = reopened(factory, store);
    assert_eq!(recovered(&store).runs.get(LogIndex(5)), Some(Ballot::new(1, NodeId(7))));
    assert_eq!(everything(&store), [entry(5, 1, "rewritten")]);
}

/// One write may cut the log and lengthen it again: what it puts stays, below and above the cut.
pub fn removal_comes_before_the_puts_of_its_write<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    store.write(&[put(1, (1..=6).map(|index| entry(index, 1, "old")))]).expect("writes");
    let cut = Write { remove_from: Some(LogIndex(4)), ..put(2, [entry(2, 2, "new"), entry(5, 2, "new")]) };
    store.write(&[cut]).expect("writes");
    let expected = [entry(1, 1, "old"), entry(2, 2, "new"), entry(3, 1, "old"), entry(5, 2, "new")];
    assert_eq!(everything(&store), expected);
    let store = reopened(factory, store);
    assert_eq!(everything(&store), expected);
    assert_eq!(recovered(&store).tail, expected);
}

/// Writes that are handed over together take effect one after the other.
pub fn a_group_of_writes_happens_in_order<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    let first = put(1, (1..=5).map(|index| entry(index, 1, "first")));
    let second = Write { remove_from: Some(LogIndex(3)), ..put(2, [entry(3, 2, "second")]) };
    let third = put(3, [entry(3, 1, "third"), entry(4, 1, "third")]);
    store.write(&[first, second, third]).expect("writes");
    store.write(&[]).expect("writes nothing");
    let expected = [entry(1, 1, "first"), entry(2, 1, "first"), entry(3, 1, "third"), entry(4, 1, "third")];
    assert_eq!(everything(&store), expected);
    let store = reopened(factory, store);
    assert_eq!(everything(&store), expected);
}

/// A read ends before the entry that would exceed its bytes, and yet gives one where there is one.
pub fn reads_end_at_their_bytes_but_give_at_least_one<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    store.write(&[put(1, (1..=9).map(|index| entry(index, 1, "twelve bytes")))]).expect("writes");
    let each = entry(1, 1, "twelve bytes").size_bytes();
    let read = |first, last, bytes_max| indexes(&store.read(range(first, last), bytes_max).expect("reads"));
    assert_eq!(read(2, 8, 3 * each), [2, 3, 4]);
    assert_eq!(read(2, 8, 4 * each - 1), [2, 3, 4]);
    assert_eq!(read(2, 3, 9 * each), [2, 3]);
    assert_eq!(read(2, 8, 0), [2]);
    assert_eq!(read(10, 20, 0), [0; 0]);
    assert_eq!(read(8, 2, PLENTY_BYTES), [0; 0], "a range that ends before it begins is empty");
}

/// The tail is the most recent entries that fit, at least one; memberships are given wherever they stand.
pub fn recovery_bounds_the_tail_and_gives_all_memberships<F: LogStoreFactory>(factory: &mut F) {
    let id = RequestId { origin: NodeId(1), boot: 1, sequence: 1 };
    let members = |node| {
        let member = Member { address: "host:1".into(), store: StoreId(5) };
        Arc::new(Membership::of_voters([(NodeId(node), member)]))
    };
    let store = factory.open().expect("opens");
    let mut entries: Vec<SharedEntry> = (1..=9).map(|index| entry(index, 1, "filler")).collect();
    entries[1] = with_payload(2, 1, Payload::Membership { id, membership: members(1) });
    entries[4] = with_payload(5, 1, Payload::StopSign { id, engine: EngineName::new("next"), membership: members(2) });
    store.write(&[put(1, entries)]).expect("writes");

    let store = reopened(factory, store);
    let each = entry(1, 1, "filler").size_bytes();
    let log = store.recover(2 * each).expect("recovers");
    assert_eq!(indexes(&log.tail), [8, 9]);
    assert_eq!(log.memberships, [(LogIndex(2), members(1)), (LogIndex(5), members(2))]);
    assert_eq!(indexes(&store.recover(0).expect("recovers").tail), [9]);
}

/// A membership goes with its entry: when that is removed, replaced or trimmed, and not otherwise.
pub fn recovery_gives_the_memberships_that_still_stand<F: LogStoreFactory>(factory: &mut F) {
    let members = |version| Arc::new(Membership { version, ..Membership::default() });
    let naming = |index, round, version| {
        let id = RequestId { origin: NodeId(1), boot: 1, sequence: index };
        with_payload(index, round, Payload::Membership { id, membership: members(version) })
    };
    let named = |log: RecoveredLog| -> Vec<(u64, u64)> {
        log.memberships.iter().map(|(index, members)| (index.0, members.version)).collect()
    };
    let store = factory.open().expect("opens");
    let filler = [1, 3, 4, 6].map(|index| entry(index, 1, "filler"));
    store.write(&[put(1, filler), put(2, [naming(2, 1, 1), naming(5, 1, 2), naming(7, 1, 3)])]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(named(recovered(&store)), [(2, 1), (5, 2), (7, 3)]);
    store.write(&[Write { remove_from: Some(LogIndex(6)), ..put(3, [naming(6, 2, 3)]) }]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(named(recovered(&store)), [(2, 1), (5, 2), (6, 3)]);
    store.write(&[put(4, [entry(5, 3, "another value was chosen")])]).expect("writes");
    store.trim(LogPosition { index: LogIndex(2), ballot: Ballot::new(1, NodeId(1)) }).expect("trims");
    let store = reopened(factory, store);
    assert_eq!(named(recovered(&store)), [(6, 3)]);
}

/// The commit index is the last one that came with a write.
pub fn the_commit_watermark_rides_along<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    let knows = |id, commit| Write { commit: Some(LogIndex(commit)), ..put(id, [entry(id, 1, "x")]) };
    store.write(&[knows(1, 0), knows(2, 1)]).expect("writes");
    store.write(&[put(3, [entry(3, 1, "x")])]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(recovered(&store).commit, LogIndex(1));
    store.write(&[knows(4, 3)]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(recovered(&store).commit, LogIndex(3));
}

/// What is trimmed is gone for good, and the base never goes back.
pub fn trimming_moves_the_base<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    store.write(&[put(1, (1..=6).map(|index| entry(index, 1, "x")))]).expect("writes");
    store.trim(position(2, 1)).expect("trims");
    store.trim(position(4, 1)).expect("trims");
    store.trim(position(3, 1)).expect("does nothing");
    assert_eq!(store.base(), position(4, 1));
    assert_eq!(indexes(&everything(&store)), [5, 6]);

    let store = reopened(factory, store);
    assert_eq!(store.base(), position(4, 1));
    let log = recovered(&store);
    assert_eq!((indexes(&log.tail), log.runs.first()), (vec![5, 6], Some(LogIndex(5))));
    store.write(&[put(1, [entry(7, 1, "x")])]).expect("writes");
    assert_eq!(indexes(&everything(&store)), [5, 6, 7]);
}

/// The tables may be ahead of the log: then the base goes beyond the last entry, and the log begins anew there.
pub fn a_log_may_be_trimmed_past_its_end<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    store.write(&[put(1, [entry(1, 1, "x"), entry(2, 1, "x"), entry(9, 2, "above")])]).expect("writes");
    store.trim(position(5, 2)).expect("trims");
    assert_eq!(indexes(&everything(&store)), [9], "what stands above a hole stays");
    store.trim(position(20, 2)).expect("trims");
    store.write(&[put(2, [entry(21, 3, "anew")])]).expect("writes");
    let store = reopened(factory, store);
    assert_eq!(store.base(), position(20, 2));
    assert_eq!(recovered(&store).tail, [entry(21, 3, "anew")]);
}

/// A snapshot takes the place of every entry, below and above its base; what was promised stays promised.
pub fn restarting_keeps_the_hard_state<F: LogStoreFactory>(factory: &mut F) {
    let store = factory.open().expect("opens");
    let hard_state = Some(Bytes::from_static(b"promised"));
    let old = (1..=9).map(|index| entry(index, 1, "old"));
    store.write(&[Write { hard_state: hard_state.clone(), ..put(1, old) }]).expect("writes");
    store.restart_at(position(5, 3)).expect("restarts");
    assert_eq!(store.base(), position(5, 3));
    assert_eq!(everything(&store), []);
    store.write(&[put(2, [entry(6, 3, "new")])]).expect("writes");

    let store = reopened(factory, store);
    let log = recovered(&store);
    assert_eq!(store.base(), position(5, 3));
    assert_eq!(log.hard_state, hard_state);
    assert_eq!(log.tail, [entry(6, 3, "new")]);
    assert_eq!(log.runs.last(), Some(LogIndex(6)));
}

/// [`WriteId`] is volatile: an engine begins at 1 in each life, and the store takes that as well as any other number.
pub fn writes_are_numbered_anew_in_each_life<F: LogStoreFactory>(factory: &mut F) {
    let mut expected = BTreeMap::new();
    for life in 1..=3 {
        let store = factory.open().expect("opens");
        for id in 1..=3 {
            let entry = entry(10 * life + id, life, "x");
            expected.insert(entry.index, entry.clone());
            store.write(&[put(id, [entry])]).expect("writes");
        }
        assert_eq!(everything(&store), expected.values().cloned().collect::<Vec<_>>());
        factory.close(store);
    }
}
