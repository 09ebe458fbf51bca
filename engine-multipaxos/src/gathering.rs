//! Promises as they come in, page by page: what a [`takeover`](crate::takeover) for every open slot and an
//! [`extension`](crate::extension) for the slots of new members have in common.
//!
//! ```text
//!   Prepare{from: cursor} ──▶ acceptor ──▶ Promise{…, next: Some(14)}   cursor = 14, asked again from there
//!                                      ──▶ Promise{…, next: None}       complete: counts
//!                                              │
//!                                              ▼
//!                             reported: each slot's value of the highest ballot
//! ```
//!
//! A promise is for every slot from its first page on, so whoever has given one to a ballot is not asked again, whatever
//! slots come to be its concern; unless values were left out that were to be learnt from one who is lost. What an acceptor whose promise is not complete has reported is kept: to know of more
//! than a quorum has told is to have asked more than a quorum.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, MonoTime, NodeId, SharedEntry};

use crate::message::Promise;

/// An acceptor that has answered and not sent the page that it was asked for after this many heartbeat intervals is asked
/// again: what is read back from a disk takes its time. One that has not answered at all is asked every interval, as in
/// Raft.
const ASK_INTERVALS: u32 = 4;

/// The promises of one ballot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gathering {
    acceptors: BTreeMap<NodeId, Promising>,
    /// The value of the highest ballot for each slot that is neither known to be chosen nor proposed again yet.
    pub(crate) reported: BTreeMap<LogIndex, SharedEntry>,
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

impl Promising {
    fn from(cursor: LogIndex) -> Promising {
        Promising {
            cursor,
            asked_at: None,
            has_answered: false,
            complete: false,
            chosen_through: LogIndex::ZERO,
            compacted_through: LogIndex::ZERO,
        }
    }
}

impl Gathering {
    /// Has heard from nobody yet; wants to hear of slots from `from` on.
    pub(crate) fn new(acceptors: impl Iterator<Item = NodeId>, from: LogIndex) -> Gathering {
        let mut gathering = Gathering::default();
        for acceptor in acceptors {
            gathering.include(acceptor, from);
        }
        gathering
    }

    /// Wants this acceptor's promise too, for slots from `from` on, unless it asks for it already or has it.
    pub(crate) fn include(&mut self, acceptor: NodeId, from: LogIndex) {
        self.acceptors.entry(acceptor).or_insert_with(|| Promising::from(from));
    }

    /// What this acceptor has promised counts no more. If it was the one to know what is chosen from `from` on, others' values
    /// there were left out, to be learnt from it; then their promises are wanted anew.
    pub(crate) fn forget(&mut self, acceptor: NodeId, from: LogIndex) {
        let Some(gone) = self.acceptors.remove(&acceptor).filter(|gone| gone.complete) else { return };
        if gone.chosen_through >= from && gone.chosen_through > self.learnable_through() {
            self.acceptors.values_mut().for_each(|promising| *promising = Promising::from(from));
        }
    }

    /// Forgets the promises that are not complete: they are for slots that have been proposed for since.
    pub(crate) fn forget_incomplete(&mut self) {
        self.acceptors.retain(|_, promising| promising.complete);
    }

    /// Who is to be asked for its next page, and from where on: everyone whose promise is not complete and who was not
    /// asked lately. `me` is not sent anything.
    pub(crate) fn due(&mut self, me: NodeId, now: MonoTime, interval: Duration) -> Vec<(NodeId, LogIndex)> {
        let mut asked = Vec::new();
        for (node, promising) in &mut self.acceptors {
            let patience = interval * if promising.has_answered { ASK_INTERVALS } else { 1 };
            let due = promising.asked_at.is_none_or(|at| now.since(at) >= patience);
            if *node != me && !promising.complete && due {
                promising.asked_at = Some(now);
                asked.push((*node, promising.cursor));
            }
        }
        asked
    }

    /// Where the next page of this acceptor's promise begins, if one is wanted.
    pub(crate) fn cursor(&self, acceptor: NodeId) -> Option<LogIndex> {
        self.acceptors.get(&acceptor).filter(|promising| !promising.complete).map(|promising| promising.cursor)
    }

    /// Whether this is the page that is wanted next.
    pub(crate) fn expects(&self, from: NodeId, promise: &Promise) -> bool {
        self.cursor(from) == Some(promise.from)
    }

    /// Takes a page that is [expected](Self::expects), but for its values. Where the next one begins, if there is one:
    /// not below what a complete promise knows to be chosen, for that is learnt and not gathered.
    pub(crate) fn turn_page(&mut self, from: NodeId, promise: &Promise, now: MonoTime) -> Option<LogIndex> {
        let next = promise.next.filter(|_| !is_planted(Bug::PromiseCountedEarly));
        if let Some(promising) = self.acceptors.get_mut(&from) {
            promising.chosen_through = promising.chosen_through.max(promise.chosen_through);
            promising.compacted_through = promising.compacted_through.max(promise.compacted_through);
            promising.complete = next.is_none();
            promising.asked_at = Some(now);
            promising.has_answered = true;
        }
        let next = next.map(|next| next.max(self.learnable_through().next()));
        if let (Some(promising), Some(next)) = (self.acceptors.get_mut(&from), next) {
            promising.cursor = next;
        }
        next
    }

    /// Keeps a value unless one of a higher ballot is known for its slot.
    pub(crate) fn report(&mut self, entry: SharedEntry) {
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

    /// Drops what has been reported up to `slot`.
    pub(crate) fn drop_through(&mut self, slot: LogIndex) {
        if self.reported.first_key_value().is_some_and(|(first, _)| *first <= slot) {
            self.reported = self.reported.split_off(&slot.next());
        }
    }

    /// Leaves the hole at `slot` out, and what was accepted behind it moves down.
    pub(crate) fn move_down(&mut self, slot: LogIndex) {
        let behind = std::mem::take(&mut self.reported).into_values();
        let count = slot.0..;
        self.reported = count.map(LogIndex).zip(behind).collect();
    }

    /// The last slot for which a value is reported.
    pub(crate) fn last_reported(&self) -> Option<LogIndex> {
        self.reported.keys().next_back().copied()
    }

    /// What must be learnt before anything is proposed by these promises: the highest "chosen through" of the complete
    /// ones.
    pub(crate) fn learnable_through(&self) -> LogIndex {
        self.complete().map(|(_, promising)| promising.chosen_through).max().unwrap_or_default()
    }

    /// From whom to learn what follows `known`, and how far it goes there: whoever knows most of those whose log still
    /// holds it, for a snapshot takes its time; from anybody if none does.
    pub(crate) fn teacher(&self, known: LogIndex) -> Option<(LogIndex, NodeId)> {
        let ahead = self.complete().filter(|(_, promising)| promising.chosen_through > known);
        let best = ahead
            .max_by_key(|(node, promising)| (promising.compacted_through <= known, promising.chosen_through, **node));
        best.map(|(node, promising)| (promising.chosen_through, *node))
    }

    /// Whether this acceptor's promise is complete.
    pub(crate) fn has_promised(&self, acceptor: NodeId) -> bool {
        self.acceptors.get(&acceptor).is_some_and(|promising| promising.complete)
    }

    fn complete(&self) -> impl Iterator<Item = (&NodeId, &Promising)> {
        self.acceptors.iter().filter(|(_, promising)| promising.complete)
    }
}
