//! At which indexes an entry has been put, so that a rewrite can be told from a first write without a look at the disk.
//!
//! ```text
//!   index   5  6  7  8  9  10  11
//!           █  █  ·  ·  █   █          highest: 10, one gap: 7–8
//! ```
//!
//! A log that is written from front to back has no gap, and then a put costs one comparison. Removing an entry does not
//! make its place a new one: what comes there is written for the second time. Gaps exist only where a writer has left
//! some, and no more of them than it has indexes open at a time.

use std::collections::BTreeMap;

use consensus_api::LogIndex;
use consensus_api::ballot_runs::BallotRuns;

/// The indexes above a log's base at which an entry has been put.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Occupied {
    highest: u64,
    /// The gaps below `highest`: each one's first index, and its last.
    gaps: BTreeMap<u64, u64>,
}

impl Occupied {
    /// Everything up to here.
    pub(crate) fn through(highest: LogIndex) -> Occupied {
        Occupied { highest: highest.0, gaps: BTreeMap::new() }
    }

    /// What was found above `base` when the log was read.
    pub(crate) fn found(base: LogIndex, runs: &BallotRuns) -> Occupied {
        let mut occupied = Occupied::through(base);
        for run in runs.iter_from(base.next()) {
            occupied.leave_gap_before(run.first.0);
            occupied.highest = run.last.0;
        }
        occupied
    }

    /// An entry is put at `index`. Returns whether one was put there before.
    pub(crate) fn put(&mut self, index: LogIndex) -> bool {
        let index = index.0;
        if index > self.highest {
            self.leave_gap_before(index);
            self.highest = index;
            return false;
        }
        let Some((first, last)) = self.gap_at(index) else { return true };
        self.gaps.remove(&first);
        if first < index {
            self.gaps.insert(first, index - 1);
        }
        if index < last {
            self.gaps.insert(index + 1, last);
        }
        false
    }

    /// Nothing up to `base` is put any more.
    pub(crate) fn trim(&mut self, base: LogIndex) {
        self.highest = self.highest.max(base.0);
        let rest = self.gap_at(base.0).filter(|(_, last)| *last > base.0);
        self.gaps = self.gaps.split_off(&base.next().0);
        if let Some((_, last)) = rest {
            self.gaps.insert(base.next().0, last);
        }
    }

    fn leave_gap_before(&mut self, index: u64) {
        let first = self.highest + 1;
        if first < index {
            self.gaps.insert(first, index - 1);
        }
    }

    fn gap_at(&self, index: u64) -> Option<(u64, u64)> {
        let (first, last) = self.gaps.range(..=index).next_back()?;
        (*last >= index).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_all(occupied: &mut Occupied, indexes: &[u64]) -> Vec<bool> {
        indexes.iter().map(|index| occupied.put(LogIndex(*index))).collect()
    }

    #[test]
    fn only_the_second_entry_at_an_index_is_a_rewrite_in_whatever_order_they_come() {
        let mut occupied = Occupied::through(LogIndex(2));
        assert_eq!(put_all(&mut occupied, &[3, 7, 9, 5, 6, 4, 8]), [false; 7]);
        assert_eq!(occupied, Occupied::through(LogIndex(9)), "every gap is filled");
        assert_eq!(put_all(&mut occupied, &[9, 3, 10]), [true, true, false]);
    }

    #[test]
    fn trimming_forgets_the_gaps_below_it() {
        let mut occupied = Occupied::default();
        assert_eq!(put_all(&mut occupied, &[2, 9]), [false, false]);
        occupied.trim(LogIndex(5));
        assert_eq!(put_all(&mut occupied, &[6, 8, 9]), [false, false, true]);
        occupied.trim(LogIndex(20));
        assert_eq!(occupied, Occupied::through(LogIndex(20)));
    }

    #[test]
    fn what_a_log_held_when_it_was_read_counts_as_put() {
        let mut runs = BallotRuns::default();
        for index in [4, 5, 8] {
            runs.set(LogIndex(index), consensus_api::Ballot::new(1, consensus_api::NodeId(1)));
        }
        let mut occupied = Occupied::found(LogIndex(3), &runs);
        assert_eq!(put_all(&mut occupied, &[4, 5, 6, 7, 8, 9]), [true, true, false, false, true, false]);
    }
}
