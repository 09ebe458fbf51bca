//! Linearizable reads without a log entry: the leader confirms that it still leads, with one quorum round for all the
//! reads that wait (ReadIndex, Raft thesis §6.4; for Multi-Paxos the same with its ballot).
//!
//! ```text
//!   read a ─┐                    read b, c, d ─┐
//!           ▼                                  ▼ wait for the next round
//!        round 7 ──heartbeats──▶ quorum ──▶ a is ready; round 8 starts for b, c, d
//! ```
//!
//! Every heartbeat carries the number of the latest round, and an acknowledgement of a later round confirms the
//! earlier ones. One round is in flight at a time, besides those that heartbeats start: so the cost per read falls as
//! load grows.
//!
//! The index of a read is the leader's commit index when the read arrived, but at least the end of what the leader
//! took over from its predecessors: an entry that an earlier leader acknowledged may lie above the commit index that
//! a new leader knows. A round must *start* after the read arrived; an acknowledgement that was already under way
//! proves nothing about the time in between.
//!
//! Under a [`lease`](crate::lease) the leader need not ask: the same heartbeats, answered with pledges, have told it
//! beforehand that nobody else leads for a while. The index is the same.

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};

use crate::engine::{ReadReady, Refusal};
use crate::ids::{LogIndex, NodeId, RequestId};
use crate::planted::{Bug, is_planted};
use crate::quorum::Quorums;

/// How a read that must be linearizable is made so. They differ in what they cost and in what they assume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum ReadMode {
    /// The leader confirms that it leads by a quorum round, one for all the reads that wait. Assumes nothing of clocks.
    #[default]
    Index,
    /// The leader answers at once while it holds a lease, and by a round otherwise. Assumes that clocks drift apart by no
    /// more than the bound in [`LeaseTiming`](crate::engine::LeaseTiming).
    Lease,
    /// Through the log, as a command that says nothing: one entry, one write to a majority's disks. A yardstick.
    Log,
    /// A quorum of acceptors tells what it has accepted, and no leader is asked (Paxos Quorum Reads, Charapko et al.
    /// 2019). An engine whose followers may hold entries that are chosen by nobody refuses it.
    Quorum,
}

/// A leader's reads and their rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadQueue {
    // The latest round that was started.
    round: u64,
    acknowledged: BTreeMap<NodeId, u64>,
    // With the round that must be confirmed; in order of it.
    waiting: VecDeque<(u64, ReadReady)>,
}

impl ReadQueue {
    /// The latest round, for the heartbeats to carry.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Adds a read that may be served from `index` on, once a round that starts later is confirmed.
    pub fn push(&mut self, id: RequestId, index: LogIndex, reads_max: usize) -> Result<(), Refusal> {
        if self.waiting.len() >= reads_max {
            return Err(Refusal::Busy);
        }
        let round = if is_planted(Bug::ReadJoinsEarlierRound) { self.round } else { self.round + 1 };
        self.waiting.push_back((round, ReadReady { id, index }));
        Ok(())
    }

    /// Whether reads wait for a round and none is in flight.
    pub fn wants_round(&self, me: NodeId, quorums: Quorums<'_>) -> bool {
        let newest = self.waiting.back().map_or(0, |(round, _)| *round);
        newest > self.round && self.confirmed(me, quorums) == self.round
    }

    /// Starts the next round and returns its number; its heartbeats must leave after this call.
    pub fn start_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// Notes that `node` follows this leader as of `round`, one that was started: who tells of another is not to be
    /// believed, and not to be let in here.
    pub fn acknowledge(&mut self, node: NodeId, round: u64) {
        assert!(round <= self.round, "round {round} acknowledged, but only {} was started", self.round);
        let latest = self.acknowledged.entry(node).or_default();
        *latest = (*latest).max(round);
    }

    fn confirmed(&self, me: NodeId, quorums: Quorums<'_>) -> u64 {
        quorums.highest(|node| if node == me { self.round } else { self.acknowledged.get(&node).copied().unwrap_or(0) })
    }

    /// Takes out the reads whose round a quorum has confirmed.
    pub fn take_confirmed(&mut self, me: NodeId, quorums: Quorums<'_>) -> Vec<ReadReady> {
        let confirmed = if is_planted(Bug::ReadWithoutRound) { u64::MAX } else { self.confirmed(me, quorums) };
        let ready = self.waiting.partition_point(|(round, _)| *round <= confirmed);
        self.waiting.drain(..ready).map(|(_, read)| read).collect()
    }

    /// Gives up every read, because this node leads no more.
    pub fn abandon(&mut self) -> Vec<RequestId> {
        self.waiting.drain(..).map(|(_, read)| read.id).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn id(sequence: u64) -> RequestId {
        RequestId { origin: NodeId(1), boot: 1, sequence }
    }

    #[test]
    fn an_acknowledgement_under_way_does_not_confirm_a_read_that_came_later() {
        let voters: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        let none = BTreeSet::new();
        let quorums = Quorums::new(&voters, &none);
        let mut queue = ReadQueue::default();
        let early = queue.start_round();
        queue.push(id(1), LogIndex(5), 10).expect("there is room");
        queue.acknowledge(NodeId(2), early);
        assert!(queue.take_confirmed(NodeId(1), quorums).is_empty());
        assert!(queue.wants_round(NodeId(1), quorums));
        let later = queue.start_round();
        queue.acknowledge(NodeId(3), later);
        assert_eq!(queue.take_confirmed(NodeId(1), quorums), [ReadReady { id: id(1), index: LogIndex(5) }]);
    }

    #[test]
    fn reads_that_arrive_during_a_round_share_the_next_one() {
        let voters: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        let none = BTreeSet::new();
        let quorums = Quorums::new(&voters, &none);
        let mut queue = ReadQueue::default();
        queue.push(id(1), LogIndex(5), 10).expect("there is room");
        let first = queue.start_round();
        queue.push(id(2), LogIndex(5), 10).expect("there is room");
        queue.push(id(3), LogIndex(6), 10).expect("there is room");
        assert!(!queue.wants_round(NodeId(1), quorums));
        queue.acknowledge(NodeId(2), first);
        assert_eq!(queue.take_confirmed(NodeId(1), quorums).len(), 1);
        let second = queue.start_round();
        queue.acknowledge(NodeId(2), second);
        assert_eq!(queue.take_confirmed(NodeId(1), quorums).len(), 2);
    }
}
