//! What only grows: a node's ballot and commit index while it lives, and the ballot on its disk for ever. In Raft the
//! vote of a term, once on disk, is never another (paper §5.2: at most one vote in a given term).

use std::collections::BTreeMap;

use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, EngineStatus, LogIndex, NodeId, Write};

use super::Violation;

/// What each node has shown so far.
#[derive(Debug)]
pub(super) struct Ballots {
    round_is_epoch: bool,
    alive: BTreeMap<NodeId, (Ballot, LogIndex)>,
    on_disk: BTreeMap<NodeId, Ballot>,
}

fn went_back(node: NodeId, what: &'static str, from: impl ToString, to: impl ToString) -> Violation {
    Violation::WentBack { node, what, from: from.to_string(), to: to.to_string() }
}

impl Ballots {
    pub(super) fn new(round_is_epoch: bool) -> Ballots {
        Ballots { round_is_epoch, alive: BTreeMap::new(), on_disk: BTreeMap::new() }
    }

    /// The ballot that a node's disk holds.
    pub(super) fn on_disk(&self, node: NodeId) -> Ballot {
        self.on_disk.get(&node).copied().unwrap_or_default()
    }

    pub(super) fn started(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        let on_disk = self.on_disk(node);
        if status.ballot < on_disk {
            return Err(went_back(node, "the ballot, by a restart,", on_disk, status.ballot));
        }
        self.alive.insert(node, (status.ballot, status.commit_index));
        Ok(())
    }

    pub(super) fn wiped(&mut self, node: NodeId) {
        self.alive.remove(&node);
        self.on_disk.remove(&node);
    }

    pub(super) fn stepped(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        let (ballot, commit) = self.alive.entry(node).or_default();
        if status.ballot < *ballot {
            return Err(went_back(node, "the ballot", *ballot, status.ballot));
        }
        if status.commit_index < *commit {
            return Err(went_back(node, "the commit index", *commit, status.commit_index));
        }
        (*ballot, *commit) = (status.ballot, status.commit_index);
        Ok(())
    }

    pub(super) fn written(&mut self, node: NodeId, write: &Write) -> Result<(), Violation> {
        let Some(hard_state) = &write.hard_state else { return Ok(()) };
        let ballot =
            decode_ballot(Some(hard_state)).map_err(|error| Violation::Engine { node, what: error.to_string() })?;
        let old = self.on_disk.entry(node).or_default();
        let second_vote =
            self.round_is_epoch && ballot.round == old.round && old.node != NodeId::NONE && ballot.node != old.node;
        if ballot < *old || second_vote {
            return Err(went_back(node, "the ballot on disk", *old, ballot));
        }
        *old = ballot;
        Ok(())
    }
}
