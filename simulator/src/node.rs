//! A node: a disk and tables that outlive its processes, and the process of the moment, if one runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{
    EngineConfig, EngineStatus, LogIndex, Membership, MonoTime, NodeId, ReadBack, RequestId, Role, SharedEntry,
    SnapshotStore, StateMachine, StoreId, Tables, Write, WriteId, codec,
};
use kv_machine::{KvMachine, MemorySnapshots, MemoryTables, schema};
use replica::SnapshotSettings;
use replica::core::Core;

use crate::agenda::Task;
use crate::applier::Job;
use crate::checks::Identity;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::inflict::Armed;
use crate::protocol::Protocol;
use crate::snapshots::{Desk, WantedTrim};
use crate::standing::Standing;

/// One node of the world.
#[derive(Debug)]
pub(crate) struct Node<P: Protocol> {
    pub(crate) id: NodeId,
    /// How often it has started.
    pub(crate) boot: u64,
    pub(crate) disk: Disk,
    pub(crate) tables: Arc<MemoryTables>,
    /// On the same disk.
    pub(crate) snapshots: Arc<MemorySnapshots>,
    /// What its peers know its disk by. A blank one that takes the place of another has a name of its own.
    pub(crate) store: StoreId,
    /// The disks that were wiped: what was promised there still binds the others.
    pub(crate) former_disks: Vec<(StoreId, Disk)>,
    pub(crate) clock: Clock,
    /// How many times as long its work and its syncs take.
    pub(crate) slowness: Slowness,
    /// Whether a start has found that it must never run on its disk again.
    pub(crate) condemned: bool,
    /// The fault that waits for its moment.
    pub(crate) armed: Option<Armed>,
    pub(crate) process: Option<Process<P>>,
}

/// How far the names of one node's disks are apart.
const STORES_APART: u128 = 100;

/// The name of the disk that a node begins with.
pub(crate) fn first_store(id: NodeId) -> StoreId {
    StoreId(u128::from(id.0))
}

/// How many times as long something takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slowness {
    pub(crate) work: u32,
    pub(crate) sync: u32,
}

impl Slowness {
    pub(crate) const NONE: Slowness = Slowness { work: 1, sync: 1 };
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Process<P: Protocol> {
    pub(crate) core: Core<P>,
    pub(crate) machine: KvMachine<MemoryTables>,
    requests: u64,
    /// Writes that the engine has handed out and the disk has not performed.
    pub(crate) writes: VecDeque<Write>,
    /// Whether the engine was told something since its effects were last taken.
    pub(crate) is_unsettled: bool,
    /// The last of all that the engine has handed out.
    last_write: WriteId,
    /// Where the log is to be trimmed, each once the write is performed that it comes after.
    pub(crate) trims: VecDeque<(WriteId, WantedTrim)>,
    /// How many writes the sync in progress performs, if one is in progress.
    pub(crate) syncing: Option<usize>,
    /// What the applier has yet to do.
    pub(crate) jobs: VecDeque<Job>,
    /// How often the machine wants the log's time to go forward, as the engine was last told.
    pub(crate) time_wanted: Option<Duration>,
    /// How many messages of its peers it has taken in.
    pub(crate) heard: u64,
    /// How many snapshots the applier has installed.
    pub(crate) epoch: u64,
    pub(crate) desk: Desk,
    pub(crate) read_backs: VecDeque<ReadBack>,
    /// Whether it stands still, as under SIGSTOP.
    pub(crate) paused: bool,
    /// What came while it stood still.
    pub(crate) held: Vec<Task<P::Message>>,
    /// With whom it is in touch.
    pub(crate) standing: Standing,
    /// The part that it last reported.
    pub(crate) reported: (Role, Option<NodeId>),
}

impl<P: Protocol> Node<P> {
    pub(crate) fn new(id: NodeId, clock: Clock) -> Node<P> {
        let tables: Arc<MemoryTables> = Arc::default();
        Node {
            id,
            boot: 0,
            disk: Disk::new(),
            snapshots: Arc::new(MemorySnapshots::new(tables.clone())),
            tables,
            store: first_store(id),
            former_disks: Vec::new(),
            clock,
            slowness: Slowness::NONE,
            condemned: false,
            armed: None,
            process: None,
        }
    }

    /// Disk, tables and snapshots are blank from now on.
    pub(crate) fn wipe(&mut self) {
        assert!(self.process.is_none(), "the disk of node {} is wiped under its process", self.id);
        let old = std::mem::take(&mut self.disk);
        self.former_disks.push((self.store, old));
        self.store.0 += STORES_APART;
        self.condemned = false;
        self.tables = Arc::default();
        self.snapshots = Arc::new(MemorySnapshots::new(self.tables.clone()));
    }

    /// Every disk that it has had, each with its name.
    pub(crate) fn disks(&self) -> impl Iterator<Item = (Identity, &Disk)> {
        let all = self.former_disks.iter().map(|(store, disk)| (*store, disk)).chain([(self.store, &self.disk)]);
        all.map(|(store, disk)| ((self.id, store), disk))
    }

    /// What this node's clock reads when the world's reads `now`.
    pub(crate) fn local(&self, now: MonoTime) -> MonoTime {
        self.clock.local(now)
    }

    /// When the engine wants a tick, by the world's clock; never while no process runs. A driver that gathers a batch looks
    /// at its timers again once it has handed out what comes of it.
    pub(crate) fn wakes_at(&self) -> Option<MonoTime> {
        let process = self.process.as_ref().filter(|process| !process.paused && !process.is_unsettled)?;
        let deadline = process.core.engine().deadline();
        (deadline < MonoTime::NEVER).then(|| self.clock.world(deadline))
    }

    /// When its transfers want to go on, by the world's clock.
    pub(crate) fn transfers_due(&self) -> Option<MonoTime> {
        let process = self.process.as_ref().filter(|process| !process.paused)?;
        let deadline = process.desk.courier.deadline();
        (deadline < MonoTime::NEVER).then(|| self.clock.world(deadline))
    }

    pub(crate) fn status(&self) -> Option<EngineStatus> {
        self.process.as_ref().map(|process| process.core.engine().status())
    }

    /// The last index that the tables hold durably.
    pub(crate) fn persisted(&self) -> LogIndex {
        let Ok(record) = self.tables.get_persisted(schema::META, schema::PROGRESS_KEY);
        let progress = record.and_then(|bytes| codec::decode::<schema::Progress>(&bytes).ok());
        progress.map_or(LogIndex::ZERO, |progress| progress.index)
    }

    /// Starts a process from what disk and tables hold.
    pub(crate) fn start(
        &mut self,
        mut config: EngineConfig,
        founders: Membership,
        (settings, history_bytes): (&SnapshotSettings, u64),
        now: MonoTime,
    ) -> Result<(), replica::ReplicaError> {
        assert!(self.process.is_none(), "node {} runs already", self.id);
        self.boot += 1;
        config.boot = self.boot;
        let failed = |error: kv_machine::KvError| replica::ReplicaError::Machine(error.into());
        let mut machine = KvMachine::open(self.tables.clone()).map_err(failed)?;
        machine.keep_changes(history_bytes);
        if machine.applied().map_err(failed)?.position.index == LogIndex::ZERO {
            // As the service does: the members are part of the tables from the first start on, and so of each snapshot.
            machine.found(Arc::new(founders.clone())).map_err(failed)?;
        }
        let installed = self.snapshots.installed().map_err(|error| replica::ReplicaError::Snapshots(error.into()))?;
        let core = replica::recover::<P, _, _>(config, founders, &self.disk, &machine, installed, self.local(now))?;
        let (status, applied) = (core.engine().status(), core.applied());
        self.process = Some(Process {
            core,
            machine,
            requests: 0,
            writes: VecDeque::new(),
            is_unsettled: false,
            last_write: WriteId(0),
            trims: VecDeque::new(),
            syncing: None,
            jobs: VecDeque::new(),
            time_wanted: None,
            heard: 0,
            epoch: 0,
            desk: Desk::new(settings, &self.snapshots, applied),
            read_backs: VecDeque::new(),
            paused: false,
            held: Vec::new(),
            standing: Standing::new(&status.membership),
            reported: (status.role, status.leader),
        });
        Ok(())
    }
}

impl<P: Protocol> Process<P> {
    /// Names the next request of this life.
    pub(crate) fn next_request(&mut self, origin: NodeId, boot: u64) -> RequestId {
        self.requests += 1;
        RequestId { origin, boot, sequence: self.requests }
    }

    /// The oldest `count` writes that wait, and the name of the last of them.
    pub(crate) fn take_writes(&mut self, count: usize) -> Option<(Vec<Write>, WriteId)> {
        let count = count.min(self.writes.len());
        let group: Vec<Write> = self.writes.drain(..count).collect();
        let last = group.last()?.id;
        Some((group, last))
    }

    /// Writes that were taken and not performed wait again.
    pub(crate) fn give_back(&mut self, group: Vec<Write>) {
        for write in group.into_iter().rev() {
            self.writes.push_front(write);
        }
    }

    /// A write that the engine hands out.
    pub(crate) fn queue(&mut self, write: Write) {
        self.last_write = write.id;
        self.writes.push_back(write);
    }

    /// The name of the write that the engine hands out next.
    pub(crate) fn next_write(&self) -> WriteId {
        WriteId(self.last_write.0 + 1)
    }

    /// What the engine has at `index`, as far as it has handed that out; `durable` is what the disk has there.
    pub(crate) fn entry_at(&self, index: LogIndex, durable: Option<&SharedEntry>) -> Option<SharedEntry> {
        self.writes.iter().fold(durable.cloned(), |entry, write| {
            let entry = entry.filter(|_| write.remove_from.is_none_or(|from| from > index));
            write.entries.iter().find(|put| put.index == index).cloned().or(entry)
        })
    }

    /// How many of the oldest `count` writes come before the next trim.
    pub(crate) fn group_len(&self, count: usize) -> usize {
        let after = self.trims.front().map(|(after, _)| *after);
        self.writes.iter().take(count).take_while(|write| after.is_none_or(|after| write.id <= after)).count()
    }

    /// Where the log is to be trimmed now.
    pub(crate) fn next_trim(&mut self) -> Option<WantedTrim> {
        let first = self.writes.front().map(|write| write.id);
        self.trims.front().filter(|(after, _)| first.is_none_or(|first| first > *after))?;
        self.trims.pop_front().map(|(_, wanted)| wanted)
    }

    /// Applies these; returns the machine's replies.
    pub(crate) fn apply(&mut self, entries: &[SharedEntry]) -> Result<Vec<Bytes>, kv_machine::KvError> {
        let replies = self.machine.apply(entries)?;
        assert_eq!(entries.len(), replies.len(), "one reply for each entry");
        Ok(replies)
    }

    /// What the tables have applied.
    pub(crate) fn tables_at(&self) -> LogIndex {
        // The machine knows it by heart.
        self.machine.applied().map(|state| state.position.index).unwrap_or_default()
    }

    /// What the tables have applied, and the hash over them.
    pub(crate) fn digest(&self) -> Result<(LogIndex, [u8; 32]), kv_machine::KvError> {
        Ok((self.machine.applied()?.position.index, self.machine.digest()?))
    }
}
