//! An acceptor forgets nothing: what it has accepted for a slot stays on its disk until it is trimmed, or until what was
//! accepted under a ballot at least as high takes its place; a start finds it there, and a promise leaves nothing of it
//! out (Paxos Made Simple §2.2, P1b and the promise of phase 1). In Raft a leader may have entries removed, and log
//! matching says which.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, NodeId, SharedEntry, Write};

use super::Violation;
use crate::protocol::{Under, Vouched};

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

    /// A node starts from a disk with these entries.
    pub(super) fn started(&self, node: NodeId, entries: &[SharedEntry]) -> Result<(), Violation> {
        let on_disk: BTreeMap<LogIndex, Ballot> = entries.iter().map(|entry| (entry.index, entry.ballot)).collect();
        let accepted = self.accepted.get(&node).cloned().unwrap_or_default();
        let slots = accepted.keys().chain(on_disk.keys());
        match slots.copied().find(|slot| accepted.get(slot) != on_disk.get(slot)) {
            Some(slot) => {
                let (had, has) = (accepted.get(&slot), on_disk.get(&slot));
                let what = format!("had accepted {slot} under {had:?}, and starts with {has:?} there");
                Err(Violation::Accepts { node, what })
            }
            None => Ok(()),
        }
    }

    /// A promise lists what was accepted when it was given. By the time that it leaves, what has been learnt to be chosen
    /// may be there too, up to `commit`.
    pub(super) fn sent(&self, node: NodeId, commit: LogIndex, vouched: &Vouched) -> Result<(), Violation> {
        let Some((stretch, slots)) = vouched.whole.zip(self.accepted.get(&node)) else { return Ok(()) };
        let lists = |slot: LogIndex, accepted: Ballot| {
            let is_it = |under: Under| matches!(under, Under::AtLeast(ballot) if ballot >= accepted);
            vouched.held.iter().any(|held| held.index == slot && is_it(held.under))
        };
        let accepted = slots.range(stretch.first.max(commit.next())..);
        let mut accepted = accepted.take_while(|(slot, _)| stretch.end.is_none_or(|end| **slot < end));
        match accepted.find(|(slot, ballot)| **ballot < stretch.below && !lists(**slot, **ballot)) {
            Some((slot, ballot)) => {
                let what =
                    format!("promises {} and leaves out that it has accepted {slot} under {ballot}", stretch.below);
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
