//! How a leader comes and goes: suspicion, pre-vote, campaign, victory, stepping down, and answering others.
//!
//! ```text
//!   timeout ──▶ PreVote to all ──quorum──▶ own vote durable ──▶ RequestVote to all ──quorum──▶ leader, no-op
//!                    │                                                │
//!                    └── a refusal tells a higher term: adopt it      └── somebody leads this term: follow
//! ```
//!
//! The rules, with where they come from: one vote per term, durable before it is told (paper §5.2, figure 2); only for a
//! log that is at least as up to date (§5.4.1); pre-vote (thesis §9.6); a voter that hears a leader helps nobody to
//! depose it, and a leader that hears no quorum steps down (thesis §6.2, §4.2.3); a voter that has pledged it to a leader
//! votes for nobody else, not even itself, while the pledge lasts ([`consensus_api::lease`]). In a forced election a
//! leader that is asked steps down, and a voter that is bound pledges nothing more for a while, in case that the leader
//! hears of nothing: so the election succeeds when what was pledged is over, and the candidate has that much patience.
//!
//! Why a pre-vote's refusal raises the asker's term: take a node in term 5 with a short log, and two in term 3 with a
//! long one. The first gets no vote for its log, the others none for their term, for ever, unless they learn of term 5
//! and campaign above it.

use std::time::Duration;

use consensus_api::detector::QuorumContact;
use consensus_api::lease::Lease;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::reads::ReadQueue;
use consensus_api::{Ballot, LogClock, LogPosition, MonoTime, NodeId, Payload, Tally, Verdict, WriteId};

use crate::Raft;
use crate::message::{Message, Nack, PreVote, PreVoteReply, RequestVote, Vote};
use crate::planted;
use crate::role::{Leader, RoleState};

impl Raft {
    /// Steps down if no quorum was heard for an election timeout. Called before an input is looked at, so that a
    /// leader that was paused, and may have been replaced, answers nothing any more.
    pub(crate) fn step_down_without_quorum(&mut self) {
        if let RoleState::Leader(leader) = &self.role
            && self.config.timing.leader_minds_quorum()
            && self.has_lost_quorum(leader)
            && !(is_planted(Bug::LeaderNeverStepsDown) || is_planted(Bug::LeaseSurvivesPause))
        {
            self.become_follower(None);
        }
    }

    fn has_lost_quorum(&self, leader: &Leader) -> bool {
        leader.contact.lost(self.now, self.config.timing.election_timeout, self.config.node, self.quorums())
    }

    /// Campaigns, or asks around first, when the time has come.
    pub(crate) fn check_election_timer(&mut self) {
        let (alone, is_bound) = (self.decides_alone(), self.pledge.binds(self.config.node, self.now));
        let due = match &self.role {
            RoleState::Leader(_) => false,
            // It waits for its own vote, and for nothing else.
            RoleState::Candidate { .. } if alone => false,
            RoleState::Follower { leader: None } | RoleState::PreCandidate { .. } if alone => true,
            _ => self.is_voter() && self.detector.suspects(self.now) && !is_bound,
        };
        if due && self.config.timing.pre_check && !alone {
            self.pre_campaign();
        } else if due {
            self.campaign(false, None);
        }
        self.ask_for_votes();
        self.count_own_vote();
    }

    /// When to suspect, if nothing is heard until then; not before this node may vote for itself.
    pub(crate) fn election_deadline(&self) -> MonoTime {
        self.detector.deadline().max(self.pledge.until())
    }

    /// Whether this node is a quorum by itself: then it asks nobody, and campaigns at once, unless it hears a leader: one
    /// that it is about to be left by has yet to hand over.
    pub(crate) fn decides_alone(&self) -> bool {
        self.is_voter() && self.quorums().reached(|node| node == self.config.node)
    }

    /// Asks the voters whether a campaign would succeed, so that a node that was cut off disturbs nobody (thesis §9.6).
    fn pre_campaign(&mut self) {
        self.detector.rearm(self.now);
        self.become_follower(None);
        self.ask_around();
    }

    fn ask_around(&mut self) {
        let ballot = Ballot::new(self.ballot.round + 1, self.config.node);
        let mut tally = Tally::default();
        tally.record(self.config.node, true);
        self.role = RoleState::PreCandidate { ballot, tally };
        let question = PreVote { ballot, last: self.log.last() };
        self.ask_voters(WriteId(0), Message::PreVote(question));
    }

    /// Asks the voters for their votes in a new term. The own vote counts, and the question leaves, once it is durable.
    /// `released_by` is the ballot of the leader that has handed over to this node.
    pub(crate) fn campaign(&mut self, forced: bool, released_by: Option<Ballot>) {
        if matches!(self.role, RoleState::Leader(_)) || !self.is_voter() {
            return;
        }
        self.detector.rearm(self.now + self.patience(forced));
        self.become_follower(None);
        self.set_ballot(Ballot::new(self.ballot.round + 1, self.config.node));
        self.role = RoleState::Candidate { tally: Tally::default(), forced, released_by, resend_at: self.now };
        self.ask_for_votes();
    }

    /// For how long a campaign goes on beyond the usual: a forced one outlives the pledges that stand when it is first
    /// heard of.
    fn patience(&self, forced: bool) -> Duration {
        if forced { self.pledge.length(self.now) } else { Duration::ZERO }
    }

    /// Asks, and asks again every heartbeat interval: servers retry what is not answered in time (paper §5.1), and to
    /// wait for a whole timeout would make one lost message as costly as a lost election.
    fn ask_for_votes(&mut self) {
        let (now, last, ballot) = (self.now, self.log.last(), self.ballot);
        let RoleState::Candidate { forced, released_by, resend_at, .. } = &mut self.role else { return };
        if now >= *resend_at {
            *resend_at = now + self.config.timing.heartbeat_interval;
            let request = RequestVote { ballot, last, forced: *forced, released_by: *released_by };
            self.ask_voters(self.ballot_write, Message::RequestVote(request));
        }
    }

    fn ask_voters(&mut self, after: WriteId, question: Message) {
        let (me, membership) = (self.config.node, self.membership.clone());
        for voter in planted::asked(&membership).filter(|node| *node != me) {
            self.send_after(voter, after, question.clone());
        }
    }

    /// Answers a question that binds nobody: yes if this node hears no leader, the term is new to it, and the log would
    /// have its vote.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, question: PreVote) {
        let timing = &self.config.timing;
        let protects =
            (timing.pre_check || timing.check_quorum) && self.hears_leader() || self.pledge.binds(from, self.now);
        let granted = !protects && question.ballot.round > self.ballot.round && self.is_up_to_date(question.last);
        let reply = PreVoteReply { ballot: question.ballot, promised: self.ballot, granted };
        // A refusal reveals this node's term. It need not be durable for that: whoever adopts it adopts it for itself.
        self.send(from, Message::PreVoteReply(reply));
    }

    /// Counts an answer, or learns from it that the own term is too low to be elected in, and asks about a higher one
    /// at once. That ends: each time, somebody's term must have risen in between.
    pub(crate) fn on_pre_vote_reply(&mut self, from: NodeId, reply: PreVoteReply) {
        let quorums = planted::quorums(&self.membership);
        let voter = planted::counted_as(&self.membership, self.config.node, from);
        let RoleState::PreCandidate { ballot, tally } = &mut self.role else { return };
        if reply.ballot != *ballot {
            return;
        }
        let teaches = !is_planted(Bug::RefusalTeachesNothing);
        if !reply.granted && reply.promised.round >= reply.ballot.round && teaches {
            self.adopt(reply.promised.round);
            return self.ask_around();
        }
        tally.record(voter, reply.granted);
        match tally.verdict(quorums) {
            Verdict::Won => self.campaign(false, None),
            Verdict::Lost => self.become_follower(None),
            Verdict::Open => {}
        }
    }

    /// Votes, or says no. A voter that hears a leader does not even look at the term, or a node that was cut off would
    /// depose a leader that works; nor does one that has pledged not to vote yet, whoever wants the election. It answers
    /// when it is asked again later, for a "no" would stand.
    pub(crate) fn on_request_vote(&mut self, from: NodeId, request: RequestVote) {
        if request.ballot.node != from {
            return;
        }
        if request.ballot.round < self.ballot.round {
            return self.send_nack(from, request.ballot);
        }
        if let Some(handed) = request.released_by.filter(|handed| self.ballot.round <= handed.round) {
            // In a later term it may have been elected again since, and rely on what this node has told it there.
            self.pledge.release(handed.node, self.now);
        }
        let is_bound = self.pledge.binds_in(request.forced, from, self.now);
        if is_bound && request.ballot != self.ballot {
            if request.forced {
                self.pledge.withhold(self.now);
            }
            return;
        }
        if request.ballot.round > self.ballot.round {
            if self.config.timing.check_quorum && !request.forced && self.hears_leader() {
                return;
            }
            self.adopt(request.ballot.round);
        }
        if self.ballot.node == NodeId::NONE && self.is_up_to_date(request.last) {
            self.set_ballot(request.ballot);
            self.detector.rearm(self.now);
        }
        let granted = self.ballot == request.ballot;
        self.send_promise(from, Message::Vote(Vote { ballot: request.ballot, granted }));
    }

    /// Counts a vote for the present campaign.
    pub(crate) fn on_vote(&mut self, from: NodeId, vote: Vote) {
        if vote.ballot == self.ballot || is_planted(Bug::StaleVoteCounted) {
            self.count_vote(from, vote.granted);
        }
    }

    /// Counts the own vote, once the write that holds it is durable and nothing that was pledged to a leader stands
    /// against it.
    pub(crate) fn count_own_vote(&mut self) {
        let is_bound = self.pledge.binds(self.config.node, self.now);
        if self.writes_durable >= self.ballot_write && !is_bound {
            self.count_vote(self.config.node, true);
        }
    }

    fn count_vote(&mut self, from: NodeId, granted: bool) {
        let quorums = planted::quorums(&self.membership);
        let voter = planted::counted_as(&self.membership, self.config.node, from);
        let RoleState::Candidate { tally, .. } = &mut self.role else { return };
        tally.record(voter, granted);
        match tally.verdict(quorums) {
            Verdict::Won => self.become_leader(),
            Verdict::Lost => self.become_follower(None),
            Verdict::Open => {}
        }
    }

    /// Takes over the term of a node that refuses the own ballot, if that ballot is still the own one.
    pub(crate) fn on_nack(&mut self, nack: Nack) {
        let owns = matches!(self.role, RoleState::Candidate { .. } | RoleState::Leader(_));
        if owns && nack.ballot == self.ballot && nack.promised.round > self.ballot.round {
            self.adopt(nack.promised.round);
        }
    }

    /// Tells the sender of a message of an earlier term that its term is over.
    pub(crate) fn send_nack(&mut self, to: NodeId, refused: Ballot) {
        let nack = Nack { ballot: refused, promised: self.ballot };
        let after = self.ballot_write;
        self.send_after(to, after, Message::Nack(nack));
    }

    /// Leads. Everyone is taken to have what this node had, and the first entry is a no-op: only an entry of the own
    /// term can be committed by counting, and it commits what is below it (paper §5.4.2, figure 8).
    fn become_leader(&mut self) {
        assert!(self.ballot.node == self.config.node, "leads in a ballot of {}", self.ballot.node);
        assert!(self.allegiance.leader.is_none(), "two leaders in term {}", self.ballot.round);
        let next = self.log.last_index().next();
        let peers = self.first_peers(next);
        self.role = RoleState::Leader(Box::new(Leader {
            peers,
            contact: QuorumContact::new(self.now),
            reads: ReadQueue::default(),
            lease: Lease::new(&self.config.timing, self.config.node, planted::quorums(&self.membership)),
            clock: LogClock::start(self.log.time(), self.now),
            epoch_start: next,
            heartbeat_at: self.now,
            heartbeat_due: false,
            durable: self.log.durable_through(),
            open: Default::default(),
            open_bytes: 0,
            transfer: None,
        }));
        self.allegiance.leader = Some(self.config.node);
        self.admitted = (self.ballot, Default::default());
        self.append_own(Payload::Noop);
    }

    /// Takes over a higher term, whose leader is not known yet.
    pub(crate) fn adopt(&mut self, term: u64) {
        self.become_follower(None);
        self.detector.forget_leader();
        self.set_ballot(Ballot::new(term, NodeId::NONE));
    }

    /// Whether `ballot` leads the present term, now that its owner has spoken. Follows it if so, and tells it if its
    /// term is over.
    pub(crate) fn follow(&mut self, from: NodeId, ballot: Ballot) -> bool {
        if ballot.node != from {
            return false;
        }
        if ballot.round < self.ballot.round {
            self.send_nack(from, ballot);
            return false;
        }
        if ballot.round > self.ballot.round {
            self.adopt(ballot.round);
        }
        // Each won a quorum of votes in one term, so some voter voted twice (paper §5.2, Election Safety).
        let known = self.allegiance.leader.unwrap_or(from);
        assert!(known == from, "two leaders in term {}: {known} and {from}", ballot.round);
        self.allegiance.leader = Some(from);
        self.become_follower(Some(from));
        self.detector.heard(self.now);
        self.pledge.heard(from, self.now);
        true
    }

    /// Stops leading or campaigning; whatever was meant for another leader than `leader` is refused.
    pub(crate) fn become_follower(&mut self, leader: Option<NodeId>) {
        if matches!(&self.role, RoleState::Follower { leader: present } if *present == leader) {
            return;
        }
        let previous = std::mem::replace(&mut self.role, RoleState::Follower { leader });
        self.contacts_due = true;
        let abandoned = self.errands.abandon(leader);
        self.effects.refused.extend(abandoned);
        if let RoleState::Leader(mut led) = previous {
            if is_planted(Bug::OpenEntriesRefused) {
                self.refuse_open(&led);
            }
            self.refuse_reads(led.reads.abandon(), leader);
            self.detector.rearm(self.now);
        }
    }

    /// Whether this node knows of a leader that works: it hears one, or is one that hears a quorum.
    fn hears_leader(&self) -> bool {
        match &self.role {
            _ if is_planted(Bug::LiveLeaderDeposed) => false,
            RoleState::Leader(leader) => !self.has_lost_quorum(leader),
            _ => self.detector.hears_leader(self.now),
        }
    }

    /// The election restriction: a log that ends in a later term, or in the same one and no sooner (paper §5.4.1).
    fn is_up_to_date(&self, last: LogPosition) -> bool {
        let own = self.log.last();
        (last.ballot.round, last.index) >= (own.ballot.round, own.index) || is_planted(Bug::ElectionRestrictionDropped)
    }
}
