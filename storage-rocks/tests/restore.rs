//! A snapshot file becomes a whole data directory of a new cluster, or none.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use common::snapshots::{Child, applied, directory_of_child, exported, names, order, stamp, write};
use common::{Disk, EXPECTED, OPTIONS};
use consensus_api::{
    AppliedState, Ballot, EngineName, LogIndex, LogPosition, LogStore, SnapshotManifest, SnapshotStore, Table,
    TableBatch, TableRead, Tables,
};
use power_loss::Remains;
use storage_rocks::{Expected, Restore, RocksTables, StorageError, Store, check_export, read_export};
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
    let (manifest, file) = exported(30);
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
    let (manifest, file) = exported(30);
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
    let (manifest, file) = exported(30);
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
fn two_do_not_restore_to_one_place_at_once() {
    let (manifest, file) = exported(30);
    let root = TempDir::new().unwrap();
    let target = root.path().join("node");
    let lock = fs::File::create(root.path().join("node.restoring.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(restore().run(&file[..], &target), Err(StorageError::InUse { .. })));
    assert_eq!(names(root.path()), ["node.restoring.lock"], "nothing was begun");
    drop(lock);
    let outcomes = thread::scope(|scope| {
        let one = scope.spawn(|| restore().run(&file[..], &target));
        [restore().run(&file[..], &target), one.join().unwrap()]
    });
    let mut refusals = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let refused = refusals.next().expect("one of them is refused");
    assert!(matches!(refused, StorageError::InUse { .. } | StorageError::Occupied { .. }), "{refused}");
    assert!(refusals.next().is_none(), "the other one is not");
    assert_eq!(names(root.path()), ["node"]);
    check(&target, &manifest, EXPECTED);
}

#[test]
fn what_a_directory_cannot_replace_is_refused_before_anything_is_done() {
    let (_, file) = exported(30);
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("elsewhere")).unwrap();
    symlink(root.path().join("elsewhere"), root.path().join("link")).unwrap();
    symlink(root.path().join("nowhere"), root.path().join("dangling")).unwrap();
    for target in [root.path().join("link"), root.path().join("link/"), root.path().join("dangling"), "/proc".into()] {
        let refused = restore().run(&file[..], &target).unwrap_err();
        assert!(matches!(refused, StorageError::Irreplaceable { .. }), "{refused}");
        assert!(refused.to_string().contains("subdirectory"), "{refused}");
    }
    assert_eq!(names(root.path()), ["dangling", "elsewhere", "link"]);
}

/// A machine that miscounts.
fn applied_and_one_more(
    tables: &dyn TableRead<Error = StorageError>,
) -> Result<AppliedState, Box<dyn Error + Send + Sync>> {
    let mut found = applied(tables)?;
    found.position.index = found.position.index.next();
    Ok(found)
}

#[test]
fn a_file_that_says_something_else_than_its_tables_is_refused() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=30);
    let snapshots = store.snapshots(applied_and_one_more);
    let mut file = Vec::new();
    snapshots.export(snapshots.take().unwrap().id, &mut file).unwrap();
    check_export(&file[..]).expect("every byte is as it was written");
    let shown = read_export(&file[..], OPTIONS.tables, applied, |_, _| ()).unwrap_err();
    assert!(matches!(shown, StorageError::BadExport { .. }), "{shown}");
    let root = TempDir::new().unwrap();
    let restored = restore().run(&file[..], &root.path().join("node")).unwrap_err();
    assert!(matches!(restored, StorageError::DamagedSnapshot { .. }), "{restored}");
    for refused in [shown, restored] {
        assert!(refused.to_string().contains("come to 30"), "{refused}");
    }
    assert_eq!(names(root.path()), [""; 0]);
}

#[test]
fn a_file_that_was_cut_off_or_garbled_leaves_nothing_behind() {
    let (manifest, file) = exported(30);
    let root = TempDir::new().unwrap();
    let target = root.path().join("node");
    let refused = |file: &[u8]| {
        let restored = restore().run(file, &target).unwrap_err();
        let shown = read_export(file, OPTIONS.tables, applied, |_, _| ()).unwrap_err();
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
    let (manifest, file) = exported(30);
    let shown = read_export(&file[..], OPTIONS.tables, applied, |shown, tables| {
        assert_eq!(*shown, manifest);
        applied(tables).unwrap()
    });
    assert_eq!(*shown.unwrap().membership.unwrap().latest, manifest.membership);
}

#[test]
fn wherever_the_power_fails_the_directory_is_whole_or_not_there() {
    let (manifest, file) = exported(30);
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
