//! Linearizable reads without a leader (Charapko, Ailijani & Demirbas, "Linearizable Quorum Reads in Paxos", HotStorage
//! 2019): any node asks the acceptors what they have accepted, waits until that is chosen, and reads.
//!
//! ```text
//!   reads ──▶ wait ──▶ asked: one round for all ──ReadQuery──▶ acceptors: what is the last slot that you accepted?
//!                           │◀──────────────────ReadReport──── 12 · 9 · 10
//!                           ▼
//!                      rinsed: the least v such that a quorum says "v or less" (here 10) ──chosen through v──▶ ReadReady
//! ```
//!
//! **Why it is linearizable.** Say a write was acknowledged before the read arrived, or another read has seen it: it was
//! chosen, in some slot s, so a quorum had accepted it, durably, before this round began. Those whose answers are v or
//! less are a quorum too; the two share an acceptor, and that one has answered s or more. So s ≤ v, and whoever has applied
//! v has applied the write. An acceptor answers at least what it knows to be chosen, for it may have learnt s, or have
//! received it in a snapshot, in place of accepting it. An answer need not wait for the disk: it promises nothing, and to
//! tell of more than is durable only makes the read wait.
//!
//! **Why not what a quorum knows to be *chosen*.** A leader gets slot 7 accepted by one other of three, counts two, acknowledges
//! the write, and stops before it has told anybody. The two others know nothing above 6 to be chosen, and a read at 6
//! misses what was acknowledged. One of them has accepted 7, and that is what is asked.
//!
//! **The rinse.** A slot that is accepted and not chosen, perhaps by one acceptor alone, holds the read up until
//! something is chosen there. An acceptor that was not in the first quorum may answer less, and a later round too; the
//! least answer counts, for each was given after the read had arrived. So while reads are held up the question is put
//! again every heartbeat interval.
//!
//! Nor need anybody propose for that slot. C leads, accepts 8 alone, and is cut off; A is elected by A and B, of which
//! neither has anything at 8; C comes back and follows A, and B dies. A and C are a quorum that has accepted 8, A has
//! nothing to propose, and the read would wait for the next write. So the question says up to where reads are held up,
//! and a leader that is asked proposes no-ops up to there, ordinary proposals within the ordinary bounds. It believes no
//! more than can be true: what another leader had open lay within a window above what was chosen.
//!
//! One round is in flight at a time, and whoever has not answered it is asked again every heartbeat interval. What others
//! know to be chosen and this node does not, it learns from them as every other node that lags does; so where nothing is
//! in the balance reads go on without a leader. They are bounded, and refused beyond.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, MonoTime, NodeId, Quorums, ReadReady, Refusal, RequestId};

use crate::MultiPaxos;
use crate::message::{Message, ReadQuery, ReadReport};

/// A node's own reads that no leader is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct QuorumReads {
    round: u64,
    asked_at: MonoTime,
    // What was answered to the present round.
    answers: BTreeMap<NodeId, LogIndex>,
    // They came after the present round had begun.
    waiting: Vec<RequestId>,
    // They came before, and no quorum has answered.
    asked: Vec<RequestId>,
    // With the slot up to which the log must be chosen; never decreasing.
    rinsed: VecDeque<(LogIndex, RequestId)>,
}

impl QuorumReads {
    /// Adds a read, which waits for a round that starts later.
    pub(crate) fn push(&mut self, id: RequestId, reads_max: usize) -> Result<(), Refusal> {
        if self.waiting.len() + self.asked.len() + self.rinsed.len() >= reads_max {
            return Err(Refusal::Busy);
        }
        self.waiting.push(id);
        Ok(())
    }

    /// Whether no read is to be asked for or waited for.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty() && self.rinsed.is_empty()
    }

    /// Starts the next round if there is anything to ask for and a quorum has answered the present one; `own` is this
    /// node's answer. Whether there is a question to send to those who have not answered it: the new one, or the present
    /// one again.
    fn ask(&mut self, (now, again_after): (MonoTime, Duration), (me, own): (NodeId, LogIndex), open: bool) -> bool {
        // As the deadline has it: a span may end between two readings, which are whole microseconds.
        let is_late = now >= self.asked_at + again_after;
        if !open && (!self.waiting.is_empty() || !self.rinsed.is_empty() && is_late) {
            assert!(self.asked.is_empty(), "round {} was answered by a quorum and not counted", self.round);
            self.round += 1;
            self.asked = std::mem::take(&mut self.waiting);
            self.answers = BTreeMap::from([(me, own)]);
        } else if !(open && is_late) {
            return false;
        }
        self.asked_at = now;
        true
    }

    /// Whether no quorum has answered the present round yet.
    fn is_open(&self, quorums: Quorums<'_>) -> bool {
        self.round > 0 && self.least(quorums).is_none()
    }

    /// Takes an answer to the present round.
    fn answered(&mut self, node: NodeId, accepted_through: LogIndex) {
        self.answers.insert(node, accepted_through);
    }

    /// Lets the present round's answers bear on the reads that they are fresh for: all but those that wait for the next.
    fn count(&mut self, quorums: Quorums<'_>) {
        let Some(least) = self.least(quorums) else { return };
        for (index, _) in self.rinsed.iter_mut().rev().take_while(|(index, _)| *index > least) {
            *index = least;
        }
        self.rinsed.extend(self.asked.drain(..).map(|id| (least, id)));
    }

    /// The least slot such that a quorum has answered it or less.
    fn least(&self, quorums: Quorums<'_>) -> Option<LogIndex> {
        let mut candidates: Vec<LogIndex> = self.answers.values().copied().collect();
        candidates.sort_unstable();
        let within = |node: NodeId, limit: LogIndex| self.answers.get(&node).is_some_and(|answer| *answer <= limit);
        candidates.into_iter().find(|limit| quorums.reached(|node| within(node, *limit)))
    }

    /// Takes out the reads of which everything is chosen.
    fn take_chosen(&mut self, chosen_through: LogIndex) -> impl Iterator<Item = ReadReady> {
        let chosen = self.rinsed.partition_point(|(index, _)| *index <= chosen_through);
        self.rinsed.drain(..chosen).map(|(index, id)| ReadReady { id, index })
    }

    /// The highest slot that a read is held up by; zero where none is.
    fn wants(&self, chosen_through: LogIndex) -> LogIndex {
        let highest = self.rinsed.back().map(|(index, _)| *index);
        highest.filter(|index| *index > chosen_through).unwrap_or_default()
    }

    /// When something is to be asked again. Also for reads that wait for the next round alone: the present one may have
    /// been started for reads that are served by now, and its questions may be lost.
    pub(crate) fn deadline(&self, again_after: Duration) -> MonoTime {
        if self.is_idle() { MonoTime::NEVER } else { self.asked_at + again_after }
    }
}

impl MultiPaxos {
    /// Serves the reads that can be, and asks for the others what is due to be asked. All that came since the last effects
    /// share a round.
    pub(crate) fn read_by_quorum(&mut self) {
        let (me, now, own) = (self.config.node, self.now, self.accepted_through());
        let (again_after, chosen_through) = (self.config.timing.heartbeat_interval, self.log.chosen_through());
        if self.quorum_reads.is_idle() {
            return;
        }
        self.quorum_reads.count(self.membership.quorums());
        self.propose_through(self.quorum_reads.wants(chosen_through));
        let is_open = self.quorum_reads.is_open(self.membership.quorums());
        if self.quorum_reads.ask((now, again_after), (me, own), is_open) {
            let (round, wants) = (self.quorum_reads.round, self.quorum_reads.wants(chosen_through));
            let query = ReadQuery { boot: self.config.boot, round, wants };
            for voter in self.other_voters() {
                if !self.quorum_reads.answers.contains_key(&voter) {
                    self.send(voter, Message::ReadQuery(query));
                }
            }
        }
        // Once more, for who is a quorum alone.
        self.quorum_reads.count(self.membership.quorums());
        self.effects.reads_ready.extend(self.quorum_reads.take_chosen(chosen_through));
    }

    /// Tells what this node has accepted. It binds nobody, and waits for no write. If this node leads it sees to what is
    /// wanted, as far as there is room; the question will be put again.
    pub(crate) fn on_read_query(&mut self, from: NodeId, query: ReadQuery) {
        let chosen_through = self.log.chosen_through();
        let accepted_through = self.accepted_through();
        let ReadQuery { boot, round, wants } = query;
        self.send(from, Message::ReadReport(ReadReport { boot, round, accepted_through, chosen_through }));
        self.propose_through(wants);
    }

    /// Takes an answer to the present round of this life. It is looked at when the effects are taken.
    pub(crate) fn on_read_report(&mut self, from: NodeId, report: ReadReport) {
        if (report.boot, report.round) != (self.config.boot, self.quorum_reads.round) {
            return;
        }
        self.quorum_reads.answered(from, report.accepted_through);
        if report.chosen_through > self.log.chosen_through() && !self.is_learning() {
            self.ask_to_learn(from, report.chosen_through);
        }
    }

    /// The last slot that this node has accepted, or knows to be chosen without having accepted it.
    fn accepted_through(&self) -> LogIndex {
        let chosen_through = self.log.chosen_through();
        if is_planted(Bug::QuorumReadOfChosenOnly) { chosen_through } else { self.log.last_index().max(chosen_through) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn quorums_of(voters: &BTreeSet<NodeId>) -> Quorums<'_> {
        static NONE: BTreeSet<NodeId> = BTreeSet::new();
        Quorums::new(voters, &NONE)
    }

    fn id(sequence: u64) -> RequestId {
        RequestId { origin: NodeId(1), boot: 1, sequence }
    }

    fn ask(reads: &mut QuorumReads, own: u64, open: bool) -> bool {
        reads.ask((MonoTime::default(), Duration::from_millis(1)), (NodeId(1), LogIndex(own)), open)
    }

    #[test]
    fn later_and_lower_answers_bring_a_read_forward_and_higher_ones_do_not_put_it_off() {
        let voters = BTreeSet::from([1, 2, 3].map(NodeId));
        let mut reads = QuorumReads::default();
        reads.push(id(1), 10).expect("there is room");
        assert!(ask(&mut reads, 10, false));
        reads.count(quorums_of(&voters));
        assert_eq!(reads.asked, [id(1)], "one is no quorum");
        reads.answered(NodeId(2), LogIndex(12));
        reads.count(quorums_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(12), id(1))]);
        reads.answered(NodeId(3), LogIndex(9));
        reads.count(quorums_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(10), id(1))]);
        reads.push(id(2), 10).expect("there is room");
        assert!(ask(&mut reads, 15, false));
        reads.answered(NodeId(2), LogIndex(14));
        reads.count(quorums_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(10), id(1)), (LogIndex(15), id(2))]);
        assert_eq!(reads.take_chosen(LogIndex(12)).count(), 1);
    }

    #[test]
    fn reads_that_come_during_a_round_wait_for_the_next_and_no_more_than_the_bound() {
        let mut reads = QuorumReads::default();
        reads.push(id(1), 2).expect("there is room");
        assert!(ask(&mut reads, 1, false));
        reads.push(id(2), 2).expect("there is room");
        assert_eq!(reads.push(id(3), 2), Err(Refusal::Busy));
        assert!(!ask(&mut reads, 1, true), "one round at a time");
        assert_eq!((&reads.asked, &reads.waiting), (&vec![id(1)], &vec![id(2)]));
    }

    /// By enumeration, of every set of answers that five acceptors may have given: no quorum's highest answer is lower.
    #[test]
    fn the_least_is_the_lowest_maximum_over_a_quorum() {
        let voters: BTreeSet<NodeId> = (1..=5).map(NodeId).collect();
        for case in 0..4_u64.pow(5) {
            let answer = |at: u64| (case / 4_u64.pow(at as u32)) % 4;
            // Three is no answer.
            let given: Vec<(NodeId, LogIndex)> =
                (0..5).filter(|at| answer(*at) < 3).map(|at| (NodeId(at + 1), LogIndex(answer(at)))).collect();
            let subsets = (0_u32..1 << given.len()).map(|subset| {
                (0..given.len()).filter(|bit| subset & (1 << bit) != 0).map(|bit| given[bit].1).collect::<Vec<_>>()
            });
            let lowest = subsets.filter(|subset| subset.len() >= 3).filter_map(|subset| subset.into_iter().max()).min();
            let reads = QuorumReads { answers: given.iter().copied().collect(), ..QuorumReads::default() };
            assert_eq!(reads.least(quorums_of(&voters)), lowest);
        }
    }
}
