//! The client protocol: what a Clerk and a node say to each other over QUIC.
//!
//! ```text
//!   connection, ALPN "quorate-client/1", both sides authenticated
//!   ├─ stream 1   Clerk: hello   node: hello (or why not)
//!   │             Clerk: frames of many numbered requests          ──▶
//!   │                  ◀── node: frames of many numbered replies, in any order; news of who leads
//!   ├─ stream 2…  Clerk: one frame, what to watch
//!   │                  ◀── node: frames of changes, in order of their revisions, without end
//!   └─ close      a code ([`close`]) and a text
//!
//!   hello   "Qc" │ version u8 │ 0 │ length u16 LE │ body          laid out for ever
//!   frame   length u32 LE │ body                                  a body is encoded by `consensus_api::codec`
//! ```
//!
//! One stream carries all requests, because a stream costs more than a request. Whoever sends packs whatever waits into
//! the next frame, so frames grow by themselves under load and nobody waits for company. Replies name their requests;
//! within a connection no number is used twice at a time.
//!
//! A node takes no more requests at a time than its hello says ([`Welcome::window`]) and stops reading beyond that;
//! QUIC then holds the sender up. What goes over a bound or makes no sense ends the connection, with a reason.

mod answer;
mod bounded;
mod command;
mod frame;
pub mod hello;
mod watch;

pub use answer::{Answer, Failure, Item, OperationResult, Refused, ScanItem};
pub use command::{Command, Compare, Operation, Relation, SessionId, Tag, Target, Txn};
pub use frame::{FRAME_BYTES_MAX, FrameError, FrameReader, append_frame};
pub use hello::{ClientHello, HelloError, HelloRefused, Leader, ServerHello, Welcome};
pub use watch::{Change, WatchEvent, WatchRequest};

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode};
use consensus_api::Blob;

use crate::protocol::Consistency;

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"quorate-client/1";
/// The version of hellos and frames.
pub const PROTOCOL_VERSION: u8 = 1;
/// The most requests of one frame.
pub const FRAME_REQUESTS_MAX: usize = 4096;
/// The most that the requests of one frame may take in memory, in bytes.
pub const REQUESTS_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// The most comparisons, and the most operations of either branch, that a transaction may have to be understood at all. A
/// node's own limits are far below.
pub const TXN_ITEMS_MAX: usize = 65_536;
/// How many numbers of a session may be in use at a time, counted from the lowest without an answer: so many replies the
/// cluster keeps, and a client draws no number beyond.
pub const SESSION_NUMBERS_MAX: u64 = 4096;

/// The codes with which a node closes a client's connection.
pub mod close {
    /// This side has no more use for it.
    pub const DONE: u32 = 0;
    /// The hello was not acceptable.
    pub const REFUSED: u32 = 1;
    /// A frame was not acceptable.
    pub const BAD_FRAME: u32 = 2;
    /// The node stops. What it had been asked and has not answered may have been carried out.
    pub const STOPPING: u32 = 3;
}

/// A request with the number that its reply will name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Numbered {
    /// The number; the Clerk's choice.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a Clerk asks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Changes something.
    Write {
        /// Its place in a session; without one a retry is another request.
        tag: Option<Tag>,
        /// What is wanted.
        command: Command,
    },
    /// Reads a key.
    Get {
        /// Which key.
        key: Blob,
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// Reads a page of a range.
    Scan {
        /// The first key.
        start: Blob,
        /// The key before which the range ends; without it, behind the last.
        end: Option<Blob>,
        /// The most items; the node has a bound of its own.
        limit: u32,
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// Opens a session, or carries the life of an open one forward.
    OpenSession {
        /// Its name.
        session: SessionId,
        /// How long it lives without a sign of its client, in milliseconds.
        ttl_ms: u64,
        /// The client will never ask again for the replies to numbers below this one; 1 where it has none.
        acked_below: u64,
    },
    /// Ends a session, with its ephemeral keys.
    CloseSession {
        /// Its name.
        session: SessionId,
    },
}

impl Request {
    /// About how many bytes it takes, in a frame and in memory.
    pub fn bytes(&self) -> usize {
        const FLAT: usize = 64;
        FLAT + match self {
            Request::Write { command, .. } => command.bytes(),
            Request::Get { key, .. } => key.0.len(),
            Request::Scan { start, end, .. } => start.0.len() + end.as_ref().map_or(0, |end| end.0.len()),
            Request::OpenSession { .. } | Request::CloseSession { .. } => 0,
        }
    }
}

/// What a Clerk sends on the first stream behind the hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct Requests {
    /// How long the node may work on them before it should rather say that it could not, in milliseconds; it has a bound of
    /// its own.
    pub patience_ms: u32,
    /// At most [`FRAME_REQUESTS_MAX`], of at most [`REQUESTS_BYTES_MAX`] bytes.
    pub requests: Vec<Numbered>,
}

impl<C> Decode<C> for Requests {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Requests, DecodeError> {
        let patience_ms = u32::decode(decoder)?;
        let mut bytes = 0;
        let requests = bounded::each_of_at_most(decoder, FRAME_REQUESTS_MAX, |numbered: &Numbered| {
            bytes += numbered.request.bytes();
            let is_over = bytes > REQUESTS_BYTES_MAX;
            if is_over {
                Err(DecodeError::Other("requests over the limit of a frame; send less at once"))
            } else {
                Ok(())
            }
        });
        Ok(Requests { patience_ms, requests: requests? })
    }
}
bincode::impl_borrow_decode!(Requests);

/// An answer with the number of its request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answered {
    /// The request's number.
    pub id: u64,
    /// The answer to it.
    pub answer: Answer,
}

/// What a node sends on the first stream behind the hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToClient {
    /// Answers, in any order.
    Replies(Vec<Answered>),
    /// Another node leads now.
    Leader(Leader),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a frame of these requests is taken for.
    fn read(requests: Vec<Numbered>) -> Result<Option<Requests>, FrameError> {
        let mut frame = Vec::new();
        append_frame(&Requests { patience_ms: 1, requests }, &mut frame).unwrap();
        let mut reader = FrameReader::new();
        reader.push(&frame);
        reader.next_message()
    }

    fn closing(id: u64) -> Numbered {
        Numbered { id, request: Request::CloseSession { session: SessionId(1) } }
    }

    fn txn_of(operations: usize) -> Numbered {
        let then = vec![Operation::get(""); operations];
        Numbered { id: 1, request: Request::Write { tag: None, command: Command::Txn(Txn { then, ..Txn::new() }) } }
    }

    #[test]
    fn a_frame_has_so_many_requests_and_no_more() {
        let requests: Vec<Numbered> = (0..FRAME_REQUESTS_MAX as u64).map(closing).collect();
        assert_eq!(read(requests.clone()).unwrap().unwrap().requests, requests);
        assert!(read((0..=FRAME_REQUESTS_MAX as u64).map(closing).collect()).is_err());
    }

    #[test]
    fn a_small_frame_cannot_take_much_memory() {
        assert!(read(vec![txn_of(TXN_ITEMS_MAX)]).is_ok());
        assert!(read(vec![txn_of(TXN_ITEMS_MAX + 1)]).is_err());
        // 128 KiB each in the frame, and 2 MiB in memory.
        assert!(read(vec![txn_of(TXN_ITEMS_MAX); 10]).is_err());
    }
}
