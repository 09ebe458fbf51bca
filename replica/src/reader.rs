//! The reader thread: fetches entries that have left the engine's window.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use consensus_api::{LogStore, ReadBack};

use crate::completions::{Completion, Completions};

/// Reads until the senders are gone or the store fails. A read error stops the replica: a peer is never told "I do not
/// have it" because a disk failed.
pub(crate) fn run<L: LogStore>(
    log: &Arc<L>,
    requests: &Receiver<ReadBack>,
    completions: &Completions,
) -> Result<(), String> {
    while let Ok(request) = requests.recv() {
        let entries = log.read(request.first..=request.last, request.bytes_max);
        let entries = entries.map_err(|error| format!("log read failed: {error}"))?;
        completions.send(Completion::EntriesRead(request.id, entries));
    }
    Ok(())
}
