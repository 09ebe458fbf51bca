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

use crate::wire::{SessionId, Tag};

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
    pub(super) refresh_due: Option<Instant>,
}

impl Session {
    pub(super) fn new(id: SessionId) -> Session {
        Session { id, phase: Phase::Unopened, next_number: 1, unanswered: BTreeSet::new(), refresh_due: None }
    }

    /// A number that was never used.
    pub(super) fn draw(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.unanswered.insert(number);
        number
    }

    /// Nobody will ask for the reply to this number again.
    pub(super) fn answered(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }

    /// The place of a request with this number, as it is to be sent now.
    pub(super) fn tag(&self, number: u64) -> Tag {
        let acked_below = self.unanswered.first().copied().unwrap_or(self.next_number);
        Tag { session: self.id, number, acked_below: acked_below.min(number) }
    }

    /// It is open, or still open. It lives for `ttl` from when this was asked for, so it is refreshed long before.
    pub(super) fn opened(&mut self, now: Instant, ttl: Duration) {
        self.phase = Phase::Open;
        self.refresh_due = Some(now + ttl / 3);
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
