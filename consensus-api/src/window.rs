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
