//! Why a request was not answered as wished. The variants differ in what the caller may conclude and do next.

use crate::protocol::{ErrorCode, ErrorReply};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The list of endpoints is empty, or one of them is not `host:port`.
    #[error("\"{endpoint}\" is no endpoint: {reason}; give host:port, as in 127.0.0.1:8001")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is empty.
    #[error("the key is empty; name a key of at least one byte")]
    EmptyKey,
    /// No endpoint could be asked, and nothing was carried out: what was a write was never sent.
    #[error("no endpoint could be reached ({tried}); check the endpoints, and that a node runs there")]
    Unreachable {
        /// Each endpoint with what happened there.
        tried: String,
    },
    /// A read was not answered in time. To repeat it harms nobody.
    #[error("no answer within {waited_ms} ms; retry, or allow more time")]
    Timeout {
        /// How long it was waited for, in milliseconds.
        waited_ms: u64,
    },
    /// A write was, or may have been, sent, and no answer tells what became of it: it may have been carried out, or may
    /// yet be. It was repeated only under its number in a session, which cannot carry it out twice.
    #[error("the outcome is unknown ({reason}); read the state before you repeat the request")]
    Unknown {
        /// What happened to the answer.
        reason: String,
    },
    /// The cluster answered with an error. Except for a write's 504, which is [`ClientError::Unknown`], nothing was
    /// carried out.
    #[error("{message} ({status})")]
    Api {
        /// The HTTP status.
        status: u16,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// Who leads, if the node knew.
        leader: Option<u64>,
    },
    /// A watch asks for changes that are not remembered any more.
    #[error(
        "the changes before revision {first_revision} are not remembered any more; scan the keys, then watch from there on"
    )]
    Compacted {
        /// The first revision whose changes are still there.
        first_revision: u64,
    },
    /// A download was begun and did not come to its end. To begin again harms nobody.
    #[error("the download from {endpoint} broke off ({reason}); start it again")]
    Interrupted {
        /// Who was sending.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The answer is not one of this protocol; a write that it answers was probably carried out.
    #[error(
        "{endpoint} answered what this client does not understand ({reason}); check that it is a node, of this version"
    )]
    InvalidReply {
        /// Who answered.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// The code of the cluster's answer, if it was an answer.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Api { code, .. } => Some(*code),
            ClientError::Compacted { .. } => Some(ErrorCode::Compacted),
            _ => None,
        }
    }

    /// The error that an answer's status and body tell. A body that is none of ours (a proxy's, say) is quoted.
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> ClientError {
        const QUOTED_BYTES_MAX: usize = 200;
        match serde_json::from_slice::<ErrorReply>(body) {
            Ok(ErrorReply { error: ErrorCode::Compacted, first_revision: Some(first_revision), .. }) => {
                ClientError::Compacted { first_revision }
            }
            Ok(reply) => ClientError::Api { status, code: reply.error, message: reply.message, leader: reply.leader },
            Err(_) => {
                let quoted = String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES_MAX)]).into_owned();
                ClientError::Api { status, code: ErrorCode::Other, message: quoted, leader: None }
            }
        }
    }
}
