//! Linearizable reads without a leader (Charapko, Ailijani & Demirbas, "Linearizable Quorum Reads in Paxos", HotStorage
//! 2019): any node asks the acceptors what they have accepted, waits until that is chosen, and reads.
//!
//! ```text
//!   reads ──▶ wait ──▶ asked: one round for all ──ReadQuery──▶ acceptors: what is the last slot that you accepted?
//!                           │◀──────────────────ReadReport──── 12 · 9 · 10
//!                           ▼
//!                      rinsed: the least v such that a quorum of those who decide on v+1 says "v or less" (here 10)
//!                           │
//!                           └──chosen through v──▶ ReadReady
//! ```
//!
//! **Why it is linearizable.** Say a write was acknowledged before the read arrived, or another read has seen it: it was
//! chosen, in some slot s, and everything below s was. Suppose that s > v. Then v+1 was chosen, so a quorum of those who
//! decide on it had accepted something there, durably, before this round began. Those of them whose answers are v or less
//! are a quorum too; the two share an acceptor, and that one has answered v+1 or more. So s ≤ v, and whoever has applied v
//! has applied the write. An acceptor answers at least what it knows to be chosen, for it may have learnt s, or have
//! received it in a snapshot, in place of accepting it. An answer need not wait for the disk: it promises nothing, and to
//! tell of more than is durable only makes the read wait.
//!
//! **Who is asked.** Everybody who votes in a configuration that this node knows of, and more when it learns of more; who
//! decides on v+1 it knows once everything is chosen, as far as it knows, from a window below on. Until then the round stays
//! open, and this node learns from those who have answered. Why not just the members in force here:
//!
//! ```text
//!   {4, 5, 6} is chosen at t, and in force from t+α on; 3 of {1, 2, 3} was cut off before t
//!   a read at 3: 1, 2 and 3 answer, and none of the first two has accepted anything above t+α−1, their last slot
//!   3 learns up to there and serves the read: it misses what 4, 5 and 6 have chosen since
//! ```
//!
//! By the rule the read waits: t+α is decided by 4, 5 and 6, as 3 finds out when it has learnt t, and then it asks them.
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
use consensus_api::{LogIndex, Membership, MonoTime, NodeId, ReadReady, Refusal, RequestId};

use crate::MultiPaxos;
use crate::log::Log;
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

/// What a node knows of who decides where, and how far it knows the log to be chosen.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    chosen_through: LogIndex,
    governed_through: LogIndex,
    present: &'a Membership,
    // In force from this slot on.
    latest: (LogIndex, &'a Membership),
}

impl<'a> View<'a> {
    fn of(log: &'a Log) -> View<'a> {
        View {
            chosen_through: log.chosen_through(),
            governed_through: log.governed_through(),
            present: log.governing(log.chosen_through().next()),
            latest: (log.in_force_from(), &log.memberships().settled().latest),
        }
    }

    /// Who decides on a slot above what is chosen, if it is known.
    fn governing(&self, slot: LogIndex) -> Option<&'a Membership> {
        match self.latest {
            _ if is_planted(Bug::ReadCountedAmongOthers) => Some(self.present),
            _ if slot > self.governed_through => None,
            (from, latest) if slot >= from => Some(latest),
            _ => Some(self.present),
        }
    }
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
    /// node's answer, if it has one. Whether there is a question to send to those who have not answered it: the new one, or the present
    /// one again.
    fn ask(&mut self, (now, again_after): (MonoTime, Duration), own: Option<(NodeId, LogIndex)>, open: bool) -> bool {
        // As the deadline has it: a span may end between two readings, which are whole microseconds.
        let is_late = now >= self.asked_at + again_after;
        if !open && (!self.waiting.is_empty() || !self.rinsed.is_empty() && is_late) {
            assert!(self.asked.is_empty(), "round {} was answered by a quorum and not counted", self.round);
            self.round += 1;
            self.asked = std::mem::take(&mut self.waiting);
            self.answers = own.into_iter().collect();
        } else if !(open && is_late) {
            return false;
        }
        self.asked_at = now;
        true
    }

    /// Whether no quorum has answered the present round yet.
    fn is_open(&self, view: View<'_>) -> bool {
        self.round > 0 && self.least(view).is_none()
    }

    /// Takes an answer to the present round.
    fn answered(&mut self, node: NodeId, accepted_through: LogIndex) {
        self.answers.insert(node, accepted_through);
    }

    /// What this node has answered counts no more: it comes back with another disk.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.answers.remove(&node);
    }

    /// Lets the present round's answers bear on the reads that they are fresh for: all but those that wait for the next.
    fn count(&mut self, view: View<'_>) {
        let Some(least) = self.least(view) else { return };
        for (index, _) in self.rinsed.iter_mut().rev().take_while(|(index, _)| *index > least) {
            *index = least;
        }
        self.rinsed.extend(self.asked.drain(..).map(|id| (least, id)));
    }

    /// The least slot, of those from what is known to be chosen on, such that a quorum of those who decide on the next one
    /// has answered it or less.
    fn least(&self, view: View<'_>) -> Option<LogIndex> {
        let mut candidates: Vec<LogIndex> =
            self.answers.values().map(|answer| *answer.max(&view.chosen_through)).collect();
        candidates.sort_unstable();
        let within = |node: NodeId, limit: LogIndex| self.answers.get(&node).is_some_and(|answer| *answer <= limit);
        candidates.into_iter().find(|limit| {
            let members = view.governing(limit.next());
            members.is_some_and(|members| members.quorums().reached(|node| within(node, *limit)))
        })
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
        // With a disk that is not the voter's it answers nothing: what was accepted on that one is gone.
        let own = self.is_voter().then_some((self.config.node, self.accepted_through()));
        let now = self.now;
        let (again_after, chosen_through) = (self.config.timing.heartbeat_interval, self.log.chosen_through());
        if self.quorum_reads.is_idle() {
            return;
        }
        self.quorum_reads.count(View::of(&self.log));
        self.propose_through(self.quorum_reads.wants(chosen_through));
        let is_open = self.quorum_reads.is_open(View::of(&self.log));
        if self.quorum_reads.ask((now, again_after), own, is_open) {
            let (round, wants) = (self.quorum_reads.round, self.quorum_reads.wants(chosen_through));
            let query = ReadQuery { boot: self.config.boot, round, wants };
            for voter in self.other_voters() {
                if !self.quorum_reads.answers.contains_key(&voter) {
                    self.send(voter, Message::ReadQuery(query));
                }
            }
        }
        // Once more, for who is a quorum alone.
        self.quorum_reads.count(View::of(&self.log));
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

    use consensus_api::{Member, StoreId};

    use super::*;

    fn voters(ids: &[u64]) -> Membership {
        let member = Member { address: "127.0.0.1:1".to_owned(), store: StoreId(1) };
        Membership::of_voters(ids.iter().map(|id| (NodeId(*id), member.clone())))
    }

    /// Of a node that knows of no change, and of nothing chosen.
    fn view_of(members: &Membership) -> View<'_> {
        let governed_through = LogIndex(100);
        View { chosen_through: LogIndex::ZERO, governed_through, present: members, latest: (LogIndex::ZERO, members) }
    }

    fn id(sequence: u64) -> RequestId {
        RequestId { origin: NodeId(1), boot: 1, sequence }
    }

    fn ask(reads: &mut QuorumReads, own: u64, open: bool) -> bool {
        reads.ask((MonoTime::default(), Duration::from_millis(1)), Some((NodeId(1), LogIndex(own))), open)
    }

    #[test]
    fn later_and_lower_answers_bring_a_read_forward_and_higher_ones_do_not_put_it_off() {
        let voters = voters(&[1, 2, 3]);
        let mut reads = QuorumReads::default();
        reads.push(id(1), 10).expect("there is room");
        assert!(ask(&mut reads, 10, false));
        reads.count(view_of(&voters));
        assert_eq!(reads.asked, [id(1)], "one is no quorum");
        reads.answered(NodeId(2), LogIndex(12));
        reads.count(view_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(12), id(1))]);
        reads.answered(NodeId(3), LogIndex(9));
        reads.count(view_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(10), id(1))]);
        reads.push(id(2), 10).expect("there is room");
        assert!(ask(&mut reads, 15, false));
        reads.answered(NodeId(2), LogIndex(14));
        reads.count(view_of(&voters));
        assert_eq!(reads.rinsed, [(LogIndex(10), id(1)), (LogIndex(15), id(2))]);
        assert_eq!(reads.take_chosen(LogIndex(12)).count(), 1);
    }

    #[test]
    fn what_an_earlier_disk_has_answered_does_not_count() {
        let voters = voters(&[1, 2, 3]);
        let mut reads = QuorumReads::default();
        reads.push(id(1), 10).expect("there is room");
        assert!(ask(&mut reads, 10, false));
        reads.answered(NodeId(2), LogIndex(10));
        reads.forget(NodeId(2));
        reads.count(view_of(&voters));
        assert_eq!(reads.asked, [id(1)]);
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
        let voters = voters(&[1, 2, 3, 4, 5]);
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
            assert_eq!(reads.least(view_of(&voters)), lowest);
        }
    }

    #[test]
    fn an_answer_counts_among_those_who_decide_on_the_slot_behind_it_once_they_are_known() {
        let (old, new) = (voters(&[1, 2, 3]), voters(&[4, 5, 6]));
        let answers = |given: &[(u64, u64)]| QuorumReads {
            answers: given.iter().map(|(node, slot)| (NodeId(*node), LogIndex(*slot))).collect(),
            ..QuorumReads::default()
        };
        let unaware = View { governed_through: LogIndex(11), ..view_of(&old) };
        let reads = answers(&[(1, 11), (2, 11), (3, 4)]);
        assert_eq!(reads.least(unaware), None, "nobody here knows who decides on 12");
        let aware = View {
            chosen_through: LogIndex(9),
            governed_through: LogIndex(17),
            present: &old,
            latest: (LogIndex(12), &new),
        };
        assert_eq!(reads.least(aware), None, "4, 5 and 6 do, and have not answered");
        assert_eq!(answers(&[(1, 11), (3, 4), (4, 14), (5, 13)]).least(aware), Some(LogIndex(14)));
        assert_eq!(answers(&[(1, 10), (3, 4)]).least(aware), Some(LogIndex(10)), "they decide on 11");
    }
}
