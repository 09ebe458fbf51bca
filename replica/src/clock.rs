//! The node's monotonic clock.

use consensus_api::MonoTime;
use rustix::time::{ClockId, clock_gettime};

/// A reading of `CLOCK_BOOTTIME`, which goes on while the machine is suspended: a leader that slept through its
/// election timeout must see that it did.
pub fn now() -> MonoTime {
    let reading = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(reading.tv_nsec).unwrap_or(0);
    MonoTime::from_micros(seconds * 1_000_000 + nanos / 1_000)
}
