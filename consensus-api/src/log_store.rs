//! Where entries and the hard state are kept.
//!
//! A store keeps entries by index and one opaque record of hard state. It never compares ballots: Raft may overwrite
//! an entry by one of a lower term (figure 8), and Multi-Paxos fills slots in any order and leaves holes. What is
//! trimmed at the front is remembered as the base.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::ballot_runs::BallotRuns;
use crate::engine::LogPosition;
use crate::entry::SharedEntry;
use crate::ids::{LogIndex, WriteId};
use crate::membership::Membership;

/// One atomic change of the log store: all of it is durable, or none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Write {
    /// Its number; grows by one with each write.
    pub id: WriteId,
    /// The new hard state.
    pub hard_state: Option<Bytes>,
    /// Remove every entry from this index on, before the entries are put.
    pub remove_from: Option<LogIndex>,
    /// Entries to put, each at its own index, in place of whatever stands there.
    pub entries: Vec<SharedEntry>,
    /// Everything up to here is known to be committed. It rides along and never asks for a write of its own: a store
    /// may lose it as long as it loses nothing else.
    pub commit: Option<LogIndex>,
}

impl Write {
    /// Leaves out the entries up to `base`: the log was trimmed past them while the write was on its way.
    pub fn skip_through(&mut self, base: LogIndex) {
        self.entries.retain(|entry| entry.index > base);
    }
}

/// What a store holds when it is opened.
#[derive(Clone, Debug, Default)]
pub struct RecoveredLog {
    /// The last hard state written.
    pub hard_state: Option<Bytes>,
    /// The last commit index that rode along.
    pub commit: LogIndex,
    /// Which indexes hold an entry, and under which ballot.
    pub runs: BallotRuns,
    /// The most recent entries, in order of index, up to the number of bytes that was asked for.
    pub tail: Vec<SharedEntry>,
    /// Every entry that names members, in order.
    pub memberships: Vec<(LogIndex, Arc<Membership>)>,
}

/// A durable log. One thread writes; others may read meanwhile.
pub trait LogStore: Send + Sync + 'static {
    /// Why it failed. Every failure is final: an fsync that failed once is never trusted again, and so the replica
    /// stops.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether a write waits for the disk. Where it does not, a power loss may take the last writes.
    fn is_synced(&self) -> bool {
        true
    }

    /// The last index that was trimmed away, and its ballot.
    fn base(&self) -> LogPosition;

    /// Reads and checks everything, and returns what an engine needs to start, with at most `tail_bytes_max` bytes of
    /// recent entries (at least one, if there is one). A record that is damaged or misplaced is an error, never "not
    /// there".
    fn recover(&self, tail_bytes_max: usize) -> Result<RecoveredLog, Self::Error>;

    /// Performs these writes, in order, atomically and with one sync. When it returns, all of them are durable (unless
    /// the store was opened without sync).
    fn write(&self, writes: &[Write]) -> Result<(), Self::Error>;

    /// The entries of the range that are there, in order, ended before the one that would exceed `bytes_max` (but at
    /// least one, if there is one).
    fn read(&self, range: RangeInclusive<LogIndex>, bytes_max: usize) -> Result<Vec<SharedEntry>, Self::Error>;

    /// Removes everything up to and including `base`, which becomes the base. Does nothing if it is at or below the
    /// present base.
    fn trim(&self, base: LogPosition) -> Result<(), Self::Error>;

    /// Empties the log and begins it anew above `base`, as after a snapshot; the hard state stays.
    fn restart_at(&self, base: LogPosition) -> Result<(), Self::Error>;
}
