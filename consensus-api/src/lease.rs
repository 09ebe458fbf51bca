//! Leases for reads: for a while after a quorum has answered it, a leader knows without asking that nobody else leads.
//!
//! ```text
//!   leader's clock   s ──────────────── lease ───────────────▶ s + E·(1−ρ)/(1+ρ)
//!                    │ round r starts        ▲ a quorum has answered r with pledges of E
//!                    ▼                       │
//!   voter's clock      h ───────────── pledge ────────────────────────▶ h + E
//!                      hears r                votes for nobody else
//! ```
//!
//! **What a voter pledges.** Having heard a leader at `h` by its own clock, it gives no vote and no promise to anybody
//! else before `h + E`, its election timeout: not in a forced election, not to itself, and whatever else is switched off.
//! It stands by that across a restart: the longest pledge that it gives is in its [`HardState`](crate::hard_state::HardState)
//! before the first one leaves, and when it starts again it keeps still for as long, whoever it was given to and whatever
//! the settings say now. A reply names the pledge that comes with it, so a leader counts only those who give one, and
//! each for what it gave.
//!
//! **How long a lease lasts.** Every clock runs at between 1−ρ and 1+ρ times the true rate; nothing is assumed of what
//! the clocks read. The leader reads `s` *before* the heartbeats of round r leave, so each voter's `h` comes later in true
//! time. A pledge of E by the voter's clock lasts at least E/(1+ρ) of true time, so until then, counted from `s`, no
//! quorum can elect another: every quorum shares a voter with the one that answered. In that true time the leader's own
//! clock goes forward by at least E/(1+ρ)·(1−ρ). So while it shows less than `s + E·(1−ρ)/(1+ρ)` nobody else leads. Readings
//! are whole microseconds: a voter that counts E of them may have waited for up to one less, and so E is taken for one
//! less, and the rest is rounded down.
//!
//! **Why not E from the answer's arrival.** Take E = 500 ms, ρ = 1 %, a leader whose clock is slow and a voter whose clock
//! is fast by that much. In true time:
//!
//! ```text
//!     0 ms   round 7 leaves; the voter hears it, and pledges
//!    80 ms   its answer arrives, late; the leader counts 500 ms of its slow clock from now: until 585 ms
//!   495 ms   the voter's fast clock has counted 500 ms: it votes, another leads, and acknowledges a write
//!   500 ms   the old leader, by its lease, serves a read without that write
//! ```
//!
//! Counted from the start but without the factor, its lease would still last until 505 ms, 10 ms too long. With both it
//! ends at 490 ms of its clock, which is 495 ms of true time.
//!
//! **A forced election** is not refused for ever. A voter that is bound when it is asked pledges nothing for as long as
//! one pledge lasts, and is asked again meanwhile: what it owes ends, whether the leader hears of the election or not, and
//! that leader's lease ends before, for it counts what was pledged and no more.
//!
//! The lease is part of what a node knows as a leader, and ends with that. A leader that is about to hand over
//! [gives it up](Lease::give_up) first, for good in its ballot, and whom it hands over to tells the voters so, who owe it
//! [nothing more](Pledge::release) then. While the members change, the lease is counted by whoever decides on the next entry.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::Timing;
use crate::ids::NodeId;
use crate::planted::{Bug, is_planted};
use crate::quorum::Quorums;
use crate::time::MonoTime;

/// Rounds that start within this part of an election timeout share the first one's start: reads may start thousands of
/// rounds in that time, and a lease that counts from a little earlier is only a little shorter.
const STARTS_PER_TIMEOUT: u32 = 64;

/// A leader's lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    // `None` where it may have none, or has given it up.
    clock_drift_ppm: Option<u32>,
    election_timeout: Duration,
    // When rounds started, in order; those whose lease would be over are forgotten.
    starts: VecDeque<(u64, MonoTime)>,
    // Until when each voter's pledge holds, by this node's clock.
    pledged_until: BTreeMap<NodeId, MonoTime>,
    // Until when a quorum's pledges hold.
    end: MonoTime,
}

impl Lease {
    /// Just elected: nobody has pledged anything yet, which is enough for a leader that is a quorum by itself.
    pub fn new(timing: &Timing, me: NodeId, quorums: Quorums<'_>) -> Lease {
        let mut lease = Lease {
            clock_drift_ppm: timing.lease.map(|lease| lease.clock_drift_ppm),
            election_timeout: timing.election_timeout,
            starts: VecDeque::new(),
            pledged_until: BTreeMap::new(),
            end: MonoTime::default(),
        };
        lease.count(me, quorums);
        lease
    }

    /// Notes that a round starts; `now` was read before its heartbeats leave.
    pub fn round_started(&mut self, round: u64, now: MonoTime) {
        if self.clock_drift_ppm.is_none() {
            return;
        }
        while self.starts.front().is_some_and(|(_, at)| now.since(*at) >= self.election_timeout) {
            self.starts.pop_front();
        }
        let apart = self.election_timeout / STARTS_PER_TIMEOUT;
        if self.starts.back().is_none_or(|(_, at)| now.since(*at) >= apart) {
            self.starts.push_back((round, now));
        }
    }

    /// Notes that `node` has answered `round` with a pledge of so long by its own clock; zero where it pledges nothing.
    pub fn answered(
        &mut self,
        (node, round): (NodeId, u64),
        pledge: Duration,
        now: MonoTime,
        me: NodeId,
        quorums: Quorums<'_>,
    ) {
        let Some(clock_drift_ppm) = self.clock_drift_ppm.filter(|_| !pledge.is_zero()) else { return };
        // The latest start that is remembered and not later than the round's own.
        let start = self.starts.iter().rev().find(|(started, _)| *started <= round).map(|(_, at)| *at);
        let until = match start {
            _ if is_planted(Bug::LeaseWithoutMargin) => now + pledge,
            Some(start) => start + relied_on(pledge, clock_drift_ppm),
            None => return,
        };
        let known = self.pledged_until.entry(node).or_default();
        *known = until.max(*known);
        self.count(me, quorums);
    }

    /// Whether nobody else leads, as of `now`.
    pub fn holds(&self, now: MonoTime) -> bool {
        now < self.end || self.end > MonoTime::default() && is_planted(Bug::LeaseSurvivesPause)
    }

    /// Ends it for good: leadership is about to be handed over.
    pub fn give_up(&mut self) {
        self.clock_drift_ppm = None;
        self.starts.clear();
        self.pledged_until.clear();
        self.end = MonoTime::default();
    }

    /// Nothing is known of this node any more: it comes back with another disk, which knows of no pledge.
    pub fn forget(&mut self, node: NodeId) {
        self.pledged_until.remove(&node);
    }

    /// Others vote from now on: counts the same pledges by these quorums.
    pub fn recount(&mut self, me: NodeId, quorums: Quorums<'_>) {
        self.end = MonoTime::default();
        self.count(me, quorums);
    }

    /// The own vote is given with leading itself: who leads votes for another only by leading no more.
    fn count(&mut self, me: NodeId, quorums: Quorums<'_>) {
        if self.clock_drift_ppm.is_some() {
            let until = |node| self.pledged_until.get(&node).copied().unwrap_or_default();
            self.end = quorums.highest(|node| if node == me { MonoTime::NEVER } else { until(node) });
        }
    }
}

/// How long a leader, by its own clock, may rely on a pledge of so long by another's.
fn relied_on(pledge: Duration, clock_drift_ppm: u32) -> Duration {
    const MILLION: u128 = 1_000_000;
    let (pledge_micros, drift) = (pledge.as_micros().saturating_sub(1), u128::from(clock_drift_ppm).min(MILLION));
    let micros = pledge_micros.saturating_mul(MILLION - drift) / (MILLION + drift);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// A voter's side: what it has pledged, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pledge {
    // How long each word of a leader's binds; zero: not at all.
    length: Duration,
    // The longest that the hard state tells of.
    recorded: Duration,
    // Whom it does not bind against.
    to: NodeId,
    until: MonoTime,
    // It pledges nothing before this.
    withheld_until: MonoTime,
}

impl Pledge {
    /// A voter starts, whose hard state tells of pledges as long as `recorded`. To whom they were given is forgotten. One
    /// that is a quorum `alone` has nobody to owe anything to.
    pub fn recovered(timing: &Timing, recorded: Duration, alone: bool, now: MonoTime) -> Pledge {
        let forgets = recorded.is_zero() || alone || is_planted(Bug::LeaseForgottenByRestart);
        Pledge {
            length: if timing.lease.is_some() { timing.election_timeout } else { Duration::ZERO },
            recorded,
            to: NodeId::NONE,
            until: if forgets { MonoTime::default() } else { now + recorded },
            withheld_until: MonoTime::default(),
        }
    }

    /// A leader has spoken. What was owed to another is owed no more: that this one was elected shows that a voter which
    /// both have relied on was free to vote.
    pub fn heard(&mut self, leader: NodeId, now: MonoTime) {
        if !self.length(now).is_zero() {
            self.to = leader;
            self.until = self.until.max(now + self.length);
        }
    }

    /// Whether the hard state must be written before the next answer to a leader, for it to tell of this pledge.
    pub fn must_be_recorded(&mut self) -> bool {
        let longer = self.length > self.recorded;
        self.recorded = self.recorded.max(self.length);
        longer
    }

    /// The longest pledge that was ever given, or is about to be: what the hard state must tell of.
    pub fn recorded(&self) -> Duration {
        self.recorded
    }

    /// What comes with an answer to a leader that has spoken just `now`; zero: nothing.
    pub fn length(&self, now: MonoTime) -> Duration {
        if now < self.withheld_until { Duration::ZERO } else { self.length }
    }

    /// Pledges nothing more for as long as one pledge lasts. Somebody in charge wants an election, and is bound to ask
    /// again: what was pledged is kept, and is over by then, though the leader may hear of nothing and go on.
    pub fn withhold(&mut self, now: MonoTime) {
        self.withheld_until = now + self.length;
    }

    /// Whether `candidate` must not have this node's vote yet. Whoever it is owed to may: by campaigning it has stopped
    /// to lead, and so to rely on it.
    pub fn binds(&self, candidate: NodeId, now: MonoTime) -> bool {
        candidate != self.to && now < self.until
    }

    /// As [`binds`](Self::binds), where somebody in charge wants the election, or not; that makes no difference.
    pub fn binds_in(&self, forced: bool, candidate: NodeId, now: MonoTime) -> bool {
        self.binds(candidate, now) && !(forced && is_planted(Bug::ForcedElectionIgnoresLease))
    }

    /// The leader `from` has handed over, and given its lease up before: what is owed to it, and known to be, is owed no
    /// more. That is so of the leadership that it handed over, and of no later one: the same node may have been elected again
    /// while whom it handed over to still asks for votes. So the word names the ballot that was handed over, and a voter that
    /// has promised a later one, or voted in it, must not call this.
    pub fn release(&mut self, from: NodeId, now: MonoTime) {
        if self.to == from {
            self.until = self.until.min(now);
        }
    }

    /// From when on it binds no more.
    pub fn until(&self) -> MonoTime {
        self.until
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::LeaseTiming;

    const ME: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);
    const THREE: NodeId = NodeId(3);

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    fn timing() -> Timing {
        let lease = Some(LeaseTiming { clock_drift_ppm: 10_000 });
        Timing { election_timeout: Duration::from_millis(100), lease, ..Timing::default() }
    }

    /// A lease of one of so many voters, and how to let one of them answer a round with a pledge of 100 ms.
    struct Stage {
        lease: Lease,
        voters: BTreeSet<NodeId>,
        none: BTreeSet<NodeId>,
    }

    impl Stage {
        fn of(count: u64) -> Stage {
            let (voters, none) = ((1..=count).map(NodeId).collect(), BTreeSet::new());
            let lease = Lease::new(&timing(), ME, Quorums::new(&voters, &none));
            Stage { lease, voters, none }
        }

        fn answered(&mut self, node: NodeId, round: u64, pledge_ms: u64, now: MonoTime) {
            let quorums = Quorums::new(&self.voters, &self.none);
            self.lease.answered((node, round), Duration::from_millis(pledge_ms), now, ME, quorums);
        }
    }

    #[test]
    fn a_leader_that_hands_over_releases_what_is_owed_to_it_and_to_nobody_else() {
        let timing = Timing { election_timeout: Duration::from_millis(500), ..timing() };
        let mut pledge = Pledge::recovered(&timing, Duration::ZERO, false, at(0));
        pledge.heard(TWO, at(100));
        pledge.release(THREE, at(110));
        assert!(pledge.binds(THREE, at(110)), "that was owed to another");
        pledge.release(TWO, at(110));
        assert!(!pledge.binds(THREE, at(110)));
        let mut restarted = Pledge::recovered(&timing, Duration::from_millis(500), false, at(0));
        restarted.release(TWO, at(10));
        assert!(restarted.binds(TWO, at(10)), "whom it owes to is forgotten");
    }

    #[test]
    fn a_lease_counts_from_the_start_of_the_round_and_ends_before_the_pledges_do() {
        let mut stage = Stage::of(3);
        stage.lease.round_started(1, at(1_000));
        assert!(!stage.lease.holds(at(1_000)), "nobody has answered");
        stage.answered(TWO, 1, 100, at(1_060));
        assert!(stage.lease.holds(at(1_098)), "0.99 / 1.01 of 100 ms are 98.02 ms");
        assert!(!stage.lease.holds(at(1_099)));
    }

    #[test]
    fn it_takes_a_quorum_of_those_who_pledge() {
        let mut stage = Stage::of(5);
        stage.lease.round_started(1, at(1_000));
        stage.answered(TWO, 1, 100, at(1_001));
        stage.answered(THREE, 1, 0, at(1_001));
        stage.answered(NodeId(9), 1, 100, at(1_001));
        assert!(!stage.lease.holds(at(1_002)), "one of them pledges nothing, and one has no vote");
        stage.lease.round_started(2, at(1_050));
        stage.answered(NodeId(4), 2, 100, at(1_051));
        assert!(stage.lease.holds(at(1_097)) && !stage.lease.holds(at(1_099)), "it ends with the earlier of the two");
    }

    #[test]
    fn a_shorter_pledge_is_relied_on_for_what_it_is() {
        let mut stage = Stage::of(3);
        stage.lease.round_started(1, at(1_000));
        stage.answered(TWO, 1, 50, at(1_001));
        assert!(stage.lease.holds(at(1_049)) && !stage.lease.holds(at(1_050)));
    }

    #[test]
    fn who_is_a_quorum_alone_always_holds_it() {
        assert!(Stage::of(1).lease.holds(at(1_000_000)));
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        let mut stage = Stage::of(3);
        stage.lease.round_started(1, at(1_000));
        stage.answered(TWO, 1, 100, at(1_001));
        stage.lease.give_up();
        assert!(!stage.lease.holds(at(1_002)));
        stage.lease.round_started(2, at(1_010));
        stage.answered(TWO, 2, 100, at(1_011));
        assert!(!stage.lease.holds(at(1_012)));
    }

    #[test]
    fn thousands_of_rounds_share_a_few_starts_and_an_answer_counts_from_an_earlier_one() {
        let mut stage = Stage::of(3);
        for round in 1..=100_000 {
            stage.lease.round_started(round, MonoTime::from_micros(1_000_000 + 10 * round));
        }
        assert!(stage.lease.starts.len() <= STARTS_PER_TIMEOUT as usize + 1);
        stage.answered(TWO, 100_000, 100, at(2_000));
        assert!(stage.lease.holds(at(2_096)) && !stage.lease.holds(at(2_099)));
        stage.answered(THREE, 5, 100, at(2_000));
        assert!(!stage.lease.holds(at(2_099)), "a round from long ago proves nothing");
    }

    #[test]
    fn a_pledge_binds_against_everybody_but_the_leader_it_was_given_to() {
        let mut pledge = Pledge::recovered(&timing(), Duration::ZERO, false, at(0));
        assert!(!pledge.binds(TWO, at(0)));
        pledge.heard(THREE, at(50));
        assert!(pledge.binds(TWO, at(149)) && !pledge.binds(THREE, at(149)) && pledge.binds_in(true, TWO, at(149)));
        assert!(!pledge.binds(TWO, at(150)));
    }

    #[test]
    fn a_restarted_voter_stands_by_what_its_disk_tells_of_also_where_it_pledges_nothing_any_more() {
        let recorded = Duration::from_millis(300);
        let off = Timing { lease: None, ..timing() };
        let mut pledge = Pledge::recovered(&off, recorded, false, at(1_000));
        assert!(pledge.binds(TWO, at(1_299)) && !pledge.binds(TWO, at(1_300)));
        assert!(!pledge.must_be_recorded() && pledge.length(at(1_000)).is_zero());
        assert!(!Pledge::recovered(&timing(), recorded, true, at(1_000)).binds(ME, at(1_000)));
    }

    #[test]
    fn what_is_withheld_is_neither_told_nor_kept_and_what_was_pledged_before_is() {
        let mut pledge = Pledge::recovered(&timing(), Duration::ZERO, false, at(0));
        pledge.heard(THREE, at(50));
        pledge.withhold(at(60));
        pledge.heard(THREE, at(149));
        assert!(pledge.length(at(149)).is_zero());
        assert!(pledge.binds(TWO, at(149)) && !pledge.binds(TWO, at(150)));
        pledge.heard(THREE, at(160));
        assert_eq!(pledge.length(at(160)), Duration::from_millis(100));
        assert!(pledge.binds(TWO, at(259)) && !pledge.binds(TWO, at(260)));
    }

    #[test]
    fn a_pledge_is_recorded_once_and_again_only_when_it_grows() {
        let mut pledge = Pledge::recovered(&timing(), Duration::from_millis(50), false, at(0));
        assert!(pledge.must_be_recorded() && !pledge.must_be_recorded());
        assert_eq!(pledge.recorded(), Duration::from_millis(100));
    }

    proptest! {
        /// Whatever the rates within ρ, whenever the voter hears and wherever the readings fall within a microsecond: while the
        /// leader's lease holds the voter is bound.
        #[test]
        fn no_clocks_within_the_bound_outlive_a_pledge(
            timeout_micros in 1_000_u64..2_000_000,
            drift_ppm in 0_u32..200_000,
            leader_rate in -1.0_f64..=1.0,
            voter_rate in -1.0_f64..=1.0,
            (leader_offset, voter_offset) in (0.0_f64..1e6, 0.0_f64..1e6),
            delay_micros in 0.0_f64..10_000.0,
            part in 0.0_f64..1.5,
        ) {
            let drift = f64::from(drift_ppm) / 1e6;
            let leader_clock = |truth: f64| (leader_offset + truth * (1.0 + leader_rate * drift)).floor() as u64;
            let voter_clock = |truth: f64| (voter_offset + truth * (1.0 + voter_rate * drift)).floor() as u64;
            let settings = Timing {
                election_timeout: Duration::from_micros(timeout_micros),
                lease: Some(LeaseTiming { clock_drift_ppm: drift_ppm }),
                ..Timing::default()
            };
            let (voters, none) = (BTreeSet::from([ME, TWO, THREE]), BTreeSet::new());
            let quorums = Quorums::new(&voters, &none);
            let mut lease = Lease::new(&settings, ME, quorums);
            let mut pledge = Pledge::recovered(&settings, Duration::ZERO, false, MonoTime::default());
            lease.round_started(1, MonoTime::from_micros(leader_clock(0.0)));
            let heard = MonoTime::from_micros(voter_clock(delay_micros));
            pledge.heard(ME, heard);
            let answered = MonoTime::from_micros(leader_clock(2.0 * delay_micros));
            lease.answered((TWO, 1), pledge.length(heard), answered, ME, quorums);
            let truth = delay_micros.max(part * timeout_micros as f64);
            let holds = lease.holds(MonoTime::from_micros(leader_clock(truth)));
            prop_assert!(!holds || pledge.binds(THREE, MonoTime::from_micros(voter_clock(truth))));
        }

        /// And at the very edge: the fastest voter against the slowest leader, at the last reading within the lease.
        #[test]
        fn the_bound_is_kept_at_its_edge_and_not_by_much(timeout_micros in 1_000_u64..10_000_000, drift_ppm in 0_u32..200_000) {
            let drift = f64::from(drift_ppm) / 1e6;
            let lease = relied_on(Duration::from_micros(timeout_micros), drift_ppm).as_micros() as f64;
            let (outlived, voter) = (lease / (1.0 - drift), (timeout_micros as f64 - 1.0) / (1.0 + drift));
            prop_assert!(outlived <= voter + 1e-3);
            prop_assert!(voter - outlived <= 1.0 / (1.0 - drift) + 1e-3, "more was given away than a microsecond");
        }
    }
}
