//! A leader takes slots of new members over: phase 1 with them, in its own ballot, before it proposes there. Like the
//! [`takeover`](crate::takeover) of which it is the rest, a room that Raft has no twin for.
//!
//! ```text
//!                                          t+α: the ceiling until then
//!   ───── chosen ──── t ──── open ─────────┬──────────────────────────
//!        old members                       │  new members
//!                                          │
//!   leader ──Prepare{own ballot, from t+α}─┼──▶ each of them that has not promised
//!          ◀─Promise───────────────────────┼─── what it has accepted there, how far it knows the log to be chosen
//!                                          │
//!                       learnt, and what is open there proposed again, before anything new
//! ```
//!
//! **What it finds.** This leader need not be the first to see the change chosen. E saw it, took the new members' slots
//! over, had commands chosen there, and was cut off. Then the old members elected this leader, who had not heard of any of
//! it: rightly so, for in the slots that it knew of nobody else decides. What E has left behind is with the new members.
//!
//! Whoever has promised at the election has promised for every slot, and is not asked again. So if a quorum of the new
//! members has, as where a learner comes or goes, nothing is to be done.
//!
//! **Leases.** E may hold one, counted among the new members, while the old ones elect this leader, whom they owe nothing
//! to. The new ones follow it all the same, and E with them as soon as it is told; but E may be told nothing. So whoever
//! follows a leader while it owes something to another answers this phase 1 only when that is over.
//!
//! A member that knows more to be chosen than this leader, and is gone before it has told, does not hold it up: the others may
//! be a quorum without. But of what they reported all was left out that was to be learnt from the one that is gone, and they
//! are asked for it again.

use consensus_api::Membership;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, NodeId};

use crate::MultiPaxos;
use crate::role::{Leader, RoleState};

impl MultiPaxos {
    /// The first slot that this leader must not propose in, because a quorum of those who decide there has yet to promise;
    /// `None` where it has all the promises that it needs.
    pub(crate) fn ceiling(&self, leader: &Leader) -> Option<LogIndex> {
        if leader.prepared >= self.latest().version {
            return None;
        }
        let first = self.log.chosen_through().next();
        let is_above = self.present().version <= leader.prepared;
        Some(if is_above { self.log.in_force_from().max(first) } else { first })
    }

    /// A leader has learnt that others decide from some slot on.
    pub(crate) fn begin_extension(&mut self) {
        let (present, latest) = (self.present(), self.latest().clone());
        let RoleState::Leader(leader) = &self.role else { return };
        let Some(ceiling) = self.ceiling(leader) else { return };
        let RoleState::Leader(leader) = &mut self.role else { return };
        if is_planted(Bug::OwnEpochBarrierMissing) || is_planted(Bug::OldMembersDecideAlone) {
            leader.prepared = latest.version;
            return;
        }
        leader.gathering.forget_incomplete();
        for members in [present, latest].iter().filter(|members| members.version > leader.prepared) {
            for voter in &members.voters {
                leader.gathering.include(*voter, ceiling);
            }
        }
    }

    /// Goes on with it: ends it where that can be, and asks those who have not answered otherwise.
    pub(crate) fn check_extension(&mut self) {
        if self.is_extending() {
            self.count_own_promise(&[]);
            self.forget_lost_teacher();
            self.try_to_extend();
        }
        if self.is_extending() {
            self.ask_for_promises();
        }
    }

    fn is_extending(&self) -> bool {
        matches!(&self.role, RoleState::Leader(leader) if leader.prepared < self.latest().version)
    }

    /// Ends it if a quorum has promised of each configuration that this leader has no promises of, and this node knows as
    /// much to be chosen as any of them; catches up otherwise.
    pub(crate) fn try_to_extend(&mut self) {
        let (present, latest) = (self.present(), self.latest().clone());
        let RoleState::Leader(leader) = &self.role else { return };
        let has_promised = |node: NodeId| leader.gathering.has_promised(node);
        let prepared =
            |members: &Membership| members.version <= leader.prepared || members.quorums().reached(has_promised);
        if !self.is_extending() || !prepared(&present) || !prepared(&latest) {
            return;
        }
        if let Some((chosen_through, node)) = leader.gathering.teacher(self.log.chosen_through()) {
            if !self.is_learning() {
                self.ask_to_learn(node, chosen_through);
            }
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.prepared = latest.version;
        leader.gathering.forget_incomplete();
        leader.epoch_start = leader.epoch_start.max(leader.gathering.last_reported().unwrap_or_default());
    }

    /// Whom to learn from is silent: its promise does not count until it is given again, nor do those of which something was
    /// left out for its sake.
    fn forget_lost_teacher(&mut self) {
        let (now, timing, chosen_through) = (self.now, &self.config.timing, self.log.chosen_through());
        let RoleState::Leader(leader) = &self.role else { return };
        let Some(ceiling) = self.ceiling(leader) else { return };
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some((_, teacher)) = leader.gathering.teacher(chosen_through)
            && leader.peers.get(&teacher).is_none_or(|progress| progress.is_silent(now, timing))
        {
            leader.gathering.forget(teacher, ceiling);
            leader.gathering.include(teacher, ceiling);
        }
    }
}
