//! What a power failure leaves of the records that were under way, and how much of it a start takes back.
//!
//! ```text
//!   records   1 ········· 40 │ 41  42  ──  44     42 is there, 43 is not, and nobody says that 43 was synced:
//!             synced          └ back ┘    cut off
//!
//!             1 ········· 40 │ 41  42  ──  44     44 says that 43 was synced when it was written: refused
//! ```
//!
//! Records are numbered, and each says which was the last one known to be synced when it was written. So a start tells
//! what nobody was told of, which is cut off, from what somebody may have been told of, which must be there.

use consensus_api::random::SeededRandom;

use super::DiskError;

/// What becomes of a record that is under way when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it is there, though nobody was told.
    Whole,
    /// Part of it is there; its checksum shows that.
    Torn,
    /// Nothing of it is there.
    Missing,
}

impl Fate {
    /// Fates for this many records: all of them, none of them, or any subset with at most one that is torn.
    pub fn draw(records: usize, random: &mut SeededRandom) -> Vec<Fate> {
        match random.below(8) {
            0 => vec![Fate::Whole; records],
            1 => vec![Fate::Missing; records],
            _ => {
                let one = |random: &mut SeededRandom| if random.below(2) == 0 { Fate::Whole } else { Fate::Missing };
                let mut fates: Vec<Fate> = (0..records).map(|_| one(random)).collect();
                let torn = random.below(2 * records as u64) as usize;
                if let Some(fate) = fates.get_mut(torn) {
                    *fate = Fate::Torn;
                }
                fates
            }
        }
    }

    /// The oldest `kept` of this many records are there, and no other.
    pub fn prefix(kept: usize, records: usize) -> Vec<Fate> {
        (0..records).map(|place| if place < kept { Fate::Whole } else { Fate::Missing }).collect()
    }
}

/// A record that stands on the platter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The how-manyth it is.
    pub(super) number: u64,
    /// The last record that was known to be synced when this one was written.
    pub(super) synced: u64,
    /// Whether its checksum is right.
    pub(super) legible: bool,
}

/// How many of the records found after number `last` come back. The others are cut off: nobody was told of them.
pub(super) fn returning(last: u64, found: &[Found]) -> Result<usize, DiskError> {
    let in_place = found.iter().zip(last + 1..).take_while(|(found, number)| found.legible && found.number == *number);
    let count = in_place.count();
    let reached = last + count as u64;
    let through = found.iter().filter(|found| found.legible).map(|found| found.synced).max().unwrap_or(last);
    if through > reached { Err(DiskError::Lost { first: reached + 1, through }) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u64, synced: u64) -> Found {
        Found { number, synced, legible: true }
    }

    #[test]
    fn records_come_back_up_to_the_first_that_is_missing() {
        assert_eq!(returning(40, &[]), Ok(0));
        assert_eq!(returning(40, &[found(41, 40), found(42, 40)]), Ok(2));
        assert_eq!(returning(40, &[found(41, 40), found(43, 40)]), Ok(1));
        assert_eq!(returning(40, &[found(42, 40)]), Ok(0));
    }

    #[test]
    fn a_torn_record_ends_what_comes_back() {
        let torn = Found { legible: false, ..found(42, 40) };
        assert_eq!(returning(40, &[found(41, 40), torn, found(43, 40)]), Ok(1));
    }

    #[test]
    fn a_gap_below_a_synced_mark_is_refused() {
        assert_eq!(returning(40, &[found(41, 40), found(44, 43)]), Err(DiskError::Lost { first: 42, through: 43 }));
        // The mark is below what comes back: nothing is missing that anybody was told of.
        assert_eq!(returning(40, &[found(41, 40), found(42, 41), found(44, 42)]), Ok(2));
    }

    #[test]
    fn an_illegible_record_proves_nothing() {
        let torn = Found { legible: false, ..found(44, 43) };
        assert_eq!(returning(40, &[found(41, 40), torn]), Ok(1));
    }

    #[test]
    fn every_subset_is_drawn_and_at_most_one_record_is_torn() {
        let mut random = SeededRandom::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let fates = Fate::draw(3, &mut random);
            assert!(fates.iter().filter(|fate| **fate == Fate::Torn).count() <= 1, "{fates:?}");
            seen.insert(format!("{fates:?}"));
        }
        // Eight subsets, and four for each of the three records that may be torn.
        assert_eq!(seen.len(), 8 + 3 * 4);
    }
}
