//! What a node answers, and what a failure means: whether the request *was not*, or *may have been*, carried out.

use bincode::{Decode, Encode};
use consensus_api::Blob;

/// A key's value and history.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// Its value.
    pub value: Blob,
    /// How often it was written since it was created; 1 after the first time.
    pub version: u64,
    /// The revision at which it was created.
    pub create_revision: u64,
    /// The revision at which it was last changed.
    pub mod_revision: u64,
}

/// A key with what stands under it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScanItem {
    /// The key.
    pub key: Blob,
    /// What stands under it.
    pub item: Item,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// A put or append took place.
    Written {
        /// The key's version, from 1.
        version: u64,
        /// The revision of the change, and so the key's `mod_revision`.
        revision: u64,
    },
    /// A delete took place.
    Deleted {
        /// Whether the key existed.
        deleted: bool,
        /// The revision of the change; if there was none, the revision as it stands.
        revision: u64,
    },
    /// The condition did not hold; nothing changed.
    Mismatch {
        /// The key's version; zero: it does not exist.
        version: u64,
        /// The revision of the key's last change; zero: it does not exist.
        mod_revision: u64,
    },
    /// A transaction took place.
    Txn {
        /// Whether all comparisons held.
        succeeded: bool,
        /// The revision of the changes; if there were none, the revision as it stands.
        revision: u64,
        /// One for each operation of the branch that was taken.
        results: Vec<OperationResult>,
    },
    /// It was carried out and found to be over a limit: nothing changed, and a retry has the same answer.
    TooLarge {
        /// What is too large, for people.
        message: String,
    },
    /// What a get found.
    Got {
        /// What stands under the key.
        item: Option<Item>,
    },
    /// What a scan found.
    Scanned {
        /// In order of the keys.
        items: Vec<ScanItem>,
        /// Whether there are more in the range.
        more: bool,
        /// The revision that all of it was read at.
        revision: u64,
    },
    /// A session is open.
    SessionOpened {
        /// How long it lives without a sign of its client, in milliseconds.
        ttl_ms: u64,
    },
    /// A session was ended.
    SessionClosed {
        /// Whether it was open.
        existed: bool,
    },
    /// None of that.
    Failed(Failure),
}

/// What an operation of a transaction found or did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OperationResult {
    /// What a get found.
    Got(Option<Item>),
    /// A put or append wrote this version of the key.
    Written {
        /// The key's version, from 1.
        version: u64,
    },
    /// A delete took place.
    Deleted {
        /// Whether the key existed.
        deleted: bool,
    },
    /// What a scan found.
    Scanned {
        /// In order of the keys.
        items: Vec<ScanItem>,
        /// Whether there are more in the range.
        more: bool,
    },
}

/// Why a request was not answered as wished. All of it is about this copy of the request: of an earlier copy of the same
/// write only [`Failure::SessionExpired`] and [`Failure::Forgotten`] speak.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Failure {
    /// Definitely not carried out.
    Refused {
        /// Why, for programs.
        why: Refused,
        /// Why, for people.
        message: String,
    },
    /// It may have been carried out, or may yet be. Only a write fails so.
    Unknown {
        /// Why, for people.
        message: String,
    },
    /// The session is not open. Not carried out now; whether an earlier copy was, nobody can tell any more.
    SessionExpired,
    /// The number lies below what the client has acknowledged. Not carried out now; an earlier copy may have been.
    Forgotten,
}

/// Why a request was definitely not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Refused {
    /// Nobody leads, or leadership has just moved.
    NoLeader,
    /// No quorum answered in time.
    NoQuorum,
    /// A bound is reached.
    Busy,
    /// The node stops.
    Stopping,
    /// The session has as many unacknowledged replies as it may, or there are as many sessions as there may be.
    SessionFull,
    /// It is over a limit.
    TooLarge,
    /// It makes no sense.
    BadInput,
    /// The node or its engine cannot do this.
    Unsupported,
    /// The node is broken.
    Internal,
}

impl Refused {
    /// Whether another attempt, here or elsewhere, may go better.
    pub fn is_worth_a_retry(self) -> bool {
        match self {
            Refused::NoLeader
            | Refused::NoQuorum
            | Refused::Busy
            | Refused::Stopping
            | Refused::SessionFull
            | Refused::Internal => true,
            Refused::TooLarge | Refused::BadInput | Refused::Unsupported => false,
        }
    }

    /// Whether another node may do better now.
    pub fn is_the_nodes(self) -> bool {
        matches!(self, Refused::NoLeader | Refused::NoQuorum | Refused::Stopping | Refused::Internal)
    }
}
