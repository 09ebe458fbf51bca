//! How long things take.

use std::time::Duration;

use consensus_api::random::SeededRandom;

/// A least and a most duration, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanUs {
    /// The least.
    pub least_us: u64,
    /// The most.
    pub most_us: u64,
}

impl SpanUs {
    /// From `least_us` to `most_us`, both included.
    pub const fn new(least_us: u64, most_us: u64) -> SpanUs {
        SpanUs { least_us, most_us }
    }

    pub(crate) fn draw(self, random: &mut SeededRandom) -> Duration {
        let spread = self.most_us.saturating_sub(self.least_us) + 1;
        Duration::from_micros(self.least_us + random.below(spread))
    }
}

/// A draw from (nearly) the exponential distribution of this mean, in integers alone: a logarithm in floating point may
/// differ from one machine to the next, and a seed would not replay.
///
/// −log₂ of a uniform number is its leading zeros plus a fraction; the fraction is taken as linear within an octave. The
/// unscaled mean is 3/2.
pub(super) fn exponential_us(mean_us: u64, random: &mut SeededRandom) -> u64 {
    let uniform = random.next_u64() | 1;
    let zeros = u64::from(uniform.leading_zeros());
    let below_the_leading_one = (uniform << zeros) << 1;
    let fraction_permille = 1000 - (((below_the_leading_one >> 32) * 1000) >> 32);
    (mean_us * (1000 * zeros + fraction_permille) * 2) / 3000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_delays_have_their_mean_and_a_long_tail() {
        let mut random = SeededRandom::new(1);
        let draws: Vec<u64> = (0..20_000).map(|_| exponential_us(1000, &mut random)).collect();
        let mean = draws.iter().sum::<u64>() / 20_000;
        assert!((950..1050).contains(&mean), "the mean is {mean}");
        // e⁻³ of all, and about 1/e of all.
        let above = |bound: u64| draws.iter().filter(|us| **us > bound).count();
        assert!((600..1600).contains(&above(3000)), "{} of 20,000 are above three means", above(3000));
        assert!((6000..9000).contains(&above(1000)), "{} of 20,000 are above the mean", above(1000));
    }
}
