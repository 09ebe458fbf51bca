//! The durability rule of the engine's contract: what a message vouches for is on its sender's disk when it leaves. A vote,
//! a promise, an accept, a request for votes: each binds its sender across a crash, and memory does not.
//!
//! A crash at the wrong moment would show the same in the end, as two leaders or a lost entry; but such a moment is
//! rare, and here every message is one.

use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, LogStore, NodeId};

use super::{OwnedDisk, Violation};
use crate::disk::Disk;
use crate::protocol::{Held, Vouched};

/// Keeps no state of its own: the disk is the state.
#[derive(Debug)]
pub(super) struct Vouching {
    pub(super) round_is_epoch: bool,
}

impl Vouching {
    pub(super) fn sent(&self, (node, disk): OwnedDisk<'_>, vouched: &Vouched) -> Result<(), Violation> {
        let broken = |what| Err(Violation::NotOnDisk { node, what });
        let on_disk = decode_ballot(disk.durable_hard_state().as_deref()).unwrap_or_default();
        if let Some(ballot) = vouched.ballot
            && !self.covers(on_disk, ballot)
        {
            return broken(format!("ballot {ballot}, where the disk holds {on_disk}"));
        }
        match vouched.held.iter().find(|held| !holds(disk, held)) {
            Some(missing) => broken(format!("{} under {}", missing.index, missing.ballot)),
            None => Ok(()),
        }
    }

    /// Whether a node whose disk holds the one ballot is bound by the other. A later epoch binds more; within a Raft
    /// term it is the vote that binds, and a message that names none (`NodeId::NONE`) vouches for the term alone.
    fn covers(&self, on_disk: Ballot, ballot: Ballot) -> bool {
        if self.round_is_epoch && on_disk.round == ballot.round {
            return ballot.node == NodeId::NONE || ballot.node == on_disk.node;
        }
        on_disk >= ballot
    }
}

/// What is trimmed was there. What is there under a higher ballot took the place of what was vouched for.
fn holds(disk: &Disk, held: &Held) -> bool {
    let there = || disk.durable_entry(held.index).is_some_and(|entry| entry.ballot >= held.ballot);
    disk.base().index >= held.index || there()
}
