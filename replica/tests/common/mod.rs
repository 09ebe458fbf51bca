//! The smallest possible parts around a replica: an engine of one node, a log and a machine in memory, no network.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use consensus_api::log_writer::LogWriter;
use consensus_api::*;
use replica::{NoSnapshots, Parts, Replica, ReplicaConfig, SnapshotSettings};

/// An engine that leads alone: what it has written is committed. A command `panic` breaks one of its invariants. To hand
/// leadership over means here to send a snapshot, and each wish for the log's time to go forward is a tick at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Solo {
    node: NodeId,
    last: LogIndex,
    commit: LogIndex,
    handed_out: LogIndex,
    writer: LogWriter,
    open: Vec<SharedEntry>,
    reads: Vec<RequestId>,
    refused: Vec<Refused>,
    leads: bool,
    base: LogIndex,
    snapshots: Vec<SendSnapshot>,
    membership: Arc<Membership>,
    /// Members that come into force with this entry.
    changing: Option<(LogIndex, Arc<Membership>)>,
}

impl Engine for Solo {
    type Message = u8;
    const NAME: EngineName = EngineName::new("solo");

    fn recover(config: EngineConfig, recovered: Recovered, _: MonoTime) -> Result<Solo, EngineError> {
        let last = recovered.log.runs.last().unwrap_or(recovered.base.index);
        let open = recovered.log.tail.into_iter().filter(|entry| entry.index > recovered.applied.index).collect();
        Ok(Solo {
            node: config.node,
            last,
            commit: last,
            handed_out: recovered.applied.index,
            writer: LogWriter::default(),
            open,
            reads: Vec::new(),
            refused: Vec::new(),
            leads: true,
            base: recovered.base.index,
            snapshots: Vec::new(),
            membership: recovered.membership.latest,
            changing: None,
        })
    }

    fn step(&mut self, _: MonoTime, input: Input<u8>) {
        match input {
            Input::Propose { id, data } => self.propose(id, data),
            Input::Read { id, mode: ReadMode::Log } => self.propose(id, Blob::default()),
            Input::Read { id, mode: ReadMode::Quorum } => {
                self.refused.push(Refused { id, reason: Refusal::Unsupported { what: "this".into() } });
            }
            Input::Read { id, .. } => self.reads.push(id),
            Input::KeepTime { every: Some(_) } => self.append(Payload::Tick),
            Input::Persisted { write } => {
                let runs = self.writer.persisted(write);
                self.commit = runs.iter().map(|(_, last)| *last).fold(self.commit, LogIndex::max);
            }
            Input::Campaign => self.leads = !self.leads,
            Input::Applied { through } => {
                assert!(through <= self.handed_out, "{through} applied, but {} was handed out", self.handed_out);
            }
            Input::Trimmed { base } => {
                assert!(base.index <= self.handed_out, "trimmed past what is applied");
                self.base = self.base.max(base.index);
            }
            Input::SnapshotInstalled { base, .. } => {
                assert!(base.index > self.handed_out, "an older one was installed");
                (self.base, self.commit, self.handed_out) = (base.index, base.index, base.index);
                self.last = self.last.max(base.index);
                self.open.retain(|entry| entry.index > base.index);
            }
            Input::TransferLeadership { to: Some(to), .. } => {
                self.snapshots.push(SendSnapshot { to, at_least: LogIndex(1) });
            }
            Input::ChangeMembership { id, target } => self.change(id, &target),
            Input::TransferLeadership { id, .. } => {
                self.refused.push(Refused { id, reason: Refusal::Unsupported { what: "this".into() } });
            }
            _ => {}
        }
    }

    fn take_effects(&mut self) -> Effects<u8> {
        let committed: Vec<SharedEntry> =
            self.open.iter().filter(|entry| entry.index <= self.commit).cloned().collect();
        self.open.retain(|entry| entry.index > self.commit);
        if let Some(entry) = committed.last() {
            self.handed_out = entry.index;
        }
        let mut contacts = None;
        if let Some((_, members)) = self.changing.take_if(|(index, _)| *index <= self.commit) {
            contacts = Some(members.clone());
            self.membership = members;
        }
        let reads = std::mem::take(&mut self.reads).into_iter();
        Effects {
            contacts,
            write: self.writer.take(self.commit),
            committed,
            reads_ready: reads.map(|id| ReadReady { id, index: self.commit }).collect(),
            refused: std::mem::take(&mut self.refused),
            snapshots: std::mem::take(&mut self.snapshots),
            role: Some(RoleChange { role: Role::Leader, leader: Some(self.node), ballot: Ballot::new(1, self.node) }),
            ..Effects::default()
        }
    }

    fn deadline(&self) -> MonoTime {
        MonoTime::NEVER
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            role: Role::Leader,
            leader: Some(self.node),
            ballot: Ballot::new(1, self.node),
            commit_index: self.commit,
            last_index: self.last,
            base_index: self.base,
            membership: self.membership.clone(),
            is_changing: self.changing.is_some(),
            progress: BTreeMap::new(),
        }
    }
}

impl Solo {
    fn propose(&mut self, id: RequestId, data: Blob) {
        assert!(data.0 != "panic", "asked to panic");
        if self.leads {
            self.append(Payload::Command { id, data });
        } else {
            self.refused.push(Refused { id, reason: Refusal::NoLeader });
        }
    }

    fn change(&mut self, id: RequestId, target: &Membership) {
        let checked = match &self.changing {
            Some(_) => Err(Refusal::ChangePending),
            None => membership_change::check(&self.membership, target),
        };
        if let Err(reason) = checked {
            return self.refused.push(Refused { id, reason });
        }
        let membership = Arc::new(Membership { version: target.version + 1, ..target.clone() });
        self.append(Payload::Membership { id, membership: membership.clone() });
        self.changing = Some((self.last, membership));
    }

    fn append(&mut self, payload: Payload) {
        self.last = self.last.next();
        let (index, ballot, log_time) = (self.last, Ballot::new(1, self.node), LogTime::default());
        let entry = Arc::new(Entry { index, ballot, log_time, payload });
        self.writer.put(entry.clone());
        self.open.push(entry);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub &'static str);

/// A log in memory whose writes can be held up and can be made to fail.
#[derive(Default)]
pub struct MemoryLog {
    entries: Mutex<BTreeMap<LogIndex, SharedEntry>>,
    base: Mutex<LogPosition>,
    pub groups: AtomicU64,
    pub fails: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl MemoryLog {
    /// Lets no write through until `release`.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }
}

impl LogStore for MemoryLog {
    type Error = Failure;

    fn base(&self) -> LogPosition {
        *self.base.lock().unwrap()
    }

    fn recover(&self, _: usize) -> Result<RecoveredLog, Failure> {
        let tail: Vec<SharedEntry> = self.entries.lock().unwrap().values().cloned().collect();
        let mut recovered = RecoveredLog { tail, ..RecoveredLog::default() };
        for entry in &recovered.tail {
            recovered.runs.set(entry.index, entry.ballot);
        }
        Ok(recovered)
    }

    fn write(&self, writes: &[Write]) -> Result<(), Failure> {
        drop(self.released.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
        if self.fails.load(Ordering::SeqCst) {
            return Err(Failure("the disk is on fire"));
        }
        self.groups.fetch_add(1, Ordering::SeqCst);
        let mut entries = self.entries.lock().unwrap();
        let below = writes.iter().flat_map(|write| &write.entries).any(|entry| entry.index <= self.base().index);
        assert!(!below, "written below the base");
        entries.extend(writes.iter().flat_map(|write| &write.entries).map(|entry| (entry.index, entry.clone())));
        Ok(())
    }

    fn read(&self, range: RangeInclusive<LogIndex>, _: usize) -> Result<Vec<SharedEntry>, Failure> {
        Ok(self.entries.lock().unwrap().range(range).map(|(_, entry)| entry.clone()).collect())
    }

    fn trim(&self, base: LogPosition) -> Result<(), Failure> {
        if base.index > self.base().index {
            *self.base.lock().unwrap() = base;
            self.entries.lock().unwrap().retain(|index, _| *index > base.index);
        }
        Ok(())
    }

    fn restart_at(&self, _: LogPosition) -> Result<(), Failure> {
        Ok(())
    }
}

/// A machine that answers each command with the number of commands so far. A command `fail` breaks it.
#[derive(Default)]
pub struct Counter {
    pub count: u64,
    pub applied: AppliedState,
    pub flushed: Arc<AtomicBool>,
    pub flush_fails: bool,
    pub panics: bool,
    pub entries_per_batch: Option<usize>,
    /// Once it has applied so many commands, it wants the log's time forward; ticks count.
    pub wants_time_from: Option<u64>,
    pub ticks: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    type Error = Failure;

    fn applied(&self) -> Result<AppliedState, Failure> {
        Ok(self.applied.clone())
    }

    fn persisted(&self) -> Result<LogIndex, Failure> {
        Ok(LogIndex::ZERO)
    }

    fn apply(&mut self, entries: &[SharedEntry]) -> Result<Vec<Bytes>, Failure> {
        assert!(!self.panics, "asked to panic");
        let mut replies = Vec::new();
        for entry in entries.iter().take(self.entries_per_batch.unwrap_or(usize::MAX)) {
            if let Payload::Command { data, .. } = &entry.payload
                && data.0 == "fail"
            {
                return Err(Failure("the tables are gone"));
            }
            self.count += 1;
            self.ticks.fetch_add(u64::from(entry.payload == Payload::Tick), Ordering::SeqCst);
            self.applied.position = LogPosition { index: entry.index, ballot: entry.ballot };
            replies.push(Bytes::from(self.count.to_string()));
        }
        Ok(replies)
    }

    fn time_wanted(&self) -> Option<Duration> {
        self.wants_time_from.filter(|from| self.count >= *from).map(|_| Duration::from_secs(1))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.flush_fails {
            return Err(Failure("no room"));
        }
        self.flushed.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn reopened(&mut self) -> Result<AppliedState, Failure> {
        Ok(self.applied.clone())
    }

    fn digest(&self) -> Result<[u8; 32], Failure> {
        Ok([u8::try_from(self.count).unwrap_or(u8::MAX); 32])
    }
}

/// Nobody is out there.
#[derive(Default)]
pub struct NoPeers {
    closed: tokio::sync::Notify,
}

#[async_trait]
impl Transport for NoPeers {
    fn send(&self, _: NodeId, _: Lane, _: Bytes) {}

    async fn receive(&self, _: &mut Vec<Incoming>) -> bool {
        self.closed.notified().await;
        false
    }

    fn set_membership(&self, _: &Membership) {}

    async fn close(&self) {
        self.closed.notify_one();
    }
}

/// Starts a replica of these parts, with room for this many requests.
pub fn start(log: &Arc<MemoryLog>, machine: Counter, requests_max: usize) -> Replica {
    try_start(log, machine, requests_max).unwrap()
}

/// As `start`, for what may be refused.
pub fn try_start(
    log: &Arc<MemoryLog>,
    machine: Counter,
    requests_max: usize,
) -> Result<Replica, replica::ReplicaError> {
    let node = NodeId(1);
    let member = Member { address: "nowhere:1".into(), store: StoreId(1) };
    let config = ReplicaConfig {
        engine: EngineConfig {
            node,
            store: None,
            boot: 1,
            seed: 1,
            timing: Timing::default(),
            limits: Limits::default(),
        },
        founders: Membership::of_voters([(node, member)]),
        requests_max,
        snapshots: SnapshotSettings::on_demand(),
    };
    let transport = Arc::new(NoPeers::default());
    let parts = Parts { log: log.clone(), transport, machine, snapshots: Arc::new(NoSnapshots) };
    replica::start::<Solo, _, _, _, _>(config, parts)
}

/// Long enough that a test which needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
