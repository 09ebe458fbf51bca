//! How long the machine was suspended: a session goes on to age where an [`Instant`](std::time::Instant) stands still.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long the machine was suspended since it started: by how much `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`, which is
/// what an `Instant` reads.
pub(super) fn asleep() -> Duration {
    // In this order a pause between the two readings makes it less, never more.
    let booted = reading(ClockId::Boottime);
    booted.saturating_sub(reading(ClockId::Monotonic))
}

fn reading(clock: ClockId) -> Duration {
    let reading = clock_gettime(clock);
    // Neither is ever negative.
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    Duration::from_secs(part(reading.tv_sec)) + Duration::from_nanos(part(reading.tv_nsec))
}
