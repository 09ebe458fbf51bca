//! What the servers stand on: the replicated log to write to, the tables to read from, and who this node is.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::{
    AppliedMembership, ClusterId, EngineName, Member, Membership, NodeId, ReadMode, ReplicatedLog, RequestError,
    SnapshotId, StoreId, Tables,
};
use kv_client::protocol::Consistency;
use kv_machine::{Batch, KvError, KvLimits, KvReader, Replies, Reply, Request};
use storage_rocks::RocksSnapshots;
use tokio::sync::watch;

use crate::metrics::Counts;
use crate::watch::Watches;

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The engine that runs.
    pub engine: EngineName,
    /// The node.
    pub node: NodeId,
    /// Its data directory's own id. A member of the same number with another one is not this node.
    pub store: StoreId,
}

impl Identity {
    /// Whether this node is a member: under its number, and with its data directory.
    pub fn is_in(&self, membership: &Membership) -> bool {
        membership.members.get(&self.node).is_some_and(|member| member.store == self.store)
    }
}

/// What a cluster began with. The hash over it is the cluster's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its founders, in order of id.
    pub founders: Vec<(NodeId, Member)>,
    /// The snapshot that their tables came from, if they did not begin blank.
    pub restored_from: Option<SnapshotId>,
}

/// One node's key-value service, whichever engine runs and wherever the tables are.
pub struct Service<T: Tables> {
    /// Writes go through here, and so do the barriers of linearizable reads.
    pub log: Arc<dyn ReplicatedLog>,
    /// Reads come from here.
    pub kv: KvReader<T>,
    /// What the reads are of; the members are in it, too.
    pub tables: Arc<T>,
    /// Backups are read from here; `None` where the tables are in memory.
    pub snapshots: Option<RocksSnapshots>,
    /// Who this is.
    pub identity: Identity,
    /// What its cluster began with, for those who join it.
    pub origin: Origin,
    /// Checked before a command is proposed.
    pub limits: KvLimits,
    /// How a linearizable read is made so, unless it asks for something else by name.
    pub reads: ReadMode,
    /// How long a request may wait for its answer.
    pub request_timeout: Duration,
    /// Woken with every revision that the machine announces.
    pub watches: Watches,
    /// Where a node serves HTTP, as `host:port`, if it is known.
    pub http_address_of: Box<dyn Fn(NodeId) -> Option<String> + Send + Sync>,
    /// What the rooms of this node have counted by now.
    pub counts: Box<dyn Fn() -> Counts + Send + Sync>,
    /// Told when a read finds the tables broken: the node must stop rather than go on with them.
    pub failure: watch::Sender<Option<String>>,
}

/// Why a batch has no replies.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The log did not carry it out, or cannot tell.
    #[error(transparent)]
    Log(#[from] RequestError),
    /// It cannot be encoded, and so it was never proposed.
    #[error("the request cannot be encoded: {0}; make it smaller")]
    Encode(#[source] KvError),
    /// It was applied, and its replies cannot be understood.
    #[error("carried out, and the reply cannot be understood: {0}; run the same build on every node, read the state")]
    Codec(#[from] KvError),
}

impl SubmitError {
    /// Whether nothing was carried out and nothing will be. Otherwise the outcome is unknown, and that is what a client is
    /// told: what was in flight when the replica stopped may be in the log, and replies that make no sense are replies to
    /// something that was applied.
    pub fn is_definite(&self) -> bool {
        match self {
            SubmitError::Log(RequestError::Refused(_) | RequestError::SnapshotFailed { .. }) => true,
            SubmitError::Log(RequestError::Unknown { .. } | RequestError::Stopped { .. }) => false,
            SubmitError::Encode(_) => true,
            SubmitError::Codec(_) => false,
        }
    }
}

/// Why the tables cannot be read as they stand now.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// How they stand cannot be told.
    #[error(transparent)]
    Log(#[from] RequestError),
    /// They cannot be read.
    #[error(transparent)]
    Tables(#[from] KvError),
}

impl<T: Tables> Service<T> {
    /// Has these requests, each of which [`kv_machine::Command::check`] has passed, chosen as one entry and applied, and
    /// returns one reply for each.
    ///
    /// # Errors
    /// [`SubmitError`]. What it says of the outcome holds for all of them.
    pub async fn submit(&self, requests: Vec<Request>, timeout: Duration) -> Result<Vec<Reply>, SubmitError> {
        let (count, batch) = (requests.len(), Batch { requests }.encode().map_err(SubmitError::Encode)?);
        let applied = self.log.propose(batch, timeout).await?;
        let replies = Replies::decode(&applied.reply)?.replies;
        if replies.len() == count { Ok(replies) } else { Err(KvError::NotOneReply.into()) }
    }

    /// Waits until a read of the tables is as fresh as is asked for.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed, whatever it says.
    pub async fn freshen(&self, consistency: Consistency, timeout: Duration) -> Result<(), RequestError> {
        let mode = match consistency {
            Consistency::Linearizable => self.reads,
            Consistency::Lease => ReadMode::Lease,
            Consistency::Stale => return Ok(()),
        };
        self.log.read_barrier(mode, timeout).await.map(drop)
    }

    /// The revision that stands now, as of a linearizable read: everything that is acknowledged by now is part of it.
    ///
    /// # Errors
    /// [`PresentError`].
    pub async fn present_revision(&self) -> Result<u64, PresentError> {
        self.freshen(Consistency::Linearizable, self.request_timeout).await?;
        Ok(self.kv.revision().inspect_err(|error| self.stop_if_broken(error))?)
    }

    /// The members as far as this node has applied what it was sent, and everyone who has ever voted. Founders that nobody
    /// has named yet are none.
    ///
    /// # Errors
    /// [`KvError::Tables`] or [`KvError::Damaged`]; the node stops.
    pub fn applied_members(&self) -> Result<AppliedMembership, KvError> {
        let applied =
            kv_machine::applied_state(&*self.tables.view()).inspect_err(|error| self.stop_if_broken(error))?;
        Ok(applied.membership.unwrap_or_else(|| AppliedMembership::founded(Arc::default())))
    }

    /// Where a read finds the tables broken, the node stops.
    pub fn stop_if_broken(&self, error: &KvError) {
        if matches!(error, KvError::Tables(_) | KvError::Damaged { .. }) {
            self.failure.send_replace(Some(error.to_string()));
        }
    }
}
