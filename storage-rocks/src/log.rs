//! The log: entries by index, the hard state and the base, in one RocksDB.
//!
//! ```text
//!   write ──▶ one batch: mark · removals · entries · hard state ──▶ write-ahead log ──▶ one sync ──▶ durable
//!                                                               ╰─▶ memory ──▶ files, later
//!   read ───▶ entries in order of key, each checked against the place where it was found
//! ```
//!
//! The base is the truth about what was trimmed: entries at or below it may still be in files, and nobody reads them.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus_api::{Entry, LogIndex, LogPosition, LogStore, Payload, RecoveredLog, SharedEntry, Write};
use rocksdb::{ColumnFamily, DB, ReadOptions};

use crate::counters::{LogCounts, PutEntries};
use crate::database::{Batch, Database, Durability};
use crate::error::StorageError;
use crate::occupied::Occupied;
use crate::peek;
use crate::record::Place;

/// Up to so many entries are removed one by one: every later read has to look at a removed range, but not at removed
/// keys, once those are compacted away.
const SINGLE_REMOVALS_MAX: u64 = 1024;

/// A [`LogStore`] on RocksDB. Opened by [`Store::open`](crate::Store::open).
pub struct RocksLog {
    database: Database,
    place: Place,
    base: Mutex<LogPosition>,
    /// No entry stands above this. Changed only while a batch is put together, and so by one thread at a time.
    highest: AtomicU64,
    /// Where entries have been put; looked at by whoever writes, and so by one thread at a time.
    occupied: Mutex<Occupied>,
    /// How much longer a write takes than the disk does.
    delay_us: AtomicU64,
}

impl RocksLog {
    pub(crate) fn open(database: Database, place: Place) -> Result<RocksLog, StorageError> {
        let base = read_base(&database.db, place)?;
        let highest = last_index(&database.db, database.entries(), place)?.unwrap_or_default().max(base.index);
        let occupied = Mutex::new(Occupied::through(highest));
        Ok(RocksLog {
            database,
            place,
            base: Mutex::new(base),
            highest: AtomicU64::new(highest.0),
            occupied,
            delay_us: AtomicU64::new(0),
        })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// What it has done since it was opened.
    pub fn counts(&self) -> LogCounts {
        self.database.counters().read()
    }

    /// For experiments with a slow disk: from now on each write takes so much longer before it is reported durable, as
    /// if its sync did. Holds up whoever writes, and nobody else. In steps of a microsecond.
    pub fn delay_writes(&self, delay: Duration) {
        self.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn occupied(&self) -> MutexGuard<'_, Occupied> {
        self.occupied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_base(&self, base: LogPosition) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
    }

    fn highest(&self) -> LogIndex {
        LogIndex(self.highest.load(Ordering::Acquire))
    }

    /// Adds to the batch what `write` does to the entries; returns the index above which none stands afterwards.
    fn put_entries(&self, batch: &mut Batch<'_>, write: &Write, highest: LogIndex) -> Result<LogIndex, StorageError> {
        let mut highest = highest;
        if let Some(from) = write.remove_from.filter(|from| *from <= highest) {
            if highest.0 - from.0 < SINGLE_REMOVALS_MAX {
                (from.0..=highest.0).for_each(|index| batch.delete_entry(self.place, LogIndex(index)));
            } else {
                batch.delete_entries(self.place, from, highest);
            }
            highest = from.previous();
        }
        for entry in &write.entries {
            batch.put_entry(self.place, entry)?;
            highest = highest.max(entry.index);
        }
        Ok(highest)
    }

    fn count_entries(&self, writes: &[Write]) {
        let mut put = PutEntries::default();
        let mut occupied = self.occupied();
        for entry in writes.iter().flat_map(|write| &write.entries) {
            put.add(entry.payload_bytes(), occupied.put(entry.index));
        }
        self.database.counters().add_entries(&put);
    }
}

impl LogStore for RocksLog {
    type Error = StorageError;

    fn is_synced(&self) -> bool {
        self.database.is_synced()
    }

    fn base(&self) -> LogPosition {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recover(&self, tail_bytes_max: usize) -> Result<RecoveredLog, StorageError> {
        let mut recovery = Recovery { tail_bytes_max, ..Recovery::default() };
        let first = self.base().index.next();
        scan(&self.database.db, self.database.entries(), self.place, first..=LogIndex(u64::MAX), |entry| {
            recovery.add(Arc::new(entry?));
            Ok(ControlFlow::Continue(()))
        })?;
        let mut recovered = recovery.log;
        *self.occupied() = Occupied::found(self.base().index, &recovered.runs);
        recovered.tail = recovery.tail.into();
        recovered.commit = self.database.commit_index();
        recovered.hard_state = read_hard_state(&self.database.db, self.place)?;
        Ok(recovered)
    }

    fn write(&self, writes: &[Write]) -> Result<(), StorageError> {
        if writes.is_empty() {
            return Ok(());
        }
        let entries = writes.iter().flat_map(|write| &write.entries);
        let bytes = entries.map(|entry| entry.size_bytes() + 64).sum();
        let commit = writes.iter().rev().find_map(|write| write.commit);
        self.database.commit(bytes, commit, Durability::AsOpened, |batch| {
            let mut highest = self.highest();
            for write in writes {
                highest = self.put_entries(batch, write, highest)?;
            }
            self.highest.store(highest.0, Ordering::Release);
            self.count_entries(writes);
            match writes.iter().rev().find_map(|write| write.hard_state.clone()) {
                Some(hard_state) => {
                    batch.put(&self.place.hard_state_key(), &(self.place, consensus_api::Blob(hard_state)))
                }
                None => Ok(()),
            }
        })?;
        let delay = Duration::from_micros(self.delay_us.load(Ordering::Relaxed));
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        Ok(())
    }

    fn read(&self, range: RangeInclusive<LogIndex>, bytes_max: usize) -> Result<Vec<SharedEntry>, StorageError> {
        let first = self.base().index.next().max(*range.start());
        let mut entries: Vec<SharedEntry> = Vec::new();
        let mut bytes = 0;
        scan(&self.database.db, self.database.entries(), self.place, first..=*range.end(), |entry| {
            let entry = entry?;
            bytes += entry.size_bytes();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
            entries.push(Arc::new(entry));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    fn trim(&self, base: LogPosition) -> Result<(), StorageError> {
        let old = self.base();
        if base.index <= old.index {
            return Ok(());
        }
        // Always synced: files may be deleted right after, and the old base must not come back without them.
        self.database.commit(0, None, Durability::Synced, |batch| {
            batch.delete_entries(self.place, old.index.next(), base.index);
            self.highest.fetch_max(base.index.0, Ordering::AcqRel);
            batch.put(&self.place.base_key(), &(self.place, base))
        })?;
        self.set_base(base);
        self.occupied().trim(base.index);
        let (from, to) = (self.place.entry_key(LogIndex::ZERO), self.place.entry_key(base.index));
        if let Err(error) = self.database.db.delete_file_in_range_cf(self.database.entries(), from, to) {
            // Nothing is lost by it but room, until compaction comes there.
            tracing::warn!(%error, "files below the base not deleted");
        }
        Ok(())
    }

    fn restart_at(&self, base: LogPosition) -> Result<(), StorageError> {
        self.database.commit(0, None, Durability::Synced, |batch| {
            batch.delete_entries(self.place, LogIndex::ZERO, self.highest());
            self.highest.store(base.index.0, Ordering::Release);
            batch.put(&self.place.base_key(), &(self.place, base))
        })?;
        self.set_base(base);
        *self.occupied() = Occupied::through(base.index);
        Ok(())
    }
}

/// What is gathered while the whole log is read.
#[derive(Default)]
struct Recovery {
    log: RecoveredLog,
    tail: std::collections::VecDeque<SharedEntry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
}

impl Recovery {
    fn add(&mut self, entry: SharedEntry) {
        self.log.runs.set(entry.index, entry.ballot);
        if let Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } = &entry.payload {
            self.log.memberships.push((entry.index, membership.clone()));
        }
        self.tail_bytes += entry.size_bytes();
        self.tail.push_back(entry);
        while self.tail_bytes > self.tail_bytes_max && self.tail.len() > 1 {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |oldest| oldest.size_bytes());
        }
    }
}

/// The last index that was trimmed away, and its ballot.
pub(crate) fn read_base(db: &DB, place: Place) -> Result<LogPosition, StorageError> {
    let base = peek::get(db, &place.base_key(), |bytes| place.open("the log's base", bytes))?;
    Ok(base.unwrap_or_default())
}

/// The last hard state written.
pub(crate) fn read_hard_state(db: &DB, place: Place) -> Result<Option<bytes::Bytes>, StorageError> {
    let read = |bytes: &[u8]| place.open::<consensus_api::Blob>("the hard state", bytes);
    Ok(peek::get(db, &place.hard_state_key(), read)?.map(|hard_state| hard_state.0))
}

/// The last index under which an entry stands.
fn last_index(db: &DB, entries: &ColumnFamily, place: Place) -> Result<Option<LogIndex>, StorageError> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(place.entry_key(LogIndex::ZERO));
    options.set_iterate_upper_bound(place.end_key());
    let mut iterator = db.raw_iterator_cf_opt(entries, options);
    iterator.seek_to_last();
    let index = iterator.key().and_then(|key| key.last_chunk()).map(|index| LogIndex(u64::from_be_bytes(*index)));
    iterator.status().map_err(StorageError::rocks("read the log"))?;
    Ok(index)
}

/// Visits the entries of `range` in order, or why one cannot be read, until `visit` ends it.
pub(crate) fn scan(
    db: &DB,
    entries: &ColumnFamily,
    place: Place,
    range: RangeInclusive<LogIndex>,
    mut visit: impl FnMut(Result<Entry, StorageError>) -> Result<ControlFlow<()>, StorageError>,
) -> Result<(), StorageError> {
    if range.is_empty() {
        return Ok(());
    }
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound([&place.entry_key(*range.end())[..], &[0]].concat());
    let mut iterator = db.raw_iterator_cf_opt(entries, options);
    iterator.seek(place.entry_key(*range.start()));
    while let Some((key, value)) = iterator.item() {
        if visit(place.open_entry(key, value))?.is_break() {
            break;
        }
        iterator.next();
    }
    iterator.status().map_err(StorageError::rocks("read the log"))
}
