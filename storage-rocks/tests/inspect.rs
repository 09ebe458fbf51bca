//! Inspecting tells what is there and leaves it as it is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::snapshots::{applied, inspect, stamp};
use common::{Disk, length, truncate};
use consensus_api::engine::encode_ballot;
use consensus_api::membership_log::MembershipLog;
use consensus_api::testkit::log_store::{LogStoreFactory, Reached, entry, put};
use consensus_api::{
    AppliedMembership, AppliedState, Ballot, Entry, LogIndex, LogPosition, LogStore, Member, Membership, NodeId,
    Payload, RequestId, StoreId, TableBatch, Tables, Write,
};
use storage_rocks::StorageError;
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

/// Nodes 1 and 2 vote and node 3 learns, as the entry of this version says.
fn members(version: u64) -> Arc<Membership> {
    let member = |node: u64| (NodeId(node), Member { address: format!("127.0.0.1:{node}"), store: StoreId(1) });
    let mut members = Membership { version, ..Membership::of_voters([member(1), member(2)]) };
    members.learners.insert(NodeId(3));
    members.members.extend([member(3)]);
    Arc::new(members)
}

fn naming(index: u64, membership: Arc<Membership>) -> Arc<Entry> {
    let payload = Payload::Membership { id: RequestId::default(), membership };
    Arc::new(Entry { payload, ..Entry::clone(&entry(index, 1, "")) })
}

#[test]
fn it_tells_who_the_members_are_who_they_were_and_whom_the_log_names_next() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    store.log.write(&[put(1, [entry(1, 1, "x"), naming(2, members(1)), naming(3, members(2))])]).unwrap();
    let mut told = AppliedMembership::founded(Arc::default());
    assert!(told.take(LogIndex(2), &members(1)));
    let position = LogPosition { index: LogIndex(2), ballot: Ballot::new(1, NodeId(7)) };
    let mut batch = TableBatch::default();
    stamp(&mut batch, &AppliedState { position, membership: Some(told.clone()), ..AppliedState::default() });
    store.tables.write(batch).unwrap();
    store.tables.flush().unwrap();
    drop(store);
    let found = inspect(&disk.path()).unwrap();
    assert_eq!((found.applied, found.members), (LogIndex(2), Some(told)));
    assert_eq!(found.named, [(LogIndex(2), members(1)), (LogIndex(3), members(2))]);
    assert_eq!(found.damage, [""; 0]);
}

/// The power fails when members are named in the log and not yet in the tables, whose memory is gone: the log names them
/// again.
#[test]
fn a_change_that_was_not_applied_before_a_restart_is_recovered_from_the_log() {
    let mut disk = Disk::default();
    let store = disk.open_store().unwrap();
    store.log.write(&[put(1, [entry(1, 1, "x"), naming(2, members(1)), naming(3, members(2))])]).unwrap();
    let mut told = AppliedMembership::founded(Arc::default());
    let mut apply = |index, members: &Arc<Membership>| {
        assert!(told.take(LogIndex(index), members));
        let position = LogPosition { index: LogIndex(index), ballot: Ballot::new(1, NodeId(7)) };
        let mut batch = TableBatch::default();
        stamp(&mut batch, &AppliedState { position, membership: Some(told.clone()), ..AppliedState::default() });
        store.tables.write(batch).unwrap();
    };
    apply(2, &members(1));
    store.tables.flush().unwrap();
    apply(3, &members(2));
    disk.freeze();
    drop(store);

    let store = disk.open_store().unwrap();
    let AppliedState { position, membership, .. } = applied(&*store.tables).unwrap();
    let log = store.log.recover(0).unwrap();
    let settled = membership.unwrap();
    assert_eq!(
        (position.index, settled.latest.version),
        (LogIndex(2), 1),
        "of the last change the tables know nothing"
    );
    let mut members_of_log = MembershipLog::recovered(settled, position.index, &log);
    assert_eq!(members_of_log.latest(), (LogIndex(3), &members(2)));
    assert!(members_of_log.settle(LogIndex(3)));
    let settled = members_of_log.settled();
    assert_eq!((settled.latest.clone(), settled.previous.clone()), (members(2), Some(members(1))));
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
