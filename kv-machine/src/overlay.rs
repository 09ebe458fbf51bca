//! The tables as they will be: what is in them, beneath what the slice of entries at hand has changed so far.
//!
//! ```text
//!   staged    the command under way: settled when it has succeeded, abandoned when it is refused
//!   settled   the commands of the slice before it
//!   tables    everything before the slice
//! ```
//!
//! A whole slice becomes one batch with one change for each key, however often the slice has written it. Which sessions
//! keep which keys alive changes with the items; every single change goes into the history besides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use consensus_api::{TableBatch, Tables};

use crate::error::KvError;
use crate::history::SliceChanges;
use crate::item::Item;
use crate::request::SessionId;
use crate::scan::{PageBuilder, ScanLimits, ScanRange};
use crate::schema::{DATA, SESSIONS};
use crate::session_store;
use crate::sessions::Sessions;

/// `None` where the key is removed.
type Change = Option<Item>;

/// A key's change by the command under way.
struct Staged {
    key: Bytes,
    /// The session that kept the key alive before.
    before: Option<SessionId>,
    change: Change,
}

impl Staged {
    fn after(&self) -> Option<SessionId> {
        self.change.as_ref().and_then(|item| item.session)
    }
}

pub(crate) struct Overlay<'a, T> {
    tables: &'a T,
    settled: BTreeMap<Bytes, Change>,
    /// What was settled so far, values that were since overwritten included.
    settled_bytes: usize,
    /// A list and no map: nearly every command stages one key, and no command more than a transaction's operations,
    /// each of them once; only the end of a session stages more, and reads none of them.
    staged: Vec<Staged>,
    /// Which sessions keep which keys alive, where that has changed.
    kept_alive: BTreeMap<(SessionId, Bytes), bool>,
    history: SliceChanges,
}

impl<'a, T: Tables> Overlay<'a, T> {
    pub(crate) fn new(tables: &'a T) -> Overlay<'a, T> {
        Overlay {
            tables,
            settled: BTreeMap::new(),
            settled_bytes: 0,
            staged: Vec::new(),
            kept_alive: BTreeMap::new(),
            history: SliceChanges::default(),
        }
    }

    /// What stands under `key` now.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Item>, KvError> {
        let staged = self.staged.iter().find(|staged| *staged.key == *key).map(|staged| &staged.change);
        if let Some(change) = staged.or_else(|| self.settled.get(key)) {
            return Ok(change.clone());
        }
        let stored = self.tables.get(DATA, key).map_err(KvError::tables)?;
        stored.map(|stored| Item::from_stored(key, &stored)).transpose()
    }

    /// Stages a change of the command under way, to a key that `before` kept alive. No command changes a key twice.
    pub(crate) fn stage(&mut self, key: Bytes, before: Option<SessionId>, change: Change) {
        self.staged.push(Staged { key, before, change });
    }

    /// Whether the command under way has changed anything.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// How many keys more, or fewer, the session keeps alive by the command under way.
    pub(crate) fn staged_keys(&self, session: SessionId) -> i64 {
        let of = |owner: Option<SessionId>| i64::from(owner == Some(session));
        self.staged.iter().map(|staged| of(staged.after()) - of(staged.before)).sum()
    }

    /// The command under way has succeeded, at `revision`.
    pub(crate) fn settle(&mut self, revision: u64, sessions: &mut Sessions) {
        for staged in self.staged.drain(..) {
            let (before, after) = (staged.before, staged.after());
            let Staged { key, change, .. } = staged;
            if before != after {
                if let Some(before) = before {
                    self.kept_alive.insert((before, key.clone()), false);
                    sessions.let_go(before);
                }
                if let Some(after) = after {
                    self.kept_alive.insert((after, key.clone()), true);
                    sessions.hold(after);
                }
            }
            self.history.push(revision, &key, change.as_ref());
            self.settled_bytes += key.len() + change.as_ref().map_or(0, |item| item.value.0.len());
            self.settled.insert(key, change);
        }
    }

    /// The bytes of keys and values that were settled, and of their history.
    pub(crate) fn settled_bytes(&self) -> usize {
        self.settled_bytes + self.history.bytes()
    }

    /// The keys that the session keeps alive, in order.
    pub(crate) fn keys_of(&self, session: SessionId) -> Result<BTreeSet<Bytes>, KvError> {
        let mut keys = BTreeSet::new();
        session_store::visit_keys(self.tables, session, &mut |key| keys.extend([key]))?;
        let first = (session, Bytes::new());
        for ((_, key), kept) in self.kept_alive.range(first..).take_while(|((owner, _), _)| *owner == session) {
            if *kept {
                keys.insert(key.clone())
            } else {
                keys.remove(key)
            };
        }
        Ok(keys)
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
        let staged = self.staged.iter().filter(|staged| range.contains(&staged.key));
        changes.extend(staged.map(|staged| (&staged.key, &staged.change)));
        changes
    }

    /// Everything that is settled, as changes of the tables, and its history.
    pub(crate) fn into_batch(self) -> (TableBatch, SliceChanges) {
        assert!(self.staged.is_empty(), "a command was neither settled nor abandoned");
        let data = self.settled.into_iter().map(|(key, change)| (DATA, key, change.map(|item| item.to_stored())));
        let kept_alive = self
            .kept_alive
            .into_iter()
            .map(|((session, key), kept)| (SESSIONS, session_store::key_of(session, &key), kept.then(Bytes::new)));
        (TableBatch { changes: data.chain(kept_alive).collect() }, self.history)
    }
}

fn offer(page: &mut PageBuilder, key: &[u8], change: &Change) -> ControlFlow<()> {
    match change {
        Some(item) => page.offer(key, item.clone()),
        None => ControlFlow::Continue(()),
    }
}
