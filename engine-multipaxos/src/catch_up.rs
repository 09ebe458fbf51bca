//! How a node that lags is brought up: it asks somebody who knows for the values that were chosen. And the reading back
//! of entries that have left the window, for this and for every other purpose.
//!
//! ```text
//!   chosen through 10   accepted, under the watermark's ballot 4.3
//!        │ gap           │
//!   ─────┼────┬────┬─────┼────┬─────── watermark 16
//!        │ 11   12   13  │ 14   15  16 │
//!        │ 2.1   ·    ·  │ 4.3  4.3  4.3
//!          └─ LearnRequest{11..13} ─▶ leader ──Learned{11, 12, 13}──▶ chosen through 16
//! ```
//!
//! When to ask. The watermark overtakes Accepts on other streams, so a gap mostly closes by itself, and asking at once
//! would fetch everything twice. A follower asks when the same first slot has been missing for a heartbeat interval: an
//! open stream would have brought it. From then on page follows page without waiting, one under way at a time. A request
//! that is lost is repeated by whatever asked: the next heartbeats, or the candidate's own timer. A node whose disk does
//! not keep up asks for no more until some of it is written: what is not durable cannot leave the window.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, MonoTime, NodeId, ReadBack, ReadBackId, SharedEntry};

use crate::MultiPaxos;
use crate::message::{LearnRequest, Learned, Message};
use crate::role::RoleState;

/// A request that is not answered after this many heartbeat intervals is lost.
const LEARN_INTERVALS: u32 = 4;

/// The chosen values that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Learning {
    // From whom, and up to where.
    node: NodeId,
    through: LogIndex,
    // The request that is under way: from which slot on, and until when to wait for the answer.
    asked: Option<(LogIndex, MonoTime)>,
}

impl Learning {
    /// What was asked for has come by another way: the question is put again for what is still wanted.
    pub(crate) fn ask_anew(&mut self) {
        self.asked = None;
    }
}

/// The reads of the log store that are not answered yet. Bounded: one for the hand-out, and one of each kind for each
/// peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadBacks {
    last: ReadBackId,
    waiting: BTreeMap<ReadBackId, Purpose>,
}

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// To hand chosen entries out.
    Deliver,
    /// To tell what was chosen.
    Learned {
        /// Whom.
        to: NodeId,
        /// From which slot on.
        from: LogIndex,
        /// Up to which.
        through: LogIndex,
    },
    /// To give a promise.
    Promise {
        /// Whom; this node itself, if it is the candidate.
        to: NodeId,
        /// In which ballot.
        ballot: Ballot,
        /// Where the page begins.
        from: LogIndex,
    },
}

impl Purpose {
    /// Whether a read for this one makes a read for the other one needless or out of date.
    fn replaces(&self, other: &Purpose) -> bool {
        match (self, other) {
            (Purpose::Deliver, Purpose::Deliver) => true,
            (Purpose::Learned { to, .. }, Purpose::Learned { to: other, .. }) => to == other,
            (Purpose::Promise { to, .. }, Purpose::Promise { to: other, .. }) => to == other,
            _ => false,
        }
    }
}

impl ReadBacks {
    /// Nobody waits any more for entries to hand out.
    pub(crate) fn forget_delivery(&mut self) {
        self.waiting.retain(|_, purpose| *purpose != Purpose::Deliver);
    }
}

impl MultiPaxos {
    /// Hands out what is chosen and durable, and asks for what of it has left the window.
    pub(crate) fn deliver(&mut self) {
        let (through, window, out) = (self.log.deliverable_through(), self.log.window(), &mut self.effects.committed);
        let bytes_max = self.config.limits.unapplied_bytes_max;
        if let Some(missing) = self.delivery.collect(through, window, bytes_max, out) {
            self.read_back(Purpose::Deliver, missing.first, missing.last);
        }
    }

    /// Asks for entries from the log store. A read that is under way for just this is enough; an older one of the kind
    /// is forgotten.
    pub(crate) fn read_back(&mut self, purpose: Purpose, first: LogIndex, last: LogIndex) {
        let waiting = &mut self.read_backs.waiting;
        if waiting.values().any(|other| *other == purpose) {
            return;
        }
        waiting.retain(|_, other| !purpose.replaces(other));
        self.read_backs.last = ReadBackId(self.read_backs.last.0 + 1);
        let id = self.read_backs.last;
        self.read_backs.waiting.insert(id, purpose);
        let bytes_max = self.config.limits.message_bytes_max;
        self.effects.read_back.push(ReadBack { id, first, last, bytes_max });
    }

    /// Takes entries that were read back, each only if it is still the one that the log has. One that is not was
    /// replaced meanwhile, and its successor is in the window.
    pub(crate) fn on_entries_read(&mut self, id: ReadBackId, mut entries: Vec<SharedEntry>) {
        let Some(purpose) = self.read_backs.waiting.remove(&id) else { return };
        entries.retain(|entry| self.log.ballot_at(entry.index) == Some(entry.ballot));
        match purpose {
            Purpose::Deliver => {
                self.delivery.read_back(entries, self.log.deliverable_through(), &mut self.effects.committed);
            }
            Purpose::Learned { to, from, through } => {
                let follows = |(entry, slot): &(SharedEntry, u64)| entry.index.0 == *slot && entry.index <= through;
                let run = entries.into_iter().zip(from.0..).take_while(follows);
                self.tell_chosen(to, run.map(|(entry, _)| entry).collect());
            }
            Purpose::Promise { to, ballot, from } => self.continue_promise(to, ballot, from, &entries),
        }
    }

    /// A follower's view of its gap, at each heartbeat: asks if the first missing slot has been missing for long.
    pub(crate) fn watch_gap(&mut self, leader: NodeId) {
        let Some((first, last)) = self.log.missing(self.ballot, self.allegiance.watermark) else {
            self.allegiance.gap = None;
            return;
        };
        match self.allegiance.gap {
            Some((slot, since)) if slot == first => {
                if self.now.since(since) >= self.config.timing.heartbeat_interval {
                    self.ask_to_learn(leader, last);
                }
            }
            _ => self.allegiance.gap = Some((first, self.now)),
        }
    }

    /// Wants the values up to `through`, which `node` knows to be chosen, unless a request to it is under way. The
    /// question leaves with the next effects, or as soon as there is room.
    pub(crate) fn ask_to_learn(&mut self, node: NodeId, through: LogIndex) {
        let waits =
            |learning: Learning| learning.node == node && learning.asked.is_some_and(|(_, until)| self.now < until);
        if !self.learning.is_some_and(waits) {
            self.learning = Some(Learning { node, through, asked: None });
        }
    }

    /// Whether chosen values are wanted of somebody, and the answer may still come.
    pub(crate) fn is_learning(&self) -> bool {
        self.learning.is_some_and(|learning| learning.asked.is_none_or(|(_, until)| self.now < until))
    }

    /// Asks for the chosen values that are wanted, once the window, after eviction, is no longer full of what is not
    /// durable here.
    pub(crate) fn send_learn_request(&mut self) {
        let full = self.log.waits_for_disk(self.config.limits.window_bytes_max);
        let Some(learning) = self.learning.filter(|learning| learning.asked.is_none() && !full) else { return };
        let (node, from, through) = (learning.node, self.log.chosen_through().next(), learning.through);
        if from > through {
            self.learning = None;
            return;
        }
        let until = self.now + self.config.timing.heartbeat_interval * LEARN_INTERVALS;
        self.learning = Some(Learning { node, through, asked: Some((from, until)) });
        self.send(node, Message::LearnRequest(LearnRequest { from, through }));
    }

    /// Tells what was chosen, as far as this node knows and one message holds. What is trimmed comes as a snapshot, and
    /// until then the answer is how far the log is chosen.
    pub(crate) fn on_learn_request(&mut self, to: NodeId, request: LearnRequest) {
        if request.from <= self.log.base().index {
            self.want_snapshot(to);
            return self.send_learned(to, Vec::new());
        }
        let (from, through) = (request.from, request.through.min(self.log.chosen_through()));
        if from > through {
            return self.learn_from_asker(to, request.from.previous());
        }
        let entries = self.log.window().run(from, through, self.config.limits.message_bytes_max);
        if entries.is_empty() {
            self.read_back(Purpose::Learned { to, from, through }, from, through);
        } else {
            self.tell_chosen(to, entries);
        }
    }

    /// Who asks for what follows knows everything before. It may be the only one: a leader takes on voters that lag, is
    /// removed by that, and stops; and those who know of them know that they themselves campaign no more.
    fn learn_from_asker(&mut self, node: NodeId, through: LogIndex) {
        if through > self.log.chosen_through() && !self.is_learning() {
            self.ask_to_learn(node, through);
        }
    }

    fn tell_chosen(&mut self, to: NodeId, entries: Vec<SharedEntry>) {
        if !entries.is_empty() {
            self.send_learned(to, entries);
        }
    }

    fn send_learned(&mut self, to: NodeId, entries: Vec<SharedEntry>) {
        let chosen_through = self.log.chosen_through();
        self.send(to, Message::Learned(Learned { entries, chosen_through }));
    }

    /// The values that are wanted come as a snapshot, which takes its time: the question is put again no sooner than an
    /// election timeout from now.
    fn wait_for_snapshot(&mut self, from: NodeId, chosen_through: LogIndex) {
        if let Some(learning) = &mut self.learning
            && let Some((begin, until)) = &mut learning.asked
            && learning.node == from
            && *begin <= chosen_through
        {
            *until = self.now + self.config.timing.election_timeout;
        }
    }

    /// Takes chosen values that follow what is known to be chosen, and asks for more if there is more. The answer to the
    /// request that is under way may hold no news, if the values have come by other ways meanwhile; it is over all the
    /// same. A copy of an earlier answer, which begins elsewhere, ends nothing.
    pub(crate) fn on_learned(&mut self, from: NodeId, learned: Learned) {
        if learned.entries.is_empty() {
            return self.wait_for_snapshot(from, learned.chosen_through);
        }
        let before = self.log.chosen_through();
        let first = learned.entries.first().map(|entry| entry.index);
        for entry in learned.entries {
            if entry.index == self.log.chosen_through().next() {
                self.learn(entry);
            } else if entry.index <= self.log.chosen_through() {
                self.log.assert_same_value(&entry);
            }
        }
        let asked = self.learning.filter(|learning| learning.node == from);
        let has_news = self.log.chosen_through() > before;
        let answered = asked.and_then(|learning| learning.asked).is_some_and(|(begin, _)| first == Some(begin));
        if !has_news && !answered {
            return;
        }
        if asked.is_some() {
            self.learning = None;
        }
        self.log.choose_accepted(self.ballot, self.allegiance.watermark);
        match &self.role {
            RoleState::Candidate(_) => {
                if has_news {
                    self.detector.rearm(self.now);
                }
                self.try_to_lead();
            }
            RoleState::Leader(_) => {
                let through = asked.map_or(LogIndex::ZERO, |learning| learning.through);
                if self.log.chosen_through() < through {
                    self.ask_to_learn(from, through);
                }
            }
            // As a learner that hears nobody has asked for, page after page.
            _ if asked.is_none() && learned.chosen_through > self.log.chosen_through() && !self.is_learning() => {
                self.ask_to_learn(from, learned.chosen_through);
            }
            _ if asked.is_some() => {
                if let Some((_, last)) = self.log.missing(self.ballot, self.allegiance.watermark) {
                    self.ask_to_learn(from, last);
                }
            }
            _ => {}
        }
    }

    /// Takes one chosen value. If its ballot is above the promise it is promised too: a node that knows of a chosen
    /// ballot must not accept below it, and one that leads below it leads no more.
    pub(crate) fn learn(&mut self, entry: SharedEntry) {
        if entry.ballot > self.ballot {
            self.adopt(entry.ballot);
        }
        let slot = entry.index;
        let is_foreign = matches!(&self.role, RoleState::Leader(leader)
            if self.ceiling(leader).is_some_and(|ceiling| slot >= ceiling));
        self.log.learn(entry);
        if let RoleState::Leader(leader) = &mut self.role {
            // What was chosen below this ballot a quorum of promises has shown, so that it was proposed again, or is about
            // to be; unless it was chosen by members who have yet to promise.
            let is_seen = slot < leader.open.next() || slot <= leader.epoch_start || is_foreign;
            assert!(is_seen, "{slot} is chosen below {}, whose owner did not see it", self.ballot);
            leader.open.learnt_through(slot);
            self.log.choose_through(leader.open.close_chosen());
        }
    }
}
