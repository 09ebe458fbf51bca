//! Every answer that is not a success, in one table.
//!
//! | status | code | when |
//! | --- | --- | --- |
//! | 307 | `not_leader` | `redirect=1` asks for it: the leader is at `Location` |
//! | 400 | `bad_input` | the request itself is wrong (405, where only the method is: `Allow` names those that fit) |
//! | 404 | `not_found` | there is no such key, member, snapshot or path |
//! | 409 | `session_expired` | the session has ended or never was; *this* copy of the write was not carried out |
//! | 409 | `request_forgotten` | the client has said that it has the answer; not carried out again |
//! | 409 | `change_pending` | another change of members is under way; not carried out, or not all of it: look at the members |
//! | 409 | `learner_lags` | a learner has yet to catch up before it may vote; it goes on doing so, and the request may be repeated |
//! | 409 | `id_in_use` | a learner with another data directory has that id, or one has voted under it; nothing changed |
//! | 409 | `no_live_majority` | of those who are to vote no majority answers; not carried out, or not all of it: look at the members |
//! | 410 | `compacted` | a watch from a revision that is not remembered; `first_revision` says which is |
//! | 412 | `version_mismatch` | the condition does not hold; nothing changed |
//! | 412 | `members_changed` | the members are not those that the change was meant for; not carried out, or not all of it: look at the members |
//! | 413 | `too_large` | over a limit; nothing changed |
//! | 429 | `too_busy` | refused, nothing changed (\*); `Retry-After` says when to come back |
//! | 500 | `internal` | this node's tables cannot be read; nothing changed |
//! | 501 | `unsupported` | foreseen, and not there |
//! | 503 | `no_leader`, `no_quorum`, `stopping` | not now; nothing changed (\*) |
//! | 503 | `transfer_failed` | nobody took over in time; as far as is known the leader leads on |
//! | 504 | `unknown_outcome` | **the only answer after which a write may or may not have happened** |
//!
//! (\*) Of a change of members, which is made step by step, some may have been carried out: look at the members.
//!
//! A head that HTTP itself cannot make sense of never comes this far: the server beneath answers 400, 414 or 431 without a
//! body, and closes the connection.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use consensus_api::{Member, NodeId, Refusal, RequestError, StoreId};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use kv_client::protocol::{ErrorCode, ErrorReply};
use kv_machine::{KvError, Reply, SessionTag};

use crate::service::SubmitError;

/// Seconds after which a refused client may come back.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    leader: Option<NodeId>,
    /// Where to go instead.
    location: Option<String>,
    first_revision: Option<u64>,
}

impl ApiError {
    fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        // The codes' statuses are all valid ones.
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ApiError { status, code, message: message.into(), leader: None, location: None, first_revision: None }
    }

    /// The request itself is wrong.
    pub(super) fn bad_input(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::BadInput, message)
    }

    /// There is no such key.
    pub(super) fn no_such_key() -> ApiError {
        ApiError::new(ErrorCode::NotFound, "there is no such key; GET /v1/kv lists those there are")
    }

    /// There is no such node among the members.
    pub(super) fn no_such_member(node: NodeId) -> ApiError {
        ApiError::new(ErrorCode::NotFound, format!("node {node} is no member; GET /v1/members lists those there are"))
    }

    /// The id has voted with another disk, and keeps it for ever.
    pub(super) fn disk_lost(node: NodeId, voted: StoreId) -> ApiError {
        let message = format!(
            "node {node} has voted with another disk (store {voted}), and an id that has voted keeps its disk for ever: join \
             under an id that was never used; and where node {node} lost that disk, and with it what it promised, remove it, \
             if it still is a member (DELETE /v1/members/{node})"
        );
        ApiError::new(ErrorCode::IdInUse, message)
    }

    /// A learner with another data directory has the id of one that is to be added.
    pub(super) fn id_in_use(node: NodeId, known: &Member, store: StoreId) -> ApiError {
        let message = format!(
            "node {node} is a learner already, at {} with store {}, and this would be store {store}: either its disk was \
             replaced, or another node has that id; remove that member first (DELETE /v1/members/{node}), or choose an id \
             that is free",
            known.address, known.store
        );
        ApiError::new(ErrorCode::IdInUse, message)
    }

    /// There is no such snapshot.
    pub(super) fn no_such_snapshot() -> ApiError {
        let message = "this node does not keep that snapshot, or not any more; POST /v1/snapshot takes one";
        ApiError::new(ErrorCode::NotFound, message)
    }

    /// A bound of this node is reached.
    pub(super) fn too_busy(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::TooBusy, message)
    }

    /// There is nothing at this path.
    pub(super) fn no_such_path() -> ApiError {
        ApiError::new(ErrorCode::NotFound, "there is nothing at this path; keys are at /v1/kv/KEY")
    }

    /// There is something at this path, for another method.
    pub(super) fn method_not_allowed() -> ApiError {
        let message = "this path does not take this method; the Allow header names those it takes";
        ApiError { status: StatusCode::METHOD_NOT_ALLOWED, ..ApiError::bad_input(message) }
    }

    /// The condition did not hold.
    pub(super) fn mismatch(version: u64, mod_revision: u64) -> ApiError {
        let message = if version == 0 {
            "the key does not exist; nothing was changed".to_owned()
        } else {
            format!("the key has version {version} and revision {mod_revision}; nothing was changed, read it again")
        };
        ApiError::new(ErrorCode::VersionMismatch, message)
    }

    /// Over a limit.
    pub(super) fn too_large(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::TooLarge, message)
    }

    /// Foreseen, and not there; `what` ends in its verb.
    pub(super) fn unsupported(what: &str) -> ApiError {
        ApiError::new(ErrorCode::Unsupported, format!("{what} not supported by this build yet; leave it out"))
    }

    /// Nobody leads, or nobody knows who.
    pub(super) fn no_leader(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::NoLeader, message)
    }

    /// Another node leads, at this location.
    pub(super) fn elsewhere(leader: NodeId, location: String) -> ApiError {
        let message = format!("node {leader} leads, at {location}");
        ApiError { location: Some(location), ..ApiError::new(ErrorCode::NotLeader, message) }.led_by(Some(leader))
    }

    /// What is asked for is not remembered any more; from `first_revision` on it is.
    pub(super) fn compacted(message: impl Into<String>, first_revision: u64) -> ApiError {
        ApiError { first_revision: Some(first_revision), ..ApiError::new(ErrorCode::Compacted, message) }
    }

    /// The node is stopping.
    pub(super) fn stopping(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Stopping, message)
    }

    /// What the machine said, unless that is why it did nothing.
    pub(super) fn unless_success(reply: Reply) -> Result<Reply, ApiError> {
        Err(match reply {
            Reply::Mismatch { version, mod_revision } => ApiError::mismatch(version, mod_revision),
            Reply::TooLarge { what, found, limit } => {
                let message = format!("the {what} would have {found}, over the limit of {limit}; nothing was changed");
                ApiError::too_large(message)
            }
            Reply::SessionExpired => {
                let message = "the session has ended, or was never opened; this request was not carried out, and whether an \
                               earlier copy of it was can only be read: then open another session";
                ApiError::new(ErrorCode::SessionExpired, message)
            }
            Reply::Forgotten => {
                let message = "a request of this session with a higher Quorate-Acked-Below said that this one is answered; it \
                               was not carried out again";
                ApiError::new(ErrorCode::RequestForgotten, message)
            }
            Reply::SessionFull => {
                let message = "a bound on sessions is reached; acknowledge answers by Quorate-Acked-Below, end sessions that \
                               are not needed, or come back later";
                ApiError::too_busy(message)
            }
            Reply::SessionNeeded => ApiError::session_needed(),
            // It was checked before it was proposed, by the same rules.
            Reply::Malformed => {
                ApiError::internal("the machine does not understand the command; run the same build on every node")
            }
            reply => return Ok(reply),
        })
    }

    /// An ephemeral write outside of a session.
    pub(super) fn session_needed() -> ApiError {
        ApiError::bad_input("an ephemeral key needs a session: the headers Quorate-Session and Quorate-Request")
    }

    /// The machine answered another kind of command than was proposed: because the number of the session stood for one, and
    /// that was answered first; or else something is broken.
    pub(super) fn out_of_place(reply: &Reply, session: Option<SessionTag>) -> ApiError {
        if let Some(tag) = session {
            let message = format!("request {} of this session was another one; never use a number twice", tag.number);
            return ApiError::bad_input(message);
        }
        tracing::error!(?reply, "reply out of place");
        ApiError::unknown(
            "the machine's reply does not fit the command; run the same build on every node, read the state",
        )
    }

    /// A write that may have happened, or may yet.
    pub(super) fn unknown(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::UnknownOutcome, message)
    }

    /// The node cannot, and says why: its disk is full or its tables contradict themselves. Nothing has changed.
    pub(super) fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Internal, message)
    }

    /// The answer to a request that may change something and failed like this.
    pub(super) fn of_write(error: impl Into<SubmitError>, leader: Option<NodeId>) -> ApiError {
        let answer = match error.into() {
            SubmitError::Log(RequestError::Refused(refusal)) => ApiError::of_refusal(refusal),
            error @ SubmitError::Encode(_) => ApiError::too_large(error.to_string()),
            error if error.is_definite() => ApiError::internal(error.to_string()),
            error => ApiError::unknown(error.to_string()),
        };
        answer.led_by(leader)
    }

    /// The answer to a request that changes nothing and failed like this: so there is no outcome to be unknown.
    pub(super) fn of_read(error: RequestError, leader: Option<NodeId>) -> ApiError {
        let answer = match error {
            RequestError::Refused(refusal) => ApiError::of_refusal(refusal),
            RequestError::Unknown { waited_ms } => ApiError::new(
                ErrorCode::NoQuorum,
                format!("no quorum confirmed the read within {waited_ms} ms; retry, or read with consistency=stale"),
            ),
            RequestError::SnapshotFailed { .. } => ApiError::internal(error.to_string()),
            RequestError::Stopped { .. } => ApiError::new(ErrorCode::Stopping, error.to_string()),
        };
        answer.led_by(leader)
    }

    fn of_refusal(refusal: Refusal) -> ApiError {
        let message = refusal.to_string();
        match refusal {
            Refusal::NoLeader | Refusal::NotReady => ApiError::new(ErrorCode::NoLeader, message),
            Refusal::TransferFailed { .. } => ApiError::new(ErrorCode::TransferFailed, message),
            Refusal::InvalidMembership { .. } | Refusal::NotAVoter { .. } => ApiError::bad_input(message),
            Refusal::MembershipMoved { .. } => ApiError::new(ErrorCode::MembersChanged, message),
            Refusal::ChangePending => ApiError::new(ErrorCode::ChangePending, message),
            Refusal::NoLiveMajority { .. } => ApiError::new(ErrorCode::NoLiveMajority, message),
            Refusal::LearnerLags { .. } => ApiError::new(ErrorCode::LearnerLags, message),
            Refusal::NotLeader { leader } => ApiError::new(ErrorCode::NoLeader, message).led_by(leader),
            Refusal::NoQuorum { .. } => ApiError::new(ErrorCode::NoQuorum, message),
            Refusal::Busy => ApiError::new(ErrorCode::TooBusy, message),
            Refusal::TooLarge { .. } => ApiError::new(ErrorCode::TooLarge, message),
            Refusal::Unsupported { .. } => ApiError::new(ErrorCode::Unsupported, message),
        }
    }

    /// The same, with the leader to try, unless the refusal named one itself.
    pub(super) fn led_by(mut self, leader: Option<NodeId>) -> ApiError {
        self.leader = self.leader.or(leader);
        self
    }
}

impl From<KvError> for ApiError {
    fn from(error: KvError) -> ApiError {
        let message = error.to_string();
        match error {
            KvError::EmptyKey | KvError::DuplicateKey { .. } => ApiError::bad_input(message),
            KvError::TooLarge { .. } => ApiError::too_large(message),
            KvError::SessionId { .. } => ApiError::bad_input(message),
            KvError::Codec(_)
            | KvError::NotOneReply
            | KvError::Tables(_)
            | KvError::Damaged { .. }
            | KvError::AlreadyFounded => {
                tracing::error!(%error, "tables cannot be read");
                ApiError::internal(message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let leader = self.leader.map(|node| node.0);
        let reply = ErrorReply { error: self.code, message: self.message, leader, first_revision: self.first_revision };
        // A struct of strings and a number always serializes.
        let body = serde_json::to_vec(&reply).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
