//! A data directory belongs to one node, one engine and one cluster, and to one process at a time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Disk, EXPECTED, OPTIONS};
use consensus_api::{ClusterId, EngineName, Era, Member, NodeId, StoreId};
use storage_rocks::{Expected, StorageError, Store, StoreOptions, cluster_id};
use tempfile::TempDir;

fn refusal(path: &Path, expected: Expected) -> StorageError {
    Store::open(path, expected, OPTIONS).err().expect("refused")
}

#[test]
fn a_blank_directory_gets_a_store_id_and_keeps_it() {
    let disk = Disk::default();
    let first = disk.open_store().unwrap().stamp();
    let second = disk.open_store().unwrap().stamp();
    assert_ne!(first.store, StoreId(0));
    assert_eq!(second.store, first.store);
    assert_ne!(Disk::default().open_store().unwrap().stamp().store, first.store);
}

#[test]
fn every_opening_counts_as_a_boot() {
    let mut disk = Disk::default();
    let boots: Vec<u64> = (1..=3).map(|_| disk.open_store().unwrap().stamp().boots).collect();
    assert_eq!(boots, [1, 2, 3]);
    let store = disk.open_store().unwrap();
    disk.freeze();
    assert_eq!(disk.open_store().unwrap().stamp().boots, 5, "a crash does not take it back");
    drop(store);
}

#[test]
fn another_node_engine_or_era_is_refused_by_name_and_changes_nothing() {
    let disk = Disk::default();
    let stamp = disk.open_store().unwrap().stamp();
    let path = disk.path();
    let error = refusal(&path, Expected { node: NodeId(2), ..EXPECTED });
    assert!(matches!(error, StorageError::OtherNode { found: NodeId(1), expected: NodeId(2), .. }), "{error}");
    let error = refusal(&path, Expected { engine: EngineName::new("two"), ..EXPECTED });
    assert!(matches!(error, StorageError::OtherEngine { .. }), "{error}");
    assert!(error.to_string().contains("engine one, not two"), "{error}");
    let error = refusal(&path, Expected { era: Era(1), ..EXPECTED });
    assert!(matches!(error, StorageError::OtherLog { .. }), "{error}");
    assert_eq!(disk.open_store().unwrap().stamp().boots, stamp.boots + 1);
}

#[test]
fn a_directory_keeps_its_cluster() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let founder = |node, store| (NodeId(node), Member { address: format!("127.0.0.1:{node}"), store });
    let founders = [founder(2, StoreId(7)), founder(1, store.stamp().store)];
    let cluster = cluster_id(&founders, None);
    store.stamp_cluster(cluster, &founders).unwrap();
    store.stamp_cluster(cluster, &founders).unwrap();
    let error = store.stamp_cluster(ClusterId(1), &[]).unwrap_err();
    assert!(matches!(error, StorageError::OtherCluster { .. }), "{error}");
    drop(store);
    let stamp = disk.open_store().unwrap().stamp();
    assert_eq!(stamp.cluster, Some(cluster));
    assert_eq!(stamp.founders, [founders[1].clone(), founders[0].clone()]);
}

#[test]
fn two_cannot_have_it_at_once() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    assert!(matches!(refusal(&disk.path(), EXPECTED), StorageError::InUse { .. }));
    // The lock is gone with the store, and yet the log is open.
    let log = store.log.clone();
    drop(store);
    assert!(matches!(refusal(&disk.path(), EXPECTED), StorageError::InUse { .. }));
    drop(log);
    disk.open_store().unwrap();
}

#[test]
fn what_is_no_directory_is_refused() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "hello").unwrap();
    assert!(matches!(refusal(&file, EXPECTED), StorageError::NotADirectory { .. }));
    assert!(matches!(refusal(&file.join("below"), EXPECTED), StorageError::NotADirectory { .. }));
}

#[test]
fn a_directory_with_other_things_is_refused_and_left_alone() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("thesis.tex"), "hello").unwrap();
    let error = refusal(root.path(), EXPECTED);
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_whose_making_was_interrupted_is_made_again() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("log")).unwrap();
    fs::write(root.path().join("lock"), "").unwrap();
    Store::open(root.path(), EXPECTED, OPTIONS).unwrap();
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("data");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(path.join("probe"), "").is_ok() {
        // Permissions do not bind this user.
        return;
    }
    let error = refusal(&path, EXPECTED);
    assert!(matches!(error, StorageError::Io { .. }), "{error}");
}

#[test]
fn a_table_of_another_build_is_refused() {
    let disk = Disk::default();
    drop(disk.open_store().unwrap());
    let fewer = StoreOptions { tables: &["data"], ..OPTIONS };
    let error = Store::open(&disk.path(), EXPECTED, fewer).err().expect("refused");
    assert!(matches!(error, StorageError::UnknownTable { .. }), "{error}");
    let more = StoreOptions { tables: &["data", "meta", "extra"], ..OPTIONS };
    Store::open(&disk.path(), EXPECTED, more).unwrap();
}
