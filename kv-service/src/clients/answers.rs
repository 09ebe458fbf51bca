//! What each outcome is in the words of the protocol. Whether a request *was not* or *may have been* carried out is
//! decided by [`SubmitError::is_definite`].
//!
//! | outcome | answer |
//! | --- | --- |
//! | the machine's reply | itself; a session that is not open and a forgotten number are failures |
//! | refused by the log | `Refused`: definitely not carried out |
//! | no answer in time, or the replica stopped | a write: `Unknown`; a read: `Refused`, there is no outcome to be unknown |
//! | replies that cannot be understood | `Unknown`: they are replies to something that was carried out |

use consensus_api::{Refusal, RequestError};
use kv_client::wire::{Answer, Failure, Refused};
use kv_machine::{KvError, Reply};

use super::convert;
use crate::service::SubmitError;

/// A definite refusal.
pub(super) fn refused(why: Refused, message: impl Into<String>) -> Failure {
    Failure::Refused { why, message: message.into() }
}

/// The answer to a request that breaks a rule or a limit.
pub(super) fn of_bad_request(error: &KvError) -> Answer {
    let why = if matches!(error, KvError::TooLarge { .. }) { Refused::TooLarge } else { Refused::BadInput };
    Answer::Failed(refused(why, error.to_string()))
}

/// What every write of a batch is told that failed like this.
pub(super) fn of_write(error: &SubmitError) -> Failure {
    match error {
        SubmitError::Log(RequestError::Refused(refusal)) => of_refusal(refusal),
        SubmitError::Encode(_) => refused(Refused::TooLarge, error.to_string()),
        _ if error.is_definite() => refused(Refused::Internal, error.to_string()),
        _ => Failure::Unknown { message: error.to_string() },
    }
}

/// What every read is told whose barrier failed like this. It changes nothing, so it can always be repeated.
pub(super) fn of_read(error: &RequestError) -> Failure {
    match error {
        RequestError::Refused(refusal) => of_refusal(refusal),
        RequestError::Unknown { waited_ms } => {
            refused(Refused::NoQuorum, format!("no quorum confirmed the read within {waited_ms} ms"))
        }
        RequestError::SnapshotFailed { .. } => refused(Refused::Internal, error.to_string()),
        RequestError::Stopped { .. } => refused(Refused::Stopping, error.to_string()),
    }
}

fn of_refusal(refusal: &Refusal) -> Failure {
    let why = match refusal {
        Refusal::NoLeader | Refusal::NotLeader { .. } | Refusal::NotReady | Refusal::TransferFailed { .. } => {
            Refused::NoLeader
        }
        Refusal::NoQuorum { .. } | Refusal::NoLiveMajority { .. } => Refused::NoQuorum,
        Refusal::Busy | Refusal::ChangePending | Refusal::LearnerLags { .. } => Refused::Busy,
        Refusal::TooLarge { .. } => Refused::TooLarge,
        // A Clerk asks for nothing that these are said to.
        Refusal::Unsupported { .. }
        | Refusal::MembershipMoved { .. }
        | Refusal::InvalidMembership { .. }
        | Refusal::NotAVoter { .. } => Refused::Unsupported,
    };
    refused(why, refusal.to_string())
}

/// The machine's reply to a write.
pub(super) fn of_reply(reply: Reply) -> Answer {
    match reply {
        Reply::Written { version, revision } => Answer::Written { version, revision },
        Reply::Deleted { deleted, revision } => Answer::Deleted { deleted, revision },
        Reply::Mismatch { version, mod_revision } => Answer::Mismatch { version, mod_revision },
        Reply::Txn { succeeded, revision, results } => {
            let results = results.into_iter().map(convert::operation_result).collect();
            Answer::Txn { succeeded, revision, results }
        }
        Reply::TooLarge { what, found, limit } => {
            let message = format!("the {what} would have {found}, over the limit of {limit}; nothing was changed");
            Answer::TooLarge { message }
        }
        Reply::SessionOpened { ttl_ms } => Answer::SessionOpened { ttl_ms },
        Reply::SessionClosed { existed, .. } => Answer::SessionClosed { existed },
        Reply::SessionExpired => Answer::Failed(Failure::SessionExpired),
        Reply::Forgotten => Answer::Failed(Failure::Forgotten),
        Reply::SessionFull => {
            let message = "too many sessions, or too many unacknowledged replies in this one; retry a little later";
            Answer::Failed(refused(Refused::SessionFull, message))
        }
        Reply::SessionNeeded => {
            Answer::Failed(refused(Refused::BadInput, "an ephemeral key needs a session; open one first"))
        }
        Reply::Malformed => {
            let message = "the machine does not understand the command; run the same build on every node";
            Answer::Failed(refused(Refused::Unsupported, message))
        }
    }
}
