//! Whether everything that was synced came back: the batches of the log as a chain of numbers.
//!
//! ```text
//!                 in files            in the write-ahead log
//!   batches    1 ··········· 40  │  41  42  43  ✗  45          45 says: 44 was synced ⇒ refused
//!                        flushed ┘               └ damage
//!                                │  41  42  43  ✗              nobody says that 44 was synced ⇒ cut off, start at 43
//! ```
//!
//! **The assumption**: a damaged *last* batch is taken as torn by the crash, although it might have been synced and
//! damaged since; the two look the same. A batch is written only once the one before it is synced, so at most the last
//! one can be torn, and what is cut off was acknowledged to nobody. A log that is stopped in good order ends with an
//! empty batch, so after a stop no batch with content is the last one.
//!
//! Without sync a power failure may take any number of batches at the end: none of them says that another was synced.

use crate::wal::Survey;

/// What was found of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The last batch that is in files, and so needs no write-ahead log.
    pub(crate) flushed: u64,
    /// The last batch that comes back by replay.
    pub(crate) recovered: u64,
    /// What is legible in the write-ahead log.
    pub(crate) survey: Survey,
}

/// A chain that lacks batches that were synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The first one that is missing.
    pub(crate) first: u64,
    /// The last one that is known to have been synced.
    pub(crate) through: u64,
}

impl Chain {
    /// How many batches are cut off as torn; or which are missing though they were synced.
    pub(crate) fn check(&self) -> Result<u64, Broken> {
        let promised = self.survey.promised.max(self.flushed);
        if self.recovered < promised {
            return Err(Broken { first: self.recovered + 1, through: promised });
        }
        // Replay may also step over a hole: a block of zeros reads as padding.
        let mut expected = self.flushed + 1;
        for number in self.survey.numbers.iter().filter(|number| **number > self.flushed) {
            if *number != expected {
                break;
            }
            expected += 1;
        }
        if expected <= self.recovered {
            return Err(Broken { first: expected, through: self.recovered });
        }
        let last_seen = self.survey.numbers.last().copied().unwrap_or(0);
        Ok(last_seen.saturating_sub(self.recovered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: u64 = 5;

    /// Every way in which some of five batches are legible, in files, and replayed; each batch says that the one before
    /// it was synced.
    fn every_chain() -> impl Iterator<Item = Chain> {
        (0..1_u64 << BATCHES).flat_map(|legible| {
            (0..=BATCHES).flat_map(move |flushed| {
                (flushed..=BATCHES).map(move |recovered| {
                    let numbers: Vec<u64> = (1..=BATCHES).filter(|number| legible & (1 << (number - 1)) != 0).collect();
                    let promised = numbers.last().map_or(0, |last| last - 1);
                    Chain { flushed, recovered, survey: Survey { numbers, promised } }
                })
            })
        })
    }

    #[test]
    fn an_accepted_chain_has_every_batch_that_was_synced_and_no_hole() {
        let mut accepted = 0;
        for chain in every_chain().filter(|chain| chain.check().is_ok()) {
            accepted += 1;
            assert!(chain.recovered >= chain.survey.promised, "{chain:?}");
            for number in chain.flushed + 1..=chain.recovered {
                assert!(chain.survey.numbers.contains(&number), "{chain:?} lacks {number}");
            }
        }
        assert!(accepted > 0);
    }

    #[test]
    fn a_refused_chain_lacks_a_batch_that_was_synced_or_replayed_past() {
        for chain in every_chain() {
            let Err(broken) = chain.check() else { continue };
            assert!(broken.first <= broken.through, "{chain:?}: {broken:?}");
            assert!(broken.first > chain.flushed, "{chain:?}: {broken:?}");
            let there = broken.first <= chain.recovered && chain.survey.numbers.contains(&broken.first);
            assert!(!there, "{chain:?}: {broken:?}");
        }
    }

    #[test]
    fn an_undamaged_chain_is_accepted_with_nothing_cut_off() {
        for flushed in 0..=BATCHES {
            let survey = Survey { numbers: (1..=BATCHES).collect(), promised: BATCHES - 1 };
            assert_eq!(Chain { flushed, recovered: BATCHES, survey }.check(), Ok(0));
        }
    }

    #[test]
    fn only_the_last_batch_may_be_torn() {
        let survey = |legible: &[u64]| Survey { numbers: legible.to_vec(), promised: legible.last().unwrap_or(&1) - 1 };
        let chain = |recovered, legible: &[u64]| Chain { flushed: 1, recovered, survey: survey(legible) };
        assert_eq!(chain(4, &[2, 3, 4, 5]).check(), Ok(1), "the mark of the torn batch is legible");
        assert_eq!(chain(4, &[2, 3, 4]).check(), Ok(0), "it is not");
        assert_eq!(chain(3, &[2, 3, 4, 5]).check(), Err(Broken { first: 4, through: 4 }));
        assert_eq!(chain(3, &[2, 3, 5]).check(), Err(Broken { first: 4, through: 4 }));
        assert_eq!(chain(5, &[2, 4, 5]).check(), Err(Broken { first: 3, through: 5 }), "replay stepped over 3");
        assert_eq!(chain(5, &[3, 4, 5]).check(), Err(Broken { first: 2, through: 5 }), "a file is missing");
    }

    #[test]
    fn without_sync_any_number_of_batches_at_the_end_may_be_torn() {
        let survey = Survey { numbers: vec![2, 5], promised: 1 };
        assert_eq!(Chain { flushed: 1, recovered: 2, survey }.check(), Ok(3));
    }
}
