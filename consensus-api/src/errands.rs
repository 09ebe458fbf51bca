//! What a node asks of the leader for its own clients: forwarded proposals and read indexes.
//!
//! ```text
//!   follower                                   leader
//!   propose ──Propose{ballot, …}─────────────▶ admits each id once, appends
//!           ◀─Refuse{…}─────────────────────── or refuses, definitely
//!   change ───ChangeMembership{ballot, …}────▶ likewise
//!   transfer ─TransferLeadership{ballot, …}──▶ hands over; who leads next shows that it is done
//!   (completes when the follower itself applies an entry with the id)
//!   read ─────Read{ballot, mode, …}──────────▶ one quorum round for all, or none under a lease
//!           ◀─ReadIndex{…}──────────────────── serve once applied that far
//! ```
//!
//! A proposal is forwarded once and names the ballot of the leader that it is meant for. That makes its admission
//! exact: the leader keeps the ids that it has seen in that ballot, and a copy that the network delivers later, to the
//! next leader or to the same one after a restart, names a ballot in which nobody leads any more. Without the ballot a
//! restarted leader, its set of ids empty, would append the copy a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::engine::{ReadReady, Refusal, Refused};
use crate::entry::Blob;
use crate::ids::{Ballot, NodeId, RequestId};
use crate::membership::Membership;
use crate::planted::{Bug, is_planted};
use crate::reads::ReadMode;

/// A command and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Proposal {
    /// Its name for ever.
    pub id: RequestId,
    /// The command.
    pub data: Blob,
}

/// What followers and leader say to each other about requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Errand {
    /// Please append these.
    Propose {
        /// The ballot of the leader that is asked.
        ballot: Ballot,
        /// The commands.
        proposals: Vec<Proposal>,
    },
    /// Please tell the read index for these.
    Read {
        /// The ballot of the leader that is asked.
        ballot: Ballot,
        /// By which means.
        mode: ReadMode,
        /// The reads.
        ids: Vec<RequestId>,
    },
    /// Please change the members.
    ChangeMembership {
        /// The ballot of the leader that is asked.
        ballot: Ballot,
        /// The request's name.
        id: RequestId,
        /// The members that are wanted.
        target: Arc<Membership>,
    },
    /// Please hand over.
    TransferLeadership {
        /// The ballot of the leader that is asked.
        ballot: Ballot,
        /// The request's name.
        id: RequestId,
        /// To whom, or to the most advanced voter.
        to: Option<NodeId>,
    },
    /// These were definitely not carried out.
    Refuse {
        /// Which, and why.
        refused: Vec<Refused>,
    },
    /// These may be served.
    ReadIndex {
        /// Which, and from which index on.
        ready: Vec<ReadReady>,
    },
}

/// The most requests of an operator that wait to be forwarded: they are forwarded with the next effects.
const ORDERS_MAX: usize = 64;

/// What an operator asks of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Other members.
    ChangeMembership(Arc<Membership>),
    /// Another leader: this one, or the most advanced voter.
    TransferLeadership(Option<NodeId>),
}

impl Order {
    fn into_errand(self, ballot: Ballot, id: RequestId) -> Errand {
        match self {
            Order::ChangeMembership(target) => Errand::ChangeMembership { ballot, id, target },
            Order::TransferLeadership(to) => Errand::TransferLeadership { ballot, id, to },
        }
    }
}

/// A follower's errands: what it has yet to send, and the reads that it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Errands {
    proposals: Vec<Proposal>,
    orders: Vec<(RequestId, Order)>,
    reads: BTreeMap<ReadMode, Vec<RequestId>>,
    awaited: BTreeMap<RequestId, ReadMode>,
}

impl Errands {
    /// Will forward this proposal with the next effects.
    pub fn propose(&mut self, proposal: Proposal) {
        self.proposals.push(proposal);
    }

    /// Will forward this order with the next effects.
    pub fn order(&mut self, id: RequestId, order: Order) -> Result<(), Refusal> {
        if self.orders.len() >= ORDERS_MAX {
            return Err(Refusal::Busy);
        }
        self.orders.push((id, order));
        Ok(())
    }

    /// Will ask for this read's index, by these means, with the next effects.
    pub fn read(&mut self, id: RequestId, mode: ReadMode, reads_max: usize) -> Result<(), Refusal> {
        if self.awaited.len() >= reads_max {
            return Err(Refusal::Busy);
        }
        self.reads.entry(mode).or_default().push(id);
        self.awaited.insert(id, mode);
        Ok(())
    }

    /// Will ask again for every read that still waits: the question or its answer may be lost, and asking twice changes
    /// nothing.
    pub fn ask_again(&mut self) {
        self.reads.clear();
        for (id, mode) in &self.awaited {
            self.reads.entry(*mode).or_default().push(*id);
        }
    }

    /// The messages for the leader of `ballot`, each of at most about `bytes_max`.
    pub fn take(&mut self, ballot: Ballot, bytes_max: usize) -> Vec<Errand> {
        let mut errands = Vec::new();
        let mut batch: Vec<Proposal> = Vec::new();
        let mut bytes = 0;
        for proposal in std::mem::take(&mut self.proposals) {
            let size = proposal.data.0.len() + 64;
            if bytes + size > bytes_max && !batch.is_empty() {
                errands.push(Errand::Propose { ballot, proposals: std::mem::take(&mut batch) });
                bytes = 0;
            }
            bytes += size;
            batch.push(proposal);
        }
        if !batch.is_empty() {
            errands.push(Errand::Propose { ballot, proposals: batch });
        }
        errands.extend(std::mem::take(&mut self.orders).into_iter().map(|(id, order)| order.into_errand(ballot, id)));
        let reads = std::mem::take(&mut self.reads).into_iter();
        errands.extend(reads.map(|(mode, ids)| Errand::Read { ballot, mode, ids }));
        errands
    }

    /// Takes the leader's answer to reads; those that nobody waits for any more are dropped.
    pub fn answered(&mut self, ready: Vec<ReadReady>) -> Vec<ReadReady> {
        ready.into_iter().filter(|read| self.awaited.remove(&read.id).is_some()).collect()
    }

    /// Takes the leader's refusals of reads and of proposals.
    pub fn refused(&mut self, refused: &[Refused]) {
        for refusal in refused {
            self.awaited.remove(&refusal.id);
        }
    }

    /// The leader has changed: reads that wait and proposals that were not sent yet are refused. Proposals that were
    /// sent are not: the old leader may have appended them.
    pub fn abandon(&mut self, leader: Option<NodeId>) -> Vec<Refused> {
        self.reads.clear();
        let orders = std::mem::take(&mut self.orders).into_iter().map(|(id, _)| id);
        let unsent = std::mem::take(&mut self.proposals).into_iter().map(|proposal| proposal.id).chain(orders);
        let awaited = std::mem::take(&mut self.awaited).into_keys();
        unsent.chain(awaited).map(|id| Refused { id, reason: Refusal::NotLeader { leader } }).collect()
    }
}

/// The ids that a leader has admitted in its ballot: each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Admission {
    origins: BTreeMap<NodeId, Origin>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Origin {
    boot: u64,
    // Everything at or below the floor counts as seen.
    floor: u64,
    seen: BTreeSet<u64>,
}

/// How many sequence numbers of one origin are remembered. An origin sends them in order, so a copy that is this much
/// older than the newest one is dropped unseen: its outcome stays unknown, which is true.
const SEQUENCES_MAX: usize = 65_536;

impl Admission {
    /// Whether this id is seen for the first time. A false answer must be met with silence: the first copy may have
    /// been appended or refused.
    pub fn admit(&mut self, id: RequestId) -> bool {
        let origin = self.origins.entry(id.origin).or_default();
        if id.boot > origin.boot {
            *origin = Origin { boot: id.boot, ..Origin::default() };
        }
        if is_planted(Bug::CopiesAdmitted) {
            return true;
        }
        if id.boot < origin.boot || id.sequence <= origin.floor || !origin.seen.insert(id.sequence) {
            return false;
        }
        if origin.seen.len() > SEQUENCES_MAX
            && let Some(oldest) = origin.seen.pop_first()
        {
            origin.floor = oldest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use super::*;

    fn id(boot: u64, sequence: u64) -> RequestId {
        RequestId { origin: NodeId(2), boot, sequence }
    }

    #[test]
    fn an_id_is_admitted_once_in_any_order() {
        let mut admission = Admission::default();
        assert!(admission.admit(id(1, 2)));
        assert!(admission.admit(id(1, 1)));
        assert!(!admission.admit(id(1, 2)));
    }

    #[test]
    fn nothing_of_an_earlier_boot_is_admitted() {
        let mut admission = Admission::default();
        assert!(admission.admit(id(2, 1)));
        assert!(!admission.admit(id(1, 7)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_admitted() {
        let mut admission = Admission::default();
        for sequence in 1..=(SEQUENCES_MAX as u64 + 10) {
            assert!(admission.admit(id(1, sequence)));
        }
        assert!(!admission.admit(id(1, 5)));
    }

    #[test]
    fn a_change_of_leader_refuses_what_was_not_sent_and_leaves_what_was() {
        let mut errands = Errands::default();
        errands.propose(Proposal { id: id(1, 1), data: Blob::from("sent") });
        assert_eq!(errands.take(Ballot::ZERO, 1000).len(), 1);
        errands.propose(Proposal { id: id(1, 2), data: Blob::from("not sent") });
        errands.read(id(1, 3), ReadMode::Index, 10).expect("there is room");
        let refused: Vec<u64> = errands.abandon(None).iter().map(|refused| refused.id.sequence).collect();
        assert_eq!(refused, [2, 3]);
    }
    #[test]
    fn reads_of_each_mode_travel_together_and_keep_it_when_they_are_asked_for_again() {
        let mut errands = Errands::default();
        for (sequence, mode) in [(1, ReadMode::Lease), (2, ReadMode::Index), (3, ReadMode::Lease)] {
            errands.read(id(1, sequence), mode, 10).expect("there is room");
        }
        let ballot = Ballot::ZERO;
        let asked = [
            Errand::Read { ballot, mode: ReadMode::Index, ids: vec![id(1, 2)] },
            Errand::Read { ballot, mode: ReadMode::Lease, ids: vec![id(1, 1), id(1, 3)] },
        ];
        assert_eq!(errands.take(ballot, 1000), asked);
        assert_eq!(errands.take(ballot, 1000), []);
        errands.ask_again();
        assert_eq!(errands.take(ballot, 1000), asked);
    }
}
