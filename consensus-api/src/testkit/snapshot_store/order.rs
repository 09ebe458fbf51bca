//! Claims about receptions that are cut off, repeated, overtaken or come too late.

use crate::ids::LogIndex;
use crate::snapshot::SnapshotStore;

use super::{PIECE_BYTES, SnapshotDisk, pair};

/// Within a life nothing that was received is received again.
pub fn a_reception_goes_on_where_it_was_cut_off<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 80);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    for end in [0, 1, stream.len() / 3, stream.len() / 2, stream.len()] {
        target.receive_until(&manifest, &stream, end);
        assert_eq!(target.store.receive(&manifest).expect("receives"), end as u64);
    }
    assert_eq!(target.batch(), 0, "nothing was installed");
    target.store.install(manifest.id).expect("installs");
    assert_eq!(target.batch(), 80);
}

/// In the next life it goes on from some offset that was reached before, and arrives.
pub fn a_reception_goes_on_in_the_next_life<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 80);
    let stream = source.stream(&manifest, PIECE_BYTES);
    for end in [stream.len() / 3, stream.len() / 2, stream.len() - 1] {
        let target = disk.open();
        target.receive_until(&manifest, &stream, end);
        disk.crash(target);
        let target = disk.open();
        assert!(target.store.receive(&manifest).expect("receives") <= end as u64);
        disk.close(target);
    }
    let target = disk.open();
    target.receive_until(&manifest, &stream, stream.len());
    target.store.install(manifest.id).expect("installs");
    assert_eq!(target.batch(), 80);
}

/// Pieces that come twice, too early or too late change nothing.
pub fn bytes_at_another_offset_are_ignored<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 60);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    let middle = stream.len() / 2;
    target.receive_until(&manifest, &stream, middle);
    for offset in [0, 1, middle - 1, middle + 1, stream.len(), stream.len() + 1] {
        let next = target.store.append(manifest.id, offset as u64, &[0xee; 50]).expect("ignores");
        assert_eq!(next, middle as u64, "bytes at {offset}");
    }
    target.receive_until(&manifest, &stream, stream.len());
    target.store.install(manifest.id).expect("installs");
    assert_eq!(target.batch(), 60);
}

/// Only one is received at a time: the last that was asked for.
pub fn another_snapshot_replaces_the_one_that_is_being_received<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, first, mut disk) = pair(blank, 40);
    let stream = source.stream(&first, PIECE_BYTES);
    source.write(41..=70);
    let second = source.take();
    let target = disk.open();
    target.receive_until(&first, &stream, stream.len() / 2);
    assert_eq!(target.store.receive(&second).expect("receives"), 0);
    assert!(target.store.append(first.id, stream.len() as u64 / 2, &[1]).is_err(), "it was given up");
    assert!(target.store.install(first.id).is_err());
    target.install_from(&source, &second);
    assert_eq!(target.batch(), 70);
}

/// Nothing is left of what was given up, in this life and in the next; and to give up nothing is no error.
pub fn a_reception_that_is_given_up_begins_anew<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 60);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let mut target = disk.open();
    target.store.give_up();
    for _ in 0..2 {
        target.receive_until(&manifest, &stream, stream.len());
        target.store.give_up();
        assert!(target.store.append(manifest.id, stream.len() as u64, &[1]).is_err(), "it was given up");
        assert!(target.store.install(manifest.id).is_err());
        disk.close(target);
        target = disk.open();
        assert_eq!(target.store.receive(&manifest).expect("receives"), 0, "nothing of it is left");
        target.store.give_up();
    }
    target.install_from(&source, &manifest);
    target.store.give_up();
    assert_eq!((target.batch(), target.kept()), (60, vec![manifest]));
}

/// Half a snapshot is none, and the error is not the end.
pub fn what_is_not_all_here_is_not_installed<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 40);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    target.write(1..=7);
    let refused = target.store.install(manifest.id).expect_err("nothing was received");
    assert!(!target.store.is_final(&refused));
    target.receive_until(&manifest, &stream, stream.len() - 1);
    let refused = target.store.install(manifest.id).expect_err("a byte is missing");
    assert!(!target.store.is_final(&refused));
    assert_eq!(target.batch(), 7);
    target.install_from(&source, &manifest);
    assert_eq!(target.batch(), 40);
}

/// Tables never go back.
pub fn an_older_snapshot_than_the_tables_is_refused<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 20);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    target.write(1..=21);
    target.receive_until(&manifest, &stream, stream.len());
    let refused = target.store.install(manifest.id).expect_err("it is older than the tables");
    assert!(!target.store.is_final(&refused));
    assert_eq!(target.batch(), 21);
    assert_eq!(target.store.installed().expect("reads"), None);
    target.write(22..=25);
    assert_eq!(target.take().position.index, LogIndex(25));
}

/// The same one a second time leaves everything as it is.
pub fn a_duplicate_changes_nothing<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 20);
    let target = disk.open();
    target.install_from(&source, &manifest);
    target.install_from(&source, &manifest);
    assert_eq!((target.batch(), target.kept()), (20, vec![manifest.clone()]));
    disk.close(target);
    let target = disk.open();
    target.install_from(&source, &manifest);
    assert_eq!((target.batch(), target.kept()), (20, vec![manifest]));
    assert_eq!(disk.strays(), [""; 0]);
}

/// What is kept and where the tables stand is that of the last installation.
pub fn two_in_quick_succession_leave_the_second<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, first, mut disk) = pair(blank, 20);
    source.write(21..=40);
    let second = source.take();
    let target = disk.open();
    target.install_from(&source, &first);
    target.install_from(&source, &second);
    assert_eq!((target.batch(), target.kept()), (40, vec![second.clone(), first]));
    assert_eq!(target.store.installed().expect("reads"), Some(second.position));
    assert_eq!(disk.strays(), [""; 0]);
}
