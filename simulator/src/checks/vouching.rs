//! The durability rule of the engine's contract: what a message vouches for is on its sender's disk when it leaves. A vote,
//! a promise, an accept, a request for votes: each binds its sender across a crash, and memory does not.
//!
//! A crash at the wrong moment would show the same in the end, as two leaders or a lost entry; but such a moment is
//! rare, and here every message is one.
//!
//! A Raft follower says how far its log is the leader's, and not under which ballots. What the leader has there was
//! seen in what it sent. Anything on the disk would not do: while an entry is replaced, the disk holds the old one.

use std::collections::BTreeMap;

use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, LogIndex, LogStore, NodeId};

use super::{OwnDisk, Violation};
use crate::disk::Disk;
use crate::protocol::{Carried, Held, Under, Vouched};

/// How many terms' logs are kept, the latest ones: answers to older ones count for nobody.
const TERMS_MAX: usize = 8;

/// What the disks cannot tell: the terms of the entries in the log of each term's leader, by the leader's term.
#[derive(Debug)]
pub(super) struct Vouching {
    round_is_epoch: bool,
    led: BTreeMap<u64, BTreeMap<LogIndex, u64>>,
}

impl Vouching {
    pub(super) fn new(round_is_epoch: bool) -> Vouching {
        Vouching { round_is_epoch, led: BTreeMap::new() }
    }

    pub(super) fn sent(&self, (node, disk): OwnDisk<'_>, vouched: &Vouched) -> Result<(), Violation> {
        let broken = |what| Err(Violation::NotOnDisk { node, what });
        let on_disk = decode_ballot(disk.durable_hard_state().as_deref()).unwrap_or_default();
        if let Some(ballot) = vouched.ballot
            && !self.covers(on_disk, ballot)
        {
            return broken(format!("ballot {ballot}, where the disk holds {on_disk}"));
        }
        match vouched.held.iter().find(|held| !self.holds(disk, on_disk, held)) {
            Some(missing) => broken(format!("{} {}", missing.index, missing.under)),
            None => Ok(()),
        }
    }

    /// A leader shows what its log is like.
    pub(super) fn led(&mut self, carried: &Carried<'_>) {
        let Some((ballot, prev)) = carried.ballot.zip(carried.prev).filter(|_| self.round_is_epoch) else { return };
        let log = self.led.entry(ballot.round).or_default();
        log.insert(prev.index, prev.ballot.round);
        log.extend(carried.entries.iter().map(|entry| (entry.index, entry.ballot.round)));
        while self.led.len() > TERMS_MAX {
            self.led.pop_first();
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

    /// What is trimmed was there. And an answer of an earlier term may leave late: node 2 takes in 245 of term 1 and answers,
    /// then a leader of term 2 replaces it, and both are durable before the answer leaves. It was true when term 1 ended
    /// for this node, and whoever leads term 2 without 245 was not elected by it.
    fn holds(&self, disk: &Disk, on_disk: Ballot, held: &Held) -> bool {
        let is_replaced = |ballot: Ballot| self.round_is_epoch && on_disk.round > ballot.round;
        if disk.base().index >= held.index || matches!(held.under, Under::LeaderOf(ballot) if is_replaced(ballot)) {
            return true;
        }
        let Some(entry) = disk.durable_entry(held.index) else { return false };
        match held.under {
            // What is there under a higher ballot took the place of what was vouched for.
            Under::AtLeast(ballot) => entry.ballot >= ballot,
            // A follower's own commit index may be beyond anything that this leader ever sent.
            Under::LeaderOf(ballot) => {
                let has = self.led.get(&ballot.round).and_then(|log| log.get(&held.index));
                has.is_none_or(|round| entry.ballot.round == *round)
            }
        }
    }
}
