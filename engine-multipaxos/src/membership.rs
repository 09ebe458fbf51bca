//! Who takes part. The members are those of the founding, or of the state that was recovered or installed; what changes
//! them, and a leader that hands over on purpose, this engine does not do yet and refuses by name.
//!
//! Every question of "how many are enough" is put to the membership's [`Quorums`], so that a joint configuration needs
//! no second place to be known in.

use consensus_api::{NodeId, Quorums, Refusal, RequestId};

use crate::MultiPaxos;

impl MultiPaxos {
    /// The quorums in force.
    pub(crate) fn quorums(&self) -> Quorums<'_> {
        self.membership.quorums()
    }

    /// Whether this node may campaign. Whether it may *promise* is another question, and is never asked: a candidate may
    /// know of a membership in which this node votes while this node does not know of it yet, and its promise is as good
    /// as its durable state.
    pub(crate) fn is_voter(&self) -> bool {
        self.membership.is_voter(self.config.node)
    }

    /// Every voter but this node, in order of id.
    pub(crate) fn other_voters(&self) -> Vec<NodeId> {
        self.membership.all_voters().filter(|node| *node != self.config.node).collect()
    }

    /// A client of this node wants other members.
    pub(crate) fn on_change_membership(&mut self, id: RequestId) {
        self.refuse(id, Refusal::Unsupported { what: "a change of members".into() });
    }

    /// A client of this node wants another leader.
    pub(crate) fn on_transfer_leadership(&mut self, id: RequestId) {
        self.refuse(id, Refusal::Unsupported { what: "a transfer of leadership".into() });
    }
}
