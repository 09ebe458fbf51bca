//! What the servers stand on: the replicated log to write to, the tables to read from, and who this node is.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::{ClusterId, EngineName, NodeId, ReplicatedLog, Tables};
use kv_machine::{KvLimits, KvReader};
use storage_rocks::RocksSnapshots;
use tokio::sync::watch;

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The engine that runs.
    pub engine: EngineName,
    /// The node.
    pub node: NodeId,
}

/// One node's key-value service, whichever engine runs and wherever the tables are.
pub struct Service<T: Tables> {
    /// Writes go through here, and so do the barriers of linearizable reads.
    pub log: Arc<dyn ReplicatedLog>,
    /// Reads come from here.
    pub kv: KvReader<T>,
    /// Backups are read from here; `None` where the tables are in memory.
    pub snapshots: Option<RocksSnapshots>,
    /// Who this is.
    pub identity: Identity,
    /// Checked before a command is proposed.
    pub limits: KvLimits,
    /// How long a request may wait for its answer.
    pub request_timeout: Duration,
    /// Told when a read finds the tables broken: the node must stop rather than go on with them.
    pub failure: watch::Sender<Option<String>>,
}
