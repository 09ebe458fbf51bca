//! How a peer that lags is brought up: finding where the logs part, whole terms at a time, and reading back what has
//! left the window.
//!
//! ```text
//!   index     4  5  6  7  8  9
//!   leader    1  1  4  4  6  6     probe: does it have 9 at 6?
//!   follower  1  1  2  2  3  3     no: XTerm 3 from XIndex 8 ─▶ the leader has no term 3, probes 7
//!                                  no: XTerm 2 from XIndex 6 ─▶ the leader has no term 2, probes 5
//!                                  yes: everything from 6 on follows
//! ```
//!
//! One round trip for each term that differs (paper §5.3), not one for each entry. A read of the log store is named by
//! an id, and here is remembered what it was for.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, NodeId, ReadBack, ReadBackId, SharedEntry};

use crate::Raft;
use crate::log::Log;
use crate::message::Conflict;
use crate::replication::Sender;
use crate::role::{Phase, Progress};

/// The reads of the log store that are not answered yet. Bounded: one for the hand-out, one for each peer of the
/// present leadership and those of earlier ones that are still under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadBacks {
    last: ReadBackId,
    waiting: BTreeMap<ReadBackId, Purpose>,
}

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// To hand committed entries out.
    Deliver,
    /// To send entries to a peer.
    CatchUp {
        /// Which peer.
        peer: NodeId,
        /// In which leadership.
        ballot: Ballot,
    },
}

impl ReadBacks {
    fn ask(&mut self, purpose: Purpose) -> ReadBackId {
        self.last = ReadBackId(self.last.0 + 1);
        self.waiting.insert(self.last, purpose);
        self.last
    }

    /// Nobody waits any more for entries to hand out.
    pub(crate) fn forget_delivery(&mut self) {
        self.waiting.retain(|_, purpose| *purpose != Purpose::Deliver);
    }
}

impl Progress {
    /// The peer does not have what it was asked for: goes back past the whole term that differs.
    pub(crate) fn back_off(&mut self, conflict: &Conflict, log: &Log) {
        let is_answer = match self.phase {
            Phase::Probe { .. } => conflict.prev == self.next.previous(),
            Phase::Replicate | Phase::Snapshot { .. } => true,
        };
        // A peer has lost nothing that it has acknowledged: such an answer is late.
        if !is_answer || conflict.prev <= self.matched {
            return;
        }
        let next = match conflict.x_term {
            None => conflict.x_len.next(),
            Some(term) => log.last_of_term(term, conflict.prev).map_or(conflict.x_index, LogIndex::next),
        };
        let next = next.min(conflict.prev);
        if matches!(self.phase, Phase::Snapshot { .. }) && next <= log.base().index {
            return;
        }
        self.probe_from(next);
    }
}

impl Sender<'_> {
    /// Asks for the entries that the peer needs next and that the window no longer holds.
    pub(crate) fn read_back_for(&mut self, peer: NodeId, progress: &mut Progress) {
        let id = self.read_backs.ask(Purpose::CatchUp { peer, ballot: self.ballot });
        progress.reading = Some(id);
        let bytes_max = self.config.limits.message_bytes_max;
        self.effects.read_back.push(ReadBack { id, first: progress.next, last: self.log.last_index(), bytes_max });
    }
}

impl Raft {
    /// Hands out what is committed and durable, and asks for what of it has left the window.
    pub(crate) fn deliver(&mut self) {
        let limits = &self.config.limits;
        let (through, window, out) = (self.log.deliverable_through(), self.log.window(), &mut self.effects.committed);
        if let Some(missing) = self.delivery.collect(through, window, limits.unapplied_bytes_max, out) {
            let id = self.read_backs.ask(Purpose::Deliver);
            let bytes_max = limits.message_bytes_max;
            self.effects.read_back.push(ReadBack { id, first: missing.first, last: missing.last, bytes_max });
        }
    }

    /// Takes entries that were read back, each only if it is still the one that the log has.
    pub(crate) fn on_entries_read(&mut self, id: ReadBackId, mut entries: Vec<SharedEntry>) {
        let Some(purpose) = self.read_backs.waiting.remove(&id) else { return };
        let agrees = |entry: &SharedEntry| self.log.ballot_at(entry.index) == Some(entry.ballot);
        let agreeing = entries.iter().take_while(|entry| agrees(entry)).count();
        entries.truncate(agreeing);
        match purpose {
            Purpose::Deliver => {
                self.delivery.read_back(entries, self.log.deliverable_through(), &mut self.effects.committed);
            }
            Purpose::CatchUp { peer, ballot } => self.send_read_back(id, peer, ballot, entries),
        }
    }

    fn send_read_back(&mut self, id: ReadBackId, peer: NodeId, ballot: Ballot, mut entries: Vec<SharedEntry>) {
        if ballot != self.ballot {
            return;
        }
        let Some((leader, mut sender)) = self.leading() else { return };
        let Some(progress) = leader.peers.get_mut(&peer).filter(|progress| progress.reading == Some(id)) else {
            return;
        };
        progress.reading = None;
        // The peer may have moved meanwhile, forward by an acknowledgement or back to probing.
        let next = progress.next;
        entries.retain(|entry| entry.index >= next);
        let follows = entries.first().is_some_and(|entry| entry.index == next);
        if follows && progress.phase == Phase::Replicate {
            sender.send_next(peer, progress, entries);
        }
    }
}
