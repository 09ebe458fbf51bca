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

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use consensus_api::tables::Visit;
use consensus_api::{Table, TableBatch, TableRead, Tables};
use rocksdb::{
    ColumnFamily, DB, DBAccess, DBRawIteratorWithThreadMode, FlushOptions, ReadOptions, ReadTier, Snapshot, WriteBatch,
    WriteOptions, properties,
};

use crate::database::refused;
use crate::error::StorageError;
use crate::settings::{self, DEFAULT};

/// Ordered [`Tables`] on RocksDB. Opened by [`Store::open`](crate::Store::open).
pub struct RocksTables {
    db: DB,
    names: Vec<String>,
}

impl RocksTables {
    pub(crate) fn open(path: &Path, names: &[&str]) -> Result<RocksTables, StorageError> {
        let options = settings::tables_open();
        if path.join("CURRENT").exists() {
            let known = |found: &String| found == DEFAULT || names.contains(&found.as_str());
            if let Some(found) = list(path)?.into_iter().find(|found| !known(found)) {
                return Err(StorageError::UnknownTable { path: path.to_owned(), found });
            }
        }
        let db = DB::open_cf_descriptors(&options, path, settings::table_families(names))
            .map_err(|source| refused(path, "open the tables", source))?;
        Ok(RocksTables { db, names: names.iter().map(|name| (*name).to_owned()).collect() })
    }

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

    fn family(&self, table: Table) -> &ColumnFamily {
        let family = self.names.get(usize::from(table.0)).and_then(|name| self.db.cf_handle(name));
        let Some(family) = family else { unreachable!("{table:?} is none of {:?}", self.names) };
        family
    }
}

/// The tables that a database has, RocksDB's own among them.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, StorageError> {
    DB::list_cf(&settings::tables_open(), path).map_err(StorageError::rocks("list the tables"))
}

impl TableRead for RocksTables {
    type Error = StorageError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.db.get_pinned_cf(self.family(table), key).map_err(StorageError::rocks("read a table"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StorageError> {
        walk(self.db.raw_iterator_cf_opt(self.family(table), before(end)), start, visit)
    }
}

impl Tables for RocksTables {
    fn view(&self) -> Box<dyn TableRead<Error = StorageError> + '_> {
        Box::new(View { tables: self, snapshot: self.db.snapshot() })
    }

    fn write(&self, batch: TableBatch) -> Result<(), StorageError> {
        let families: Vec<&ColumnFamily> = (0..self.names.len())
            .map_while(|table| u8::try_from(table).ok())
            .map(|table| self.family(Table(table)))
            .collect();
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
        self.db.write_opt(changes, &options).map_err(StorageError::rocks("write to the tables"))?;
        let errors = self.db.property_int_value(properties::BACKGROUND_ERRORS);
        match errors.map_err(StorageError::rocks("ask RocksDB for errors"))? {
            None | Some(0) => Ok(()),
            Some(errors) => Err(StorageError::Background { errors }),
        }
    }

    fn get_persisted(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        // RocksDB skips its memory for this tier as soon as anything was written without a write-ahead log, and here
        // everything is. Before the first write of a life memory is empty.
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let value = self.db.get_pinned_cf_opt(self.family(table), key, &options);
        Ok(value.map_err(StorageError::rocks("read a table"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let families: Vec<&ColumnFamily> = self.names.iter().filter_map(|name| self.db.cf_handle(name)).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families, &options).map_err(StorageError::rocks("flush the tables"))
    }
}

/// The tables as they were.
struct View<'a> {
    tables: &'a RocksTables,
    snapshot: Snapshot<'a>,
}

impl TableRead for View<'_> {
    type Error = StorageError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.snapshot.get_pinned_cf(self.tables.family(table), key);
        Ok(value.map_err(StorageError::rocks("read a table"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StorageError> {
        walk(self.snapshot.raw_iterator_cf_opt(self.tables.family(table), before(end)), start, visit)
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
