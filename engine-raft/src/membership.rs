//! Who takes part, and how that changes while everything goes on (thesis §4).
//!
//! ```text
//!   one voter more or less ──────────── [ v+1 ] ─────────────────────────────────────────▶ done
//!                                        in force here the moment it is in the log
//!   more at once ── [ v+1: old and new must agree ] ──committed──▶ [ v+2: new ] ─────────▶ done
//!                                                                        │ committed
//!                       a leader that votes no more hands over  ◀────────┤
//!                       whoever is removed is told, then left alone  ◀───┘
//! ```
//!
//! **The last members that a node's log names are in force there**, committed or not (§4.1): so a leader counts an entry by
//! the members that the entry itself, or one below, has named, and a candidate counts votes by those of its own log. Where
//! an entry that names members is overwritten, those before are in force again.
//!
//! **Why one entry is enough for one voter**: any majority of a set and any majority of the same set with one more share a
//! voter, so a leader that has the entry and one that lacks it cannot both be elected in one term, nor can both commit. Of
//! two voters at once that is not true, and both majorities must agree for a while (§4.3).
//!
//! **Why a leader first commits an entry of its own term.** Each change shares a voter with the members that it follows,
//! but not with another change that follows the same ones, and such two may be in two logs (Ongaro's mail to raft-dev,
//! July 2015). Take S1 to S4:
//!
//! ```text
//!   term 1   S1 leads, writes "add S5" to itself alone, and is cut off
//!   term 2   S2 is elected by S2, S3, S4; writes "remove S1": in force, and committed by S2 and S3, which are 2 of 3
//!   term 3   S1, whose log says 1 2 3 4 5, is elected by S1, S4, S5, and sends "add S5" over what was committed
//! ```
//!
//! S2, S3 and S1, S4, S5 are majorities, each of its own set, and have nobody in common. Had S2 first committed an entry
//! of term 2 among the members that S1 counted from, then every majority that could elect S1 would have had a voter whose
//! log ends in term 2. And a change must not begin before the last one is committed, for the same reason.
//!
//! **A peer comes with nothing known of it**, and an acknowledgement is known by the ballot and the node. One that was
//! removed and comes back under the same leader may have answers under way from before. From the same disk they are true:
//! in one ballot the leader's log only grows, and what was acknowledged stays. From an earlier disk they would be lies, and
//! two things keep them away. Whatever arrives before this node has asked the peer anything is no answer of that peer: so
//! what waited behind the change itself is dropped ([`Progress::was_asked`]). From then on it is the links: each is made
//! between two disks, by the store ids in the latest [`contacts`](consensus_api::Effects::contacts), which are handed out
//! before the first message to the peer, and what has come on a link that these have ended must not be handed in any more.
//! Of what was known of the earlier disk itself nothing is kept, neither what it had acknowledged nor what it had pledged.
//!
//! Were such a lie believed, nothing would be lost: it vouches for nothing above the entry that names the new disk, and all
//! up to there is committed without it before the node may vote. But the leader would never send what it takes for
//! acknowledged, and the node would have no use for what follows, for as long as that leader leads. It must not stop because
//! of that: where its log is blank it has acknowledged nothing, whatever it is told.
//!
//! Every question of "how many are enough" goes through [`Raft::quorums`].

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus_api::detector::QuorumContact;
use consensus_api::errands::{Errand, Order};
use consensus_api::membership_change::{LEARNER_LAG_MAX, check, check_live, new_voters};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    Ballot, LogIndex, Member, Membership, MonoTime, NodeId, Payload, Quorums, Refusal, Refused, RequestId,
};

use crate::Raft;
use crate::message::Message;
use crate::planted;
use crate::role::{Leader, Progress, RoleState};

/// Those who were removed are kept for so many election timeouts from the commit on, if they do not answer.
const RETIRING_TIMEOUTS: u32 = 2;

/// A peer that is no member any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Retiring {
    /// Where it is found.
    member: Member,
    /// The entry that removed it.
    since: LogIndex,
    /// Known once that entry is committed: until when it is waited for, and from which round on the heartbeats tell it so.
    told: Option<(MonoTime, u64)>,
    /// The last round that it has answered since.
    answered: u64,
}

impl Retiring {
    fn new(member: &Member, since: LogIndex) -> Retiring {
        Retiring { member: member.clone(), since, told: None, answered: 0 }
    }

    /// It has answered the heartbeats of this round.
    pub(crate) fn answered(&mut self, round: u64) {
        self.answered = self.answered.max(round);
    }
}

impl Raft {
    /// The quorums in force.
    pub(crate) fn quorums(&self) -> Quorums<'_> {
        planted::quorums(&self.membership)
    }

    /// Whether this node may campaign: it is a voter by the members in force, or by others that its log would fall back to.
    /// A leader of two that has removed itself and stopped before that was committed holds the longer log, so the other one
    /// is not elected without its vote, and does not get it: it has to lead once more, to commit its own removal (thesis
    /// §4.2.2).
    ///
    /// Whether it may *vote* is another question, and is never asked: a candidate may know of a membership in which this
    /// node votes while this node does not know of it yet, and its vote is as good as its durable state (thesis §4.2.1).
    pub(crate) fn is_voter(&self) -> bool {
        let votes = |members: &Arc<Membership>| self.config.votes_among(members);
        votes(&self.membership) || self.log.members().iter().any(votes)
    }

    /// Whether a change of members is under way.
    pub(crate) fn is_changing(&self) -> bool {
        self.log.members().has_open() || self.log.members().latest().1.is_joint()
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

    /// Appends the entry that begins the change: the last one too, where one is enough.
    pub(crate) fn begin_change(&mut self, id: RequestId, target: &Membership) -> Result<(), Refusal> {
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        if let Some(transfer) = &leader.transfer {
            return Err(Refusal::NotLeader { leader: Some(transfer.to) });
        }
        if self.log.commit() < leader.epoch_start && !is_planted(Bug::OwnEpochBarrierMissing) {
            return Err(Refusal::NotReady);
        }
        if self.is_changing() {
            return Err(Refusal::ChangePending);
        }
        let present = self.membership.clone();
        check(&present, target)?;
        for node in new_voters(&present, target).filter(|node| *node != self.config.node) {
            self.check_learner(leader, node, target)?;
        }
        // With that bug planted nobody has had the time to answer.
        let too_early = is_planted(Bug::OwnEpochBarrierMissing);
        check_live(&present, target, |node| node == self.config.node || self.answers(leader, node) || too_early)?;
        if !self.has_room() {
            return Err(Refusal::Busy);
        }
        self.append_members(id, next_members(&present, target));
        Ok(())
    }

    /// Whether `node` may become a voter: it is a learner, of the same disk, and answers, and would not hold up the others.
    fn check_learner(&self, leader: &Leader, node: NodeId, target: &Membership) -> Result<(), Refusal> {
        let store = |membership: &Membership| membership.members.get(&node).map(|member| member.store);
        if !self.membership.learners.contains(&node) || store(&self.membership) != store(target) {
            let reason =
                format!("node {node} is to vote and is no learner with that disk yet; add it as a learner first");
            return Err(Refusal::InvalidMembership { reason });
        }
        let matched = leader.peers.get(&node).map_or(LogIndex::ZERO, |progress| progress.matched);
        let behind = self.log.commit().0.saturating_sub(matched.0);
        if self.answers(leader, node) && behind <= LEARNER_LAG_MAX {
            Ok(())
        } else {
            Err(Refusal::LearnerLags { node, behind })
        }
    }

    /// Whether a peer was heard lately, by this leader: one that was elected just now takes everybody for alive.
    fn answers(&self, leader: &Leader, node: NodeId) -> bool {
        let timing = &self.config.timing;
        let was_heard =
            |progress: &Progress| progress.matched > LogIndex::ZERO && !progress.is_silent(self.now, timing);
        leader.peers.get(&node).is_some_and(was_heard)
    }

    fn append_members(&mut self, id: RequestId, members: Membership) {
        self.append_own(Payload::Membership { id, membership: Arc::new(members) });
        self.follow_members();
    }

    /// After each step: takes the members that the log names now, and takes a change one step further.
    pub(crate) fn mind_members(&mut self) {
        self.follow_members();
        self.finish_change();
        self.leave_if_removed();
    }

    /// Brings into force what the log names now, if that is not what is in force.
    fn follow_members(&mut self) {
        if !self.log.take_members_moved() {
            return;
        }
        self.contacts_due = true;
        let log = self.log.members();
        let (since, latest) = if is_planted(Bug::MembersInForceAtWrongMoment) {
            (log.settled().since, &log.settled().latest)
        } else {
            log.latest()
        };
        if *latest == self.membership {
            return;
        }
        let before = std::mem::replace(&mut self.membership, latest.clone());
        let campaigns = matches!(self.role, RoleState::PreCandidate { .. } | RoleState::Candidate { .. });
        if campaigns && !self.is_voter() {
            self.become_follower(None);
        }
        let (me, next, now) = (self.config.node, self.log.last_index().next(), self.now);
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.take_members((&before, &self.membership), since, (me, next, now));
        leader.lease.recount(me, planted::quorums(&self.membership));
        // A voter that is new was not counted on until now, and has its time to answer.
        leader.contact = QuorumContact::new(now);
    }

    /// Ends a change that goes by two steps, once the first is committed: whoever leads by then, for the first is in the
    /// log of every later leader.
    fn finish_change(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let (at, latest) = self.log.members().latest();
        let is_committed = self.log.commit() >= at.max(leader.epoch_start);
        if !latest.is_joint() || !is_committed || leader.transfer.is_some() {
            return;
        }
        let mut last = Membership::clone(latest);
        (last.version, last.outgoing) = (latest.version + 1, Default::default());
        last.members.retain(|node, _| last.voters.contains(node) || last.learners.contains(node));
        // It is in memory unless this node has restarted since, and holds more of the log above it than that has room for,
        // or none of it. Then the entry has a name that is nobody's, and whoever asked looks at the members.
        let nobodys = RequestId { origin: NodeId::NONE, boot: self.ballot.round, sequence: at.0 };
        let id = self.log.window().get(at).and_then(|entry| match entry.payload {
            Payload::Membership { id, .. } => Some(id),
            _ => None,
        });
        self.append_members(id.unwrap_or(nobodys), last);
    }

    /// A leader that votes no more leads until those who do have committed that: only then is there nobody else who would
    /// have to (thesis §4.2.2). Then it hands over.
    fn leave_if_removed(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if self.is_voter() || self.is_changing() || leader.transfer.is_some() {
            return;
        }
        if self.begin_transfer(None, None).is_err() {
            self.become_follower(None);
        }
    }

    /// The peers of a leader that begins: the members, and whoever the log removes by an entry that is not settled.
    pub(crate) fn first_peers(&self, next: LogIndex) -> BTreeMap<NodeId, Progress> {
        let (me, log, fresh) = (self.config.node, self.log.members(), Progress::new(next, self.now));
        let mut peers: BTreeMap<NodeId, Progress> =
            self.membership.peers_of(me).map(|peer| (peer, fresh.clone())).collect();
        let since = log.latest().0;
        for (node, member) in log.iter().flat_map(|membership| &membership.members).filter(|(node, _)| **node != me) {
            let retiring = Some(Retiring::new(member, since));
            peers.entry(*node).or_insert_with(|| Progress { retiring, ..fresh.clone() });
        }
        peers
    }

    /// Leaves those alone who were removed, and know it or do not answer.
    pub(crate) fn let_retire(&mut self) {
        let (now, commit) = (self.now, self.log.commit());
        let patience = self.config.timing.election_timeout.saturating_mul(RETIRING_TIMEOUTS);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (before, next_round) = (leader.peers.len(), leader.reads.round() + 1);
        leader.peers.retain(|_, progress| {
            let Some(retiring) = progress.retiring.as_mut().filter(|retiring| commit >= retiring.since) else {
                return true;
            };
            let (until, round) = *retiring.told.get_or_insert((now + patience, next_round));
            now < until && (progress.matched < retiring.since || retiring.answered < round)
        });
        self.contacts_due |= leader.peers.len() < before;
    }

    /// Says with whom to be in touch, if that has changed: with the members of whatever may yet be in force here, which
    /// are those that are settled and any that the log names above, with those who retire, and with whoever leads.
    pub(crate) fn report_contacts(&mut self) {
        if !std::mem::take(&mut self.contacts_due) {
            return;
        }
        let mut others: BTreeMap<NodeId, &Member> = BTreeMap::new();
        for membership in self.log.members().iter() {
            others.extend(membership.members.iter().map(|(node, member)| (*node, member)));
        }
        if let RoleState::Leader(leader) = &self.role {
            let retiring =
                leader.peers.iter().filter_map(|(node, progress)| Some((*node, progress.retiring.as_ref()?)));
            others.extend(retiring.map(|(node, retiring)| (node, &retiring.member)));
        }
        // Who leads may be removed by now, and has yet to hand over: it is heard as long as it leads.
        if let RoleState::Follower { leader: Some(leader) } = &self.role
            && let Some(previous) = &self.log.members().settled().previous
            && let Some(member) = previous.members.get(leader)
        {
            others.insert(*leader, member);
        }
        others.retain(|node, _| !self.membership.members.contains_key(node));
        let mut contacts = self.membership.clone();
        if !others.is_empty() {
            let others = others.into_iter().map(|(node, member)| (node, member.clone()));
            Arc::make_mut(&mut contacts).members.extend(others);
        }
        if contacts != self.contacts {
            self.contacts = contacts.clone();
            self.effects.contacts = Some(contacts);
        }
    }
}

/// The members that a change from `present` to `target` begins with: the target itself where a majority of either set has
/// a voter of any majority of the other, and both together where it may not.
fn next_members(present: &Membership, target: &Membership) -> Membership {
    let mut next = Membership { version: present.version + 1, ..target.clone() };
    if present.voters.symmetric_difference(&target.voters).count() > 1 {
        next.outgoing = present.voters.clone();
        for (node, member) in present.members.iter().filter(|(node, _)| present.voters.contains(node)) {
            next.members.entry(*node).or_insert_with(|| member.clone());
        }
    }
    next
}

impl Leader {
    /// Others are members from the entry at `since` on: newcomers are peers of whom nothing is known, and so is a node
    /// with another disk; whoever is removed retires.
    pub(crate) fn take_members(
        &mut self,
        (before, present): (&Membership, &Membership),
        since: LogIndex,
        (me, next, now): (NodeId, LogIndex, MonoTime),
    ) {
        for (node, progress) in &mut self.peers {
            if let Some(member) = before.members.get(node).filter(|_| !present.contains(*node)) {
                progress.retiring.get_or_insert(Retiring::new(member, since));
            }
        }
        for node in present.peers_of(me) {
            let store = |membership: &Membership| membership.members.get(&node).map(|member| member.store);
            let is_known = |progress: &Progress| progress.retiring.is_none() && store(before) == store(present);
            if !self.peers.get(&node).is_some_and(is_known) {
                // Also of who was removed and comes back: it may have died in between.
                self.lease.forget(node);
                self.peers.insert(node, Progress::new(next, now));
            }
        }
    }
}
