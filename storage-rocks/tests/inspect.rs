//! Inspecting tells what is there and leaves it as it is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Disk, length, truncate};
use consensus_api::engine::encode_ballot;
use consensus_api::testkit::log_store::{LogStoreFactory, Reached, entry, put};
use consensus_api::{Ballot, LogIndex, LogPosition, LogStore, NodeId, Write};
use storage_rocks::{StorageError, inspect};
use tempfile::TempDir;

fn contents(path: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for item in fs::read_dir(path).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            contents(&path, found);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn it_tells_what_a_stopped_node_holds_and_changes_nothing() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let promised = Ballot::new(4, NodeId(2));
    let write = Write {
        hard_state: Some(encode_ballot(promised)),
        commit: Some(LogIndex(5)),
        ..put(1, [1, 2, 3, 4, 5, 8].map(|index| entry(index, 1 + index / 5, "x")))
    };
    log.write(&[write]).unwrap();
    log.trim(LogPosition { index: LogIndex(2), ballot: Ballot::new(1, NodeId(7)) }).unwrap();
    disk.crash(log);

    let mut before = BTreeMap::new();
    contents(&disk.path(), &mut before);
    let found = inspect(&disk.path()).unwrap();
    let mut after = BTreeMap::new();
    contents(&disk.path(), &mut after);
    assert!(before == after, "something was changed: {:?} {:?}", before.keys(), after.keys());

    assert_eq!(found.damage, [""; 0]);
    assert_eq!(found.stamp.as_ref().unwrap().node, NodeId(1));
    assert_eq!(found.promised().unwrap(), promised);
    assert_eq!((found.base.index, found.commit, found.entries), (LogIndex(2), LogIndex(5), 4));
    let runs: Vec<(u64, u64)> = found.runs().map(|run| (run.first.0, run.last.0)).collect();
    assert_eq!(runs, [(3, 4), (5, 5), (8, 8)]);
    assert_eq!(found.tables, ["data", "meta"]);
    assert_eq!(found.last_batch, 3, "boot, write, trim");
}

#[test]
fn it_tells_of_a_torn_tail_before_a_start_cuts_it_off() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    log.write(&[put(1, [entry(1, 1, "kept")])]).unwrap();
    disk.crash_during(log, &[put(2, (2..=40).map(|index| entry(index, 1, "lost")))], Reached::FirstHalf);
    let found = inspect(&disk.path()).unwrap();
    assert_eq!((found.entries, found.torn_batches, found.damage.len()), (1, 1, 0));
}

#[test]
fn it_waits_for_nobody_and_reads_nothing_half_written() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    assert!(matches!(inspect(&disk.path()), Err(StorageError::InUse { .. })));
    drop(store);
    inspect(&disk.path()).unwrap();
}

#[test]
fn it_refuses_what_is_no_data_directory() {
    let root = TempDir::new().unwrap();
    assert!(matches!(inspect(root.path()), Err(StorageError::NotOurs { .. })));
    assert!(matches!(inspect(&root.path().join("nothing")), Err(StorageError::Io { .. })));
}

#[test]
fn what_cannot_be_opened_is_told_as_damage() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    disk.close(log);
    let manifest = fs::read_dir(disk.log_path()).unwrap().map(|item| item.unwrap().path());
    let manifest = manifest.filter(|path| path.to_string_lossy().contains("MANIFEST")).max().unwrap();
    truncate(&manifest, length(&manifest) / 2);
    let outcome = inspect(&disk.path()).unwrap();
    assert!(!outcome.damage.is_empty() || outcome.last_batch > 0);
    fs::remove_file(manifest).unwrap();
    assert!(!inspect(&disk.path()).unwrap().damage.is_empty());
}
