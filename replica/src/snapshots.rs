//! Snapshots of a running replica: when they are taken, how far the log is trimmed behind them, how one that a peer has
//! sent takes the place of the tables.
//!
//! ```text
//!            ┌── policy: so many entries or bytes ──▶ snapshots thread ── take ──▶ Taken
//!   driver ──┤                                             └── how far to trim ──▶ TrimWanted ──▶ writer ──▶ Trimmed
//!            ├── SendSnapshot ──▶ transfers thread ◀══ bulk lane ══▶ peers
//!            │                          └─ Install ─▶ applier: tables swapped ──▶ Installed
//!            └── Installed ──▶ writer: log.trim ──▶ Trimmed ──▶ SnapshotInstalled ──▶ engine
//! ```
//!
//! The log is trimmed by the thread that writes it, and whether at all is for the driver to say: it knows what the
//! engine has heard. Between an installation and the moment the engine hears of it the engine still hands out entries
//! of the log that the tables have left behind, or numbers that the tables have yet to come to again. So entries carry
//! the number of installations that the engine has heard of, and the applier passes over those of an earlier one.
//!
//! A snapshot that cannot be taken or received is tried again later, and everything else goes on.

mod installations;
mod moving;
mod policy;
mod taking;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as threads, Sender, SyncSender};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consensus_api::{
    LogIndex, LogPosition, LogStore, Membership, MonoTime, SendSnapshot, SnapshotId, SnapshotManifest, SnapshotStore,
    Transport,
};

pub use crate::snapshots::installations::Installations;
pub use crate::snapshots::policy::{Policy, SnapshotSettings, trim_target, would_remove_what_is_sent};
pub(crate) use moving::{Mover, Task};
pub(crate) use taking::{Demand, Order, Taker};

use crate::applier::Job;
use crate::completions::{Completions, Taken};
use crate::transfer::{Courier, Held};

/// What the transfers hold back, as the thread that takes and trims sees it.
pub(crate) type SharedHeld = Arc<Mutex<Held>>;

/// The most messages of transfers that wait for their thread. What is beyond is dropped, and asked for again.
const TASKS_MAX: usize = 64;

/// What snapshots need of the rest of the replica.
pub(crate) struct Surroundings<L, T, N> {
    pub(crate) store: Arc<N>,
    pub(crate) log: Arc<L>,
    pub(crate) transport: Arc<T>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) completions: Completions,
    /// What the applier has applied, for all to see.
    pub(crate) applied: Arc<AtomicU64>,
}

/// The driver's side, and the work of the two threads; `newest` is what the newest snapshot covers.
pub(crate) fn rooms<L: LogStore, T: Transport, N: SnapshotStore>(
    settings: SnapshotSettings,
    newest: LogIndex,
    around: Surroundings<L, T, N>,
) -> (Desk, Taker<L, N>, Mover<N, T>) {
    let Surroundings { store, log, transport, jobs, completions, applied: shared } = around;
    let applied = LogIndex(shared.load(Ordering::Acquire));
    let held = SharedHeld::default();
    let (orders, to_taker) = threads::channel();
    let (tasks, to_mover) = threads::sync_channel(TASKS_MAX);
    let taker = Taker {
        orders: to_taker,
        store: store.clone(),
        log,
        jobs: jobs.clone(),
        held: held.clone(),
        tail_entries: settings.tail_entries,
        completions,
    };
    let policy = Policy::new(&settings, newest, applied);
    let courier = Courier::new(store, settings.transfer, applied);
    let mover = Mover { tasks: to_mover, courier, transport, jobs, orders: orders.clone(), held, applied: shared };
    (Desk { policy, orders, tasks, installations: Installations::new(applied), answers: Vec::new() }, taker, mover)
}

/// The driver's side of it.
pub(crate) struct Desk {
    pub(crate) policy: Policy,
    pub(crate) orders: Sender<Order>,
    pub(crate) tasks: SyncSender<Task>,
    /// Those that the engine has yet to hear of.
    pub(crate) installations: Installations,
    /// Who is to be told what became of the snapshot that they asked for, once the status tells it too.
    answers: Vec<(Demand, Result<LogIndex, String>)>,
}

impl Desk {
    /// Has a snapshot taken. Where the thread is gone its end is on its way.
    pub(crate) fn order(&self, demand: Option<Demand>) {
        let _ = self.orders.send(Order::Take(demand));
    }

    /// One was taken, or not, and these wait for it.
    pub(crate) fn taken(&mut self, now: MonoTime, outcome: Taken, demands: Vec<Demand>) {
        let answer = match outcome {
            Taken::Covers(index) => {
                self.policy.taken(index);
                Ok(index)
            }
            Taken::Later => return self.policy.postponed(now),
            Taken::Failed(reason) => {
                self.policy.failed(now);
                Err(reason)
            }
        };
        self.answers.extend(demands.into_iter().map(|demand| (demand, answer.clone())));
    }

    /// Tells those who have waited.
    pub(crate) fn answer(&mut self) {
        for (demand, outcome) in self.answers.drain(..) {
            // Nobody receives when the asker gave up meanwhile.
            let _ = demand.send(outcome);
        }
    }

    /// Ends what is on its way to whoever is no contact any more. Where too much waits it ends by their silence.
    pub(crate) fn contacts(&self, contacts: &Membership) {
        let _ = self.tasks.try_send(Task::Contacts(contacts.clone()));
    }

    /// Has a snapshot sent. Where too much waits it is asked for again.
    pub(crate) fn send(&self, wanted: SendSnapshot) {
        let _ = self.tasks.try_send(Task::Wanted(wanted));
    }
}

/// The store of a state machine that has no snapshots: its log is never trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSnapshots;

/// This state machine has no snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this state machine has no snapshots; give the replica a store of them")]
pub struct NoSnapshotsError;

impl SnapshotStore for NoSnapshots {
    type Error = NoSnapshotsError;

    fn take(&self) -> Result<Arc<SnapshotManifest>, NoSnapshotsError> {
        Err(NoSnapshotsError)
    }

    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, NoSnapshotsError> {
        Ok(Vec::new())
    }

    fn read(&self, _: SnapshotId, _: u64, _: usize) -> Result<Option<Bytes>, NoSnapshotsError> {
        Ok(None)
    }

    fn receive(&self, _: &SnapshotManifest) -> Result<u64, NoSnapshotsError> {
        Err(NoSnapshotsError)
    }

    fn append(&self, _: SnapshotId, _: u64, _: &[u8]) -> Result<u64, NoSnapshotsError> {
        Err(NoSnapshotsError)
    }

    fn give_up(&self) {}

    fn install(&self, _: SnapshotId) -> Result<(), NoSnapshotsError> {
        Err(NoSnapshotsError)
    }

    fn is_final(&self, _: &NoSnapshotsError) -> bool {
        false
    }

    fn installed(&self) -> Result<Option<LogPosition>, NoSnapshotsError> {
        Ok(None)
    }
}
