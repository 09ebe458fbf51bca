//! The fault atlas: what is lost for good and what is down for now, so that a run never breaks more than the protocols
//! promise to survive, and a run that gets stuck is blamed on the engine only where a quorum could exist.
//!
//! Both protocols survive the loss of a minority's disks, and crashes of everybody at once. A disk that is wiped or
//! damaged is lost: the node must not count again, for what it had promised is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use consensus_api::NodeId;
use consensus_api::quorum::majority;
use consensus_api::random::SeededRandom;

/// Why a node is beyond repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Its disk is blank.
    Wiped,
    /// Its disk holds records that are damaged.
    Damaged,
}

/// What stands and what does not.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    nodes: BTreeSet<NodeId>,
    lost: BTreeMap<NodeId, Loss>,
    down: BTreeSet<NodeId>,
}

impl Atlas {
    /// All nodes stand.
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Atlas {
        Atlas { nodes: nodes.into_iter().collect(), ..Atlas::default() }
    }

    /// Whether the node's loss would leave a majority that can be healed; also where it is lost already.
    pub fn may_lose_for_good(&self, node: NodeId) -> bool {
        let others = self.nodes.iter().filter(|other| **other != node && !self.is_lost(**other)).count();
        self.is_lost(node) || (self.nodes.contains(&node) && others >= majority(self.nodes.len()))
    }

    /// The node is beyond repair.
    ///
    /// # Panics
    /// Where that would leave no majority: whoever breaks disks asks [`Atlas::may_lose_for_good`] first.
    pub fn lose(&mut self, node: NodeId, loss: Loss) {
        assert!(self.may_lose_for_good(node), "{node} is lost beyond what can be survived: {self}");
        self.lost.entry(node).or_insert(loss);
    }

    /// The node does not run for now.
    pub fn down(&mut self, node: NodeId) {
        self.down.insert(node);
    }

    /// The node runs.
    pub fn up(&mut self, node: NodeId) {
        self.down.remove(&node);
    }

    /// Whether the node never counts again.
    pub fn is_lost(&self, node: NodeId) -> bool {
        self.lost.contains_key(&node)
    }

    /// How many nodes never count again.
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// The nodes that can be brought back, or run.
    pub fn healable(&self) -> Vec<NodeId> {
        self.nodes.iter().copied().filter(|node| !self.is_lost(*node)).collect()
    }

    /// A smallest majority of the nodes that can be brought back; the seed decides which. `None` where too few are left.
    pub fn majority_to_repair(&self, seed: u64) -> Option<BTreeSet<NodeId>> {
        let mut random = SeededRandom::new(seed);
        let mut healable = self.healable();
        while healable.len() > majority(self.nodes.len()) {
            healable.swap_remove(random.below(healable.len() as u64) as usize);
        }
        self.quorum_possible().then(|| healable.into_iter().collect())
    }

    /// Whether a quorum of nodes could exist once everything that can be healed is healed.
    pub fn quorum_possible(&self) -> bool {
        self.healable().len() >= majority(self.nodes.len())
    }

    /// Whether a quorum of nodes runs now.
    pub fn quorum_up(&self) -> bool {
        let up = self.healable().into_iter().filter(|node| !self.down.contains(node)).count();
        up >= majority(self.nodes.len())
    }
}

impl fmt::Display for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} nodes", self.nodes.len())?;
        for (node, loss) in &self.lost {
            let loss = if *loss == Loss::Wiped { "wiped" } else { "damaged" };
            write!(f, ", {node} is {loss}")?;
        }
        for node in self.down.iter().filter(|node| !self.is_lost(**node)) {
            write!(f, ", {node} is down")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::*;

    fn atlas(nodes: u64) -> Atlas {
        Atlas::new((1..=nodes).map(NodeId))
    }

    #[test]
    fn never_more_than_a_minority_is_lost() {
        for (nodes, minority) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
            let mut atlas = atlas(nodes);
            for node in (1..=nodes).map(NodeId) {
                if atlas.may_lose_for_good(node) {
                    atlas.lose(node, Loss::Wiped);
                }
            }
            assert_eq!(atlas.lost(), minority, "of {nodes}");
            assert!(atlas.quorum_possible());
        }
    }

    #[test]
    #[should_panic(expected = "lost beyond what can be survived: of 3 nodes, 1 is damaged")]
    fn to_lose_a_majority_is_a_mistake_of_the_run() {
        let mut atlas = atlas(3);
        atlas.lose(NodeId(1), Loss::Damaged);
        atlas.lose(NodeId(2), Loss::Wiped);
    }

    #[test]
    fn a_node_that_is_lost_may_be_lost_again_and_counts_once() {
        let mut atlas = atlas(3);
        atlas.lose(NodeId(1), Loss::Damaged);
        atlas.lose(NodeId(1), Loss::Wiped);
        assert_eq!((atlas.lost(), atlas.healable()), (1, vec![NodeId(2), NodeId(3)]));
    }

    #[test]
    fn everybody_may_be_down_at_once() {
        let mut atlas = atlas(3);
        for node in 1..=3 {
            atlas.down(NodeId(node));
        }
        assert!(!atlas.quorum_up() && atlas.quorum_possible());
        atlas.up(NodeId(2));
        atlas.up(NodeId(3));
        assert!(atlas.quorum_up());
    }

    #[test]
    fn the_majority_to_heal_is_as_small_as_can_be_and_has_none_that_is_lost() {
        for seed in 0..50 {
            let mut atlas = atlas(5);
            atlas.lose(NodeId(1 + seed % 5), Loss::Wiped);
            let chosen = atlas.majority_to_repair(seed).expect("four of five can be brought back");
            assert_eq!(chosen.len(), 3);
            assert!(chosen.iter().all(|node| !atlas.is_lost(*node)));
        }
    }
}
