//! A log as it stands, changed write by write.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus_api::{LogIndex, LogPosition, Payload, RecoveredLog, SharedEntry, Write};

/// A log's entries, and what is kept beside them.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) base: LogPosition,
    pub(super) hard_state: Option<Bytes>,
    commit: LogIndex,
    pub(super) entries: BTreeMap<LogIndex, SharedEntry>,
}

impl Contents {
    pub(super) fn write(&mut self, write: &Write) {
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = Some(hard_state.clone());
        }
        if let Some(index) = write.remove_from {
            self.entries.split_off(&index);
        }
        for entry in &write.entries {
            assert!(entry.index > self.base.index, "{} is written below the base {}", entry.index, self.base.index);
            self.entries.insert(entry.index, entry.clone());
        }
        if let Some(commit) = write.commit {
            self.commit = self.commit.max(commit);
        }
    }

    pub(super) fn trim(&mut self, base: LogPosition) {
        if base.index > self.base.index {
            self.base = base;
            self.entries = self.entries.split_off(&base.index.next());
        }
    }

    pub(super) fn restart_at(&mut self, base: LogPosition) {
        self.base = base;
        self.entries.clear();
    }

    pub(super) fn recover(&self, tail_bytes_max: usize) -> RecoveredLog {
        let mut recovered =
            RecoveredLog { hard_state: self.hard_state.clone(), commit: self.commit, ..RecoveredLog::default() };
        for (index, entry) in &self.entries {
            recovered.runs.set(*index, entry.ballot);
            if let Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } = &entry.payload {
                recovered.memberships.push((*index, membership.clone()));
            }
        }
        let newest_first = self.entries.values().rev();
        recovered.tail = within(newest_first, tail_bytes_max);
        recovered.tail.reverse();
        recovered
    }
}

/// The first of these entries, up to `bytes_max`, but at least one.
pub(super) fn within<'a>(entries: impl Iterator<Item = &'a SharedEntry>, bytes_max: usize) -> Vec<SharedEntry> {
    let mut taken: Vec<SharedEntry> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.size_bytes();
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}
