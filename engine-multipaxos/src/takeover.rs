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
//! A promise comes in pages and counts when its last one has come. The candidate is an acceptor like the others: its
//! own promise counts when it is durable, and its own accepted values are gathered by the same pages.
//!
//! Why it is safe that pages are taken one after the other: an acceptor that has promised the ballot accepts nothing
//! below it, so what a later page shows was there when the promise was made, but for values learnt as chosen. And where
//! compaction has moved past the cursor, what a page lacks lies at or below its "chosen through", to which the candidate
//! must catch up by other ways ([`catch_up`](crate::catch_up)) before it leads.

use std::collections::BTreeMap;

use consensus_api::detector::QuorumContact;
use consensus_api::lease::Lease;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::reads::ReadQueue;
use consensus_api::{Ballot, LogClock, LogIndex, LogTime, MonoTime, NodeId, Payload, SharedEntry};

use crate::MultiPaxos;
use crate::catch_up::Purpose;
use crate::message::{Message, Prepare, Promise};
use crate::open_slots::OpenSlots;
use crate::role::{Leader, Progress, RoleState};

/// An acceptor that has answered and not sent the page that it was asked for after this many heartbeat intervals is asked
/// again: what is read back from a disk takes its time. One that has not answered at all is asked every interval, as in
/// Raft.
const ASK_INTERVALS: u32 = 4;

/// What a candidate knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    acceptors: BTreeMap<NodeId, Promising>,
    // The value of the highest ballot for each slot that is not known to be chosen.
    reported: BTreeMap<LogIndex, SharedEntry>,
    // When to look again for those who have not answered, and to go on catching up.
    pub(crate) resend_at: MonoTime,
    forced: bool,
}

/// How far one acceptor's promise has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Promising {
    // The first slot of the next page.
    cursor: LogIndex,
    // When it was last asked for that page.
    asked_at: Option<MonoTime>,
    // Whether any page of it has come.
    has_answered: bool,
    complete: bool,
    chosen_through: LogIndex,
    compacted_through: LogIndex,
}

impl Candidate {
    /// Has heard from nobody yet; wants to hear of slots from `from` on.
    pub(crate) fn new(
        acceptors: impl Iterator<Item = NodeId>,
        from: LogIndex,
        resend_at: MonoTime,
        forced: bool,
    ) -> Candidate {
        let promising = Promising {
            cursor: from,
            asked_at: None,
            has_answered: false,
            complete: false,
            chosen_through: LogIndex::ZERO,
            compacted_through: LogIndex::ZERO,
        };
        let acceptors = acceptors.map(|node| (node, promising)).collect();
        Candidate { acceptors, reported: BTreeMap::new(), resend_at, forced }
    }

    /// Keeps a value unless one of a higher ballot is known for its slot.
    fn report(&mut self, entry: SharedEntry) {
        let known = self.reported.entry(entry.index).or_insert_with(|| entry.clone());
        if known.ballot < entry.ballot && !is_planted(Bug::LowestBallotReproposed)
            || known.ballot > entry.ballot && is_planted(Bug::LowestBallotReproposed)
        {
            *known = entry;
        } else if known.ballot == entry.ballot {
            let same = known.payload == entry.payload && known.log_time == entry.log_time;
            assert!(same, "two values at {} under {}", entry.index, entry.ballot);
        }
    }

    /// Goes on with an acceptor's next page, and drops what has been reported up to `learnable`. A complete promise knows
    /// that to be chosen, and the candidate does not lead before it has learnt it. So an acceptor with a hole at slot 5
    /// and a million slots accepted above it is not asked for all of them, page after page, to be held in memory.
    fn go_on(&mut self, acceptor: NodeId, next: Option<LogIndex>, learnable: LogIndex) {
        if let (Some(promising), Some(next)) = (self.acceptors.get_mut(&acceptor), next) {
            promising.cursor = next;
        }
        self.reported = self.reported.split_off(&learnable.next());
    }

    /// What must be learnt before this candidate leads: the highest "chosen through" of the complete promises.
    fn learnable_through(&self) -> LogIndex {
        self.complete().map(|(_, promising)| promising.chosen_through).max().unwrap_or_default()
    }

    /// From whom to learn what follows `known`, and how far it goes there: whoever knows most of those whose log still
    /// holds it, for a snapshot takes its time; from anybody if none does.
    fn teacher(&self, known: LogIndex) -> Option<(LogIndex, NodeId)> {
        let ahead = self.complete().filter(|(_, promising)| promising.chosen_through > known);
        let best = ahead
            .max_by_key(|(node, promising)| (promising.compacted_through <= known, promising.chosen_through, **node));
        best.map(|(node, promising)| (promising.chosen_through, *node))
    }

    fn complete(&self) -> impl Iterator<Item = (&NodeId, &Promising)> {
        self.acceptors.iter().filter(|(_, promising)| promising.complete)
    }
}

impl MultiPaxos {
    /// Asks every other acceptor whose promise is not complete for its next page, unless it was asked lately.
    pub(crate) fn ask_for_promises(&mut self) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        let (me, now, forced) = (self.config.node, self.now, candidate.forced);
        let interval = self.config.timing.heartbeat_interval;
        let mut asked = Vec::new();
        for (node, promising) in &mut candidate.acceptors {
            let patience = interval * if promising.has_answered { ASK_INTERVALS } else { 1 };
            let due = promising.asked_at.is_none_or(|at| now.since(at) >= patience);
            if *node != me && !promising.complete && due {
                promising.asked_at = Some(now);
                asked.push((*node, promising.cursor));
            }
        }
        for (node, from) in asked {
            self.send_promise(node, Message::Prepare(Prepare { ballot: self.ballot, from, forced }));
        }
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
        let RoleState::Candidate(candidate) = &self.role else { return None };
        let own = candidate.acceptors.get(&self.config.node).filter(|own| !own.complete)?;
        let is_bound = self.pledge.binds(self.config.node, self.now);
        (self.writes_durable >= self.ballot_write() && !is_bound).then_some(own.cursor)
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
    /// out: once complete, this promise has the candidate catch up over them before it leads.
    pub(crate) fn on_promise(&mut self, from: NodeId, promise: Promise) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        let Some(promising) = candidate.acceptors.get_mut(&from) else { return };
        let is_present = promise.ballot == self.ballot || is_planted(Bug::StaleVoteCounted);
        if !is_present || promising.complete || promise.from != promising.cursor {
            return;
        }
        let next = promise.next.filter(|_| !is_planted(Bug::PromiseCountedEarly));
        promising.chosen_through = promising.chosen_through.max(promise.chosen_through);
        promising.compacted_through = promising.compacted_through.max(promise.compacted_through);
        promising.complete = next.is_none();
        promising.asked_at = Some(self.now);
        promising.has_answered = true;
        let learnable = candidate.learnable_through();
        let next = next.map(|next| next.max(learnable.next()));
        candidate.go_on(from, next, learnable);
        let forced = candidate.forced;
        for entry in promise.accepted {
            assert!(entry.ballot < self.ballot, "{from} promised {} and reports {}", self.ballot, entry.ballot);
            if entry.index <= promise.chosen_through && entry.index == self.log.chosen_through().next() {
                self.log.learn(entry);
            } else if entry.index > self.log.chosen_through().max(promise.chosen_through).max(learnable) {
                candidate.report(entry);
            }
        }
        // A takeover that makes progress is not given up.
        self.detector.rearm(self.now + self.patience(forced));
        match next {
            Some(_) if from == self.config.node => {}
            Some(next) => {
                self.send_promise(from, Message::Prepare(Prepare { ballot: self.ballot, from: next, forced }));
            }
            None => self.try_to_lead(),
        }
    }

    /// Leads if a quorum has promised and this node knows as much to be chosen as any of them; catches up otherwise.
    pub(crate) fn try_to_lead(&mut self) {
        let RoleState::Candidate(candidate) = &self.role else { return };
        let complete = |node| candidate.acceptors.get(&node).is_some_and(|promising| promising.complete);
        if !self.quorums().reached(complete) {
            return;
        }
        match candidate.teacher(self.log.chosen_through()) {
            Some((chosen_through, node)) if !is_planted(Bug::LeadsBeforeCaughtUp) => {
                self.ask_to_learn(node, chosen_through);
            }
            _ => self.become_leader(),
        }
    }

    /// Leads: re-proposes the highest ballot's value for every open slot and a no-op for every hole, under the own
    /// ballot, as if each were proposed for the first time ("Paxos Made Simple" §3). Proposals of clients come after.
    fn become_leader(&mut self) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        assert!(self.ballot.node == self.config.node, "leads in a ballot of {}", self.ballot.node);
        let chosen_through = self.log.chosen_through();
        let mut reported = candidate.reported.split_off(&chosen_through.next());
        if is_planted(Bug::AcceptedValuesIgnored) {
            reported.clear();
        }
        let last = reported.keys().next_back().copied().unwrap_or(chosen_through);
        let time = reported.values().map(|entry| entry.log_time).fold(self.log.time(), LogTime::max);
        let progress = Progress::new(chosen_through.next(), self.now);
        let peers = self.membership.peers_of(self.config.node).map(|peer| (peer, progress.clone())).collect();
        self.learning = None;
        self.admitted = (self.ballot, Default::default());
        self.timekeeper.appended(self.now);
        self.role = RoleState::Leader(Box::new(Leader {
            peers,
            contact: QuorumContact::new(self.now),
            reads: ReadQueue::default(),
            lease: Lease::new(&self.config.timing, self.config.node, self.membership.quorums()),
            clock: LogClock::start(time, self.now),
            epoch_start: last,
            heartbeat_at: self.now,
            heartbeat_due: false,
            open: OpenSlots::after(chosen_through),
        }));
        for slot in (chosen_through.next().0..=last.0).map(LogIndex) {
            match reported.remove(&slot) {
                Some(entry) => self.propose_at_next(entry.payload.clone(), Some(entry.log_time)),
                None if is_planted(Bug::HolesSkipped) => {}
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
