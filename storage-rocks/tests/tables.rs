//! The tables change in whole batches, and know which of them would survive.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;

use bytes::Bytes;
use common::Disk;
use consensus_api::{Table, TableBatch, TableRead, Tables};

const DATA: Table = Table(0);
const META: Table = Table(1);

fn scanned<T: TableRead + ?Sized>(tables: &T, start: &str, end: Option<&str>, limit: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let visit = &mut |key: &[u8], _: &[u8]| {
        keys.push(String::from_utf8(key.to_vec()).unwrap());
        if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    tables.scan(DATA, start.as_bytes(), end.map(str::as_bytes), visit).ok().unwrap();
    keys
}

/// A batch that says in both tables how many there were.
fn numbered(number: u32) -> TableBatch {
    let mut batch = TableBatch::default();
    batch.put(DATA, format!("key {number:05}"), vec![7; 500]);
    batch.put(DATA, "last", number.to_string());
    batch.put(META, "last", number.to_string());
    batch
}

#[test]
fn later_changes_of_a_batch_win() {
    let disk = Disk::default();
    let tables = disk.open_store().unwrap().tables;
    let mut batch = TableBatch::default();
    batch.put(DATA, "a", "1");
    batch.put(DATA, "b", "1");
    batch.delete(DATA, "a");
    batch.put(DATA, "b", "2");
    tables.write(batch).unwrap();
    assert_eq!(tables.get(DATA, b"a").unwrap(), None);
    assert_eq!(tables.get(DATA, b"b").unwrap(), Some(Bytes::from("2")));
    assert_eq!(tables.get(META, b"b").unwrap(), None);
}

#[test]
fn a_scan_goes_from_start_to_before_end_and_may_be_ended() {
    let disk = Disk::default();
    let tables = disk.open_store().unwrap().tables;
    let mut batch = TableBatch::default();
    ["a", "b", "ba", "c", "d"].iter().for_each(|key| batch.put(DATA, *key, "x"));
    batch.put(META, "bb", "x");
    tables.write(batch).unwrap();
    assert_eq!(scanned(&*tables, "b", Some("d"), 9), ["b", "ba", "c"]);
    assert_eq!(scanned(&*tables, "b", None, 9), ["b", "ba", "c", "d"]);
    assert_eq!(scanned(&*tables, "", None, 2), ["a", "b"]);
    assert_eq!(scanned(&*tables, "d", Some("b"), 9), [""; 0]);
}

#[test]
fn a_view_does_not_see_later_writes() {
    let disk = Disk::default();
    let tables = disk.open_store().unwrap().tables;
    tables.write(numbered(1)).unwrap();
    let view = tables.view();
    tables.write(numbered(2)).unwrap();
    tables.flush().unwrap();
    assert_eq!(view.get(DATA, b"last").unwrap(), Some(Bytes::from("1")));
    assert_eq!(scanned(&*view, "", None, 9), ["key 00001", "last"]);
    assert_eq!(tables.get(DATA, b"last").unwrap(), Some(Bytes::from("2")));
}

#[test]
fn persisted_is_what_was_flushed() {
    let mut disk = Disk::default();
    let store = disk.open_store().unwrap();
    let persisted = |tables: &storage_rocks::RocksTables| tables.get_persisted(META, b"last").unwrap();
    assert_eq!(persisted(&store.tables), None);
    store.tables.write(numbered(1)).unwrap();
    assert_eq!(persisted(&store.tables), None);
    store.tables.flush().unwrap();
    assert_eq!(persisted(&store.tables), Some(Bytes::from("1")));
    store.tables.write(numbered(2)).unwrap();
    assert_eq!(persisted(&store.tables), Some(Bytes::from("1")));
    assert_eq!(store.tables.get(META, b"last").unwrap(), Some(Bytes::from("2")));
    disk.freeze();
    drop(store);

    let tables = disk.open_store().unwrap().tables;
    assert_eq!(tables.get(META, b"last").unwrap(), Some(Bytes::from("1")));
    assert_eq!(persisted(&tables), Some(Bytes::from("1")));
}

#[test]
fn a_crash_at_any_time_leaves_the_tables_as_of_one_batch() {
    let mut disk = Disk::default();
    let mut reached = 0;
    for life in 1..=8 {
        let store = disk.open_store().unwrap();
        for number in reached + 1..=reached + 50 * life {
            store.tables.write(numbered(number)).unwrap();
            if number % 97 == 0 {
                store.tables.flush().unwrap();
            }
        }
        let promised = store.tables.get_persisted(META, b"last").unwrap();
        disk.freeze();
        drop(store);

        let tables = disk.open_store().unwrap().tables;
        let last = tables.get(META, b"last").unwrap();
        assert_eq!(last, promised, "what is persisted is what comes back");
        assert_eq!(tables.get(DATA, b"last").unwrap(), last);
        reached = last.map_or(0, |last| std::str::from_utf8(&last).unwrap().parse().unwrap());
        assert_eq!(scanned(&*tables, "key", Some("l"), usize::MAX).len(), reached as usize);
    }
    assert!(reached > 500);
}
