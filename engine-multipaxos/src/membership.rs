//! Who takes part, and who decides in which slot: by a window of α slots ([`Limits::reconfiguration_window`], Lamport's α;
//! "Paxos Made Simple" §3).
//!
//! ```text
//!                    t                        t+α
//!   ─────────────────┬─────────────────────────┬─────────────────────────────
//!     old members    │  old members            │  new members
//!   ─────────────────┴─────────────────────────┴─────────────────────────────
//!        the change is chosen here      and is in force from here on
//!
//!   a leader that sees it chosen:  ──▶ phase 1 with the new members from t+α on (extension.rs)
//!                                  ──▶ fills up with no-ops, if clients do not, so that it comes into force
//!                                  ──▶ hands over, if it is not one of them (transfer.rs)
//! ```
//!
//! **The rule.** Members whose entry is chosen in slot t decide in the slots from t+α on. Nobody proposes in slot s before
//! he knows everything up to s−α to be chosen. So whoever proposes in a slot knows who decides there; and everybody knows
//! the same, because it is a function of what is chosen and of nothing else. There are no joint configurations: each slot
//! is decided by the majority of one. A change that was meant for other members than it follows is void
//! ([`consensus_api::AppliedMembership::take`]), by the same function.
//!
//! **Why not a barrier**: in force right behind its slot, as soon as a leader has seen it chosen and nothing else is open.
//! A leader sees to that for its own slots, and not for those of others:
//!
//! ```text
//!   1 leads {1, 2, 3} in 1.1    proposes {4, 5, 6} at t; 1 alone accepts it, and the network holds the rest back
//!   3 leads in 2.3              by 2 and 3, which have nothing at t: proposes a no-op there, which reaches nobody else, and
//!                               a command at s = t+1, which 2 accepts too: it is chosen
//!   1 leads in 3.1              by 1 and 2: must propose its change at t again, and 3's command at s; 1 and 2 accept both,
//!                               and the command is acknowledged
//! ```
//!
//! With a barrier {4, 5, 6} decide behind t, and know nothing of s: whoever they elect next fills it anew. There was nothing
//! that 1 could have kept closed, for others had opened s. By the window s belongs to {1, 2, 3}, whatever becomes of t.
//!
//! **Why it is safe.** Slot by slot it is Paxos among config(s), if each ballot that proposes in s has the promises of a
//! quorum of config(s). A leader is elected when it knows everything through P to be chosen, by a quorum of each
//! configuration that governs a slot of P+1 … P+α: at most two, those in force and the latest that are chosen, for a change
//! is proposed only when the one before is in force. It may propose in no other slots until it knows more to be chosen; and when
//! that brings others into play it asks them first, under its own ballot. Acceptors have the one promise for all slots, so
//! what they tell then is as good as at the election.
//!
//! **What is counted by whom.** Acceptances by the slot's own configuration. A read at index I by that of I+1: whoever may
//! choose something that the read would miss chooses it there first ([`reads`](crate::reads)). Leases and check-quorum
//! by that of the first slot that is not chosen.
//!
//! **What it costs.** At most α slots are open at a time, so that no more are chosen in a round trip; and a change where
//! nobody writes takes up to α no-ops. They leave room for clients, who are never refused because of them.
//!
//! And whoever is removed must run until a majority of those who follow knows all up to t+α−1 to be chosen, for its own
//! majority may be the only one that can tell: a leader says that a change is under way until it has heard that. What they
//! know they must know after a crash of all of them, too. The watermark rides along with other writes, and where nobody
//! writes there may be none; so when members come into force each node writes that down by itself, and tells how far it knows
//! the log to be chosen when that is durable.
//!
//! Removed members stay in touch until they know that they are removed, or for two election timeouts: whoever knows never
//! campaigns.
//!
//! [`Limits::reconfiguration_window`]: consensus_api::Limits::reconfiguration_window

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use consensus_api::detector::QuorumContact;
use consensus_api::errands::{Errand, Order};
use consensus_api::membership::Member;
use consensus_api::membership_change::{LEARNER_LAG_MAX, check, check_live, new_voters};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, LogIndex, Membership, MonoTime, NodeId, Payload, Quorums, Refusal, Refused, RequestId};

use crate::MultiPaxos;
use crate::log::Log;
use crate::message::Message;
use crate::role::{Leader, Progress, RoleState};

/// So many election timeouts a removed member is still told what it has missed.
const RETIRING_TIMEOUTS: u32 = 2;

/// Those who elect: every configuration that governs a slot which may be proposed for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Electorate {
    /// Who decide on the first slot that is not known to be chosen: they are in force.
    pub(crate) present: Arc<Membership>,
    /// Who decide a window above what is chosen: the latest that are chosen. Mostly the same.
    pub(crate) latest: Arc<Membership>,
}

/// A member that was removed and may not know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Retiring {
    member: Member,
    // It knows once it knows this to be chosen.
    through: LogIndex,
    until: MonoTime,
}

impl Electorate {
    /// As this log tells it.
    pub(crate) fn of(log: &Log) -> Electorate {
        let present = log.governing(log.chosen_through().next()).clone();
        Electorate { present, latest: log.memberships().settled().latest.clone() }
    }

    /// A majority of each.
    pub(crate) fn quorums(&self) -> Quorums<'_> {
        static NOBODY: BTreeSet<NodeId> = BTreeSet::new();
        let is_one = self.present.voters == self.latest.voters || is_planted(Bug::OldMembersDecideAlone);
        Quorums::new(&self.present.voters, if is_one { &NOBODY } else { &self.latest.voters })
    }

    /// Whether those for whom `has` holds are a quorum of each.
    pub(crate) fn reached(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.quorums().reached(has)
    }

    /// Everyone who votes in either.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        self.present.voters.union(&self.latest.voters).copied().collect()
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        self.latest.members.get(&node).or_else(|| self.present.members.get(&node))
    }

    fn members(&self) -> BTreeMap<NodeId, Member> {
        self.present.members.clone().into_iter().chain(self.latest.members.clone()).collect()
    }

    fn versions(&self) -> (u64, u64) {
        (self.present.version, self.latest.version)
    }
}

impl MultiPaxos {
    /// The members in force: who decide on the first slot that is not known to be chosen.
    pub(crate) fn present(&self) -> Arc<Membership> {
        self.log.governing(self.log.chosen_through().next()).clone()
    }

    /// The latest members that are chosen.
    pub(crate) fn latest(&self) -> &Arc<Membership> {
        &self.log.memberships().settled().latest
    }

    /// Who elects.
    pub(crate) fn electorate(&self) -> Electorate {
        Electorate::of(&self.log)
    }

    /// Whether all that is chosen is in force.
    pub(crate) fn is_settled(&self) -> bool {
        self.present().version == self.latest().version
    }

    /// Whether this node may campaign. Whether it may *promise* is another question, and is never asked: a candidate may
    /// know of a membership in which this node votes while this node does not know of it yet, and its promise is as good
    /// as its durable state.
    pub(crate) fn is_voter(&self) -> bool {
        let Electorate { present, latest } = self.electorate();
        self.config.votes_among(&present) || self.config.votes_among(&latest)
    }

    /// Whether a change is open, or chosen and not in force; at a leader, or not durably known to be by a majority of those
    /// who vote from then on. Until then whoever was removed must stay: the others may have to learn it from there.
    pub(crate) fn is_changing(&self) -> bool {
        let known_by_enough = match &self.role {
            RoleState::Leader(leader) if self.log.memberships().settled().previous.is_some() => {
                let through = self.log.in_force_from().previous();
                let known = |node| leader.peers.get(&node).is_some_and(|progress| progress.known >= through);
                let is_recorded = self.writes_durable >= self.recorded.1;
                let own = |node| node == self.config.node && is_recorded;
                self.latest().quorums().reached(|node| own(node) || known(node))
            }
            _ => true,
        };
        self.has_open_change() || !self.is_settled() || !known_by_enough
    }

    /// Whether a change is open, as the leader of the present ballot has proposed it. What an earlier one has left behind
    /// does not count until it is proposed again: this one may have been elected by others who know nothing of it, and may
    /// get to its slot when somebody writes next, or never.
    fn has_open_change(&self) -> bool {
        self.log.memberships().open().any(|slot| self.log.ballot_at(slot) == Some(self.ballot))
    }

    /// Every voter but this node, in order of id.
    pub(crate) fn other_voters(&self) -> Vec<NodeId> {
        self.electorate().voters().into_iter().filter(|node| *node != self.config.node).collect()
    }

    /// A client of this node wants other members.
    pub(crate) fn on_change_membership(&mut self, id: RequestId, target: Arc<Membership>) {
        self.on_order(id, Order::ChangeMembership(target));
    }

    /// A client of this node wants something that the leader does to the cluster.
    pub(crate) fn on_order(&mut self, id: RequestId, order: Order) {
        let taken = match &self.role {
            RoleState::Leader(_) => self.carry_out(id, order),
            RoleState::Follower { leader: Some(_) } => self.errands.order(id, order),
            _ => Err(Refusal::NoLeader),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    /// A follower forwards such a request of its clients. It is admitted as proposals are.
    pub(crate) fn on_forwarded_order(&mut self, from: NodeId, ballot: Ballot, id: RequestId, order: Order) {
        if ballot != self.admitted.0 || !self.admitted.1.admit(id) {
            return;
        }
        let leads = matches!(self.role, RoleState::Leader(_)) && ballot == self.ballot;
        let taken = if leads { self.carry_out(id, order) } else { Err(Refusal::NotLeader { leader: self.leader() }) };
        if let Err(reason) = taken {
            let refused = vec![Refused { id, reason }];
            self.send(from, Message::Errand(Errand::Refuse { refused }));
        }
    }

    fn carry_out(&mut self, id: RequestId, order: Order) -> Result<(), Refusal> {
        match order {
            Order::ChangeMembership(target) => self.begin_change(id, &target),
            Order::TransferLeadership(to) => self.begin_transfer(Some(id), to),
        }
    }

    /// Proposes other members, where what came before is in force and whoever is to vote has caught up.
    pub(crate) fn begin_change(&mut self, id: RequestId, target: &Membership) -> Result<(), Refusal> {
        self.check_not_handing_over()?;
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        if self.log.chosen_through() < leader.epoch_start {
            return Err(Refusal::NotReady);
        }
        let latest = self.latest();
        if self.has_open_change() || !self.is_settled() || leader.prepared < latest.version {
            return Err(Refusal::ChangePending);
        }
        check(latest, target)?;
        for node in new_voters(latest, target) {
            self.check_learner(leader, node, target)?;
        }
        check_live(latest, target, |node| node == self.config.node || self.answers(leader, node))?;
        if !self.may_propose() {
            return Err(Refusal::Busy);
        }
        let membership = Arc::new(Membership { version: target.version + 1, ..target.clone() });
        self.propose_at_next(Payload::Membership { id, membership }, None);
        Ok(())
    }

    /// Whether `node` may become a voter: it is a learner, of the same disk, and answers, and would not hold up the others.
    fn check_learner(&self, leader: &Leader, node: NodeId, target: &Membership) -> Result<(), Refusal> {
        let latest = self.latest();
        let store = |membership: &Membership| membership.members.get(&node).map(|member| member.store);
        if !latest.learners.contains(&node) || store(latest) != store(target) {
            let reason =
                format!("node {node} is to vote and is no learner with that disk yet; add it as a learner first");
            return Err(Refusal::InvalidMembership { reason });
        }
        let known = leader.peers.get(&node).map_or(LogIndex::ZERO, |progress| progress.known);
        let behind = self.log.chosen_through().0.saturating_sub(known.0);
        if self.answers(leader, node) && behind <= LEARNER_LAG_MAX {
            Ok(())
        } else {
            Err(Refusal::LearnerLags { node, behind })
        }
    }

    /// Whether a peer was heard lately, by this leader: one that was elected just now takes everybody for alive.
    fn answers(&self, leader: &Leader, node: NodeId) -> bool {
        let timing = &self.config.timing;
        let was_heard = |progress: &Progress| progress.has_answered && !progress.is_silent(self.now, timing);
        leader.peers.get(&node).is_some_and(was_heard)
    }

    /// After each step: does what follows if others have a say since, or are about to, and takes a change one step further.
    pub(crate) fn mind_members(&mut self) {
        self.record_members();
        self.follow_members();
        self.let_retire();
        self.check_extension();
        self.propose_inherited();
        self.fill_up();
        self.admit_early_reads();
        self.leave_if_removed();
    }

    /// Takes those into account who have a say by what is chosen now, if others had before.
    pub(crate) fn follow_members(&mut self) {
        let electorate = self.electorate();
        if electorate.versions() == self.followed.versions() {
            return;
        }
        let before = std::mem::replace(&mut self.followed, electorate);
        let (through, now) = (self.log.in_force_from().previous(), self.now);
        let until = now + self.config.timing.election_timeout.saturating_mul(RETIRING_TIMEOUTS);
        for (node, member) in before.members() {
            if node != self.config.node && self.followed.member(node).is_none() {
                self.retiring.insert(node, Retiring { member, through, until });
            }
        }
        // Also who was removed and comes back: it may have died in between.
        let comes_anew = |(node, member): &(NodeId, Member)| {
            let store = before.member(*node).map(|member| member.store);
            self.retiring.contains_key(node) || store.is_some_and(|store| store != member.store)
        };
        let renewed: BTreeSet<NodeId> =
            self.followed.members().into_iter().filter(comes_anew).map(|(node, _)| node).collect();
        self.retiring.retain(|node, _| self.followed.member(*node).is_none());
        self.forget_earlier_disks(&renewed);
        self.refresh_contacts();
        self.refresh_peers(&renewed);
        let (me, present, is_voter) = (self.config.node, self.followed.present.clone(), self.is_voter());
        match &mut self.role {
            RoleState::Leader(leader) => {
                leader.lease.recount(me, present.quorums());
                if before.present.version != present.version {
                    // A voter that is new was not counted on until now, and has its time to answer.
                    leader.contact = QuorumContact::new(now);
                }
                if before.present.version != present.version && !is_planted(Bug::ReadCountedAmongOthers) {
                    let reads = leader.reads.abandon();
                    leader.early_reads.extend(reads);
                }
                self.begin_extension();
            }
            RoleState::Candidate(_) | RoleState::PreCandidate { .. } if !is_voter => self.become_follower(None),
            RoleState::Candidate(_) => self.ask_new_voters(),
            RoleState::PreCandidate { .. } | RoleState::Follower { .. } => {}
        }
    }

    /// These come back with another disk: what was heard from the earlier one counts for nothing.
    fn forget_earlier_disks(&mut self, renewed: &BTreeSet<NodeId>) {
        let from = self.log.chosen_through().next();
        for node in renewed {
            self.quorum_reads.forget(*node);
            match &mut self.role {
                RoleState::Leader(leader) => leader.lease.forget(*node),
                RoleState::Candidate(candidate) => candidate.gathering.forget(*node, from),
                RoleState::PreCandidate { .. } | RoleState::Follower { .. } => {}
            }
        }
    }

    /// Proposes no-ops while a change is chosen and not in force, in half of the slots that may be open.
    fn fill_up(&mut self) {
        let limits = &self.config.limits;
        let open_max = (limits.reconfiguration_window.min(limits.open_entries_max as u64) / 2).max(1);
        while let RoleState::Leader(leader) = &self.role
            && leader.open.next() < self.log.in_force_from()
            && (leader.open.len() as u64) < open_max
            && leader.prepared >= self.latest().version
            && leader.transfer.is_none()
            && self.may_propose()
        {
            self.propose_at_next(Payload::Noop, None);
        }
    }

    /// A leader that votes no more hands over, and steps down where nobody is there to lead.
    fn leave_if_removed(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let is_removed = leader.transfer.is_none() && self.is_settled() && !self.latest().is_voter(self.config.node);
        if is_removed && self.begin_transfer(None, None).is_err() {
            self.become_follower(None);
        }
    }

    /// Brings the leader's peers in line with the contacts. Of those who come back with another disk nothing is known.
    pub(crate) fn refresh_peers(&mut self, renewed: &BTreeSet<NodeId>) {
        let next = self.log.chosen_through().next();
        let (me, now, contacts) = (self.config.node, self.now, self.contacts.clone());
        let RoleState::Leader(leader) = &self.role else { return };
        let from = self.ceiling(leader).unwrap_or(next);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let stays = |node: &NodeId| contacts.members.contains_key(node) && !renewed.contains(node);
        for gone in leader.peers.keys().copied().filter(|node| !stays(node)) {
            leader.gathering.forget(gone, from);
        }
        leader.peers.retain(|node, _| stays(node));
        for node in contacts.members.keys().filter(|node| **node != me) {
            leader.peers.entry(*node).or_insert_with(|| Progress::new(next, now));
        }
    }

    /// Tells with whom to be in touch, if that has changed.
    pub(crate) fn refresh_contacts(&mut self) {
        let Electorate { present, latest } = &self.followed;
        let contacts = if self.retiring.is_empty() && present.version == latest.version {
            latest.clone()
        } else {
            let retiring = self.retiring.iter().map(|(node, retiring)| (*node, retiring.member.clone()));
            let members: BTreeMap<NodeId, Member> = retiring.chain(self.followed.members()).collect();
            let voters = self.followed.voters();
            let learners = members.keys().copied().filter(|node| !voters.contains(node)).collect();
            let (version, outgoing) = (latest.version, BTreeSet::new());
            Arc::new(Membership { version, voters, outgoing, learners, members })
        };
        if contacts != self.contacts {
            self.contacts = contacts.clone();
            self.effects.contacts = Some(contacts);
        }
    }

    /// Removed members that know it, or had their time.
    fn let_retire(&mut self) {
        let (now, before) = (self.now, self.retiring.len());
        let known = |node: &NodeId| match &self.role {
            RoleState::Leader(leader) => leader.peers.get(node).map(|progress| progress.known),
            _ => None,
        };
        self.retiring.retain(|node, retiring| now < retiring.until && known(node) < Some(retiring.through));
        if self.retiring.len() < before {
            self.refresh_contacts();
            self.refresh_peers(&BTreeSet::new());
        }
    }

    /// When the next removed member has had its time.
    pub(crate) fn retirement_deadline(&self) -> MonoTime {
        self.retiring.values().map(|retiring| retiring.until).min().unwrap_or(MonoTime::NEVER)
    }
}
