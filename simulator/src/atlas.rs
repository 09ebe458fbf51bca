//! The fault atlas: what is lost for good and what is down for now, so that a run never breaks more than the protocols
//! promise to survive, and a run that gets stuck is blamed on the engine only where a quorum could exist.
//!
//! Both protocols survive the loss of a minority's disks, and crashes of everybody at once. A disk that is wiped or
//! damaged is lost: the node must not count again, for what it had promised is gone. While the members change, that is so
//! for each configuration that has a say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use consensus_api::random::SeededRandom;
use consensus_api::{Membership, NodeId};

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
    deciding: Vec<Arc<Membership>>,
    lost: BTreeMap<NodeId, Loss>,
    down: BTreeSet<NodeId>,
}

impl Atlas {
    /// The founders decide, and all stand.
    pub fn new(founders: Membership) -> Atlas {
        Atlas { deciding: vec![Arc::new(founders)], ..Atlas::default() }
    }

    /// From now on these have a say, each by itself. Of the nodes that were lost, the ones that are whole count again.
    pub fn decide_by(&mut self, deciding: Vec<Arc<Membership>>, whole: &[NodeId]) {
        self.deciding = deciding;
        self.lost.retain(|node, loss| *loss != Loss::Wiped || !whole.contains(node));
    }

    /// Whether all who have a say could decide without these.
    fn can_spare(&self, is_spared: impl Fn(NodeId) -> bool) -> bool {
        self.deciding.iter().all(|members| members.quorums().reached(|node| !is_spared(node)))
    }

    /// Everybody who votes.
    fn voters(&self) -> BTreeSet<NodeId> {
        self.deciding.iter().flat_map(|members| members.all_voters()).collect()
    }

    /// Whether the node votes for anyone who decides.
    pub fn has_a_say(&self, node: NodeId) -> bool {
        self.voters().contains(&node)
    }

    /// Whether the node's loss would leave a quorum that can be healed of everyone who decides; also where it is lost
    /// already.
    pub fn may_lose_for_good(&self, node: NodeId) -> bool {
        self.is_lost(node) || self.can_spare(|other| other == node || self.is_lost(other))
    }

    /// The node is beyond repair.
    ///
    /// # Panics
    /// Where that would leave no quorum: whoever breaks disks asks [`Atlas::may_lose_for_good`] first.
    pub fn lose(&mut self, node: NodeId, loss: Loss) {
        assert!(self.may_lose_for_good(node), "{node} is lost beyond what can be survived: {self}");
        // A blank disk takes the place of a damaged one, and not the other way round.
        let before = self.lost.entry(node).or_insert(loss);
        *before = loss.min(*before);
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

    /// The voters that can be brought back, or run.
    pub fn healable(&self) -> Vec<NodeId> {
        self.voters().into_iter().filter(|node| !self.is_lost(*node)).collect()
    }

    /// No more nodes that can be brought back than it takes to decide; the seed decides which. `None` where too few are
    /// left.
    pub fn majority_to_repair(&self, seed: u64) -> Option<BTreeSet<NodeId>> {
        let mut random = SeededRandom::new(seed);
        let mut undecided = self.healable();
        let mut majority: BTreeSet<NodeId> = undecided.iter().copied().collect();
        while !undecided.is_empty() {
            let node = undecided.swap_remove(random.below(undecided.len() as u64) as usize);
            if self.can_spare(|other| other == node || !majority.contains(&other)) {
                majority.remove(&node);
            }
        }
        self.quorum_possible().then_some(majority)
    }

    /// Whether everyone who decides could, once everything that can be healed is healed.
    pub fn quorum_possible(&self) -> bool {
        self.can_spare(|node| self.is_lost(node))
    }

    /// Whether everyone who decides can now.
    pub fn quorum_up(&self) -> bool {
        self.can_spare(|node| self.is_lost(node) || self.down.contains(&node))
    }
}

impl fmt::Display for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} nodes", self.voters().len())?;
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

    use consensus_api::{Member, StoreId};

    use super::*;

    fn atlas(nodes: u64) -> Atlas {
        Atlas::new(Membership::of_voters(
            (1..=nodes).map(|node| (NodeId(node), Member { address: String::new(), store: StoreId(1) })),
        ))
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
