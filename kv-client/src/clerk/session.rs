//! The Clerk's session: its name, the numbers of its writes, and which of them have their answers.
//!
//! ```text
//!   numbers    1 2 3 4 5 6 7 8 9
//!   answered   ✓ ✓ ✓ · ✓ · ✓ · next      acked_below = 4: the least without an answer
//! ```
//!
//! A number whose caller has given up counts as answered: nobody will ask for that reply any more, so the cluster may
//! forget it, and a copy that is still under way will not be carried out late.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::wire::{SESSION_NUMBERS_MAX, SessionId, Tag};

/// How soon after its last answer a session that is idle acknowledges it: a cluster keeps replies that are not.
pub(super) const IDLE_REST: Duration = Duration::from_secs(1);

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody has needed it yet.
    Unopened,
    /// It is being opened.
    Opening,
    /// It is open, as far as we know.
    Open,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) phase: Phase,
    next_number: u64,
    unanswered: BTreeSet<u64>,
    /// When it must be told that we live; while it is being told, nothing.
    refresh_due: Option<Instant>,
    /// When it must be told what is acknowledged, because no request says so.
    idle_due: Option<Instant>,
    /// What the last opening acknowledged.
    told_below: u64,
    /// When its opening was last asked for; with `asleep` added, as it was then.
    asked_at: Option<Instant>,
    /// When the cluster may end it, unless it hears of us before; by the same clock.
    ends_at: Option<Instant>,
    /// How long the machine was suspended since the session was named: no `Instant` counts that.
    asleep: Duration,
}

impl Session {
    pub(super) fn new(id: SessionId) -> Session {
        Session {
            id,
            phase: Phase::Unopened,
            next_number: 1,
            unanswered: BTreeSet::new(),
            refresh_due: None,
            idle_due: None,
            told_below: 1,
            asked_at: None,
            ends_at: None,
            asleep: Duration::ZERO,
        }
    }

    /// Whether a number may be drawn: the session is open, and the cluster has room for one reply more whichever numbers are
    /// answered first. So the lowest is never refused for the others' sake.
    pub(super) fn may_draw(&self) -> bool {
        self.phase == Phase::Open && self.next_number < self.acked_below() + SESSION_NUMBERS_MAX
    }

    /// A number that was never used.
    pub(super) fn draw(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.unanswered.insert(number);
        self.idle_due = None;
        number
    }

    /// Nobody will ask for the reply to this number again.
    pub(super) fn answered(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }

    /// The place of a request with this number, as it is to be sent now.
    pub(super) fn tag(&self, number: u64) -> Tag {
        Tag { session: self.id, number, acked_below: self.acked_below().min(number) }
    }

    /// Nobody will ask for the replies to numbers below this one again.
    fn acked_below(&self) -> u64 {
        self.unanswered.first().copied().unwrap_or(self.next_number)
    }

    /// Its opening is asked for now; returns what that acknowledges.
    pub(super) fn ask(&mut self, now: Instant) -> u64 {
        self.asked_at = Some(now + self.asleep);
        self.told_below = self.acked_below();
        self.told_below
    }

    /// It is open, or still open. It lives for `ttl` at least from when this was asked for, so it is refreshed long before.
    pub(super) fn opened(&mut self, now: Instant, ttl: Duration) {
        let asked_at = self.asked_at.unwrap_or(now + self.asleep);
        let took = (now + self.asleep).saturating_duration_since(asked_at);
        self.phase = Phase::Open;
        self.refresh_due = Some(now + (ttl / 3).saturating_sub(took));
        self.ends_at = Some(asked_at + ttl);
    }

    /// Where nothing is unanswered, and the cluster was not told so, it is told soon.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.phase == Phase::Open && self.unanswered.is_empty() && self.told_below < self.next_number {
            self.idle_due.get_or_insert(now + IDLE_REST);
        }
    }

    /// When to look at it again, at the latest.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let end = self.ends_at.and_then(|end| end.checked_sub(self.asleep));
        [self.next_refresh(), end].into_iter().flatten().min()
    }

    fn next_refresh(&self) -> Option<Instant> {
        let refresh = self.refresh_due?;
        Some(self.idle_due.map_or(refresh, |idle| idle.min(refresh)))
    }

    /// Whether it is to be refreshed now; from here on it is being refreshed.
    pub(super) fn begins_refresh(&mut self, now: Instant) -> bool {
        let is_due = self.next_refresh().is_some_and(|due| due <= now);
        if is_due {
            (self.refresh_due, self.idle_due) = (None, None);
        }
        is_due
    }

    /// Whether the cluster may have ended it, for all we know, and forgotten that it did. Then it must not be refreshed: that
    /// would open it anew, and what it was told of numbers would be lost.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|end| end <= now + self.asleep)
    }

    /// The machine was suspended for so long.
    pub(super) fn slept(&mut self, asleep: Duration) {
        self.asleep += asleep;
        // What cannot be subtracted lies in the first moments of the machine, and is due soon anyway.
        self.refresh_due = self.refresh_due.map(|due| due.checked_sub(asleep).unwrap_or(due));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_ends_before_the_least_number_without_an_answer() {
        let mut session = Session::new(SessionId(1));
        let numbers: Vec<u64> = (0..3).map(|_| session.draw()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        session.answered(2);
        assert_eq!(session.tag(3).acked_below, 1);
        session.answered(1);
        assert_eq!(session.tag(3).acked_below, 3);
        session.answered(3);
        let next = session.draw();
        assert_eq!(session.tag(next), Tag { session: SessionId(1), number: 4, acked_below: 4 });
    }
}
