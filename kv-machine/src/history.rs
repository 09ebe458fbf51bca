//! The recent changes, in a table of their own: what a watch is fed from, also after a restart.
//!
//! ```text
//!   key    last revision of a slice of entries, u64 BE
//!   value  ┌────────┬─────────────────┬───────────────┬──────────────────────────────────────────────┐
//!          │ form   │ bytes of all    │ first         │ changes in order: revision u64 LE            │
//!          │ 1 byte │ records before, │ revision,     │   key length u32 LE, key                     │
//!          │        │ u64 LE          │ u64 LE        │   item length u32 LE, item; or u32::MAX: gone│
//!          └────────┴─────────────────┴───────────────┴──────────────────────────────────────────────┘
//! ```
//!
//! The table is local: each node cuts the log into its own slices and keeps as much as it was told to, so none of it is
//! in a digest. It is bounded in bytes. What the records before it took stands in each record, so that the oldest are
//! dropped without a sum over the others. With each record goes a deletion of what is never there: see `BEFORE_ALL`.

use std::ops::ControlFlow;

use bytes::Bytes;
use consensus_api::{TableBatch, TableRead};

use crate::error::KvError;
use crate::item::Item;
use crate::schema::CHANGES;

/// How many bytes of recent changes are kept, unless it is set otherwise.
pub const HISTORY_BYTES_DEFAULT: u64 = 64 << 20;

/// A key before those of all records. Records come in the order of their keys, so a store that sorts what it has into files
/// would find no two files that overlap, and so none to merge: every flush, and so every snapshot, would leave one more
/// small file for as long as nothing is dropped. A deletion in each of them at the same key makes them overlap.
const BEFORE_ALL: [u8; 8] = 0u64.to_be_bytes();
const FORM: u8 = 1;
const HEADER_BYTES: usize = 17;
const GONE: u32 = u32::MAX;

/// The changes of one slice of entries.
#[derive(Debug, Default)]
pub(crate) struct SliceChanges {
    first_revision: Option<u64>,
    /// The record, with room for its header.
    bytes: Vec<u8>,
}

impl SliceChanges {
    pub(crate) fn push(&mut self, revision: u64, key: &[u8], item: Option<&Item>) {
        if self.first_revision.is_none() {
            self.first_revision = Some(revision);
            self.bytes.resize(HEADER_BYTES, 0);
        }
        self.bytes.extend_from_slice(&revision.to_le_bytes());
        self.bytes.extend_from_slice(&length(key.len()).to_le_bytes());
        self.bytes.extend_from_slice(key);
        match item {
            Some(item) => {
                self.bytes.extend_from_slice(&length(item.stored_bytes()).to_le_bytes());
                item.store_into(&mut self.bytes);
            }
            None => self.bytes.extend_from_slice(&GONE.to_le_bytes()),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn length(bytes: usize) -> u32 {
    // The limits of keys and values are far below.
    u32::try_from(bytes).ok().filter(|length| *length != GONE).unwrap_or_else(|| unreachable!("{bytes} bytes at once"))
}

/// Where the records begin and end, and how much of them is kept.
#[derive(Debug)]
pub(crate) struct History {
    bytes_max: u64,
    /// The key of the oldest record.
    oldest: Option<u64>,
    /// What all records before the oldest took.
    start: u64,
    /// What all records took.
    end: u64,
}

impl History {
    /// The history of these tables, which are at `revision`.
    pub(crate) fn load<E>(tables: &dyn TableRead<Error = E>, revision: u64, bytes_max: u64) -> Result<History, KvError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let newest = tables.get(CHANGES, &revision.to_be_bytes()).map_err(KvError::tables)?;
        let newest_end = newest.map(|value| Record::parse(revision, &value).map(|record| record.end())).transpose()?;
        let mut history = History { bytes_max, oldest: None, start: 0, end: newest_end.unwrap_or(0) };
        let mut damage = None;
        let mut visit = |key: &[u8], value: &[u8]| match Record::of(key, value) {
            Ok(record) => {
                if history.oldest.is_none() {
                    (history.oldest, history.start) = (Some(record.last_revision), record.before);
                }
                history.end = history.end.max(record.end());
                // Without the newest one the others are looked through; another build has written the tables meanwhile.
                if newest_end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        };
        tables.scan(CHANGES, &[], None, &mut visit).map_err(KvError::tables)?;
        damage.map_or(Ok(history), Err)
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub(crate) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Adds to the batch the slice's record, which ends at `revision`, and drops the oldest records where they are now
    /// too many bytes: a sixteenth more than must be, so that this is done rarely. The newest is kept whatever it takes.
    pub(crate) fn write<E>(
        &mut self,
        changes: SliceChanges,
        revision: u64,
        tables: &dyn TableRead<Error = E>,
        batch: &mut TableBatch,
    ) -> Result<(), KvError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let SliceChanges { first_revision: Some(first), mut bytes } = changes else { return Ok(()) };
        assert!(u32::try_from(bytes.len()).is_ok(), "a slice of entries has {} bytes of changes", bytes.len());
        bytes[0] = FORM;
        bytes[1..9].copy_from_slice(&self.end.to_le_bytes());
        bytes[9..HEADER_BYTES].copy_from_slice(&first.to_le_bytes());
        let before = self.end;
        self.end += bytes.len() as u64;
        if self.end - self.start > self.bytes_max {
            self.drop_oldest(tables, batch)?;
        }
        if self.oldest.is_none() {
            (self.oldest, self.start) = (Some(revision), before);
        }
        batch.delete(CHANGES, Bytes::from_static(&BEFORE_ALL));
        batch.put(CHANGES, Bytes::copy_from_slice(&revision.to_be_bytes()), bytes);
        Ok(())
    }

    fn drop_oldest<E>(&mut self, tables: &dyn TableRead<Error = E>, batch: &mut TableBatch) -> Result<(), KvError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let kept = self.bytes_max - self.bytes_max / 16;
        let from = self.oldest.take().unwrap_or(u64::MAX);
        let mut damage = None;
        let mut visit = |key: &[u8], value: &[u8]| match Record::of(key, value) {
            Ok(record) => {
                self.start = record.before;
                if self.end - record.before <= kept {
                    self.oldest = Some(record.last_revision);
                    return ControlFlow::Break(());
                }
                batch.delete(CHANGES, Bytes::copy_from_slice(key));
                ControlFlow::Continue(())
            }
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        };
        tables.scan(CHANGES, &from.to_be_bytes(), None, &mut visit).map_err(KvError::tables)?;
        damage.map_or(Ok(()), Err)
    }
}

/// A record as it stands in the table.
pub(crate) struct Record<'a> {
    pub(crate) first_revision: u64,
    pub(crate) last_revision: u64,
    before: u64,
    value: &'a [u8],
}

/// One change of a record; the item in its form in the table.
pub(crate) struct StoredChange<'a> {
    pub(crate) revision: u64,
    pub(crate) key: &'a [u8],
    pub(crate) item: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    pub(crate) fn of(key: &[u8], value: &'a [u8]) -> Result<Record<'a>, KvError> {
        let revision = key.try_into().map(u64::from_be_bytes);
        let revision = revision.map_err(|_| KvError::damaged("recent changes", "its key is no revision"))?;
        Record::parse(revision, value)
    }

    fn parse(last_revision: u64, value: &'a [u8]) -> Result<Record<'a>, KvError> {
        let mut rest = value;
        let [FORM] = *take(last_revision, &mut rest, 1)? else {
            return Err(damaged(last_revision, "it has a form that this build does not know"));
        };
        let (before, first_revision) = (number(last_revision, &mut rest)?, number(last_revision, &mut rest)?);
        Ok(Record { first_revision, last_revision, before, value })
    }

    /// What all records up to and with this one took.
    fn end(&self) -> u64 {
        self.before + self.value.len() as u64
    }

    /// Visits its changes in order.
    pub(crate) fn visit(
        &self,
        visit: &mut dyn FnMut(StoredChange<'a>) -> Result<ControlFlow<()>, KvError>,
    ) -> Result<ControlFlow<()>, KvError> {
        let of = self.last_revision;
        let mut rest = &self.value[HEADER_BYTES..];
        while !rest.is_empty() {
            let revision = number(of, &mut rest)?;
            let key_bytes = short_number(of, &mut rest)?;
            let key = take(of, &mut rest, key_bytes as usize)?;
            let item = match short_number(of, &mut rest)? {
                GONE => None,
                bytes => Some(take(of, &mut rest, bytes as usize)?),
            };
            if visit(StoredChange { revision, key, item })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn take<'a>(of: u64, rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], KvError> {
    let (taken, after) = rest.split_at_checked(bytes).ok_or_else(|| damaged(of, "it is too short"))?;
    *rest = after;
    Ok(taken)
}

fn number(of: u64, rest: &mut &[u8]) -> Result<u64, KvError> {
    let bytes = take(of, rest, 8)?.try_into().map_err(|_| damaged(of, "it is too short"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn short_number(of: u64, rest: &mut &[u8]) -> Result<u32, KvError> {
    let bytes = take(of, rest, 4)?.try_into().map_err(|_| damaged(of, "it is too short"))?;
    Ok(u32::from_le_bytes(bytes))
}

fn damaged(revision: u64, reason: &str) -> KvError {
    KvError::damaged(format!("the changes up to revision {revision}"), reason)
}
