//! Who takes part. The members are those of the founding, or of the state that was recovered or installed; what changes
//! them, and a leader that hands over on purpose, this engine does not do yet and refuses by name.
//!
//! Every question of "how many are enough" goes through [`Raft::quorums`], so that a joint configuration (thesis §4.3)
//! will be asked for in this one place.

use consensus_api::{Quorums, Refusal, RequestId};

use crate::Raft;

impl Raft {
    /// The quorums in force.
    pub(crate) fn quorums(&self) -> Quorums<'_> {
        self.membership.quorums()
    }

    /// Whether this node may campaign. Whether it may *vote* is another question, and is never asked: a candidate may
    /// know of a membership in which this node votes while this node does not know of it yet, and its vote is as good
    /// as its durable state (thesis §4.2.1).
    pub(crate) fn is_voter(&self) -> bool {
        self.membership.is_voter(self.config.node)
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
