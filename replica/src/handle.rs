//! The handle that a service holds: requests in, answers out.
//!
//! A request that is refused because nobody leads is tried again, under a new id, until its time is up: a refusal says
//! that it was definitely not carried out. One that simply is not answered in time has an unknown outcome, and that is
//! what the client is told; but a read, which changes nothing, is asked again for as long as there is time. What takes
//! more than one request has a room of its own: [`members`](crate::members), [`leadership`](crate::leadership).

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
use crate::counters::ReplicaCounts;
use crate::driver::{Outlook, Request, Standing};
use crate::pending::{Answer, Awaits, Pending};

/// How long to wait for a change of leader before a refused request is tried again all the same: this node may still
/// believe in a leader that has stepped down.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long a request that was in flight when another leader was elected is still waited for. What the new leader has
/// taken over is answered within a few round trips; what was on its way to the old one is answered by nobody.
pub(crate) const CHANGE_OF_LEADER_GRACE: Duration = Duration::from_millis(500);
/// How long, beyond an election timeout, the leader is waited for to answer one attempt at what may be asked twice: the
/// errand, or its answer, may have been lost while that leader lives on.
pub(crate) const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// A running replica.
pub struct Replica {
    pub(crate) engine_name: EngineName,
    pub(crate) node: NodeId,
    /// How long one attempt at what may be asked twice is waited for.
    pub(crate) patience: Duration,
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

    /// What it has done since it was started.
    pub fn counts(&self) -> ReplicaCounts {
        self.outlook.counters.read()
    }

    /// Sends one request and waits for its answer; `None` where the time is up first, or nobody is left to answer it, as
    /// `lost` tells.
    async fn ask(
        &self,
        deadline: Instant,
        lost: impl Future<Output = ()>,
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
            () = lost => Ok(None),
        }
    }

    /// As `ask`, again and again while nobody leads. `None` where a request is in flight and the time is up, or has been for
    /// as long as `patience`, or another leader than the one it went to was elected some time ago.
    pub(crate) async fn ask_leader(
        &self,
        deadline: Instant,
        patience: Duration,
        awaits: Awaits,
        request: impl Fn(RequestId) -> Request,
    ) -> Result<Option<Answer>, RequestError> {
        let mut role = self.outlook.role.subscribe();
        loop {
            role.mark_unchanged();
            // With eyes of its own: a change that it has seen must end the pause below all the same.
            let orphaned = orphaned(role.clone());
            let lost = async {
                tokio::select! { () = orphaned => {}, () = tokio::time::sleep(patience) => {} }
            };
            match self.ask(deadline, lost, awaits, &request).await? {
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

    /// Waits a little before a request that was refused for now is tried again: until the role or the members change, or
    /// the pause is over.
    pub(crate) async fn pause(&self, pause: Duration, deadline: Instant) {
        let (mut role, mut members) = (self.outlook.role.subscribe(), self.outlook.members.subscribe());
        let again = (Instant::now() + pause).min(deadline);
        // Either way the next attempt tells.
        let _ = timeout_at(again, async {
            tokio::select! { _ = role.changed() => {}, _ = members.changed() => {} }
        })
        .await;
    }

    pub(crate) fn stopped_error(&self) -> RequestError {
        let reason = self.pending.stopped().unwrap_or_else(|| "it is shutting down".into());
        RequestError::Stopped { reason }
    }

    /// What an answer means to someone who expects something else.
    pub(crate) fn unexpected(&self, answer: Option<Answer>, since: Instant) -> RequestError {
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
async fn orphaned(mut role: watch::Receiver<RoleChange>) {
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

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl ReplicatedLog for Replica {
    async fn propose(&self, command: Bytes, timeout: Duration) -> Result<Applied, RequestError> {
        let since = Instant::now();
        let request = |id| Request::Propose { id, data: command.clone() };
        match self.ask_leader(since + timeout, timeout, Awaits::Entry, request).await? {
            Some(Answer::Applied(applied)) => Ok(applied),
            other => Err(self.unexpected(other, since)),
        }
    }

    async fn read_barrier(&self, mode: ReadMode, timeout: Duration) -> Result<LogIndex, RequestError> {
        let since = Instant::now();
        let awaits = if mode == ReadMode::Log { Awaits::Entry } else { Awaits::Index };
        let deadline = since + timeout;
        let request = |id| Request::Read { id, mode };
        loop {
            let answer = if mode == ReadMode::Quorum {
                // It asks no leader, and none is missed by it.
                self.ask(deadline, std::future::pending(), awaits, request).await?
            } else {
                self.ask_leader(deadline, timeout, awaits, request).await?
            };
            match answer {
                Some(Answer::Ready(index)) => return Ok(index),
                Some(Answer::Applied(applied)) => return Ok(applied.index),
                // Its leader is gone, or a snapshot has taken the place of its entry.
                Some(Answer::Unknown) | None if Instant::now() < deadline => {}
                // It changed nothing, so "unknown" would be a riddle: what is missing is a quorum.
                Some(Answer::Unknown) | None => {
                    return Err(Refusal::NoQuorum { waited_ms: millis(since.elapsed()) }.into());
                }
                other => return Err(self.unexpected(other, since)),
            }
        }
    }

    fn status(&self) -> ReplicaStatus {
        let Standing { engine, applied_index, snapshot_index } = self.outlook.read();
        ReplicaStatus { engine_name: self.engine_name, node: self.node, engine, applied_index, snapshot_index }
    }

    async fn change_membership(&self, target: Arc<Membership>, timeout: Duration) -> Result<LogIndex, RequestError> {
        self.move_to(&target, Instant::now() + timeout).await
    }

    async fn transfer_leadership(&self, to: Option<NodeId>, timeout: Duration) -> Result<(), RequestError> {
        self.transfer(to, Instant::now() + timeout).await
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::stage::{PATIENCE, Stage, led_by};

    async fn next_read(asked: &mut mpsc::Receiver<Request>) -> (RequestId, ReadMode) {
        match asked.recv().await {
            Some(Request::Read { id, mode }) => (id, mode),
            _ => panic!("a read is asked for"),
        }
    }

    fn applied(index: u64) -> Answer {
        Answer::Applied(Applied { index: LogIndex(index), reply: Bytes::new() })
    }

    #[tokio::test]
    async fn a_read_in_the_log_that_a_snapshot_overtakes_is_asked_for_again() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (read, ()) = tokio::join!(replica.read_barrier(ReadMode::Log, PATIENCE), async {
            let (first, _) = next_read(&mut asked).await;
            replica.pending.lose_track_of_entries();
            let (second, mode) = next_read(&mut asked).await;
            assert!(second != first && mode == ReadMode::Log);
            replica.pending.answer([(second, applied(9))]);
        });
        assert_eq!(read, Ok(LogIndex(9)));
    }

    #[tokio::test]
    async fn a_read_whose_time_is_up_lacks_a_quorum_and_is_never_of_unknown_outcome() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (read, ()) = tokio::join!(replica.read_barrier(ReadMode::Log, Duration::from_millis(30)), async {
            next_read(&mut asked).await;
            replica.pending.lose_track_of_entries();
        });
        assert!(matches!(read, Err(RequestError::Refused(Refusal::NoQuorum { waited_ms: 30.. }))), "{read:?}");
    }

    #[tokio::test]
    async fn after_a_change_of_leader_a_read_is_asked_for_again_and_a_read_by_a_quorum_goes_on() {
        let mut stage = Stage::new();
        let replica = &stage.replica;
        let by_leader = replica.read_barrier(ReadMode::Index, PATIENCE);
        let by_quorum = replica.read_barrier(ReadMode::Quorum, PATIENCE);
        let (by_leader, by_quorum, ()) = tokio::join!(by_leader, by_quorum, async {
            let (_, mode) = next_read(&mut stage.asked).await;
            assert_eq!(mode, ReadMode::Index);
            let (quorum_read, _) = next_read(&mut stage.asked).await;
            replica.outlook.role.send_replace(led_by(3));
            let (again, mode) = next_read(&mut stage.asked).await;
            assert_eq!(mode, ReadMode::Index);
            let ready = |id, index| (id, Answer::Ready(LogIndex(index)));
            replica.pending.answer([ready(again, 5), ready(quorum_read, 6)]);
        });
        assert_eq!((by_leader, by_quorum), (Ok(LogIndex(5)), Ok(LogIndex(6))));
    }

    #[tokio::test]
    async fn after_a_change_of_leader_the_outcome_of_a_write_is_unknown() {
        let mut stage = Stage::new();
        let (write, ()) = tokio::join!(stage.replica.propose(Bytes::from("x"), PATIENCE), async {
            assert!(matches!(stage.asked.recv().await, Some(Request::Propose { .. })));
            stage.replica.outlook.role.send_replace(led_by(3));
        });
        assert!(matches!(write, Err(RequestError::Unknown { .. })), "{write:?}");
    }
}
