//! The handle that a service holds: requests in, answers out.
//!
//! A request that is refused because nobody leads is tried again, under a new id, until its time is up: a refusal says
//! that it was definitely not carried out. One that simply is not answered in time has an unknown outcome, and that is
//! what the client is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use consensus_api::{
    Applied, EngineName, Event, EventStream, LogIndex, Membership, NodeId, ReadMode, Refusal, ReplicaStatus,
    ReplicatedLog, RequestError, RequestId, RoleChange,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::applier::Job;
use crate::driver::{Outlook, Request, Standing};
use crate::pending::{Answer, Awaits, Pending};

/// How long to wait for a change of leader before a refused request is tried again all the same: this node may still
/// believe in a leader that has stepped down.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long a request that was in flight when another leader was elected is still waited for. What the new leader has
/// taken over is answered within a few round trips; what was on its way to the old one is answered by nobody.
const CHANGE_OF_LEADER_GRACE: Duration = Duration::from_millis(500);

/// A running replica.
pub struct Replica {
    pub(crate) engine_name: EngineName,
    pub(crate) node: NodeId,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) jobs: std::sync::mpsc::Sender<Job>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) outlook: Outlook,
    pub(crate) stopped: watch::Receiver<Option<Result<(), String>>>,
}

/// Forgets a request whose caller went away, so that the table of waiting requests stays bounded by callers.
struct Waiting<'a> {
    pending: &'a Pending,
    id: RequestId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.forget(self.id);
    }
}

impl Replica {
    /// Waits until the replica has stopped.
    ///
    /// # Errors
    /// Why it could not go on, or could not stop in order; none where it was asked to stop and did.
    pub async fn stopped(&self) -> Result<(), String> {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err("its task has ended".into()),
        }
    }

    /// Sends one request and waits for its answer; `None` where the time is up first, or nobody is left to answer it.
    async fn ask(
        &self,
        deadline: Instant,
        role: &mut watch::Receiver<RoleChange>,
        awaits: Awaits,
        request: impl FnOnce(RequestId) -> Request,
    ) -> Result<Option<Answer>, RequestError> {
        let (id, answer) = match self.pending.register(awaits) {
            Ok(registered) => registered,
            Err(Answer::Refused(reason)) => return Err(reason.into()),
            Err(_) => return Err(self.stopped_error()),
        };
        let _waiting = Waiting { pending: &self.pending, id };
        match self.requests.try_send(request(id)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Refusal::Busy.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.stopped_error()),
        }
        tokio::select! {
            answered = timeout_at(deadline, answer) => match answered {
                Ok(Ok(answer)) => Ok(Some(answer)),
                Ok(Err(_)) => Err(self.stopped_error()),
                Err(_) => Ok(None),
            },
            () = orphaned(role) => Ok(None),
        }
    }

    /// As `ask`, again and again while nobody leads. `None` where the time is up with a request in flight.
    async fn ask_leader(
        &self,
        timeout: Duration,
        awaits: Awaits,
        request: impl Fn(RequestId) -> Request,
    ) -> Result<Option<Answer>, RequestError> {
        let deadline = Instant::now() + timeout;
        let mut role = self.outlook.role.subscribe();
        loop {
            role.mark_unchanged();
            match self.ask(deadline, &mut role, awaits, &request).await? {
                Some(Answer::Refused(reason @ (Refusal::NoLeader | Refusal::NotLeader { .. }))) => {
                    let again = (Instant::now() + RETRY_PAUSE).min(deadline);
                    // Either way the next attempt tells; the sender of roles lives as long as this handle.
                    let _ = timeout_at(again, role.changed()).await;
                    if Instant::now() >= deadline {
                        return Err(reason.into());
                    }
                }
                answer => return Ok(answer),
            }
        }
    }

    fn stopped_error(&self) -> RequestError {
        let reason = self.pending.stopped().unwrap_or_else(|| "it is shutting down".into());
        RequestError::Stopped { reason }
    }

    /// What an answer means to someone who expects something else.
    fn unexpected(&self, answer: Option<Answer>, since: Instant) -> RequestError {
        match answer {
            Some(Answer::Refused(reason)) => reason.into(),
            Some(Answer::Stopped(reason)) => RequestError::Stopped { reason },
            Some(Answer::Applied(_) | Answer::Ready(_) | Answer::Unknown) | None => {
                RequestError::Unknown { waited_ms: millis(since.elapsed()) }
            }
        }
    }
}

/// Returns some time after another leader than the present one was elected.
async fn orphaned(role: &mut watch::Receiver<RoleChange>) {
    // One look and not two: a second one while the first still holds the lock waits behind the engine's task, which by
    // then may wait for the first to end.
    let present = *role.borrow();
    let elected = |role: &RoleChange| {
        role.leader.is_some() && (role.leader, role.ballot.round) != (present.leader, present.ballot.round)
    };
    if role.wait_for(elected).await.is_err() {
        // The replica is gone, and its end answers whoever waits.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(CHANGE_OF_LEADER_GRACE).await;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl ReplicatedLog for Replica {
    async fn propose(&self, command: Bytes, timeout: Duration) -> Result<Applied, RequestError> {
        let since = Instant::now();
        let request = |id| Request::Propose { id, data: command.clone() };
        match self.ask_leader(timeout, Awaits::Entry, request).await? {
            Some(Answer::Applied(applied)) => Ok(applied),
            other => Err(self.unexpected(other, since)),
        }
    }

    async fn read_barrier(&self, mode: ReadMode, timeout: Duration) -> Result<LogIndex, RequestError> {
        let since = Instant::now();
        let awaits = if mode == ReadMode::Log { Awaits::Entry } else { Awaits::Index };
        match self.ask_leader(timeout, awaits, |id| Request::Read { id, mode }).await? {
            Some(Answer::Ready(index)) => Ok(index),
            Some(Answer::Applied(applied)) => Ok(applied.index),
            // A read changes nothing, so "unknown" would be a riddle: what is missing is a quorum.
            None => Err(Refusal::NoQuorum { waited_ms: millis(since.elapsed()) }.into()),
            other => Err(self.unexpected(other, since)),
        }
    }

    fn status(&self) -> ReplicaStatus {
        let Standing { engine, applied_index, snapshot_index } = self.outlook.read();
        ReplicaStatus { engine_name: self.engine_name, node: self.node, engine, applied_index, snapshot_index }
    }

    async fn change_membership(&self, target: Arc<Membership>, timeout: Duration) -> Result<LogIndex, RequestError> {
        let since = Instant::now();
        let request = |id| Request::ChangeMembership { id, target: target.clone() };
        match self.ask_leader(timeout, Awaits::Entry, request).await? {
            Some(Answer::Applied(applied)) => Ok(applied.index),
            other => Err(self.unexpected(other, since)),
        }
    }

    async fn transfer_leadership(&self, to: Option<NodeId>, timeout: Duration) -> Result<(), RequestError> {
        let since = Instant::now();
        match self.ask_leader(timeout, Awaits::Index, |id| Request::TransferLeadership { id, to }).await? {
            Some(Answer::Ready(_)) => Ok(()),
            other => Err(self.unexpected(other, since)),
        }
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.requests.send(Request::Campaign).await.map_err(|_| self.stopped_error())
    }

    async fn snapshot(&self) -> Result<LogIndex, RequestError> {
        let (demand, outcome) = oneshot::channel();
        self.requests.send(Request::Snapshot(demand)).await.map_err(|_| self.stopped_error())?;
        let outcome = outcome.await.map_err(|_| self.stopped_error())?;
        outcome.map_err(|reason| RequestError::SnapshotFailed { reason })
    }

    async fn digest(&self) -> Result<(LogIndex, [u8; 32]), RequestError> {
        let (reply, digest) = oneshot::channel();
        self.jobs.send(Job::Digest(reply)).map_err(|_| self.stopped_error())?;
        digest.await.map_err(|_| self.stopped_error())
    }

    fn events(&self) -> EventStream {
        let role = self.outlook.role.subscribe();
        let stopped = self.stopped.clone();
        Box::pin(futures_util::stream::unfold(Some((role, stopped)), |state| async move {
            let (mut role, mut stopped) = state?;
            let reason = tokio::select! {
                biased;
                ended = stopped.wait_for(Option::is_some) => Some(ended.map(|outcome| outcome.clone()).ok().flatten()),
                _ = role.changed() => None,
            };
            match reason {
                Some(outcome) => {
                    let reason = outcome.and_then(Result::err).unwrap_or_else(|| "it was asked to stop".into());
                    Some((Event::Stopped { reason }, None))
                }
                None => {
                    let event = Event::Role(*role.borrow_and_update());
                    Some((event, Some((role, stopped))))
                }
            }
        }))
    }

    async fn shutdown(&self) {
        // A replica that has stopped already needs no telling.
        let _ = self.requests.send(Request::Stop).await;
        // How it ended is told by `stopped` and in the log.
        let _ = self.stopped().await;
    }
}
