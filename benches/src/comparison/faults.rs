//! What is lost in an event: the leader, or links.
//!
//! ```text
//!   chain     L ── o ── o          bridge    L ── o           quorumless-leader    L ── o ── o
//!             (the ends lose         ╲ ╱ the two halves                             ╱ │    all but one lose
//!              each other)            o  lose each other                           o  o    each other
//!                                    ╱ ╲
//!                                   o ── o
//! ```
//!
//! The chain and the leader without a quorum are those of OmniPaxos (Ng, Haridi & Carbone 2023): in the first the leader
//! could stay and must not be thrown out again and again; in the last only one node can lead.

use std::ops::RangeInclusive;

use link_relay::{LinkName, LinkPattern};

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The leader's process is killed.
    Kill,
    /// It is stopped where it stands, and goes on later.
    Pause,
    /// All of its links are cut.
    Cut,
    /// Three nodes in a row: the leader at one end and the node at the other lose each other.
    Chain,
    /// Five nodes: the leader and one more, and two others, are joined by a fifth only.
    Bridge,
    /// Five nodes: all lose each other, but for one that still reaches everybody. The leader is not that one.
    QuorumlessLeader,
}

impl Loss {
    /// Those that lose the leader.
    pub const OF_LEADER: &'static [Loss] = &[Loss::Kill, Loss::Pause, Loss::Cut];
    /// Those that lose links.
    pub const PARTITIONS: &'static [Loss] = &[Loss::Chain, Loss::Bridge, Loss::QuorumlessLeader];

    /// The name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Kill => "kill",
            Loss::Pause => "pause",
            Loss::Cut => "cut",
            Loss::Chain => "chain",
            Loss::Bridge => "bridge",
            Loss::QuorumlessLeader => "quorumless-leader",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Loss> {
        Loss::OF_LEADER.iter().chain(Loss::PARTITIONS).copied().find(|loss| loss.name() == name)
    }

    /// How large the cluster must be.
    pub fn nodes(self) -> RangeInclusive<u64> {
        match self {
            Loss::Kill | Loss::Pause | Loss::Cut => 3..=9,
            Loss::Chain => 3..=3,
            Loss::Bridge | Loss::QuorumlessLeader => 5..=5,
        }
    }

    /// Whether links are lost.
    pub fn cuts_links(self) -> bool {
        !matches!(self, Loss::Kill | Loss::Pause)
    }

    /// Whether the leader itself is gone for everybody.
    pub fn loses_leader(self) -> bool {
        Loss::OF_LEADER.contains(&self)
    }

    /// Which links are lost, with this leader among these nodes.
    pub fn links(self, leader: u64, nodes: &[u64]) -> Vec<LinkPattern> {
        let others: Vec<u64> = nodes.iter().copied().filter(|id| *id != leader).collect();
        let between = |lost: &dyn Fn(LinkName) -> bool| {
            LinkName::among(nodes).into_iter().filter(|link| lost(*link)).map(LinkPattern::from).collect()
        };
        match (self, others.as_slice()) {
            (Loss::Kill | Loss::Pause, _) => Vec::new(),
            (Loss::Cut, _) => vec![LinkPattern::out_of(leader), LinkPattern::into(leader)],
            (Loss::Chain, [.., last]) => {
                between(&|link| [link.from, link.to].iter().all(|id| [leader, *last].contains(id)))
            }
            (Loss::Bridge, [friend, bridge, ..]) => {
                let half = [leader, *friend];
                let is_joined = |link: LinkName| half.contains(&link.from) == half.contains(&link.to);
                between(&|link| link.from != *bridge && link.to != *bridge && !is_joined(link))
            }
            (Loss::QuorumlessLeader, [hub, ..]) => between(&|link| link.from != *hub && link.to != *hub),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: Loss, leader: u64, count: u64) -> Vec<String> {
        let nodes: Vec<u64> = (1..=count).collect();
        loss.links(leader, &nodes).iter().map(LinkPattern::to_string).collect()
    }

    #[test]
    fn in_a_chain_the_ends_lose_each_other() {
        assert_eq!(lost(Loss::Chain, 1, 3), ["1:3", "3:1"]);
        assert_eq!(lost(Loss::Chain, 3, 3), ["2:3", "3:2"]);
    }

    #[test]
    fn over_a_bridge_the_halves_lose_each_other() {
        let links = lost(Loss::Bridge, 1, 5);
        assert_eq!(links, ["1:4", "1:5", "2:4", "2:5", "4:1", "4:2", "5:1", "5:2"]);
    }

    #[test]
    fn a_leader_without_a_quorum_keeps_one_node_which_keeps_all() {
        let links = lost(Loss::QuorumlessLeader, 1, 5);
        assert_eq!(links.len(), 4 * 3);
        assert!(links.iter().all(|link| !link.contains('2')), "{links:?}");
    }

    #[test]
    fn a_leader_that_is_cut_off_loses_both_directions() {
        assert_eq!(lost(Loss::Cut, 2, 3), ["2:all", "all:2"]);
        assert!(lost(Loss::Kill, 2, 3).is_empty());
    }

    #[test]
    fn every_loss_is_found_by_its_name() {
        for loss in Loss::OF_LEADER.iter().chain(Loss::PARTITIONS) {
            assert_eq!(Loss::parse(loss.name()), Some(*loss));
        }
        assert_eq!(Loss::parse("flood"), None);
    }
}
