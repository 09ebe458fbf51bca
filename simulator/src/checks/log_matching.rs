//! Log matching, the half that both protocols share (Raft paper §5.3; in Paxos, that a ballot has one proposer and one
//! value per slot): whatever stands under one index and ballot, on any disk, at any time, is one value.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, NodeId, SharedEntry, Write};

use super::{Violation, same_value};

/// What stood where, under which ballot.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    values: BTreeMap<(LogIndex, Ballot), SharedEntry>,
}

impl LogMatching {
    pub(super) fn written(&mut self, node: NodeId, write: &Write) -> Result<(), Violation> {
        for entry in &write.entries {
            let (index, ballot) = (entry.index, entry.ballot);
            let expected = self.values.entry((index, ballot)).or_insert_with(|| entry.clone());
            if !same_value(expected, entry) {
                let (found, expected) = (entry.clone(), expected.clone());
                return Err(Violation::LogMatching { node, index, ballot, found, expected });
            }
        }
        Ok(())
    }
}
