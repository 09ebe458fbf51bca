//! The applier thread: owns the state machine, applies committed entries in batches and answers their proposers; tells
//! the engine how often the machine wants the log's time forward; and puts a snapshot in the place of the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::Duration;

use consensus_api::{Applied, LogIndex, SharedEntry, SnapshotManifest, SnapshotStore, StateMachine};
use tokio::sync::oneshot;

use crate::completions::{Completion, Completions};
use crate::counters::Counters;
use crate::pending::{Answer, Pending};
use crate::snapshots::Task;

/// What the applier is asked.
pub(crate) enum Job {
    /// Apply these, the next in order.
    Apply {
        /// How many installations the engine had heard of when it handed them out.
        epoch: u64,
        /// The entries.
        entries: Vec<SharedEntry>,
    },
    /// Put this snapshot, which was received, in the place of the tables.
    Install(Arc<SnapshotManifest>),
    /// Tell the last index that the tables would keep through a power loss.
    Persisted(Sender<LogIndex>),
    /// Tell the applied index and the digest of the tables there.
    Digest(oneshot::Sender<(LogIndex, [u8; 32])>),
    /// Make what is applied durable, and end.
    Finish,
}

/// The most entries in one batch; what waits beyond it is the next one.
const ENTRIES_PER_BATCH_MAX: usize = 4096;

/// What the thread works with.
pub(crate) struct Applier<S, N> {
    pub(crate) machine: S,
    pub(crate) snapshots: Arc<N>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) completions: Completions,
    pub(crate) tasks: SyncSender<Task>,
    /// What is applied, for the transfers to see.
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) counters: Arc<Counters>,
    /// How many snapshots were installed.
    pub(crate) epoch: u64,
    /// How often the engine was told that the machine wants the log's time forward.
    pub(crate) time_wanted: Option<Duration>,
}

impl<S: StateMachine, N: SnapshotStore> Applier<S, N> {
    /// Applies until told to finish, until the senders are gone, or until the machine fails, which is final.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) -> Result<(), String> {
        self.tell_time_wanted();
        let mut put_back = None;
        while let Some(job) = put_back.take().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Apply { epoch, .. } if epoch != self.epoch => {}
                Job::Apply { mut entries, .. } => {
                    put_back = self.gather(&mut entries, jobs);
                    let mut rest = &entries[..];
                    while !rest.is_empty() {
                        let count = self.apply(rest).map_err(failed)?;
                        rest = &rest[count..];
                    }
                }
                Job::Install(manifest) => self.install(&manifest)?,
                Job::Persisted(reply) => {
                    // Nobody receives once the asker has ended.
                    let _ = reply.send(self.machine.persisted().map_err(failed)?);
                }
                // Nobody waits any more: a scan of all tables is not worth it.
                Job::Digest(reply) if reply.is_closed() => {}
                Job::Digest(reply) => {
                    let index = self.machine.applied().map_err(failed)?.position.index;
                    // Nobody receives when the asker gave up meanwhile.
                    let _ = reply.send((index, self.machine.digest().map_err(failed)?));
                }
                Job::Finish => break,
            }
        }
        self.machine.flush().map_err(failed)
    }

    /// Adds the entries that wait behind these; returns the job that ended them.
    fn gather(&self, entries: &mut Vec<SharedEntry>, jobs: &Receiver<Job>) -> Option<Job> {
        while entries.len() < ENTRIES_PER_BATCH_MAX {
            match jobs.try_recv() {
                Ok(Job::Apply { epoch, entries: more }) if epoch == self.epoch => entries.extend(more),
                Ok(other) => return Some(other),
                Err(_) => break,
            }
        }
        None
    }

    /// Applies as many as the machine takes at once, and returns how many these were.
    fn apply(&mut self, entries: &[SharedEntry]) -> Result<usize, S::Error> {
        let replies = self.machine.apply(entries)?;
        let count = replies.len();
        assert!(count > 0 && count <= entries.len(), "{count} replies for {} entries", entries.len());
        let through = entries[count - 1].index;
        self.applied.store(through.0, Ordering::Release);
        self.counters.applied_entries.fetch_add(count as u64, Ordering::Relaxed);
        let answers = entries.iter().zip(replies).filter_map(|(entry, reply)| {
            let id = entry.payload.request_id()?;
            Some((id, Answer::Applied(Applied { index: entry.index, reply })))
        });
        self.pending.answer(answers);
        self.completions.send(Completion::Applied(through));
        self.tell_time_wanted();
        Ok(count)
    }

    /// Tells the engine how often the machine wants the log's time forward, if that has changed.
    fn tell_time_wanted(&mut self) {
        let wanted = self.machine.time_wanted();
        if wanted != self.time_wanted {
            self.time_wanted = wanted;
            self.completions.send(Completion::TimeWanted(wanted));
        }
    }

    /// Installs a snapshot, unless the tables have come as far meanwhile.
    fn install(&mut self, manifest: &SnapshotManifest) -> Result<(), String> {
        let applied = self.machine.applied().map_err(failed)?.position.index;
        let outcome = if manifest.position.index <= applied {
            Ok(applied)
        } else {
            match self.snapshots.install(manifest.id) {
                Ok(()) => Ok(self.go_on_from(manifest)?),
                Err(error) if self.snapshots.is_final(&error) => {
                    return Err(format!("installation of a snapshot failed: {error}"));
                }
                Err(error) => {
                    tracing::error!(%error, "snapshot not installed");
                    Err(error.to_string())
                }
            }
        };
        // Where the transfers have ended, so does the replica.
        let _ = self.tasks.send(Task::Installed { id: manifest.id, outcome });
        Ok(())
    }

    /// Goes on from the tables that were installed.
    fn go_on_from(&mut self, manifest: &SnapshotManifest) -> Result<LogIndex, String> {
        let state = self.machine.reopened().map_err(failed)?;
        if state.position != manifest.position {
            let (found, said) = (state.position.index, manifest.position.index);
            return Err(format!("the snapshot was to cover {said}, but its tables say {found}"));
        }
        let index = state.position.index;
        tracing::info!(index = index.0, "snapshot installed");
        self.epoch += 1;
        self.applied.store(index.0, Ordering::Release);
        // Which of them the snapshot covers, nothing here can tell.
        self.pending.lose_track_of_entries();
        self.completions.send(Completion::Installed(state));
        self.tell_time_wanted();
        Ok(index)
    }
}

fn failed<E: std::error::Error>(error: E) -> String {
    format!("state machine failed: {error}")
}
