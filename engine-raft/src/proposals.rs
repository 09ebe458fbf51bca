//! How a request gets to the leader, and a command into its log: at the leader directly, from elsewhere by an errand to
//! it.
//!
//! ```text
//!   Propose ──▶ leads? ──yes──▶ room? ──yes──▶ appended, in memory and to the pending write
//!                  │no            └─no──▶ Busy
//!                  ▼
//!               knows a leader? ──yes──▶ Errand::Propose, once, for its ballot
//!                  └─no──▶ NoLeader
//! ```
//!
//! A refusal is a promise that the command was not carried out and never will be under its id. So a leader refuses what
//! it has not seen before, in the ballot that it was asked in, and meets everything else with silence. Suppose that it
//! refused whatever came after it had stepped down: an errand is delivered and its command appended, the leader steps
//! down, the network delivers a copy of the errand, and "definitely not carried out" is said of an entry that the next
//! leader commits. That is why the ids of its last leadership outlive it.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::errands::{Admission, Errand, Proposal};
use consensus_api::{Ballot, Entry, MonoTime, NodeId, Payload, Refusal, Refused, RequestId};

use crate::Raft;
use crate::message::Message;
use crate::role::{Leader, RoleState};

/// The ids that this node has seen as the leader of a ballot.
pub(crate) type Admitted = (Ballot, Admission);

impl Raft {
    /// A client of this node wants a command in the log.
    pub(crate) fn on_propose(&mut self, proposal: Proposal) {
        let id = proposal.id;
        let taken = match &self.role {
            RoleState::Leader(_) => self.append_command(proposal),
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
                if leads { self.append_command(proposal) } else { Err(Refusal::NotLeader { leader: self.leader() }) };
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
        let ballot = Ballot::new(self.ballot.round, leader);
        for errand in self.errands.take(ballot, self.config.limits.message_bytes_max) {
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

    fn append_command(&mut self, proposal: Proposal) -> Result<(), Refusal> {
        self.check_size(&proposal)?;
        if let RoleState::Leader(leader) = &self.role
            && let Some(transfer) = &leader.transfer
        {
            return Err(Refusal::NotLeader { leader: Some(transfer.to) });
        }
        if !self.has_room() {
            return Err(Refusal::Busy);
        }
        self.append_own(Payload::Command { id: proposal.id, data: proposal.data });
        Ok(())
    }

    pub(crate) fn has_room(&self) -> bool {
        let limits = &self.config.limits;
        if let RoleState::Leader(leader) = &self.role
            && (leader.open.len() >= limits.open_entries_max || leader.open_bytes >= limits.open_bytes_max)
        {
            return false;
        }
        // A quorum may go on without this node's disk; what that has yet to write cannot leave the window.
        self.log.window().size_bytes() < limits.window_bytes_max + limits.open_bytes_max
    }

    /// The state machine wants the log's time carried forward this often.
    pub(crate) fn on_keep_time(&mut self, every: Option<Duration>) {
        self.timekeeper.keep(every);
    }

    /// When a leader's next tick is due. While something is open there is none: time goes forward with that, and a
    /// leader that has no quorum does not fill its log with ticks. Nor is there while leadership is handed over.
    pub(crate) fn tick_deadline(&self, leader: &Leader) -> MonoTime {
        let is_idle = leader.open.is_empty() && leader.transfer.is_none();
        if is_idle { self.timekeeper.deadline() } else { MonoTime::NEVER }
    }

    /// Carries the log's time forward, where a leader has appended nothing else for as long as is wanted.
    pub(crate) fn keep_time(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if self.now < self.tick_deadline(leader) {
            return;
        }
        if self.has_room() {
            self.append_own(Payload::Tick);
        } else {
            self.timekeeper.appended(self.now);
        }
    }

    /// Appends an entry of this leadership. It is sent, and written, with the next effects.
    pub(crate) fn append_own(&mut self, payload: Payload) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let index = self.log.last_index().next();
        self.timekeeper.appended(self.now);
        let log_time = leader.clock.stamp(self.now).max(self.log.time());
        let entry = Arc::new(Entry { index, ballot: self.ballot, log_time, payload });
        let bytes = entry.size_bytes();
        leader.open.push_back((index, bytes));
        leader.open_bytes += bytes;
        self.log.append(entry);
    }
}
