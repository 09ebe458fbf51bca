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
