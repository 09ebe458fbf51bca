//! What the threads beside the engine report back to it.

use consensus_api::{Input, LogIndex, ReadBackId, SharedEntry, WriteId};
use tokio::sync::mpsc::UnboundedSender;

/// One report.
pub(crate) enum Completion {
    /// Every write up to this one is durable.
    Persisted(WriteId),
    /// Everything up to here is applied.
    Applied(LogIndex),
    /// What was asked to be read back.
    EntriesRead(ReadBackId, Vec<SharedEntry>),
    /// The replica cannot go on.
    Fatal(String),
}

impl Completion {
    /// The engine's input, or the reason to stop.
    pub(crate) fn into_input<M>(self) -> Result<Input<M>, String> {
        match self {
            Completion::Persisted(write) => Ok(Input::Persisted { write }),
            Completion::Applied(through) => Ok(Input::Applied { through }),
            Completion::EntriesRead(id, entries) => Ok(Input::EntriesRead { id, entries }),
            Completion::Fatal(reason) => Err(reason),
        }
    }
}

/// Where reports go. Unbounded in name only: each answers one request of the engine, and the engine's own bounds hold.
#[derive(Clone)]
pub(crate) struct Completions(pub(crate) UnboundedSender<Completion>);

impl Completions {
    /// Reports; nobody listens any more once the replica has stopped.
    pub(crate) fn send(&self, completion: Completion) {
        let _ = self.0.send(completion);
    }
}
