//! What the machine answers, and each operation of a transaction with it.

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::codec;

use crate::error::KvError;
use crate::item::Item;
use crate::limits::Quantity;
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
    /// The reply as bytes.
    ///
    /// # Errors
    /// [`KvError::Codec`] where it takes more than [`codec::VALUE_BYTES_MAX`]; the machine's bounds rule that out.
    pub fn encode(&self) -> Result<Bytes, KvError> {
        // Nearly every reply is two numbers, and there is one for each command.
        let mut out = Vec::with_capacity(codec::HEADER_BYTES + 19);
        codec::encode_into(self, &mut out)?;
        Ok(out.into())
    }

    /// The reply that `bytes` encode.
    ///
    /// # Errors
    /// [`KvError::Codec`] where they encode none.
    pub fn decode(bytes: &[u8]) -> Result<Reply, KvError> {
        Ok(codec::decode(bytes)?)
    }
}
