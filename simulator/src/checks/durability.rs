//! What is committed survives any minority of disks: from the moment that somebody takes it for committed, a quorum of
//! disks holds the value durably, and goes on holding it (leader completeness, Raft paper §5.4; P2c, Paxos Made
//! Simple §2.2). Disks of nodes that are down count; memory does not.
//!
//! One disk may well lose a committed value: a Raft straggler that received it early lets a deposed leader overwrite
//! it, because the quorum that committed it did without the straggler. So it is the quorum that is counted.

use std::collections::BTreeMap;

use consensus_api::quorum::majority;
use consensus_api::{Entry, LogIndex, LogStore, NodeId, SharedEntry, Write};

use super::{OwnedDisk, Violation, same_value};
use crate::disk::Disk;

/// Keeps no state of its own: the disks are the state.
#[derive(Debug)]
pub(super) struct Durability;

fn holds(disk: &Disk, entry: &Entry) -> bool {
    // What is trimmed is in the tables: they would keep it through a power loss, as the trimming check sees, a start refuses
    // a log that begins above them, and the digests tell whether they hold what was committed.
    disk.base().index >= entry.index || disk.durable_entry(entry.index).is_some_and(|held| same_value(&held, entry))
}

impl Durability {
    pub(super) fn on_a_quorum(&self, entry: &Entry, disks: &[OwnedDisk<'_>]) -> Result<(), Violation> {
        let holders: Vec<NodeId> = disks.iter().filter(|(_, disk)| holds(disk, entry)).map(|(node, _)| *node).collect();
        if holders.len() >= majority(disks.len()) {
            return Ok(());
        }
        Err(Violation::NotOnAQuorum { index: entry.index, holders })
    }

    /// A node's tables never get ahead of its own log.
    pub(super) fn handed_out(&self, (node, disk): OwnedDisk<'_>, entry: &Entry) -> Result<(), Violation> {
        if holds(disk, entry) {
            return Ok(());
        }
        Err(Violation::AppliedBeforeLogged { node, index: entry.index })
    }

    /// Looks at every committed index that the write touches.
    pub(super) fn written(
        &self,
        write: &Write,
        committed: &BTreeMap<LogIndex, SharedEntry>,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        if let Some(index) = write.remove_from {
            for entry in committed.range(index..).map(|(_, entry)| entry) {
                self.on_a_quorum(entry, disks)?;
            }
        }
        for entry in write.entries.iter().filter_map(|entry| committed.get(&entry.index)) {
            self.on_a_quorum(entry, disks)?;
        }
        Ok(())
    }
}
