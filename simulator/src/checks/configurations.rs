//! Who decides where, worked out from what is chosen and from what leaders have put into their logs, and from nothing that
//! an engine says of itself.
//!
//! ```text
//!   Raft          the last entry of the leader's log that names members is in force at once (thesis §4.1)
//!   Multi-Paxos   … of the slots up to s − α, all of them chosen, decides on slot s (Lamport, The Part-Time Parliament, α)
//! ```
//!
//! Each names the version that follows the one before; an entry with another version is void, at every node alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use consensus_api::{
    AppliedMembership, AppliedState, Ballot, EngineStatus, Entry, LogIndex, Membership, NodeId, Payload, Role,
    SharedEntry, Write,
};

use super::{Identity, Violation};

/// Where an entry names members, and which.
type Naming = (LogIndex, Arc<Membership>);

/// What every node has named, and what of it is settled.
#[derive(Debug)]
pub(crate) struct Configurations {
    round_is_epoch: bool,
    window: u64,
    /// The founders, and then what is chosen and not void, in order.
    chain: Vec<Naming>,
    /// Everything up to here is chosen, and its members are in the chain.
    through: LogIndex,
    /// The members in each node's log, as far as its engine has handed that out.
    logs: BTreeMap<NodeId, BTreeMap<LogIndex, Arc<Membership>>>,
    /// In Raft, by term: what its leader's log named when it was elected, and what it has added.
    led: BTreeMap<u64, BTreeMap<LogIndex, Arc<Membership>>>,
    /// Who is a member of any of them: a voter, or a learner that may be one by what others know.
    admitted: BTreeSet<Identity>,
    /// The ballot that each node last led in.
    led_in: BTreeMap<NodeId, Ballot>,
}

/// The members that an entry names, if it does.
pub(super) fn named(entry: &Entry) -> Option<&Arc<Membership>> {
    match &entry.payload {
        Payload::Membership { membership, .. } => Some(membership),
        _ => None,
    }
}

fn last_of(log: &BTreeMap<LogIndex, Arc<Membership>>, through: LogIndex) -> Option<Naming> {
    log.range(..=through).next_back().map(|(index, members)| (*index, members.clone()))
}

impl Configurations {
    pub(super) fn new(round_is_epoch: bool, founders: Membership, window: u64) -> Configurations {
        let founders = Arc::new(founders);
        let window = if round_is_epoch { 0 } else { window };
        let mut configurations = Configurations {
            round_is_epoch,
            window,
            chain: vec![(LogIndex::ZERO, founders.clone())],
            through: LogIndex::ZERO,
            logs: BTreeMap::new(),
            led: BTreeMap::new(),
            admitted: BTreeSet::new(),
            led_in: BTreeMap::new(),
        };
        configurations.note(&founders);
        configurations
    }

    fn note(&mut self, members: &Membership) {
        self.admitted.extend(members.members.iter().map(|(node, member)| (*node, member.store)));
    }

    /// What is settled, in order.
    pub(crate) fn chain(&self) -> &[Naming] {
        &self.chain
    }

    /// The last ones that are settled, and where.
    pub(crate) fn settled(&self) -> &Naming {
        &self.chain[self.chain.len() - 1]
    }

    /// What some log names above everything that is settled.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Arc<Membership>> {
        let above = self.settled().0.next();
        self.logs.values().flat_map(move |log| log.range(above..)).map(|(_, members)| members)
    }

    /// The last index that is not governed by what an entry at `since` names.
    pub(crate) fn last_before(&self, since: LogIndex) -> LogIndex {
        if since == LogIndex::ZERO { since } else { LogIndex((since.0 + self.window).saturating_sub(1).max(since.0)) }
    }

    /// The members that decide on a slot, once everything is settled that has a say in that.
    pub(super) fn governing(&self, slot: LogIndex) -> Naming {
        let has_a_say = |(since, _): &&Naming| *since == LogIndex::ZERO || since.0 + self.window <= slot.0;
        self.chain.iter().rev().find(has_a_say).unwrap_or(&self.chain[0]).clone()
    }

    /// Whether a slot may hold anything: whoever decides on it is known.
    pub(super) fn is_open(&self, slot: LogIndex) -> bool {
        self.round_is_epoch || slot.0 <= self.through.0 + self.window
    }

    /// Those by which an entry may have been counted. In Raft that is who was in force at the leader of its term when it
    /// counted: any from those that governed the entry on.
    pub(super) fn counting(&self, index: LogIndex, ballot: Ballot) -> Vec<Naming> {
        if !self.round_is_epoch {
            return vec![self.governing(index)];
        }
        let Some(log) = self.led.get(&ballot.round) else { return vec![self.governing(index)] };
        let first = last_of(log, index).map_or(index, |(since, _)| since);
        log.range(first..).map(|(since, members)| (*since, members.clone())).collect()
    }

    /// Those of whom a quorum holds what was decided at this index: those that governed it, or any that came after.
    pub(super) fn holding(&self, index: LogIndex) -> impl Iterator<Item = &Arc<Membership>> {
        let first = self.governing(index).0;
        let later = self.chain.iter().filter(move |(since, _)| *since >= first).map(|(_, members)| members);
        later.chain(self.open())
    }

    /// Everything up to here is chosen.
    pub(super) fn settle(&mut self, through: LogIndex, at: impl Fn(LogIndex) -> Option<SharedEntry>) {
        while self.through < through {
            self.through = self.through.next();
            let Some(entry) = at(self.through) else { continue };
            if let Some(members) = named(&entry)
                && members.version == self.settled().1.version + 1
            {
                self.chain.push((entry.index, members.clone()));
                self.note(members);
            }
        }
    }

    /// A node's engine hands out a write. True where a leader of this term changes who counts.
    pub(super) fn logs(&mut self, node: NodeId, write: &Write) -> Option<u64> {
        let log = self.logs.entry(node).or_default();
        if let Some(from) = write.remove_from {
            log.split_off(&from);
        }
        let mut changed = None;
        for entry in &write.entries {
            let own_term = Some(entry.ballot.round).filter(|_| self.round_is_epoch && entry.ballot.node == node);
            if let Some(term) = own_term {
                let before = last_of(log, LogIndex(entry.index.0.saturating_sub(1)));
                self.led.entry(term).or_insert_with(|| before.into_iter().collect());
            }
            match named(entry) {
                Some(members) => {
                    log.insert(entry.index, members.clone());
                    if let Some(term) = own_term {
                        self.led.entry(term).or_default().insert(entry.index, members.clone());
                        changed = Some(term);
                    }
                }
                None if log.is_empty() => {}
                None => drop(log.remove(&entry.index)),
            }
        }
        let named: Vec<Arc<Membership>> = write.entries.iter().filter_map(|entry| named(entry).cloned()).collect();
        named.iter().for_each(|members| self.note(members));
        changed
    }

    /// A node begins with these tables, and what its log has above them.
    pub(super) fn begins_with(&mut self, node: NodeId, state: &AppliedState, entries: &[SharedEntry]) {
        let applied = state.position.index;
        let above = entries.iter().filter(|entry| entry.index > applied);
        let above = above.filter_map(|entry| Some((entry.index, named(entry)?.clone())));
        self.logs.insert(node, settled_of(state).chain(above).collect());
        self.led_in.remove(&node);
    }

    /// A node's engine hears that a snapshot stands for everything up to its end.
    pub(super) fn installed(&mut self, node: NodeId, state: &AppliedState) {
        let log = self.logs.entry(node).or_default();
        let above = log.split_off(&state.position.index.next());
        *log = settled_of(state).chain(above).collect();
    }

    pub(super) fn wiped(&mut self, node: NodeId) {
        self.logs.remove(&node);
    }

    /// A node has voted, or promised.
    pub(super) fn voted(&self, (node, store): Identity) -> Result<(), Violation> {
        if self.admitted.contains(&(node, store)) {
            return Ok(());
        }
        let what = format!("votes from disk {store}, by which nobody has named it a member");
        Err(Violation::Members { node, index: LogIndex::ZERO, what })
    }

    /// A node has taken inputs in, and handed its effects out.
    pub(super) fn stepped(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        let broken = |index, what: String| Err(Violation::Members { node, index, what });
        let commit = status.commit_index;
        let expected = match self.round_is_epoch {
            true => self.logs.get(&node).and_then(|log| log.values().next_back().cloned()),
            // What it does not know to be chosen, this knows all the same; what it does not count does not govern yet.
            false => Some(self.governing(commit.next()).1),
        };
        if let Some(expected) = expected.filter(|expected| *expected != status.membership) {
            let found = &status.membership;
            return broken(commit, format!("goes by the members {found:?}, and {expected:?} are in force"));
        }
        if status.role != Role::Leader || self.led_in.insert(node, status.ballot) == Some(status.ballot) {
            return Ok(());
        }
        let may_lead =
            if self.round_is_epoch { self.may_campaign(node, commit) } else { self.decides_soon(node, commit) };
        if may_lead {
            Ok(())
        } else {
            broken(commit, format!("is elected, and does not vote: {:?}", status.membership))
        }
    }

    /// Whether the node votes by what its log names, or by what that would fall back to as far as it knows (thesis §4.2.2).
    fn may_campaign(&self, node: NodeId, commit: LogIndex) -> bool {
        let Some(log) = self.logs.get(&node) else { return self.settled().1.is_voter(node) };
        let settled = last_of(log, commit).map_or(LogIndex::ZERO, |(since, _)| since);
        log.range(settled..).any(|(_, members)| members.is_voter(node))
    }

    /// Whether the node votes on any of the slots that may be open.
    fn decides_soon(&self, node: NodeId, commit: LogIndex) -> bool {
        let window = commit.0 + 1..=commit.0 + self.window.max(1);
        window.map(LogIndex).any(|slot| self.governing(slot).1.is_voter(node))
    }

    /// A node has applied an entry that names members, and says whether it is void.
    pub(super) fn applied(&self, node: NodeId, index: LogIndex, is_void: bool) -> Result<(), Violation> {
        let counts = self.chain.iter().any(|(since, _)| *since == index);
        if counts != is_void {
            return Ok(());
        }
        let what =
            if is_void { "takes a change of members for void that is not" } else { "takes a void change of members" };
        Err(Violation::Members { node, index, what: what.to_owned() })
    }

    /// What tables say that have applied everything up to `index`.
    pub(super) fn applied_at(&self, index: LogIndex) -> AppliedMembership {
        let known = self.chain.iter().take_while(|(since, _)| *since <= index).count().max(1);
        let (since, latest) = self.chain[known - 1].clone();
        let previous = known.checked_sub(2).map(|place| self.chain[place].1.clone());
        let voters = self.chain[..known].iter().flat_map(|(_, members)| {
            members.all_voters().filter_map(|node| Some((node, members.members.get(&node)?.store)))
        });
        AppliedMembership { latest, since, previous, voted: voters.collect() }
    }

    /// A node's tables name the members that all tables name there.
    pub(super) fn tables(&self, node: NodeId, state: &AppliedState) -> Result<(), Violation> {
        let index = state.position.index;
        let expected = self.applied_at(index);
        if index > self.through || state.membership.as_ref() == Some(&expected) {
            return Ok(());
        }
        let what = format!("has tables that name {:?}, and {expected:?} it is", state.membership);
        Err(Violation::Members { node, index, what })
    }
}

fn settled_of(state: &AppliedState) -> impl Iterator<Item = Naming> + use<> {
    state.membership.clone().into_iter().map(|applied| (applied.since, applied.latest))
}
