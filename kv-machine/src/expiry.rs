//! When sessions end, and which have ended: both by the log's time alone, so that every replica ends the same ones at the
//! same entry.
//!
//! ```text
//!   sign of life ──► deadline = sign + ttl ──► log time beyond it: ended ──► remembered for a day ──► forgotten
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus_api::LogTime;

use crate::request::SessionId;

/// How many ended sessions are remembered; the one that ended first makes room. A constant: it decides what an applied
/// command does.
pub(crate) const ENDED_MAX: usize = 65_536;
/// For how long an ended session is remembered, in milliseconds of the log's time.
pub(crate) const ENDED_MS: u64 = 24 * 3_600_000;

const TIME_WANTED_MIN_MS: u64 = 100;
const TIME_WANTED_MAX_MS: u64 = 1_000;

/// When each open session ends unless its client gives another sign.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(LogTime, SessionId)>,
    /// How many sessions have each time to live.
    ttls: BTreeMap<u64, usize>,
}

impl Deadlines {
    pub(crate) fn add(&mut self, session: SessionId, sign: LogTime, ttl_ms: u64) {
        assert!(self.order.insert((deadline(sign, ttl_ms), session)), "session {session} has two deadlines");
        *self.ttls.entry(ttl_ms).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, session: SessionId, sign: LogTime, ttl_ms: u64) {
        assert!(self.order.remove(&(deadline(sign, ttl_ms), session)), "session {session} had no deadline");
        if let Some(sessions) = self.ttls.get_mut(&ttl_ms) {
            *sessions -= 1;
            if *sessions == 0 {
                self.ttls.remove(&ttl_ms);
            }
        }
    }

    /// The session whose deadline is the first of all, if it is before `now`.
    pub(crate) fn first_before(&self, now: LogTime) -> Option<SessionId> {
        self.order.first().filter(|(deadline, _)| *deadline < now).map(|(_, session)| *session)
    }

    /// A quarter of the shortest time to live, within bounds; `None` where no session is open.
    pub(crate) fn time_wanted(&self) -> Option<Duration> {
        let (shortest_ms, _) = self.ttls.first_key_value()?;
        Some(Duration::from_millis((shortest_ms / 4).clamp(TIME_WANTED_MIN_MS, TIME_WANTED_MAX_MS)))
    }
}

/// The last moment at which a session lives.
pub(crate) fn deadline(sign: LogTime, ttl_ms: u64) -> LogTime {
    LogTime { millis: sign.millis.saturating_add(ttl_ms) }
}

/// Sessions that have ended not long ago, so that a stray copy of a request does not revive them.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    at: BTreeMap<SessionId, LogTime>,
    order: BTreeSet<(LogTime, SessionId)>,
}

impl Ended {
    pub(crate) fn at(&self, session: SessionId) -> Option<LogTime> {
        self.at.get(&session).copied()
    }

    pub(crate) fn remember(&mut self, session: SessionId, at: LogTime) {
        self.at.insert(session, at);
        self.order.insert((at, session));
    }

    /// Forgets the first of those that are too many or too old at `now`, if there is one.
    pub(crate) fn forget_one(&mut self, now: LogTime) -> Option<SessionId> {
        let (at, session) = *self.order.first()?;
        if self.order.len() <= ENDED_MAX && deadline(at, ENDED_MS) >= now {
            return None;
        }
        self.order.pop_first();
        self.at.remove(&session);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> LogTime {
        LogTime { millis }
    }

    #[test]
    fn the_session_that_ended_first_is_forgotten_where_there_are_too_many() {
        let mut ended = Ended::default();
        (0..ENDED_MAX as u128).for_each(|session| ended.remember(SessionId(session), at(5)));
        assert_eq!(ended.forget_one(at(5)), None);
        ended.remember(SessionId(u128::MAX), at(4));
        assert_eq!(ended.forget_one(at(5)), Some(SessionId(u128::MAX)));
        assert_eq!(ended.forget_one(at(5)), None);
    }
}
