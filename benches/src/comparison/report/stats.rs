//! What is derived from several rounds: medians, spreads, and whether two subjects differ.
//!
//! Two subjects differ in a figure only where their spreads, from the least to the greatest of the valid rounds, do not
//! overlap. That assumes no distribution, and its error is known: of two subjects that are equal, with n and m rounds, all n
//! come out below all m, or above, by chance in 2 of (n+m choose n) cases: one in 10 with three rounds each, one in 126 with
//! five.

/// With fewer rounds than this nothing is said.
pub(super) const FEWEST_ROUNDS: usize = 3;

/// A figure over the valid rounds of one subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) rounds: usize,
}

impl Spread {
    /// `None` where there is no round.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let values = sorted(values);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Spread { median: middle(&values)?, min, max, rounds: values.len() })
    }

    fn overlaps(&self, other: &Spread) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// What can be said of two subjects in one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Their spreads overlap.
    Tie {
        /// The other's median, in parts of the first one's.
        ratio: f64,
    },
    /// They do not.
    Differ {
        /// The other's median, in parts of the first one's.
        ratio: f64,
    },
    /// One of them has fewer than [`FEWEST_ROUNDS`] valid rounds.
    TooFew,
}

impl Verdict {
    pub(super) fn of(first: Option<Spread>, other: Option<Spread>) -> Verdict {
        let (Some(first), Some(other)) = (first, other) else { return Verdict::TooFew };
        if first.rounds.min(other.rounds) < FEWEST_ROUNDS {
            return Verdict::TooFew;
        }
        let ratio = if first.median == other.median { 1.0 } else { other.median / first.median };
        if first.overlaps(&other) { Verdict::Tie { ratio } } else { Verdict::Differ { ratio } }
    }

    pub(super) fn differs(self) -> bool {
        matches!(self, Verdict::Differ { .. })
    }
}

/// How likely two equal subjects are to come out as different.
pub(super) fn chance(first_rounds: usize, other_rounds: usize) -> f64 {
    // 2 / (n+m choose n), factor by factor so that nothing overflows.
    (1..=first_rounds).fold(2.0, |chance, step| chance * step as f64 / (other_rounds + step) as f64).min(1.0)
}

/// The figures in which two subjects could be compared at all, and what chance alone would make of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Judged {
    /// How many.
    pub(super) count: usize,
    /// In how many of them the two differ.
    pub(super) apart: usize,
    /// In how many equal subjects would be expected to differ, by the valid rounds that each figure had.
    pub(super) by_chance: f64,
}

impl Judged {
    pub(super) fn of(pairs: impl IntoIterator<Item = (Option<Spread>, Option<Spread>)>) -> Judged {
        let mut judged = Judged::default();
        for (first, other) in pairs {
            judged.add(first, other);
        }
        judged
    }

    /// Counts a figure, if it can be judged.
    pub(super) fn add(&mut self, first: Option<Spread>, other: Option<Spread>) -> Verdict {
        let verdict = Verdict::of(first, other);
        if let (Some(first), Some(other), false) = (first, other, verdict == Verdict::TooFew) {
            self.count += 1;
            self.apart += usize::from(verdict.differs());
            self.by_chance += chance(first.rounds, other.rounds);
        }
        verdict
    }

    /// Both together.
    pub(super) fn and(self, other: Judged) -> Judged {
        Judged {
            count: self.count + other.count,
            apart: self.apart + other.apart,
            by_chance: self.by_chance + other.by_chance,
        }
    }

    /// The chance of a false difference in one of them, on average; `None` where nothing was judged.
    pub(super) fn chance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.by_chance / self.count as f64)
    }
}

/// How likely at least so many of all come out true, each with this chance.
pub(super) fn at_least(many: usize, all: usize, chance: f64) -> f64 {
    let mut exactly = (1.0 - chance).powi(i32::try_from(all).unwrap_or(i32::MAX));
    let mut fewer = 0.0;
    for count in 0..many.min(all) {
        fewer += exactly;
        exactly *= (all - count) as f64 / (count + 1) as f64 * chance / (1.0 - chance);
    }
    if many > all { 0.0 } else { (1.0 - fewer).clamp(0.0, 1.0) }
}

/// The median; of an even number the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    middle(&sorted(values))
}

/// The least value that at least this share of all does not exceed.
pub(super) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let values = sorted(values);
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).copied()
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 || sorted[half - 1] == upper {
        return Some(upper);
    }
    Some((sorted[half - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Option<Spread> {
        Spread::of(values.iter().copied())
    }

    #[test]
    fn a_spread_is_the_median_and_what_lies_around_it() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0, rounds: 3 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn what_never_came_counts_as_later_than_all_else() {
        assert_eq!(median([1.0, f64::INFINITY, f64::INFINITY]), Some(f64::INFINITY));
        assert_eq!(median([1.0, 2.0, f64::INFINITY]), Some(2.0));
        assert_eq!(median([f64::INFINITY; 2]), Some(f64::INFINITY));
    }

    #[test]
    fn spreads_that_touch_are_a_tie() {
        let verdict = Verdict::of(spread(&[1.0, 2.0, 3.0]), spread(&[3.0, 4.0, 5.0]));
        assert_eq!(verdict, Verdict::Tie { ratio: 2.0 });
    }

    #[test]
    fn spreads_apart_differ_by_the_ratio_of_the_medians() {
        let verdict = Verdict::of(spread(&[1.0, 2.0, 3.0]), spread(&[5.0, 6.0, 7.0]));
        assert_eq!(verdict, Verdict::Differ { ratio: 3.0 });
    }

    #[test]
    fn two_rounds_say_nothing() {
        assert_eq!(Verdict::of(spread(&[1.0, 2.0]), spread(&[5.0, 6.0, 7.0])), Verdict::TooFew);
        assert_eq!(Verdict::of(None, spread(&[5.0, 6.0, 7.0])), Verdict::TooFew);
    }

    #[test]
    fn nothing_against_nothing_is_a_tie() {
        assert_eq!(Verdict::of(spread(&[0.0; 3]), spread(&[0.0; 3])), Verdict::Tie { ratio: 1.0 });
    }

    #[test]
    fn the_chance_of_a_false_difference_falls_with_the_rounds() {
        assert!((chance(3, 3) - 0.1).abs() < 1e-9);
        assert!((chance(5, 5) - 2.0 / 252.0).abs() < 1e-9);
        assert!((chance(1, 1) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn chance_counts_only_what_was_judged_and_with_the_rounds_it_had() {
        let three = spread(&[1.0, 2.0, 3.0]);
        let judged =
            Judged::of([(three, three), (three, spread(&[7.0, 8.0, 9.0])), (three, spread(&[1.0])), (three, None)]);
        assert_eq!((judged.count, judged.apart), (2, 1));
        assert!((judged.by_chance - 0.2).abs() < 1e-9);
        assert_eq!(Judged::of([(three, None)]).chance(), None);
    }

    #[test]
    fn one_false_difference_in_many_is_no_wonder() {
        assert!((at_least(1, 2, 0.1) - 0.19).abs() < 1e-9);
        assert!((at_least(2, 2, 0.1) - 0.01).abs() < 1e-9);
        assert!((at_least(0, 5, 0.1) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0];
        assert_eq!(quantile(values, 0.9), Some(90.0));
        assert_eq!(quantile([7.0], 0.9), Some(7.0));
        assert_eq!(quantile([], 0.9), None);
    }
}
