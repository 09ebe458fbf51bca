//! A limit on bytes per second, in the time that it is told.

use std::time::Duration;

use consensus_api::MonoTime;

/// What may be used up at once after a pause.
const BURST: Duration = Duration::from_millis(20);

/// A token bucket, kept as the moment at which it is no longer overdrawn: there is nothing to refill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    bytes_per_second: u64,
    free_at: MonoTime,
}

impl Rate {
    /// So many bytes per second; at least one.
    pub fn new(bytes_per_second: u64) -> Rate {
        Rate { bytes_per_second: bytes_per_second.max(1), free_at: MonoTime::default() }
    }

    /// Whether anything may be sent now.
    pub fn is_free(&self, now: MonoTime) -> bool {
        self.free_at <= now
    }

    /// When something may be sent next.
    pub fn free_at(&self) -> MonoTime {
        self.free_at
    }

    /// Notes what is sent now.
    pub fn spend(&mut self, now: MonoTime, bytes: usize) {
        let micros = (bytes as u128 * 1_000_000).div_ceil(u128::from(self.bytes_per_second));
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now - BURST) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_second_no_more_is_spent_than_a_second_allows() {
        let mut rate = Rate::new(1_000_000);
        let mut spent = 0;
        for micros in 0..1_000_000 {
            let now = MonoTime::from_micros(10_000_000 + micros);
            if rate.is_free(now) {
                rate.spend(now, 5_000);
                spent += 5_000;
            }
        }
        assert!((1_000_000..=1_025_000).contains(&spent), "{spent} bytes, of which a burst and one chunk are granted");
    }
}
