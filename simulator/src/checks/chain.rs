//! What replicas apply is one sequence: a chain of hashes over the entries in their order, in which every node stands
//! somewhere, and goes on from where it stood, across crashes (state machine safety, Raft paper, figure 3; a replica is
//! the same deterministic machine over the same commands, Schneider 1990, §2).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use consensus_api::{Entry, LogIndex, NodeId, SharedEntry};

use super::Violation;

/// The chain, and where on it each node stands.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: BTreeMap<LogIndex, u64>,
    stands: BTreeMap<NodeId, LogIndex>,
}

impl Chain {
    /// A node starts from tables that have applied this much: as much as before the crash, or less.
    pub(super) fn started(&mut self, node: NodeId, applied: LogIndex) -> Result<(), Violation> {
        let stood = self.stands.insert(node, applied).unwrap_or_default();
        if applied <= stood {
            return Ok(());
        }
        let what = format!("starts from tables that have applied more than {stood}");
        Err(Violation::Chain { node, index: applied, what })
    }

    /// A node's tables are blank from now on.
    pub(super) fn wiped(&mut self, node: NodeId) {
        self.stands.remove(&node);
    }

    /// A node's tables stand further along from now on, where somebody's tables have stood.
    pub(super) fn installed(&mut self, node: NodeId, index: LogIndex) -> Result<(), Violation> {
        let stood = self.stands.insert(node, index).unwrap_or_default();
        if index > stood && self.links.contains_key(&index) {
            return Ok(());
        }
        let what = format!("installs what is not further along than {stood}, or what nobody has applied");
        Err(Violation::Chain { node, index, what })
    }

    /// A node has applied these.
    pub(super) fn applied(&mut self, node: NodeId, entries: &[SharedEntry]) -> Result<(), Violation> {
        let stands = self.stands.entry(node).or_default();
        for entry in entries {
            let index = entry.index;
            if index != stands.next() {
                let what = format!("applies {index} after {stands}");
                return Err(Violation::Chain { node, index, what });
            }
            let link = link(self.links.get(stands).copied(), entry);
            if *self.links.entry(index).or_insert(link) != link {
                let what = "applies another history than the one that was applied before".to_owned();
                return Err(Violation::Chain { node, index, what });
            }
            *stands = index;
        }
        Ok(())
    }
}

/// Ballots stay outside: they differ between Paxos replicas for the same chosen value.
fn link(before: Option<u64>, entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, entry.log_time, &entry.payload).hash(&mut hasher);
    hasher.finish()
}
