//! Where the log gives way to the state machine's tables: trimming, a peer that needs what is trimmed, and a snapshot
//! that was installed.
//!
//! ```text
//!   leader: next ≤ base ──SendSnapshot──▶ driver ──bulk──▶ driver ──SnapshotInstalled──▶ follower
//!           probes at its base, every interval  ◀── Matched: the snapshot has arrived ──
//! ```

use consensus_api::{AppliedMembership, LogPosition, LogTime, NodeId, SendSnapshot};

use crate::Raft;
use crate::message::Append;
use crate::replication::Sender;
use crate::role::{Phase, Progress, RoleState};

impl Sender<'_> {
    /// Notes that the peer needs what is trimmed, and asks for a snapshot to be sent. Asked again every election timeout
    /// for as long as the peer has not arrived at the base; a driver that is sending one already ignores that. Who retires
    /// is not worth it.
    pub(crate) fn want_snapshot(&mut self, peer: NodeId, progress: &mut Progress) {
        let again_after = self.config.timing.election_timeout;
        let since = match progress.phase {
            Phase::Snapshot { since, .. } if self.now.since(since) < again_after => since,
            _ if progress.is_silent(self.now, &self.config.timing) || progress.retiring.is_some() => {
                self.now - again_after
            }
            _ => {
                let at_least = self.log.base().index;
                self.effects.snapshots.push(SendSnapshot { to: peer, at_least });
                self.now
            }
        };
        progress.phase = Phase::Snapshot { asked: true, since };
    }
}

impl Raft {
    /// The log store has let go of everything up to `base`, which the tables hold durably.
    pub(crate) fn on_trimmed(&mut self, base: LogPosition) {
        if base.index > self.log.base().index {
            let own = self.log.ballot_at(base.index).map(|ballot| ballot.round);
            assert!(own == Some(base.ballot.round), "trimmed at {}, where the log has {own:?}", base.index);
            self.log.trim(base);
        }
    }

    /// Tables that somebody sent have replaced the own ones, and stand for the log up to `base`. The driver has trimmed
    /// the log store that far; what follows is kept if the entry at `base` is the snapshot's, and removed if it is not.
    pub(crate) fn on_snapshot_installed(&mut self, base: LogPosition, time: LogTime, membership: AppliedMembership) {
        if base.index <= self.log.base().index || base.index < self.delivery.applied() {
            return;
        }
        if base.ballot.round > self.ballot.round {
            // Or this node could be elected in a term below that of its own last entry.
            self.adopt(base.ballot.round);
        } else if self.shows_term_over(base) {
            self.adopt(self.ballot.round + 1);
        }
        // Members that the log names above stay in force if their entries do, and else those of the snapshot are.
        self.log.install(base, time, membership);
        self.delivery.restart_after(base.index);
        // What the same batch handed out before belongs to the tables that were replaced.
        self.effects.committed.clear();
        self.read_backs.forget_delivery();
        // What is committed is in the log of every later leader, so the leader's log is this one up to here.
        self.allegiance.verified = self.allegiance.verified.max(self.log.commit());
    }

    /// Whether a snapshot that ends at `base` cannot be of the present term, though it ends in an entry of an earlier
    /// one: the log has another entry there, or none, so a leader whom this node has not heard of has committed that one
    /// (figure 8). Where the log has the snapshot's own entry there is nothing to contradict, whoever committed it.
    ///
    /// Take a leader of term 5 with 19 and 20 of its own, which nobody else has, and a snapshot that ends in 19 at term
    /// 3. If it led on, it would write another 20 at term 5. Or take its follower, which has acknowledged both: the next
    /// heartbeat speaks of a 20 that is no longer there.
    fn shows_term_over(&self, base: LogPosition) -> bool {
        let own = self.log.ballot_at(base.index).map(|ballot| ballot.round);
        let leads = matches!(self.role, RoleState::Leader(_));
        let differs = own != Some(base.ballot.round);
        leads && base.index > self.log.commit() && differs
            || self.allegiance.verified >= base.index && own.is_some_and(|term| term != base.ballot.round)
    }

    /// Whether the leader's log has another entry where this one begins. A snapshot tells what was committed and not in
    /// which term, so it may have come here before the first word of the leader that committed it; and the leader of
    /// this term, which that one has replaced, may still speak. Nothing of it must be put behind the snapshot.
    pub(crate) fn contradicts_base(&self, append: &Append) -> bool {
        let base = self.log.base();
        let entry = || append.entries.iter().find(|entry| entry.index == base.index).map(|entry| entry.ballot);
        let theirs = if append.prev.index == base.index { Some(append.prev.ballot) } else { entry() };
        theirs.is_some_and(|ballot| ballot.round != base.ballot.round)
    }
}
