//! State machine safety (Raft paper, figure 3; Paxos Made Simple §2.1: only a single value is chosen): what one node
//! hands to its state machine at an index is what every node does, at any time, before and after crashes.

use std::collections::BTreeMap;

use consensus_api::{LogIndex, NodeId, SharedEntry};

use super::{Violation, same_value};

/// What was committed where.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    committed: BTreeMap<LogIndex, SharedEntry>,
}

impl Agreement {
    pub(super) fn committed(&self) -> &BTreeMap<LogIndex, SharedEntry> {
        &self.committed
    }

    /// True where nobody had committed this index before.
    pub(super) fn committed_by(&mut self, node: NodeId, entry: &SharedEntry) -> Result<bool, Violation> {
        let Some(expected) = self.committed.get(&entry.index) else {
            self.committed.insert(entry.index, entry.clone());
            return Ok(true);
        };
        if same_value(expected, entry) {
            return Ok(false);
        }
        let (found, expected) = (entry.clone(), expected.clone());
        Err(Violation::Agreement { node, index: entry.index, found, expected })
    }
}
