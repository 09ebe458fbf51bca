//! Reading the recent changes in order of their revisions: what a watch is fed from.
//!
//! ```text
//!   table      [first … ][ … ][ … present revision]      records of slices, without a gap
//!   asked for        from ─────────►                      a page ends between two revisions, never within one
//! ```
//!
//! Several keys may change at one revision (a transaction, the end of a session); they always come in one page.

use std::ops::ControlFlow;

use bytes::Bytes;
use consensus_api::{Blob, TableRead};

use crate::error::KvError;
use crate::history::{Record, StoredChange};
use crate::item::Item;
use crate::scan::{ScanRange, charge_bytes};
use crate::schema::CHANGES;

/// A key changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// At which revision.
    pub revision: u64,
    /// Which key.
    pub key: Blob,
    /// What stands under it since; `None`: it was removed.
    pub item: Option<Item>,
}

/// How much a page of changes may hold. The changes of the first revision are returned whatever they are, or a watch
/// could never pass them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeLimits {
    /// The most changes.
    pub changes_max: usize,
    /// The most bytes: keys, values and a flat charge for each change.
    pub bytes_max: usize,
}

impl Default for ChangeLimits {
    fn default() -> ChangeLimits {
        ChangeLimits { changes_max: 1000, bytes_max: 4 << 20 }
    }
}

/// What has changed from a revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// All changes in the range from the revision that was asked for to before `next_revision`.
    Page {
        /// In order of revisions, and of their making within one.
        changes: Vec<Change>,
        /// Where the next page begins. Beyond the present revision where everything was found.
        next_revision: u64,
    },
    /// The revision that was asked for is not kept any more.
    Compacted {
        /// The first revision whose changes are kept; the one after the present one where none are.
        first_revision: u64,
    },
}

/// The changes of these tables, which are at `present`, in the range from revision `from` on.
pub(crate) fn read<E>(
    tables: &dyn TableRead<Error = E>,
    present: u64,
    range: &ScanRange,
    from: u64,
    limits: ChangeLimits,
) -> Result<Changes, KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    // Nothing was changed at revision 0, so it is as good as 1.
    let from = from.max(1);
    if from > present {
        return Ok(Changes::Page { changes: Vec::new(), next_revision: from });
    }
    let mut page = PageOfChanges { range, from, limits, changes: Vec::new(), bytes: 0, whole: 0, next: None };
    // The records follow one another without a gap. So where the first one found begins behind what was asked for, it is
    // the oldest; and nobody has to look for the oldest among what was removed before it.
    let (mut reached, mut compacted, mut failure) = (from, None, None);
    let mut visit = |key: &[u8], value: &[u8]| {
        let outcome = Record::of(key, value).and_then(|record| {
            if record.first_revision > reached {
                compacted = Some(record.first_revision);
                return Ok(ControlFlow::Break(()));
            }
            reached = record.last_revision + 1;
            record.visit(&mut |change| page.offer(change))
        });
        outcome.unwrap_or_else(|error| {
            failure = Some(error);
            ControlFlow::Break(())
        })
    };
    tables.scan(CHANGES, &from.to_be_bytes(), None, &mut visit).map_err(KvError::tables)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    if reached == from {
        return Ok(Changes::Compacted { first_revision: compacted.unwrap_or(present + 1) });
    }
    Ok(Changes::Page { changes: page.changes, next_revision: page.next.unwrap_or(reached) })
}

/// A page that is being filled.
struct PageOfChanges<'a> {
    range: &'a ScanRange,
    from: u64,
    limits: ChangeLimits,
    changes: Vec<Change>,
    bytes: usize,
    /// How many of the changes are of revisions before the last one.
    whole: usize,
    /// Where the next page begins, once this one is full.
    next: Option<u64>,
}

impl PageOfChanges<'_> {
    fn offer(&mut self, change: StoredChange<'_>) -> Result<ControlFlow<()>, KvError> {
        let StoredChange { revision, key, item } = change;
        if revision < self.from || !self.range.contains(key) {
            return Ok(ControlFlow::Continue(()));
        }
        if self.changes.last().is_some_and(|last| last.revision != revision) {
            self.whole = self.changes.len();
        }
        let item = item.map(|stored| Item::from_stored(key, &Bytes::copy_from_slice(stored))).transpose()?;
        self.bytes += item.as_ref().map_or(key.len(), |item| charge_bytes(key, item));
        let is_full = self.changes.len() >= self.limits.changes_max || self.bytes > self.limits.bytes_max;
        if is_full && self.whole > 0 {
            // What there is of this revision comes with the rest of it.
            self.changes.truncate(self.whole);
            self.next = Some(revision);
            return Ok(ControlFlow::Break(()));
        }
        self.changes.push(Change { revision, key: Blob(Bytes::copy_from_slice(key)), item });
        Ok(ControlFlow::Continue(()))
    }
}
