//! Ranks of which few are frequent: rank r has a share in proportion to 1 / r^theta.
//!
//! The method is Gray et al., "Quickly generating billion-record synthetic databases" (1994), as in YCSB: one random
//! number and one power for each rank, after a sum over all ranks in the beginning.

use super::dice::Dice;

/// Draws ranks.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    ranks: u64,
    theta: f64,
    /// The sum of 1 / r^theta over all ranks.
    sum: f64,
    eta: f64,
}

impl Zipf {
    /// As in YCSB.
    pub(super) const THETA: f64 = 0.99;

    /// Ranks from 0 to below `ranks`, which is not zero; `theta` is above 0 and below 1.
    pub(super) fn new(ranks: u64, theta: f64) -> Zipf {
        let mut zipf = Zipf { ranks: 0, theta, sum: 0.0, eta: 0.0 };
        zipf.grow_to(ranks.max(1));
        zipf
    }

    /// From now on there are so many ranks; fewer than before there never are.
    pub(super) fn grow_to(&mut self, ranks: u64) {
        if ranks <= self.ranks {
            return;
        }
        self.sum += (self.ranks + 1..=ranks).map(|rank| (rank as f64).powf(-self.theta)).sum::<f64>();
        self.ranks = ranks;
        let two = 1.0 + 0.5_f64.powf(self.theta);
        self.eta = (1.0 - (2.0 / ranks as f64).powf(1.0 - self.theta)) / (1.0 - two / self.sum);
    }

    /// The next rank; 0 is the most frequent one.
    pub(super) fn roll(&self, dice: &mut Dice) -> u64 {
        let point = dice.unit();
        let scaled = point * self.sum;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1.min(self.ranks - 1);
        }
        let rank = self.ranks as f64 * (self.eta * point - self.eta + 1.0).powf(1.0 / (1.0 - self.theta));
        (rank as u64).min(self.ranks - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of 1,000 ranks comes in a million rolls.
    fn counts(zipf: &Zipf) -> Vec<f64> {
        let (mut dice, mut counts) = (Dice::new(5, 0), vec![0.0; 1000]);
        for _ in 0..1_000_000 {
            counts[zipf.roll(&mut dice) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn frequencies_fall_as_a_power_of_the_rank() {
        let counts = counts(&Zipf::new(1000, Zipf::THETA));
        // The first of 1,000 has a share of 1 / (1 + 1/2^0.99 + …) = 0.1297.
        assert!((0.128..0.132).contains(&(counts[0] / 1e6)), "{}", counts[0]);
        let ratio = counts[0] / counts[1];
        assert!((1.93..2.05).contains(&ratio), "{ratio}");
        let (head, tail): (f64, f64) = (counts[10..20].iter().sum(), counts[100..200].iter().sum());
        assert!((0.85..1.15).contains(&(head / tail)), "a decade has about the same share as the next: {head}, {tail}");
        assert!(counts.iter().all(|count| *count > 0.0));
    }

    #[test]
    fn one_that_has_grown_is_like_one_that_was_made_so() {
        let mut grown = Zipf::new(10, Zipf::THETA);
        (11..=1000).for_each(|ranks| grown.grow_to(ranks));
        assert_eq!(counts(&grown)[..3], counts(&Zipf::new(1000, Zipf::THETA))[..3]);
    }

    #[test]
    fn a_single_rank_is_always_drawn() {
        let mut dice = Dice::new(1, 1);
        for ranks in [1, 2] {
            let zipf = Zipf::new(ranks, 0.5);
            assert!((0..1000).all(|_| zipf.roll(&mut dice) < ranks));
        }
    }
}
