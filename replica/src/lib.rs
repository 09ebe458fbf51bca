//! The driver: runs any [`Engine`] over any [`LogStore`], [`Transport`] and [`StateMachine`], and is the
//! [`ReplicatedLog`](consensus_api::ReplicatedLog).
//!
//! ```text
//!            Replica (handle)                      core       what decides the order of effects, free of I/O
//!                 │ requests                       driver     the task that owns the engine
//!                 ▼                                writer     one thread, one fsync for all that waits
//!   receiver ─▶ driver(core(engine)) ─▶ transport  applier    one thread, owns the state machine
//!                 │        │      │                reader     one thread, fetches old entries
//!               writer  applier  reader            recovery   from the disk to a running engine
//! ```
//!
//! A storage error, a broken invariant or a thread that ends stops the whole replica: it answers everything that waits
//! with the reason and takes nothing more.

mod applier;
pub mod clock;
mod completions;
pub mod core;
mod driver;
mod error;
mod handle;
mod pending;
mod reader;
mod receiver;
mod recovery;
mod writer;

use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread::JoinHandle;

use consensus_api::{Engine, EngineConfig, LogStore, Membership, StateMachine, Transport};
use tokio::sync::{mpsc, watch};

use crate::applier::Job;
use crate::completions::{Completion, Completions};
use crate::driver::{Driver, Outlook};
use crate::pending::Pending;

pub use error::ReplicaError;
pub use handle::Replica;
pub use recovery::recover;

/// What a replica is made of.
pub struct Parts<L, T, S> {
    /// The log.
    pub log: Arc<L>,
    /// The links to the peers.
    pub transport: Arc<T>,
    /// The state machine.
    pub machine: S,
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
}

/// A thread of the replica, and how its work ended.
type Worker = JoinHandle<Result<(), String>>;

/// The most messages of peers that wait for the engine's task.
const INBOX_MAX: usize = 4096;

/// Recovers what is on disk and starts the replica. Must be called within a tokio runtime.
pub fn start<E, L, T, S>(config: ReplicaConfig, parts: Parts<L, T, S>) -> Result<Replica, ReplicaError>
where
    E: Engine,
    L: LogStore,
    T: Transport,
    S: StateMachine,
{
    let ReplicaConfig { engine, founders, requests_max } = config;
    let (node, boot) = (engine.node, engine.boot);
    let Parts { log, transport, machine } = parts;
    let core = recover::<E, L, S>(engine, founders, &log, &machine, clock::now())?;
    transport.set_membership(&core.engine().status().membership);

    let pending = Arc::new(Pending::new(node, boot, requests_max));
    let outlook = Outlook::of(core.engine(), core.applied());
    let (request_sender, requests) = mpsc::channel(requests_max);
    let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
    let (completion_sender, completions) = mpsc::unbounded_channel();
    let completion_sender = Completions(completion_sender);
    let (writes, write_receiver) = threads::channel();
    let (jobs, job_receiver) = threads::channel();
    let (read_backs, read_back_receiver) = threads::channel();
    let (stopped_sender, stopped) = watch::channel(None);

    let workers = vec![
        thread("writer", &completion_sender, {
            let (log, completions) = (log.clone(), completion_sender.clone());
            move || writer::run(&log, &write_receiver, &completions)
        })?,
        thread("reader", &completion_sender, {
            let completions = completion_sender.clone();
            move || reader::run(&log, &read_back_receiver, &completions)
        })?,
        thread("applier", &completion_sender, {
            let (pending, completions) = (pending.clone(), completion_sender.clone());
            move || applier::run(machine, &job_receiver, &pending, &completions)
        })?,
    ];
    let receiving = {
        let transport = transport.clone();
        let ending = Ending { worker: "receiver", completions: completion_sender };
        tokio::spawn(async move {
            let _ending = ending;
            receiver::run::<E, T>(transport, inbox_sender).await;
        })
    };
    let driver = Driver {
        core,
        requests,
        inbox,
        completions,
        writes,
        jobs: jobs.clone(),
        read_backs,
        transport: transport.clone(),
        pending: pending.clone(),
        outlook: outlook.clone(),
        backlog: Default::default(),
    };
    tokio::spawn(supervise(driver, workers, jobs.clone(), pending.clone(), stopped_sender, receiving));
    Ok(Replica { engine_name: E::NAME, node, requests: request_sender, jobs, pending, outlook, stopped })
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
    jobs: threads::Sender<Job>,
    pending: Arc<Pending>,
    stopped: watch::Sender<Option<Result<(), String>>>,
    receiving: tokio::task::JoinHandle<()>,
) {
    let transport = driver.transport.clone();
    let mut outcome = match tokio::spawn(driver.run()).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(format!("an invariant of the engine is broken: {panic}")),
    };
    // The applier may have gone already, with the reason that brought us here.
    let _ = jobs.send(Job::Finish);
    let joined = tokio::task::spawn_blocking(move || workers.into_iter().map(JoinHandle::join).collect::<Vec<_>>());
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
