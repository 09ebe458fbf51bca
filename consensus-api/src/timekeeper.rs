//! When an idle leader carries the log's time forward.
//!
//! ```text
//!   KeepTime{1 s}      append            Tick             Tick
//!   ─────┬───────────────┬──── 1 s ────────┬───── 1 s ──────┬────▶
//! ```
//!
//! Entries carry the time, and where clients write there is no need for more of them. Every node remembers what its
//! state machine wants, since any of them may come to lead.

use std::time::Duration;

use crate::time::MonoTime;

/// [`LogTime`](crate::time::LogTime) counts in these; to carry it forward more often changes nothing.
const LEAST: Duration = Duration::from_millis(1);

/// How often the log's time is wanted forward, and since when it stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timekeeper {
    every: Option<Duration>,
    since: MonoTime,
}

impl Timekeeper {
    /// Takes the state machine's latest wish.
    pub fn keep(&mut self, every: Option<Duration>) {
        self.every = every.map(|every| every.max(LEAST));
    }

    /// An entry was appended, or leadership has begun: the time counts from here.
    pub fn appended(&mut self, now: MonoTime) {
        self.since = now;
    }

    /// Whether a tick is due.
    pub fn is_due(&self, now: MonoTime) -> bool {
        now >= self.deadline()
    }

    /// When the next tick is due, if nothing is appended until then.
    pub fn deadline(&self) -> MonoTime {
        self.every.map_or(MonoTime::NEVER, |every| self.since + every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    #[test]
    fn a_tick_is_due_when_nothing_was_appended_for_as_long_as_is_wanted() {
        let mut timekeeper = Timekeeper::default();
        assert_eq!(timekeeper.deadline(), MonoTime::NEVER);
        timekeeper.keep(Some(Duration::from_millis(100)));
        timekeeper.appended(at(1_000));
        assert!(!timekeeper.is_due(at(1_099)) && timekeeper.is_due(at(1_100)));
        timekeeper.appended(at(1_050));
        assert!(!timekeeper.is_due(at(1_149)) && timekeeper.is_due(at(1_150)));
        timekeeper.keep(None);
        assert!(!timekeeper.is_due(at(1_000_000)));
    }

    #[test]
    fn no_wish_makes_a_leader_tick_without_a_pause() {
        let mut timekeeper = Timekeeper::default();
        timekeeper.keep(Some(Duration::ZERO));
        timekeeper.appended(at(1_000));
        assert!(!timekeeper.is_due(at(1_000)));
    }
}
