//! A snapshot file becomes a whole data directory of a new cluster, or none.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::error::Error;
use std::fs;
use std::path::Path;

use common::snapshots::{Child, applied, directory_of_child, numbered, order, stamp};
use common::{Disk, EXPECTED, OPTIONS};
use consensus_api::{
    AppliedState, Ballot, EngineName, LogIndex, LogPosition, LogStore, SnapshotManifest, SnapshotStore, Table,
    TableBatch, TableRead, Tables,
};
use power_loss::Remains;
use storage_rocks::{Expected, Restore, RocksTables, StorageError, Store, read_export};
use tempfile::TempDir;

const RESTORED: LogPosition = LogPosition { index: LogIndex(30), ballot: Ballot::ZERO };

fn disband(tables: &RocksTables) -> Result<(), Box<dyn Error + Send + Sync>> {
    let AppliedState { position, log_time, .. } = applied(tables)?;
    let mut batch = TableBatch::default();
    let position = LogPosition { ballot: Ballot::ZERO, ..position };
    stamp(&mut batch, &AppliedState { position, log_time, membership: None });
    tables.write(batch)?;
    Ok(tables.flush()?)
}

fn restore() -> Restore<'static> {
    Restore { expected: EXPECTED, tables: OPTIONS.tables, applied, disband }
}

/// A snapshot of thirty batches, as one file.
fn exported() -> (SnapshotManifest, Vec<u8>) {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    (1..=30).for_each(|number| store.tables.write(numbered(number)).unwrap());
    let manifest = store.snapshots(applied).take().unwrap();
    let mut file = Vec::new();
    store.snapshots(applied).export(manifest.id, &mut file).unwrap();
    ((*manifest).clone(), file)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes sure that all of the snapshot is in the directory, and that a log begins there.
fn check(path: &Path, manifest: &SnapshotManifest, expected: Expected) -> Store {
    let store = Store::open(path, expected, OPTIONS).unwrap();
    let found = applied(&*store.tables).unwrap();
    assert_eq!((found.position, found.membership), (RESTORED, None));
    for number in 1..=30 {
        assert!(store.tables.get(Table(0), format!("key {number:05}").as_bytes()).unwrap().is_some());
    }
    assert_eq!(store.log.base(), RESTORED);
    let recovered = store.log.recover(1 << 20).unwrap();
    assert!(recovered.tail.is_empty() && recovered.hard_state.is_none());
    assert_eq!(store.stamp().restored_from, Some(manifest.id));
    assert_eq!(store.stamp().cluster, None);
    let snapshots = store.snapshots(applied);
    assert_eq!((snapshots.kept().unwrap().len(), snapshots.installed().unwrap()), (0, None));
    store
}

#[test]
fn a_restored_directory_has_the_tables_and_none_of_the_old_cluster() {
    let (manifest, file) = exported();
    let root = TempDir::new().unwrap();
    let other = Expected { engine: EngineName::new("two"), ..EXPECTED };
    for (name, expected) in [("a", EXPECTED), ("b", other)] {
        let restored = Restore { expected, ..restore() }.run(&file[..], &root.path().join(name)).unwrap();
        assert_eq!(restored, manifest);
    }
    assert_eq!(names(root.path()), ["a", "b"]);
    let a = check(&root.path().join("a"), &manifest, EXPECTED);
    let b = check(&root.path().join("b"), &manifest, other);
    assert_ne!(a.stamp().store, b.stamp().store, "each directory has an id of its own");
}

#[test]
fn nothing_is_restored_over_something() {
    let (manifest, file) = exported();
    let root = TempDir::new().unwrap();
    let target = root.path().join("made/on/the/way");
    restore().run(&file[..], &target).unwrap();
    let again = restore().run(&file[..], &target).unwrap_err();
    assert!(matches!(again, StorageError::Occupied { .. }), "{again}");
    check(&target, &manifest, EXPECTED);
    let plain = root.path().join("file");
    fs::write(&plain, "x").unwrap();
    assert!(matches!(restore().run(&file[..], &plain), Err(StorageError::NotADirectory { .. })));
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore().run(&file[..], &empty).unwrap();
    check(&empty, &manifest, EXPECTED);
}

#[test]
fn what_an_earlier_attempt_left_is_replaced_and_one_that_runs_is_not() {
    let (manifest, file) = exported();
    let root = TempDir::new().unwrap();
    let (target, work) = (root.path().join("node"), root.path().join("node.restoring"));
    let running = Store::open(&work, EXPECTED, OPTIONS).unwrap();
    assert!(matches!(restore().run(&file[..], &target), Err(StorageError::InUse { .. })));
    drop(running);
    fs::write(work.join("left over"), "x").unwrap();
    restore().run(&file[..], &target).unwrap();
    assert_eq!(names(root.path()), ["node"]);
    check(&target, &manifest, EXPECTED);
}

#[test]
fn a_file_that_was_cut_off_or_garbled_leaves_nothing_behind() {
    let (manifest, file) = exported();
    let root = TempDir::new().unwrap();
    let target = root.path().join("node");
    let refused = |file: &[u8]| {
        let restored = restore().run(file, &target).unwrap_err();
        let shown = read_export(file, OPTIONS.tables, |_, _| ()).unwrap_err();
        for refused in [restored, shown] {
            assert!(matches!(refused, StorageError::BadExport { .. }), "{refused}");
        }
        assert_eq!(names(root.path()), [""; 0]);
    };
    let head = file.len() - usize::try_from(manifest.bytes()).unwrap();
    let mut ends: Vec<usize> = vec![0, 7, 15, 16, head / 2, head, head + 1, file.len() - 1];
    let mut offset = head as u64;
    for length in manifest.files.iter().map(|file| file.bytes) {
        ends.extend([offset + length / 2, offset + length].map(|end| usize::try_from(end).unwrap()));
        offset += length;
    }
    ends.iter().filter(|end| **end < file.len()).for_each(|end| refused(&file[..*end]));
    for at in [0, 8, 12, 16, head / 2, head - 1].into_iter().chain((head..file.len()).step_by(1999)) {
        let mut garbled = file.clone();
        garbled[at] ^= 0x04;
        refused(&garbled);
    }
    let mut longer = file;
    longer.push(0);
    refused(&longer);
}

#[test]
fn a_file_shows_its_tables_without_being_restored() {
    let (manifest, file) = exported();
    let shown = read_export(&file[..], OPTIONS.tables, |shown, tables| {
        assert_eq!(*shown, manifest);
        applied(tables).unwrap()
    });
    assert_eq!(shown.unwrap().membership.as_deref(), Some(&manifest.membership));
}

#[test]
fn wherever_the_power_fails_the_directory_is_whole_or_not_there() {
    let (manifest, file) = exported();
    let blank = TempDir::new().unwrap();
    fs::write(blank.path().join("something"), "x").unwrap();
    let mut seen = Vec::new();
    for sync in 1.. {
        let child = Child::on_a_copy_of(blank.path());
        fs::write(order(&child.path()), &file).unwrap();
        child.disk.kill_at_sync(sync).unwrap();
        let survived = child.run("a_process_that_restores").success();
        child.disk.lose_power(Remains::Synced).unwrap();
        let target = child.path().join("node");
        seen.push(target.exists());
        if !target.exists() {
            restore().run(&file[..], &target).unwrap();
        }
        check(&target, &manifest, EXPECTED);
        if survived {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen, [false, true]);
}

#[test]
#[ignore = "the process that the power is taken from; started by other tests"]
fn a_process_that_restores() {
    let Some(path) = directory_of_child() else { return };
    let file = fs::File::open(order(&path)).unwrap();
    restore().run(file, &path.join("node")).unwrap();
    std::process::exit(0);
}
