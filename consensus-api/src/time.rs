//! Two clocks that never touch: [`MonoTime`], a node's own monotonic reading, and [`LogTime`], the time that the log
//! itself carries and that is the same at every replica.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use bincode::{Decode, Encode};

/// A reading of a node's monotonic clock, in microseconds, counting time in suspend. Only differences mean anything,
/// and only within one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime {
    /// Microseconds since an arbitrary start.
    pub micros: u64,
}

impl MonoTime {
    /// Later than every reading.
    pub const NEVER: MonoTime = MonoTime { micros: u64::MAX };

    /// A reading of this many microseconds.
    pub const fn from_micros(micros: u64) -> MonoTime {
        MonoTime { micros }
    }

    /// How long after `earlier` this is; zero if it is not later.
    pub fn since(self, earlier: MonoTime) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }
}

impl Add<Duration> for MonoTime {
    type Output = MonoTime;

    fn add(self, rhs: Duration) -> MonoTime {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        MonoTime { micros: self.micros.saturating_add(micros) }
    }
}

impl Sub<Duration> for MonoTime {
    type Output = MonoTime;

    fn sub(self, rhs: Duration) -> MonoTime {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        MonoTime { micros: self.micros.saturating_sub(micros) }
    }
}

impl fmt::Display for MonoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}ms", self.micros / 1000, self.micros % 1000)
    }
}

/// The time that an entry carries, in milliseconds since the log began. It never decreases along the log, and stands
/// still while there is no leader: so an outage or a jump of a clock expires nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LogTime {
    /// Milliseconds since the log began.
    pub millis: u64,
}

/// Stamps a leader's entries: the last log time it knew when it began to lead, plus its own monotonic time since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogClock {
    base: LogTime,
    since: MonoTime,
}

impl LogClock {
    /// A clock that reads `last` at `now`.
    pub fn start(last: LogTime, now: MonoTime) -> LogClock {
        LogClock { base: last, since: now }
    }

    /// The stamp for an entry that is proposed at `now`; never below an earlier stamp as long as `now` does not go back.
    pub fn stamp(&self, now: MonoTime) -> LogTime {
        let millis = now.since(self.since).as_millis();
        LogTime { millis: self.base.millis.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)) }
    }
}
