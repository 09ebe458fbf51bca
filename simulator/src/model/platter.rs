//! What a power loss leaves of one node: a log and a hard state, as a plain value that can be copied and compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, LogIndex, ReadBack, RecoveredLog, SharedEntry, Write};

/// A durable log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Platter {
    hard_state: Option<Bytes>,
    commit: LogIndex,
    entries: BTreeMap<LogIndex, SharedEntry>,
}

impl Platter {
    /// Performs a write.
    pub(crate) fn write(&mut self, write: Write) {
        if write.hard_state.is_some() {
            self.hard_state = write.hard_state;
        }
        if let Some(index) = write.remove_from {
            self.entries.split_off(&index);
        }
        self.entries.extend(write.entries.into_iter().map(|entry| (entry.index, entry)));
        self.commit = self.commit.max(write.commit.unwrap_or_default());
    }

    /// Loses the hard state, as no disk should.
    pub(crate) fn forget_hard_state(&mut self) {
        self.hard_state = None;
    }

    /// The ballot in the hard state. What cannot be read counts as lost.
    pub(crate) fn ballot(&self) -> Ballot {
        decode_ballot(self.hard_state.as_deref()).unwrap_or_default()
    }

    /// The entry at `index`.
    pub(crate) fn entry(&self, index: LogIndex) -> Option<&SharedEntry> {
        self.entries.get(&index)
    }

    /// The entries that were asked for. All of them: no bound is reached by the few that there are.
    pub(crate) fn read(&self, asked: &ReadBack) -> Vec<SharedEntry> {
        self.entries.range(asked.first..=asked.last).map(|(_, entry)| entry.clone()).collect()
    }

    /// What a node finds when it starts.
    pub(crate) fn recover(&self) -> RecoveredLog {
        let mut recovered =
            RecoveredLog { hard_state: self.hard_state.clone(), commit: self.commit, ..RecoveredLog::default() };
        for entry in self.entries.values() {
            recovered.runs.set(entry.index, entry.ballot);
            recovered.tail.push(entry.clone());
        }
        recovered
    }
}
