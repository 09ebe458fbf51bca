//! A log store in memory, with a power cord to pull.
//!
//! ```text
//!   write ──▶ live      what reads see
//!      └────▶ unsynced  changes in order, of which a power loss takes a suffix; empty while syncing is on
//!             durable   what a power loss leaves
//! ```
//!
//! The world performs a write only when its completion is due, so with syncing on nothing is ever seen here that could
//! be lost: what waits before that is the node's, and dies with it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus_api::{LogIndex, LogPosition, LogStore, Payload, RecoveredLog, SharedEntry, Write};

/// One atomic change.
#[derive(Clone, Debug)]
enum Change {
    Write(Write),
    Trim(LogPosition),
    RestartAt(LogPosition),
}

/// A log, as it stands somewhere.
#[derive(Clone, Debug, Default)]
struct Contents {
    base: LogPosition,
    hard_state: Option<Bytes>,
    commit: LogIndex,
    entries: BTreeMap<LogIndex, SharedEntry>,
}

impl Contents {
    fn perform(&mut self, change: &Change) {
        match change {
            Change::Write(write) => self.write(write),
            Change::Trim(base) if base.index > self.base.index => {
                self.base = *base;
                self.entries = self.entries.split_off(&base.index.next());
            }
            Change::Trim(_) => {}
            Change::RestartAt(base) => {
                self.base = *base;
                self.entries.clear();
            }
        }
    }

    fn write(&mut self, write: &Write) {
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = Some(hard_state.clone());
        }
        if let Some(index) = write.remove_from {
            self.entries.split_off(&index);
        }
        for entry in &write.entries {
            assert!(entry.index > self.base.index, "{} is written below the base {}", entry.index, self.base.index);
            self.entries.insert(entry.index, entry.clone());
        }
        if let Some(commit) = write.commit {
            self.commit = self.commit.max(commit);
        }
    }

    fn recover(&self, tail_bytes_max: usize) -> RecoveredLog {
        let mut recovered =
            RecoveredLog { hard_state: self.hard_state.clone(), commit: self.commit, ..RecoveredLog::default() };
        for (index, entry) in &self.entries {
            recovered.runs.set(*index, entry.ballot);
            if let Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } = &entry.payload {
                recovered.memberships.push((*index, membership.clone()));
            }
        }
        let newest_first = self.entries.values().rev();
        recovered.tail = within(newest_first, tail_bytes_max);
        recovered.tail.reverse();
        recovered
    }
}

/// The first of these entries, up to `bytes_max`, but at least one.
fn within<'a>(entries: impl Iterator<Item = &'a SharedEntry>, bytes_max: usize) -> Vec<SharedEntry> {
    let mut taken: Vec<SharedEntry> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.size_bytes();
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}

#[derive(Debug, Default)]
struct State {
    live: Contents,
    durable: Contents,
    unsynced: VecDeque<Change>,
    sync_off: bool,
}

impl State {
    fn perform(&mut self, change: Change) {
        self.live.perform(&change);
        if self.sync_off { self.unsynced.push_back(change) } else { self.durable.perform(&change) }
    }
}

/// One node's disk. It outlives the node's processes; a clone is the same disk in another hand.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// A blank disk that syncs each write.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Whether writes are durable when they return, as they are unless this says otherwise.
    pub fn set_sync(&self, on: bool) {
        self.state().sync_off = !on;
    }

    /// The power fails just when the oldest `kept` of the unsynced changes have reached the platter.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state();
        let kept = kept.min(state.unsynced.len());
        let survivors: Vec<Change> = state.unsynced.drain(..).take(kept).collect();
        for change in &survivors {
            state.durable.perform(change);
        }
        state.live = state.durable.clone();
    }

    /// The hard state that a power loss would leave.
    pub fn durable_hard_state(&self) -> Option<Bytes> {
        self.state().durable.hard_state.clone()
    }

    /// The entry at `index` that a power loss would leave.
    pub fn durable_entry(&self, index: LogIndex) -> Option<SharedEntry> {
        self.state().durable.entries.get(&index).cloned()
    }

    /// Every entry that a power loss would leave, in order.
    pub fn durable_entries(&self) -> Vec<SharedEntry> {
        self.state().durable.entries.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves contents that are still contents: no change is ever half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for Disk {
    type Error = Infallible;

    fn base(&self) -> LogPosition {
        self.state().live.base
    }

    fn recover(&self, tail_bytes_max: usize) -> Result<RecoveredLog, Infallible> {
        Ok(self.state().live.recover(tail_bytes_max))
    }

    fn write(&self, writes: &[Write]) -> Result<(), Infallible> {
        let mut state = self.state();
        for write in writes {
            state.perform(Change::Write(write.clone()));
        }
        Ok(())
    }

    fn read(&self, range: RangeInclusive<LogIndex>, bytes_max: usize) -> Result<Vec<SharedEntry>, Infallible> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Ok(within(self.state().live.entries.range(range).map(|(_, entry)| entry), bytes_max))
    }

    fn trim(&self, base: LogPosition) -> Result<(), Infallible> {
        self.state().perform(Change::Trim(base));
        Ok(())
    }

    fn restart_at(&self, base: LogPosition) -> Result<(), Infallible> {
        self.state().perform(Change::RestartAt(base));
        Ok(())
    }
}
