//! The transfers thread: runs the [`Courier`] over the bulk lane, beside the engine's task, so that neither a disk nor a
//! checksum holds up a heartbeat.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use consensus_api::{Lane, LogIndex, Membership, NodeId, SendSnapshot, SnapshotId, SnapshotStore, Transport, codec};

use super::SharedHeld;
use crate::applier::Job;
use crate::clock;
use crate::snapshots::Order;
use crate::transfer::{Courier, TransferMessage};

/// What the thread is told.
pub(crate) enum Task {
    /// A peer says something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: TransferMessage,
    },
    /// The engine wants a peer to have a snapshot.
    Wanted(SendSnapshot),
    /// The applier has installed one, or something newer is applied, up to here; or it could not.
    Installed {
        /// Which one.
        id: SnapshotId,
        /// How it ended.
        outcome: Result<LogIndex, String>,
    },
    /// With whom to be in touch from now on.
    Contacts(Membership),
    /// End.
    Finish,
}

/// How long the thread waits at most before it looks again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What the thread works with.
pub(crate) struct Mover<N, T> {
    pub(crate) tasks: Receiver<Task>,
    pub(crate) courier: Courier<N>,
    pub(crate) transport: Arc<T>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) orders: Sender<Order>,
    pub(crate) held: SharedHeld,
    pub(crate) applied: Arc<AtomicU64>,
}

impl<N: SnapshotStore, T: Transport> Mover<N, T> {
    /// Moves snapshots until told to finish or the senders are gone.
    pub(crate) fn run(mut self) -> Result<(), String> {
        loop {
            self.work();
            let wait = self.courier.deadline().since(clock::now()).min(WAIT_MAX);
            match self.tasks.recv_timeout(wait) {
                Ok(Task::Finish) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(task) => self.take_in(task),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take_in(&mut self, task: Task) {
        self.courier.applied(LogIndex(self.applied.load(Ordering::Acquire)));
        match task {
            Task::Message { from, message } => self.courier.hear(clock::now(), from, message),
            Task::Contacts(contacts) => self.courier.stay_with(&contacts),
            Task::Wanted(wanted) => self.courier.wanted(clock::now(), wanted),
            Task::Installed { id, outcome } => self.courier.installed(id, outcome),
            // The loop looks for it before it comes here.
            Task::Finish => {}
        }
        // Before anything of it is read: what is sent from now on must not be removed or trimmed past.
        self.publish();
    }

    fn publish(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = self.courier.held(clock::now());
    }

    fn work(&mut self) {
        self.courier.applied(LogIndex(self.applied.load(Ordering::Acquire)));
        let work = self.courier.work(clock::now());
        for (to, message) in work.messages {
            match codec::encode(&message) {
                Ok(payload) => self.transport.send(to, Lane::Bulk, payload),
                Err(error) => tracing::error!(to = to.0, %error, "message not encoded"),
            }
        }
        // Where one of those threads has ended, the replica is about to.
        if let Some(manifest) = work.install {
            let _ = self.jobs.send(Job::Install(manifest));
        }
        if work.take {
            let _ = self.orders.send(Order::Take(None));
        }
        self.publish();
    }
}
