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
use crate::handle::{Replica, millis};
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
        loop {
            let asked = tokio::select! {
                biased;
                Ok(_) = role.wait_for(|role| is_done(role.leader)) => return Ok(()),
                asked = self.ask_leader(deadline, Awaits::Index, |id| Request::TransferLeadership { id, to }) => asked?,
            };
            match asked {
                Some(Answer::Refused(Refusal::NotReady | Refusal::Busy)) if Instant::now() < deadline => {
                    self.pause(deadline).await;
                }
                // A third one was elected, and the wish is for that one to hear.
                Some(Answer::Unknown) | None if Instant::now() < deadline => {}
                Some(Answer::Unknown) | None => {
                    return Err(RequestError::Unknown { waited_ms: millis(since.elapsed()) });
                }
                other => return Err(self.unexpected(other, since)),
            }
        }
    }
}
