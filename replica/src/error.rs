//! Why a replica does not start.

use consensus_api::{EngineError, LogIndex};

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log store could not be read, or is damaged.
    #[error("log: {0}")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The state machine's tables could not be read.
    #[error("state machine: {0}")]
    Machine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The snapshots could not be looked at.
    #[error("snapshots: {0}")]
    Snapshots(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The tables hold what the log does not.
    #[error(
        "the tables have applied {applied}, but the log ends at {last} and begins after {base}: the disk lost writes that it had confirmed, and with them perhaps a promise; restore the data directory from a backup"
    )]
    LogBehindTables {
        /// What the tables have applied.
        applied: LogIndex,
        /// The last entry of the log.
        last: LogIndex,
        /// The last entry that was trimmed.
        base: LogIndex,
    },
    /// The engine refuses what is on disk.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(#[from] std::io::Error),
}
