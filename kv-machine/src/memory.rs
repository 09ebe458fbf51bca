//! Ordered tables in memory, with a disk that can be pulled: for the simulator and for tests.
//!
//! ```text
//!   persisted ──► what a power loss leaves
//!       + unflushed batches, oldest first, of which a power loss takes a suffix
//!       = live ──► what reads see
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use consensus_api::tables::Visit;
use consensus_api::{Table, TableBatch, TableRead, Tables};

use crate::schema::TABLES;

/// The most batches that wait to be persisted; beyond that the oldest goes to "disk", as a full memtable would.
pub const UNFLUSHED_BATCHES_MAX: usize = 4096;

/// The tables' contents. Each map is shared with the views that were taken of it, and copied before it is changed
/// beneath one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents([Arc<BTreeMap<Bytes, Bytes>>; TABLES.len()]);

impl Contents {
    /// Puts a key into a table, or refuses where there is no such table.
    pub(crate) fn put(&mut self, table: u8, key: Vec<u8>, value: Vec<u8>) -> bool {
        let map = self.0.get_mut(usize::from(table)).map(Arc::make_mut);
        map.map(|map| map.insert(key.into(), value.into())).is_some()
    }

    fn change(&mut self, batch: &TableBatch) {
        for (table, key, value) in &batch.changes {
            let map = Arc::make_mut(&mut self.0[usize::from(table.0)]);
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
    }
}

impl TableRead for Contents {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0[usize::from(table.0)].get(key).cloned())
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), Infallible> {
        // A map panics where the bounds cross; a range that ends before it begins is simply empty.
        if end.is_some_and(|end| end <= start) {
            return Ok(());
        }
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in self.0[usize::from(table.0)].range::<[u8], _>((Bound::Included(start), end)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    live: Contents,
    persisted: Contents,
    unflushed: VecDeque<TableBatch>,
}

impl State {
    fn persist(&mut self, batches: usize) {
        for batch in self.unflushed.drain(..batches.min(self.unflushed.len())) {
            self.persisted.change(&batch);
        }
    }
}

/// The machine's tables, in memory.
#[derive(Debug, Default)]
pub struct MemoryTables {
    state: RwLock<State>,
}

impl MemoryTables {
    /// Blank tables.
    pub fn new() -> MemoryTables {
        MemoryTables::default()
    }

    /// How many batches a power loss could take now.
    pub fn unflushed(&self) -> usize {
        self.read().unflushed.len()
    }

    /// Lets the oldest `batches` of the unflushed ones reach the disk, as a store does in its own time.
    pub fn persist(&self, batches: usize) {
        self.write_state().persist(batches);
    }

    /// The power fails just when the oldest `kept` of the unflushed batches have reached the disk: the others are lost.
    pub fn crash(&self, kept: usize) {
        let mut state = self.write_state();
        state.persist(kept);
        state.unflushed.clear();
        state.live = state.persisted.clone();
    }

    /// The same tables on another disk, all of them persisted: a checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> MemoryTables {
        let live = self.read().live.clone();
        MemoryTables { state: RwLock::new(State { persisted: live.clone(), live, unflushed: VecDeque::new() }) }
    }

    /// The contents as they are, for a snapshot.
    pub(crate) fn contents(&self) -> Contents {
        self.read().live.clone()
    }

    /// Other contents, durable, all at once. Views that were taken before go on seeing the old ones.
    pub(crate) fn exchange(&self, contents: Contents) {
        let mut state = self.write_state();
        *state = State { live: contents.clone(), persisted: contents, unflushed: VecDeque::new() };
    }

    // A poisoned lock means that a reader's visitor panicked: no change is ever left half done under it.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableRead for MemoryTables {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        self.read().live.get(table, key)
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, visit: Visit<'_>) -> Result<(), Infallible> {
        let live = self.read().live.clone();
        live.scan(table, start, end, visit)
    }
}

impl Tables for MemoryTables {
    fn view(&self) -> Box<dyn TableRead<Error = Infallible> + '_> {
        Box::new(self.read().live.clone())
    }

    fn write(&self, batch: TableBatch) -> Result<(), Infallible> {
        let mut state = self.write_state();
        state.live.change(&batch);
        state.unflushed.push_back(batch);
        if state.unflushed.len() > UNFLUSHED_BATCHES_MAX {
            state.persist(1);
        }
        Ok(())
    }

    fn get_persisted(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        self.read().persisted.get(table, key)
    }

    fn flush(&self) -> Result<(), Infallible> {
        self.persist(usize::MAX);
        Ok(())
    }
}
