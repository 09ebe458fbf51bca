//! What a bad disk does to snapshots: damage is known from then on, and a disk that only refuses costs none of them.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;

use common::snapshots::{
    Child, applied, directory_of_child, exported, index_of, meet, name_of, names, spoil, wait_for_parent, write,
};
use common::{Disk, EXPECTED, OPTIONS};
use consensus_api::{LogIndex, SnapshotManifest, SnapshotStore};
use storage_rocks::{RocksSnapshots, StorageError, Store};

fn shelf(disk: &Disk) -> PathBuf {
    disk.path().join("snapshots")
}

/// Reads all of a snapshot, up to the first error.
fn read_through(snapshots: &RocksSnapshots, manifest: &SnapshotManifest) -> Result<(), StorageError> {
    let mut offset = 0;
    while offset < manifest.bytes() {
        offset += snapshots.read(manifest.id, offset, 1 << 20)?.expect("is kept").len() as u64;
    }
    Ok(())
}

/// A data directory with a snapshot that shares a file with the tables, damaged and found out; and that file.
fn found_out() -> (Disk, String) {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    write(&store, 1..=200);
    let taken = snapshots.take().unwrap();
    let shared = taken.files.iter().filter(|file| file.name.ends_with(".sst")).max_by_key(|file| file.bytes).unwrap();
    let before: u64 = taken.files.iter().take_while(|file| *file != shared).map(|file| file.bytes).sum();
    spoil(&shelf(&disk).join(name_of(taken.id)), &taken, before + 100);
    let error = read_through(&snapshots, &taken).unwrap_err();
    assert!(matches!(error, StorageError::DamagedSnapshot { .. }), "{error}");
    assert!(snapshots.kept().unwrap().is_empty());
    let name = shared.name.clone();
    drop((snapshots, store));
    (disk, name)
}

#[test]
fn no_snapshot_vouches_for_a_damaged_file_not_even_in_later_lives() {
    let (disk, damaged) = found_out();
    for _ in 0..3 {
        let store = disk.open_store().unwrap();
        for _ in 0..2 {
            let refused = store.snapshots(applied).take().unwrap_err();
            assert!(matches!(&refused, StorageError::DamagedTables { file } if *file == damaged), "{refused}");
            assert!(!store.snapshots(applied).is_final(&refused));
        }
        write(&store, [index_of(&store.tables) + 1]);
    }
}

#[test]
fn tables_that_take_the_place_of_damaged_ones_are_trusted_again() {
    let (disk, _) = found_out();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    assert!(names(&shelf(&disk)).contains(&"damaged".to_owned()));
    let manifest = snapshots.import(&exported(300).1[..]).unwrap();
    snapshots.install(manifest.id).unwrap();
    assert_eq!(names(&shelf(&disk)), [name_of(manifest.id)], "nothing is remembered of files that are gone");
    write(&store, [301]);
    assert_eq!(snapshots.take().unwrap().position.index, LogIndex(301));
}

#[test]
fn a_list_of_damaged_files_that_is_damaged_itself_is_refused() {
    let (disk, _) = found_out();
    fs::write(shelf(&disk).join("damaged"), "x").unwrap();
    let error = disk.open_store().err().unwrap();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
}

#[test]
fn a_snapshot_that_the_disk_does_not_show_now_is_there_in_the_next_life() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=9);
    let taken = store.snapshots(applied).take().unwrap();
    drop(store);
    let manifest = shelf(&disk).join(name_of(taken.id)).join("manifest");
    fs::rename(&manifest, manifest.with_extension("aside")).unwrap();
    fs::create_dir(&manifest).unwrap();
    assert!(disk.open_store().unwrap().snapshots(applied).kept().unwrap().is_empty());
    fs::remove_dir(&manifest).unwrap();
    fs::rename(manifest.with_extension("aside"), &manifest).unwrap();
    assert_eq!(disk.open_store().unwrap().snapshots(applied).kept().unwrap(), [taken]);
}

#[test]
fn what_the_disk_does_not_show_when_it_is_installed_is_installed_later() {
    let (manifest, file) = exported(30);
    let disk = Disk::default();
    disk.open_store().unwrap().snapshots(applied).import(&file[..]).unwrap();
    // In a next life none of its files is still being synced beside: that would find one gone, which is no refusal.
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    assert_eq!(snapshots.receive(&manifest).unwrap(), manifest.bytes());
    let path = shelf(&disk).join("incoming").join(&manifest.files.last().unwrap().name);
    fs::rename(&path, path.with_extension("aside")).unwrap();
    symlink(&path, &path).unwrap();
    let refused = snapshots.install(manifest.id).unwrap_err();
    assert!(matches!(refused, StorageError::Io { .. }) && !snapshots.is_final(&refused), "{refused}");
    fs::remove_file(&path).unwrap();
    fs::rename(path.with_extension("aside"), &path).unwrap();
    snapshots.install(manifest.id).unwrap();
    assert_eq!(index_of(&store.tables), 30);
}

#[test]
fn what_is_left_of_anything_that_was_cut_short_is_removed_at_the_next_start() {
    let (manifest, _) = exported(30);
    let disk = Disk::default();
    disk.open_store().unwrap().snapshots(applied).receive(&manifest).unwrap();
    for stray in ["taking", "taking.tmp"] {
        fs::create_dir(shelf(&disk).join(stray)).unwrap();
        fs::write(shelf(&disk).join(stray).join("CURRENT"), "x").unwrap();
    }
    fs::write(shelf(&disk).join("room"), "x").unwrap();
    fs::write(shelf(&disk).join("damaged.new"), "x").unwrap();
    drop(disk.open_store().unwrap());
    assert_eq!(names(&shelf(&disk)), ["incoming"], "which may go on");
    fs::remove_file(shelf(&disk).join("incoming/manifest")).unwrap();
    drop(disk.open_store().unwrap());
    assert_eq!(names(&shelf(&disk)), [""; 0], "nobody knows what that was");
}

#[test]
fn a_flush_that_fails_under_a_snapshot_is_the_end_of_the_tables() {
    let child = Child::on_a_copy_of(tempfile::TempDir::new().unwrap().path());
    let mut command = child.command("a_process_whose_tables_have_no_room");
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    meet(&mut process, "may be full", || child.disk.fill_beneath(&child.path().join("tables")).unwrap());
    assert!(process.wait().unwrap().success());
}

#[test]
#[ignore = "a process on a disk that another test fills"]
fn a_process_whose_tables_have_no_room() {
    let Some(path) = directory_of_child() else { return };
    let store = Store::open(&path, EXPECTED, OPTIONS).unwrap();
    let snapshots = store.snapshots(applied);
    write(&store, 1..=20);
    wait_for_parent("may be full");
    let failed = snapshots.take().unwrap_err();
    assert!(matches!(failed, StorageError::Background { .. }) && snapshots.is_final(&failed), "{failed}");
    std::process::exit(0);
}
