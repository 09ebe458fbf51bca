//! Hands committed entries out, in order and once, no faster than they are applied.
//!
//! ```text
//!   applied ≤ handed out ≤ commit index
//! ```
//!
//! Entries come from the window; what has left it is read back, one request at a time.

use std::collections::VecDeque;

use crate::entry::SharedEntry;
use crate::ids::LogIndex;
use crate::window::EntryWindow;

/// Where the hand-out stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    applied: LogIndex,
    handed_out: LogIndex,
    unapplied: VecDeque<(LogIndex, usize)>,
    unapplied_bytes: usize,
    reading: bool,
}

/// Entries that must be read back before the hand-out can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first one.
    pub first: LogIndex,
    /// The last one that is committed.
    pub last: LogIndex,
}

impl Delivery {
    /// Goes on behind what the state machine has applied.
    pub fn after(applied: LogIndex) -> Delivery {
        Delivery { applied, handed_out: applied, unapplied: VecDeque::new(), unapplied_bytes: 0, reading: false }
    }

    /// What the state machine has applied, as far as it has said.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The last index that was handed out.
    pub fn handed_out(&self) -> LogIndex {
        self.handed_out
    }

    /// Moves committed entries from the window to `out` while fewer than `bytes_max` wait to be applied. Returns what
    /// has to be read back first, unless that was asked for already.
    pub fn collect(
        &mut self,
        commit: LogIndex,
        window: &EntryWindow,
        bytes_max: usize,
        out: &mut Vec<SharedEntry>,
    ) -> Option<Missing> {
        while self.handed_out < commit && self.unapplied_bytes < bytes_max && !self.reading {
            let next = self.handed_out.next();
            match window.get(next) {
                Some(entry) => self.hand_out(entry.clone(), out),
                None => {
                    self.reading = true;
                    return Some(Missing { first: next, last: commit });
                }
            }
        }
        None
    }

    /// Takes what was read back. The caller has compared the ballots with its own; an empty answer is asked for again.
    pub fn read_back(&mut self, entries: Vec<SharedEntry>, commit: LogIndex, out: &mut Vec<SharedEntry>) {
        self.reading = false;
        for entry in entries {
            if entry.index == self.handed_out.next() && entry.index <= commit {
                self.hand_out(entry, out);
            }
        }
    }

    fn hand_out(&mut self, entry: SharedEntry, out: &mut Vec<SharedEntry>) {
        let bytes = entry.size_bytes();
        self.handed_out = entry.index;
        self.unapplied.push_back((entry.index, bytes));
        self.unapplied_bytes += bytes;
        out.push(entry);
    }

    /// Notes what the state machine has applied.
    pub fn applied_through(&mut self, through: LogIndex) {
        assert!(through <= self.handed_out, "{through} applied, but only {} was handed out", self.handed_out);
        self.applied = self.applied.max(through);
        while let Some((index, bytes)) = self.unapplied.front().copied() {
            if index > through {
                break;
            }
            self.unapplied.pop_front();
            self.unapplied_bytes -= bytes;
        }
    }

    /// A snapshot was installed: everything up to `base` is applied by it.
    pub fn restart_after(&mut self, base: LogIndex) {
        *self = Delivery::after(base);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{Entry, Payload};
    use crate::ids::Ballot;
    use crate::time::LogTime;

    fn window(indexes: std::ops::RangeInclusive<u64>) -> EntryWindow {
        let mut window = EntryWindow::default();
        for index in indexes {
            window.insert(entry(index));
        }
        window
    }

    fn entry(index: u64) -> SharedEntry {
        let (index, ballot, log_time) = (LogIndex(index), Ballot::ZERO, LogTime::default());
        Arc::new(Entry { index, ballot, log_time, payload: Payload::Noop })
    }

    fn indexes(entries: &[SharedEntry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.index.0).collect()
    }

    #[test]
    fn what_the_window_lacks_is_asked_for_once_and_handed_out_in_order() {
        let mut delivery = Delivery::after(LogIndex(2));
        let mut out = Vec::new();
        let missing = delivery.collect(LogIndex(6), &window(5..=6), 1000, &mut out);
        assert_eq!(missing, Some(Missing { first: LogIndex(3), last: LogIndex(6) }));
        assert_eq!(delivery.collect(LogIndex(6), &window(5..=6), 1000, &mut out), None, "one request at a time");
        delivery.read_back(vec![entry(3), entry(4)], LogIndex(6), &mut out);
        assert_eq!(delivery.collect(LogIndex(6), &window(5..=6), 1000, &mut out), None);
        assert_eq!(indexes(&out), [3, 4, 5, 6]);
    }

    #[test]
    fn no_more_is_handed_out_than_may_wait_to_be_applied() {
        let mut delivery = Delivery::after(LogIndex::ZERO);
        let entry_bytes = entry(1).size_bytes();
        let mut out = Vec::new();
        delivery.collect(LogIndex(9), &window(1..=9), 2 * entry_bytes, &mut out);
        assert_eq!(indexes(&out), [1, 2]);
        delivery.applied_through(LogIndex(1));
        delivery.collect(LogIndex(9), &window(1..=9), 2 * entry_bytes, &mut out);
        assert_eq!(indexes(&out), [1, 2, 3]);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_dropped() {
        let mut delivery = Delivery::after(LogIndex(2));
        let mut out = Vec::new();
        delivery.collect(LogIndex(4), &EntryWindow::default(), 1000, &mut out);
        delivery.read_back(vec![entry(4), entry(5)], LogIndex(4), &mut out);
        assert!(out.is_empty());
        assert!(delivery.collect(LogIndex(4), &EntryWindow::default(), 1000, &mut out).is_some(), "asked again");
    }
}
