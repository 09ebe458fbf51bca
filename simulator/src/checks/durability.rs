//! What is committed survives any minority of disks: from the moment that somebody takes it for committed, a quorum of
//! those who decide there, or of those who came after them, holds the value durably, and goes on holding it (leader
//! completeness, Raft paper §5.4; P2c, Paxos Made Simple §2.2). Disks of nodes that are down count; memory does not.
//!
//! One disk may well lose a committed value: a Raft straggler that received it early lets a deposed leader overwrite
//! it, because the quorum that committed it did without the straggler. So it is the quorum that is counted.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::{Entry, LogIndex, LogStore, Membership, NodeId, SharedEntry, Write};

use super::configurations::Configurations;
use super::{Identity, OwnDisk, OwnedDisk, Violation, same_value};
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
    pub(super) fn on_a_quorum(
        &self,
        entry: &Entry,
        (configurations, disks): (&Configurations, &[OwnedDisk<'_>]),
    ) -> Result<(), Violation> {
        let holders = disks.iter().filter(|(_, disk)| holds(disk, entry)).map(|(owner, _)| *owner);
        let holders: BTreeSet<Identity> = holders.collect();
        let has = |members: &Membership, node: NodeId| {
            members.members.get(&node).is_some_and(|member| holders.contains(&(node, member.store)))
        };
        let mut those = configurations.holding(entry.index);
        if those.any(|members| members.quorums().reached(|node| has(members, node))) {
            return Ok(());
        }
        let holders = holders.into_iter().map(|(node, _)| node).collect();
        Err(Violation::NotOnAQuorum { index: entry.index, holders })
    }

    /// A node's tables never get ahead of its own log.
    pub(super) fn handed_out(&self, (node, disk): OwnDisk<'_>, entry: &Entry) -> Result<(), Violation> {
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
        those: (&Configurations, &[OwnedDisk<'_>]),
    ) -> Result<(), Violation> {
        if let Some(index) = write.remove_from {
            for entry in committed.range(index..).map(|(_, entry)| entry) {
                self.on_a_quorum(entry, those)?;
            }
        }
        for entry in write.entries.iter().filter_map(|entry| committed.get(&entry.index)) {
            self.on_a_quorum(entry, those)?;
        }
        Ok(())
    }
}
