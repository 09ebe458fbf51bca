//! Quorum arithmetic: which sets of voters may decide.
//!
//! The law: a set that contains a quorum is a quorum, and any two quorums of one configuration share a voter. A joint
//! configuration decides only where both of its halves decide (Raft thesis §4.3), so its quorums meet those of either
//! half.

use std::collections::BTreeSet;

use crate::ids::NodeId;

/// One majority, or two that must agree while the members change.
#[derive(Clone, Copy, Debug)]
pub struct Quorums<'a> {
    incoming: &'a BTreeSet<NodeId>,
    outgoing: &'a BTreeSet<NodeId>,
}

/// How an election, or any other vote, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A quorum said yes.
    Won,
    /// No quorum can say yes any more.
    Lost,
    /// Neither yet.
    Open,
}

impl<'a> Quorums<'a> {
    /// The quorums of `incoming`, and of `outgoing` too unless that is empty.
    pub fn new(incoming: &'a BTreeSet<NodeId>, outgoing: &'a BTreeSet<NodeId>) -> Quorums<'a> {
        Quorums { incoming, outgoing }
    }

    fn halves(&self) -> impl Iterator<Item = &'a BTreeSet<NodeId>> {
        let outgoing = (!self.outgoing.is_empty()).then_some(self.outgoing);
        std::iter::once(self.incoming).chain(outgoing)
    }

    /// Whether the voters for whom `has` holds are a quorum. Without voters nothing is: an empty configuration must
    /// not decide by default.
    pub fn reached(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.halves().all(|voters| {
            let yes = voters.iter().filter(|node| has(**node)).count();
            yes >= majority(voters.len())
        })
    }

    /// The highest value that a quorum has reached, where `of` tells each voter's; `T::default()` where there are no
    /// voters. With the voters' match indexes this is what Raft may commit (§5.3).
    pub fn highest<T: Ord + Copy + Default>(&self, of: impl Fn(NodeId) -> T) -> T {
        let of_half = |voters: &BTreeSet<NodeId>| {
            let mut values: Vec<T> = voters.iter().map(|node| of(*node)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.get(majority(voters.len()) - 1).copied().unwrap_or_default()
        };
        self.halves().map(of_half).min().unwrap_or_default()
    }

    /// How a vote stands when `vote` tells each voter's answer, if it has come.
    pub fn verdict(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Verdict {
        if self.reached(|node| vote(node) == Some(true)) {
            Verdict::Won
        } else if self.reached(|node| vote(node) != Some(false)) {
            Verdict::Open
        } else {
            Verdict::Lost
        }
    }
}

/// The least number of voters that is more than half of `voters`. One even of none, so that no voters never decide.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The answers that have come to one question: a pre-check, a vote, a Prepare. A voter's first answer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    yes: BTreeSet<NodeId>,
    no: BTreeSet<NodeId>,
}

impl Tally {
    /// Notes an answer.
    pub fn record(&mut self, node: NodeId, yes: bool) {
        if self.yes.contains(&node) || self.no.contains(&node) {
            return;
        }
        if yes {
            self.yes.insert(node)
        } else {
            self.no.insert(node)
        };
    }

    /// How the vote stands among these quorums.
    pub fn verdict(&self, quorums: Quorums<'_>) -> Verdict {
        quorums.verdict(
            |node| {
                if self.yes.contains(&node) { Some(true) } else { self.no.contains(&node).then_some(false) }
            },
        )
    }

    /// Who said yes.
    pub fn granted(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.yes.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn voters() -> impl Strategy<Value = BTreeSet<NodeId>> {
        prop::collection::btree_set((1_u64..10).prop_map(NodeId), 0..8)
    }

    /// By enumeration: is there a subset of the voters, more than half of them, all of whom say yes?
    fn naive_majority(voters: &BTreeSet<NodeId>, yes: &BTreeSet<NodeId>) -> bool {
        let voters: Vec<NodeId> = voters.iter().copied().collect();
        (0_u32..1 << voters.len()).any(|subset| {
            let chosen: Vec<NodeId> =
                (0..voters.len()).filter(|bit| subset & (1 << bit) != 0).map(|bit| voters[bit]).collect();
            2 * chosen.len() > voters.len() && chosen.iter().all(|node| yes.contains(node))
        })
    }

    fn naive(incoming: &BTreeSet<NodeId>, outgoing: &BTreeSet<NodeId>, yes: &BTreeSet<NodeId>) -> bool {
        naive_majority(incoming, yes) && (outgoing.is_empty() || naive_majority(outgoing, yes))
    }

    proptest! {
        #[test]
        fn a_quorum_is_what_enumeration_says(incoming in voters(), outgoing in voters(), yes in voters()) {
            let quorums = Quorums::new(&incoming, &outgoing);
            prop_assert_eq!(quorums.reached(|node| yes.contains(&node)), naive(&incoming, &outgoing, &yes));
        }

        #[test]
        fn the_highest_value_is_the_highest_that_a_quorum_has(
            incoming in voters(),
            outgoing in voters(),
            values in prop::collection::btree_map((1_u64..10).prop_map(NodeId), 0_u64..6, 0..10),
        ) {
            let quorums = Quorums::new(&incoming, &outgoing);
            let of = |node: NodeId| values.get(&node).copied().unwrap_or(0);
            let at_least = |value: u64| (1..10).map(NodeId).filter(|node| of(*node) >= value).collect();
            let expected = (0..6).rev().find(|value| naive(&incoming, &outgoing, &at_least(*value))).unwrap_or(0);
            prop_assert_eq!(quorums.highest(of), expected);
        }

        #[test]
        fn two_quorums_always_share_a_voter(
            incoming in voters(),
            outgoing in voters(),
            one in voters(),
            other in voters(),
        ) {
            let quorums = Quorums::new(&incoming, &outgoing);
            if quorums.reached(|node| one.contains(&node)) && quorums.reached(|node| other.contains(&node)) {
                let shared: BTreeSet<NodeId> = one.intersection(&other).copied().collect();
                prop_assert!(shared.iter().any(|node| incoming.contains(node)));
                prop_assert!(outgoing.is_empty() || shared.iter().any(|node| outgoing.contains(node)));
            }
        }

        #[test]
        fn a_verdict_is_final_and_right(
            incoming in voters(),
            outgoing in voters(),
            answers in prop::collection::btree_map((1_u64..10).prop_map(NodeId), any::<bool>(), 0..10),
        ) {
            let quorums = Quorums::new(&incoming, &outgoing);
            let mut tally = Tally::default();
            for (node, yes) in &answers {
                tally.record(*node, *yes);
                tally.record(*node, !*yes); // A second answer changes nothing.
            }
            let said = |wanted: bool| -> BTreeSet<NodeId> {
                answers.iter().filter(|(_, yes)| **yes == wanted).map(|(node, _)| *node).collect()
            };
            let not_refused: BTreeSet<NodeId> =
                (1..10).map(NodeId).filter(|node| !said(false).contains(node)).collect();
            let expected = if naive(&incoming, &outgoing, &said(true)) {
                Verdict::Won
            } else if naive(&incoming, &outgoing, &not_refused) {
                Verdict::Open
            } else {
                Verdict::Lost
            };
            prop_assert_eq!(tally.verdict(quorums), expected);
            prop_assert_eq!(tally.granted().collect::<BTreeSet<_>>(), said(true));
        }
    }

    #[test]
    fn no_voters_decide_nothing() {
        let none = BTreeSet::new();
        assert!(!Quorums::new(&none, &none).reached(|_| true));
        let values: BTreeMap<NodeId, u64> = BTreeMap::new();
        assert_eq!(Quorums::new(&none, &none).highest(|node| values.get(&node).copied().unwrap_or(9)), 0);
    }
}
