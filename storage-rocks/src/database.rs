//! The RocksDB beneath the log: numbered batches, one at a time, and none after one that failed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bincode::Encode;
use consensus_api::{Entry, LogIndex};
use rocksdb::{ColumnFamily, DB, WriteBatch, WriteOptions, properties};

use crate::counters::LogCounters;
use crate::error::StorageError;
use crate::peek;
use crate::record::{BATCH_KEY, BatchMark, Place, encode};
use crate::settings::{self, ENTRIES};

/// What a batch takes besides its entries.
const BATCH_FLAT_BYTES: usize = 256;

/// Whether a batch is on the disk when its commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// As the database was opened.
    AsOpened,
    /// Always.
    Synced,
}

/// The log's database, open.
pub(crate) struct Database {
    pub(crate) db: DB,
    sync: bool,
    counters: LogCounters,
    writer: Mutex<Writer>,
}

/// What the next batch goes on from.
struct Writer {
    last: BatchMark,
    /// The last batch that is known to be synced.
    synced: u64,
    /// Whether the last batch has content that no later batch vouches for.
    unsealed: bool,
    /// A batch failed, or is under way: nothing is written any more.
    failed: bool,
    buffer: Vec<u8>,
}

/// A batch that is being put together.
pub(crate) struct Batch<'a> {
    batch: WriteBatch,
    entries: &'a ColumnFamily,
    buffer: &'a mut Vec<u8>,
}

impl Database {
    /// Opens, and makes it if there is none. `expected` is the last batch that a [`Peek`](crate::peek::Peek) found:
    /// it must be the one that comes back. After this everything that came back is synced.
    pub(crate) fn open(path: &Path, sync: bool, expected: u64) -> Result<Database, StorageError> {
        let db = DB::open_cf_descriptors(&settings::log_open(), path, settings::log_families())
            .map_err(|source| refused(path, "open the log", source))?;
        let last = peek::last_mark(&db)?;
        if last.number != expected {
            return Err(StorageError::Lost { path: path.to_owned(), first: last.number + 1, through: expected });
        }
        let writer =
            Writer { synced: last.number, last, unsealed: false, failed: false, buffer: Vec::with_capacity(4096) };
        Ok(Database { db, sync, counters: LogCounters::default(), writer: Mutex::new(writer) })
    }

    /// Whether batches wait for the disk.
    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    /// What was done since it was opened.
    pub(crate) fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// The column family of the entries.
    pub(crate) fn entries(&self) -> &ColumnFamily {
        let Some(entries) = self.db.cf_handle(ENTRIES) else { unreachable!("the database was opened with it") };
        entries
    }

    /// The last commit index that rode along.
    pub(crate) fn commit_index(&self) -> LogIndex {
        self.writer().last.commit
    }

    /// Performs the batch that `fill` puts together, of about `bytes` bytes; `commit` rides along. After a failure
    /// every further batch fails: what an fsync that failed once left behind is never trusted again.
    pub(crate) fn commit(
        &self,
        bytes: usize,
        commit: Option<LogIndex>,
        durability: Durability,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut writer = self.writer();
        if writer.failed {
            return Err(StorageError::Finished);
        }
        writer.failed = true;
        self.perform(&mut writer, bytes, commit, durability, fill)?;
        writer.failed = false;
        writer.unsealed = true;
        Ok(())
    }

    fn perform(
        &self,
        writer: &mut Writer,
        bytes: usize,
        commit: Option<LogIndex>,
        durability: Durability,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mark = BatchMark {
            number: writer.last.number + 1,
            synced: writer.synced,
            commit: commit.unwrap_or(writer.last.commit),
        };
        let batch = WriteBatch::with_capacity_bytes(BATCH_FLAT_BYTES + bytes);
        let mut batch = Batch { batch, entries: self.entries(), buffer: &mut writer.buffer };
        // First, because there the survey of the write-ahead log looks for it.
        batch.put(BATCH_KEY, &mark)?;
        fill(&mut batch)?;
        let mut options = WriteOptions::default();
        let sync = self.sync || durability == Durability::Synced;
        options.set_sync(sync);
        self.db.write_opt(batch.batch, &options).map_err(StorageError::rocks("write to the log"))?;
        self.check_background()?;
        writer.last = mark;
        self.counters.add_write();
        if sync {
            self.counters.add_sync();
            // A sync covers everything that was written before it.
            writer.synced = mark.number;
        }
        Ok(())
    }

    /// RocksDB reports what fails in its own threads to nobody; it has to be asked.
    fn check_background(&self) -> Result<(), StorageError> {
        let errors = self
            .db
            .property_int_value(properties::BACKGROUND_ERRORS)
            .map_err(StorageError::rocks("ask RocksDB for errors"))?;
        match errors {
            None | Some(0) => Ok(()),
            Some(errors) => Err(StorageError::Background { errors }),
        }
    }

    /// Ends with an empty batch that says that all others are synced, so that damage to any of them is told from a
    /// torn tail.
    fn seal(&self) -> Result<(), StorageError> {
        let unsealed = {
            let mut writer = self.writer();
            if writer.unsealed && !writer.failed && writer.synced < writer.last.number {
                self.db.flush_wal(true).map_err(StorageError::rocks("sync the log"))?;
                self.counters.add_sync();
                writer.synced = writer.last.number;
            }
            writer.unsealed && !writer.failed
        };
        if unsealed { self.commit(0, None, Durability::Synced, |_| Ok(())) } else { Ok(()) }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic in the middle of a batch has left `failed` set.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "log not sealed");
        }
    }
}

impl Batch<'_> {
    /// Puts one of the marks.
    pub(crate) fn put(&mut self, key: &[u8], value: &impl Encode) -> Result<(), StorageError> {
        encode(|| format!("the log's '{}'", key.escape_ascii()), value, self.buffer)?;
        self.batch.put(key, &self.buffer);
        Ok(())
    }

    /// Puts an entry.
    pub(crate) fn put_entry(&mut self, place: Place, entry: &Entry) -> Result<(), StorageError> {
        encode(|| format!("entry {}", entry.index), &(place, entry), self.buffer)?;
        self.batch.put_cf(self.entries, place.entry_key(entry.index), &self.buffer);
        Ok(())
    }

    /// Removes an entry, if it is there.
    pub(crate) fn delete_entry(&mut self, place: Place, index: LogIndex) {
        self.batch.delete_cf(self.entries, place.entry_key(index));
    }

    /// Removes the entries from `first` to `last`.
    pub(crate) fn delete_entries(&mut self, place: Place, first: LogIndex, last: LogIndex) {
        let after = [&place.entry_key(last)[..], &[0]].concat();
        self.batch.delete_range_cf(self.entries, place.entry_key(first).to_vec(), after);
    }
}

/// What RocksDB says when a database cannot be opened; that another process holds it is worth a name of its own.
pub(crate) fn refused(path: &Path, doing: &'static str, source: rocksdb::Error) -> StorageError {
    let text = source.as_ref();
    if text.contains("lock file") || text.contains("lock hold by current process") {
        return StorageError::InUse { path: PathBuf::from(path) };
    }
    StorageError::Rocks { doing, source }
}
