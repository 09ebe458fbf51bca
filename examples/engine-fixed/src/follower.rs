//! Everybody but the leader: accepts what follows, acknowledges what is durable, and forwards requests.
//!
//! ```text
//!   Append ──▶ entries behind the last ──▶ pending write ──durable──▶ Ack{last}
//!                     └──▶ commit = min(told, last)
//! ```
//!
//! A follower votes on nothing. It notices that the leader is silent only to say so to whoever asks.

use consensus_api::errands::{Errands, Proposal};
use consensus_api::{
    Ballot, LogIndex, MonoTime, NodeId, ReadMode, ReadReady, Refusal, Refused, RequestId, SharedEntry, Timing,
};

use crate::message::Message;
use crate::{FixedLeader, Part};

/// What a follower knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    node: NodeId,
    // The latest life of the leader that was heard of.
    ballot: Ballot,
    // When it was last heard; `None` while it is silent.
    heard_at: Option<MonoTime>,
    errands: Errands,
    reads_asked_at: MonoTime,
    owes_ack: bool,
}

impl Follower {
    pub(crate) fn new(node: NodeId, now: MonoTime) -> Follower {
        let (errands, ballot) = (Errands::default(), Ballot::ZERO);
        Follower { node, ballot, heard_at: None, errands, reads_asked_at: now, owes_ack: false }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.heard_at.map(|_| self.node)
    }

    pub(crate) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// When a leader that says nothing until then counts as silent.
    pub(crate) fn deadline(&self, timing: &Timing) -> MonoTime {
        self.heard_at.map_or(MonoTime::NEVER, |heard| heard + timing.election_timeout)
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<(), Refusal> {
        self.leader().ok_or(Refusal::NoLeader)?;
        self.errands.propose(proposal);
        Ok(())
    }

    pub(crate) fn read(&mut self, id: RequestId, mode: ReadMode, reads_max: usize) -> Result<(), Refusal> {
        self.leader().ok_or(Refusal::NoLeader)?;
        self.errands.read(id, mode, reads_max)
    }

    /// Hears from the leader. What was asked of an earlier life of it is lost: reads are refused, and so is what was not
    /// sent yet.
    fn hear(&mut self, ballot: Ballot, now: MonoTime, timing: &Timing) -> Vec<Refused> {
        let is_another_life = ballot > self.ballot;
        self.ballot = ballot;
        self.heard_at = Some(now);
        self.owes_ack = true;
        if is_another_life {
            return self.errands.abandon(Some(self.node));
        }
        // A question or its answer may be lost, and to ask twice changes nothing.
        if now.since(self.reads_asked_at) >= timing.election_timeout {
            self.reads_asked_at = now;
            self.errands.ask_again();
        }
        Vec::new()
    }

    /// Gives up what waits for a leader that is silent.
    pub(crate) fn check_silence(&mut self, now: MonoTime, timing: &Timing) -> Vec<Refused> {
        if now < self.deadline(timing) {
            return Vec::new();
        }
        self.heard_at = None;
        self.errands.abandon(None)
    }
}

impl FixedLeader {
    pub(crate) fn on_append(&mut self, from: NodeId, ballot: Ballot, entries: Vec<SharedEntry>, commit: LogIndex) {
        let Part::Following(follower) = &mut self.part else { return };
        if from != follower.node || ballot < follower.ballot {
            return;
        }
        self.effects.refused.extend(follower.hear(ballot, self.now, &self.config.timing));
        for entry in entries {
            self.log.accept(entry);
        }
        self.log.commit_through(commit);
    }

    /// Answers all messages since the last time with one acknowledgement, which leaves when everything here is durable.
    pub(crate) fn acknowledge(&mut self) {
        let through = self.log.last();
        if let Part::Following(follower) = &mut self.part
            && std::mem::take(&mut follower.owes_ack)
        {
            let (to, ballot) = (follower.node, follower.ballot);
            self.send_promise(to, Message::Ack { ballot, through });
        }
    }

    /// Sends what clients of this node want from the leader.
    pub(crate) fn send_errands(&mut self) {
        if let Part::Following(follower) = &mut self.part
            && let Some(leader) = follower.leader()
        {
            for errand in follower.errands.take(follower.ballot, self.config.limits.message_bytes_max) {
                self.send(leader, Message::Errand(errand));
            }
        }
    }

    pub(crate) fn on_read_indexes(&mut self, ready: Vec<ReadReady>) {
        if let Part::Following(follower) = &mut self.part {
            self.effects.reads_ready.extend(follower.errands.answered(ready));
        }
    }

    pub(crate) fn on_refusals(&mut self, refused: Vec<Refused>) {
        if let Part::Following(follower) = &mut self.part {
            follower.errands.refused(&refused);
            self.effects.refused.extend(refused);
        }
    }
}
