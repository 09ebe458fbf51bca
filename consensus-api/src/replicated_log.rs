//! The outer handle: what a service stands on, whichever engine runs beneath.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::engine::{EngineStatus, Refusal, RoleChange};
use crate::ids::{EngineName, LogIndex, NodeId};
use crate::membership::Membership;
use crate::reads::ReadMode;

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// What the state machine said.
    pub reply: Bytes,
}

/// Why a request was not answered as wished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It was definitely not carried out.
    #[error("not carried out: {0}")]
    Refused(#[from] Refusal),
    /// It may have been carried out, or may yet be. Ask the state before you repeat it.
    #[error("no answer within {waited_ms} ms, so the outcome is unknown; read the state before you repeat the request")]
    Unknown {
        /// How long the request was waited for.
        waited_ms: u64,
    },
    /// No snapshot was taken; everything else goes on as before.
    #[error("no snapshot was taken: {reason}; the state is as it was, mend the cause and ask again")]
    SnapshotFailed {
        /// Why.
        reason: String,
    },
    /// The replica stopped. What was in flight may have been carried out.
    #[error("the replica has stopped: {reason}; see its log, then restart it")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// How a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which engine runs.
    pub engine_name: EngineName,
    /// Which node this is.
    pub node: NodeId,
    /// The engine's own view.
    pub engine: EngineStatus,
    /// What the state machine has applied.
    pub applied_index: LogIndex,
    /// The last index that a snapshot covers; zero without one.
    pub snapshot_index: LogIndex,
}

/// Something happened that an observer may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node's part, or the leader it knows, has changed.
    Role(RoleChange),
    /// The replica stopped.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Events as they happen. A slow observer misses some, never the last.
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A replicated log with a state machine on top.
#[async_trait]
pub trait ReplicatedLog: Send + Sync {
    /// Appends a command and waits until this node has applied it. While no leader is known it waits for one, within
    /// `timeout`.
    async fn propose(&self, command: Bytes, timeout: Duration) -> Result<Applied, RequestError>;

    /// Returns once this node has applied everything that was acknowledged to anyone before the call: what its tables
    /// say afterwards is a linearizable read, whatever the mode; the modes differ in cost and in what they assume.
    async fn read_barrier(&self, mode: ReadMode, timeout: Duration) -> Result<LogIndex, RequestError>;

    /// How the replica stands.
    fn status(&self) -> ReplicaStatus;

    /// Moves to other members and returns once they are in force at this node, with an index that it has applied by then.
    /// Any members will do: whoever is to vote and is no member yet becomes a learner first, and is waited for until it has
    /// caught up; each step is a change of its own.
    ///
    /// `target` names the version of the members that it is meant to follow: the one that the caller has seen. Where the
    /// members have changed since, or somebody else changes them on the way, nothing of that is overwritten
    /// ([`Refusal::MembershipMoved`]); steps that were taken by then stay. What passes is waited for within `timeout`: an
    /// election, another change, a learner that lags; that a majority of those who are to vote answers, a few seconds and no
    /// longer ([`Refusal::NoLiveMajority`]). After that its last word is the answer, or that the outcome is unknown: then
    /// look at the members before you ask again.
    async fn change_membership(&self, target: Arc<Membership>, timeout: Duration) -> Result<LogIndex, RequestError>;

    /// Hands leadership to `to`, or to the most advanced other voter; returns once this node sees it lead, at once where
    /// it does already. Whoever proposes or reads meanwhile waits a little longer. Where it does not take over in time the
    /// leader leads on, and it may take over yet ([`Refusal::TransferFailed`]).
    async fn transfer_leadership(&self, to: Option<NodeId>, timeout: Duration) -> Result<(), RequestError>;

    /// Starts an election at this node.
    async fn campaign(&self) -> Result<(), RequestError>;

    /// Takes a snapshot now and returns the index that it covers.
    async fn snapshot(&self) -> Result<LogIndex, RequestError>;

    /// A hash over the state machine's tables, with the index that they have applied.
    async fn digest(&self) -> Result<(LogIndex, [u8; 32]), RequestError>;

    /// Role changes and the end.
    fn events(&self) -> EventStream;

    /// Stops in order: what is applied is flushed.
    async fn shutdown(&self);
}
