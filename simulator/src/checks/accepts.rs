//! An acceptor forgets nothing: what it has accepted for a slot stays on its disk until it is trimmed, or until what was
//! accepted under a ballot at least as high takes its place (Paxos Made Simple §2.2, P1b and the promise of phase 1). In
//! Raft a leader may have entries removed, and log matching says which.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, NodeId, Write};

use super::Violation;

/// What each disk has accepted, above what is trimmed.
#[derive(Debug, Default)]
pub(super) struct Accepts {
    accepted: BTreeMap<NodeId, BTreeMap<LogIndex, Ballot>>,
}

impl Accepts {
    pub(super) fn written(&mut self, node: NodeId, write: &Write) -> Result<(), Violation> {
        let slots = self.accepted.entry(node).or_default();
        let removed = write.remove_from.map(|from| slots.split_off(&from)).unwrap_or_default();
        for entry in &write.entries {
            let before = slots.insert(entry.index, entry.ballot).or(removed.get(&entry.index).copied());
            if before.is_some_and(|before| before > entry.ballot) {
                let what = format!("accepts {} under {}, and had accepted under {before:?}", entry.index, entry.ballot);
                return Err(Violation::Accepts { node, what });
            }
        }
        match removed.into_iter().find(|(index, _)| !slots.contains_key(index)) {
            Some((index, ballot)) => {
                let what = format!("forgets that it has accepted {index} under {ballot}");
                Err(Violation::Accepts { node, what })
            }
            None => Ok(()),
        }
    }

    pub(super) fn trimmed(&mut self, node: NodeId, base: LogIndex) {
        let slots = self.accepted.entry(node).or_default();
        *slots = slots.split_off(&base.next());
    }

    pub(super) fn wiped(&mut self, node: NodeId) {
        self.accepted.remove(&node);
    }
}
