//! Each thing that a disk does wrong, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use consensus_api::WriteId;
use consensus_api::testkit::log_store::entry;

use super::*;

const PLENTY_BYTES: usize = 1 << 20;

fn put(index: u64) -> Write {
    Write { id: WriteId(index), entries: vec![entry(index, 1, "x")], ..Write::default() }
}

fn promise() -> Write {
    Write { id: WriteId(100), hard_state: Some(Bytes::from_static(b"promised")), ..Write::default() }
}

/// A disk with this many entries, each in a record of its own.
fn disk(entries: u64) -> Disk {
    let disk = Disk::new();
    for index in 1..=entries {
        disk.write(&[put(index)]).expect("a disk that is well writes");
    }
    disk
}

fn indexes(disk: &Disk) -> Vec<u64> {
    disk.durable_entries().iter().map(|entry| entry.index.0).collect()
}

#[test]
fn what_follows_a_lost_write_is_cut_off() {
    let disk = disk(2);
    let under_way = [put(3), put(4), put(5)];
    let groups: Vec<&[Write]> = under_way.iter().map(std::slice::from_ref).collect();
    assert_eq!(disk.lose_power(&groups, &[Fate::Whole, Fate::Missing, Fate::Whole]), Ok(1));
    assert_eq!(indexes(&disk), [1, 2, 3]);
}

#[test]
fn a_torn_write_is_cut_off() {
    let disk = disk(2);
    assert_eq!(disk.lose_power(&[&[put(3)]], &[Fate::Torn]), Ok(0));
    assert_eq!(indexes(&disk), [1, 2]);
    assert!(disk.recover(PLENTY_BYTES).is_ok());
}

#[test]
fn a_sync_fails_once_and_leaves_what_was_there() {
    let disk = disk(2);
    disk.fall_ill(Ailment::SyncFails);
    assert_eq!(disk.write(&[put(3)]), Err(DiskError::SyncFailed));
    assert_eq!(indexes(&disk), [1, 2]);
    assert_eq!(disk.write(&[put(3)]), Ok(()));
}

#[test]
fn a_full_disk_neither_writes_nor_opens_until_there_is_room() {
    let disk = disk(2);
    disk.fall_ill(Ailment::Full);
    assert_eq!(disk.write(&[put(3)]), Err(DiskError::Full));
    assert_eq!(disk.recover(PLENTY_BYTES).map(|_| ()), Err(DiskError::Full));
    assert!(disk.read(LogIndex(1)..=LogIndex(2), PLENTY_BYTES).is_ok(), "what is there can be read");
    disk.cure(Ailment::Full);
    assert_eq!(disk.write(&[put(3)]), Ok(()));
}

#[test]
fn a_failed_read_is_an_error_and_not_an_empty_answer() {
    let disk = disk(2);
    disk.fall_ill(Ailment::ReadsFail);
    assert_eq!(disk.read(LogIndex(1)..=LogIndex(2), PLENTY_BYTES), Err(DiskError::ReadFailed));
    assert_eq!(disk.recover(PLENTY_BYTES).map(|_| ()), Err(DiskError::ReadFailed));
}

#[test]
fn a_damaged_record_is_found_when_it_is_read_and_when_the_log_is_opened() {
    for (damage, error) in [
        (Damage::Corrupt, DiskError::Corrupt(Spot::Entry(LogIndex(2)))),
        (Damage::Misplaced, DiskError::Misplaced(Spot::Entry(LogIndex(2)))),
    ] {
        let disk = disk(4);
        assert_eq!(disk.damage(damage, 5), Some(error));
        assert_eq!(disk.read(LogIndex(1)..=LogIndex(4), PLENTY_BYTES), Err(error));
        assert!(disk.read(LogIndex(3)..=LogIndex(4), PLENTY_BYTES).is_ok(), "the others are legible");
        assert_eq!(disk.recover(PLENTY_BYTES).map(|_| ()), Err(error));
        assert!(error.is_for_good());
    }
}

#[test]
fn only_what_a_later_record_says_was_synced_is_damaged() {
    let disk = disk(3);
    for choice in 0..10 {
        assert_ne!(disk.damage(Damage::Corrupt, choice), Some(DiskError::Corrupt(Spot::Entry(LogIndex(3)))));
    }
    assert_eq!(Disk::new().damage(Damage::Corrupt, 0), None);
}

#[test]
fn where_there_is_no_entry_the_hard_state_is_damaged() {
    let disk = Disk::new();
    disk.write(&[promise()]).expect("writes");
    assert_eq!(disk.damage(Damage::Corrupt, 0), None, "it might be torn");
    disk.write(&[put(1)]).expect("writes");
    disk.write(&[Write { remove_from: Some(LogIndex(1)), ..Write::default() }]).expect("writes");
    assert_eq!(disk.damage(Damage::Corrupt, 1), Some(DiskError::Corrupt(Spot::HardState)));
    assert_eq!(disk.recover(PLENTY_BYTES).map(|_| ()), Err(DiskError::Corrupt(Spot::HardState)));
}

#[test]
fn damage_goes_with_what_is_trimmed() {
    let disk = disk(4);
    assert_eq!(disk.damage(Damage::Corrupt, 0), Some(DiskError::Corrupt(Spot::Entry(LogIndex(1)))));
    disk.trim(LogPosition { index: LogIndex(1), ..LogPosition::default() }).expect("trims");
    assert!(disk.recover(PLENTY_BYTES).is_ok());
}

#[test]
fn the_hard_state_is_damaged_now_and_then_where_there_are_entries() {
    let mut hard_states = 0;
    for choice in 0..100 {
        let disk = disk(2);
        disk.write(&[promise()]).expect("writes");
        disk.write(&[put(3)]).expect("writes");
        let error = disk.damage(Damage::Misplaced, choice);
        hard_states += u32::from(error == Some(DiskError::Misplaced(Spot::HardState)));
        assert_eq!(disk.recover(PLENTY_BYTES).err(), error);
    }
    assert_eq!(hard_states, 25);
}

#[test]
fn a_lost_record_is_refused_wherever_others_say_that_it_was_synced() {
    for (records, choice) in (2..6).flat_map(|records| (0..6).map(move |choice| (records, choice))) {
        let disk = disk(records);
        let error = disk.damage(Damage::Lost, choice);
        assert!(disk.is_damaged() && error.is_some_and(DiskError::is_for_good), "{error:?}");
        assert!(disk.read(LogIndex(1)..=LogIndex(records), PLENTY_BYTES).is_ok(), "the log is open");
        assert_eq!(disk.recover(PLENTY_BYTES).err(), error, "record {choice} from the end of {records}");
    }
    assert_eq!(disk(1).damage(Damage::Lost, 0), None, "nobody says that it was synced");
}

#[test]
fn the_tables_fail_with_their_disk() {
    let disk = disk(2);
    disk.fall_ill(Ailment::SyncFails);
    assert_eq!(disk.flush_tables(), Err(DiskError::SyncFailed));
    assert_eq!((disk.flush_tables(), disk.read_tables()), (Ok(()), Ok(())));
    disk.fall_ill(Ailment::Full);
    assert_eq!((disk.flush_tables(), disk.read_tables()), (Err(DiskError::Full), Ok(())));
    disk.fall_ill(Ailment::ReadsFail);
    assert_eq!(disk.read_tables(), Err(DiskError::ReadFailed));
}
