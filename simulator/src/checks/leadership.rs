//! Election safety (Raft paper, figure 3): at most one leader in an epoch, a term in Raft and a ballot in Paxos. And a
//! leader leads in a ballot of its own.
//!
//! A node that leads, restarts and leads again in the same epoch is two leaders: the second one does not know what the
//! first has proposed.

use std::collections::BTreeMap;

use consensus_api::{Ballot, EngineStatus, NodeId, Role};

use super::{Violation, epoch};

/// Which of a node's lives, from 1.
type Life = u64;

/// Who led when.
#[derive(Debug)]
pub(super) struct Leadership {
    round_is_epoch: bool,
    leaders: BTreeMap<Ballot, (NodeId, Life)>,
    lives: BTreeMap<NodeId, Life>,
}

impl Leadership {
    pub(super) fn new(round_is_epoch: bool) -> Leadership {
        Leadership { round_is_epoch, leaders: BTreeMap::new(), lives: BTreeMap::new() }
    }

    /// A node's next life begins.
    pub(super) fn started(&mut self, node: NodeId) {
        *self.lives.entry(node).or_default() += 1;
    }

    pub(super) fn stepped(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        if status.role != Role::Leader {
            return Ok(());
        }
        let ballot = status.ballot;
        if ballot.node != node {
            return Err(Violation::TwoLeaders { ballot, node, other: ballot.node });
        }
        let this = (node, self.lives.get(&node).copied().unwrap_or_default());
        let first = *self.leaders.entry(epoch(self.round_is_epoch, ballot)).or_insert(this);
        if first == this { Ok(()) } else { Err(Violation::TwoLeaders { ballot, node, other: first.0 }) }
    }
}
