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
//! power fails. Only records below a synced mark are ever damaged or lost: damage to the last one looks like a torn write,
//! and no log of this kind can tell the two apart. The node's tables are on the same disk, and fail with it.

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
    /// It is not there.
    Lost,
}

/// How far back a record can be lost: what stands before is soon trimmed away.
const RECORDS_TO_LOSE_MAX: u64 = 8;

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
    damage: BTreeMap<LogIndex, DiskError>,
    hard_state_damage: Option<DiskError>,
    /// The number of a record that is not there any more. Who had the log open before goes on reading it, as a file that
    /// was unlinked.
    gone: Option<u64>,
}

impl State {
    fn fails(&self, ailment: Ailment) -> bool {
        self.ailments.contains(&ailment)
    }

    /// What a sync comes to, of the log or of the tables.
    fn sync(&mut self) -> Result<(), DiskError> {
        if self.fails(Ailment::Full) {
            return Err(DiskError::Full);
        }
        if self.fails(Ailment::SyncFails) {
            self.ailments.retain(|ailment| *ailment != Ailment::SyncFails);
            return Err(DiskError::SyncFailed);
        }
        Ok(())
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

    /// Whether all records are there that later ones say were synced.
    fn examine_numbers(&self) -> Result<(), DiskError> {
        let Some(gone) = self.gone else { return Ok(()) };
        let behind = gone + 1..=self.last;
        let behind: Vec<Found> = behind.map(|number| Found { number, synced: number - 1, legible: true }).collect();
        platter::returning(gone - 1, &behind).map(|_| ())
    }

    /// Whether the records of these entries are legible and in their place.
    fn examine(&self, mut range: impl Iterator<Item = LogIndex>) -> Result<(), DiskError> {
        if self.damage.is_empty() {
            return Ok(());
        }
        range.find_map(|index| self.damage.get(&index)).map_or(Ok(()), |error| Err(*error))
    }

    /// A record to damage, of those that are known to have been synced. Nearly all of them hold entries, and damage to
    /// the few others is another matter: so every fourth choice is the hard state.
    fn sealed(&self, choice: u64) -> Option<Spot> {
        let hard_state = self.contents.hard_state.is_some() && !self.hard_state_unsealed;
        let sealed = self.contents.entries.keys().filter(|index| !self.unsealed.contains(index));
        let sealed: Vec<LogIndex> = sealed.copied().collect();
        if hard_state && (sealed.is_empty() || choice.is_multiple_of(4)) {
            return Some(Spot::HardState);
        }
        let place = (choice / 4).checked_rem(sealed.len() as u64)?;
        Some(Spot::Entry(sealed[place as usize]))
    }

    /// One of the latest records that the last one says were synced is not there any more.
    fn lose_record(&mut self, choice: u64) -> Option<DiskError> {
        let through = self.last.checked_sub(1)?;
        let gone = through - choice.checked_rem(through.min(RECORDS_TO_LOSE_MAX))?;
        let first = *self.gone.get_or_insert(gone);
        Some(DiskError::Lost { first, through })
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

    /// Damages a record that is known to have been synced, which one `choice` decides; returns what a start now would say
    /// of it, and `None` where there is no such record yet.
    pub fn damage(&self, damage: Damage, choice: u64) -> Option<DiskError> {
        let mut state = self.state();
        let error = match damage {
            Damage::Corrupt => DiskError::Corrupt,
            Damage::Misplaced => DiskError::Misplaced,
            Damage::Lost => return state.lose_record(choice),
        };
        let spot = state.sealed(choice)?;
        match spot {
            Spot::Entry(index) => drop(state.damage.insert(index, error(spot))),
            Spot::HardState => state.hard_state_damage = Some(error(spot)),
        }
        Some(error(spot))
    }

    /// The tables flush what waits, on the same disk.
    pub fn flush_tables(&self) -> Result<(), DiskError> {
        self.state().sync()
    }

    /// The tables read what they do not hold in memory, on the same disk.
    pub fn read_tables(&self) -> Result<(), DiskError> {
        if self.state().fails(Ailment::ReadsFail) { Err(DiskError::ReadFailed) } else { Ok(()) }
    }

    /// Whether a record that was synced is damaged or gone.
    pub fn is_damaged(&self) -> bool {
        let state = self.state();
        state.hard_state_damage.is_some() || !state.damage.is_empty() || state.gone.is_some()
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
        if let Some(error) = state.hard_state_damage {
            return Err(error);
        }
        state.examine(state.damage.keys().copied())?;
        state.examine_numbers()?;
        Ok(state.contents.recover(tail_bytes_max))
    }

    fn write(&self, writes: &[Write]) -> Result<(), DiskError> {
        let mut state = self.state();
        match state.sync() {
            Err(DiskError::SyncFailed) if is_planted(Bug::FailedSyncIgnored) => return Ok(()),
            outcome => outcome?,
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
        state.gone = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
