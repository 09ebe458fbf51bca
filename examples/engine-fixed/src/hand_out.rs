//! Where the engine meets the log store and the tables: committed entries on their way to them, entries that have left
//! memory and are needed again, and a snapshot that stands in for entries.

use std::collections::BTreeMap;

use consensus_api::{LogIndex, LogPosition, LogTime, NodeId, ReadBack, ReadBackId, SharedEntry};

use crate::message::Message;
use crate::{FixedLeader, Part};

/// The reads of the log store that are not answered yet, each with the peer that needs it; `None`: the own tables do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadBacks {
    last: ReadBackId,
    waiting: BTreeMap<ReadBackId, Option<NodeId>>,
}

impl ReadBacks {
    pub(crate) fn ask(
        &mut self,
        whom_for: Option<NodeId>,
        first: LogIndex,
        last: LogIndex,
        bytes_max: usize,
    ) -> ReadBack {
        self.last = ReadBackId(self.last.0 + 1);
        self.waiting.insert(self.last, whom_for);
        ReadBack { id: self.last, first, last, bytes_max }
    }
}

impl FixedLeader {
    /// Hands out what may be applied, and asks for what of it has left the window.
    pub(crate) fn deliver(&mut self) {
        let limits = &self.config.limits;
        let (through, out) = (self.log.deliverable(), &mut self.effects.committed);
        if let Some(missing) = self.delivery.collect(through, self.log.window(), limits.unapplied_bytes_max, out) {
            let wanted = self.read_backs.ask(None, missing.first, missing.last, limits.message_bytes_max);
            self.effects.read_back.push(wanted);
        }
    }

    /// Takes entries that were read back. What is on disk is never overwritten, so they are still the log's.
    pub(crate) fn on_entries_read(&mut self, id: ReadBackId, mut entries: Vec<SharedEntry>) {
        match self.read_backs.waiting.remove(&id) {
            None => {}
            Some(None) => self.delivery.read_back(entries, self.log.deliverable(), &mut self.effects.committed),
            Some(Some(to)) => {
                let Part::Leading(leader) = &mut self.part else { return };
                let ballot = leader.ballot;
                let Some(peer) = leader.peer(to).filter(|peer| peer.reading == Some(id)) else { return };
                peer.reading = None;
                if entries.is_empty() {
                    // They were trimmed meanwhile. The next answer to a heartbeat tells where to go on.
                    peer.next = None;
                    return;
                }
                // It may have moved on meanwhile, or be silent.
                let next = peer.next;
                entries.retain(|entry| next.is_some_and(|next| entry.index >= next));
                if entries.first().is_some_and(|first| Some(first.index) == next) {
                    let commit = self.log.commit();
                    peer.sent(&entries, commit, self.now);
                    self.send(to, Message::Append { ballot, entries, commit });
                }
            }
        }
    }

    /// Tables that the leader sent have replaced the own ones, and stand for the log up to `base`.
    pub(crate) fn on_snapshot_installed(&mut self, base: LogPosition, log_time: LogTime) {
        if base.index <= self.log.base() || base.index < self.delivery.applied() {
            return;
        }
        self.log.install(base, log_time);
        self.delivery.restart_after(base.index);
        // What the same batch handed out before belongs to the tables that were replaced.
        self.effects.committed.clear();
        self.read_backs.waiting.retain(|_, whom_for| whom_for.is_some());
    }
}
