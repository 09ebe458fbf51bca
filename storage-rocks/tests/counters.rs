//! What the log and the tables say of their own work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::Disk;
use consensus_api::testkit::log_store::{entry, put};
use consensus_api::{Ballot, LogIndex, LogPosition, LogStore, NodeId, Table, TableBatch, Tables, Write};
use storage_rocks::LogCounts;

/// What was added since `before`.
fn since(before: LogCounts, now: LogCounts) -> LogCounts {
    LogCounts {
        syncs: now.syncs - before.syncs,
        writes: now.writes - before.writes,
        entries: now.entries - before.entries,
        bytes: now.bytes - before.bytes,
        rewritten_entries: now.rewritten_entries - before.rewritten_entries,
        rewritten_bytes: now.rewritten_bytes - before.rewritten_bytes,
    }
}

#[test]
fn a_group_of_writes_is_one_batch_and_one_sync_and_without_sync_none() {
    for (disk, syncs) in [(Disk::default(), 1), (Disk::without_sync(), 0)] {
        let log = disk.open_log().unwrap();
        let before = log.counts();
        log.write(&[put(1, [entry(1, 1, "four")]), put(2, [entry(2, 1, "four"), entry(3, 1, "sixsix")])]).unwrap();
        let expected = LogCounts { syncs, writes: 1, entries: 3, bytes: 14, ..LogCounts::default() };
        assert_eq!(since(before, log.counts()), expected);
    }
}

#[test]
fn an_entry_is_rewritten_where_one_stood_before_even_one_of_an_earlier_life_or_one_that_was_removed() {
    let disk = Disk::default();
    let log = disk.open_log().unwrap();
    log.write(&[put(1, [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c"), entry(6, 1, "f")])]).unwrap();
    drop(log);

    let log = disk.open_log().unwrap();
    log.recover(1 << 20).unwrap();
    let before = log.counts();
    // In the gap, and not rewritten.
    log.write(&[put(2, [entry(4, 2, "new")])]).unwrap();
    // A conflict: what stood there goes, and others come.
    log.write(&[Write { remove_from: Some(LogIndex(3)), ..put(3, [entry(3, 2, "four"), entry(4, 2, "four")]) }])
        .unwrap();
    let counted = since(before, log.counts());
    assert_eq!((counted.entries, counted.bytes), (3, 11));
    assert_eq!((counted.rewritten_entries, counted.rewritten_bytes), (2, 8));
}

#[test]
fn a_log_that_begins_anew_rewrites_nothing() {
    let disk = Disk::default();
    let log = disk.open_log().unwrap();
    log.write(&[put(1, [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")])]).unwrap();
    log.restart_at(LogPosition { index: LogIndex(1), ballot: Ballot::new(1, NodeId(1)) }).unwrap();
    log.write(&[put(2, [entry(2, 2, "b")])]).unwrap();
    assert_eq!(log.counts().rewritten_entries, 0);
}

#[test]
fn the_tables_count_their_batches() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let key = Bytes::from_static(b"k");
    let batch =
        TableBatch { changes: vec![(Table(0), key.clone(), Some(key.clone())), (Table(1), key.clone(), Some(key))] };
    store.tables.write(batch).unwrap();
    assert_eq!(store.tables.writes(), 1);
}
