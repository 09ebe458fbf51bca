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
