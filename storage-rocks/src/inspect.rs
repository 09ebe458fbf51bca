//! A look at the data directory of a node that is stopped: nothing in it is changed, and damage is listed, not fatal.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::ballot_runs::{BallotRuns, Run};
use consensus_api::engine::decode_ballot;
use consensus_api::{
    AppliedMembership, AppliedState, Ballot, EngineError, LogIndex, LogPosition, Membership, Payload, SnapshotId,
};

use crate::directory;
use crate::error::StorageError;
use crate::generations::{self, Generation};
use crate::log;
use crate::peek::Peek;
use crate::record::{Place, STAMP_KEY};
use crate::settings::{DEFAULT, ENTRIES};
use crate::snapshots::{self, ReadApplied};
use crate::stamp::Stamp;

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
    /// The last index that the tables have applied, as far as they would keep it through a power loss.
    pub applied: LogIndex,
    /// The members as of that index, those before them, and where they changed; `None` before the founding.
    pub members: Option<AppliedMembership>,
    /// The entries of the log that name members, whether they are committed or not.
    pub named: Vec<(LogIndex, Arc<Membership>)>,
    /// Where the tables were installed from a snapshot, if they ever were.
    pub installed: Option<LogPosition>,
    /// The snapshots that are kept, the newest first.
    pub snapshots: Vec<InspectedSnapshot>,
    /// What is wrong, at most the first hundred of it.
    pub damage: Vec<String>,
}

/// A snapshot that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectedSnapshot {
    /// Its name.
    pub id: SnapshotId,
    /// The last entry that it covers.
    pub position: LogPosition,
    /// How long its stream is.
    pub bytes: u64,
    /// Whether all of its files are what its manifest says. What is wrong is part of the damage.
    pub sound: bool,
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

/// Looks at the data directory `path`, in which a store with these `tables` was opened; `applied` reads from them how far
/// they have come.
///
/// # Errors
/// Where there is none, or it is in use. Damage is no error: it is part of the answer.
pub fn inspect(path: &Path, tables: &[&str], applied: ReadApplied) -> Result<Inspection, StorageError> {
    let _lock = directory::claim_to_read(path)?;
    let mut inspection = Inspection::default();
    inspect_tables(&mut inspection, path, tables, applied);
    inspect_snapshots(&mut inspection, path);
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

fn inspect_tables(inspection: &mut Inspection, root: &Path, names: &[&str], applied: ReadApplied) {
    let live = inspection.note(generations::read_live(root).map(Some));
    let Some(live) = live else { return };
    inspection.installed = live.installed;
    let Some(tables) = inspection.note(generations::live_path(root, live).map(Some)) else { return };
    if tables.join("CURRENT").exists() {
        inspection.tables = inspection.note(generations::list(&tables));
        inspection.tables.retain(|name| name != DEFAULT);
        let state = inspection.note(read_applied(&tables, names, applied));
        (inspection.applied, inspection.members) = (state.position.index, state.membership);
    }
}

fn read_applied(tables: &Path, names: &[&str], applied: ReadApplied) -> Result<AppliedState, StorageError> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let tables = Generation::open_to_read(tables, &names)?;
    applied(&tables).map_err(|source| StorageError::Unreadable { what: "the data directory".into(), source })
}

fn inspect_snapshots(inspection: &mut Inspection, root: &Path) {
    for path in inspection.note(snapshots::list(&root.join(snapshots::SNAPSHOTS))) {
        // What a snapshot that was cut short has left has no name of one; the next start removes it.
        let found =
            if snapshots::is_named_as_one(&path) { inspection.note(snapshots::look_at(&path).map(Some)) } else { None };
        let Some(manifest) = found else { continue };
        let sound = inspection.note(snapshots::check_files(&path, &manifest).map(|()| true));
        let (position, bytes) = (manifest.position, manifest.bytes());
        inspection.snapshots.push(InspectedSnapshot { id: manifest.id, position, bytes, sound });
    }
    inspection.snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.position.index));
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
                if let Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } = entry.payload {
                    inspection.named.push((entry.index, membership));
                }
            }
            Err(error) => inspection.note(Err(error)),
        }
        Ok(ControlFlow::Continue(()))
    });
    inspection.note(scanned);
}
