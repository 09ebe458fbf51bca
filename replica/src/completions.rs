//! What the threads beside the engine report back to it.

use std::time::Duration;

use consensus_api::{AppliedState, LogIndex, LogPosition, ReadBackId, SharedEntry, WriteId};
use tokio::sync::mpsc::UnboundedSender;

use crate::snapshots::Demand;

/// One report.
pub(crate) enum Completion {
    /// Every write up to this one is durable.
    Persisted(WriteId),
    /// Everything up to here is applied.
    Applied(LogIndex),
    /// What was asked to be read back.
    EntriesRead(ReadBackId, Vec<SharedEntry>),
    /// Everything up to here is gone from the log.
    Trimmed(LogPosition),
    /// The log may be trimmed up to here, as far as tables and snapshots go.
    TrimWanted(LogPosition),
    /// A snapshot was asked for.
    Taken {
        /// What became of it.
        outcome: Taken,
        /// Who waits for it.
        demands: Vec<Demand>,
    },
    /// A snapshot has taken the place of the tables.
    Installed(AppliedState),
    /// From now on the state machine wants the log's time carried forward this often, or no more.
    TimeWanted(Option<Duration>),
    /// The replica cannot go on.
    Fatal(String),
}

/// What became of a snapshot that was asked for.
#[derive(Clone)]
pub(crate) enum Taken {
    /// It covers everything up to here.
    Covers(LogIndex),
    /// It would remove one that is being sent. Nobody waits for it.
    Later,
    /// There is none, for this reason.
    Failed(String),
}

/// Where reports go. Unbounded in name only: each answers one request of the engine or one order of a
/// snapshot, and the bounds of those hold.
#[derive(Clone)]
pub(crate) struct Completions(pub(crate) UnboundedSender<Completion>);

impl Completions {
    /// Reports; nobody listens any more once the replica has stopped.
    pub(crate) fn send(&self, completion: Completion) {
        let _ = self.0.send(completion);
    }
}
