//! The driver: runs any [`Engine`] over any [`LogStore`], [`Transport`] and [`StateMachine`], and is the
//! [`ReplicatedLog`](consensus_api::ReplicatedLog).
//!
//! ```text
//!            Replica (handle)                      core       what decides the order of effects, free of I/O
//!                 │ requests                       driver     the task that owns the engine
//!                 ▼                                writer     one thread, one fsync for all that waits
//!   receiver ─▶ driver(core(engine)) ─▶ transport  applier    one thread, owns the state machine
//!                 │        │      │                reader     one thread, fetches old entries
//!               writer  applier  reader            snapshots  two threads: they take and trim, send and receive
//!                                                  transfer   how a snapshot travels, free of threads and clocks
//!                                                  recovery   from the disk to a running engine
//!                                                  members    the handle's way to other members, step by step
//!                                                  leadership the handle's way to another leader
//! ```
//!
//! A storage error, a broken invariant or a thread that ends stops the whole replica: it answers everything that waits
//! with the reason and takes nothing more.

mod applier;
pub mod clock;
mod completions;
pub mod core;
mod counters;
mod driver;
mod error;
mod handle;
mod leadership;
mod members;
mod part;
mod pending;
mod reader;
mod receiver;
mod recovery;
mod snapshots;
#[cfg(test)]
mod stage;
pub mod transfer;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc as threads;
use std::thread::JoinHandle;

use consensus_api::{
    Engine, EngineConfig, LogIndex, LogStore, Membership, ReadBack, SnapshotStore, StateMachine, Transport,
};
use tokio::sync::{mpsc, watch};

use crate::applier::{Applier, Job};
use crate::completions::{Completion, Completions};
use crate::driver::{Driver, Outlook};
use crate::handle::ANSWER_GRACE;
use crate::pending::Pending;
use crate::receiver::FromPeer;
use crate::snapshots::{Desk, Surroundings, Task};
use crate::writer::Change;

pub use counters::ReplicaCounts;
pub use error::ReplicaError;
pub use handle::Replica;
pub use recovery::recover;
pub use snapshots::{
    Installations, NoSnapshots, NoSnapshotsError, Policy, SnapshotSettings, trim_target, would_remove_what_is_sent,
};

/// What a replica is made of.
pub struct Parts<L, T, S, N> {
    /// The log.
    pub log: Arc<L>,
    /// The links to the peers.
    pub transport: Arc<T>,
    /// The state machine.
    pub machine: S,
    /// The snapshots of its tables; [`NoSnapshots`] where it has none.
    pub snapshots: Arc<N>,
}

/// The replica's own settings.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The engine's.
    pub engine: EngineConfig,
    /// The members until the log names others.
    pub founders: Membership,
    /// The most requests of this node's clients that wait for an answer.
    pub requests_max: usize,
    /// When snapshots are taken and how they travel.
    pub snapshots: SnapshotSettings,
}

/// A thread of the replica, and how its work ended.
type Worker = JoinHandle<Result<(), String>>;

/// The most messages of peers that wait for the engine's task.
const INBOX_MAX: usize = 4096;

/// Recovers what is on disk and starts the replica. Must be called within a tokio runtime.
pub fn start<E, L, T, S, N>(config: ReplicaConfig, parts: Parts<L, T, S, N>) -> Result<Replica, ReplicaError>
where
    E: Engine,
    L: LogStore,
    T: Transport,
    S: StateMachine,
    N: SnapshotStore,
{
    let ReplicaConfig { engine, founders, requests_max, snapshots: settings } = config;
    let (node, boot) = (engine.node, engine.boot);
    let patience = ANSWER_GRACE + engine.timing.election_timeout;
    let snapshot_error = |error: N::Error| ReplicaError::Snapshots(error.into());
    let installed = parts.snapshots.installed().map_err(snapshot_error)?;
    let kept = parts.snapshots.kept().map_err(snapshot_error)?;
    let core = recover::<E, L, S>(engine, founders, &parts.log, &parts.machine, installed, clock::now())?;
    // One that was received and not installed covers what this node has yet to apply.
    let covered = kept.iter().map(|manifest| manifest.position.index).find(|index| *index <= core.applied());
    let newest = covered.unwrap_or_default();
    // Those in force; where others have a say too, or have yet to be told, the engine's first effects name all of them.
    parts.transport.set_membership(&core.engine().status().membership);

    let transport = parts.transport.clone();
    let pending = Arc::new(Pending::new(node, boot, requests_max));
    let outlook = Outlook::of(&core, newest);
    let (completion_sender, completions) = mpsc::unbounded_channel();
    let completion_sender = Completions(completion_sender);
    let Threads { workers, changes, jobs, read_backs, desk } =
        start_threads(parts, settings, (core.applied(), newest), &pending, &completion_sender, &outlook)?;

    let (request_sender, requests) = mpsc::channel(requests_max);
    let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
    let (stopped_sender, stopped) = watch::channel(None);
    let ends = Ends { jobs: jobs.clone(), tasks: desk.tasks.clone() };
    let receiving = listen::<E, T>(transport.clone(), inbox_sender, desk.tasks.clone(), completion_sender);
    let driver = Driver {
        node,
        core,
        requests,
        inbox,
        completions,
        changes,
        jobs: jobs.clone(),
        read_backs,
        transport,
        pending: pending.clone(),
        outlook: outlook.clone(),
        backlog: Default::default(),
        snapshots: desk,
    };
    tokio::spawn(supervise(driver, workers, ends, pending.clone(), stopped_sender, receiving));
    Ok(Replica { engine_name: E::NAME, node, patience, requests: request_sender, jobs, pending, outlook, stopped })
}

/// The threads beside the engine's task, and the ways to reach them.
struct Threads {
    workers: Vec<Worker>,
    changes: threads::Sender<Change>,
    jobs: threads::Sender<Job>,
    read_backs: threads::Sender<ReadBack>,
    desk: Desk,
}

/// Starts them over these parts. The tables have applied the first index, and the newest snapshot covers the second.
fn start_threads<L: LogStore, T: Transport, S: StateMachine, N: SnapshotStore>(
    parts: Parts<L, T, S, N>,
    settings: SnapshotSettings,
    (applied, newest): (LogIndex, LogIndex),
    pending: &Arc<Pending>,
    completions: &Completions,
    outlook: &Outlook,
) -> Result<Threads, ReplicaError> {
    let Parts { log, transport, machine, snapshots } = parts;
    let (changes, change_receiver) = threads::channel();
    let (jobs, job_receiver) = threads::channel();
    let (read_backs, read_back_receiver) = threads::channel();
    let applied = Arc::new(AtomicU64::new(applied.0));
    let around = Surroundings {
        store: snapshots.clone(),
        log: log.clone(),
        transport,
        jobs: jobs.clone(),
        completions: completions.clone(),
        applied: applied.clone(),
    };
    let (desk, taker, mover) = snapshots::rooms(settings, newest, around);
    let applier = Applier {
        machine,
        snapshots,
        pending: pending.clone(),
        completions: completions.clone(),
        tasks: desk.tasks.clone(),
        applied,
        counters: outlook.counters.clone(),
        epoch: 0,
        time_wanted: None,
    };
    let workers = vec![
        thread("writer", completions, {
            let (log, completions) = (log.clone(), completions.clone());
            move || writer::run(&log, &change_receiver, &completions)
        })?,
        thread("reader", completions, {
            let completions = completions.clone();
            move || reader::run(&log, &read_back_receiver, &completions)
        })?,
        thread("applier", completions, move || applier.run(&job_receiver))?,
        thread("snapshots", completions, move || taker.run())?,
        thread("transfers", completions, move || mover.run())?,
    ];
    Ok(Threads { workers, changes, jobs, read_backs, desk })
}

/// Starts to take in what peers send.
fn listen<E: Engine, T: Transport>(
    transport: Arc<T>,
    inbox: mpsc::Sender<FromPeer<E::Message>>,
    tasks: threads::SyncSender<Task>,
    completions: Completions,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let _ending = Ending { worker: "receiver", completions };
        receiver::run::<E, T>(transport, inbox, tasks).await;
    })
}

/// The threads that are told to end; the others end when nobody is left to tell them anything.
struct Ends {
    jobs: threads::Sender<Job>,
    tasks: threads::SyncSender<Task>,
}

/// Starts a thread whose end, a panic included, the driver hears of at once.
fn thread(
    worker: &'static str,
    completions: &Completions,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<Worker, std::io::Error> {
    let completions = completions.clone();
    std::thread::Builder::new().name(worker.into()).spawn(move || {
        let _ending = Ending { worker, completions: completions.clone() };
        let outcome = work();
        if let Err(reason) = &outcome {
            completions.send(Completion::Fatal(reason.clone()));
        }
        outcome
    })
}

/// Reports, when it is dropped, that a worker has ended. Where that was in order the driver has ended before it, and
/// nobody listens; where the worker has given its own reason, that came first.
struct Ending {
    worker: &'static str,
    completions: Completions,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.completions.send(Completion::Fatal(format!("the {} has ended", self.worker)));
    }
}

/// Waits for the engine's task to end, however it ends, and takes the rest down in order: what was committed is applied
/// and flushed, whoever waits is told, the links are closed.
async fn supervise<E: Engine, T: Transport>(
    driver: Driver<E, T>,
    workers: Vec<Worker>,
    ends: Ends,
    pending: Arc<Pending>,
    stopped: watch::Sender<Option<Result<(), String>>>,
    receiving: tokio::task::JoinHandle<()>,
) {
    let transport = driver.transport.clone();
    let mut outcome = match tokio::spawn(driver.run()).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(format!("an invariant of the engine is broken: {panic}")),
    };
    let joined = tokio::task::spawn_blocking(move || {
        // They may have gone already, with the reason that brought us here.
        let _ = ends.jobs.send(Job::Finish);
        let _ = ends.tasks.send(Task::Finish);
        workers.into_iter().map(JoinHandle::join).collect::<Vec<_>>()
    });
    for ended in joined.await.unwrap_or_default() {
        // What failed after the driver had ended would otherwise be heard by nobody.
        outcome = outcome.and(ended.unwrap_or_else(|_| Err("a thread of the replica panicked".into())));
    }
    match &outcome {
        Ok(()) => tracing::info!("replica stopped"),
        Err(reason) => tracing::error!(%reason, "replica stopped"),
    }
    pending.stop(outcome.as_ref().err().map_or("it was asked to stop", String::as_str));
    transport.close().await;
    receiving.abort();
    stopped.send_replace(Some(outcome));
}
