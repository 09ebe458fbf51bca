//! Linearizable reads without a log entry (ReadIndex, Raft thesis §6.4, with a ballot in place of the term): the leader
//! notes how far the log is chosen, confirms by a round of heartbeats that it still leads, and says so.
//!
//! ```text
//!   Read at the leader ───────────────┐
//!   Read at a follower ──Errand::Read─┤
//!                                     ▼
//!        index = max(chosen through, epoch start), wait for a round that starts from now
//!                                     │            (or none, in lease mode, while the lease holds)
//!                                     │ a quorum has answered it
//!                                     ▼
//!        ReadReady here, or Errand::ReadIndex to whoever asked
//! ```
//!
//! Why the epoch start, the last slot that was re-proposed at the takeover: among those slots are all that an earlier
//! leader may have acknowledged. This leader has not yet counted a quorum for them, and a read below would miss them.
//!
//! Why the round: whoever is elected later has the promise of a quorum, and one of those would have refused to answer.
//!
//! **By whom a read at index I is confirmed**: by a quorum of those who decide on slot I+1. What the read would miss lies
//! above I, and was acknowledged only when everything below it was chosen, slot I+1 too. Under a higher ballot they would
//! not have answered; under a lower one they would have shown it when they promised, so that the epoch start is no less
//! than I+1. So they must have promised when the index is noted, and reads wait while a leader has yet to take the slots of
//! new members over. When others come into force, the reads that still wait get a new index and a new round.
//!
//! Why not by those who are in force when the answers come:
//!
//! ```text
//!   1 leads {1, 2, 3} in 1.1    slots up to t+α−1 are accepted, and the answers are late; {4, 5, 6} is chosen at t
//!   2 leads in 2.2              by 2 and 3: proposes the same values, has them chosen, and acknowledges that
//!   read at 1                   at index I < t: whoever 1 might ask has promised 2.2
//!   the late answers reach 1    everything to t+α−1 is chosen; 4, 5 and 6, who have yet to hear of 2.2, promise 1.1, and
//!                               confirm that 1 leads: served from I, the read misses what 2 has acknowledged
//! ```
//!
//! Under a lease ([`consensus_api::lease`]) the round is saved, once the epoch start is chosen: the answers to earlier
//! heartbeats have told that nobody else leads yet. A read in the log is a proposal that says nothing; a read by a quorum
//! asks no leader at all ([`quorum_reads`](crate::quorum_reads)).

use std::collections::BTreeMap;

use consensus_api::errands::{Errand, Proposal};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, Blob, LogIndex, NodeId, ReadMode, ReadReady, Refusal, Refused, RequestId};

use crate::MultiPaxos;
use crate::message::Message;
use crate::role::RoleState;

impl MultiPaxos {
    /// A client of this node wants to read.
    pub(crate) fn on_read(&mut self, id: RequestId, mode: ReadMode) {
        let reads_max = self.config.limits.reads_max;
        let taken = match (mode, &self.role) {
            (ReadMode::Log, _) => return self.on_propose(Proposal { id, data: Blob::default() }),
            (ReadMode::Quorum, _) => self.quorum_reads.push(id, reads_max),
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
        let (reads_max, chosen_through) = (self.config.limits.reads_max, self.log.chosen_through());
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        let knows_all = chosen_through >= leader.epoch_start || is_planted(Bug::LeaseReadBeforeOwnEpoch);
        if mode == ReadMode::Lease && knows_all && leader.lease.holds(self.now) && self.may_read_at(chosen_through) {
            return Ok(Some(ReadReady { id, index: chosen_through }));
        }
        let floor = if is_planted(Bug::ReadBeforeOwnEpoch) { chosen_through } else { leader.epoch_start };
        let index = chosen_through.max(floor);
        let may_read = self.may_read_at(index);
        let RoleState::Leader(leader) = &mut self.role else { return Err(Refusal::NoLeader) };
        if may_read {
            leader.reads.push(id, index, reads_max)?;
        } else if leader.early_reads.len() < reads_max {
            leader.early_reads.push(id);
        } else {
            return Err(Refusal::Busy);
        }
        Ok(None)
    }

    /// Whether a round among those in force can confirm a read at `index`: they are the ones who decide on the next slot,
    /// and a quorum of them has promised.
    fn may_read_at(&self, index: LogIndex) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let (next, present) = (index.next(), self.present());
        let decides = next <= self.log.governed_through() && self.log.governing(next).version == present.version;
        decides && leader.prepared >= present.version || is_planted(Bug::ReadCountedAmongOthers)
    }

    /// Reads that no round could confirm, and those that were to be confirmed by members who are in force no more.
    pub(crate) fn admit_early_reads(&mut self) {
        let chosen_through = self.log.chosen_through();
        let RoleState::Leader(leader) = &self.role else { return };
        if leader.early_reads.is_empty() || !self.may_read_at(chosen_through.max(leader.epoch_start)) {
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        // Their round starts at once, whatever round is under way.
        leader.heartbeat_at = self.now;
        for id in std::mem::take(&mut leader.early_reads) {
            if let Err(reason) = self.admit_read(id, ReadMode::Index) {
                self.refuse_asker(Refused { id, reason });
            }
        }
    }

    /// Ends the lease of this leadership for good. To be called before leadership is handed over: whoever is to lead next
    /// may be elected by voters that owe this node nothing.
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
