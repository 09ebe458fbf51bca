//! The log keeps what every log store must keep, and stops where it cannot.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::snapshots::inspect;
use common::{Disk, files_of, invert, length};
use consensus_api::codec::VALUE_BYTES_MAX;
use consensus_api::testkit::log_store::{self, LogStoreFactory, entry, put};
use consensus_api::{Blob, Entry, LogIndex, LogPosition, LogStore, Payload, RequestId, Write};
use rocksdb::{DB, Options};
use storage_rocks::StorageError;

const PLENTY_BYTES: usize = 1 << 30;

fn open_raw(disk: &Disk) -> DB {
    DB::open_cf(&Options::default(), disk.log_path(), ["default", "entries"]).unwrap()
}

fn key(index: u64) -> Vec<u8> {
    [&[0; 8][..], &index.to_be_bytes()].concat()
}

/// The end of the write-ahead log after each of these many writes of one entry.
fn written(log: &impl LogStore, disk: &Disk, writes: u64) -> Vec<u64> {
    let write = |index| {
        log.write(&[put(index, [entry(index, 1, "an entry of some bytes")])]).unwrap();
        length(&disk.wal())
    };
    (1..=writes).map(write).collect()
}

#[test]
fn it_does_what_every_log_store_must_do() {
    log_store::run_all(Disk::default);
}

#[test]
fn a_delayed_write_is_durable_that_much_later_and_loses_nothing() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let delay = Duration::from_millis(5);
    log.delay_writes(delay);
    let since = Instant::now();
    written(&log, &disk, 3);
    assert!(since.elapsed() >= 3 * delay);
    disk.crash(log);
    assert_eq!(disk.open_log().unwrap().read(LogIndex(1)..=LogIndex(9), PLENTY_BYTES).unwrap().len(), 3);
}

#[test]
fn without_sync_it_still_loses_only_whole_writes() {
    log_store::run_all(Disk::without_sync);
}

#[test]
fn damage_before_the_last_batch_is_refused_and_stays_refused() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends = written(&log, &disk, 5);
    disk.crash(log);
    invert(&disk.wal(), ends[1] + 20, ends[1] + 24);
    for _ in 0..2 {
        let error = disk.open_log().err().expect("refused");
        // The boot was batch 1, so the third entry was batch 4; the mark of 6 says that 5 was synced.
        assert!(matches!(error, StorageError::Lost { first: 4, through: 5, .. }), "{error}");
    }
}

/// The list of the files of the log's database.
fn manifest_of(disk: &Disk) -> PathBuf {
    let current = fs::read_to_string(disk.log_path().join("CURRENT")).unwrap();
    disk.log_path().join(current.trim_end())
}

/// Has the manifest end with a step of which the header was saved, and nothing else but its length.
fn tear(manifest: &Path) {
    let mut bytes = fs::read(manifest).unwrap();
    bytes.extend([1, 2, 3, 4, 50, 0, 1]);
    bytes.extend([0; 50]);
    fs::write(manifest, bytes).unwrap();
}

#[test]
fn a_torn_last_step_of_its_manifest_costs_the_log_nothing() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.crash(log);
    let manifest = manifest_of(&disk);
    tear(&manifest);
    assert!(DB::open_cf(&Options::default(), disk.log_path(), ["default", "entries"]).is_err(), "nothing to mend");
    assert_eq!(disk.open_log().unwrap().recover(PLENTY_BYTES).unwrap().tail.len(), 3);
}

#[test]
fn a_torn_manifest_hides_no_batch_that_is_missing() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends = written(&log, &disk, 5);
    disk.crash(log);
    invert(&disk.wal(), ends[1] + 20, ends[1] + 24);
    tear(&manifest_of(&disk));
    let error = disk.open_log().err().expect("refused");
    assert!(matches!(error, StorageError::Lost { first: 4, through: 5, .. }), "{error}");
}

/// The first life's entries are in a file, and only this step names it. The marks of their batches are in another one.
#[test]
fn a_last_step_of_the_manifest_that_cannot_be_torn_is_not_cut_off() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    let log = disk.open_log().unwrap();
    log.write(&[put(9, [entry(4, 1, "x")])]).unwrap();
    disk.crash(log);
    let manifest = manifest_of(&disk);
    let sound = fs::read(&manifest).unwrap();
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.extend_from_within(..9),
    ];
    for (damage, is_fatal) in damages.into_iter().zip([true, true, false]) {
        let mut bytes = sound.clone();
        damage(&mut bytes);
        fs::write(&manifest, bytes).unwrap();
        let outcome = disk.open_log();
        if is_fatal {
            assert!(matches!(outcome.err(), Some(StorageError::DamagedManifest { .. })));
        } else {
            assert_eq!(outcome.unwrap().recover(PLENTY_BYTES).unwrap().tail.len(), 4, "what follows it may be torn");
        }
    }
}

#[test]
fn every_damaged_byte_of_an_earlier_batch_is_noticed() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends = written(&log, &disk, 4);
    disk.crash(log);
    for at in ends[0]..ends[1] {
        invert(&disk.wal(), at, at + 1);
        assert!(inspect(&disk.path()).unwrap().damage.iter().any(|text| text.contains("synced")), "byte {at}");
        invert(&disk.wal(), at, at + 1);
    }
    assert_eq!(inspect(&disk.path()).unwrap().damage, [""; 0]);
}

#[test]
fn a_block_of_zeros_in_the_middle_is_refused() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    for index in 1..=40 {
        log.write(&[put(index, [entry(index, 1, "x"), entry(100, 1, "y")])]).unwrap();
    }
    let ends = written(&log, &disk, 3);
    disk.crash(log);
    // What was never written reads as zeros.
    let wal = disk.wal();
    let mut bytes = fs::read(&wal).unwrap();
    bytes[usize::try_from(ends[0]).unwrap()..usize::try_from(ends[1]).unwrap()].fill(0);
    fs::write(&wal, bytes).unwrap();
    assert!(matches!(disk.open_log().err(), Some(StorageError::Lost { .. })));
}

#[test]
fn a_batch_that_is_cut_out_without_a_trace_is_missed() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends: Vec<usize> = written(&log, &disk, 4).into_iter().map(|end| usize::try_from(end).unwrap()).collect();
    disk.crash(log);
    let wal = disk.wal();
    let bytes = fs::read(&wal).unwrap();
    fs::write(&wal, [&bytes[..ends[0]], &bytes[ends[1]..]].concat()).unwrap();
    assert!(matches!(disk.open_log().err(), Some(StorageError::Lost { first: 3, .. })));
}

#[test]
fn batches_that_are_missing_between_the_files_and_the_write_ahead_log_are_missed() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    let flushed = inspect(&disk.path()).unwrap().last_batch;
    // The second life has put all of the first one's batches into files.
    let log = disk.open_log().unwrap();
    let ends: Vec<usize> = written(&log, &disk, 3).into_iter().map(|end| usize::try_from(end).unwrap()).collect();
    disk.crash(log);
    let wal = disk.wal();
    let bytes = fs::read(&wal).unwrap();
    fs::write(&wal, &bytes[ends[0]..]).unwrap();
    let error = disk.open_log().err().expect("refused");
    assert!(matches!(error, StorageError::Lost { first, .. } if first == flushed + 1), "{error}");
}

#[test]
fn damage_to_the_last_batch_of_a_stopped_log_costs_no_entry() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends = written(&log, &disk, 3);
    disk.close(log);
    let wal = disk.wal();
    invert(&wal, ends[2] + 8, length(&wal));
    let log = disk.open_log().unwrap();
    assert_eq!(log.recover(PLENTY_BYTES).unwrap().tail.len(), 3, "only the seal was damaged");
    disk.close(log);
}

#[test]
fn damage_to_the_last_entry_of_a_stopped_log_is_refused() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    let ends = written(&log, &disk, 3);
    disk.close(log);
    invert(&disk.wal(), ends[1] + 60, ends[2]);
    assert!(matches!(disk.open_log().err(), Some(StorageError::Lost { first: 4, through: 4, .. })));
}

#[test]
fn a_damaged_file_is_an_error_and_never_an_absent_entry() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    log.write(&[put(1, (1..=2000).map(|index| entry(index, 1, "an entry of some bytes")))]).unwrap();
    disk.close(log);
    let log = disk.open_log().unwrap();
    disk.close(log);
    let files = files_of(&disk.log_path(), "sst");
    let largest = files.iter().max_by_key(|file| length(file)).unwrap();
    let middle = length(largest) / 2;
    invert(largest, middle, middle + 16);
    let outcome = disk.open_log().and_then(|log| log.recover(PLENTY_BYTES));
    assert!(matches!(outcome, Err(StorageError::Rocks { .. })), "{outcome:?}");
    assert!(!inspect(&disk.path()).unwrap().damage.is_empty());
}

#[test]
fn a_damaged_record_is_refused() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    let raw = open_raw(&disk);
    let entries = raw.cf_handle("entries").unwrap();
    let mut record = raw.get_cf(entries, key(2)).unwrap().unwrap();
    *record.last_mut().unwrap() ^= 1;
    raw.put_cf(entries, key(2), record).unwrap();
    drop(raw);
    let log = disk.open_log().unwrap();
    assert!(matches!(log.recover(PLENTY_BYTES), Err(StorageError::Damaged { .. })));
    assert!(matches!(log.read(LogIndex(1)..=LogIndex(3), PLENTY_BYTES), Err(StorageError::Damaged { .. })));
    assert_eq!(log.read(LogIndex(3)..=LogIndex(3), PLENTY_BYTES).unwrap().len(), 1);
}

#[test]
fn an_intact_record_under_another_index_is_refused() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    let raw = open_raw(&disk);
    let entries = raw.cf_handle("entries").unwrap();
    let stale = raw.get_cf(entries, key(1)).unwrap().unwrap();
    raw.put_cf(entries, key(2), stale).unwrap();
    drop(raw);
    let error = disk.open_log().unwrap().recover(PLENTY_BYTES).unwrap_err();
    assert!(matches!(error, StorageError::Misplaced { .. }), "{error}");
    assert!(error.to_string().contains("entry 2") && error.to_string().contains("entry 1"), "{error}");
}

#[test]
fn an_intact_record_of_another_store_is_refused() {
    let mut other = Disk::default();
    let log = other.open_log().unwrap();
    written(&log, &other, 3);
    other.close(log);
    let raw = open_raw(&other);
    let stray = raw.get_cf(raw.cf_handle("entries").unwrap(), key(2)).unwrap().unwrap();

    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    let raw = open_raw(&disk);
    raw.put_cf(raw.cf_handle("entries").unwrap(), key(2), stray).unwrap();
    drop(raw);
    assert!(matches!(disk.open_log().unwrap().recover(PLENTY_BYTES), Err(StorageError::Misplaced { .. })));
}

#[test]
fn a_database_without_its_head_is_not_made_anew() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 3);
    disk.close(log);
    fs::remove_file(disk.log_path().join("CURRENT")).unwrap();
    assert!(matches!(disk.open_log().err(), Some(StorageError::Headless { .. })));
}

#[test]
fn after_a_write_that_failed_none_is_performed() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    written(&log, &disk, 2);
    let payload = Payload::Command { id: RequestId::default(), data: Blob::from(vec![0; VALUE_BYTES_MAX + 1]) };
    let too_large = Arc::new(Entry { payload, ..(*entry(3, 1, "")).clone() });
    assert!(matches!(log.write(&[put(3, [too_large])]), Err(StorageError::Unstorable { .. })));
    assert!(matches!(log.write(&[put(4, [entry(4, 1, "x")])]), Err(StorageError::Finished)));
    assert!(matches!(
        log.trim(LogPosition { index: LogIndex(1), ..LogPosition::default() }),
        Err(StorageError::Finished)
    ));
    disk.close(log);
    assert_eq!(disk.open_log().unwrap().recover(PLENTY_BYTES).unwrap().tail.len(), 2);
}

#[test]
fn long_removals_and_trims_leave_what_they_should() {
    let mut disk = Disk::default();
    let log = disk.open_log().unwrap();
    log.write(&[put(1, (1..=9000).map(|index| entry(index, 1, "x")))]).unwrap();
    log.write(&[Write { remove_from: Some(LogIndex(3001)), ..put(2, [entry(4000, 2, "y")]) }]).unwrap();
    log.trim(LogPosition { index: LogIndex(2998), ..LogPosition::default() }).unwrap();
    disk.close(log);
    let log = disk.open_log().unwrap();
    let found: Vec<u64> = log.recover(PLENTY_BYTES).unwrap().tail.iter().map(|entry| entry.index.0).collect();
    assert_eq!(found, [2999, 3000, 4000]);
}
