//! What a client can have changed, as it travels: the machine's commands in the client's own words. A client must not
//! need the machine, and the machine's encoding must not change with the client's.

use std::fmt;

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::Blob;

use super::{TXN_ITEMS_MAX, bounded};
use crate::http::Expect;

/// A session's name, chosen by the client: 128 bits of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A request's place in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tag {
    /// Which session.
    pub session: SessionId,
    /// The request's number, from 1, never used for another request of the session.
    pub number: u64,
    /// The client will never ask again for the replies to numbers below this one.
    pub acked_below: u64,
}

/// A change.
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
    /// Removes a key.
    Delete {
        /// Which key.
        key: Blob,
        /// On which condition.
        expect: Expect,
    },
    /// Compares, and does one list of operations or the other.
    Txn(Txn),
    /// Sets a key's value for as long as the session lives.
    PutEphemeral {
        /// Which key.
        key: Blob,
        /// Its new value.
        value: Blob,
        /// On which condition.
        expect: Expect,
    },
}

impl Command {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        FLAT_BYTES
            + match self {
                Command::Put { key, value, .. } | Command::PutEphemeral { key, value, .. } => {
                    key.0.len() + value.0.len()
                }
                Command::Append { key, suffix, .. } => key.0.len() + suffix.0.len(),
                Command::Delete { key, .. } => key.0.len(),
                Command::Txn(txn) => txn.bytes(),
            }
    }
}

/// If all comparisons hold, the one list of operations, otherwise the other: in order, at one revision, atomically.
///
/// ```
/// use kv_client::wire::{Compare, Operation, Txn};
///
/// // Take a name unless somebody has it.
/// let txn = Txn::new().when(Compare::absent("name")).then(Operation::put("name", "mine")).otherwise(Operation::get("name"));
/// assert_eq!(txn.compare.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct Txn {
    /// All of these must hold; none always does.
    pub compare: Vec<Compare>,
    /// What is done then. No key may be written twice.
    pub then: Vec<Operation>,
    /// What is done otherwise. No key may be written twice.
    pub otherwise: Vec<Operation>,
}

impl<C> Decode<C> for Txn {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Txn, DecodeError> {
        Ok(Txn {
            compare: bounded::at_most(decoder, TXN_ITEMS_MAX)?,
            then: bounded::at_most(decoder, TXN_ITEMS_MAX)?,
            otherwise: bounded::at_most(decoder, TXN_ITEMS_MAX)?,
        })
    }
}
bincode::impl_borrow_decode!(Txn);

impl Txn {
    /// One that compares nothing and does nothing.
    pub fn new() -> Txn {
        Txn::default()
    }

    /// The same, if this holds, too.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Txn {
        self.compare.push(compare);
        self
    }

    /// The same, and then this.
    #[must_use]
    pub fn then(mut self, operation: Operation) -> Txn {
        self.then.push(operation);
        self
    }

    /// The same, and this where a comparison does not hold.
    #[must_use]
    pub fn otherwise(mut self, operation: Operation) -> Txn {
        self.otherwise.push(operation);
        self
    }

    /// The most comparisons or operations that it has of a kind.
    pub(crate) fn items(&self) -> usize {
        self.compare.len().max(self.then.len()).max(self.otherwise.len())
    }

    fn bytes(&self) -> usize {
        let compared = self.compare.iter().map(|compare| {
            let target = match &compare.target {
                Target::Value(Some(value)) => value.0.len(),
                _ => 0,
            };
            FLAT_BYTES + compare.key.0.len() + target
        });
        let done = self.then.iter().chain(&self.otherwise).map(Operation::bytes);
        compared.sum::<usize>() + done.sum::<usize>()
    }
}

/// What a comparison or an operation takes besides its keys and values, at most.
const FLAT_BYTES: usize = 32;

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

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Compare {
        Compare::version(key, 0)
    }

    /// The key has this version.
    pub fn version(key: impl Into<Bytes>, version: u64) -> Compare {
        Compare { key: Blob(key.into()), target: Target::Version(version), relation: Relation::Equal }
    }

    /// The key was last changed at this revision.
    pub fn mod_revision(key: impl Into<Bytes>, revision: u64) -> Compare {
        Compare { key: Blob(key.into()), target: Target::ModRevision(revision), relation: Relation::Equal }
    }

    /// The key has this value.
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Compare {
        let target = Target::Value(Some(Blob(value.into())));
        Compare { key: Blob(key.into()), target, relation: Relation::Equal }
    }
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
    /// Sets a key's value for as long as the session lives.
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
    /// Reads a key.
    pub fn get(key: impl Into<Bytes>) -> Operation {
        Operation::Get { key: Blob(key.into()) }
    }

    /// Sets a key's value.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Operation {
        Operation::Put { key: Blob(key.into()), value: Blob(value.into()) }
    }

    /// Sets a key's value for as long as the session lives.
    pub fn put_ephemeral(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Operation {
        Operation::PutEphemeral { key: Blob(key.into()), value: Blob(value.into()) }
    }

    /// Appends to a key's value.
    pub fn append(key: impl Into<Bytes>, suffix: impl Into<Bytes>) -> Operation {
        Operation::Append { key: Blob(key.into()), suffix: Blob(suffix.into()) }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<Bytes>) -> Operation {
        Operation::Delete { key: Blob(key.into()) }
    }

    fn bytes(&self) -> usize {
        FLAT_BYTES
            + match self {
                Operation::Get { key } | Operation::Delete { key } => key.0.len(),
                Operation::Put { key, value } | Operation::PutEphemeral { key, value } => key.0.len() + value.0.len(),
                Operation::Append { key, suffix } => key.0.len() + suffix.0.len(),
                Operation::Scan { start, end, .. } => start.0.len() + end.as_ref().map_or(0, |end| end.0.len()),
            }
    }
}
