//! Log matching (Raft paper §5.3). Both protocols share the one half: whatever stands under one index and epoch, on any
//! disk or in any message, at any time, is one value; in Paxos because a ballot has one proposer and one value per slot,
//! in Raft because a term has one leader and its log only grows. The other half is Raft's alone: entries of one index
//! and term have the same entry below them, and so, from index to index, the same log.
//!
//! A write that is looked at may be followed by others of the same sync, and then the disk no longer tells what it
//! found. So the terms of every log are kept here, and each write is done over on them.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, LogPosition, NodeId, SharedEntry, Write, WriteId};

use super::{Violation, epoch, same_value};
use crate::protocol::Carried;

/// A place in any log, and the epoch of what stands there.
type Place = (LogIndex, Ballot);

/// What stood where, under which epoch, and on what.
#[derive(Debug)]
pub(super) struct LogMatching {
    round_is_epoch: bool,
    values: BTreeMap<Place, SharedEntry>,
    /// The epoch of the entry below. Raft's alone: a Paxos slot stands by itself.
    below: BTreeMap<Place, Ballot>,
    /// The epochs of each disk's log. What is trimmed stays.
    logs: BTreeMap<NodeId, BTreeMap<LogIndex, Ballot>>,
    /// Where snapshots end that were installed and that the engine has not acted on.
    installed: BTreeMap<NodeId, Boundary>,
}

/// Where an installed snapshot ends, and the first write of an engine that has heard of it. The writes before may go on
/// after another entry than the snapshot's last, and that write removes them.
#[derive(Clone, Copy, Debug)]
struct Boundary {
    base: LogPosition,
    from: Option<WriteId>,
}

impl LogMatching {
    pub(super) fn new(round_is_epoch: bool) -> LogMatching {
        let (values, below, logs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        LogMatching { round_is_epoch, values, below, logs, installed: BTreeMap::new() }
    }

    /// A node's log is empty from now on.
    pub(super) fn wiped(&mut self, node: NodeId) {
        self.logs.remove(&node);
        self.installed.remove(&node);
    }

    /// A node starts from a log that begins after `base`.
    pub(super) fn started(&mut self, node: NodeId, base: LogPosition) {
        self.installed.remove(&node);
        self.stands_on(node, base);
    }

    /// The epoch of what a node's disk holds there, or held before that was trimmed.
    pub(super) fn epoch_at(&self, node: NodeId, index: LogIndex) -> Option<Ballot> {
        self.logs.get(&node)?.get(&index).copied()
    }

    /// Whether a node's log was trimmed to an installed snapshot, and its engine has written nothing since.
    pub(super) fn waits_for_engine(&self, node: NodeId) -> bool {
        self.installed.contains_key(&node)
    }

    /// A node's log is trimmed to a snapshot that was installed.
    pub(super) fn installed(&mut self, node: NodeId, base: LogPosition) {
        self.installed.insert(node, Boundary { base, from: None });
    }

    /// The engine hears of that, and its next write is this one.
    pub(super) fn heard_of_installation(&mut self, node: NodeId, next: WriteId) {
        if let Some(boundary) = self.installed.get_mut(&node) {
            boundary.from = Some(next);
        }
    }

    /// A node's log goes on from there.
    fn stands_on(&mut self, node: NodeId, base: LogPosition) {
        if base.index > LogIndex::ZERO {
            self.logs.entry(node).or_default().insert(base.index, epoch(true, base.ballot));
        }
    }

    pub(super) fn written(&mut self, node: NodeId, write: &Write) -> Result<(), Violation> {
        for entry in &write.entries {
            self.value(node, entry)?;
        }
        if self.round_is_epoch { self.logged(node, write) } else { Ok(()) }
    }

    /// A node sends entries, maybe before its own disk holds them.
    pub(super) fn sent(&mut self, node: NodeId, carried: &Carried<'_>) -> Result<(), Violation> {
        for entry in carried.entries {
            self.value(node, entry)?;
        }
        let Some(mut below) = carried.prev.filter(|_| self.round_is_epoch).map(|prev| prev.ballot) else {
            return Ok(());
        };
        for entry in carried.entries {
            self.link(node, (entry.index, epoch(true, entry.ballot)), Some(epoch(true, below)))?;
            below = entry.ballot;
        }
        Ok(())
    }

    fn value(&mut self, node: NodeId, entry: &SharedEntry) -> Result<(), Violation> {
        let (index, ballot) = (entry.index, entry.ballot);
        let place = (index, epoch(self.round_is_epoch, ballot));
        let expected = self.values.entry(place).or_insert_with(|| entry.clone());
        if same_value(expected, entry) {
            return Ok(());
        }
        let (found, expected) = (entry.clone(), expected.clone());
        Err(Violation::LogMatching { node, index, ballot, found, expected })
    }

    /// Does the write over, and looks at what then stands on what. That is each entry of the write, and the one above
    /// the last: where the write leaves it there, it must be one that belongs there.
    fn logged(&mut self, node: NodeId, write: &Write) -> Result<(), Violation> {
        let boundary = self.installed.get(&node).copied();
        let is_first = boundary.is_some_and(|boundary| boundary.from.is_some_and(|from| write.id >= from));
        let base = boundary.map(|boundary| boundary.base).filter(|_| is_first);
        if let Some(base) = base {
            self.started(node, base);
        }
        let log = self.logs.entry(node).or_default();
        if let Some(index) = write.remove_from {
            // The engine may have decided on it by a snapshot before this one: no removal reaches what the base stands for.
            log.split_off(&base.map_or(index, |base| index.max(base.index.next())));
        }
        log.extend(write.entries.iter().map(|entry| (entry.index, epoch(true, entry.ballot))));
        if boundary.is_some() && !is_first {
            return Ok(());
        }
        let above = write.entries.last().map(|entry| entry.index.next());
        let behind_base = base.map(|base| base.index.next());
        let looked_at = write.entries.iter().map(|entry| entry.index).chain(above).chain(behind_base);
        let place = |index: LogIndex| {
            let before = LogIndex(index.0.saturating_sub(1));
            let below = if before == LogIndex::ZERO { Some(Ballot::ZERO) } else { log.get(&before).copied() };
            Some(((index, *log.get(&index)?), below))
        };
        let places: Vec<(Place, Option<Ballot>)> = looked_at.filter_map(place).collect();
        places.into_iter().try_for_each(|(place, below)| self.link(node, place, below))
    }

    fn link(&mut self, node: NodeId, place: Place, below: Option<Ballot>) -> Result<(), Violation> {
        let (index, ballot) = place;
        // Nothing at all below an entry is as wrong as something else.
        let expected = *self.below.entry(place).or_insert(below.unwrap_or_default());
        if below == Some(expected) {
            return Ok(());
        }
        Err(Violation::LogsPart { node, index, ballot, below, expected })
    }
}
