//! This node's copy of the log, with what is known of it: where it begins, how far it is committed, what is durable.
//!
//! ```text
//!             base                 commit                   last
//!   ───────────┬─────────────────────┬────────────────────────┬
//!    trimmed   │  committed: never   │  may be overwritten by │
//!    (tables)  │  changes again      │  a leader's entries    │
//!   ───────────┴──────────┬──────────┴────────────────────────┴
//!                         window: recent entries, in memory
//! ```
//!
//! Invariants, asserted where they could break: base ≤ commit ≤ last; there are no holes; terms never decrease along
//! the log; an entry at or below the commit index is never replaced or removed; two entries with one index and one
//! term are the same entry (paper figure 3, Log Matching); members that an entry names follow those named before.

use consensus_api::ballot_runs::BallotRuns;
use consensus_api::log_writer::LogWriter;
use consensus_api::membership_log::MembershipLog;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::window::EntryWindow;
use consensus_api::{AppliedMembership, Ballot, LogIndex, LogPosition, LogTime, Payload, SharedEntry, Write, WriteId};

/// The log of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    base: LogPosition,
    ballots: BallotRuns,
    window: EntryWindow,
    commit: LogIndex,
    // The highest stamp of any entry that was ever here, those since truncated included: a leader's clock starts at it.
    time: LogTime,
    members: MembershipLog,
    // Whether anything has happened to them since that was last asked.
    members_moved: bool,
    pub(crate) writer: LogWriter,
}

impl Log {
    /// The log as it was found; what it is made of has been validated.
    pub(crate) fn new(
        base: LogPosition,
        ballots: BallotRuns,
        tail: Vec<SharedEntry>,
        commit: LogIndex,
        time: LogTime,
        mut members: MembershipLog,
    ) -> Log {
        members.settle(commit);
        let (window, writer) = (EntryWindow::default(), LogWriter::default());
        let mut log = Log { base, ballots, window, commit, time, members, members_moved: true, writer };
        for entry in tail {
            log.time = log.time.max(entry.log_time);
            log.window.insert(entry);
        }
        log
    }

    pub(crate) fn base(&self) -> LogPosition {
        self.base
    }

    pub(crate) fn commit(&self) -> LogIndex {
        self.commit
    }

    pub(crate) fn time(&self) -> LogTime {
        self.time
    }

    /// The entries that name members.
    pub(crate) fn members(&self) -> &MembershipLog {
        &self.members
    }

    /// Whether other members may have been named, or settled, since this was last asked.
    pub(crate) fn take_members_moved(&mut self) -> bool {
        std::mem::take(&mut self.members_moved)
    }

    pub(crate) fn window(&self) -> &EntryWindow {
        &self.window
    }

    /// The last entry, or the base where there is none.
    pub(crate) fn last(&self) -> LogPosition {
        let index = self.last_index();
        LogPosition { index, ballot: self.ballot_at(index).unwrap_or_default() }
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        self.ballots.last().unwrap_or(self.base.index)
    }

    /// The ballot of the entry at `index`, which may be the base.
    pub(crate) fn ballot_at(&self, index: LogIndex) -> Option<Ballot> {
        if index == self.base.index { Some(self.base.ballot) } else { self.ballots.get(index) }
    }

    /// The entry at `index` as a position; `None` outside of base..=last.
    pub(crate) fn position_at(&self, index: LogIndex) -> Option<LogPosition> {
        self.ballot_at(index).map(|ballot| LogPosition { index, ballot })
    }

    /// The first and the last index of the term that the entry at `index` belongs to.
    pub(crate) fn term_around(&self, index: LogIndex) -> Option<(u64, LogIndex, LogIndex)> {
        self.ballots.run_at(index).map(|run| (run.ballot.round, run.first, run.last))
    }

    /// The last index before `before` whose entry has this term.
    pub(crate) fn last_of_term(&self, term: u64, before: LogIndex) -> Option<LogIndex> {
        self.ballots
            .iter_from(self.base.index.next())
            .rev()
            .find(|run| run.ballot.round == term && run.first < before)
            .map(|run| run.last.min(before.previous()))
    }

    /// Everything up to here is durable.
    pub(crate) fn durable_through(&self) -> LogIndex {
        let last = self.last_index();
        let durable = self.writer.first_volatile().map_or(last, |volatile| volatile.previous().min(last));
        durable.max(self.writer.vouched_through(|index| self.ballot_at(index)))
    }

    /// What may be applied: what is committed, as far as it is durable here too. So the state machine's tables never get
    /// ahead of this node's own log, and a restart finds in the log whatever the tables have not kept.
    pub(crate) fn deliverable_through(&self) -> LogIndex {
        self.commit().min(self.durable_through())
    }

    /// Puts an entry behind the last one.
    pub(crate) fn append(&mut self, entry: SharedEntry) {
        let last = self.last();
        assert!(entry.index == last.index.next(), "a hole in the log: {} after {}", entry.index, last.index);
        assert!(entry.ballot.round >= last.ballot.round, "terms decrease along the log at {}", entry.index);
        if let Payload::Membership { membership, .. } = &entry.payload {
            let (next, before) = (membership.version, self.members.latest().1.version);
            assert!(
                next == before + 1,
                "members of version {next} follow those of version {before} at {}",
                entry.index
            );
        }
        self.put(entry);
    }

    fn put(&mut self, entry: SharedEntry) {
        self.time = self.time.max(entry.log_time);
        self.ballots.set(entry.index, entry.ballot);
        self.members_moved |=
            self.members.has_open() || matches!(entry.payload, Payload::Membership { .. } | Payload::StopSign { .. });
        self.members.put(&entry);
        self.window.insert(entry.clone());
        self.writer.put(entry);
    }

    /// Takes one entry of the leader's, given that the entry before it matches. What is there already stays; what
    /// contradicts it goes, with everything behind. Nothing else is cut off: an `Append` that the network delivers late
    /// may be shorter than the log and yet part of it.
    pub(crate) fn accept(&mut self, entry: SharedEntry) {
        match self.ballot_at(entry.index) {
            None => self.append(entry),
            Some(ballot) if ballot.round == entry.ballot.round => {
                assert!(ballot == entry.ballot, "two leaders in term {}: {ballot}, {}", ballot.round, entry.ballot);
                if let Some(present) = self.window.get(entry.index) {
                    assert!(*present == entry, "two entries at {} in term {}", entry.index, ballot.round);
                }
            }
            Some(_) if is_planted(Bug::ConflictSuffixKept) => self.put(entry),
            Some(_) => {
                self.truncate(entry.index);
                self.append(entry);
            }
        }
    }

    /// Removes every entry from `index` on.
    pub(crate) fn truncate(&mut self, index: LogIndex) {
        assert!(index > self.commit, "{index} is committed (through {}) and must not be removed", self.commit);
        self.ballots.remove_from(index);
        self.members_moved |= self.members.has_open();
        self.members.remove_from(index);
        self.window.remove_from(index);
        self.writer.remove_from(index);
    }

    /// Everything up to `index` is committed.
    pub(crate) fn commit_through(&mut self, index: LogIndex) {
        let last = self.last_index();
        assert!(index <= last, "{index} committed beyond the last entry {last}");
        self.commit = self.commit.max(index);
        self.members_moved |= self.members.settle(self.commit);
    }

    /// The store no longer holds anything up to `base`.
    pub(crate) fn trim(&mut self, base: LogPosition) {
        assert!(base.index <= self.commit, "{} trimmed before it was committed ({})", base.index, self.commit);
        self.ballots.trim(base.index);
        self.window.evict(0, base.index.next());
        self.base = base;
    }

    /// A snapshot stands in for everything up to `base`. What follows is kept only if the entry at `base` is the
    /// snapshot's: only then was it appended to the same prefix.
    pub(crate) fn install(&mut self, base: LogPosition, time: LogTime, members: AppliedMembership) {
        let is_same = self.ballot_at(base.index).map(|ballot| ballot.round) == Some(base.ballot.round);
        let contradicts = !is_same && !is_planted(Bug::InstallationKeepsSuffix);
        if contradicts || is_planted(Bug::InstallationDropsSuffix) {
            assert!(is_same || base.index > self.commit, "a snapshot at {} contradicts a committed entry", base.index);
            self.window.remove_from(LogIndex::ZERO);
            self.ballots.remove_from(LogIndex::ZERO);
            self.members.remove_from(LogIndex::ZERO);
            self.writer.remove_from(base.index.next());
        }
        self.commit = self.commit.max(base.index);
        self.members.install(members, base.index);
        self.members_moved = true;
        self.trim(base);
        self.time = self.time.max(time);
    }

    /// The write that the changes since the last one amount to.
    pub(crate) fn take_write(&mut self) -> Option<Write> {
        self.writer.take(self.commit)
    }

    /// What a message must wait for that vouches for the log as it is now.
    pub(crate) fn dependency(&self) -> WriteId {
        self.writer.dependency()
    }

    /// Shrinks the window to `bytes_max`, except for what the log store may not hold yet and what is not committed.
    /// Committed entries that wait to be handed out may go: they can be read back, and so a slow state machine does not
    /// make memory grow.
    pub(crate) fn evict(&mut self, bytes_max: usize) {
        let volatile = self.writer.first_volatile().unwrap_or(LogIndex(u64::MAX));
        let keep_from = volatile.min(self.commit.next()).min(self.last_index());
        self.window.evict(bytes_max, keep_from);
    }
}
