//! The tables as they will be: what is in them, beneath what the slice of entries at hand has changed so far.
//!
//! ```text
//!   staged    the command under way: settled when it has succeeded, abandoned when it is refused
//!   settled   the commands of the slice before it
//!   tables    everything before the slice
//! ```
//!
//! A whole slice becomes one batch with one change for each key, however often the slice has written it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use consensus_api::{TableBatch, Tables};

use crate::error::KvError;
use crate::item::Item;
use crate::scan::{PageBuilder, ScanLimits, ScanRange};
use crate::schema::DATA;

/// `None` where the key is removed.
type Change = Option<Item>;

pub(crate) struct Overlay<'a, T> {
    tables: &'a T,
    settled: BTreeMap<Bytes, Change>,
    /// What was settled so far, values that were since overwritten included.
    settled_bytes: usize,
    /// A list and no map: nearly every command stages one key, and no command more than a transaction's operations,
    /// each of them once.
    staged: Vec<(Bytes, Change)>,
}

impl<'a, T: Tables> Overlay<'a, T> {
    pub(crate) fn new(tables: &'a T) -> Overlay<'a, T> {
        Overlay { tables, settled: BTreeMap::new(), settled_bytes: 0, staged: Vec::new() }
    }

    /// What stands under `key` now.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Item>, KvError> {
        let staged = self.staged.iter().find(|(staged, _)| **staged == *key).map(|(_, change)| change);
        if let Some(change) = staged.or_else(|| self.settled.get(key)) {
            return Ok(change.clone());
        }
        let stored = self.tables.get(DATA, key).map_err(KvError::tables)?;
        stored.map(|stored| Item::from_stored(key, &stored)).transpose()
    }

    /// Stages a change of the command under way. No command changes a key twice.
    pub(crate) fn stage(&mut self, key: Bytes, change: Change) {
        self.staged.push((key, change));
    }

    /// Whether the command under way has changed anything.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// The command under way has succeeded.
    pub(crate) fn settle(&mut self) {
        let bytes = |(key, change): &(Bytes, Change)| key.len() + change.as_ref().map_or(0, |item| item.value.0.len());
        self.settled_bytes += self.staged.iter().map(bytes).sum::<usize>();
        self.settled.extend(self.staged.drain(..));
    }

    /// The bytes of keys and values that were settled.
    pub(crate) fn settled_bytes(&self) -> usize {
        self.settled_bytes
    }

    /// The command under way is refused, and has changed nothing.
    pub(crate) fn abandon(&mut self) {
        self.staged.clear();
    }

    /// The first items of the range, with the changes in their places.
    pub(crate) fn scan(&self, range: &ScanRange, limits: ScanLimits) -> Result<PageBuilder, KvError> {
        let mut page = PageBuilder::new(limits);
        if range.is_empty() {
            return Ok(page);
        }
        let mut changes = self.changes_in(range).into_iter().peekable();
        let mut damage = None;
        let mut visit = |key: &[u8], stored: &[u8]| {
            while let Some((key, change)) = changes.next_if(|(changed, _)| **changed < *key) {
                offer(&mut page, key, change)?;
            }
            if let Some((key, change)) = changes.next_if(|(changed, _)| **changed == *key) {
                return offer(&mut page, key, change);
            }
            match Item::from_stored(key, &Bytes::copy_from_slice(stored)) {
                Ok(item) => page.offer(key, item),
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        self.tables.scan(DATA, &range.start, range.end.as_deref(), &mut visit).map_err(KvError::tables)?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        if !page.more {
            let _full = changes.try_for_each(|(key, change)| offer(&mut page, key, change));
        }
        Ok(page)
    }

    fn changes_in(&self, range: &ScanRange) -> BTreeMap<&Bytes, &Change> {
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut changes: BTreeMap<&Bytes, &Change> =
            self.settled.range::<[u8], _>((Bound::Included(&*range.start), end)).collect();
        changes.extend(self.staged.iter().filter(|(key, _)| range.contains(key)).map(|(key, change)| (key, change)));
        changes
    }

    /// Everything that is settled, as changes of the data table.
    pub(crate) fn into_batch(self) -> TableBatch {
        assert!(self.staged.is_empty(), "a command was neither settled nor abandoned");
        let changes = self.settled.into_iter();
        TableBatch { changes: changes.map(|(key, change)| (DATA, key, change.map(|item| item.to_stored()))).collect() }
    }
}

fn offer(page: &mut PageBuilder, key: &[u8], change: &Change) -> ControlFlow<()> {
    match change {
        Some(item) => page.offer(key, item.clone()),
        None => ControlFlow::Continue(()),
    }
}
