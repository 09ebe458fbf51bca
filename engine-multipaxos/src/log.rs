//! This node's copy of the log, slot by slot, with what is known of it: where it begins, what is accepted and under
//! which ballot, how far it is known to be chosen, what is durable.
//!
//! ```text
//!             base              chosen through
//!   ───────────┬─────────────────────┬──────────────────────────────
//!    trimmed   │  chosen: the value  │  accepted, each slot under    ·  holes, where an Accept was
//!    (tables)  │  never changes      │  its own ballot               ·  lost or has yet to come
//!   ───────────┴──────────┬──────────┴──────────────────────────────
//!                         window: recent entries, in memory
//! ```
//!
//! Invariants, asserted where they could break:
//! - base ≤ chosen through, and there are no holes between them;
//! - a slot's ballot never goes down; one slot and one ballot are one value;
//! - a slot that is known to be chosen is held under a ballot at or above the one that it was chosen under. It is so at
//!   the leader that counted the quorum, where a watermark tells it, and by induction wherever one of these is copied
//!   from. So a copied value may replace a lower ballot's, whatever that said, and never contradicts a higher one's.

use std::sync::Arc;

use consensus_api::ballot_runs::{BallotRuns, Run};
use consensus_api::log_writer::LogWriter;
use consensus_api::membership_log::MembershipLog;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::window::EntryWindow;
use consensus_api::{
    AppliedMembership, Ballot, Entry, LogIndex, LogPosition, LogTime, Membership, NodeId, SharedEntry, Write, WriteId,
};

/// The log of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    base: LogPosition,
    ballots: BallotRuns,
    window: EntryWindow,
    chosen_through: LogIndex,
    memberships: MembershipLog,
    // α: so many slots behind its own a change of members is in force.
    reconfiguration_window: u64,
    // The highest stamp of any entry that was ever here, those since replaced included: a leader's clock starts at it.
    time: LogTime,
    pub(crate) writer: LogWriter,
}

impl Log {
    /// The log as it was found; what it is made of has been validated.
    pub(crate) fn recovered(
        base: LogPosition,
        ballots: BallotRuns,
        tail: Vec<SharedEntry>,
        chosen_through: LogIndex,
        (mut memberships, reconfiguration_window): (MembershipLog, u64),
        time: LogTime,
    ) -> Log {
        memberships.settle(chosen_through);
        let (window, writer) = (EntryWindow::default(), LogWriter::default());
        let mut log = Log { base, ballots, window, chosen_through, memberships, reconfiguration_window, time, writer };
        for entry in tail {
            log.time = log.time.max(entry.log_time);
            log.window.insert(entry);
        }
        log
    }

    pub(crate) fn base(&self) -> LogPosition {
        self.base
    }

    pub(crate) fn chosen_through(&self) -> LogIndex {
        self.chosen_through
    }

    /// The entries that name members: those that are chosen, and those that may be.
    pub(crate) fn memberships(&self) -> &MembershipLog {
        &self.memberships
    }

    /// Who decides in a slot: what is chosen a window below it says so, and nothing else. It may be asked of slots from
    /// the first one that is not known to be chosen to a window above what is.
    pub(crate) fn governing(&self, slot: LogIndex) -> &Arc<Membership> {
        self.memberships.settled().governing(slot, self.window_in_force())
    }

    /// Whether something is chosen in `slot` once these nodes have accepted it.
    pub(crate) fn decide(&self, slot: LogIndex, nodes: &[NodeId]) -> bool {
        let members = self.governing(slot);
        members.quorums().reached(|node| nodes.contains(&node)) || self.decide_wrongly(members, nodes)
    }

    /// The first slot of the latest members that are chosen.
    pub(crate) fn in_force_from(&self) -> LogIndex {
        self.memberships.settled().in_force_from(self.window_in_force())
    }

    fn window_in_force(&self) -> u64 {
        if is_planted(Bug::MembersInForceAtWrongMoment) { 1 } else { self.reconfiguration_window }
    }

    /// The last slot that may be proposed for: who decides in those above it depends on what is yet to be chosen.
    pub(crate) fn governed_through(&self) -> LogIndex {
        LogIndex(self.chosen_through.0.saturating_add(self.reconfiguration_window))
    }

    pub(crate) fn time(&self) -> LogTime {
        self.time
    }

    pub(crate) fn window(&self) -> &EntryWindow {
        &self.window
    }

    /// The last slot that holds an entry, or the base where none does.
    pub(crate) fn last_index(&self) -> LogIndex {
        self.ballots.last().unwrap_or(self.base.index).max(self.base.index)
    }

    /// The ballot under which the slot is accepted, if it is.
    pub(crate) fn ballot_at(&self, slot: LogIndex) -> Option<Ballot> {
        self.ballots.get(slot)
    }

    /// The accepted slots from `from` on, as runs of one ballot.
    pub(crate) fn runs_from(&self, from: LogIndex) -> impl Iterator<Item = Run> {
        self.ballots.iter_from(from)
    }

    /// Whether no write of the slot is pending or under way.
    pub(crate) fn is_durable(&self, slot: LogIndex) -> bool {
        self.writer.first_volatile().is_none_or(|volatile| slot < volatile) || self.writer.is_durable(slot)
    }

    /// Whether the window, after eviction, is over `bytes_max` for what is not durable yet.
    pub(crate) fn waits_for_disk(&self, bytes_max: usize) -> bool {
        self.window.size_bytes() > bytes_max && self.writer.first_volatile().is_some()
    }

    /// What may be applied: what is chosen, as far as it is durable here too. So the state machine's tables never get
    /// ahead of this node's own log, and a restart finds in the log whatever the tables have not kept.
    pub(crate) fn deliverable_through(&self) -> LogIndex {
        let volatile = self.writer.first_volatile();
        let durable = volatile.map_or(self.chosen_through, LogIndex::previous);
        durable.max(self.writer.vouched_through(|slot| self.ballot_at(slot))).min(self.chosen_through)
    }

    /// Accepts a value for a slot that is not known to be chosen. What is there under the same ballot stays and is not
    /// written again.
    pub(crate) fn accept(&mut self, entry: SharedEntry) {
        let slot = entry.index;
        assert!(slot > self.chosen_through, "{slot} is chosen (through {}) and takes no accept", self.chosen_through);
        match self.ballots.get(slot) {
            Some(ballot) if ballot == entry.ballot => self.assert_same_value(&entry),
            Some(ballot) => {
                assert!(ballot < entry.ballot, "{slot} accepted under {ballot}, and then under {}", entry.ballot);
                self.store(entry);
            }
            None => self.store(entry),
        }
    }

    /// Takes the chosen value of the first slot that is not known to be chosen.
    pub(crate) fn learn(&mut self, entry: SharedEntry) {
        let slot = entry.index;
        assert!(slot == self.chosen_through.next(), "{slot} learnt after {}", self.chosen_through);
        if self.ballots.get(slot).is_some_and(|ballot| ballot >= entry.ballot) {
            self.assert_same_value(&entry);
        } else {
            self.store(entry);
        }
        self.choose_through(slot);
    }

    fn store(&mut self, entry: SharedEntry) {
        self.time = self.time.max(entry.log_time);
        self.ballots.set(entry.index, entry.ballot);
        self.memberships.put(&entry);
        self.window.insert(entry.clone());
        self.writer.put(entry);
    }

    /// Checks a value that must be the one that is here, as far as it is in memory.
    pub(crate) fn assert_same_value(&self, entry: &Entry) {
        if let Some(present) = self.window.get(entry.index) {
            let same = present.log_time == entry.log_time && present.payload == entry.payload;
            assert!(same, "two values at {}: under {} and {}", entry.index, present.ballot, entry.ballot);
        }
    }

    /// Everything up to `slot` is chosen, and what is held there is what was chosen.
    pub(crate) fn choose_through(&mut self, slot: LogIndex) {
        if slot <= self.chosen_through {
            return;
        }
        let hole = self.ballots.first_hole(self.chosen_through.next());
        assert!(hole > slot, "chosen through {slot}, but {hole} holds no entry");
        self.chosen_through = slot;
        self.memberships.settle(slot);
    }

    /// Advances over slots that are accepted under `ballot`, of which everything up to `watermark` is chosen.
    ///
    /// A slot under another ballot is not passed: take a slot that this node accepted under 2.1 and that 3.2's leader,
    /// whose quorum had not seen that, chose otherwise. 3.2's watermark covers the slot, and this node holds the wrong
    /// value for it.
    pub(crate) fn choose_accepted(&mut self, ballot: Ballot, watermark: LogIndex) {
        while let Some(run) = self.ballots.run_at(self.chosen_through.next()) {
            let is_its_own = run.ballot == ballot || is_planted(Bug::WatermarkOfOtherBallot);
            if !is_its_own || self.chosen_through >= watermark {
                return;
            }
            self.chosen_through = run.last.min(watermark);
            self.memberships.settle(self.chosen_through);
        }
    }

    /// The first slots up to `watermark` that are not accepted under `ballot`, as one range, after
    /// [`choose_accepted`](Self::choose_accepted) has passed those that are.
    pub(crate) fn missing(&self, ballot: Ballot, watermark: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let first = self.chosen_through.next();
        let next_known = self.ballots.iter_from(first).find(|run| run.ballot == ballot).map(|run| run.first.previous());
        let last = next_known.map_or(watermark, |last| last.min(watermark));
        (first <= last).then_some((first, last))
    }

    /// The store no longer holds anything up to `base`. Only what is chosen is ever trimmed.
    pub(crate) fn trim(&mut self, base: LogPosition) {
        assert!(base.index <= self.chosen_through, "{} trimmed, chosen through {}", base.index, self.chosen_through);
        self.ballots.trim(base.index);
        self.window.evict(0, base.index.next());
        self.base = base;
    }

    /// A snapshot stands in for everything up to `base`. What is accepted above stays: it was promised to whoever
    /// proposed it, and the snapshot knows nothing of it.
    pub(crate) fn install(&mut self, base: LogPosition, time: LogTime, membership: AppliedMembership) {
        self.memberships.install(membership, base.index);
        self.chosen_through = self.chosen_through.max(base.index);
        self.time = self.time.max(time);
        self.trim(base);
        if is_planted(Bug::InstallationDropsAccepts) {
            self.writer.remove_from(base.index.next());
        }
        if is_planted(Bug::InstallationDropsAccepts) || is_planted(Bug::InstallationForgetsAccepts) {
            self.window.remove_from(LogIndex::ZERO);
            self.ballots.remove_from(LogIndex::ZERO);
        }
    }

    /// The write that the changes since the last one amount to.
    pub(crate) fn take_write(&mut self) -> Option<Write> {
        self.writer.take(self.chosen_through)
    }

    /// What a message must wait for that vouches for the log as it is now.
    pub(crate) fn dependency(&self) -> WriteId {
        self.writer.dependency()
    }

    /// Shrinks the window to `bytes_max`, except for what the log store may not hold yet and, at a leader, the open
    /// slots, which it may have to send again. Everything else can be read back. So neither a slow state machine makes
    /// memory grow nor, at a follower, a slot that stays missing while those above it keep coming.
    pub(crate) fn evict(&mut self, bytes_max: usize, leads: bool) {
        let volatile = self.writer.first_volatile().unwrap_or(LogIndex(u64::MAX));
        let keep_from = if leads { volatile.min(self.chosen_through.next()) } else { volatile };
        self.window.evict(bytes_max, keep_from);
    }
}
