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
//! [`Refusal::MembershipMoved`]. Of a step whose answer was lost the members themselves tell whether it was taken; until
//! they do, no refusal is the last word.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::membership::VOID_REPLY;
use consensus_api::{Applied, LogIndex, Membership, ReadMode, Refusal, ReplicatedLog, RequestError, membership_change};
use tokio::time::{Instant, timeout_at};

use crate::driver::Request;
use crate::handle::{CHANGE_OF_LEADER_GRACE, RETRY_PAUSE, Replica, millis};
use crate::pending::{Answer, Awaits};

/// The longest pause between two attempts at what takes its time.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long it is tried again where no majority of those who are to vote answers: a node that starts again is back within
/// that, and one that is gone stays away however long it is waited for.
const SILENCE_MAX: Duration = Duration::from_millis(2500);

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
    /// How long to pause after the next refusal of what takes its time.
    pause: Duration,
    /// Since when every attempt has found that no majority of those who are to vote answers.
    silent_since: Option<Instant>,
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
        let mut course = Course::new(target.version, deadline);
        if self.present_version() < course.version {
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
                    course.pause = RETRY_PAUSE;
                    let is_last = step.names_the_same(target);
                    course.doubtful = is_last.then_some(step);
                    if is_last {
                        self.await_members(&course).await?;
                        return Ok(self.applied_index());
                    }
                }
                Outcome::Later(reason) => {
                    // An attempt without the time to be answered would make an unknown outcome of a refusal.
                    let patience = 2 * asked_at.elapsed().min(CHANGE_OF_LEADER_GRACE) + 3 * RETRY_PAUSE;
                    if course.is_in_vain(&reason) {
                        return Err(course.ended(reason));
                    }
                    self.pause(course.pause_after(&reason), deadline).await;
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
            let is_next = present.version == course.version + 1;
            match course.doubtful.take() {
                Some(step) if present.names_the_same(&step) => course.version = present.version,
                // It may have been taken, and others have come after it.
                Some(_) if !is_next => return Err(course.unknown()),
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
        let answer = match self.ask_leader(course.deadline, self.patience, Awaits::Entry, request).await {
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
            Some(Answer::Refused(reason)) => return Err(course.ended(reason)),
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
    fn new(version: u64, deadline: Instant) -> Course {
        Course {
            since: Instant::now(),
            deadline,
            version,
            await_version: version,
            doubtful: None,
            pause: RETRY_PAUSE,
            silent_since: None,
        }
    }

    /// Whether what was refused so once more would be refused so again and again.
    fn is_in_vain(&mut self, reason: &Refusal) -> bool {
        if !matches!(reason, Refusal::NoLiveMajority { .. }) {
            self.silent_since = None;
            return false;
        }
        self.silent_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE_MAX
    }

    /// How long to pause before the next attempt: longer and longer where it is not the leader that is waited for.
    fn pause_after(&mut self, reason: &Refusal) -> Duration {
        use Refusal::{ChangePending, LearnerLags, NoLiveMajority};
        if !matches!(reason, ChangePending | LearnerLags { .. } | NoLiveMajority { .. }) {
            return RETRY_PAUSE;
        }
        let next = (2 * self.pause).min(RETRY_PAUSE_MAX);
        std::mem::replace(&mut self.pause, next)
    }

    fn moved(&self, present: u64) -> RequestError {
        Refusal::MembershipMoved { asked: self.version, present }.into()
    }

    /// The way ends here, with this word. It is a word about the last attempt only: a step that is in doubt may have been
    /// taken all the same, or may yet be.
    fn ended(&self, reason: Refusal) -> RequestError {
        if self.doubtful.is_none() { reason.into() } else { self.unknown() }
    }

    fn unknown(&self) -> RequestError {
        RequestError::Unknown { waited_ms: millis(self.since.elapsed()) }
    }
}

/// Whether the same request may be taken a little later.
fn passes(reason: &Refusal) -> bool {
    use Refusal::{Busy, ChangePending, LearnerLags, MembershipMoved, NoLeader, NoLiveMajority, NotLeader, NotReady};
    match reason {
        NotReady | ChangePending | LearnerLags { .. } | NoLiveMajority { .. } | Busy | NoLeader | NotLeader { .. } => {
            true
        }
        // It leads no more, and has yet to notice: it knows less than this node.
        MembershipMoved { asked, present } => present < asked,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use consensus_api::{NodeId, RequestId, StoreId};
    use tokio::sync::mpsc;

    use super::*;
    use crate::stage::{ATTEMPT, PATIENCE, Stage, led_by, members, next_change};

    type Asked = mpsc::Receiver<Request>;

    /// Takes the step that is asked for next: its entry is applied, and the members are in force. Returns it.
    async fn take(replica: &Replica, asked: &mut Asked) -> Arc<Membership> {
        let (id, step) = next_change(asked).await;
        replica.has(Membership { version: step.version + 1, ..Membership::clone(&step) }, false);
        replica.applied(id, b"");
        step
    }

    async fn refuse(replica: &Replica, asked: &mut Asked, reason: Refusal) -> Arc<Membership> {
        let (id, step) = next_change(asked).await;
        replica.refuse(id, reason);
        step
    }

    async fn change(replica: &Replica, target: Membership) -> Result<LogIndex, RequestError> {
        replica.change_membership(Arc::new(target), PATIENCE).await
    }

    fn moved(asked: u64, present: u64) -> Result<LogIndex, RequestError> {
        Err(Refusal::MembershipMoved { asked, present }.into())
    }

    #[tokio::test]
    async fn nobody_is_asked_for_what_is_there() {
        let mut stage = Stage::new();
        assert!(change(&stage.replica, members(0, &[1, 2, 3], &[])).await.is_ok());
        assert!(stage.asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn whoever_is_to_vote_learns_first_and_is_waited_for() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2, 3, 4], &[])), async {
            assert_eq!(*take(&replica, &mut asked).await, members(0, &[1, 2, 3], &[4]));
            for behind in [5000, 1200] {
                let lags = Refusal::LearnerLags { node: NodeId(4), behind };
                assert_eq!(*refuse(&replica, &mut asked, lags).await, members(1, &[1, 2, 3, 4], &[]));
            }
            assert_eq!(*take(&replica, &mut asked).await, members(1, &[1, 2, 3, 4], &[]));
        });
        assert_eq!(done, Ok(LogIndex(2)));
    }

    #[tokio::test]
    async fn what_passes_is_waited_for_and_everything_else_is_told_at_once() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            for reason in [
                Refusal::NotReady,
                Refusal::ChangePending,
                Refusal::Busy,
                Refusal::NoLeader,
                Refusal::NotLeader { leader: Some(NodeId(3)) },
            ] {
                refuse(&replica, &mut asked, reason).await;
            }
            refuse(&replica, &mut asked, Refusal::Unsupported { what: "this".into() }).await;
        });
        assert_eq!(done, Err(Refusal::Unsupported { what: "this".into() }.into()));
    }

    #[tokio::test]
    async fn it_is_done_when_the_members_are_in_force_here_and_not_when_their_entry_is_applied() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let target = members(0, &[1, 4, 5], &[]);
        replica.has(members(0, &[1, 2, 3], &[4, 5]), false);
        let wish = change(&replica, target.clone());
        tokio::pin!(wish);
        let (id, _) = tokio::select! {
            step = next_change(&mut asked) => step,
            done = &mut wish => panic!("{done:?}"),
        };
        let joint = Membership { outgoing: [1, 2, 3].map(NodeId).into(), ..target.clone() };
        for (version, present, is_changing) in [(1, joint, true), (2, target.clone(), true)] {
            replica.has(Membership { version, ..present }, is_changing);
            replica.applied(id, b"");
            for _ in 0..20 {
                tokio::task::yield_now().await;
                assert_eq!(futures_util::future::poll_immediate(&mut wish).await, None);
            }
        }
        replica.has(Membership { version: 2, ..target }, false);
        assert!(wish.await.is_ok());
    }

    #[tokio::test]
    async fn a_wish_for_other_members_than_the_present_ones_changes_nothing() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        replica.has(members(3, &[1, 2, 3], &[]), false);
        assert_eq!(change(&replica, members(2, &[1, 2], &[])).await, moved(2, 3));
        assert!(asked.try_recv().is_err());
        let (done, _) = tokio::join!(
            change(&replica, members(3, &[1, 2], &[])),
            refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 3, present: 4 })
        );
        assert_eq!(done, moved(3, 4), "this node is behind, and the caller was too");
    }

    #[tokio::test]
    async fn an_entry_that_was_void_changed_nothing() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            let (id, _) = next_change(&mut asked).await;
            replica.has(members(1, &[1, 3], &[]), false);
            replica.applied(id, VOID_REPLY);
        });
        assert_eq!(done, moved(0, 1));
    }

    #[tokio::test]
    async fn what_somebody_else_changes_on_the_way_is_not_overwritten() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2, 3, 4], &[])), async {
            let (id, _) = next_change(&mut asked).await;
            replica.has(members(2, &[1, 2], &[4]), false);
            replica.applied(id, b"");
        });
        assert_eq!(done, moved(1, 2));
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn at_the_deadline_the_last_refusal_is_the_answer() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        replica.has(members(0, &[1, 2, 3], &[4]), false);
        let lags = |behind| Refusal::LearnerLags { node: NodeId(4), behind };
        let target = Arc::new(members(0, &[1, 2, 3, 4], &[]));
        let mut behind = 9000;
        let done = tokio::select! {
            done = replica.change_membership(target, Duration::from_millis(200)) => done,
            _ = async { loop {
                behind -= 1;
                refuse(&replica, &mut asked, lags(behind)).await;
            } } => unreachable!(),
        };
        let Err(RequestError::Refused(Refusal::LearnerLags { behind: told, .. })) = done else { panic!("{done:?}") };
        assert!(told <= 8998 && told >= behind, "{told} of {behind}: it was tried again, and not without a pause");
        assert!(behind > 8900, "{behind}");
    }

    #[tokio::test]
    async fn a_change_of_somebody_else_that_does_not_end_is_told_as_that() {
        let Stage { replica, asked: _asked, stopped: _stopped } = Stage::new();
        replica.has(members(0, &[1, 2, 3], &[]), true);
        let target = Arc::new(members(0, &[1, 2], &[]));
        let done = replica.change_membership(target, Duration::from_millis(20)).await;
        assert_eq!(done, Err(Refusal::ChangePending.into()));
    }

    #[tokio::test]
    async fn a_step_whose_answer_was_lost_is_taken_for_what_the_members_show() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2, 3, 4], &[])), async {
            let (_, step) = next_change(&mut asked).await;
            replica.pending.lose_track_of_entries();
            // It asks again, because this node has not heard of the change yet; the leader has.
            let again = refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 0, present: 1 }).await;
            assert_eq!(again, step);
            replica.has(Membership { version: 1, ..Membership::clone(&step) }, false);
            assert_eq!(*take(&replica, &mut asked).await, members(1, &[1, 2, 3, 4], &[]));
        });
        assert!(done.is_ok(), "{done:?}");
    }

    #[tokio::test]
    async fn a_step_that_was_lost_is_asked_for_again_and_whichever_of_the_two_is_void_is_no_matter() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let target = members(0, &[1, 2], &[]);
        let (done, ()) = tokio::join!(change(&replica, target.clone()), async {
            next_change(&mut asked).await;
            replica.sees(led_by(3));
            let (id, step) = next_change(&mut asked).await;
            assert_eq!(*step, target);
            replica.applied(id, VOID_REPLY);
            tokio::task::yield_now().await;
            replica.has(Membership { version: 1, ..target.clone() }, false);
        });
        assert!(done.is_ok(), "{done:?}");
    }

    #[tokio::test]
    async fn where_a_lost_step_gave_way_to_somebody_elses_that_is_told() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            next_change(&mut asked).await;
            replica.pending.lose_track_of_entries();
            refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 0, present: 1 }).await;
            replica.has(members(1, &[1, 3], &[]), false);
        });
        assert_eq!(done, moved(0, 1));
    }

    #[tokio::test]
    async fn where_a_lost_step_may_have_been_taken_and_undone_since_its_outcome_is_unknown() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            next_change(&mut asked).await;
            replica.pending.lose_track_of_entries();
            refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 0, present: 2 }).await;
            replica.has(members(2, &[1, 3], &[]), false);
        });
        assert!(matches!(done, Err(RequestError::Unknown { .. })), "{done:?}");
    }

    #[tokio::test]
    async fn a_refusal_of_the_second_attempt_says_nothing_of_the_first() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            next_change(&mut asked).await;
            replica.pending.lose_track_of_entries();
            refuse(&replica, &mut asked, Refusal::Unsupported { what: "this".into() }).await;
        });
        assert!(matches!(done, Err(RequestError::Unknown { .. })), "{done:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_nobody_answers_is_asked_for_again_long_before_the_time_is_up() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            let (_, lost) = next_change(&mut asked).await;
            let since = Instant::now();
            assert_eq!(take(&replica, &mut asked).await, lost);
            assert!(since.elapsed() < 2 * ATTEMPT, "{:?}", since.elapsed());
        });
        assert!(done.is_ok(), "{done:?}");
    }

    /// Refuses the next step, and returns how long it was waited with the one after, which remains to be answered.
    async fn pause_after(replica: &Replica, asked: &mut Asked, id: &mut RequestId, reason: Refusal) -> Duration {
        replica.refuse(*id, reason);
        let refused = Instant::now();
        *id = next_change(asked).await.0;
        refused.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_lags_is_asked_after_less_and_less_often_and_at_once_when_something_happens() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        replica.has(members(0, &[1, 2, 3], &[4]), false);
        let lags = || Refusal::LearnerLags { node: NodeId(4), behind: 5000 };
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2, 3, 4], &[])), async {
            let (mut id, step) = next_change(&mut asked).await;
            for expected in [20, 40, 80, 160, 320, 500, 500] {
                let paused = pause_after(&replica, &mut asked, &mut id, lags()).await;
                assert!(paused.as_millis().abs_diff(expected) <= 2, "{paused:?} of {expected} ms");
            }
            let paused = pause_after(&replica, &mut asked, &mut id, Refusal::NotReady).await;
            assert!(paused < 2 * RETRY_PAUSE, "{paused:?}");
            let (paused, ()) = tokio::join!(pause_after(&replica, &mut asked, &mut id, lags()), async {
                tokio::time::sleep(RETRY_PAUSE).await;
                replica.sees(led_by(3));
            });
            assert!(paused < 2 * RETRY_PAUSE, "{paused:?}");
            replica.has(Membership { version: 1, ..Membership::clone(&step) }, false);
            replica.applied(id, b"");
        });
        assert!(done.is_ok(), "{done:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_is_waited_for_as_long_as_it_takes_to_start_again_and_no_longer() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let silent = || Refusal::NoLiveMajority { voters: 2, answering: 1 };
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            refuse(&replica, &mut asked, silent()).await;
            take(&replica, &mut asked).await;
        });
        assert!(done.is_ok(), "{done:?}");
        let since = Instant::now();
        let done = tokio::select! {
            done = change(&replica, members(1, &[1, 3], &[])) => done,
            _ = async { loop { refuse(&replica, &mut asked, silent()).await; } } => unreachable!(),
        };
        assert_eq!(done, Err(silent().into()));
        let waited = since.elapsed();
        assert!(waited >= SILENCE_MAX && waited < SILENCE_MAX + 2 * RETRY_PAUSE_MAX, "{waited:?}");
    }

    #[tokio::test]
    async fn a_step_in_doubt_at_the_deadline_has_an_unknown_outcome() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let target = Arc::new(members(0, &[1, 2], &[]));
        let (done, ()) = tokio::join!(replica.change_membership(target, Duration::from_millis(100)), async {
            next_change(&mut asked).await;
            replica.pending.lose_track_of_entries();
            refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 0, present: 1 }).await;
        });
        assert!(matches!(done, Err(RequestError::Unknown { waited_ms: 100.. })), "{done:?}");
    }

    #[tokio::test]
    async fn a_leader_that_knows_less_than_this_node_leads_no_more_and_is_not_believed() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        replica.has(members(3, &[1, 2, 3], &[]), false);
        let (done, _) = tokio::join!(change(&replica, members(3, &[1, 2], &[])), async {
            refuse(&replica, &mut asked, Refusal::MembershipMoved { asked: 3, present: 2 }).await;
            take(&replica, &mut asked).await;
        });
        assert!(done.is_ok(), "{done:?}");
    }

    #[tokio::test]
    async fn a_node_that_is_behind_its_caller_catches_up_before_it_asks() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(change(&replica, members(4, &[1], &[])), async {
            let Some(Request::Read { id, mode: ReadMode::Index }) = asked.recv().await else { panic!("a read") };
            replica.has(members(4, &[1, 2], &[]), false);
            replica.pending.answer([(id, Answer::Ready(LogIndex(9)))]);
            assert_eq!(*take(&replica, &mut asked).await, members(4, &[1], &[]));
        });
        assert!(done.is_ok(), "{done:?}");
        let (done, ()) = tokio::join!(change(&replica, members(99, &[1, 2], &[])), async {
            let Some(Request::Read { id, .. }) = asked.recv().await else { panic!("a read") };
            replica.pending.answer([(id, Answer::Ready(LogIndex(9)))]);
        });
        assert_eq!(done, moved(99, 5), "nobody is at that version");
    }

    #[tokio::test]
    async fn members_that_cannot_be_are_refused_before_the_first_step() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let mut target = members(0, &[1, 2, 3, 4], &[]);
        target.members.get_mut(&NodeId(2)).unwrap().store = StoreId(77);
        let done = change(&replica, target).await;
        assert!(matches!(done, Err(RequestError::Refused(Refusal::InvalidMembership { .. }))), "{done:?}");
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn whoever_waits_for_members_is_told_when_the_replica_stops() {
        let Stage { replica, asked: _asked, stopped } = Stage::new();
        replica.has(members(0, &[1, 2, 3], &[]), true);
        let (done, ()) = tokio::join!(change(&replica, members(0, &[1, 2], &[])), async {
            tokio::task::yield_now().await;
            replica.pending.stop("the disk is on fire");
            stopped.send_replace(Some(Ok(())));
        });
        assert!(matches!(&done, Err(RequestError::Stopped { reason }) if reason.contains("on fire")), "{done:?}");
    }
}
