//! How a leader comes and goes: suspicion, pre-check, campaign, stepping down, and answering others. What lies between
//! a quorum's promises and leading is in [`takeover`](crate::takeover).
//!
//! ```text
//!   timeout ──▶ PreCheck to all ──quorum──▶ own promise durable ──▶ Prepare to all ──quorum──▶ takeover
//!                    │                                                │
//!                    └── a refusal tells a higher ballot: go above    └── Nack: step down, go above next time
//! ```
//!
//! The rules: a promise is durable before it is told ("Paxos Made Simple" §2.2 and §2.5); whoever is asked answers
//! whatever the asker's log holds, for the takeover brings it all the values that may be chosen; a pre-check before the
//! campaign (Raft thesis §9.6), and voters that hear a leader help nobody to depose it, nor does a leader go on that
//! hears no quorum (§6.2), all as in Raft, so that a comparison does not compare these. Voters that have pledged it to a
//! leader promise nobody else, not even themselves, while the pledge lasts ([`consensus_api::lease`]). In a forced
//! election a leader that is asked steps down, and a voter that is bound pledges nothing more for a while, in case that the
//! leader hears of nothing: so the election succeeds when what was pledged is over, and the candidate has that much
//! patience.

use std::time::Duration;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, LogIndex, MonoTime, NodeId, Tally, Verdict};

use crate::MultiPaxos;
use crate::gathering::Gathering;
use crate::message::{LearnRequest, Message, Nack, PreCheck, PreCheckReply, Prepare};
use crate::role::{Leader, RoleState};
use crate::takeover::Candidate;

impl MultiPaxos {
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
        let present = self.present();
        leader.contact.lost(self.now, self.config.timing.election_timeout, self.config.node, present.quorums())
    }

    /// Campaigns, or asks around first, when the time has come.
    pub(crate) fn check_election_timer(&mut self) {
        let (alone, is_bound) = (self.decides_alone(), self.pledge.binds(self.config.node, self.now));
        let due = match &self.role {
            RoleState::Leader(_) => false,
            // It waits for its own promise, which comes; or to learn from somebody who may never answer.
            RoleState::Candidate(candidate) if alone => {
                self.detector.suspects(self.now) && candidate.gathering.teacher(self.log.chosen_through()).is_some()
            }
            RoleState::Follower { leader: None } | RoleState::PreCandidate { .. } if alone => true,
            _ if !self.is_voter() => return self.check_learners_timer(),
            _ => self.detector.suspects(self.now) && !is_bound,
        };
        if due && self.config.timing.pre_check && !alone {
            self.pre_campaign();
        } else if due {
            self.campaign(false, None);
        }
    }

    /// A learner that hears no leader asks the voters for what is chosen: it may be the new voters' only way to find out
    /// that they are, where the old ones know that they are not and campaign no more. So does who was removed, for it may
    /// have been taken back in since, and be the only one that is to vote.
    fn check_learners_timer(&mut self) {
        if !self.detector.suspects(self.now) {
            return;
        }
        self.detector.rearm(self.now);
        self.become_follower(None);
        let (from, through) = (self.log.chosen_through().next(), LogIndex(u64::MAX));
        for voter in self.other_voters() {
            self.send(voter, Message::LearnRequest(LearnRequest { from, through }));
        }
    }

    /// When to suspect, if nothing is heard until then; not before this node may vote for itself.
    pub(crate) fn election_deadline(&self) -> MonoTime {
        self.detector.deadline().max(self.pledge.until())
    }

    /// Whether this node is elected by itself: then it asks nobody, and campaigns at once, unless it hears a leader: one that
    /// it is about to be left by has yet to hand over.
    pub(crate) fn decides_alone(&self) -> bool {
        self.is_voter() && self.electorate().reached(|node| node == self.config.node)
    }

    /// A ballot of this node's own, above every round that it has heard of.
    fn next_ballot(&self) -> Ballot {
        Ballot::new(self.ballot.round.max(self.round_seen) + 1, self.config.node)
    }

    /// Asks the voters whether a campaign would succeed, so that a node that was cut off disturbs nobody.
    fn pre_campaign(&mut self) {
        self.detector.rearm(self.now);
        self.become_follower(None);
        self.ask_around();
    }

    fn ask_around(&mut self) {
        let ballot = self.next_ballot();
        let mut tally = Tally::default();
        tally.record(self.config.node, true);
        self.role = RoleState::PreCandidate { ballot, tally };
        let from = self.log.chosen_through().next();
        for voter in self.other_voters() {
            self.send(voter, Message::PreCheck(PreCheck { ballot, from }));
        }
    }

    /// Asks the voters for their promises of a new ballot. The own promise counts, and the question leaves, once it is
    /// durable. The leader that has handed over to this node, if one has, has released whoever was bound to it in its ballot.
    pub(crate) fn campaign(&mut self, forced: bool, released_by: Option<Ballot>) {
        if matches!(self.role, RoleState::Leader(_)) || !self.is_voter() {
            return;
        }
        self.detector.rearm(self.now + self.patience(forced));
        self.become_follower(None);
        self.set_ballot(self.next_ballot());
        let resend_at = self.now + self.config.timing.heartbeat_interval;
        let from = self.log.chosen_through().next();
        let gathering = Gathering::new(self.electorate().voters().into_iter(), from);
        let candidate = Candidate { gathering, resend_at, forced, released_by };
        self.role = RoleState::Candidate(Box::new(candidate));
        self.ask_for_promises();
    }

    /// For how long a campaign goes on beyond the usual: a forced one outlives the pledges that stand when it is first
    /// heard of.
    pub(crate) fn patience(&self, forced: bool) -> Duration {
        if forced { self.pledge.length(self.now) } else { Duration::ZERO }
    }

    /// Answers a question that binds nobody: yes if this node hears no leader and the ballot is above its promise.
    pub(crate) fn on_pre_check(&mut self, from: NodeId, question: PreCheck) {
        let timing = &self.config.timing;
        let protects =
            (timing.pre_check || timing.check_quorum) && self.hears_leader() || self.pledge.binds(from, self.now);
        let granted = !protects && question.ballot > self.ballot && !self.teaches_removed(from, question.from);
        let reply = PreCheckReply { ballot: question.ballot, promised: self.ballot, granted };
        // A refusal reveals this node's promise. It need not be durable for that: it only tells where to go above.
        self.send(from, Message::PreCheckReply(reply));
    }

    /// Counts an answer, or learns from it that the ballot is too low, and asks about a higher one at once. That ends:
    /// each time, somebody's promise must have risen in between.
    pub(crate) fn on_pre_check_reply(&mut self, from: NodeId, reply: PreCheckReply) {
        self.round_seen = self.round_seen.max(reply.promised.round);
        let electorate = self.electorate();
        let RoleState::PreCandidate { ballot, tally } = &mut self.role else { return };
        if reply.ballot != *ballot {
            return;
        }
        if !reply.granted && reply.promised >= reply.ballot {
            return self.ask_around();
        }
        tally.record(from, reply.granted);
        match tally.verdict(electorate.quorums()) {
            Verdict::Won => self.campaign(false, None),
            Verdict::Lost => self.become_follower(None),
            Verdict::Open => {}
        }
    }

    /// Promises, or refuses. A voter that hears a leader does not even look at the ballot, or a node that was cut off
    /// would depose a leader that works; nor does one that has pledged not to, whoever wants the election. It answers
    /// when it is asked again later.
    pub(crate) fn on_prepare(&mut self, from: NodeId, prepare: Prepare) {
        if prepare.ballot.node != from {
            return;
        }
        if prepare.ballot < self.ballot {
            return self.send_nack(from, prepare.ballot);
        }
        if prepare.ballot > self.ballot {
            if let Some(handed_over) = prepare.released_by {
                self.release_pledge(handed_over);
            }
            if self.pledge.binds_in(prepare.forced, from, self.now) {
                if prepare.forced {
                    self.pledge.withhold(self.now);
                }
                return;
            }
            if self.config.timing.check_quorum && !prepare.forced && self.hears_leader() {
                return;
            }
            if self.teaches_removed(from, prepare.from) {
                return;
            }
            self.adopt(prepare.ballot);
        } else if self.now < self.owed_until {
            // It may be followed, and not promised slots that a lease of another's is counted for.
            return;
        }
        self.detector.rearm(self.now);
        self.answer_prepare(from, prepare.from, &[]);
    }

    /// The leader of this ballot has handed over: what is owed to it is owed no more, unless this node has promised a later
    /// ballot since. That may be of the same node, which leads again and relies on it: say 5.1 has handed over to 2, which
    /// campaigns in 6.2 and is cut off; 1 has restarted, heard of none of it, and been elected in 6.1. Nor does it end what is
    /// owed to an earlier leader still.
    pub(crate) fn release_pledge(&mut self, handed_over: Ballot) {
        if self.ballot <= handed_over && self.now >= self.owed_until {
            self.pledge.release(handed_over.node, self.now);
        }
    }

    /// Whether a candidate that knows of nothing from this slot on votes no more, as this node knows from what is chosen
    /// since: then it would only disturb those who do, and is told what was chosen instead of being helped.
    fn teaches_removed(&mut self, candidate: NodeId, from: LogIndex) -> bool {
        let through = self.log.chosen_through();
        let is_removed = from <= through && !self.electorate().voters().contains(&candidate);
        if is_removed {
            self.on_learn_request(candidate, LearnRequest { from, through });
        }
        is_removed
    }

    /// Gives up a ballot that somebody refuses, if it is still the own one.
    pub(crate) fn on_nack(&mut self, nack: Nack) {
        self.round_seen = self.round_seen.max(nack.promised.round);
        let owns = matches!(self.role, RoleState::Candidate(_) | RoleState::Leader(_));
        if owns && nack.ballot == self.ballot && nack.promised > self.ballot {
            self.become_follower(None);
        }
    }

    /// Tells the sender of a message of an earlier ballot that its ballot is over.
    pub(crate) fn send_nack(&mut self, to: NodeId, refused: Ballot) {
        let nack = Nack { ballot: refused, promised: self.ballot };
        let after = self.ballot_write();
        self.send_after(to, after, Message::Nack(nack));
    }

    /// Promises a higher ballot, whose owner does not lead yet as far as this node knows.
    pub(crate) fn adopt(&mut self, ballot: Ballot) {
        self.become_follower(None);
        self.detector.forget_leader();
        self.set_ballot(ballot);
    }

    /// Whether `ballot` is the promised one, or is now, after its owner has spoken as a leader. Follows it if so, and
    /// tells it if its ballot is over. That it leads means that a quorum has promised; accepting from it, or answering
    /// it, is a promise too ("Paxos Made Simple" §2.2: an acceptor accepts unless it has promised a *higher* ballot).
    pub(crate) fn follow(&mut self, from: NodeId, ballot: Ballot) -> bool {
        if ballot.node != from {
            return false;
        }
        if ballot < self.ballot {
            self.send_nack(from, ballot);
            return false;
        }
        assert!(from != self.config.node, "{from} hears itself from somebody else");
        if ballot > self.ballot {
            self.adopt(ballot);
        }
        self.become_follower(Some(from));
        self.detector.heard(self.now);
        if self.pledge.binds(from, self.now) {
            self.owed_until = self.owed_until.max(self.pledge.until());
        }
        self.pledge.heard(from, self.now);
        true
    }

    /// Stops leading or campaigning; whatever was meant for another leader than `leader` is refused.
    pub(crate) fn become_follower(&mut self, leader: Option<NodeId>) {
        if matches!(&self.role, RoleState::Follower { leader: present } if *present == leader) {
            return;
        }
        let previous = std::mem::replace(&mut self.role, RoleState::Follower { leader });
        let abandoned = self.errands.abandon(leader);
        self.effects.refused.extend(abandoned);
        if let RoleState::Leader(mut led) = previous {
            if is_planted(Bug::OpenEntriesRefused) {
                self.refuse_open(&led);
            }
            self.refuse_reads(led.reads.abandon(), leader);
            self.refuse_reads(led.early_reads, leader);
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
}
