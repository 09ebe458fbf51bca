//! The applier thread: owns the state machine, applies committed entries in batches and answers their proposers.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use consensus_api::{Applied, LogIndex, SharedEntry, StateMachine};
use tokio::sync::oneshot;

use crate::completions::{Completion, Completions};
use crate::pending::{Answer, Pending};

/// What the applier is asked.
pub(crate) enum Job {
    /// Apply these, the next in order.
    Apply(Vec<SharedEntry>),
    /// Tell the applied index and the digest of the tables there.
    Digest(oneshot::Sender<(LogIndex, [u8; 32])>),
    /// Make what is applied durable, and end.
    Finish,
}

/// The most entries in one batch; what waits beyond it is the next one.
const ENTRIES_PER_BATCH_MAX: usize = 4096;

/// Applies until told to finish, until the senders are gone, or until the machine fails, which is final.
pub(crate) fn run<S: StateMachine>(
    mut machine: S,
    jobs: &Receiver<Job>,
    pending: &Arc<Pending>,
    completions: &Completions,
) -> Result<(), String> {
    work(&mut machine, jobs, pending, completions).map_err(|error| format!("state machine failed: {error}"))
}

fn work<S: StateMachine>(
    machine: &mut S,
    jobs: &Receiver<Job>,
    pending: &Arc<Pending>,
    completions: &Completions,
) -> Result<(), S::Error> {
    let mut put_back = None;
    while let Some(job) = put_back.take().or_else(|| jobs.recv().ok()) {
        match job {
            Job::Apply(mut entries) => {
                while entries.len() < ENTRIES_PER_BATCH_MAX {
                    match jobs.try_recv() {
                        Ok(Job::Apply(more)) => entries.extend(more),
                        Ok(other) => {
                            put_back = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let mut rest = &entries[..];
                while !rest.is_empty() {
                    let count = apply(machine, rest, pending, completions)?;
                    rest = &rest[count..];
                }
            }
            // Nobody waits any more: a scan of all tables is not worth it.
            Job::Digest(reply) if reply.is_closed() => {}
            Job::Digest(reply) => {
                let index = machine.applied()?.position.index;
                // Nobody receives when the asker gave up meanwhile.
                let _ = reply.send((index, machine.digest()?));
            }
            Job::Finish => break,
        }
    }
    machine.flush()
}

/// Applies as many as the machine takes at once, and returns how many these were.
fn apply<S: StateMachine>(
    machine: &mut S,
    entries: &[SharedEntry],
    pending: &Arc<Pending>,
    completions: &Completions,
) -> Result<usize, S::Error> {
    let replies = machine.apply(entries)?;
    let count = replies.len();
    assert!(count > 0 && count <= entries.len(), "{count} replies for {} entries", entries.len());
    let through = entries[count - 1].index;
    let answers = entries.iter().zip(replies).filter_map(|(entry, reply)| {
        let id = entry.payload.request_id()?;
        Some((id, Answer::Applied(Applied { index: entry.index, reply })))
    });
    pending.answer(answers);
    completions.send(Completion::Applied(through));
    Ok(count)
}
