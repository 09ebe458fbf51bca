//! What the machine answers, and each operation of a transaction with it.

use bincode::{Decode, Encode};

use crate::error::KvError;
use crate::item::Item;
use crate::limits::Quantity;
use crate::request::Replies;
use crate::scan::ScanItem;

/// The answer to a command. The same at every replica.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
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
    /// The command, or what it would make of a value, is over a limit of the machine; nothing changed.
    TooLarge {
        /// What is too large.
        what: Quantity,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are no command, or one that should not have been proposed; nothing changed.
    Malformed,
    /// A session is open.
    SessionOpened {
        /// How long it lives without a sign of its client, by the log's time, in milliseconds; within the machine's bounds.
        ttl_ms: u64,
    },
    /// A session was ended, with its ephemeral keys.
    SessionClosed {
        /// Whether it was open.
        existed: bool,
        /// The revision of the removal of its keys; if it had none, the revision as it stands.
        revision: u64,
    },
    /// The request's session has expired, was ended or was never opened. The request was not carried out now; whether an
    /// earlier copy of it was, nobody can tell any more.
    SessionExpired,
    /// As many sessions are open as there may be, or the session has as many unacknowledged replies or ephemeral keys as it
    /// may, or as many sessions have ended at this entry as may: nothing changed, and the request may come again under the
    /// same number. Acknowledge replies, or wait for those that are under way.
    SessionFull,
    /// The request's number is below what the client has acknowledged: it had its reply, and it is not carried out again.
    Forgotten,
    /// An ephemeral write outside of a session; nothing changed.
    SessionNeeded,
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

impl Reply {
    /// Whether the request was refused only for want of room that it may find later, so that no session remembers it: it may
    /// come again under the same number.
    pub fn may_come_again(&self) -> bool {
        matches!(self, Reply::SessionFull | Reply::TooLarge { what: Quantity::BatchBytes, .. })
    }

    /// The answer to a batch of one request, as `Command::encode` makes them.
    ///
    /// # Errors
    /// [`KvError::Codec`] where the bytes encode no replies, or more than one.
    pub fn decode(bytes: &[u8]) -> Result<Reply, KvError> {
        let mut replies = Replies::decode(bytes)?.replies;
        match (replies.pop(), replies.is_empty()) {
            (Some(reply), true) => Ok(reply),
            _ => Err(KvError::NotOneReply),
        }
    }
}
