//! What can go wrong. A command's own faults are for whoever sent it; the rest is final for the replica.

use std::error::Error;

use consensus_api::codec::CodecError;

use crate::limits::Quantity;

/// Why a command is refused before it is proposed, or why the machine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The command names an empty key.
    #[error("the key is empty; name a key of at least one byte")]
    EmptyKey,
    /// The command is over a limit.
    #[error("the {what} has {found}, over the limit of {limit}; make it smaller or split the command")]
    TooLarge {
        /// What is too large.
        what: Quantity,
        /// Its size: bytes, or a number of operations.
        found: u64,
        /// The limit, in the same unit.
        limit: u64,
    },
    /// A transaction writes a key twice in one branch, so that no single version of it would be the outcome.
    #[error("the transaction writes the key \"{}\" twice in one branch; write it once", .key.escape_ascii())]
    DuplicateKey {
        /// Which key.
        key: Vec<u8>,
    },
    /// Bytes that should be a command or a reply are not.
    #[error("not a command or reply of this version: {0}")]
    Codec(#[from] CodecError),
    /// An answer to one request was expected.
    #[error("not the answer to a single request; run the same build on every node")]
    NotOneReply,
    /// A session's name is not one.
    #[error("\"{found}\" names no session; a session's id is 32 hexadecimal digits")]
    SessionId {
        /// What was given.
        found: String,
    },
    /// The tables failed.
    #[error("the state machine's tables failed: {0}; see the storage error, then restart the node")]
    Tables(#[source] Box<dyn Error + Send + Sync>),
    /// A record in the tables is not what the machine writes there.
    #[error(
        "the record of {what} is damaged: {reason}; stop the node, delete the folder \"tables\" in its data directory and start it: the log brings them back"
    )]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Founders are named to a machine that has others, or that has applied entries already.
    #[error(
        "the machine was founded before, with other members; open the data directory with the cluster it belongs to"
    )]
    AlreadyFounded,
}

impl KvError {
    /// Wraps an error of the tables.
    pub(crate) fn tables(error: impl Error + Send + Sync + 'static) -> KvError {
        KvError::Tables(Box::new(error))
    }

    /// Wraps a record that does not decode.
    pub(crate) fn damaged(what: impl Into<String>, reason: impl ToString) -> KvError {
        KvError::Damaged { what: what.into(), reason: reason.to_string() }
    }
}
