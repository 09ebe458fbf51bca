//! What a disk says when it cannot do what it is asked.

use std::fmt;

use consensus_api::LogIndex;

/// What a record says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// The entry at this index.
    Entry(LogIndex),
    /// The hard state.
    HardState,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Entry(index) => write!(f, "entry {index}"),
            Spot::HardState => f.write_str("the hard state"),
        }
    }
}

/// Why a disk fails. Each is final for the process that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DiskError {
    /// A sync failed: what was under way may be there or not, and the disk does not know.
    #[error("a sync failed, and nobody knows what reached the disk; stop, and read what is there at the next start")]
    SyncFailed,
    /// No space is left.
    #[error("the disk is full; make room and start again")]
    Full,
    /// A read failed.
    #[error("the disk does not read; start again, and replace it if that fails as well")]
    ReadFailed,
    /// A record that was synced no longer has the checksum that it was written with.
    #[error("the record of {0} was synced and is damaged now; replace the node")]
    Corrupt(Spot),
    /// A record that was synced is legible and stands where another one belongs.
    #[error("where the record of {0} was synced stands one that belongs elsewhere; replace the node")]
    Misplaced(Spot),
    /// Records that were synced are not there.
    #[error("the records {first} to {through} were synced and are gone; replace the node")]
    Lost {
        /// The first that is not there.
        first: u64,
        /// The last that is known to have been synced.
        through: u64,
    },
}

impl DiskError {
    /// Whether no later start can succeed.
    pub fn is_for_good(self) -> bool {
        matches!(self, DiskError::Corrupt(_) | DiskError::Misplaced(_) | DiskError::Lost { .. })
    }
}
