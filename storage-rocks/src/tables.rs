//! The state machine's tables: a RocksDB with one column family for each.
//!
//! ```text
//!   write ──▶ memory, all tables in one batch ──flush──▶ files, all tables as of one batch
//!   get · scan · view: memory and files           get_persisted: files only
//! ```
//!
//! There is no write-ahead log: the replicated log is one. What a crash takes from memory is applied again from there,
//! which is why the log is trimmed no further than what [`get_persisted`](Tables::get_persisted) says was applied. The
//! files are the state after some batch, never between two: the column families are flushed together.
//!
//! The database can be exchanged for another one in a single step, as an installation does. Who is reading holds the old
//! one, and ends on it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use consensus_api::tables::Visit;
use consensus_api::{Table, TableBatch, TableRead, Tables};
use rocksdb::{
    ColumnFamily, DBAccess, DBRawIteratorWithThreadMode, FlushOptions, ReadOptions, ReadTier, Snapshot, WriteBatch,
    WriteOptions, properties,
};
use self_cell::self_cell;

use crate::error::StorageError;
use crate::generations::Generation;

/// Ordered [`Tables`] on RocksDB. Opened by [`Store::open`](crate::Store::open).
pub struct RocksTables {
    live: RwLock<Arc<Generation>>,
    writes: AtomicU64,
}

impl RocksTables {
    pub(crate) fn new(live: Generation) -> RocksTables {
        RocksTables { live: RwLock::new(Arc::new(live)), writes: AtomicU64::new(0) }
    }

    /// The database as of now.
    pub(crate) fn live(&self) -> Arc<Generation> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many batches were written since they were opened.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Puts another database in the place of this one; returns this one.
    pub(crate) fn exchange(&self, next: Generation) -> Arc<Generation> {
        std::mem::replace(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner), Arc::new(next))
    }
}

impl Generation {
    /// Whether no table holds anything.
    pub(crate) fn is_blank(&self) -> Result<bool, StorageError> {
        let mut blank = true;
        for table in (0..=u8::MAX).map(Table).take(self.names.len()) {
            self.scan(table, &[], None, &mut |_, _| {
                blank = false;
                ControlFlow::Break(())
            })?;
        }
        Ok(blank)
    }

    /// How many bytes of the tables are in memory only: more than a flush will write.
    pub(crate) fn unflushed_bytes(&self) -> Result<u64, StorageError> {
        let sizes = self.families().into_iter().map(|family| {
            let size = self.db.property_int_value_cf(family, properties::CUR_SIZE_ALL_MEM_TABLES);
            Ok(size.map_err(StorageError::rocks("ask RocksDB for its memory"))?.unwrap_or(0))
        });
        sizes.sum()
    }

    /// Refuses to go on where a flush or a compaction has failed: RocksDB reports that to nobody.
    pub(crate) fn check_background(&self) -> Result<(), StorageError> {
        let errors = self.db.property_int_value(properties::BACKGROUND_ERRORS);
        match errors.map_err(StorageError::rocks("ask RocksDB for errors"))? {
            None | Some(0) => Ok(()),
            Some(errors) => Err(StorageError::Background { errors }),
        }
    }

    fn family(&self, table: Table) -> &ColumnFamily {
        let family = self.names.get(usize::from(table.0)).and_then(|name| self.db.cf_handle(name));
        let Some(family) = family else { unreachable!("{table:?} is none of {:?}", self.names) };
        family
    }

    /// Every table, in order.
    fn families(&self) -> Vec<&ColumnFamily> {
        (0..=u8::MAX).map(Table).take(self.names.len()).map(|table| self.family(table)).collect()
    }
}

impl TableRead for Generation {
    type Error = StorageError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.db.get_pinned_cf(self.family(table), key).map_err(StorageError::rocks("read a table"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StorageError> {
        walk(self.db.raw_iterator_cf_opt(self.family(table), before(end)), start, visit)
    }
}

impl TableRead for RocksTables {
    type Error = StorageError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.live().get(table, key)
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StorageError> {
        self.live().scan(table, start, end, visit)
    }
}

impl Tables for RocksTables {
    fn view(&self) -> Box<dyn TableRead<Error = StorageError> + '_> {
        Box::new(View(Frozen::new(self.live(), |live| live.db.snapshot())))
    }

    fn write(&self, batch: TableBatch) -> Result<(), StorageError> {
        let live = self.live();
        let families = live.families();
        let bytes =
            |(_, key, value): &(Table, Bytes, Option<Bytes>)| key.len() + value.as_ref().map_or(0, Bytes::len) + 16;
        let mut changes = WriteBatch::with_capacity_bytes(batch.changes.iter().map(bytes).sum());
        for (table, key, value) in &batch.changes {
            let family = families[usize::from(table.0)];
            match value {
                Some(value) => changes.put_cf(family, key, value),
                None => changes.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        live.db.write_opt(changes, &options).map_err(StorageError::rocks("write to the tables"))?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        live.check_background()
    }

    fn get_persisted(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        // RocksDB skips its memory for this tier as soon as anything was written without a write-ahead log, and here
        // everything is. Before the first write of a life memory is empty.
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let live = self.live();
        let value = live.db.get_pinned_cf_opt(live.family(table), key, &options);
        Ok(value.map_err(StorageError::rocks("read a table"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let live = self.live();
        live.db.flush_cfs_opt(&live.families(), &options).map_err(StorageError::rocks("flush the tables"))
    }
}

self_cell!(
    /// A snapshot together with the database that it is of, which may have been exchanged meanwhile.
    struct Frozen {
        owner: Arc<Generation>,
        #[covariant]
        dependent: Snapshot,
    }
);

/// The tables as they were.
struct View(Frozen);

impl TableRead for View {
    type Error = StorageError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.0.borrow_dependent().get_pinned_cf(self.0.borrow_owner().family(table), key);
        Ok(value.map_err(StorageError::rocks("read a table"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StorageError> {
        let family = self.0.borrow_owner().family(table);
        walk(self.0.borrow_dependent().raw_iterator_cf_opt(family, before(end)), start, visit)
    }
}

fn before(end: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    options
}

fn walk<D: DBAccess>(
    mut iterator: DBRawIteratorWithThreadMode<'_, D>,
    start: &[u8],
    visit: Visit<'_>,
) -> Result<(), StorageError> {
    iterator.seek(start);
    while let Some((key, value)) = iterator.item() {
        if visit(key, value) == ControlFlow::Break(()) {
            break;
        }
        iterator.next();
    }
    iterator.status().map_err(StorageError::rocks("read a table"))
}
