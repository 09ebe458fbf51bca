//! A node's clock: where it stood when its rate last changed, and how fast it goes since.

use std::cell::Cell;
use std::time::Duration;

use consensus_api::MonoTime;

/// A clock that goes at this rate is as fast as the world's.
const PARTS: u64 = 1_000_000;

/// A monotonic clock, read in terms of the world's.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    world: MonoTime,
    local: MonoTime,
    ppm: i64,
    base_ppm: i64,
    /// The last answer of [`Clock::world`]: a deadline is asked for again and again, and a division takes its time.
    asked: Cell<(MonoTime, MonoTime)>,
}

/// The fastest and the slowest that a clock goes.
pub(crate) const PPM_MAX: i64 = 500_000;

impl Clock {
    /// A clock that is ahead of the world's by `offset` and gains `ppm` microseconds a second on it, or loses them.
    pub(crate) fn new(offset: Duration, ppm: i64) -> Clock {
        let (world, local) = (MonoTime::default(), MonoTime::default() + offset);
        let mut clock = Clock { world, local, ppm: 0, base_ppm: 0, asked: Cell::new((local, world)) };
        clock.set_rate(MonoTime::default(), ppm);
        clock.base_ppm = clock.ppm;
        clock
    }

    /// From `now` on it gains this much. It does not jump.
    pub(crate) fn set_rate(&mut self, now: MonoTime, ppm: i64) {
        (self.local, self.world) = (self.local(now), now);
        self.ppm = ppm.clamp(-PPM_MAX, PPM_MAX);
        self.asked.set((self.local, self.world));
    }

    /// From `now` on it goes as it did at first.
    pub(crate) fn restore_rate(&mut self, now: MonoTime) {
        self.set_rate(now, self.base_ppm);
    }

    /// What it reads when the world's clock reads `now`.
    pub(crate) fn local(&self, now: MonoTime) -> MonoTime {
        let elapsed = now.micros.saturating_sub(self.world.micros);
        self.local + Duration::from_micros(elapsed.saturating_mul(self.rate()) / PARTS)
    }

    /// The first moment, by the world's clock, at which this one reads `local` or more.
    pub(crate) fn world(&self, local: MonoTime) -> MonoTime {
        let (asked, answer) = self.asked.get();
        if asked == local {
            return answer;
        }
        let ahead = local.micros.saturating_sub(self.local.micros);
        // Rounded up: a microsecond too early, and the engine would be woken again and again before its time.
        let answer = self.world + Duration::from_micros(ahead.saturating_mul(PARTS).div_ceil(self.rate()));
        self.asked.set((local, answer));
        answer
    }

    /// How many parts of a million it advances while the world's advances a million. What the products above saturate
    /// at is months away.
    fn rate(&self) -> u64 {
        PARTS.saturating_add_signed(self.ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> MonoTime {
        MonoTime { micros }
    }

    const RATES: [i64; 7] = [-PPM_MAX, -50_000, -1, 0, 1, 50_000, PPM_MAX];

    #[test]
    fn a_clock_never_goes_back_even_where_its_rate_changes() {
        let mut clock = Clock::new(Duration::from_secs(3), 0);
        let mut last = clock.local(at(0));
        for (step, rate) in (0..700).zip(RATES.into_iter().cycle()) {
            clock.set_rate(at(step * 13), rate);
            for now in step * 13..(step + 1) * 13 {
                assert!(clock.local(at(now)) >= last, "it goes back at {now}");
                last = clock.local(at(now));
            }
        }
    }

    #[test]
    fn a_deadline_is_met_at_the_first_moment_at_which_the_clock_has_reached_it() {
        for ppm in RATES {
            let mut clock = Clock::new(Duration::from_micros(17), ppm);
            clock.set_rate(at(1000), -ppm);
            for deadline in 3000..5000 {
                let wakes = clock.world(at(deadline));
                assert!(clock.local(wakes) >= at(deadline), "{ppm} ppm: woken before {deadline}");
                let before = at(wakes.micros - 1);
                assert!(clock.local(before) < at(deadline), "{ppm} ppm: woken after {deadline}");
            }
        }
    }

    #[test]
    fn a_fast_clock_gains_and_a_slow_one_loses() {
        let second = at(1_000_000);
        assert_eq!(Clock::new(Duration::ZERO, 50_000).local(second), at(1_050_000));
        assert_eq!(Clock::new(Duration::ZERO, -50_000).local(second), at(950_000));
        assert_eq!(Clock::new(Duration::from_secs(1), 0).local(second), at(2_000_000));
    }

    #[test]
    fn a_slewed_clock_goes_back_to_its_own_rate() {
        let mut clock = Clock::new(Duration::ZERO, 100);
        clock.set_rate(at(0), 50_000);
        clock.restore_rate(at(1_000_000));
        assert_eq!(clock.local(at(2_000_000)), at(1_050_000 + 1_000_100));
    }
}
