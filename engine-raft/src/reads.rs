//! Linearizable reads without a log entry (ReadIndex, thesis §6.4): the leader notes its commit index, confirms by a
//! round of heartbeats that it still leads, and says so.
//!
//! ```text
//!   Read at the leader ───────────────┐
//!   Read at a follower ──Errand::Read─┤
//!                                     ▼
//!        index = max(commit, own no-op), wait for a round that starts from now
//!                                     │            (or none, in lease mode, while the lease holds)
//!                                     │ a quorum has answered it
//!                                     ▼
//!        ReadReady here, or Errand::ReadIndex to whoever asked
//! ```
//!
//! Why the own no-op: a new leader has every committed entry but does not know how far they reach. Its predecessor may
//! have acknowledged a write that this leader still counts as uncommitted, and a read at its commit index would miss it.
//!
//! Under a lease ([`consensus_api::lease`]) the round is saved, once the own no-op is committed: the answers to earlier
//! heartbeats have told that nobody else leads yet. A read in the log is a proposal that says nothing.

use std::collections::BTreeMap;

use consensus_api::errands::{Errand, Proposal};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, Blob, NodeId, ReadMode, ReadReady, Refusal, Refused, RequestId};

use crate::Raft;
use crate::message::Message;
use crate::role::RoleState;

impl Raft {
    /// A client of this node wants to read.
    pub(crate) fn on_read(&mut self, id: RequestId, mode: ReadMode) {
        let reads_max = self.config.limits.reads_max;
        let taken = match (mode, &self.role) {
            (ReadMode::Log, _) => return self.on_propose(Proposal { id, data: Blob::default() }),
            (ReadMode::Quorum, _) => Err(Refusal::Unsupported { what: "a read from a quorum of acceptors".into() }),
            (_, RoleState::Leader(_)) => self.admit_read(id, mode).map(|ready| self.effects.reads_ready.extend(ready)),
            (_, RoleState::Follower { leader: Some(_) }) => self.errands.read(id, mode, reads_max),
            _ => Err(Refusal::NoLeader),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    /// A follower asks for its clients. A read may be asked for again, since nothing is changed by it.
    pub(crate) fn on_forwarded_reads(&mut self, from: NodeId, ballot: Ballot, mode: ReadMode, ids: Vec<RequestId>) {
        let leads = matches!(self.role, RoleState::Leader(_)) && ballot == self.ballot;
        let leader = self.leader();
        let (mut ready, mut refused) = (Vec::new(), Vec::new());
        for id in ids.into_iter().filter(|id| id.origin == from) {
            match if leads { self.admit_read(id, mode) } else { Err(Refusal::NotLeader { leader }) } {
                Ok(read) => ready.extend(read),
                Err(reason) => refused.push(Refused { id, reason }),
            }
        }
        self.answer_reads(ready);
        if !refused.is_empty() {
            self.send(from, Message::Errand(Errand::Refuse { refused }));
        }
    }

    /// A read that may be served at once, under the lease; or one that waits for its round.
    fn admit_read(&mut self, id: RequestId, mode: ReadMode) -> Result<Option<ReadReady>, Refusal> {
        let (reads_max, commit) = (self.config.limits.reads_max, self.log.commit());
        let RoleState::Leader(leader) = &mut self.role else { return Err(Refusal::NoLeader) };
        let knows_all = commit >= leader.epoch_start || is_planted(Bug::LeaseReadBeforeOwnEpoch);
        if mode == ReadMode::Lease && knows_all && leader.lease.holds(self.now) {
            return Ok(Some(ReadReady { id, index: commit }));
        }
        let floor = if is_planted(Bug::ReadBeforeOwnEpoch) { commit } else { leader.epoch_start };
        leader.reads.push(id, commit.max(floor), reads_max).map(|()| None)
    }

    /// Ends the lease of this leadership for good, before leadership is handed over: whoever is to lead next may be elected
    /// by voters that owe this node nothing any more.
    pub(crate) fn give_up_lease(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role {
            leader.lease.give_up();
        }
    }

    /// The leader has told the indexes of reads of this node.
    pub(crate) fn on_read_indexes(&mut self, ready: Vec<ReadReady>) {
        let awaited = self.errands.answered(ready);
        self.effects.reads_ready.extend(awaited);
    }

    /// Asks again, once an election timeout, for reads that wait: the question or its answer may be lost.
    pub(crate) fn repeat_reads(&mut self) {
        if self.now.since(self.reads_asked_at) >= self.config.timing.election_timeout {
            self.reads_asked_at = self.now;
            self.errands.ask_again();
        }
    }

    /// Tells those who asked that a quorum has confirmed their reads.
    pub(crate) fn answer_reads(&mut self, confirmed: Vec<ReadReady>) {
        let mut remote: BTreeMap<NodeId, Vec<ReadReady>> = BTreeMap::new();
        for read in confirmed {
            if read.id.origin == self.config.node {
                self.effects.reads_ready.push(read);
            } else {
                remote.entry(read.id.origin).or_default().push(read);
            }
        }
        for (origin, ready) in remote {
            self.send(origin, Message::Errand(Errand::ReadIndex { ready }));
        }
    }

    /// Tells those who asked that this node leads no more.
    pub(crate) fn refuse_reads(&mut self, ids: Vec<RequestId>, leader: Option<NodeId>) {
        let mut remote: BTreeMap<NodeId, Vec<Refused>> = BTreeMap::new();
        for id in ids {
            let refused = Refused { id, reason: Refusal::NotLeader { leader } };
            if id.origin == self.config.node {
                self.effects.refused.push(refused);
            } else {
                remote.entry(id.origin).or_default().push(refused);
            }
        }
        for (origin, refused) in remote {
            self.send(origin, Message::Errand(Errand::Refuse { refused }));
        }
    }
}
