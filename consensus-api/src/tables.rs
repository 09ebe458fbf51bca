//! Ordered tables beneath a state machine: RocksDB in service, memory in simulation, the same machine above.

use std::ops::ControlFlow;

use bytes::Bytes;

/// One of a store's tables, by its place in the list of names with which the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

/// Changes to tables that happen together or not at all. Later changes to a key win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableBatch {
    /// In order; `None` removes the key.
    pub changes: Vec<(Table, Bytes, Option<Bytes>)>,
}

impl TableBatch {
    /// Sets a key.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((table, key.into(), Some(value.into())));
    }

    /// Removes a key.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.changes.push((table, key.into(), None));
    }
}

/// Called with each key and value of a scan, in order of the keys' bytes; may end it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reading ordered tables.
pub trait TableRead {
    /// Why it failed; final for the replica.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Self::Error>;

    /// Visits the keys from `start` to before `end` (to the last one without it).
    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), Self::Error>;
}

/// Ordered tables that one thread writes while others read.
pub trait Tables: TableRead + Send + Sync + 'static {
    /// A view that later writes do not change.
    fn view(&self) -> Box<dyn TableRead<Error = Self::Error> + '_>;

    /// Performs the batch atomically, visible at once. It need not be durable: what a power loss takes is a suffix of
    /// the batches, never part of one.
    fn write(&self, batch: TableBatch) -> Result<(), Self::Error>;

    /// The value of `key` that would survive a power loss now.
    fn get_persisted(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Self::Error>;

    /// Makes every batch so far durable.
    fn flush(&self) -> Result<(), Self::Error>;
}
