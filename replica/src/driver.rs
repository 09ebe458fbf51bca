//! The task that owns the engine.
//!
//! ```text
//!   clients ───▶┐                        ┌──▶ writer thread ──▶ Persisted ──┐
//!   peers ─────▶├─▶ step × n ─▶ take ────┼──▶ transport                     │
//!   threads ───▶┘     ▲                  ├──▶ applier thread ─▶ Applied ────┤
//!                     │                  └──▶ reader thread ──▶ EntriesRead ┤
//!                     └─────────────────────────────────────────────────────┘
//! ```
//!
//! It steps the engine through everything that waits and only then hands out the effects, in the order of
//! [`crate::core`]. There is no linger timer: while the disk is busy inputs gather into a batch, and an idle system
//! answers at once.

use std::collections::VecDeque;
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use consensus_api::{
    Engine, EngineStatus, Input, LogIndex, LogPosition, Membership, NodeId, Outgoing, ReadBack, ReadMode, Refusal,
    Refused, RequestId, RoleChange, SendSnapshot, SharedEntry, Transport, Write, WriteId, codec,
};
use tokio::sync::{mpsc, watch};

use crate::applier::Job;
use crate::clock;
use crate::completions::Completion;
use crate::core::{Core, Outlet};
use crate::counters::Counters;
use crate::part;
use crate::pending::{Answer, Pending};
use crate::receiver::FromPeer;
use crate::snapshots::{Demand, Desk};
use crate::writer::Change;

/// What a client of this node wants of the engine.
pub(crate) enum Request {
    Propose { id: RequestId, data: bytes::Bytes },
    Read { id: RequestId, mode: ReadMode },
    ChangeMembership { id: RequestId, target: Arc<Membership> },
    TransferLeadership { id: RequestId, to: Option<NodeId> },
    Campaign,
    Snapshot(Demand),
    Stop,
}

/// The most inputs of one kind that are taken in before the effects are handed out.
const INPUTS_PER_BATCH_MAX: usize = 8192;

/// What the engine's task receives from and what it hands its effects to.
pub(crate) struct Driver<E: Engine, T: Transport> {
    pub(crate) node: NodeId,
    pub(crate) core: Core<E>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) inbox: mpsc::Receiver<FromPeer<E::Message>>,
    pub(crate) completions: mpsc::UnboundedReceiver<Completion>,
    pub(crate) changes: threads::Sender<Change>,
    pub(crate) jobs: threads::Sender<Job>,
    pub(crate) read_backs: threads::Sender<ReadBack>,
    pub(crate) transport: Arc<T>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) outlook: Outlook,
    pub(crate) backlog: Backlog,
    pub(crate) snapshots: Desk,
}

/// The most bytes of entries that wait for this node's disk while it still takes proposals of its own clients. A quorum
/// may go on without this disk. An engine that counts what waits for it refuses sooner, forwarded proposals too.
const BACKLOG_BYTES_MAX: usize = 256 << 20;

/// What was handed to the writer and is not durable yet.
#[derive(Default)]
pub(crate) struct Backlog {
    writes: VecDeque<(WriteId, usize)>,
    bytes: usize,
}

impl Backlog {
    fn written(&mut self, write: &Write) {
        let bytes = write.entries.iter().map(|entry| entry.size_bytes()).sum();
        self.writes.push_back((write.id, bytes));
        self.bytes += bytes;
    }

    fn persisted(&mut self, through: WriteId) {
        while let Some((write, bytes)) = self.writes.front().copied()
            && write <= through
        {
            self.writes.pop_front();
            self.bytes -= bytes;
        }
    }
}

/// How the replica stands.
#[derive(Clone)]
pub(crate) struct Standing {
    pub(crate) engine: EngineStatus,
    pub(crate) applied_index: LogIndex,
    pub(crate) snapshot_index: LogIndex,
}

/// What others may see of the engine without asking its task.
#[derive(Clone)]
pub(crate) struct Outlook {
    pub(crate) status: Arc<Mutex<Standing>>,
    pub(crate) role: Arc<watch::Sender<RoleChange>>,
    pub(crate) members: Arc<watch::Sender<Members>>,
    pub(crate) counters: Arc<Counters>,
}

/// The members in force, for whoever waits for others.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    pub(crate) present: Arc<Membership>,
    /// Whether a change of them is under way.
    pub(crate) is_changing: bool,
}

impl Members {
    pub(crate) fn of(engine: &EngineStatus) -> Members {
        Members { present: engine.membership.clone(), is_changing: engine.is_changing }
    }

    /// Whether the engine has others by now. Two that have the same version may differ: one of them was never committed.
    fn are_outdated_by(&self, engine: &EngineStatus) -> bool {
        let same = Arc::ptr_eq(&self.present, &engine.membership) || self.present == engine.membership;
        !same || self.is_changing != engine.is_changing
    }
}

impl Outlook {
    pub(crate) fn of<E: Engine>(core: &Core<E>, snapshot_index: LogIndex) -> Outlook {
        let engine = core.engine().status();
        let role = RoleChange { role: engine.role, leader: engine.leader, ballot: engine.ballot };
        Outlook::new(Standing { engine, applied_index: core.applied(), snapshot_index }, role)
    }

    pub(crate) fn new(standing: Standing, role: RoleChange) -> Outlook {
        let members = Arc::new(watch::Sender::new(Members::of(&standing.engine)));
        Outlook {
            status: Arc::new(Mutex::new(standing)),
            role: Arc::new(watch::Sender::new(role)),
            members,
            counters: Arc::default(),
        }
    }

    pub(crate) fn read(&self) -> Standing {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write(&self, standing: Standing) {
        let engine = &standing.engine;
        let members = Members::of(engine);
        let is_news = self.members.borrow().are_outdated_by(engine);
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        if is_news {
            self.members.send_replace(members);
        }
    }
}

impl<E: Engine, T: Transport> Driver<E, T> {
    /// Runs until it is told to stop (`Ok`) or cannot go on (the reason).
    pub(crate) async fn run(mut self) -> Result<(), String> {
        loop {
            let wait = self.core.engine().deadline().since(clock::now()).min(Duration::from_secs(1));
            let mut batch: Vec<Input<E::Message>> = Vec::new();
            let mut stop = false;
            tokio::select! {
                biased;
                Some(completion) = self.completions.recv() => batch.extend(self.complete(completion)?),
                Some(peer) = self.inbox.recv() => batch.push(Input::Message { from: peer.from, message: peer.message }),
                request = self.requests.recv() => match request.unwrap_or(Request::Stop) {
                    Request::Stop => stop = true,
                    request => batch.extend(self.request(request)),
                },
                () = tokio::time::sleep(wait) => batch.push(Input::Tick),
            }
            stop |= self.gather(&mut batch)?;
            if stop {
                return Ok(());
            }
            // Read after everything in the batch has arrived, so that a pause is seen before anything is answered.
            let now = clock::now();
            for input in batch {
                match &input {
                    Input::Persisted { write } => self.backlog.persisted(*write),
                    Input::Propose { id, .. } if self.backlog.bytes > BACKLOG_BYTES_MAX => {
                        self.pending.answer([(*id, Answer::Refused(Refusal::Busy))]);
                        continue;
                    }
                    _ => {}
                }
                self.core.step(now, input);
            }
            let actions = self.core.take();
            // Before anybody is answered: who hears that something is done finds it in the status.
            self.outlook.write(Standing {
                engine: self.core.engine().status(),
                applied_index: self.core.applied(),
                snapshot_index: self.snapshots.policy.last(),
            });
            if let Err(reason) = actions.hand_out(&mut self) {
                return Err(self.reported().await.unwrap_or(reason));
            }
            if self.snapshots.policy.is_due(now, self.core.applied()) {
                self.snapshots.order(None);
            }
            self.snapshots.answer();
        }
    }

    /// Why a thread has ended, as it tells itself. Its channel closes a moment before its report arrives, and the report
    /// says what the operator must know: a full disk, and not the end of a thread.
    async fn reported(&mut self) -> Option<String> {
        while let Some(completion) = self.completions.recv().await {
            if let Completion::Fatal(reason) = completion {
                return Some(reason);
            }
        }
        None
    }

    /// Adds what else waits; true where a stop is among it.
    fn gather(&mut self, batch: &mut Vec<Input<E::Message>>) -> Result<bool, String> {
        for _ in 0..INPUTS_PER_BATCH_MAX {
            let Ok(completion) = self.completions.try_recv() else { break };
            batch.extend(self.complete(completion)?);
        }
        for _ in 0..INPUTS_PER_BATCH_MAX {
            let Ok(peer) = self.inbox.try_recv() else { break };
            batch.push(Input::Message { from: peer.from, message: peer.message });
        }
        for _ in 0..INPUTS_PER_BATCH_MAX {
            match self.requests.try_recv() {
                Ok(Request::Stop) => return Ok(true),
                Ok(request) => batch.extend(self.request(request)),
                Err(_) => break,
            }
        }
        Ok(false)
    }

    /// What a thread's report means to the engine, if anything; or the reason to stop.
    fn complete(&mut self, completion: Completion) -> Result<Option<Input<E::Message>>, String> {
        match completion {
            Completion::Persisted(write) => return Ok(Some(Input::Persisted { write })),
            Completion::Applied(through) => {
                self.snapshots.installations.applied(through);
                return Ok(Some(Input::Applied { through }));
            }
            Completion::EntriesRead(id, entries) => return Ok(Some(Input::EntriesRead { id, entries })),
            Completion::Trimmed(base) => return Ok(Some(self.trimmed(base))),
            Completion::TrimWanted(position) if self.snapshots.installations.may_trim(position) => {
                self.trim(position)?
            }
            Completion::TrimWanted(_) => {}
            Completion::Taken { outcome, demands } => self.snapshots.taken(clock::now(), outcome, demands),
            Completion::Installed(state) => {
                self.snapshots.policy.taken(state.position.index);
                self.trim(state.position)?;
                self.snapshots.installations.installed(state);
            }
            Completion::TimeWanted(every) => return Ok(Some(Input::KeepTime { every })),
            Completion::Fatal(reason) => return Err(reason),
        }
        Ok(None)
    }

    fn trim(&self, position: LogPosition) -> Result<(), String> {
        self.changes.send(Change::Trim(position)).map_err(|_| gone("writer"))
    }

    /// The log begins after `base`: by a snapshot that was installed, or behind one that was taken.
    fn trimmed(&mut self, base: LogPosition) -> Input<E::Message> {
        tracing::debug!(base = base.index.0, "log trimmed");
        let present = || self.core.engine().status().membership;
        self.snapshots.installations.trimmed(base, present)
    }

    /// What a client's request means to the engine, if anything.
    fn request(&mut self, request: Request) -> Option<Input<E::Message>> {
        Some(match request {
            Request::Propose { id, data } => Input::Propose { id, data: consensus_api::Blob(data) },
            Request::Read { id, mode } => Input::Read { id, mode },
            Request::ChangeMembership { id, target } => Input::ChangeMembership { id, target },
            Request::TransferLeadership { id, to } => Input::TransferLeadership { id, to },
            Request::Campaign => Input::Campaign,
            Request::Snapshot(demand) => {
                self.snapshots.order(Some(demand));
                return None;
            }
            // The loop looks for it before it comes here.
            Request::Stop => return None,
        })
    }
}

/// A thread that ended reports why, and that report is on its way.
fn gone(thread: &str) -> String {
    format!("the {thread} thread has ended")
}

impl<E: Engine, T: Transport> Outlet<E::Message> for Driver<E, T> {
    type Stop = String;

    fn change_role(&mut self, change: RoleChange) -> Result<(), String> {
        let before = *self.outlook.role.borrow();
        let role = part::name(self.node, &before, &change);
        tracing::info!(role, leader = change.leader.map(|node| node.0), ballot = %change.ballot, "role");
        part::count(&self.outlook.counters, &before, &change);
        self.outlook.role.send_replace(change);
        Ok(())
    }

    fn change_contacts(&mut self, contacts: &Membership) -> Result<(), String> {
        tracing::info!(members = ?contacts.members.keys().map(|node| node.0).collect::<Vec<_>>(), "contacts");
        self.transport.set_membership(contacts);
        self.snapshots.contacts(contacts);
        Ok(())
    }

    fn write(&mut self, write: Write) -> Result<(), String> {
        self.backlog.written(&write);
        self.changes.send(Change::Write(write)).map_err(|_| gone("writer"))
    }

    fn send(&mut self, messages: Vec<Outgoing<E::Message>>) -> Result<(), String> {
        for outgoing in messages {
            match codec::encode(&outgoing.message) {
                Ok(payload) => self.transport.send(outgoing.to, outgoing.lane, payload),
                Err(error) => tracing::error!(to = outgoing.to.0, %error, "message not encoded"),
            }
        }
        Ok(())
    }

    fn apply(&mut self, entries: Vec<SharedEntry>) -> Result<(), String> {
        self.snapshots.policy.count(&entries);
        self.jobs.send(Job::Apply { epoch: self.snapshots.installations.epoch(), entries }).map_err(|_| gone("applier"))
    }

    fn serve(&mut self, reads: Vec<RequestId>) -> Result<(), String> {
        let applied = self.core.applied();
        self.pending.answer(reads.into_iter().map(|id| (id, Answer::Ready(applied))));
        Ok(())
    }

    fn refuse(&mut self, refused: Vec<Refused>) -> Result<(), String> {
        self.pending.answer(refused.into_iter().map(|refused| (refused.id, Answer::Refused(refused.reason))));
        Ok(())
    }

    fn read_back(&mut self, wanted: ReadBack) -> Result<(), String> {
        self.read_backs.send(wanted).map_err(|_| gone("reader"))
    }

    fn send_snapshot(&mut self, wanted: SendSnapshot) -> Result<(), String> {
        self.snapshots.send(wanted);
        Ok(())
    }
}
