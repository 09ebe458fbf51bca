//! One engine with a disk that forgets what was not synced, and tables that forget what was not flushed.
//!
//! ```text
//!   effects ──▶ write ─────▶ unsynced ──sync──▶ disk, then Persisted
//!          ├──▶ messages ──▶ held until their write is synced ──▶ mail
//!          └──▶ committed ─▶ unapplied ──apply──▶ tables, then Applied
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::ballot_runs::BallotRuns;
use crate::engine::{Engine, EngineConfig, LogPosition, Outgoing, ReadBack, Recovered};
use crate::entry::{Payload, SharedEntry};
use crate::ids::{Ballot, Era, LogIndex, NodeId, WriteId};
use crate::log_store::{RecoveredLog, Write};
use crate::membership::{AppliedMembership, Membership};
use crate::time::{LogTime, MonoTime};

/// What a state machine would keep.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) applied: LogIndex,
    pub(crate) log_time: LogTime,
    pub(crate) members: AppliedMembership,
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: Option<Bytes>,
    pub(crate) base: LogPosition,
    pub(crate) commit: LogIndex,
    pub(crate) entries: BTreeMap<LogIndex, SharedEntry>,
    pub(crate) tables: Tables,
}

impl Disk {
    fn perform(&mut self, write: &Write) {
        self.hard_state = write.hard_state.clone().or(self.hard_state.take());
        if let Some(from) = write.remove_from {
            self.entries.split_off(&from);
        }
        self.entries.extend(write.entries.iter().map(|entry| (entry.index, entry.clone())));
        self.entries = self.entries.split_off(&self.base.index.next());
        self.commit = self.commit.max(write.commit.unwrap_or_default());
    }

    /// Whether it has this value at this index, or has had it.
    pub(crate) fn holds(&self, entry: &SharedEntry) -> bool {
        let is_same = |own: &SharedEntry| own.under(Ballot::ZERO) == entry.under(Ballot::ZERO);
        self.base.index >= entry.index || self.entries.get(&entry.index).is_some_and(is_same)
    }

    pub(crate) fn position(&self, index: LogIndex) -> LogPosition {
        let ballot = self.entries.get(&index).map_or(self.base.ballot, |entry| entry.ballot);
        LogPosition { index, ballot }
    }

    pub(crate) fn trim(&mut self, base: LogPosition) {
        self.entries = self.entries.split_off(&base.index.next());
        self.base = base;
    }

    fn recovered(&self, tail_bytes_max: usize) -> Recovered {
        let mut runs = BallotRuns::default();
        let (mut tail, mut bytes, mut memberships) = (VecDeque::new(), 0, Vec::new());
        for entry in self.entries.values() {
            runs.set(entry.index, entry.ballot);
            if let Payload::Membership { membership, .. } = &entry.payload {
                memberships.push((entry.index, membership.clone()));
            }
        }
        for entry in self.entries.values().rev() {
            bytes += entry.size_bytes();
            if bytes <= tail_bytes_max || tail.is_empty() {
                tail.push_front(entry.clone());
            }
        }
        let (hard_state, commit, tail) = (self.hard_state.clone(), self.commit, tail.into());
        Recovered {
            era: Era(0),
            base: self.base,
            applied: self.position(self.tables.applied),
            log_time: self.tables.log_time,
            membership: self.tables.members.clone(),
            log: RecoveredLog { hard_state, commit, runs, tail, memberships },
        }
    }

    pub(crate) fn read(&self, wanted: ReadBack) -> Vec<SharedEntry> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        if wanted.first > wanted.last {
            return found;
        }
        for (_, entry) in self.entries.range(wanted.first..=wanted.last) {
            bytes += entry.size_bytes();
            if bytes > wanted.bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        found
    }
}

/// An engine, its disk, and what it wants done.
pub(crate) struct Node<E: Engine> {
    pub(crate) config: EngineConfig,
    /// `None` while it is down.
    pub(crate) engine: Option<E>,
    pub(crate) disk: Disk,
    /// The disk finishes no write.
    pub(crate) is_frozen: bool,
    pub(crate) unsynced: VecDeque<Write>,
    pub(crate) last_write: WriteId,
    pub(crate) durable: WriteId,
    pub(crate) held: Vec<Outgoing<E::Message>>,
    pub(crate) read_backs: Vec<ReadBack>,
    pub(crate) unapplied: Vec<SharedEntry>,
    pub(crate) tables: Tables,
    pub(crate) sequence: u64,
}

impl<E: Engine> Node<E> {
    /// A blank disk among these founders. Not started yet.
    pub(crate) fn blank(config: EngineConfig, founders: &Membership) -> Node<E> {
        let members = AppliedMembership::founded(Arc::new(founders.clone()));
        let tables = Tables { applied: LogIndex::ZERO, log_time: LogTime::default(), members };
        Node {
            config,
            engine: None,
            disk: Disk {
                hard_state: None,
                base: LogPosition::default(),
                commit: LogIndex::ZERO,
                entries: BTreeMap::new(),
                tables: tables.clone(),
            },
            is_frozen: false,
            unsynced: VecDeque::new(),
            last_write: WriteId(0),
            durable: WriteId(0),
            held: Vec::new(),
            read_backs: Vec::new(),
            unapplied: Vec::new(),
            tables,
            sequence: 0,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.node
    }

    /// Loses everything but the disk.
    pub(crate) fn crash(&mut self) {
        let mut config = self.config.clone();
        config.boot += 1;
        let (disk, tables) = (self.disk.clone(), self.disk.tables.clone());
        *self = Node { disk, tables, ..Node::blank(config, &Membership::default()) };
    }

    pub(crate) fn start(&mut self, now: MonoTime) {
        let recovered = self.disk.recovered(self.config.limits.window_bytes_max);
        self.engine =
            Some(E::recover(self.config.clone(), recovered, now).expect("the engine takes its own disk back"));
    }

    /// The oldest `count` writes reach the disk. Returns whether any did.
    pub(crate) fn sync(&mut self, count: usize) -> bool {
        let count = if self.is_frozen { 0 } else { count.min(self.unsynced.len()) };
        for write in self.unsynced.drain(..count) {
            self.disk.perform(&write);
            self.durable = write.id;
        }
        count > 0
    }

    /// What may leave by now.
    pub(crate) fn released(&mut self) -> Vec<Outgoing<E::Message>> {
        let durable = self.durable;
        let (free, held) = std::mem::take(&mut self.held).into_iter().partition(|message| message.after <= durable);
        self.held = held;
        free
    }

    /// Applies what was handed out; returns how far, if there was anything.
    pub(crate) fn apply(&mut self) -> Option<LogIndex> {
        for entry in std::mem::take(&mut self.unapplied) {
            self.tables.applied = entry.index;
            self.tables.log_time = self.tables.log_time.max(entry.log_time);
            if let Payload::Membership { membership, .. } = &entry.payload {
                self.tables.members.take(entry.index, membership);
            }
        }
        let through = self.tables.applied;
        (through > LogIndex::ZERO).then_some(through)
    }

    /// Makes the tables durable.
    pub(crate) fn flush(&mut self) {
        self.disk.tables = self.tables.clone();
    }
}
