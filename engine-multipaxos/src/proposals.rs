//! How a request gets to the leader, and a command into its log: at the leader directly, from elsewhere by an errand to
//! it.
//!
//! ```text
//!   Propose ──▶ leads? ──yes──▶ room? ──yes──▶ proposed for the next slot, in memory and to the pending write
//!                  │no            └─no──▶ Busy
//!                  ▼
//!               knows a leader? ──yes──▶ Errand::Propose, once, for its ballot
//!                  └─no──▶ NoLeader
//! ```
//!
//! A refusal is a promise that the command was not carried out and never will be under its id. So a leader refuses what
//! it has not seen before, in the ballot that it was asked in, and meets everything else with silence. Suppose that it
//! refused whatever came after it had stepped down: an errand is delivered and its command proposed, the leader steps
//! down, the network delivers a copy of the errand, and "definitely not carried out" is said of a value that the next
//! leader finds and proposes again. That is why the ids of its last leadership outlive it.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::errands::{Admission, Errand, Proposal};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, Entry, LogIndex, LogTime, MonoTime, NodeId, Payload, Refusal, Refused, RequestId};

use crate::MultiPaxos;
use crate::message::Message;
use crate::role::{Leader, RoleState};

/// The ids that this node has seen as the leader of a ballot.
pub(crate) type Admitted = (Ballot, Admission);

impl MultiPaxos {
    /// A client of this node wants a command in the log.
    pub(crate) fn on_propose(&mut self, proposal: Proposal) {
        let id = proposal.id;
        let taken = match &self.role {
            RoleState::Leader(_) => self.propose_command(proposal),
            RoleState::Follower { leader: Some(_) } => {
                self.check_size(&proposal).map(|()| self.errands.propose(proposal))
            }
            _ => self.check_size(&proposal).and(Err(Refusal::NoLeader)),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    /// A follower forwards commands of its clients.
    pub(crate) fn on_forwarded_proposals(&mut self, from: NodeId, ballot: Ballot, proposals: Vec<Proposal>) {
        let mut refused = Vec::new();
        for proposal in proposals {
            let id = proposal.id;
            if ballot != self.admitted.0 || !self.admitted.1.admit(id) {
                continue;
            }
            let leads = matches!(self.role, RoleState::Leader(_)) && ballot == self.ballot;
            let taken =
                if leads { self.propose_command(proposal) } else { Err(Refusal::NotLeader { leader: self.leader() }) };
            refused.extend(taken.err().map(|reason| Refused { id, reason }));
        }
        if !refused.is_empty() {
            self.send(from, Message::Errand(Errand::Refuse { refused }));
        }
    }

    /// The leader has refused requests of this node.
    pub(crate) fn on_refusals(&mut self, refused: Vec<Refused>) {
        self.errands.refused(&refused);
        let own = refused.into_iter().filter(|refused| refused.id.origin == self.config.node);
        self.effects.refused.extend(own);
    }

    /// Sends what clients of this node want from the leader.
    pub(crate) fn send_errands(&mut self) {
        let RoleState::Follower { leader: Some(leader) } = self.role else { return };
        for errand in self.errands.take(self.ballot, self.config.limits.message_bytes_max) {
            self.send(leader, Message::Errand(errand));
        }
    }

    /// Tells a client of this node that its request was not carried out.
    pub(crate) fn refuse(&mut self, id: RequestId, reason: Refusal) {
        self.effects.refused.push(Refused { id, reason });
    }

    /// Tells whoever asked, here or elsewhere, that a request was not carried out.
    pub(crate) fn refuse_asker(&mut self, refused: Refused) {
        let origin = refused.id.origin;
        if origin == self.config.node {
            self.effects.refused.push(refused);
        } else {
            self.send(origin, Message::Errand(Errand::Refuse { refused: vec![refused] }));
        }
    }

    fn check_size(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let (bytes, limit) = (proposal.data.0.len(), self.config.limits.command_bytes_max);
        if bytes > limit {
            return Err(Refusal::TooLarge { bytes: bytes as u64, limit: limit as u64 });
        }
        Ok(())
    }

    fn propose_command(&mut self, proposal: Proposal) -> Result<(), Refusal> {
        self.check_size(&proposal)?;
        self.check_not_handing_over()?;
        if !self.may_propose() {
            return Err(Refusal::Busy);
        }
        self.propose_at_next(Payload::Command { id: proposal.id, data: proposal.data }, None);
        Ok(())
    }

    /// Proposes no-ops up to `wanted`, where this node leads and somebody may have accepted something there. No leader
    /// proposes more than a window above what is chosen, and none before this one knew more to be chosen than this one
    /// took over: whoever tells of a slot beyond is wrong, and not believed at all. A leader that hands over leaves it to the
    /// next.
    pub(crate) fn propose_through(&mut self, wanted: LogIndex) {
        if self.check_not_handing_over().is_err() {
            return;
        }
        let window = self.config.limits.reconfiguration_window;
        loop {
            let RoleState::Leader(leader) = &self.role else { return };
            let known = self.log.chosen_through().max(leader.epoch_start);
            if leader.open.next() > wanted || wanted.0 > known.0.saturating_add(window) || !self.may_propose() {
                return;
            }
            self.propose_at_next(Payload::Noop, None);
        }
    }

    /// Whether this leader may propose something of its own: it has room, and nothing is left of what it took over.
    pub(crate) fn may_propose(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let has_inherited = leader.gathering.last_reported().is_some_and(|last| last >= leader.open.next());
        !has_inherited && self.has_room()
    }

    /// Whether the next slot may be proposed for: who decides there is known and has promised, and no bound is reached.
    pub(crate) fn has_room(&self) -> bool {
        let limits = &self.config.limits;
        if let RoleState::Leader(leader) = &self.role {
            let next = leader.open.next();
            let is_full =
                leader.open.len() >= limits.open_entries_max || leader.open.size_bytes() >= limits.open_bytes_max;
            if is_full || next > self.log.governed_through() || self.ceiling(leader).is_some_and(|end| next >= end) {
                return false;
            }
        }
        // A quorum may go on without this node's disk; what that has yet to write cannot leave the window.
        self.log.window().size_bytes() < limits.window_bytes_max + limits.open_bytes_max
    }

    /// The state machine wants the log's time carried forward this often.
    pub(crate) fn on_keep_time(&mut self, every: Option<Duration>) {
        self.timekeeper.keep(every);
    }

    /// When a leader's next tick is due. While something is open there is none: time goes forward with that, and a
    /// leader that has no quorum does not fill its log with ticks.
    pub(crate) fn tick_deadline(&self, leader: &Leader) -> MonoTime {
        if leader.open.is_empty() { self.timekeeper.deadline() } else { MonoTime::NEVER }
    }

    /// Carries the log's time forward, where a leader has proposed nothing else for as long as is wanted.
    pub(crate) fn keep_time(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if self.now < self.tick_deadline(leader) {
            return;
        }
        if self.may_propose() && self.check_not_handing_over().is_ok() {
            self.propose_at_next(Payload::Tick, None);
        } else {
            self.timekeeper.appended(self.now);
        }
    }

    /// Proposes a value for the next slot, under the own ballot, stamped now unless it was stamped before. It is sent,
    /// and written, with the next effects.
    pub(crate) fn propose_at_next(&mut self, payload: Payload, stamped: Option<LogTime>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        assert!(
            leader.open.next() <= self.log.governed_through(),
            "nobody knows who decides on {}",
            leader.open.next()
        );
        self.timekeeper.appended(self.now);
        let log_time = stamped.unwrap_or_else(|| leader.clock.stamp(self.now));
        let entry = Arc::new(Entry { index: leader.open.next(), ballot: self.ballot, log_time, payload });
        leader.open.push(entry.size_bytes());
        let slot = entry.index;
        self.log.accept(entry);
        if is_planted(Bug::OwnCopyBeforeDurable) {
            let log = &self.log;
            leader.open.accepted(self.config.node, (slot, slot), |slot, nodes| log.decide(slot, nodes));
        }
    }
}
