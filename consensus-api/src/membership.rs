//! Who belongs to the cluster, who may vote, and where each can be found.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};

use crate::ids::{NodeId, StoreId};
use crate::quorum::Quorums;

/// Where a member listens, and which disk it is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Member {
    /// `host:port` of its peer endpoint.
    pub address: String,
    /// A member that comes back with another store id has lost what it promised, and must not vote.
    pub store: StoreId,
}

/// The members at some index of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Membership {
    /// Who votes; while the members change, who will vote.
    pub voters: BTreeSet<NodeId>,
    /// While the members change, who voted until now: both majorities must agree. Empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Who receives the log without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Where all of these are found.
    pub members: BTreeMap<NodeId, Member>,
}

impl Membership {
    /// A membership in which all of these vote.
    pub fn of_voters(members: impl IntoIterator<Item = (NodeId, Member)>) -> Membership {
        let members: BTreeMap<NodeId, Member> = members.into_iter().collect();
        Membership { voters: members.keys().copied().collect(), members, ..Membership::default() }
    }

    /// The quorums by which this membership decides.
    pub fn quorums(&self) -> Quorums<'_> {
        Quorums::new(&self.voters, &self.outgoing)
    }

    /// Whether the node votes, in either half of a joint configuration.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether the node receives the log at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Everyone who votes, in order of id.
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// Everyone but `me` who receives the log, in order of id.
    pub fn peers_of(&self, me: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let everyone: BTreeSet<NodeId> = self.all_voters().chain(self.learners.iter().copied()).collect();
        everyone.into_iter().filter(move |node| *node != me)
    }

    /// What the membership counts as in bounds that are stated in bytes.
    pub fn size_bytes(&self) -> usize {
        self.members.values().map(|member| 48 + member.address.len()).sum::<usize>()
            + 8 * (self.voters.len() + self.outgoing.len() + self.learners.len())
    }
}
