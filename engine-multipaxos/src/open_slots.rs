//! What a leader has proposed and does not yet know to be chosen up to: who has accepted what, slot by slot.
//!
//! ```text
//!             first                              next
//!   ────────────┬────────┬────────┬────────┬───────
//!     chosen    │ 1, 3   │ chosen │ 1      │
//!   ────────────┴────────┴────────┴────────┴───────
//! ```
//!
//! Each slot is decided by itself, and by those who govern it: the second one here is chosen before the first. What is
//! handed on is the prefix.

use std::collections::VecDeque;

use consensus_api::{LogIndex, NodeId};

/// A leader's open slots: consecutive, the first one right above what is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenSlots {
    first: LogIndex,
    slots: VecDeque<OpenSlot>,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OpenSlot {
    size_bytes: usize,
    accepted_by: Vec<NodeId>,
    chosen: bool,
}

impl OpenSlots {
    /// No slot is open; the next one follows `chosen_through`.
    pub(crate) fn after(chosen_through: LogIndex) -> OpenSlots {
        OpenSlots { first: chosen_through.next(), slots: VecDeque::new(), bytes: 0 }
    }

    /// How many slots are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What their entries weigh.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The slot for the next proposal.
    pub(crate) fn next(&self) -> LogIndex {
        LogIndex(self.first.0 + self.slots.len() as u64)
    }

    /// Opens the next slot.
    pub(crate) fn push(&mut self, size_bytes: usize) {
        self.slots.push_back(OpenSlot { size_bytes, accepted_by: Vec::new(), chosen: false });
        self.bytes += size_bytes;
    }

    /// Notes that `node` has durably accepted the open slots of `first..=last`. Others of the range are ignored: they
    /// are chosen. `decide` tells whether these nodes are enough to choose something in a slot.
    pub(crate) fn accepted(
        &mut self,
        node: NodeId,
        (first, last): (LogIndex, LogIndex),
        decide: impl Fn(LogIndex, &[NodeId]) -> bool,
    ) {
        for at in self.places(first, last) {
            let slot = &mut self.slots[at];
            if !slot.chosen && !slot.accepted_by.contains(&node) {
                slot.accepted_by.push(node);
                slot.chosen = decide(LogIndex(self.first.0 + at as u64), &slot.accepted_by);
            }
        }
    }

    /// Notes that everything up to `last` is chosen, as someone else has counted. It may be slots that were never opened
    /// here.
    pub(crate) fn learnt_through(&mut self, last: LogIndex) {
        if self.slots.is_empty() {
            self.first = self.first.max(last.next());
        }
        for at in self.places(self.first, last) {
            self.slots[at].chosen = true;
        }
    }

    /// Closes the slots at the front that are chosen, and returns the last slot before the first open one.
    pub(crate) fn close_chosen(&mut self) -> LogIndex {
        while self.slots.front().is_some_and(|slot| slot.chosen)
            && let Some(slot) = self.slots.pop_front()
        {
            self.bytes -= slot.size_bytes;
            self.first = self.first.next();
        }
        self.first.previous()
    }

    /// The first open slot that `node` has not accepted, as far as was heard; the next one to be opened if there is
    /// none.
    pub(crate) fn first_without(&self, node: NodeId) -> LogIndex {
        let lacks = |slot: &OpenSlot| !slot.chosen && !slot.accepted_by.contains(&node);
        let at = self.slots.iter().position(lacks).unwrap_or(self.slots.len());
        LogIndex(self.first.0 + at as u64)
    }

    /// The part of `first..=last` that is open, as places in the queue.
    fn places(&self, first: LogIndex, last: LogIndex) -> std::ops::Range<usize> {
        let end = last.next().min(self.next()).0.saturating_sub(self.first.0) as usize;
        let start = first.0.saturating_sub(self.first.0) as usize;
        start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of three.
    fn two(_: LogIndex, accepted_by: &[NodeId]) -> bool {
        accepted_by.len() >= 2
    }

    #[test]
    fn slots_are_chosen_in_any_order_and_closed_in_order() {
        let mut open = OpenSlots::after(LogIndex(4));
        for _ in 5..=7 {
            open.push(10);
        }
        open.accepted(NodeId(1), (LogIndex(1), LogIndex(7)), two);
        open.accepted(NodeId(2), (LogIndex(6), LogIndex(7)), two);
        assert_eq!(open.close_chosen(), LogIndex(4), "6 and 7 are chosen, but 5 is not");
        assert_eq!(open.first_without(NodeId(2)), LogIndex(5));
        open.accepted(NodeId(3), (LogIndex(5), LogIndex(900)), two);
        assert_eq!(open.close_chosen(), LogIndex(7));
        assert_eq!((open.len(), open.size_bytes(), open.next()), (0, 0, LogIndex(8)));
    }

    #[test]
    fn each_slot_is_decided_by_those_who_govern_it() {
        let mut open = OpenSlots::after(LogIndex(4));
        open.push(10);
        open.push(10);
        let decide = |slot: LogIndex, accepted_by: &[NodeId]| {
            accepted_by.contains(&NodeId(if slot < LogIndex(6) { 1 } else { 2 }))
        };
        open.accepted(NodeId(1), (LogIndex(5), LogIndex(6)), decide);
        assert_eq!(open.close_chosen(), LogIndex(5));
        open.accepted(NodeId(2), (LogIndex(5), LogIndex(6)), decide);
        assert_eq!(open.close_chosen(), LogIndex(6));
        open.learnt_through(LogIndex(9));
        assert_eq!(open.next(), LogIndex(10), "nothing was open");
    }

    #[test]
    fn one_acceptor_counts_once() {
        let mut open = OpenSlots::after(LogIndex::ZERO);
        open.push(10);
        for _ in 0..3 {
            open.accepted(NodeId(2), (LogIndex(1), LogIndex(1)), two);
        }
        assert_eq!(open.close_chosen(), LogIndex::ZERO);
    }
}
