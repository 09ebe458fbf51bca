//! The writer thread: everything that waits goes into one atomic batch and one fsync.
//!
//! While the disk is busy with one group the next one gathers, so groups grow with load and a lone write goes at once.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use consensus_api::{LogStore, Write};

use crate::completions::{Completion, Completions};

/// The most writes in one group.
const WRITES_PER_GROUP_MAX: usize = 1024;

/// Writes until the senders are gone or the store fails. A failure is final: what an fsync that failed once left
/// behind is never trusted again.
pub(crate) fn run<L: LogStore>(
    log: &Arc<L>,
    writes: &Receiver<Write>,
    completions: &Completions,
) -> Result<(), String> {
    let mut group = Vec::new();
    while let Ok(first) = writes.recv() {
        group.push(first);
        group.extend(writes.try_iter().take(WRITES_PER_GROUP_MAX - 1));
        let last = group.last().map(|write| write.id);
        log.write(&group).map_err(|error| format!("log write failed: {error}"))?;
        group.clear();
        if let Some(write) = last {
            completions.send(Completion::Persisted(write));
        }
    }
    Ok(())
}
