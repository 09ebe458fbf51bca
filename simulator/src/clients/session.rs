//! A session as its clients know it.

use std::collections::BTreeSet;

use consensus_api::MonoTime;
use consensus_api::random::SeededRandom;
use kv_machine::{SessionId, SessionTag};

#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    is_open: bool,
    /// The number of its next request.
    next: u64,
    /// What is asked and neither answered nor given up.
    in_flight: BTreeSet<u64>,
    /// Until then its clients do nothing.
    pub(super) sleeps_until: MonoTime,
}

impl Session {
    /// Not open yet; its name is never used again.
    pub(super) fn draw(random: &mut SeededRandom) -> Session {
        let id = SessionId(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()));
        Session { id, is_open: false, next: 1, in_flight: BTreeSet::new(), sleeps_until: MonoTime::default() }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn opened(&mut self, id: SessionId) {
        self.is_open |= self.id == id;
    }

    /// It has expired: the next one takes its place, unless it has already.
    pub(super) fn expired(&mut self, id: SessionId, random: &mut SeededRandom) {
        if self.id == id {
            *self = Session { sleeps_until: self.sleeps_until, ..Session::draw(random) };
        }
    }

    /// A number for a new request.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number);
        number
    }

    /// A request's place, with what is acknowledged by now; of a session that was replaced nothing new is.
    pub(super) fn tag(&self, (session, number): (SessionId, u64)) -> SessionTag {
        let own = (self.id == session).then(|| self.in_flight.first().copied()).flatten();
        SessionTag { session, number, acked_below: own.map_or(1, |first| first.min(number)) }
    }

    /// Nobody will ask for it again.
    pub(super) fn is_done_with(&mut self, (session, number): (SessionId, u64)) {
        if self.id == session {
            self.in_flight.remove(&number);
        }
    }
}
