//! The failure detector that both engines share, so that a comparison of failover compares the protocols.
//!
//! A follower expects its leader's word within a timeout that is drawn anew from the seed after each word, from one
//! to two election timeouts. A leader expects to have heard from a quorum within one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Timing;
use crate::ids::NodeId;
use crate::quorum::Quorums;
use crate::random::SeededRandom;
use crate::time::MonoTime;

/// A follower's view of its leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailureDetector {
    election_timeout: Duration,
    random: SeededRandom,
    heard_at: Option<MonoTime>,
    deadline: MonoTime,
}

impl FailureDetector {
    /// Has heard from nobody yet.
    pub fn new(timing: &Timing, seed: u64, now: MonoTime) -> FailureDetector {
        let mut detector = FailureDetector {
            election_timeout: timing.election_timeout,
            random: SeededRandom::new(seed),
            heard_at: None,
            deadline: now,
        };
        detector.rearm(now);
        detector
    }

    /// The leader has spoken.
    pub fn heard(&mut self, now: MonoTime) {
        self.heard_at = Some(now);
        self.rearm(now);
    }

    /// Waits a whole timeout anew, without having heard anything: after a campaign, or after granting one.
    ///
    /// A timeout that never ends takes nothing from the sequence of chance. Where elections are somebody else's choice,
    /// as under a model checker, two states are then equal that differ in nothing but how often they waited anew.
    pub fn rearm(&mut self, now: MonoTime) {
        let least = self.election_timeout;
        if now + least == MonoTime::NEVER {
            self.deadline = MonoTime::NEVER;
            return;
        }
        let spread = u64::try_from(least.as_micros()).unwrap_or(u64::MAX);
        self.deadline = now + least + Duration::from_micros(self.random.below(spread));
    }

    /// Forgets the leader: it is known not to lead any more.
    pub fn forget_leader(&mut self) {
        self.heard_at = None;
    }

    /// When to suspect, if nothing is heard until then.
    pub fn deadline(&self) -> MonoTime {
        self.deadline
    }

    /// Whether the timeout has passed.
    pub fn suspects(&self, now: MonoTime) -> bool {
        now >= self.deadline
    }

    /// Whether a leader has spoken within the least election timeout: then this node helps nobody to depose it. It is
    /// the clock that ends this, so a dead leader blocks nobody for longer.
    pub fn hears_leader(&self, now: MonoTime) -> bool {
        self.heard_at.is_some_and(|at| now.since(at) < self.election_timeout)
    }
}

/// A leader's view of its voters (check-quorum).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuorumContact {
    since: MonoTime,
    heard_at: BTreeMap<NodeId, MonoTime>,
}

impl QuorumContact {
    /// Just elected: a quorum has just spoken.
    pub fn new(now: MonoTime) -> QuorumContact {
        QuorumContact { since: now, heard_at: BTreeMap::new() }
    }

    /// A voter has answered.
    pub fn heard(&mut self, node: NodeId, now: MonoTime) {
        self.heard_at.insert(node, now);
    }

    /// Whether no quorum has been heard within `timeout`. Asked before each input is looked at, so that a leader that
    /// was paused steps down before it answers anything.
    pub fn lost(&self, now: MonoTime, timeout: Duration, me: NodeId, quorums: Quorums<'_>) -> bool {
        let heard = |node| if node == me { now } else { self.heard_at.get(&node).copied().unwrap_or(self.since) };
        now.since(quorums.highest(heard)) >= timeout
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TIMEOUT_MS: u64 = 100;

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    fn timing() -> Timing {
        Timing { election_timeout: Duration::from_millis(TIMEOUT_MS), ..Timing::default() }
    }

    #[test]
    fn a_timeout_is_drawn_from_one_to_two_election_timeouts_and_by_the_seed() {
        let mut deadlines = BTreeSet::new();
        for seed in 0..100 {
            let detector = FailureDetector::new(&timing(), seed, at(0));
            assert_eq!(detector, FailureDetector::new(&timing(), seed, at(0)));
            assert!(detector.deadline() >= at(TIMEOUT_MS) && detector.deadline() < at(2 * TIMEOUT_MS));
            deadlines.insert(detector.deadline());
        }
        assert!(deadlines.len() > 90, "seeds must not share a timeout");
    }

    #[test]
    fn a_timeout_that_never_ends_leaves_no_trace_of_how_often_it_was_waited_for() {
        let endless = Timing { election_timeout: Duration::MAX, ..Timing::default() };
        let mut detector = FailureDetector::new(&endless, 1, at(0));
        let fresh = detector.clone();
        detector.rearm(at(5));
        assert_eq!(detector, fresh);
        assert!(!detector.suspects(at(1_000_000)));
    }

    #[test]
    fn a_dead_leader_is_believed_for_one_election_timeout_and_no_longer() {
        let mut detector = FailureDetector::new(&timing(), 1, at(0));
        assert!(!detector.hears_leader(at(0)));
        detector.heard(at(50));
        assert!(detector.hears_leader(at(50 + TIMEOUT_MS - 1)));
        assert!(!detector.hears_leader(at(50 + TIMEOUT_MS)));
    }

    #[test]
    fn waiting_anew_is_not_hearing_a_leader() {
        let mut detector = FailureDetector::new(&timing(), 1, at(0));
        detector.rearm(at(500));
        assert!(!detector.hears_leader(at(500)));
        assert!(!detector.suspects(at(500 + TIMEOUT_MS - 1)));
        assert!(detector.suspects(at(500 + 2 * TIMEOUT_MS)));
    }

    #[test]
    fn a_leader_loses_contact_one_timeout_after_its_last_quorum() {
        let voters: BTreeSet<NodeId> = (1..=5).map(NodeId).collect();
        let none = BTreeSet::new();
        let quorums = Quorums::new(&voters, &none);
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let mut contact = QuorumContact::new(at(0));
        contact.heard(NodeId(2), at(60));
        contact.heard(NodeId(3), at(40));
        contact.heard(NodeId(9), at(99)); // Not a voter: does not count.
        assert!(!contact.lost(at(139), timeout, NodeId(1), quorums));
        assert!(contact.lost(at(140), timeout, NodeId(1), quorums), "the third of five was last heard at 40");
    }
}
