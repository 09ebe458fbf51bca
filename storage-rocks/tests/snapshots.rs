//! Snapshots do what every store of them must do, also when the power fails at any sync or the disk is full.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::cell::RefCell;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use common::snapshots::{
    Child, applied, directory_of_child, exported, index_of, inspect, meet, name_of, names, numbered, order, spoil,
    wait_for_parent, write,
};
use common::{Disk, EXPECTED, OPTIONS, length, truncate};
use consensus_api::testkit::log_store::LogStoreFactory;
use consensus_api::testkit::snapshot_store;
use consensus_api::{
    AppliedState, LogIndex, LogStore, SnapshotId, SnapshotManifest, SnapshotStore, TableRead, Tables, codec,
};
use power_loss::Remains;
use storage_rocks::{RocksTables, StorageError, Store, check_export};

#[test]
fn the_store_of_snapshots_is_one() {
    snapshot_store::run_all(Disk::default);
}

#[test]
#[ignore = "the process that the power is taken from; started by other tests"]
fn a_process_that_installs() {
    let Some(path) = directory_of_child() else { return };
    let manifest: SnapshotManifest = codec::decode(&fs::read(order(&path)).unwrap()).unwrap();
    let store = Store::open(&path, EXPECTED, OPTIONS).unwrap();
    let snapshots = store.snapshots(applied);
    assert_eq!(snapshots.receive(&manifest).unwrap(), manifest.bytes(), "it was received whole");
    // Whoever reads keeps the old tables where they are: no removal of theirs makes anything durable by the way.
    let _reading = store.tables.view();
    snapshots.install(manifest.id).unwrap();
    std::process::exit(0);
}

#[test]
fn a_snapshot_that_is_received_and_installed_is_whole_wherever_the_power_fails() {
    let (_, file) = exported(40);
    let blank = Disk::default();
    write(&blank.open_store().unwrap(), 1..=10);
    let mut seen = Vec::new();
    for sync in 1.. {
        let child = Child::on_a_copy_of(&blank.path());
        fs::write(order(&child.path()), &file).unwrap();
        child.disk.kill_at_sync(sync).unwrap();
        let survived = child.run("a_process_that_imports").success();
        child.disk.lose_power(Remains::Synced).unwrap();
        let store = Store::open(&child.path(), EXPECTED, OPTIONS).unwrap();
        let snapshots = store.snapshots(applied);
        seen.push(index_of(&store.tables));
        for manifest in snapshots.kept().unwrap() {
            snapshots.export(manifest.id, &mut std::io::sink()).unwrap();
        }
        let manifest = snapshots.import(&file[..]).unwrap();
        snapshots.install(manifest.id).unwrap();
        assert_eq!(index_of(&store.tables), 40);
        if survived {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen, [10, 40]);
}

#[test]
#[ignore = "the process that the power is taken from; started by other tests"]
fn a_process_that_imports() {
    let Some(path) = directory_of_child() else { return };
    let store = Store::open(&path, EXPECTED, OPTIONS).unwrap();
    let _reading = store.tables.view();
    let manifest = store.snapshots(applied).import(fs::File::open(order(&path)).unwrap()).unwrap();
    store.snapshots(applied).install(manifest.id).unwrap();
    std::process::exit(0);
}

#[test]
fn a_snapshot_that_is_taken_is_durable_or_not_there_wherever_the_power_fails() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=20);
    store.snapshots(applied).take().unwrap();
    drop(store);
    let mut seen = Vec::new();
    for sync in 1.. {
        let child = Child::on_a_copy_of(&disk.path());
        child.disk.kill_at_sync(sync).unwrap();
        let survived = child.run("a_process_that_takes").success();
        child.disk.lose_power(Remains::Synced).unwrap();
        let store = Store::open(&child.path(), EXPECTED, OPTIONS).unwrap();
        let snapshots = store.snapshots(applied);
        let kept = snapshots.kept().unwrap();
        assert!(index_of(&store.tables) >= 20 && kept.iter().any(|manifest| manifest.position.index == LogIndex(20)));
        for manifest in &kept {
            snapshots.export(manifest.id, &mut std::io::sink()).unwrap();
        }
        assert_eq!(names(&child.path().join("snapshots")).len(), kept.len(), "nothing is left over");
        seen.push(kept.len());
        if survived {
            break;
        }
    }
    assert!(seen.is_sorted() && seen.first() == Some(&1) && seen.last() == Some(&2), "{seen:?}");
}

#[test]
#[ignore = "the process that the power is taken from; started by other tests"]
fn a_process_that_takes() {
    let Some(path) = directory_of_child() else { return };
    let store = Store::open(&path, EXPECTED, OPTIONS).unwrap();
    write(&store, index_of(&store.tables) + 1..=40);
    store.snapshots(applied).take().unwrap();
}

#[test]
fn a_full_disk_costs_the_snapshot_and_nothing_else() {
    let child = Child::on_a_copy_of(tempfile::TempDir::new().unwrap().path());
    fs::write(order(&child.path()), exported(80).1).unwrap();
    let mut command = child.command("a_process_that_finds_the_disk_full");
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    meet(&mut process, "may be full", || child.disk.fill().unwrap());
    meet(&mut process, "may have room", || child.disk.make_room().unwrap());
    assert!(process.wait().unwrap().success());
}

#[test]
#[ignore = "a process on a disk that another test fills"]
fn a_process_that_finds_the_disk_full() {
    let Some(path) = directory_of_child() else { return };
    let import = order(&path);
    let store = Store::open(&path, EXPECTED, OPTIONS).unwrap();
    let snapshots = store.snapshots(applied);
    write(&store, 1..=20);
    let first = snapshots.take().unwrap();
    write(&store, 21..=40);
    wait_for_parent("may be full");
    for _ in 0..3 {
        let refused = snapshots.take().unwrap_err();
        assert!(matches!(refused, StorageError::Io { .. }) && !snapshots.is_final(&refused), "{refused}");
        assert!(refused.to_string().contains("room"), "{refused}");
        let refused = snapshots.import(fs::File::open(&import).unwrap()).unwrap_err();
        assert!(matches!(refused, StorageError::Io { .. }) && !snapshots.is_final(&refused), "{refused}");
    }
    assert_eq!(snapshots.kept().unwrap(), std::slice::from_ref(&first));
    assert_eq!(names(&path.join("snapshots")), [name_of(first.id)]);
    write(&store, 41..=60);
    assert_eq!(index_of(&store.tables), 60);
    wait_for_parent("may have room");
    assert_eq!(snapshots.take().unwrap().position.index, LogIndex(60));
    let manifest = snapshots.import(fs::File::open(&import).unwrap()).unwrap();
    snapshots.install(manifest.id).unwrap();
    assert_eq!(index_of(&store.tables), 80);
}

#[test]
fn an_exported_snapshot_is_imported_and_installed_elsewhere() {
    let (manifest, file) = exported(30);
    assert_eq!(check_export(&file[..]).unwrap(), manifest);
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    // Cut off half way, then from the beginning.
    snapshots.import(&file[..file.len() / 2]).unwrap_err();
    assert_eq!(snapshots.import(&file[..]).unwrap(), manifest);
    assert_eq!(snapshots.import(&file[..]).unwrap(), manifest, "what is here already is no obstacle");
    snapshots.install(manifest.id).unwrap();
    assert_eq!(index_of(&store.tables), 30);
    let mut again = Vec::new();
    snapshots.export(manifest.id, &mut again).unwrap();
    assert!(again == file, "it is the same file wherever it comes from");
    let missing = snapshots.export(SnapshotId(7), &mut again).unwrap_err();
    assert!(matches!(missing, StorageError::MissingSnapshot { .. }));
}

/// Does something as soon as the first bytes are written to it.
struct Interrupted<F: FnMut()>(Vec<u8>, F);

impl<F: FnMut()> std::io::Write for Interrupted<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            (self.1)();
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_being_exported_stays_until_it_is_whatever_is_taken_meanwhile() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    write(&store, 1..=5);
    let oldest = snapshots.take().unwrap();
    let mut out = Interrupted(Vec::new(), || {
        for number in 6..=8 {
            write(&store, [number]);
            snapshots.take().unwrap();
        }
        assert_eq!(snapshots.kept().unwrap().len(), 3, "the two newest, and the one that is held");
    });
    snapshots.export(oldest.id, &mut out).unwrap();
    assert_eq!(check_export(&out.0[..]).unwrap(), *oldest);
    let kept: Vec<u64> = snapshots.kept().unwrap().iter().map(|kept| kept.position.index.0).collect();
    assert_eq!(kept, [8, 7]);
    assert_eq!(names(&disk.path().join("snapshots")).len(), 2);
}

#[test]
fn a_snapshot_that_is_damaged_while_it_is_exported_ends_in_an_error() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    write(&store, 1..=5);
    let taken = snapshots.take().unwrap();
    let place = disk.path().join("snapshots").join(name_of(taken.id));
    let mut out = Interrupted(Vec::new(), || spoil(&place, &taken, taken.bytes() - 1));
    let error = snapshots.export(taken.id, &mut out).unwrap_err();
    assert!(matches!(error, StorageError::DamagedSnapshot { .. }), "{error}");
    assert!(check_export(&out.0[..]).is_err(), "and nobody takes what came for whole");
}

#[test]
fn a_file_that_was_cut_off_or_garbled_is_refused_and_says_why() {
    let (manifest, file) = exported(30);
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let snapshots = store.snapshots(applied);
    let refused = |file: &[u8]| {
        let refused = check_export(file).unwrap_err();
        assert!(matches!(refused, StorageError::BadExport { .. }), "{refused}");
        snapshots.import(file).unwrap_err();
        refused.to_string()
    };
    let head = file.len() - usize::try_from(manifest.bytes()).unwrap();
    for end in (0..head + 64).step_by(7).chain([file.len() / 2, file.len() - 1]) {
        assert!(refused(&file[..end]).contains("ends within"), "cut off at {end}");
    }
    for at in (0..head).step_by(7).chain((head..file.len()).step_by(997)) {
        let mut garbled = file.clone();
        garbled[at] ^= 0x20;
        refused(&garbled);
    }
    let mut newer = file.clone();
    newer[8] += 1;
    assert!(refused(&newer).contains("version 3"));
    let mut longer = file.clone();
    longer.push(0);
    assert!(refused(&longer).contains("follows"));
    assert!(refused(b"<!DOCTYPE html> and so on").contains("does not begin like one"));
    assert_eq!(store.tables.get(common::snapshots::META, b"applied").unwrap(), None, "nothing of it was used");
    assert_eq!(names(&disk.path().join("snapshots")), [""; 0]);
}

#[test]
fn nothing_is_taken_before_there_are_members() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    assert!(matches!(store.snapshots(applied).take(), Err(StorageError::NotFounded)));
}

#[test]
fn what_was_taken_already_is_not_taken_again() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=9);
    let first = store.snapshots(applied).take().unwrap();
    assert_eq!(store.snapshots(applied).take().unwrap(), first);
    assert_eq!(store.snapshots(applied).kept().unwrap().len(), 1);
}

#[test]
fn the_log_tells_when_an_installation_has_had_its_effect() {
    let (_, file) = exported(30);
    let mut disk = Disk::default();
    let store = disk.open_store().unwrap();
    let manifest = store.snapshots(applied).import(&file[..]).unwrap();
    store.snapshots(applied).install(manifest.id).unwrap();
    assert_eq!(store.snapshots(applied).installed().unwrap(), Some(manifest.position));
    store.log.trim(manifest.position).unwrap();
    assert_eq!(store.snapshots(applied).installed().unwrap(), None);
    disk.freeze();
    drop(store);
    assert_eq!(disk.open_store().unwrap().snapshots(applied).installed().unwrap(), None);
}

/// A data directory whose tables were installed at 30.
fn installed() -> Disk {
    let (_, file) = exported(30);
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    let manifest = store.snapshots(applied).import(&file[..]).unwrap();
    store.snapshots(applied).install(manifest.id).unwrap();
    disk
}

#[test]
fn tables_that_the_pointer_does_not_lead_to_are_an_error_and_never_blank() {
    let disk = installed();
    assert!(!disk.path().join("tables").exists(), "the old tables are gone");
    let refused = || disk.open_store().err().unwrap();
    let pointer = fs::read(disk.path().join("live")).unwrap();
    fs::remove_file(disk.path().join("live")).unwrap();
    assert!(matches!(refused(), StorageError::NoTables { .. }));
    fs::write(disk.path().join("live"), &pointer[..pointer.len() - 1]).unwrap();
    assert!(matches!(refused(), StorageError::Damaged { .. }));
    fs::write(disk.path().join("live"), &pointer).unwrap();
    fs::rename(disk.path().join("tables-000001"), disk.path().join("tables-000002")).unwrap();
    assert!(matches!(refused(), StorageError::NoTables { .. }));
    fs::rename(disk.path().join("tables-000002"), disk.path().join("tables-000001")).unwrap();
    assert_eq!(index_of(&disk.open_store().unwrap().tables), 30);
}

#[test]
fn inspection_shows_snapshots_and_their_damage() {
    let disk = installed();
    let store = disk.open_store().unwrap();
    write(&store, 31..=50);
    let newest = store.snapshots(applied).take().unwrap();
    drop(store);
    let found = inspect(&disk.path()).unwrap();
    let shown: Vec<_> = found.snapshots.iter().map(|found| (found.position.index.0, found.sound)).collect();
    assert_eq!((shown, found.damage.len()), (vec![(50, true), (30, true)], 0));
    assert_eq!((found.snapshots[0].id, found.snapshots[0].bytes), (newest.id, newest.bytes()));
    assert_eq!((found.installed.unwrap().index, found.tables), (LogIndex(30), vec!["data".into(), "meta".into()]));

    let place = disk.path().join("snapshots").join(name_of(newest.id));
    spoil(&place, &newest, newest.bytes() - 1);
    let found = inspect(&disk.path()).unwrap();
    assert_eq!(found.snapshots.iter().map(|found| found.sound).collect::<Vec<_>>(), [false, true]);
    assert!(
        found.damage[0].contains(&name_of(newest.id)) && found.damage[0].contains("checksum"),
        "{:?}",
        found.damage
    );

    let file = place.join(&newest.files.last().unwrap().name);
    truncate(&file, length(&file) - 1);
    let found = inspect(&disk.path()).unwrap();
    assert_eq!((found.snapshots.len(), found.damage.len()), (1, 1));
    let store = disk.open_store().unwrap();
    assert_eq!(store.snapshots(applied).kept().unwrap().len(), 1, "what is not whole is thrown away");
}

#[test]
fn a_snapshot_takes_little_room_beside_the_tables_that_it_is_of() {
    let mut disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=200);
    let first = store.snapshots(applied).take().unwrap();
    write(&store, 201..=210);
    let second = store.snapshots(applied).take().unwrap();
    let tables = |manifest: &SnapshotManifest| {
        let files = manifest.files.iter().filter(|file| file.name.ends_with(".sst"));
        files.map(|file| file.name.clone()).collect::<Vec<_>>()
    };
    let shared: Vec<_> = tables(&second).into_iter().filter(|name| tables(&first).contains(name)).collect();
    assert!(!shared.is_empty());
    for name in shared {
        use std::os::unix::fs::MetadataExt;
        let inode = |directory: String| fs::metadata(disk.path().join(directory).join(&name)).unwrap().ino();
        let place = |manifest: &SnapshotManifest| inode(format!("snapshots/{}", name_of(manifest.id)));
        assert_eq!(place(&first), place(&second));
        assert_eq!(place(&first), inode("tables".into()));
    }
    let log = store.log.clone();
    drop((store, log));
    disk.freeze();
    assert_eq!(LogStoreFactory::open(&mut disk).unwrap().base().index, LogIndex::ZERO);
}

thread_local! {
    /// Tables that are written while it is read how far they have come.
    static WRITTEN_MEANWHILE: RefCell<Option<Arc<RocksTables>>> = const { RefCell::new(None) };
}

/// Reads the record twice, as a machine that keeps two would, and lets a batch come between.
fn applied_twice(
    tables: &dyn TableRead<Error = StorageError>,
) -> Result<AppliedState, Box<dyn std::error::Error + Send + Sync>> {
    let first = applied(tables)?;
    if let Some(written) = WRITTEN_MEANWHILE.take() {
        written.write(numbered(first.position.index.0 + 1))?;
    }
    if applied(tables)? == first { Ok(first) } else { Err("the two records are of two moments".into()) }
}

#[test]
fn how_far_the_tables_have_come_is_read_as_of_one_moment() {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=20);
    WRITTEN_MEANWHILE.set(Some(store.tables.clone()));
    let taken = store.snapshots(applied_twice).take().unwrap();
    assert!(WRITTEN_MEANWHILE.take().is_none() && taken.position.index == LogIndex(21));
}
