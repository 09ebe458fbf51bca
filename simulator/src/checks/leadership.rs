//! Election safety (Raft paper, figure 3): at most one leader in an epoch, a term in Raft and a ballot in Paxos. And a
//! leader leads in a ballot of its own.

use std::collections::BTreeMap;

use consensus_api::{Ballot, EngineStatus, NodeId, Role};

use super::Violation;

/// Who led when.
#[derive(Debug)]
pub(super) struct Leadership {
    round_is_epoch: bool,
    leaders: BTreeMap<Ballot, NodeId>,
}

impl Leadership {
    pub(super) fn new(round_is_epoch: bool) -> Leadership {
        Leadership { round_is_epoch, leaders: BTreeMap::new() }
    }

    pub(super) fn stepped(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        if status.role != Role::Leader {
            return Ok(());
        }
        let ballot = status.ballot;
        if ballot.node != node {
            return Err(Violation::TwoLeaders { ballot, node, other: ballot.node });
        }
        let epoch = if self.round_is_epoch { Ballot::new(ballot.round, NodeId::NONE) } else { ballot };
        let other = *self.leaders.entry(epoch).or_insert(node);
        if other == node { Ok(()) } else { Err(Violation::TwoLeaders { ballot, node, other }) }
    }
}
