//! The snapshots thread: takes them beside everything else, and finds out how far the log may be trimmed behind.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, PoisonError};

use consensus_api::{LogIndex, LogPosition, LogStore, SnapshotStore};
use tokio::sync::oneshot;

use super::{SharedHeld, trim_target, would_remove_what_is_sent};
use crate::applier::Job;
use crate::completions::{Completion, Completions, Taken};
use crate::transfer::Held;

/// Who waits for a snapshot: told what it covers, or why there is none.
pub(crate) type Demand = oneshot::Sender<Result<LogIndex, String>>;

/// What the thread is asked.
pub(crate) enum Order {
    /// Take one; somebody may wait for it.
    Take(Option<Demand>),
}

/// What the thread works with.
pub(crate) struct Taker<L, N> {
    pub(crate) orders: Receiver<Order>,
    pub(crate) store: Arc<N>,
    pub(crate) log: Arc<L>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) held: SharedHeld,
    pub(crate) tail_entries: u64,
    pub(crate) completions: Completions,
}

impl<L: LogStore, N: SnapshotStore> Taker<L, N> {
    /// Takes what is asked for until the senders are gone. Only a log that cannot be read is final, and tables that failed.
    pub(crate) fn run(self) -> Result<(), String> {
        // The last life may have ended between a snapshot and the trimming.
        self.trim()?;
        while let Ok(Order::Take(first)) = self.orders.recv() {
            // Whoever waits by now shares one. Who comes while it is taken gets the next: what they have seen
            // acknowledged need not be in this one.
            let more = self.orders.try_iter().map(|Order::Take(demand)| demand);
            let demands: Vec<Demand> = [first].into_iter().chain(more).flatten().collect();
            let outcome = self.take(!demands.is_empty())?;
            let is_taken = matches!(outcome, Taken::Covers(_));
            self.completions.send(Completion::Taken { outcome, demands });
            if is_taken {
                self.trim()?;
            }
        }
        Ok(())
    }

    /// Takes one, or tells why not; fails where the replica cannot go on.
    fn take(&self, is_demanded: bool) -> Result<Taken, String> {
        let kept = self.store.kept().unwrap_or_default();
        if !is_demanded && would_remove_what_is_sent(&kept, &self.held()) {
            tracing::debug!("snapshot put off, the one it would remove is on its way to a peer");
            return Ok(Taken::Later);
        }
        match self.store.take() {
            Ok(manifest) => {
                let index = manifest.position.index;
                tracing::info!(index = index.0, bytes = manifest.bytes(), "snapshot taken");
                Ok(Taken::Covers(index))
            }
            Err(error) if self.store.is_final(&error) => Err(format!("the tables failed under a snapshot: {error}")),
            Err(error) => {
                tracing::error!(%error, "snapshot not taken");
                Ok(Taken::Failed(error.to_string()))
            }
        }
    }

    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the log trimmed as far as that is safe.
    fn trim(&self) -> Result<(), String> {
        let kept = match self.store.kept() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "kept snapshots not listed, log not trimmed");
                return Ok(());
            }
        };
        let mut kept = kept.iter().map(|manifest| manifest.position.index);
        let (newest, older) = (kept.next(), kept.next());
        let (Some(newest), Some(persisted)) = (newest, self.persisted()) else { return Ok(()) };
        let target = trim_target(newest, older, self.tail_entries, persisted, &self.held());
        if target <= self.log.base().index {
            return Ok(());
        }
        let entries = self.log.read(target..=target, 0).map_err(|error| format!("log read failed: {error}"))?;
        // Nothing stands there where another snapshot was installed meanwhile, and the log trimmed to that.
        if let Some(entry) = entries.first() {
            let position = LogPosition { index: entry.index, ballot: entry.ballot };
            self.completions.send(Completion::TrimWanted(position));
        }
        Ok(())
    }

    /// What the tables would keep through a power loss; `None` once the applier is gone.
    fn persisted(&self) -> Option<LogIndex> {
        let (reply, persisted) = std::sync::mpsc::channel();
        self.jobs.send(Job::Persisted(reply)).ok()?;
        persisted.recv().ok()
    }
}
