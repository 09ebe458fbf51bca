//! A slot has one chosen value, worked out here from what acceptors made durable and from nothing that an engine believes:
//! a value is chosen at an index once a quorum of those who decide there ([`configurations`](super::configurations)) has
//! ever accepted it there under one ballot (Paxos Made Simple §2.2). And nobody hands out as committed what is not chosen.
//!
//! In Raft an entry is accepted only in its own term: copies that a later leader spreads count for nothing by
//! themselves, as figure 8 of the paper shows. What an entry of the leader's own term chooses is the whole log below it
//! (§5.4.2), read here from the disk that completed the majority. A Raft leader counts by the members that its log names
//! at that moment, be they those that it named when the entry was appended, or later ones (thesis §4.1).
//!
//! A voter is a node with its disk: what a node accepted with another one counts for that other one.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::{Ballot, LogIndex, LogStore, Membership, NodeId, SharedEntry, Write};

use super::configurations::Configurations;
use super::{Identity, OwnedDisk, Violation, same_value};

/// Who accepted what, and what is chosen by that.
#[derive(Debug)]
pub(super) struct Chosen {
    round_is_epoch: bool,
    accepted: BTreeMap<(LogIndex, Ballot), BTreeSet<Identity>>,
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
        owner: Identity,
        promised: Ballot,
        write: &Write,
        (configurations, disks): (&mut Configurations, &[OwnedDisk<'_>]),
    ) -> Result<(), Violation> {
        for entry in &write.entries {
            if self.round_is_epoch && entry.ballot.round != promised.round {
                continue;
            }
            if !configurations.is_open(entry.index) {
                return Err(Violation::TooEarly { node: owner.0, index: entry.index });
            }
            self.accepted.entry((entry.index, entry.ballot)).or_default().insert(owner);
            if self.is_by_a_quorum(entry.index, entry.ballot, configurations) {
                self.choose_with_all_below(owner, entry, disks)?;
                self.settle(configurations);
            }
        }
        Ok(())
    }

    /// The leader of a term has changed who counts: what it has sent before may be chosen by that.
    pub(super) fn counted_anew(
        &mut self,
        term: u64,
        configurations: &mut Configurations,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        let above = self.accepted.range((self.through.next(), Ballot::ZERO)..).map(|(place, _)| *place);
        let of_term: Vec<(LogIndex, Ballot)> = above.filter(|(_, ballot)| ballot.round == term).collect();
        for (index, ballot) in of_term {
            if !self.is_by_a_quorum(index, ballot, configurations) {
                continue;
            }
            let acceptors = self.accepted.get(&(index, ballot)).into_iter().flatten();
            let mut held = acceptors.filter_map(|owner| {
                let (_, disk) = disks.iter().find(|(identity, _)| identity == owner)?;
                Some((*owner, disk.durable_entry(index).filter(|entry| entry.ballot == ballot)?))
            });
            if let Some((owner, entry)) = held.next_back() {
                self.choose_with_all_below(owner, &entry, disks)?;
                self.settle(configurations);
            }
        }
        Ok(())
    }

    fn is_by_a_quorum(&self, index: LogIndex, ballot: Ballot, configurations: &Configurations) -> bool {
        let Some(acceptors) = self.accepted.get(&(index, ballot)) else { return false };
        let accepted = |members: &Membership, node: NodeId| {
            members.members.get(&node).is_some_and(|member| acceptors.contains(&(node, member.store)))
        };
        let counting = configurations.counting(index, ballot);
        counting.iter().any(|(_, members)| members.quorums().reached(|node| accepted(members, node)))
    }

    fn choose_with_all_below(
        &mut self,
        owner: Identity,
        entry: &SharedEntry,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        if self.round_is_epoch {
            self.choose_below(owner, entry, disks)?;
        }
        self.choose(entry)
    }

    fn settle(&self, configurations: &mut Configurations) {
        configurations.settle(self.through, |index| self.chosen.get(&index).cloned());
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

    fn choose_below(&mut self, owner: Identity, entry: &SharedEntry, disks: &[OwnedDisk<'_>]) -> Result<(), Violation> {
        let Some((_, disk)) = disks.iter().find(|(identity, _)| *identity == owner) else { return Ok(()) };
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
