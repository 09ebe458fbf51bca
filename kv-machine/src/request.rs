//! What one entry of the log carries for the machine: a batch of requests, each with its place in a session or without.
//!
//! ```text
//!   entry ── Batch ─┬─ Request { session (id, number, acked_below), command } ──▶ Reply ─┐
//!                   ├─ Request { no session,                        command } ──▶ Reply ─┼─ Replies
//!                   └─ …                                                                 ┘
//! ```
//!
//! The requests of a batch are carried out in order, each by itself and at a revision of its own: a batch is how they
//! travel, not a transaction. So one entry, one write to the disk and one message carry as many as were waiting.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::codec;

use crate::command::Command;
use crate::error::KvError;
use crate::reply::Reply;

/// A session's name, chosen by the client: 128 bits of chance, never used for a second session. In text it is 32
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = KvError;

    fn from_str(text: &str) -> Result<SessionId, KvError> {
        // `from_str_radix` alone would take a sign.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(SessionId).ok_or_else(|| KvError::SessionId { found: text.to_owned() })
    }
}

/// A request's place in its session. A copy of a request that was carried out has the first reply, as long as that is not
/// acknowledged; only where the copies of one batch would return more than [`crate::BATCH_RESULT_BYTES_MAX`] they are told
/// [`Reply::SessionExpired`], which promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SessionTag {
    /// Which session; it must have been opened.
    pub session: SessionId,
    /// The request's number, from 1, never used for another request of the session. A window of numbers may be in flight and
    /// arrive in any order.
    pub number: u64,
    /// The client has the replies to all numbers below this one, and will never ask for them again.
    pub acked_below: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Its place in a session; without one a retry is another request. To open and to close a session is the same however
    /// often it is done, and takes no place in one: there the number is ignored. Of the tag of the session that is opened
    /// `acked_below` counts: so a client that has nothing to write acknowledges by the signs of its life.
    pub session: Option<SessionTag>,
    /// What is wanted.
    pub command: Command,
}

impl From<Command> for Request {
    /// Outside of any session.
    fn from(command: Command) -> Request {
        Request { session: None, command }
    }
}

/// Requests that travel in one entry; carried out in order, each by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// At least one, at most [`Batch::REQUESTS_MAX`].
    pub requests: Vec<Request>,
}

/// The answers to a batch, in the order of its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Replies {
    /// One for each request; a single [`Reply::Malformed`] where the bytes are no batch.
    pub replies: Vec<Reply>,
}

impl Batch {
    /// The most requests of one batch. A constant: it decides what an applied batch does.
    pub const REQUESTS_MAX: usize = 4096;

    /// The batch as bytes, for [`consensus_api::ReplicatedLog::propose`].
    ///
    /// # Errors
    /// [`KvError::Codec`] where it takes more than [`codec::VALUE_BYTES_MAX`].
    pub fn encode(&self) -> Result<Bytes, KvError> {
        Ok(codec::encode(self)?)
    }

    /// The batch that `bytes` encode.
    ///
    /// # Errors
    /// [`KvError::Codec`] where they encode none.
    pub fn decode(bytes: &[u8]) -> Result<Batch, KvError> {
        Ok(codec::decode(bytes)?)
    }
}

impl Replies {
    /// The replies as bytes.
    ///
    /// # Errors
    /// [`KvError::Codec`] where they take more than [`codec::VALUE_BYTES_MAX`]; the machine's bounds rule that out.
    pub fn encode(&self) -> Result<Bytes, KvError> {
        // Nearly every reply is two numbers.
        let mut out = Vec::with_capacity(codec::HEADER_BYTES + 4 + 19 * self.replies.len());
        codec::encode_into(self, &mut out)?;
        Ok(out.into())
    }

    /// The replies that `bytes` encode.
    ///
    /// # Errors
    /// [`KvError::Codec`] where they encode none.
    pub fn decode(bytes: &[u8]) -> Result<Replies, KvError> {
        Ok(codec::decode(bytes)?)
    }
}
