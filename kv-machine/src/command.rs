//! What a client can ask the machine to do.
//!
//! There is one command in principle, [`Txn`]: compare, then one list of operations or the other. What clients send
//! most (a put, an append, a delete, each on a condition or none) has a short form of its own, with an encoding of a
//! few bytes around the key and the value.

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::Blob;

use crate::error::KvError;
use crate::request::{Batch, SessionId};

/// A command, as it stands in an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Sets a key's value.
    Put {
        /// Which key.
        key: Blob,
        /// Its new value.
        value: Blob,
        /// On which condition.
        expect: Expect,
    },
    /// Appends to a key's value; a key that does not exist is created.
    Append {
        /// Which key.
        key: Blob,
        /// What is appended.
        suffix: Blob,
        /// On which condition.
        expect: Expect,
    },
    /// Removes a key. Removing a key that does not exist changes nothing.
    Delete {
        /// Which key.
        key: Blob,
        /// On which condition.
        expect: Expect,
    },
    /// Compares, and does one list of operations or the other.
    Txn(Txn),
    /// Sets a key's value for as long as the request's session lives: when that ends, the key vanishes, unless somebody has
    /// written it without a session's life since.
    PutEphemeral {
        /// Which key.
        key: Blob,
        /// Its new value.
        value: Blob,
        /// On which condition.
        expect: Expect,
    },
    /// Opens a session, or carries the life of one that is open forward. So it may be repeated. A session that has ended is
    /// not opened again.
    OpenSession {
        /// Its name.
        session: SessionId,
        /// How long it lives without a sign of its client, by the log's time, in milliseconds.
        ttl_ms: u64,
    },
    /// Ends a session, with its ephemeral keys. Ending one that is not open changes nothing.
    CloseSession {
        /// Its name.
        session: SessionId,
    },
}

/// On which condition a short form takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Expect {
    /// On none.
    #[default]
    Any,
    /// The key has this version; zero: it does not exist. A version repeats after a delete and a new creation.
    Version(u64),
    /// The key was last changed at this revision; zero: it does not exist. A revision never repeats.
    ModRevision(u64),
}

/// If all comparisons hold, the one list of operations, otherwise the other: in order, at one revision, atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Txn {
    /// All of these must hold; none always does.
    pub compare: Vec<Compare>,
    /// What is done then. No key may be written twice.
    pub then: Vec<Operation>,
    /// What is done otherwise. No key may be written twice.
    pub otherwise: Vec<Operation>,
}

/// Compares one property of a key with a constant: *the key's property* `relation` *the target's*.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Compare {
    /// Which key.
    pub key: Blob,
    /// Which property, and with what.
    pub target: Target,
    /// How they must stand.
    pub relation: Relation,
}

/// A property of a key and what it is compared with. A key that does not exist has version and revisions zero.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Target {
    /// How often it was written since it was created.
    Version(u64),
    /// At which revision it was created.
    CreateRevision(u64),
    /// At which revision it was last changed.
    ModRevision(u64),
    /// Its value, by the order of the bytes; `None` is the value of a key that does not exist, below every other.
    Value(Option<Blob>),
}

/// How the key's property must stand to the constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Below it.
    Less,
    /// Above it.
    Greater,
}

/// One step of a transaction. Later steps see what earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Operation {
    /// Reads a key.
    Get {
        /// Which key.
        key: Blob,
    },
    /// Sets a key's value.
    Put {
        /// Which key.
        key: Blob,
        /// Its new value.
        value: Blob,
    },
    /// Appends to a key's value; a key that does not exist is created.
    Append {
        /// Which key.
        key: Blob,
        /// What is appended.
        suffix: Blob,
    },
    /// Sets a key's value for as long as the request's session lives; see [`Command::PutEphemeral`].
    PutEphemeral {
        /// Which key.
        key: Blob,
        /// Its new value.
        value: Blob,
    },
    /// Removes a key.
    Delete {
        /// Which key.
        key: Blob,
    },
    /// Reads the keys of a range.
    Scan {
        /// The first key.
        start: Blob,
        /// The key before which it ends; without it, behind the last.
        end: Option<Blob>,
        /// The most items that are returned.
        limit: u32,
    },
}

impl Operation {
    /// The key that the operation writes, if it writes one.
    pub(crate) fn written_key(&self) -> Option<&[u8]> {
        match self {
            Operation::Put { key, .. }
            | Operation::PutEphemeral { key, .. }
            | Operation::Append { key, .. }
            | Operation::Delete { key } => Some(&key.0),
            Operation::Get { .. } | Operation::Scan { .. } => None,
        }
    }
}

impl Command {
    /// The command as bytes, for [`consensus_api::ReplicatedLog::propose`]: a batch of one request outside of any session.
    ///
    /// # Errors
    /// [`KvError::Codec`] where it takes more than [`consensus_api::codec::VALUE_BYTES_MAX`].
    pub fn encode(&self) -> Result<Bytes, KvError> {
        Batch { requests: vec![self.clone().into()] }.encode()
    }
}
