//! The writer thread: everything that waits goes into one atomic batch and one fsync.
//!
//! While the disk is busy with one group the next one gathers, so groups grow with load and a lone write goes at once.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use consensus_api::{LogPosition, LogStore, Write};

use crate::completions::{Completion, Completions};

/// What is done to the log, in order.
pub(crate) enum Change {
    /// A write of the engine's.
    Write(Write),
    /// Everything up to here goes.
    Trim(LogPosition),
}

/// The most writes in one group.
const WRITES_PER_GROUP_MAX: usize = 1024;

/// Writes until the senders are gone or the store fails. A failure is final: what an fsync that failed once left
/// behind is never trusted again.
pub(crate) fn run<L: LogStore>(
    log: &Arc<L>,
    changes: &Receiver<Change>,
    completions: &Completions,
) -> Result<(), String> {
    let mut group = Vec::new();
    while let Ok(first) = changes.recv() {
        let waiting = changes.try_iter().take(WRITES_PER_GROUP_MAX - 1);
        for change in [first].into_iter().chain(waiting) {
            match change {
                Change::Write(write) => group.push(write),
                Change::Trim(base) => {
                    write(log, &mut group, completions)?;
                    log.trim(base).map_err(|error| format!("log trim failed: {error}"))?;
                    completions.send(Completion::Trimmed(base));
                }
            }
        }
        write(log, &mut group, completions)?;
    }
    Ok(())
}

fn write<L: LogStore>(log: &Arc<L>, group: &mut Vec<Write>, completions: &Completions) -> Result<(), String> {
    let Some(last) = group.last().map(|write| write.id) else { return Ok(()) };
    let base = log.base().index;
    group.iter_mut().for_each(|write| write.skip_through(base));
    log.write(group).map_err(|error| format!("log write failed: {error}"))?;
    group.clear();
    completions.send(Completion::Persisted(last));
    Ok(())
}
