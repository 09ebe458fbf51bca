//! A log store in memory, with a power cord to pull and everything that a disk can do wrong.
//!
//! ```text
//!   write ───▶ a record ───▶ synced ───▶ contents     what reads see, and what a power failure certainly leaves
//!                 │ power fails: whole, torn or missing
//!                 ▼
//!              the next start takes back what follows without a gap          ([`platter`])
//!   read, recover ◀── contents ◀── damage: records that were synced and are not legible now
//! ```
//!
//! The world performs a write only when its sync is done, so what is under way is the node's; it is handed over when the
//! power fails. Only records below a synced mark are ever damaged: damage to the last one looks like a torn write, and
//! no log of this kind can tell the two apart.

mod contents;
mod error;
mod platter;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, LogPosition, LogStore, RecoveredLog, SharedEntry, Write};

use contents::{Contents, within};
use platter::Found;

pub use error::{DiskError, Spot};
pub use platter::Fate;

/// How a disk fails until it is cured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ailment {
    /// The next sync fails, once.
    SyncFails,
    /// Reads fail.
    ReadsFail,
    /// Nothing more can be written, and no log be opened.
    Full,
}

/// What is wrong with a record that was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Damage {
    /// Its checksum is not right.
    Corrupt,
    /// Its checksum is right, but it belongs to another index, or another group.
    Misplaced,
}

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    /// The number of the last record; all of them are synced.
    last: u64,
    /// What the last record put: nothing says that it was synced.
    unsealed: Vec<LogIndex>,
    hard_state_unsealed: bool,
    ailments: Vec<Ailment>,
    /// What is written over a damaged record leaves it where it is: a start reads them all.
    damage: BTreeMap<LogIndex, Damage>,
    hard_state_damage: Option<Damage>,
}

impl State {
    fn fails(&self, ailment: Ailment) -> bool {
        self.ailments.contains(&ailment)
    }

    /// One record with all of these writes, synced.
    fn append(&mut self, writes: &[Write]) {
        self.last += 1;
        self.unsealed.clear();
        self.hard_state_unsealed = false;
        for write in writes {
            self.contents.write(write);
            self.hard_state_unsealed |= write.hard_state.is_some();
            self.unsealed.extend(write.entries.iter().map(|entry| entry.index));
        }
    }

    /// Whether the records of these entries are legible and in their place.
    fn examine(&self, mut range: impl Iterator<Item = LogIndex>) -> Result<(), DiskError> {
        if self.damage.is_empty() {
            return Ok(());
        }
        match range.find_map(|index| Some((index, *self.damage.get(&index)?))) {
            Some((index, damage)) => Err(damage.error(Spot::Entry(index))),
            None => Ok(()),
        }
    }
}

impl Ailment {
    /// What whoever meets it is told.
    pub fn error(self) -> DiskError {
        match self {
            Ailment::SyncFails => DiskError::SyncFailed,
            Ailment::ReadsFail => DiskError::ReadFailed,
            Ailment::Full => DiskError::Full,
        }
    }
}

impl Damage {
    fn error(self, spot: Spot) -> DiskError {
        match self {
            Damage::Corrupt => DiskError::Corrupt(spot),
            Damage::Misplaced => DiskError::Misplaced(spot),
        }
    }
}

/// One node's disk. It outlives the node's processes; a clone is the same disk in another hand.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// A blank disk that is well.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// The power fails while these groups of writes are under way, each a record of its own, with these fates. What can
    /// be read back is kept, and the rest cut off; returns how many groups that are, the oldest first.
    pub fn lose_power(&self, groups: &[&[Write]], fates: &[Fate]) -> Result<usize, DiskError> {
        let mut state = self.state();
        let synced = state.last;
        let on_platter = fates.iter().zip(synced + 1..).filter(|(fate, _)| **fate != Fate::Missing);
        let found: Vec<Found> =
            on_platter.map(|(fate, number)| Found { number, synced, legible: *fate == Fate::Whole }).collect();
        let count = platter::returning(synced, &found)?;
        for group in groups.iter().take(count) {
            state.append(group);
        }
        if is_planted(Bug::TailGapSkipped) {
            let behind = groups.iter().zip(fates).skip(count).filter(|(_, fate)| **fate == Fate::Whole);
            behind.for_each(|(group, _)| state.append(group));
        }
        Ok(count)
    }

    /// From now on the disk fails in this way.
    pub fn fall_ill(&self, ailment: Ailment) {
        let mut state = self.state();
        if !state.fails(ailment) {
            state.ailments.push(ailment);
        }
    }

    /// It no longer does.
    pub fn cure(&self, ailment: Ailment) {
        self.state().ailments.retain(|other| *other != ailment);
    }

    /// Whether the disk still waits to fail, or fails, in this way.
    pub fn suffers(&self, ailment: Ailment) -> bool {
        self.state().fails(ailment)
    }

    /// Damages a record that is known to have been synced, which one `choice` decides; `None` where there is none yet.
    pub fn damage(&self, damage: Damage, choice: u64) -> Option<Spot> {
        let mut state = self.state();
        let sealed = state.contents.entries.keys().filter(|index| !state.unsealed.contains(index));
        let sealed: Vec<LogIndex> = sealed.copied().collect();
        if sealed.is_empty() {
            state.contents.hard_state.as_ref().filter(|_| !state.hard_state_unsealed)?;
            state.hard_state_damage = Some(damage);
            return Some(Spot::HardState);
        }
        let index = sealed[(choice % sealed.len() as u64) as usize];
        state.damage.insert(index, damage);
        Some(Spot::Entry(index))
    }

    /// Whether a record that was synced is damaged.
    pub fn is_damaged(&self) -> bool {
        let state = self.state();
        state.hard_state_damage.is_some() || !state.damage.is_empty()
    }

    /// The hard state that a power failure would leave.
    pub fn durable_hard_state(&self) -> Option<Bytes> {
        self.state().contents.hard_state.clone()
    }

    /// The entry at `index` that a power failure would leave, damaged or not.
    pub fn durable_entry(&self, index: LogIndex) -> Option<SharedEntry> {
        self.state().contents.entries.get(&index).cloned()
    }

    /// Every entry that a power failure would leave, in order.
    pub fn durable_entries(&self) -> Vec<SharedEntry> {
        self.state().contents.entries.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves contents that are still contents: no change is ever half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for Disk {
    type Error = DiskError;

    fn base(&self) -> LogPosition {
        self.state().contents.base
    }

    fn recover(&self, tail_bytes_max: usize) -> Result<RecoveredLog, DiskError> {
        let mut state = self.state();
        if is_planted(Bug::DamageTakenForTornEnd)
            && let Some((first, _)) = state.damage.pop_first()
        {
            state.contents.entries.split_off(&first);
            state.damage.clear();
        }
        if state.fails(Ailment::Full) {
            return Err(DiskError::Full);
        }
        if state.fails(Ailment::ReadsFail) {
            return Err(DiskError::ReadFailed);
        }
        if let Some(damage) = state.hard_state_damage {
            return Err(damage.error(Spot::HardState));
        }
        state.examine(state.damage.keys().copied())?;
        Ok(state.contents.recover(tail_bytes_max))
    }

    fn write(&self, writes: &[Write]) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.fails(Ailment::Full) {
            return Err(DiskError::Full);
        }
        if state.fails(Ailment::SyncFails) {
            state.ailments.retain(|ailment| *ailment != Ailment::SyncFails);
            if is_planted(Bug::FailedSyncIgnored) {
                return Ok(());
            }
            return Err(DiskError::SyncFailed);
        }
        state.append(writes);
        Ok(())
    }

    fn read(&self, range: RangeInclusive<LogIndex>, bytes_max: usize) -> Result<Vec<SharedEntry>, DiskError> {
        let state = self.state();
        if state.fails(Ailment::ReadsFail) {
            return Err(DiskError::ReadFailed);
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let entries = within(state.contents.entries.range(range).map(|(_, entry)| entry), bytes_max);
        state.examine(entries.iter().map(|entry| entry.index))?;
        Ok(entries)
    }

    fn trim(&self, base: LogPosition) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.fails(Ailment::Full) {
            return Err(DiskError::Full);
        }
        state.contents.trim(base);
        state.damage = state.damage.split_off(&base.index.next());
        Ok(())
    }

    fn restart_at(&self, base: LogPosition) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.fails(Ailment::Full) {
            return Err(DiskError::Full);
        }
        state.contents.restart_at(base);
        state.damage.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
