//! A slot has one chosen value, worked out here from what acceptors made durable and from nothing that an engine believes:
//! a value is chosen at an index once a majority of disks has ever accepted it there under one ballot (Paxos Made Simple
//! §2.2). And nobody hands out as committed what is not chosen.
//!
//! In Raft an entry is accepted only in its own term: copies that a later leader spreads count for nothing by
//! themselves, as figure 8 of the paper shows. What an entry of the leader's own term chooses is the whole log below it
//! (§5.4.2), read here from the disk that completed the majority.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::quorum::majority;
use consensus_api::{Ballot, LogIndex, LogStore, NodeId, SharedEntry, Write};

use super::{OwnedDisk, Violation, same_value};

/// Who accepted what, and what is chosen by that.
#[derive(Debug)]
pub(super) struct Chosen {
    round_is_epoch: bool,
    accepted: BTreeMap<(LogIndex, Ballot), BTreeSet<NodeId>>,
    chosen: BTreeMap<LogIndex, SharedEntry>,
    /// Every index up to here is chosen.
    through: LogIndex,
    /// The last Raft term of which an entry has been seen to choose the whole log below it.
    walked: u64,
}

impl Chosen {
    pub(super) fn new(round_is_epoch: bool) -> Chosen {
        let (accepted, chosen) = (BTreeMap::new(), BTreeMap::new());
        Chosen { round_is_epoch, accepted, chosen, through: LogIndex::ZERO, walked: 0 }
    }

    /// A disk that holds `promised` has performed the write.
    pub(super) fn written(
        &mut self,
        node: NodeId,
        promised: Ballot,
        write: &Write,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        for entry in &write.entries {
            if self.round_is_epoch && entry.ballot.round != promised.round {
                continue;
            }
            let acceptors = self.accepted.entry((entry.index, entry.ballot)).or_default();
            acceptors.insert(node);
            if acceptors.len() < majority(disks.len()) {
                continue;
            }
            if self.round_is_epoch {
                self.choose_below(node, entry, disks)?;
            }
            self.choose(entry)?;
        }
        Ok(())
    }

    /// Every index up to here is chosen.
    pub(super) fn through(&self) -> LogIndex {
        self.through
    }

    /// What is chosen there.
    pub(super) fn at(&self, index: LogIndex) -> Option<&SharedEntry> {
        self.chosen.get(&index)
    }

    fn choose(&mut self, entry: &SharedEntry) -> Result<(), Violation> {
        let expected = self.chosen.entry(entry.index).or_insert_with(|| entry.clone());
        if !same_value(expected, entry) {
            let (found, expected) = (entry.clone(), expected.clone());
            return Err(Violation::ChosenTwice { index: entry.index, found, expected });
        }
        while self.chosen.contains_key(&self.through.next()) {
            self.through = self.through.next();
        }
        Ok(())
    }

    fn choose_below(&mut self, node: NodeId, entry: &SharedEntry, disks: &[OwnedDisk<'_>]) -> Result<(), Violation> {
        let Some((_, disk)) = disks.iter().find(|(id, _)| *id == node) else { return Ok(()) };
        // A later write of the same sync may have replaced the entry: then the disk no longer tells what lay below it.
        if disk.durable_entry(entry.index).is_none_or(|held| held.ballot != entry.ballot) {
            return Ok(());
        }
        // The first entry of its term shows whether this leader lacks what was chosen before. By log matching, later
        // ones have the same log below that one.
        let is_first = std::mem::replace(&mut self.walked, entry.ballot.round) != entry.ballot.round;
        let mut index = if is_first { disk.base().index.next() } else { self.through.next() };
        while index < entry.index {
            if let Some(below) = disk.durable_entry(index) {
                self.choose(&below)?;
            }
            index = index.next();
        }
        Ok(())
    }

    /// A node takes this for committed, the first to do so.
    pub(super) fn committed(&self, node: NodeId, entry: &SharedEntry) -> Result<(), Violation> {
        match self.chosen.get(&entry.index) {
            Some(chosen) if same_value(chosen, entry) => Ok(()),
            chosen => {
                Err(Violation::NotChosen { node, index: entry.index, found: entry.clone(), chosen: chosen.cloned() })
            }
        }
    }
}
