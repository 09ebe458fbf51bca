//! What a Clerk says when a request did not go as wished. The variants differ in what the caller may conclude.

use crate::quic::TlsError;

/// Why a request failed.
///
/// | variant | did the write happen? |
/// | --- | --- |
/// | [`Maybe`](ClerkError::Maybe) | **nobody can tell**: read the state before you repeat it |
/// | every other | no, and it will not |
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClerkError {
    /// The condition did not hold; nothing was changed.
    #[error("the key has version {version} and revision {mod_revision}; nothing was changed, read it again")]
    VersionMismatch {
        /// The key's version; zero: it does not exist.
        version: u64,
        /// The revision of the key's last change; zero: it does not exist.
        mod_revision: u64,
    },
    /// A write was definitely not carried out, and will not be.
    #[error("not carried out: {reason}; it can be repeated")]
    NotApplied {
        /// Why.
        reason: String,
    },
    /// A write was sent and no definite answer came in time: it may have been carried out, or may yet be.
    #[error("it may have been carried out, or may yet be ({reason}); read the state before you repeat it")]
    Maybe {
        /// What happened to the answer.
        reason: String,
    },
    /// A read was not answered in time. To repeat it harms nobody.
    #[error("no answer in time ({reason}); retry, or allow more time")]
    NoAnswer {
        /// What happened.
        reason: String,
    },
    /// The session had ended when the write arrived, so it was not carried out; the session's ephemeral keys are gone, or
    /// will be. Later requests run in a new session.
    #[error("the session has ended, and the write was not carried out; what the session held is lost, take it anew")]
    SessionExpired,
    /// Over a limit; nothing was changed.
    #[error("{message}")]
    TooLarge {
        /// What is too large.
        message: String,
    },
    /// The request makes no sense; nothing was changed.
    #[error("{message}")]
    BadInput {
        /// What is wrong.
        message: String,
    },
    /// As many watches as there may be were there already, for as long as the request's time.
    #[error("{message}")]
    TooManyWatches {
        /// Which bound it is.
        message: String,
    },
    /// The nodes or their engine cannot do this; nothing was changed.
    #[error("{message}")]
    Unsupported {
        /// What.
        message: String,
    },
    /// A watch asks for changes that the cluster does not keep any more.
    #[error("changes before revision {first} are not kept any more; read the state, and watch from there")]
    Compacted {
        /// The first revision that can be watched from.
        first: u64,
    },
    /// The Clerk's settings make no sense.
    #[error("{reason}")]
    Settings {
        /// What is wrong, and how it should be.
        reason: String,
    },
    /// The certificates are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The nodes speak another version, or belong to another cluster than they did.
    #[error("{reason}")]
    Misfit {
        /// What does not fit.
        reason: String,
    },
    /// No node could be connected to; nothing was sent.
    #[error("no node could be reached ({reason}); check the endpoints, and that a node runs there")]
    Unreachable {
        /// What happened at the last one.
        reason: String,
    },
}
