//! From promises to leading: phase 1 for every open slot at once. The one room that Raft has no twin for: there the
//! votes go to a log that holds everything; here anybody may be elected and then gathers what may have been chosen.
//!
//! ```text
//!                       11   12   13   14   15
//!   promise of 1        2.1   ·   1.3   ·    ·      chosen through 10
//!   promise of 2        3.2   ·    ·   3.2   ·      chosen through 11
//!                        │    │    │    │
//!                     chosen noop  │    │           first: catch up to 11, the highest of "chosen through"
//!                              ▼   ▼    ▼           then: each open slot's highest ballot, holes filled,
//!   leader of 4.3             4.3 4.3  4.3          all under the own ballot; proposals come after them
//! ```
//!
//! A promise comes in pages and counts when its last one has come ([`gathering`](crate::gathering)). The candidate is an
//! acceptor like the others: its own promise counts when it is durable, and its own accepted values are gathered by the
//! same pages.
//!
//! Who must promise: a quorum of every configuration that governs a slot above what is chosen
//! ([`membership`](crate::membership)). Whoever catches up may find that others have joined these, and asks them too.
//!
//! Why it is safe that pages are taken one after the other: an acceptor that has promised the ballot accepts nothing
//! below it, so what a later page shows was there when the promise was made, but for values learnt as chosen. And where
//! compaction has moved past the cursor, what a page lacks lies at or below its "chosen through", to which the candidate
//! must catch up by other ways ([`catch_up`](crate::catch_up)) before it leads.

use std::collections::BTreeSet;

use consensus_api::detector::QuorumContact;
use consensus_api::lease::Lease;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::reads::ReadQueue;
use consensus_api::{Ballot, LogClock, LogIndex, LogTime, MonoTime, NodeId, Payload, SharedEntry};

use crate::MultiPaxos;
use crate::catch_up::Purpose;
use crate::gathering::Gathering;
use crate::message::{Message, Prepare, Promise};
use crate::open_slots::OpenSlots;
use crate::role::{Leader, RoleState};

/// What a candidate knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    /// The promises so far.
    pub(crate) gathering: Gathering,
    /// When to look again for those who have not answered, and to go on catching up.
    pub(crate) resend_at: MonoTime,
    pub(crate) forced: bool,
    /// The ballot of the leader that has handed over to this candidate.
    pub(crate) released_by: Option<Ballot>,
}

impl MultiPaxos {
    /// Asks every other acceptor whose promise is not complete for its next page, unless it was asked lately.
    pub(crate) fn ask_for_promises(&mut self) {
        let (me, interval) = (self.config.node, self.config.timing.heartbeat_interval);
        let Some(gathering) = self.role.gathering_mut() else { return };
        for (node, from) in gathering.due(me, self.now, interval) {
            self.send_prepare(node, from);
        }
    }

    fn send_prepare(&mut self, to: NodeId, from: LogIndex) {
        let (forced, released_by) = match &self.role {
            RoleState::Candidate(candidate) => (candidate.forced, candidate.released_by),
            _ => (false, None),
        };
        self.send_promise(to, Message::Prepare(Prepare { ballot: self.ballot, from, forced, released_by }));
    }

    /// A candidate has learnt that others have a say in what is above: asks them too.
    pub(crate) fn ask_new_voters(&mut self) {
        let (electorate, from) = (self.electorate(), self.log.chosen_through().next());
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        for voter in electorate.voters() {
            candidate.gathering.include(voter, from);
        }
        self.ask_for_promises();
        self.try_to_lead();
    }

    /// Every interval: asks again for what has been lost.
    pub(crate) fn check_resend_timer(&mut self) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        if self.now >= candidate.resend_at {
            candidate.resend_at = self.now + self.config.timing.heartbeat_interval;
            self.ask_for_promises();
            self.count_own_promise(&[]);
            self.try_to_lead();
        }
    }

    /// Gathers the own promise page by page, once the write that holds it is durable and nothing that was pledged to a
    /// leader stands against it, as far as the window and what was read back reach.
    pub(crate) fn count_own_promise(&mut self, read: &[SharedEntry]) {
        let (me, ballot) = (self.config.node, self.ballot);
        while let Some(from) = self.own_cursor() {
            match self.promise_page(from, read) {
                Ok(promise) => self.on_promise(me, promise),
                Err((first, last)) => return self.read_back(Purpose::Promise { to: me, ballot, from }, first, last),
            }
        }
    }

    /// Where the next page of the own promise begins, if there is one to gather.
    fn own_cursor(&self) -> Option<LogIndex> {
        let cursor = self.role.gathering()?.cursor(self.config.node)?;
        let is_bound = self.pledge.binds(self.config.node, self.now);
        (self.writes_durable >= self.ballot_write() && !is_bound).then_some(cursor)
    }

    /// Sends `to` the page of this node's promise that begins at `from`, reading back first what is neither in the
    /// window nor among what was `read` already.
    pub(crate) fn answer_prepare(&mut self, to: NodeId, from: LogIndex, read: &[SharedEntry]) {
        match self.promise_page(from, read) {
            Ok(promise) => self.send_promise(to, Message::Promise(promise)),
            Err((first, last)) => self.read_back(Purpose::Promise { to, ballot: self.ballot, from }, first, last),
        }
    }

    /// Goes on with a page whose entries were read back.
    pub(crate) fn continue_promise(&mut self, to: NodeId, ballot: Ballot, from: LogIndex, read: &[SharedEntry]) {
        if ballot != self.ballot {
            return;
        }
        if to == self.config.node {
            self.count_own_promise(read);
        } else {
            self.answer_prepare(to, from, read);
        }
    }

    /// The page that begins at `from`, of entries in the window or among those read back; or the range that must be
    /// read back before there is one. Whoever asks from below the base must get to "chosen through" by other ways, so
    /// that what is held up to there would not help it.
    fn promise_page(&self, from: LogIndex, read: &[SharedEntry]) -> Result<Promise, (LogIndex, LogIndex)> {
        let (chosen_through, compacted_through) = (self.log.chosen_through(), self.log.base().index);
        let (ballot, accepted) = (self.ballot, Vec::new());
        let mut promise = Promise { ballot, from, accepted, next: None, chosen_through, compacted_through };
        let mut bytes = 0;
        let begin = if from <= compacted_through { chosen_through.next() } else { from };
        for run in self.log.runs_from(begin) {
            for slot in (run.first.0..=run.last.0).map(LogIndex) {
                let Some(entry) = self.log.window().get(slot).or_else(|| find(read, slot, run.ballot)) else {
                    if promise.accepted.is_empty() {
                        return Err((slot, self.log.last_index()));
                    }
                    promise.next = Some(slot);
                    return Ok(promise);
                };
                bytes += entry.size_bytes();
                if bytes > self.config.limits.message_bytes_max && !promise.accepted.is_empty() {
                    promise.next = Some(slot);
                    return Ok(promise);
                }
                promise.accepted.push(entry.clone());
            }
        }
        Ok(promise)
    }

    /// Takes a page of a promise of the own ballot: learns what it shows to be chosen, keeps the highest ballot's value
    /// of each slot above, and asks for the next page. Values that are chosen but do not follow what is known are left
    /// out: once complete, this promise has the candidate catch up over them before it leads, and the leader before it
    /// proposes in new slots.
    pub(crate) fn on_promise(&mut self, from: NodeId, promise: Promise) {
        let is_present = promise.ballot == self.ballot || is_planted(Bug::StaleVoteCounted);
        let Some(gathering) = self.role.gathering_mut().filter(|gathering| gathering.expects(from, &promise)) else {
            return;
        };
        if !is_present {
            return;
        }
        let next = gathering.turn_page(from, &promise, self.now);
        let learnable = gathering.learnable_through();
        for entry in promise.accepted {
            assert!(entry.ballot < self.ballot, "{from} promised {} and reports {}", self.ballot, entry.ballot);
            if entry.index <= promise.chosen_through && entry.index == self.log.chosen_through().next() {
                self.learn(entry);
            } else if entry.index > self.log.chosen_through().max(promise.chosen_through).max(learnable)
                && let Some(gathering) = self.role.gathering_mut()
            {
                gathering.report(entry);
            }
        }
        if let RoleState::Candidate(candidate) = &mut self.role {
            // It does not lead before it has learnt that. So an acceptor with a hole at slot 5 and a million slots accepted
            // above it is not asked for all of them, page after page, to be held in memory.
            candidate.gathering.drop_through(learnable);
            let forced = candidate.forced;
            // A takeover that makes progress is not given up.
            self.detector.rearm(self.now + self.patience(forced));
        }
        match next {
            Some(_) if from == self.config.node => {}
            Some(next) => self.send_prepare(from, next),
            None => {
                self.try_to_lead();
                self.try_to_extend();
            }
        }
    }

    /// Leads if a quorum has promised and this node knows as much to be chosen as any of them; catches up otherwise.
    pub(crate) fn try_to_lead(&mut self) {
        // What it has just learnt may count some of the promises for nothing: of those who come back with another disk.
        self.follow_members();
        let electorate = self.electorate();
        let RoleState::Candidate(candidate) = &self.role else { return };
        // What it has just caught up with may have removed it.
        if !self.is_voter() || !electorate.reached(|node| candidate.gathering.has_promised(node)) {
            return;
        }
        match candidate.gathering.teacher(self.log.chosen_through()) {
            Some((chosen_through, node)) if !is_planted(Bug::LeadsBeforeCaughtUp) => {
                self.ask_to_learn(node, chosen_through);
            }
            _ => self.become_leader(),
        }
    }

    /// Leads: what follows is to re-propose the highest ballot's value for every open slot and a no-op for every hole,
    /// under the own ballot, as if each were proposed for the first time ("Paxos Made Simple" §3). Proposals of clients
    /// come after.
    fn become_leader(&mut self) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        assert!(self.ballot.node == self.config.node, "leads in a ballot of {}", self.ballot.node);
        let chosen_through = self.log.chosen_through();
        let mut gathering = std::mem::take(&mut candidate.gathering);
        gathering.forget_incomplete();
        gathering.drop_through(chosen_through);
        if is_planted(Bug::AcceptedValuesIgnored) {
            gathering.reported.clear();
        }
        let time = gathering.reported.values().map(|entry| entry.log_time).fold(self.log.time(), LogTime::max);
        let (me, present) = (self.config.node, self.present());
        self.learning = None;
        self.admitted = (self.ballot, Default::default());
        self.timekeeper.appended(self.now);
        self.role = RoleState::Leader(Box::new(Leader {
            peers: Default::default(),
            contact: QuorumContact::new(self.now),
            reads: ReadQueue::default(),
            early_reads: Vec::new(),
            lease: Lease::new(&self.config.timing, me, present.quorums()),
            clock: LogClock::start(time, self.now),
            epoch_start: gathering.last_reported().unwrap_or(chosen_through),
            heartbeat_at: self.now,
            heartbeat_due: false,
            open: OpenSlots::after(chosen_through),
            gathering,
            prepared: self.log.memberships().settled().latest.version,
            transfer: None,
        }));
        self.refresh_peers(&BTreeSet::new());
        if let RoleState::Leader(leader) = &mut self.role {
            // A promise is an answer, and to be alive.
            for (node, progress) in &mut leader.peers {
                progress.has_answered = leader.gathering.has_promised(*node);
            }
        }
        self.propose_inherited();
    }

    /// Proposes what promises have shown, as far as the window reaches: the rest as it moves on.
    pub(crate) fn propose_inherited(&mut self) {
        while self.has_room()
            && let RoleState::Leader(leader) = &mut self.role
            && let Some(last) = leader.gathering.last_reported()
        {
            let next = leader.open.next();
            leader.gathering.drop_through(next.previous());
            if next > last {
                return;
            }
            match leader.gathering.reported.remove(&next) {
                Some(entry) => self.propose_at_next(entry.payload.clone(), Some(entry.log_time)),
                None if is_planted(Bug::HolesSkipped) => leader.gathering.move_down(next),
                None => self.propose_at_next(Payload::Noop, None),
            }
        }
    }
}

/// The entry of this slot and ballot among entries in order.
fn find(read: &[SharedEntry], slot: LogIndex, ballot: Ballot) -> Option<&SharedEntry> {
    let at = read.binary_search_by_key(&slot, |entry| entry.index).ok()?;
    read.get(at).filter(|entry| entry.ballot == ballot)
}
