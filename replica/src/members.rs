//! From the present members to those that are wanted, one change after another.
//!
//! ```text
//!   target ─▶ members in force here ──next_step──▶ ask the leader ──▶ its entry applied here ──▶ in force here ─┐
//!                    ▲     │ nothing is left: done        │ refused for now: pause                               │
//!                    │     ▼                              ▼                                                      │
//!                    └─────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each step names the version of the members that it follows: the caller's own at first, then the one that the step
//! before has led to. So nobody's change in between is overwritten; it ends the way with
//! [`Refusal::MembershipMoved`]. Of a step whose answer was lost the members themselves tell whether it was taken.

use std::sync::Arc;

use consensus_api::membership::VOID_REPLY;
use consensus_api::{Applied, LogIndex, Membership, ReadMode, Refusal, ReplicatedLog, RequestError, membership_change};
use tokio::time::{Instant, timeout_at};

use crate::driver::Request;
use crate::handle::{CHANGE_OF_LEADER_GRACE, RETRY_PAUSE, Replica, millis};
use crate::pending::{Answer, Awaits};

/// How far the way has led.
struct Course {
    since: Instant,
    deadline: Instant,
    /// The version of the members that the next step is meant for.
    version: u64,
    /// Nothing can be said before this node has come to members of this version.
    await_version: u64,
    /// A step that was asked for, and of which nobody has told what became of it.
    doubtful: Option<Membership>,
}

/// What became of a step.
enum Outcome {
    /// Its entry is applied.
    Taken,
    /// Not now.
    Later(Refusal),
    /// Whatever led there, the members are at this version by now.
    Moved(u64),
    /// It may have been taken, or may yet be.
    Unknown,
}

impl Replica {
    /// Returns once the members of `target` are in force at this node, with an index that it has applied by then.
    pub(crate) async fn move_to(&self, target: &Membership, deadline: Instant) -> Result<LogIndex, RequestError> {
        let (since, version) = (Instant::now(), target.version);
        let mut course = Course { since, deadline, version, await_version: version, doubtful: None };
        if self.present_version() < version {
            self.catch_up(&course).await?;
        }
        // All of it, before the first step is taken.
        membership_change::check(&*self.settled(&mut course).await?, target)?;
        loop {
            let present = self.settled(&mut course).await?;
            let Some(step) = membership_change::next_step(&present, target) else { return Ok(self.applied_index()) };
            let asked_at = Instant::now();
            match self.ask_for(&step, &course).await? {
                Outcome::Taken => {
                    // One further on the way; the last step may lead two further, and whatever follows that has come
                    // after it was in force.
                    course.version += 1;
                    course.await_version = course.version;
                    let is_last = step.names_the_same(target);
                    course.doubtful = is_last.then_some(step);
                    if is_last {
                        self.await_members(&course).await?;
                        return Ok(self.applied_index());
                    }
                }
                Outcome::Later(reason) => {
                    self.pause(deadline).await;
                    // An attempt without the time to be answered would make an unknown outcome of a refusal.
                    let patience = 2 * asked_at.elapsed().min(CHANGE_OF_LEADER_GRACE) + RETRY_PAUSE;
                    if Instant::now() + patience >= deadline {
                        return Err(course.ended(reason));
                    }
                }
                Outcome::Moved(present) if course.doubtful.is_some() => course.await_version = present,
                Outcome::Moved(present) => return Err(course.moved(present)),
                Outcome::Unknown => course.doubtful = Some(step),
            }
        }
    }

    /// The caller knows later members than this node: whatever was in force anywhere before the call is in force here
    /// once a read could be served.
    async fn catch_up(&self, course: &Course) -> Result<(), RequestError> {
        self.read_barrier(ReadMode::Index, course.deadline.duration_since(Instant::now())).await?;
        match self.present_version() {
            present if present < course.version => Err(course.moved(present)),
            _ => Ok(()),
        }
    }

    /// The members that the next step is meant for, once no change of them is under way.
    async fn settled(&self, course: &mut Course) -> Result<Arc<Membership>, RequestError> {
        let present = self.await_members(course).await?;
        if present.version > course.version {
            match course.doubtful.take() {
                Some(step) if present.names_the_same(&step) => course.version = present.version,
                _ => return Err(course.moved(present.version)),
            }
        }
        Ok(present)
    }

    /// Waits until no change is under way here, and the members are of the awaited version or a later one.
    async fn await_members(&self, course: &Course) -> Result<Arc<Membership>, RequestError> {
        let mut members = self.outlook.members.subscribe();
        let settled = members.wait_for(|now| !now.is_changing && now.present.version >= course.await_version);
        tokio::select! {
            settled = timeout_at(course.deadline, settled) => match settled {
                Ok(Ok(now)) => Ok(now.present.clone()),
                // The sender lives as long as this handle.
                Ok(Err(_)) => Err(self.stopped_error()),
                Err(_) => Err(course.ended(Refusal::ChangePending)),
            },
            _ = self.stopped() => Err(self.stopped_error()),
        }
    }

    /// Asks the leader for one change.
    async fn ask_for(&self, step: &Membership, course: &Course) -> Result<Outcome, RequestError> {
        let target = Arc::new(step.clone());
        let request = |id| Request::ChangeMembership { id, target: target.clone() };
        let answer = match self.ask_leader(course.deadline, Awaits::Entry, request).await {
            Err(RequestError::Refused(reason)) => Some(Answer::Refused(reason)),
            other => other?,
        };
        Ok(match answer {
            // It was void because the members had changed by then; how often, the members tell.
            Some(Answer::Applied(Applied { reply, .. })) if reply == VOID_REPLY => Outcome::Moved(step.version + 1),
            Some(Answer::Applied(_)) => Outcome::Taken,
            Some(Answer::Refused(Refusal::MembershipMoved { present, .. })) if present > step.version => {
                Outcome::Moved(present)
            }
            Some(Answer::Refused(reason)) if passes(&reason) => Outcome::Later(reason),
            Some(Answer::Unknown) | None if Instant::now() < course.deadline => Outcome::Unknown,
            other => return Err(self.unexpected(other, course.since)),
        })
    }

    fn present_version(&self) -> u64 {
        self.outlook.members.borrow().present.version
    }

    fn applied_index(&self) -> LogIndex {
        self.outlook.read().applied_index
    }
}

impl Course {
    fn moved(&self, present: u64) -> RequestError {
        Refusal::MembershipMoved { asked: self.version, present }.into()
    }

    /// The time is up, and this was the last word. It is only the last word about the last attempt: a step that is in
    /// doubt may yet be taken.
    fn ended(&self, reason: Refusal) -> RequestError {
        match self.doubtful {
            None => reason.into(),
            Some(_) => RequestError::Unknown { waited_ms: millis(self.since.elapsed()) },
        }
    }
}

/// Whether the same request may be taken a little later.
pub(crate) fn passes(reason: &Refusal) -> bool {
    use Refusal::{Busy, ChangePending, LearnerLags, MembershipMoved, NoLeader, NotLeader, NotReady};
    match reason {
        NotReady | ChangePending | LearnerLags { .. } | Busy | NoLeader | NotLeader { .. } => true,
        // It leads no more, and has yet to notice: it knows less than this node.
        MembershipMoved { asked, present } => present < asked,
        _ => false,
    }
}
