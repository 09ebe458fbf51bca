//! Why a replica does not start.

use consensus_api::EngineError;

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log store could not be read, or is damaged.
    #[error("log: {0}")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The state machine's tables could not be read.
    #[error("state machine: {0}")]
    Machine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine refuses what is on disk.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(#[from] std::io::Error),
}
