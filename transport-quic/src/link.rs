//! What the dialing and the accepting side of a connection have in common: who is at the other end, why a connection
//! fails, and how it is closed.

use std::net::SocketAddr;

use consensus_api::codec;
use quinn::{ApplicationClose, Connection, ConnectionError, VarInt};

use crate::hello::{Hello, HelloRefused};
use crate::refusals::{Refusal, RefusalCause};

/// This side stops, or has no more use for the connection.
pub(crate) const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// The hello was refused; the reason is an encoded [`HelloRefused`].
pub(crate) const CLOSE_REFUSED: VarInt = VarInt::from_u32(1);
/// A frame was not acceptable; the reason is a text.
pub(crate) const CLOSE_BAD_FRAME: VarInt = VarInt::from_u32(2);

/// An authenticated connection, with what the peer said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
}

impl Link {
    /// Whether both are one and the same connection.
    pub(crate) fn is(&self, other: &Link) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the address `{address}` cannot be resolved: {reason}")]
    Address { address: String, reason: String },
    #[error("cannot dial {address}: {reason}")]
    Dial { address: SocketAddr, reason: String },
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// By this side.
    #[error(transparent)]
    Refused(#[from] HelloRefused),
    #[error("no answer in time")]
    TimedOut,
    /// The peer has just dialed us, so that it is worth dialing it anew.
    #[error("the peer is back")]
    PeerIsBack,
}

impl LinkError {
    /// What an operator should know of it, if it is more than "not there".
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            LinkError::Refused(reason) => Some(Refusal { by_peer: false, cause: RefusalCause::Hello(reason.clone()) }),
            LinkError::Connection(error) => refusal_of(error),
            _ => None,
        }
    }
}

/// Tells the peer that its hello is refused.
pub(crate) fn close_refused(connection: &Connection, reason: &HelloRefused) {
    // An encoding that fails leaves the code, which says as much as it can.
    let encoded = codec::encode(reason).unwrap_or_default();
    connection.close(CLOSE_REFUSED, &encoded);
}

/// What the end of a connection tells, if it is more than that it ended.
pub(crate) fn refusal_of(error: &ConnectionError) -> Option<Refusal> {
    match error {
        ConnectionError::ApplicationClosed(close) => refusal_by_peer(close),
        ConnectionError::TransportError(error) if is_tls(error.code.into()) => {
            Some(Refusal { by_peer: false, cause: RefusalCause::Tls(error.to_string()) })
        }
        ConnectionError::ConnectionClosed(close) if is_tls(close.error_code.into()) => {
            Some(Refusal { by_peer: true, cause: RefusalCause::Tls(close.to_string()) })
        }
        _ => None,
    }
}

fn refusal_by_peer(close: &ApplicationClose) -> Option<Refusal> {
    let cause = match close.error_code {
        CLOSE_REFUSED => RefusalCause::Hello(codec::decode(&close.reason).unwrap_or_else(|error| {
            HelloRefused::Malformed { what: format!("refused with a reason that cannot be read ({error})") }
        })),
        CLOSE_BAD_FRAME => RefusalCause::Frame(String::from_utf8_lossy(&close.reason).into_owned()),
        _ => return None,
    };
    Some(Refusal { by_peer: true, cause })
}

/// TLS alerts are mapped to this range (RFC 9001 §4.8).
fn is_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}
