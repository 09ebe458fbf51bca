//! A watch: one frame says what is wanted, and changes come until somebody ends it.

use bincode::{Decode, Encode};
use consensus_api::Blob;

use super::{Item, Refused};

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WatchRequest {
    /// The first key of the range.
    pub start: Blob,
    /// The key before which it ends; without it, behind the last.
    pub end: Option<Blob>,
    /// The first revision that is of interest; `None`: what comes after everything that was acknowledged by now.
    pub from_revision: Option<u64>,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// At which revision. Changes of several keys by one transaction share theirs.
    pub revision: u64,
    /// Which key.
    pub key: Blob,
    /// What stands under it since; `None`: it was removed.
    pub item: Option<Item>,
}

/// What a node sends on a watch's stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WatchEvent {
    /// The watch began: changes from this revision on will come. Once, first.
    Started {
        /// The first revision.
        from_revision: u64,
    },
    /// What has changed, in order of the revisions.
    Changes {
        /// Those within the range; perhaps none.
        changes: Vec<Change>,
        /// Everything up to this revision has been sent now.
        through: u64,
    },
    /// The node does not know all changes since the revision any more. The last event.
    Compacted {
        /// The first revision from which on it does.
        first: u64,
    },
    /// The node cannot begin this watch, or not go on with it. The last event.
    Failed {
        /// Why, for programs: whether another attempt, here or elsewhere, may go better.
        why: Refused,
        /// Why, for people.
        message: String,
    },
}
