//! openraft: whole nodes, each with its tasks, on one current-thread tokio runtime; a log, a state machine and a network
//! in memory, written here.
//!
//! ```text
//!   client_write × count ──▶ node 1: core task ──▶ replication tasks ──▶ Network: a call of the other node's handle
//!                                  └──▶ Log: a shared vector, "flushed" at once      └──▶ Machine: counts bytes
//! ```
//!
//! It is the one that is no pure state machine: channels, wake-ups and a task switch at each step are part of what it is
//! and of what is measured. Nothing is timed: no ticks, no heartbeats, no elections but the first.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RPCError, RaftError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    BasicNode, Config, Entry, EntryPayload, LogId, LogState, Raft, RaftLogReader, RaftNetwork, RaftNetworkFactory,
    RaftSnapshotBuilder, Snapshot, SnapshotMeta, SnapshotPolicy, StorageError, StoredMembership, Vote,
};
use tokio::runtime::{Builder, Runtime};

use super::Subject;

openraft::declare_raft_types!(
    /// Commands are bytes, and have no answer.
    pub Types:
        D = Bytes,
        R = (),
);

type Peers = Arc<OnceLock<Vec<Raft<Types>>>>;
type Storage<T> = Result<T, StorageError<u64>>;
type Rpc<T, E> = Result<T, RPCError<u64, BasicNode, E>>;

/// Nodes on a runtime of their own.
pub(crate) struct OpenRaft {
    runtime: Runtime,
    peers: Peers,
    applied_bytes: Vec<Arc<AtomicU64>>,
    proposed_bytes: u64,
}

impl Subject for OpenRaft {
    const NAME: &'static str = "openraft";

    fn elected(voters: u64) -> OpenRaft {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let applied_bytes: Vec<Arc<AtomicU64>> = (0..voters).map(|_| Arc::default()).collect();
        let peers = Peers::default();
        runtime.block_on(async {
            let mut nodes = Vec::new();
            for (id, applied_bytes) in (1..).zip(&applied_bytes) {
                let machine = Machine { applied_bytes: applied_bytes.clone(), ..Machine::default() };
                nodes.push(Raft::new(id, config(), Network(peers.clone()), Log::default(), machine).await.unwrap());
            }
            let first = nodes[0].clone();
            assert!(peers.set(nodes).is_ok(), "set once");
            let members: BTreeMap<_, _> = (1..=voters).map(|id| (id, BasicNode::default())).collect();
            first.initialize(members).await.unwrap();
            first.wait(Some(Duration::from_secs(60))).current_leader(1, "the first node leads").await.unwrap();
        });
        OpenRaft { runtime, peers, applied_bytes, proposed_bytes: 0 }
    }

    fn commit(&mut self, count: u64, data: &[u8]) {
        self.proposed_bytes += count * data.len() as u64;
        let (leader, wanted) = (&self.peers.get().unwrap()[0], self.proposed_bytes);
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for _ in 0..count {
                answers.push(leader.client_write_ff(Bytes::copy_from_slice(data)).await.unwrap());
            }
            for answer in answers {
                answer.await.unwrap().unwrap();
            }
            // The leader has applied it; the others hear of that.
            while self.applied_bytes.iter().any(|bytes| bytes.load(Ordering::Relaxed) < wanted) {
                tokio::task::yield_now().await;
            }
        });
    }

    fn applied_bytes(&self) -> Vec<u64> {
        self.applied_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }
}

fn config() -> Arc<Config> {
    let config = Config {
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    Arc::new(config.validate().unwrap())
}

/// The way to the other nodes.
struct Network(Peers);

/// The way to one of them.
struct Link {
    peers: Peers,
    target: u64,
}

impl Link {
    fn raft(&self) -> &Raft<Types> {
        &self.peers.get().unwrap()[self.target as usize - 1]
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Link {
        Link { peers: self.0.clone(), target }
    }
}

// No node is ever unreachable or stopped while it is measured.
impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Rpc<AppendEntriesResponse<u64>, RaftError<u64>> {
        Ok(self.raft().append_entries(rpc).await.unwrap())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Rpc<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        unreachable!("nobody lags")
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, _: RPCOption) -> Rpc<VoteResponse<u64>, RaftError<u64>> {
        Ok(self.raft().vote(rpc).await.unwrap())
    }
}

/// A log in memory; entry `i` stands at place `i`, and nothing is purged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    entries: Vec<Entry<Types>>,
    vote: Option<Vote<u64>>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Storage<Vec<Entry<Types>>> {
        let kept = self.0.lock().unwrap();
        let length = kept.entries.len();
        let end = match range.end_bound() {
            Bound::Included(end) => *end as usize + 1,
            Bound::Excluded(end) => *end as usize,
            Bound::Unbounded => length,
        };
        let start = match range.start_bound() {
            Bound::Included(start) => *start as usize,
            Bound::Excluded(start) => *start as usize + 1,
            Bound::Unbounded => 0,
        };
        let end = end.min(length);
        Ok(kept.entries[start.min(end)..end].to_vec())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Storage<LogState<Types>> {
        let last_log_id = self.0.lock().unwrap().entries.last().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Storage<()> {
        self.0.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Storage<Option<Vote<u64>>> {
        Ok(self.0.lock().unwrap().vote)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Storage<()>
    where
        I: IntoIterator<Item = Entry<Types>> + Send,
        I::IntoIter: Send,
    {
        self.0.lock().unwrap().entries.extend(entries);
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Storage<()> {
        self.0.lock().unwrap().entries.truncate(from.index as usize);
        Ok(())
    }

    async fn purge(&mut self, _: LogId<u64>) -> Storage<()> {
        unreachable!("nothing is purged without snapshots")
    }
}

/// A state machine that counts the bytes of its commands.
#[derive(Clone, Default)]
struct Machine {
    applied_bytes: Arc<AtomicU64>,
    last: Option<LogId<u64>>,
    members: StoredMembership<u64, BasicNode>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Storage<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>)> {
        Ok((self.last, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Storage<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + Send,
        I::IntoIter: Send,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(data) => {
                    self.applied_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                EntryPayload::Membership(members) => self.members = StoredMembership::new(self.last, members),
            }
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Storage<Box<Cursor<Vec<u8>>>> {
        unreachable!("no snapshots")
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta<u64, BasicNode>, _: Box<Cursor<Vec<u8>>>) -> Storage<()> {
        unreachable!("no snapshots")
    }

    async fn get_current_snapshot(&mut self) -> Storage<Option<Snapshot<Types>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Storage<Snapshot<Types>> {
        unreachable!("no snapshots")
    }
}
