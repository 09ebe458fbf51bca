//! Partitions by name: which directed links a shape cuts among which nodes.
//!
//! ```text
//!   Minority   T | . . .      Chain  .—T—.—.     Bridge   . .   . .     Deaf  T ──▶ . .
//!   Majority   T . . | .      Ring   each hears             \ T /       Mute  T ◀── . .
//!   Isolate    T | . . . .           its neighbours      two halves
//! ```

use std::collections::BTreeSet;
use std::fmt;

use consensus_api::NodeId;
use consensus_api::quorum::majority;
use consensus_api::random::SeededRandom;

/// A partition around one node, the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Two groups; the target is in the smaller one, which is as large as a minority can be.
    Minority,
    /// Two groups; the target is in the smallest majority.
    Majority,
    /// Nobody hears the target, nor does it hear anybody.
    Isolate,
    /// A–B–C: each hears its neighbours in a row, in which the target stands anywhere.
    Chain,
    /// Each hears its neighbours in a circle. Among three all are neighbours: there each only hears the one before it.
    Ring,
    /// Two groups of which only the target hears both.
    Bridge,
    /// The target hears nobody, and is heard.
    Deaf,
    /// The target is heard by nobody, and hears.
    Mute,
    /// Two groups, however they fall.
    Halves,
    /// The target and one other do not hear each other.
    Pair,
    /// One other does not hear the target.
    Link,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 11] = [
        Shape::Minority,
        Shape::Majority,
        Shape::Isolate,
        Shape::Chain,
        Shape::Ring,
        Shape::Bridge,
        Shape::Deaf,
        Shape::Mute,
        Shape::Halves,
        Shape::Pair,
        Shape::Link,
    ];

    /// The directed links, as (from, to), that this shape cuts. The seed decides who else stands where.
    pub fn links(self, target: NodeId, nodes: &[NodeId], seed: u64) -> BTreeSet<(NodeId, NodeId)> {
        let mut random = SeededRandom::new(seed);
        let mut row = vec![target];
        let mut others: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != target).collect();
        while !others.is_empty() {
            row.push(others.swap_remove(random.below(others.len() as u64) as usize));
        }
        let count = row.len();
        if matches!(self, Shape::Chain) {
            row.rotate_right(random.below(count as u64) as usize);
        }
        let size = 1 + random.below((count as u64).saturating_sub(1).max(1)) as usize;
        let apart = |from: usize, to: usize| match self {
            Shape::Minority => in_two(count - majority(count), from, to),
            Shape::Majority => in_two(majority(count), from, to),
            Shape::Isolate => from == 0 || to == 0,
            Shape::Chain => from.abs_diff(to) > 1,
            Shape::Ring if count == 3 => (from + 1) % count != to,
            Shape::Ring => from.abs_diff(to) > 1 && from.abs_diff(to) < count - 1,
            Shape::Bridge => from > 0 && to > 0 && in_two(1 + (count - 1) / 2, from, to),
            Shape::Deaf => to == 0,
            Shape::Mute => from == 0,
            Shape::Halves => in_two(size, from, to),
            Shape::Pair => from + to == 1,
            Shape::Link => (from, to) == (0, 1),
        };
        let places = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let cut = places.filter(|(from, to)| from != to && apart(*from, *to));
        cut.map(|(from, to)| (row[from], row[to])).collect()
    }
}

/// Whether exactly one of the two is among the first `size`.
fn in_two(size: usize, from: usize, to: usize) -> bool {
    (from < size) != (to < size)
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Minority => "a minority",
            Shape::Majority => "a majority",
            Shape::Isolate => "isolation",
            Shape::Chain => "a chain",
            Shape::Ring => "a ring",
            Shape::Bridge => "a bridge",
            Shape::Deaf => "deafness",
            Shape::Mute => "muteness",
            Shape::Halves => "two halves",
            Shape::Pair => "a pair apart",
            Shape::Link => "one link",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    /// Checks a property of a shape's uncut links for every target among 3 and 5 nodes, and many seeds.
    fn for_all(shape: Shape, holds: impl Fn(NodeId, &[NodeId], &dyn Fn(NodeId, NodeId) -> bool)) {
        for count in [3, 5] {
            let nodes = nodes(count);
            for target in &nodes {
                for seed in 0..50 {
                    let cut = shape.links(*target, &nodes, seed);
                    assert!(!cut.is_empty(), "{shape} of {count} cuts nothing");
                    holds(*target, &nodes, &|from, to| !cut.contains(&(from, to)));
                }
            }
        }
    }

    /// How many nodes, itself included, exchange messages both ways with this one.
    fn circle(node: NodeId, nodes: &[NodeId], hears: &dyn Fn(NodeId, NodeId) -> bool) -> usize {
        nodes.iter().filter(|other| **other == node || (hears(node, **other) && hears(**other, node))).count()
    }

    #[test]
    fn a_minority_holds_the_target_and_is_as_large_as_can_be() {
        for_all(Shape::Minority, |target, nodes, hears| {
            assert_eq!(circle(target, nodes, hears), nodes.len() - majority(nodes.len()));
        });
    }

    #[test]
    fn a_majority_holds_the_target_and_is_as_small_as_can_be() {
        for_all(Shape::Majority, |target, nodes, hears| {
            assert_eq!(circle(target, nodes, hears), majority(nodes.len()));
        });
    }

    #[test]
    fn isolation_leaves_the_others_together() {
        for_all(Shape::Isolate, |target, nodes, hears| {
            for node in nodes {
                let expected = if *node == target { 1 } else { nodes.len() - 1 };
                assert_eq!(circle(*node, nodes, hears), expected);
            }
        });
    }

    #[test]
    fn a_chain_has_two_ends_and_neighbours_between() {
        for_all(Shape::Chain, |_, nodes, hears| {
            let circles: Vec<usize> = nodes.iter().map(|node| circle(*node, nodes, hears)).collect();
            assert_eq!(circles.iter().filter(|size| **size == 2).count(), 2, "two ends");
            assert_eq!(circles.iter().filter(|size| **size == 3).count(), nodes.len() - 2, "the rest between");
        });
    }

    #[test]
    fn in_a_ring_each_hears_a_different_part() {
        for_all(Shape::Ring, |_, nodes, hears| {
            let heard = |to: &NodeId| nodes.iter().filter(|from| *from != to && hears(**from, *to)).count();
            let expected = if nodes.len() == 3 { 1 } else { 2 };
            assert!(nodes.iter().all(|node| heard(node) == expected));
        });
    }

    #[test]
    fn only_the_bridge_hears_both_halves() {
        for_all(Shape::Bridge, |target, nodes, hears| {
            assert_eq!(circle(target, nodes, hears), nodes.len());
            let half = 1 + (nodes.len() - 1) / 2;
            assert!(nodes.iter().filter(|node| **node != target).all(|node| circle(*node, nodes, hears) == half));
        });
    }

    #[test]
    fn the_deaf_is_heard_and_the_mute_hears() {
        for_all(Shape::Deaf, |target, nodes, hears| {
            assert!(nodes.iter().filter(|node| **node != target).all(|node| !hears(*node, target)));
            assert!(nodes.iter().all(|node| hears(target, *node)));
        });
        for_all(Shape::Mute, |target, nodes, hears| {
            assert!(nodes.iter().filter(|node| **node != target).all(|node| !hears(target, *node)));
            assert!(nodes.iter().all(|node| hears(*node, target)));
        });
    }

    #[test]
    fn halves_are_two_groups_that_agree_on_who_is_apart() {
        for_all(Shape::Halves, |target, nodes, hears| {
            let near = |node: &NodeId| *node == target || hears(target, *node);
            for from in nodes {
                for to in nodes.iter().filter(|to| *to != from) {
                    assert_eq!(hears(*from, *to), near(from) == near(to));
                }
            }
        });
    }

    #[test]
    fn a_pair_is_cut_both_ways_and_a_link_one_way() {
        let cut = Shape::Pair.links(NodeId(2), &nodes(5), 7);
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|(from, to)| cut.contains(&(*to, *from))));
        let cut = Shape::Link.links(NodeId(2), &nodes(5), 7);
        assert!(cut.len() == 1 && cut.iter().all(|(from, _)| *from == NodeId(2)));
    }

    #[test]
    fn a_node_alone_has_no_links_to_cut() {
        for shape in Shape::ALL {
            assert!(shape.links(NodeId(1), &nodes(1), 3).is_empty(), "{shape}");
        }
    }
}
