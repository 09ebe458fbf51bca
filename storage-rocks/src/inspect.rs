//! A look at the data directory of a node that is stopped: nothing in it is changed, and damage is listed, not fatal.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use consensus_api::ballot_runs::{BallotRuns, Run};
use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, EngineError, LogIndex, LogPosition};

use crate::directory;
use crate::error::StorageError;
use crate::log;
use crate::peek::Peek;
use crate::record::{Place, STAMP_KEY};
use crate::settings::{DEFAULT, ENTRIES};
use crate::stamp::Stamp;
use crate::tables;

/// The most damages that are listed.
const DAMAGES_MAX: usize = 100;

/// What a data directory holds.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Whose it is; `None` where a node was stopped before it had written that.
    pub stamp: Option<Stamp>,
    /// The engine's hard state.
    pub hard_state: Option<Bytes>,
    /// The last index that was trimmed away.
    pub base: LogPosition,
    /// Everything up to here is known to be committed.
    pub commit: LogIndex,
    /// How many entries there are.
    pub entries: u64,
    /// Which indexes hold an entry, and under which ballot.
    pub runs: BallotRuns,
    /// The number of the log's last batch.
    pub last_batch: u64,
    /// How many torn batches a start would cut off.
    pub torn_batches: u64,
    /// The tables there are.
    pub tables: Vec<String>,
    /// What is wrong, at most the first hundred of it.
    pub damage: Vec<String>,
}

impl Inspection {
    /// The ballot in the hard state.
    ///
    /// # Errors
    /// Where the hard state is none that an engine writes.
    pub fn promised(&self) -> Result<Ballot, EngineError> {
        decode_ballot(self.hard_state.as_deref())
    }

    /// The log as runs of one ballot.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter_from(LogIndex::ZERO)
    }

    fn note<T: Default>(&mut self, outcome: Result<T, StorageError>) -> T {
        outcome.unwrap_or_else(|error| {
            if self.damage.len() < DAMAGES_MAX {
                self.damage.push(error.to_string());
            }
            T::default()
        })
    }
}

/// Looks at the data directory `path`.
///
/// # Errors
/// Where there is none, or it is in use. Damage is no error: it is part of the answer.
pub fn inspect(path: &Path) -> Result<Inspection, StorageError> {
    let _lock = directory::claim_to_read(path)?;
    let mut inspection = Inspection::default();
    if path.join(directory::TABLES).join("CURRENT").exists() {
        let listed = tables::list(&path.join(directory::TABLES));
        inspection.tables = inspection.note(listed);
        inspection.tables.retain(|name| name != DEFAULT);
    }
    let peek = Peek::open(&path.join(directory::LOG));
    let Some(peek) = inspection.note(peek) else { return Ok(inspection) };
    inspection.torn_batches = inspection.note(peek.check());
    let mark = inspection.note(peek.mark());
    inspection.last_batch = mark.number;
    inspection.commit = mark.commit;
    let stamp = peek.get(STAMP_KEY, |bytes| Stamp::from_stored(path, bytes));
    inspection.stamp = inspection.note(stamp);
    if let Some(place) = inspection.stamp.as_ref().map(Stamp::place) {
        inspect_log(&mut inspection, &peek, place);
    }
    Ok(inspection)
}

fn inspect_log(inspection: &mut Inspection, peek: &Peek, place: Place) {
    inspection.base = inspection.note(log::read_base(&peek.db, place));
    inspection.hard_state = inspection.note(log::read_hard_state(&peek.db, place));
    let Some(entries) = peek.db.cf_handle(ENTRIES) else { return };
    let first = inspection.base.index.next();
    let scanned = log::scan(&peek.db, entries, place, first..=LogIndex(u64::MAX), |entry| {
        match entry {
            Ok(entry) => {
                inspection.runs.set(entry.index, entry.ballot);
                inspection.entries += 1;
            }
            Err(error) => inspection.note(Err(error)),
        }
        Ok(ControlFlow::Continue(()))
    });
    inspection.note(scanned);
}
