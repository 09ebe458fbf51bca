//! How long to wait before asking again: longer each time, and never two clients alike.
//!
//! ```text
//!   round    1        2            3                      4
//!            ├─ ~15 ──┼─── ~30 ────┼──────── ~60 ─────────┼─ … 1000 ms at most; each drawn from its upper half
//! ```

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(1);

/// The pauses between rounds, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { next: FIRST }
    }

    /// The next pause: from half of it to all of it, so that clients that failed together do not return together.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(LAST);
        let half = longest / 2;
        // The cast is exact: no pause has more microseconds than fit.
        half + Duration::from_micros(random() % (half.as_micros() as u64 + 1))
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
        let mut longest = FIRST;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(LAST);
        }
        assert_eq!(longest, LAST);
    }

    #[test]
    fn no_two_numbers_are_alike() {
        let numbers: std::collections::BTreeSet<u64> = (0..1000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
