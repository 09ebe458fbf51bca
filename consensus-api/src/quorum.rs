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
