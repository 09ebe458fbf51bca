//! The recent entries that an engine keeps in memory, bounded in bytes.
//!
//! What is older is read back from the log store. Holes are allowed: Multi-Paxos fills slots in any order.

use std::collections::BTreeMap;

use crate::entry::SharedEntry;
use crate::ids::LogIndex;

/// Recent entries by index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryWindow {
    entries: BTreeMap<LogIndex, SharedEntry>,
    bytes: usize,
}

impl EntryWindow {
    /// The entry at `index`, if it is in memory.
    pub fn get(&self, index: LogIndex) -> Option<&SharedEntry> {
        self.entries.get(&index)
    }

    /// Keeps an entry, in place of what was at its index.
    pub fn insert(&mut self, entry: SharedEntry) {
        self.bytes += entry.size_bytes();
        if let Some(old) = self.entries.insert(entry.index, entry) {
            self.bytes -= old.size_bytes();
        }
    }

    /// Drops every entry from `index` on.
    pub fn remove_from(&mut self, index: LogIndex) {
        let removed = self.entries.split_off(&index);
        self.bytes -= removed.values().map(|entry| entry.size_bytes()).sum::<usize>();
    }

    /// Drops the oldest entries below `keep_from` until no more than `bytes_max` are held. Entries from `keep_from` on
    /// stay whatever they weigh: they are not durable yet, or not handed out, and bounded elsewhere.
    pub fn evict(&mut self, bytes_max: usize, keep_from: LogIndex) {
        while self.bytes > bytes_max {
            let Some(oldest) = self.entries.first_entry() else { return };
            if *oldest.key() >= keep_from {
                return;
            }
            self.bytes -= oldest.remove().size_bytes();
        }
    }

    /// Consecutive entries from `first` to at most `last`, as many as are here and fit `bytes_max`, but at least one if
    /// `first` is here.
    pub fn run(&self, first: LogIndex, last: LogIndex, bytes_max: usize) -> Vec<SharedEntry> {
        let mut run: Vec<SharedEntry> = Vec::new();
        if first > last {
            return run;
        }
        let mut bytes = 0;
        let mut expected = first;
        for (index, entry) in self.entries.range(first..=last) {
            bytes += entry.size_bytes();
            if *index != expected || (bytes > bytes_max && !run.is_empty()) {
                break;
            }
            run.push(entry.clone());
            expected = index.next();
        }
        run
    }

    /// The entries from `from` on that are here, holes or not.
    pub fn iter_from(&self, from: LogIndex) -> impl Iterator<Item = &SharedEntry> + '_ {
        self.entries.range(from..).map(|(_, entry)| entry)
    }

    /// The bytes held.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{Entry, Payload};
    use crate::ids::Ballot;
    use crate::time::LogTime;

    fn window(indexes: impl IntoIterator<Item = u64>) -> (EntryWindow, usize) {
        let mut window = EntryWindow::default();
        let mut entry_bytes = 0;
        for index in indexes {
            let (index, ballot, log_time) = (LogIndex(index), Ballot::ZERO, LogTime::default());
            let entry = Entry { index, ballot, log_time, payload: Payload::Noop };
            entry_bytes = entry.size_bytes();
            window.insert(Arc::new(entry));
        }
        (window, entry_bytes)
    }

    #[test]
    fn the_oldest_go_first_and_what_must_stay_stays() {
        let (mut window, entry_bytes) = window(1..=10);
        window.evict(4 * entry_bytes, LogIndex(6));
        assert_eq!(window.iter_from(LogIndex::ZERO).count(), 5, "6 to 10 must stay");
        assert_eq!(window.size_bytes(), 5 * entry_bytes);
        assert!(window.get(LogIndex(5)).is_none() && window.get(LogIndex(6)).is_some());
    }

    #[test]
    fn a_run_ends_at_a_hole_at_its_last_index_and_at_the_bound() {
        let (window, entry_bytes) = window([1, 2, 3, 5, 6]);
        let run = |first, last, bytes| window.run(LogIndex(first), LogIndex(last), bytes).len();
        assert_eq!(run(1, 9, 1000), 3);
        assert_eq!(run(1, 2, 1000), 2);
        assert_eq!(run(1, 9, 2 * entry_bytes), 2);
        assert_eq!(run(1, 9, 1), 1, "one entry travels whatever it weighs");
        assert_eq!(run(4, 9, 1000), 0);
        assert_eq!(run(7, 3, 1000), 0);
    }

    #[test]
    fn the_bytes_held_are_counted_through_replacement_and_removal() {
        let (mut window, entry_bytes) = window([1, 2, 3, 2]);
        assert_eq!(window.size_bytes(), 3 * entry_bytes);
        window.remove_from(LogIndex(2));
        assert_eq!(window.size_bytes(), entry_bytes);
    }
}
