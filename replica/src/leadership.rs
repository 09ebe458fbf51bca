//! Leadership that goes to another node on purpose, as whoever asks for it sees it.
//!
//! ```text
//!   transfer_leadership ──▶ ask the leader ──▶ refused, with the reason
//!                      └──▶ watch the role ──▶ the other one leads: done
//! ```
//!
//! Nobody answers that it is done: the next leader shows it.

use std::time::Duration;

use consensus_api::{NodeId, Refusal, ReplicatedLog, RequestError, Role};
use tokio::time::{Instant, timeout_at};

use crate::driver::Request;
use crate::handle::{RETRY_PAUSE, Replica, millis};
use crate::pending::{Answer, Awaits};

impl Replica {
    /// Hands leadership to the most advanced other voter, if this node leads and there is one: before it stops, so that
    /// nobody has to notice that it is gone. What keeps it from that is logged and nothing more: the others elect a leader
    /// all the same, an election timeout later.
    pub async fn step_aside(&self, timeout: Duration) {
        let engine = self.outlook.read().engine;
        if engine.role != Role::Leader || !engine.membership.all_voters().any(|voter| voter != self.node) {
            return;
        }
        match self.transfer_leadership(None, timeout).await {
            Ok(()) => tracing::info!("leadership handed over"),
            Err(error) => tracing::warn!(%error, "leadership not handed over"),
        }
    }

    /// Returns once `to` leads, or another one than now.
    pub(crate) async fn transfer(&self, to: Option<NodeId>, deadline: Instant) -> Result<(), RequestError> {
        let since = Instant::now();
        let mut role = self.outlook.role.subscribe();
        let before = tokio::select! {
            // The sender of roles lives as long as this handle.
            known = timeout_at(deadline, role.wait_for(|role| role.leader.is_some())) => {
                known.ok().and_then(Result::ok).and_then(|role| role.leader).ok_or(Refusal::NoLeader)?
            }
            _ = self.stopped() => return Err(self.stopped_error()),
        };
        let is_done = |leader: Option<NodeId>| match to {
            Some(to) => leader == Some(to),
            None => leader.is_some_and(|leader| leader != before),
        };
        let request = |id| Request::TransferLeadership { id, to };
        loop {
            let asked = tokio::select! {
                biased;
                Ok(_) = role.wait_for(|role| is_done(role.leader)) => return Ok(()),
                asked = self.ask_leader(deadline, self.patience, Awaits::Index, request) => asked?,
            };
            match asked {
                Some(Answer::Refused(Refusal::NotReady | Refusal::Busy)) if Instant::now() < deadline => {
                    self.pause(RETRY_PAUSE, deadline).await;
                }
                // It was lost, or a third one was elected, and the wish is for that one to hear.
                Some(Answer::Unknown) | None if Instant::now() < deadline => {}
                Some(Answer::Unknown) | None => {
                    return Err(RequestError::Unknown { waited_ms: millis(since.elapsed()) });
                }
                other => return Err(self.unexpected(other, since)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use bytes::Bytes;
    use consensus_api::RequestId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::stage::{ATTEMPT, PATIENCE, Stage, led_by, led_by_nobody, members};

    async fn next_transfer(asked: &mut mpsc::Receiver<Request>) -> (RequestId, Option<NodeId>) {
        match asked.recv().await {
            Some(Request::TransferLeadership { id, to }) => (id, to),
            _ => panic!("another leader is asked for"),
        }
    }

    async fn next_proposal(asked: &mut mpsc::Receiver<Request>) -> RequestId {
        match asked.recv().await {
            Some(Request::Propose { id, .. }) => id,
            _ => panic!("a command is proposed"),
        }
    }

    fn failed(to: u64) -> Refusal {
        Refusal::TransferFailed { to: Some(NodeId(to)) }
    }

    #[tokio::test]
    async fn it_is_done_when_that_one_leads() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(replica.transfer_leadership(Some(NodeId(3)), PATIENCE), async {
            assert_eq!(next_transfer(&mut asked).await.1, Some(NodeId(3)));
            replica.sees(led_by_nobody());
            tokio::task::yield_now().await;
            replica.sees(led_by(3));
        });
        assert_eq!(done, Ok(()));
        assert_eq!(replica.transfer_leadership(Some(NodeId(3)), PATIENCE).await, Ok(()), "it leads already");
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn without_a_name_any_other_leader_will_do_and_the_present_one_will_not() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(replica.transfer_leadership(None, PATIENCE), async {
            assert_eq!(next_transfer(&mut asked).await.1, None);
            replica.sees(led_by_nobody());
            tokio::task::yield_now().await;
            replica.sees(led_by(1));
        });
        assert_eq!(done, Ok(()));
    }

    #[tokio::test]
    async fn a_leader_that_leads_on_says_so() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(replica.transfer_leadership(Some(NodeId(3)), PATIENCE), async {
            let (id, _) = next_transfer(&mut asked).await;
            replica.refuse(id, Refusal::NotReady);
            let (id, _) = next_transfer(&mut asked).await;
            replica.refuse(id, failed(3));
        });
        assert_eq!(done, Err(failed(3).into()));
    }

    #[tokio::test]
    async fn where_a_third_one_was_elected_that_one_is_asked() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(replica.transfer_leadership(Some(NodeId(3)), PATIENCE), async {
            next_transfer(&mut asked).await;
            replica.sees(led_by(1));
            next_transfer(&mut asked).await;
            replica.sees(led_by(3));
        });
        assert_eq!(done, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_that_was_lost_is_uttered_again_to_the_leader_that_leads_on() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (done, ()) = tokio::join!(replica.transfer_leadership(Some(NodeId(3)), PATIENCE), async {
            next_transfer(&mut asked).await;
            let lost = Instant::now();
            next_transfer(&mut asked).await;
            assert!(lost.elapsed() < 2 * ATTEMPT, "{:?}", lost.elapsed());
            replica.sees(led_by(3));
        });
        assert_eq!(done, Ok(()));
    }

    #[tokio::test]
    async fn one_that_nobody_answers_has_an_unknown_outcome_and_one_without_a_leader_has_none() {
        let Stage { replica, asked: _asked, stopped: _stopped } = Stage::new();
        let short = Duration::from_millis(20);
        let done = replica.transfer_leadership(Some(NodeId(3)), short).await;
        assert!(matches!(done, Err(RequestError::Unknown { waited_ms: 20.. })), "{done:?}");
        replica.sees(led_by_nobody());
        assert_eq!(replica.transfer_leadership(None, short).await, Err(Refusal::NoLeader.into()));
    }

    #[tokio::test]
    async fn a_leader_steps_aside_if_there_is_somebody_and_nobody_else_does() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        replica.step_aside(PATIENCE).await;
        replica.sees(led_by(1));
        replica.has(members(1, &[1], &[2]), false);
        replica.step_aside(PATIENCE).await;
        assert!(asked.try_recv().is_err(), "it followed, and then there was no other voter");
        replica.has(members(2, &[1, 2], &[]), false);
        let ((), ()) = tokio::join!(replica.step_aside(PATIENCE), async {
            assert_eq!(next_transfer(&mut asked).await.1, None);
            replica.sees(led_by(2));
        });
    }

    /// During a transfer the leader takes nothing new, and says who will lead.
    #[tokio::test(start_paused = true)]
    async fn a_proposal_that_comes_during_a_transfer_goes_to_the_next_leader_at_once_and_asks_no_more_than_it_must() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let proposal = replica.propose(Bytes::from("x"), PATIENCE);
        let (applied, waited) = tokio::join!(proposal, async {
            let leaves = Refusal::NotLeader { leader: Some(NodeId(3)) };
            let mut attempts = 0;
            let until = Instant::now() + 5 * RETRY_PAUSE;
            while let Ok(id) = timeout_at(until, next_proposal(&mut asked)).await {
                attempts += 1;
                replica.refuse(id, leaves.clone());
            }
            assert!((2..=6).contains(&attempts), "{attempts} in five pauses");
            let elected = Instant::now();
            replica.sees(led_by(3));
            let id = next_proposal(&mut asked).await;
            replica.applied(id, b"done");
            elected.elapsed()
        });
        assert_eq!(applied.unwrap().reply, "done");
        assert!(waited < RETRY_PAUSE / 2, "{waited:?} after the election");
    }

    /// The refusal of the old leader may arrive after the news of the next one.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_comes_behind_the_next_leader_costs_no_pause() {
        let Stage { replica, mut asked, stopped: _stopped } = Stage::new();
        let (applied, waited) = tokio::join!(replica.propose(Bytes::from("x"), PATIENCE), async {
            let id = next_proposal(&mut asked).await;
            replica.sees(led_by(3));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let refused = Instant::now();
            replica.refuse(id, Refusal::NotLeader { leader: Some(NodeId(3)) });
            let id = next_proposal(&mut asked).await;
            replica.applied(id, b"done");
            refused.elapsed()
        });
        assert!(applied.is_ok() && waited < RETRY_PAUSE / 2, "{waited:?}");
    }
}
