//! Collects what the steps since the last [`take`](LogWriter::take) want written, as one atomic write, and keeps count
//! of the writes that are under way.
//!
//! ```text
//!   put · remove_from · set_hard_state          take                persisted(w3)
//!   ───────────────────────────────────▶ pending ────▶ under way: w3 w4 w5 ────▶ w4 w5
//! ```
//!
//! An entry is durable when its *latest* write is: index and ballot would not do. In Raft index 5 may be written under
//! term 2 (w3), overwritten under term 3 (w4) and again under term 2's successor; the completion of w3 says nothing of
//! the others.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::engine::LogPosition;
use crate::entry::SharedEntry;
use crate::ids::{Ballot, LogIndex, WriteId};
use crate::log_store::Write;
use crate::planted::{Bug, is_planted};

/// Indexes that one write puts, as inclusive runs.
type Runs = Vec<(LogIndex, LogIndex)>;

/// The pending write of an engine, and those under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogWriter {
    last_taken: WriteId,
    hard_state: Option<Bytes>,
    remove_from: Option<LogIndex>,
    puts: BTreeMap<LogIndex, SharedEntry>,
    under_way: VecDeque<UnderWay>,
    // Where completed writes ended; always empty unless a bug is planted that looks at it.
    ends: Vec<LogPosition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UnderWay {
    id: WriteId,
    runs: Runs,
    // Its last entry; known only where a bug is planted that looks at it.
    end: Option<LogPosition>,
}

impl LogWriter {
    /// Wants this hard state durable.
    pub fn set_hard_state(&mut self, hard_state: Bytes) {
        self.hard_state = Some(hard_state);
    }

    /// Wants this entry at its index, in place of what is there.
    pub fn put(&mut self, entry: SharedEntry) {
        self.puts.insert(entry.index, entry);
    }

    /// Wants every entry from `index` on gone, pending ones included.
    pub fn remove_from(&mut self, index: LogIndex) {
        self.puts.split_off(&index);
        self.remove_from = Some(self.remove_from.map_or(index, |earlier| earlier.min(index)));
    }

    /// The write that makes everything wanted so far durable: what a message names that must not leave before.
    pub fn dependency(&self) -> WriteId {
        if self.is_pending() { WriteId(self.last_taken.0 + 1) } else { self.last_taken }
    }

    /// Whether something waits to be taken.
    pub fn is_pending(&self) -> bool {
        self.hard_state.is_some() || self.remove_from.is_some() || !self.puts.is_empty()
    }

    /// The write that everything wanted since the last call amounts to, if anything; `commit` rides along.
    pub fn take(&mut self, commit: LogIndex) -> Option<Write> {
        if !self.is_pending() {
            return None;
        }
        self.last_taken = WriteId(self.last_taken.0 + 1);
        let puts = std::mem::take(&mut self.puts);
        let mut runs = Runs::new();
        for index in puts.keys() {
            match runs.last_mut() {
                Some((_, last)) if last.next() == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        let end = puts.values().next_back().filter(|_| is_planted(Bug::DurableByIndexAndBallot));
        let end = end.map(|entry| LogPosition { index: entry.index, ballot: entry.ballot });
        self.under_way.push_back(UnderWay { id: self.last_taken, runs, end });
        Some(Write {
            id: self.last_taken,
            hard_state: self.hard_state.take(),
            remove_from: self.remove_from.take(),
            entries: puts.into_values().collect(),
            commit: Some(commit),
        })
    }

    /// Notes that every write up to `write` is durable; returns the runs of indexes that those writes put. An index of
    /// them may stand in a later write too: ask [`is_durable`](Self::is_durable).
    pub fn persisted(&mut self, write: WriteId) -> Vec<(LogIndex, LogIndex)> {
        assert!(write <= self.last_taken, "{write} completed, but only {} was taken", self.last_taken);
        let mut done = Vec::new();
        while self.under_way.front().is_some_and(|first| first.id <= write)
            && let Some(first) = self.under_way.pop_front()
        {
            done.extend(first.runs);
            self.ends.extend(first.end);
        }
        done
    }

    /// The last index at which a completed write ended with an entry that stands now. Zero unless
    /// [`Bug::DurableByIndexAndBallot`] is planted, which takes everything up to there for durable: but in Multi-Paxos a
    /// slot below may have been filled since, and in Raft the entry may have been replaced and have come back.
    pub fn vouched_through(&self, stands: impl Fn(LogIndex) -> Option<Ballot>) -> LogIndex {
        let standing = self.ends.iter().filter(|end| stands(end.index) == Some(end.ballot));
        standing.map(|end| end.index).max().unwrap_or_default()
    }

    /// Whether no write of the entry at `index` is pending or under way.
    pub fn is_durable(&self, index: LogIndex) -> bool {
        let within = |(first, last): &(LogIndex, LogIndex)| *first <= index && index <= *last;
        !self.puts.contains_key(&index) && !self.under_way.iter().any(|write| write.runs.iter().any(within))
    }

    /// Below this index everything that the log holds is durable; `None` if all of it is.
    pub fn first_volatile(&self) -> Option<LogIndex> {
        let pending = self.puts.keys().next().copied();
        let under_way = self.under_way.iter().flat_map(|write| write.runs.first()).map(|(first, _)| *first);
        under_way.chain(pending).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::entry::{Entry, Payload};
    use crate::ids::{Ballot, NodeId};
    use crate::time::LogTime;

    fn entry(index: u64, round: u64) -> SharedEntry {
        Arc::new(Entry {
            index: LogIndex(index),
            ballot: Ballot::new(round, NodeId(1)),
            log_time: LogTime::default(),
            payload: Payload::Noop,
        })
    }

    #[test]
    fn the_late_completion_of_an_overwritten_write_does_not_make_the_entry_durable() {
        let mut writer = LogWriter::default();
        writer.put(entry(5, 2));
        let first = writer.take(LogIndex::ZERO).expect("an entry waits");
        writer.remove_from(LogIndex(5));
        writer.put(entry(5, 3));
        let second = writer.take(LogIndex::ZERO).expect("an entry waits");

        writer.persisted(first.id);
        assert!(!writer.is_durable(LogIndex(5)));
        assert_eq!(writer.first_volatile(), Some(LogIndex(5)));

        writer.persisted(second.id);
        assert!(writer.is_durable(LogIndex(5)));
        assert_eq!(writer.first_volatile(), None);
    }

    #[test]
    fn removal_drops_what_was_put_before_and_keeps_what_is_put_after() {
        let mut writer = LogWriter::default();
        for index in 3..=6 {
            writer.put(entry(index, 1));
        }
        writer.remove_from(LogIndex(5));
        writer.put(entry(5, 2));
        let write = writer.take(LogIndex(2)).expect("entries wait");
        let put: Vec<(u64, u64)> = write.entries.iter().map(|entry| (entry.index.0, entry.ballot.round)).collect();
        assert_eq!(put, [(3, 1), (4, 1), (5, 2)]);
        assert_eq!(write.remove_from, Some(LogIndex(5)));
        assert_eq!(write.commit, Some(LogIndex(2)));
    }

    #[test]
    fn a_message_depends_on_the_pending_write_or_on_the_last_one() {
        let mut writer = LogWriter::default();
        assert_eq!(writer.dependency(), WriteId(0));
        writer.put(entry(1, 1));
        assert_eq!(writer.dependency(), WriteId(1));
        writer.take(LogIndex::ZERO);
        assert_eq!(writer.dependency(), WriteId(1));
    }
}
