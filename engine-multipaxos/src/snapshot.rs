//! Where the log gives way to the state machine's tables: trimming, a peer that needs what is trimmed, and a snapshot
//! that was installed.
//!
//! ```text
//!   whoever lacks ──LearnRequest ≤ base──▶ whoever knows ──SendSnapshot──▶ driver ──bulk──▶ driver ──┐
//!                 ◀─Learned{nothing, chosen through N}─┘                                              │
//!                 ◀──────────────────── SnapshotInstalled ────────────────────────────────────────────┘
//! ```
//!
//! Prepare, Accept and LearnRequest at slots up to the base are all answered with "chosen through N", by any node and
//! not by a leader alone: a candidate may be what only a snapshot can bring up.
//!
//! Only what is chosen is trimmed, and a snapshot says nothing of slots above it. So every accept above the base stays,
//! on disk as in memory: the driver trims the log store up to the base and removes nothing else.

use consensus_api::{AppliedMembership, LogPosition, LogTime, NodeId, SendSnapshot};

use crate::MultiPaxos;
use crate::role::RoleState;

impl MultiPaxos {
    /// Asks for a snapshot to be sent to a peer. Asked again every election timeout for as long as the peer wants what
    /// is trimmed; a driver that is sending one already ignores that.
    pub(crate) fn want_snapshot(&mut self, to: NodeId) {
        let again_after = self.config.timing.election_timeout;
        let asked_lately = self.snapshots_wanted.get(&to).is_some_and(|at| self.now.since(*at) < again_after);
        if !asked_lately && self.contacts.members.contains_key(&to) {
            self.snapshots_wanted.insert(to, self.now);
            self.effects.snapshots.push(SendSnapshot { to, at_least: self.log.base().index });
        }
    }

    /// The log store has let go of everything up to `base`, which the tables hold durably.
    pub(crate) fn on_trimmed(&mut self, base: LogPosition) {
        if base.index > self.log.base().index {
            self.log.trim(base);
        }
    }

    /// Tables that somebody sent have replaced the own ones, and stand for the log up to `base`.
    ///
    /// A leader that is overtaken by a snapshot steps down. Slots that it has proposed for may lie at or below the base,
    /// and the snapshot does not tell what was chosen there: take slot 9, where this leader's Accept has reached one
    /// node and a higher ballot has chosen another value. A watermark from here that covers 9 would make that node
    /// believe in the wrong one. So whoever leads on has learnt of every change of members slot by slot.
    pub(crate) fn on_snapshot_installed(&mut self, base: LogPosition, time: LogTime, membership: AppliedMembership) {
        if base.index <= self.log.base().index || base.index < self.delivery.applied() {
            return;
        }
        if base.index > self.log.chosen_through() && matches!(self.role, RoleState::Leader(_)) {
            self.become_follower(None);
        }
        self.log.install(base, time, membership);
        self.delivery.restart_after(base.index);
        // What the same batch handed out before belongs to the tables that were replaced.
        self.effects.committed.clear();
        self.read_backs.forget_delivery();
        // The next campaign would otherwise fail against whoever has promised the ballot that this was chosen in.
        self.round_seen = self.round_seen.max(base.ballot.round);
        self.log.choose_accepted(self.ballot, self.allegiance.watermark);
        // Whoever was asked for what the snapshot has brought is asked at once for what follows it.
        if let Some(learning) = &mut self.learning {
            learning.ask_anew();
        }
        self.try_to_lead();
    }
}
