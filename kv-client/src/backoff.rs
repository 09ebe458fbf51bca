//! How long to wait before asking again: longer each time, and never two clients alike.
//!
//! ```text
//!   round    0        1            2                      3
//!            ├─ ~15 ──┼─── ~30 ────┼──────── ~60 ─────────┼─ … 1000 ms at most; each drawn from its upper half
//! ```

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How the pauses between rounds grow: each twice the one before, between these two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) last: Duration,
}

impl Pauses {
    /// The pause after so many rounds: from half of it to all of it, as `chance` has it, so that clients that failed together
    /// do not return together.
    pub(crate) fn after(&self, rounds: u32, chance: u64) -> Duration {
        let longest = self.first.saturating_mul(1 << rounds.min(16)).min(self.last);
        let half = longest / 2;
        // The cast is exact: no pause has more microseconds than fit.
        half + Duration::from_micros(chance % (half.as_micros() as u64 + 1))
    }
}

/// The pauses between the rounds of one request, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pauses: Pauses,
    rounds: u32,
}

impl Backoff {
    /// From 20 ms to a second.
    pub(crate) fn new() -> Backoff {
        Backoff::of(Pauses { first: Duration::from_millis(20), last: Duration::from_secs(1) })
    }

    /// These.
    pub(crate) fn of(pauses: Pauses) -> Backoff {
        Backoff { pauses, rounds: 0 }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.pauses.after(self.rounds, random());
        self.rounds = self.rounds.saturating_add(1);
        pause
    }
}

/// A number that no other call returns, in this process or another: the hash of nothing under keys that the standard
/// library draws from the operating system.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_lie_in_their_upper_half() {
        let mut backoff = Backoff::new();
        let last = Duration::from_secs(1);
        let mut longest = Duration::from_millis(20);
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(last);
        }
        assert_eq!(longest, last);
    }

    #[test]
    fn no_two_numbers_are_alike() {
        let numbers: std::collections::BTreeSet<u64> = (0..1000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
