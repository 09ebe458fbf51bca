//! When each operation of an open loop is meant to start: a pure function of its number, so the schedule never drifts.
//!
//! ```text
//!   rate │      ┌───────────   the n-th operation is due when the area beneath reaches n (even),
//!        │    ╱ │              or the n-th sum of exponential steps (Poisson)
//!        │  ╱   │
//!        └──────┴─────────▶ time
//!        ramp-up
//! ```

use std::time::Duration;

use clap::ValueEnum;

use super::dice::Dice;

/// How the operations of an open loop follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// Each independent of the others.
    Poisson,
}

/// The intended starts, in order.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate_per_s: f64,
    ramp_up_s: f64,
    arrivals: Arrivals,
    dice: Dice,
    /// How much work is behind, in operations.
    position: f64,
}

impl Schedule {
    /// A schedule at this rate, which it reaches in a straight line.
    pub(super) fn new(rate_per_s: f64, ramp_up: Duration, arrivals: Arrivals, dice: Dice) -> Schedule {
        let mut schedule = Schedule { rate_per_s, ramp_up_s: ramp_up.as_secs_f64(), arrivals, dice, position: 0.0 };
        if arrivals == Arrivals::Poisson {
            schedule.advance();
        }
        schedule
    }

    /// When the next operation is meant to start, counted from the beginning.
    pub(super) fn next(&mut self) -> Duration {
        let ramped = self.ramped();
        let due_s = if self.position < ramped {
            (2.0 * self.position * self.ramp_up_s / self.rate_per_s).sqrt()
        } else {
            self.ramp_up_s + (self.position - ramped) / self.rate_per_s
        };
        self.advance();
        Duration::try_from_secs_f64(due_s).unwrap_or(Duration::MAX)
    }

    /// How many operations that are meant to start before this moment have not been handed out; of random arrivals, how
    /// many are expected.
    pub(super) fn owed(&self, before: Duration) -> u64 {
        let before_s = before.as_secs_f64();
        let due = if before_s < self.ramp_up_s {
            self.rate_per_s * before_s * before_s / (2.0 * self.ramp_up_s)
        } else {
            self.ramped() + (before_s - self.ramp_up_s) * self.rate_per_s
        };
        (due - self.position).max(0.0).round() as u64
    }

    /// How many operations the ramp has.
    fn ramped(&self) -> f64 {
        self.rate_per_s * self.ramp_up_s / 2.0
    }

    fn advance(&mut self) {
        self.position += match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => -(1.0 - self.dice.unit()).ln(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate_per_s: f64, ramp_up_s: u64, arrivals: Arrivals) -> Schedule {
        Schedule::new(rate_per_s, Duration::from_secs(ramp_up_s), arrivals, Dice::new(1, 1))
    }

    #[test]
    fn an_even_schedule_has_not_drifted_after_ten_million_operations() {
        let mut schedule = schedule(3000.0, 0, Arrivals::Even);
        let last = (0..=10_000_000).fold(Duration::ZERO, |_, _| schedule.next());
        let off_s = last.as_secs_f64() - 10_000_000.0 / 3000.0;
        assert!(off_s.abs() < 1e-6, "{off_s} s");
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_vary_as_they_should() {
        let mut schedule = schedule(1000.0, 0, Arrivals::Poisson);
        let starts: Vec<f64> = (0..100_000).map(|_| schedule.next().as_secs_f64()).collect();
        assert!((98.0..102.0).contains(&starts[99_999]), "{} s", starts[99_999]);
        // Of exponential gaps a share of 1/e is longer than the mean.
        let long = starts.windows(2).filter(|pair| pair[1] - pair[0] > 0.001).count();
        assert!((36_000..37_600).contains(&long), "{long}");
    }

    #[test]
    fn a_ramp_grows_in_a_straight_line_to_the_rate() {
        let mut schedule = schedule(1000.0, 10, Arrivals::Even);
        let mut per_second = [0_usize; 12];
        for _ in 0..7000 {
            let second = schedule.next().as_secs() as usize;
            per_second[second.min(11)] += 1;
        }
        for (second, count) in per_second.iter().enumerate().take(10) {
            let expected = 100 * second + 50;
            assert!(count.abs_diff(expected) <= 1, "second {second}: {count}, not {expected}");
        }
        assert_eq!(per_second[10], 1000);
    }

    #[test]
    fn what_was_not_started_in_time_is_owed() {
        let mut schedule = schedule(100.0, 2, Arrivals::Even);
        assert_eq!(schedule.owed(Duration::from_secs(1)), 25);
        (0..150).for_each(|_| _ = schedule.next());
        assert_eq!(schedule.owed(Duration::from_secs(3)), 50);
        assert_eq!(schedule.owed(Duration::from_secs(1)), 0);
    }
}
