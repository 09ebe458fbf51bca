//! Which indexes of the log hold an entry, and under which ballot: for the whole log, in memory, as runs.
//!
//! ```text
//!   index   1  2  3  4  5  6  7  8  9
//!   ballot  1  1  1  4  4  ·  ·  6  6     runs: 1–3 at 1, 4–5 at 4, 8–9 at 6
//! ```
//!
//! A leader's entries share its ballot, so a log of millions of entries is a handful of runs. Raft reads terms off it
//! and backs off by whole ones; Multi-Paxos reads off what it has accepted, holes included.

use std::collections::BTreeMap;

use crate::ids::{Ballot, LogIndex};

/// A set of (index, ballot), held as maximal runs of equal ballots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BallotRuns {
    // Keyed by each run's first index. Invariants: runs do not overlap; neighbours that touch differ in ballot.
    runs: BTreeMap<LogIndex, (LogIndex, Ballot)>,
}

/// Consecutive indexes whose entries have one ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first index.
    pub first: LogIndex,
    /// The last index.
    pub last: LogIndex,
    /// Their ballot.
    pub ballot: Ballot,
}

impl BallotRuns {
    /// The ballot of the entry at `index`, if there is one.
    pub fn get(&self, index: LogIndex) -> Option<Ballot> {
        self.run_at(index).map(|run| run.ballot)
    }

    /// The run that covers `index`.
    pub fn run_at(&self, index: LogIndex) -> Option<Run> {
        let (first, (last, ballot)) = self.runs.range(..=index).next_back()?;
        (*last >= index).then_some(Run { first: *first, last: *last, ballot: *ballot })
    }

    /// The runs that touch `from` or come after it, clipped to it, in order.
    pub fn iter_from(&self, from: LogIndex) -> impl DoubleEndedIterator<Item = Run> + '_ {
        let start = self.run_at(from).map_or(from, |run| run.first);
        self.runs.range(start..).map(move |(first, (last, ballot))| Run {
            first: (*first).max(from),
            last: *last,
            ballot: *ballot,
        })
    }

    /// The first index that holds an entry.
    pub fn first(&self) -> Option<LogIndex> {
        self.runs.keys().next().copied()
    }

    /// The last index that holds an entry.
    pub fn last(&self) -> Option<LogIndex> {
        self.runs.values().next_back().map(|(last, _)| *last)
    }

    /// The first index at or after `from` that holds no entry.
    pub fn first_hole(&self, from: LogIndex) -> LogIndex {
        let mut hole = from;
        for run in self.iter_from(from) {
            if run.first > hole {
                break;
            }
            hole = run.last.next();
        }
        hole
    }

    /// Notes an entry, in place of what was there.
    pub fn set(&mut self, index: LogIndex, ballot: Ballot) {
        if self.get(index) == Some(ballot) {
            return;
        }
        self.clear(index);
        let mut first = index;
        let mut last = index;
        if let Some(left) = self.run_at(index.previous())
            && left.ballot == ballot
            && left.last < index
        {
            first = left.first;
        }
        if let Some(right) = self.run_at(index.next())
            && right.ballot == ballot
        {
            self.runs.remove(&right.first);
            last = right.last;
        }
        self.runs.insert(first, (last, ballot));
    }

    /// Forgets the entry at `index`.
    fn clear(&mut self, index: LogIndex) {
        let Some(run) = self.run_at(index) else { return };
        self.runs.remove(&run.first);
        if run.first < index {
            self.runs.insert(run.first, (index.previous(), run.ballot));
        }
        if run.last > index {
            self.runs.insert(index.next(), (run.last, run.ballot));
        }
    }

    /// Forgets every entry from `index` on.
    pub fn remove_from(&mut self, index: LogIndex) {
        let cut = self.run_at(index);
        self.runs.split_off(&index);
        if let Some(run) = cut
            && run.first < index
        {
            self.runs.insert(run.first, (index.previous(), run.ballot));
        }
    }

    /// Forgets every entry up to and including `index`.
    pub fn trim(&mut self, index: LogIndex) {
        let cut = self.run_at(index);
        self.runs = self.runs.split_off(&index.next());
        if let Some(run) = cut
            && run.last > index
        {
            self.runs.insert(index.next(), (run.last, run.ballot));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::NodeId;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64, u64),
        RemoveFrom(u64),
        Trim(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1_u64..24, 1_u64..4).prop_map(|(index, round)| Step::Set(index, round)),
            1 => (1_u64..24).prop_map(Step::RemoveFrom),
            1 => (1_u64..24).prop_map(Step::Trim),
        ]
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_plain_map(steps in prop::collection::vec(step(), 0..60)) {
            let mut runs = BallotRuns::default();
            let mut plain = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(index, round) => {
                        runs.set(LogIndex(index), Ballot::new(round, NodeId(1)));
                        plain.insert(index, round);
                    }
                    Step::RemoveFrom(index) => {
                        runs.remove_from(LogIndex(index));
                        plain.retain(|at, _| *at < index);
                    }
                    Step::Trim(index) => {
                        runs.trim(LogIndex(index));
                        plain.retain(|at, _| *at > index);
                    }
                }
                for index in 0..26 {
                    let ballot = runs.get(LogIndex(index)).map(|ballot| ballot.round);
                    prop_assert_eq!(ballot, plain.get(&index).copied());
                }
                prop_assert_eq!(runs.first().map(|index| index.0), plain.keys().next().copied());
                prop_assert_eq!(runs.last().map(|index| index.0), plain.keys().next_back().copied());
                let hole = (3..).find(|index| !plain.contains_key(index));
                prop_assert_eq!(Some(runs.first_hole(LogIndex(3)).0), hole);
                let listed: Vec<Run> = runs.iter_from(LogIndex(0)).collect();
                for pair in listed.windows(2) {
                    prop_assert!(pair[0].last < pair[1].first);
                    prop_assert!(pair[0].last.next() < pair[1].first || pair[0].ballot != pair[1].ballot);
                }
            }
        }
    }
}
