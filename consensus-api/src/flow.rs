//! What was sent to one peer and not yet answered: the bound on pipelining.

use std::collections::VecDeque;

use crate::engine::Limits;
use crate::ids::LogIndex;
use crate::time::MonoTime;

/// Messages with entries on their way to one peer, each named by the last index that it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InFlight {
    messages: VecDeque<(LogIndex, usize)>,
    bytes: usize,
    // When the oldest message was sent, or an answer last made room.
    moved_at: MonoTime,
}

impl InFlight {
    /// Whether another message may be sent.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.messages.len() < limits.peer_messages_max && self.bytes < limits.peer_bytes_max
    }

    /// Whether everything was answered.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Notes a message.
    pub fn sent(&mut self, last: LogIndex, bytes: usize, now: MonoTime) {
        if self.messages.is_empty() {
            self.moved_at = now;
        }
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The peer has answered everything up to `through`, as a cumulative acknowledgement says.
    pub fn answered_through(&mut self, through: LogIndex, now: MonoTime) {
        self.retain(now, |last| last > through);
    }

    /// The peer has answered the message that ended at `last`, and that one alone.
    pub fn answered(&mut self, last: LogIndex, now: MonoTime) {
        self.retain(now, |other| other != last);
    }

    /// The peer has answered the messages that ended within `first..=last`, as an answer in ranges says.
    pub fn answered_within(&mut self, first: LogIndex, last: LogIndex, now: MonoTime) {
        self.retain(now, |other| other < first || other > last);
    }

    fn retain(&mut self, now: MonoTime, keep: impl Fn(LogIndex) -> bool) {
        let before = self.messages.len();
        self.messages.retain(|(last, _)| keep(*last));
        if self.messages.len() < before {
            self.bytes = self.messages.iter().map(|(_, bytes)| bytes).sum();
            self.moved_at = now;
        }
    }

    /// Forgets everything: it is taken for lost.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }

    /// Since when nothing has moved, if something is in flight.
    pub fn stalled_since(&self) -> Option<MonoTime> {
        (!self.messages.is_empty()).then_some(self.moved_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { peer_messages_max: 3, peer_bytes_max: 100, ..Limits::default() }
    }

    #[test]
    fn messages_and_bytes_are_both_bounded() {
        let mut flight = InFlight::default();
        for last in 1..=3 {
            assert!(flight.has_room(&limits()));
            flight.sent(LogIndex(last), 10, MonoTime::default());
        }
        assert!(!flight.has_room(&limits()), "three messages");
        flight.answered_through(LogIndex(2), MonoTime::default());
        assert!(flight.has_room(&limits()));
        flight.sent(LogIndex(4), 95, MonoTime::default());
        assert!(!flight.has_room(&limits()), "105 bytes");
        flight.answered(LogIndex(4), MonoTime::default());
        assert!(flight.has_room(&limits()));
    }

    #[test]
    fn a_stall_is_counted_from_the_last_movement() {
        let at = MonoTime::from_micros;
        let mut flight = InFlight::default();
        assert_eq!(flight.stalled_since(), None);
        flight.sent(LogIndex(1), 10, at(5));
        flight.sent(LogIndex(2), 10, at(6));
        assert_eq!(flight.stalled_since(), Some(at(5)));
        flight.answered_through(LogIndex(0), at(7));
        assert_eq!(flight.stalled_since(), Some(at(5)), "nothing moved");
        flight.answered_through(LogIndex(1), at(8));
        assert_eq!(flight.stalled_since(), Some(at(8)));
        flight.clear();
        assert_eq!(flight.stalled_since(), None);
    }
}
