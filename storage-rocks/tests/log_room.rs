//! A log that is trimmed takes room for what it holds, however much went through it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Disk, files_of, length};
use consensus_api::testkit::log_store::{LogStoreFactory, entry, put};
use consensus_api::{LogIndex, LogPosition, LogStore};

const ENTRIES: u64 = 1_000_000;
const BATCH: u64 = 500;
const TRIM_EACH: u64 = 10_000;
const TAIL: u64 = 10_000;
/// More than the write-ahead log may take, and one batch above it.
const WAL_BYTES_MAX: u64 = 136 << 20;
/// What was in memory when it was flushed, and has not been compacted with what removes it.
const FILES_BYTES_MAX: u64 = 48 << 20;

#[test]
fn a_million_entries_with_trims_leave_room_for_the_tail() {
    let mut disk = Disk::without_sync();
    let log = disk.open_log().unwrap();
    let (mut wal_max, mut files_max) = (0, 0);
    let mut trims = Vec::new();
    let begun = Instant::now();
    for first in (1..=ENTRIES).step_by(BATCH as usize) {
        let last = first + BATCH - 1;
        log.write(&[put(first, (first..=last).map(|index| entry(index, 1, "a small command of some forty bytes")))])
            .unwrap();
        if last.is_multiple_of(TRIM_EACH) && last > TAIL {
            let at = Instant::now();
            log.trim(LogPosition { index: LogIndex(last - TAIL), ..LogPosition::default() }).unwrap();
            trims.push(at.elapsed());
            let sum = |extension| files_of(&disk.log_path(), extension).iter().map(|path| length(path)).sum::<u64>();
            (wal_max, files_max) = (wal_max.max(sum("log")), files_max.max(sum("sst")));
        }
    }
    trims.sort();
    let (median, last) = (trims[trims.len() / 2], trims[trims.len() - 1]);
    let total: Duration = trims.iter().sum();
    println!(
        "at most {} KiB of write-ahead log, {} KiB of files; {} trims: median {median:?}, longest {last:?}, {total:?} of {:?}",
        wal_max >> 10,
        files_max >> 10,
        trims.len(),
        begun.elapsed()
    );
    assert!(wal_max < WAL_BYTES_MAX, "{wal_max} bytes of write-ahead log");
    assert!(files_max < FILES_BYTES_MAX, "{files_max} bytes of files");
    disk.close(log);
    let log = disk.open_log().unwrap();
    let recovered = log.recover(1 << 30).unwrap();
    assert_eq!((log.base().index, recovered.tail.len() as u64), (LogIndex(ENTRIES - TAIL), TAIL));
}
