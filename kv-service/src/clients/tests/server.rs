//! The server and a Clerk, over real QUIC and a log that is a machine in memory and fails as it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use consensus_api::{
    Applied, Ballot, Blob, ClusterId, EngineName, EngineStatus, Entry, Era, EventStream, GroupId, LogIndex, LogTime,
    Member, Membership, NodeId, Payload, ReadMode, Refusal, ReplicaStatus, ReplicatedLog, RequestError, RequestId,
    Role, StateMachine, StoreId,
};
use kv_client::wire::{ALPN, Operation, Txn};
use kv_client::{Clerk, ClerkError, KeyRange, TlsFiles};
use kv_machine::{Batch, KvLimits, KvMachine, MemoryTables};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use transport_quic::{LinkTiming, QuicTransport, TransportConfig, TransportLimits, dev_certs};

use crate::clients;
use crate::metrics::Counts;
use crate::service::{Identity, Origin, Service};
use crate::watch::Watches;

/// Nothing takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a batch.
enum Fate {
    /// It is refused.
    Refused(Refusal),
    /// It is applied, and nobody is told.
    AppliedUnknown,
}

/// A log of one node that applies at once.
struct FakeLog {
    machine: Mutex<KvMachine<MemoryTables>>,
    /// What becomes of the next batches, in order; those behind are applied.
    fates: Mutex<Vec<Fate>>,
    /// The size of each batch.
    batches: Mutex<Vec<usize>>,
    /// While somebody holds it, nothing is applied.
    gate: tokio::sync::Mutex<()>,
}

impl FakeLog {
    fn apply(&self, command: Bytes) -> Applied {
        let mut machine = self.machine.lock().unwrap();
        let index = machine.applied().unwrap().position.index.next();
        let id = RequestId { origin: NodeId(1), boot: 1, sequence: index.0 };
        let payload = Payload::Command { id, data: Blob(command) };
        let entry = Entry { index, ballot: Ballot::new(1, NodeId(1)), log_time: LogTime::default(), payload };
        Applied { index, reply: machine.apply(&[entry.into()]).unwrap().remove(0) }
    }

    fn fate_is(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap() = fates.into_iter().collect();
    }
}

#[async_trait]
impl ReplicatedLog for FakeLog {
    async fn propose(&self, command: Bytes, _: Duration) -> Result<Applied, RequestError> {
        self.batches.lock().unwrap().push(Batch::decode(&command).unwrap().requests.len());
        let _open = self.gate.lock().await;
        let fate = {
            let mut fates = self.fates.lock().unwrap();
            if fates.is_empty() { None } else { Some(fates.remove(0)) }
        };
        match fate {
            None => Ok(self.apply(command)),
            Some(Fate::Refused(refusal)) => Err(refusal.into()),
            Some(Fate::AppliedUnknown) => {
                self.apply(command);
                Err(RequestError::Unknown { waited_ms: 1 })
            }
        }
    }

    async fn read_barrier(&self, _: ReadMode, _: Duration) -> Result<LogIndex, RequestError> {
        Ok(LogIndex::ZERO)
    }

    fn status(&self) -> ReplicaStatus {
        let member = Member { address: "127.0.0.1:1".into(), store: StoreId(7) };
        let engine = EngineStatus {
            role: Role::Leader,
            leader: Some(NodeId(1)),
            ballot: Ballot::new(4, NodeId(1)),
            commit_index: LogIndex::ZERO,
            last_index: LogIndex::ZERO,
            base_index: LogIndex::ZERO,
            membership: Arc::new(Membership::of_voters([(NodeId(1), member)])),
            is_changing: false,
            progress: Default::default(),
        };
        let engine_name = EngineName::new("raft");
        ReplicaStatus {
            engine_name,
            node: NodeId(1),
            engine,
            applied_index: LogIndex::ZERO,
            snapshot_index: LogIndex::ZERO,
        }
    }

    async fn change_membership(&self, _: Arc<Membership>, _: Duration) -> Result<LogIndex, RequestError> {
        Err(Refusal::NoLeader.into())
    }

    async fn transfer_leadership(&self, _: Option<NodeId>, _: Duration) -> Result<(), RequestError> {
        Err(Refusal::NoLeader.into())
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        Err(Refusal::NoLeader.into())
    }

    async fn snapshot(&self) -> Result<LogIndex, RequestError> {
        Err(Refusal::NoLeader.into())
    }

    async fn digest(&self) -> Result<(LogIndex, [u8; 32]), RequestError> {
        Err(Refusal::NoLeader.into())
    }

    fn events(&self) -> EventStream {
        Box::pin(futures_util::stream::empty())
    }

    async fn shutdown(&self) {}
}

/// A node that serves Clerks.
struct Served {
    certificates: TempDir,
    log: Arc<FakeLog>,
    transport: QuicTransport,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Served {
    async fn start() -> Served {
        let certificates = TempDir::new().unwrap();
        let transport = QuicTransport::bind(TransportConfig {
            node: NodeId(1),
            store: StoreId(7),
            restored_from: None,
            cluster: Some(ClusterId(0xc1)),
            group: GroupId(0),
            era: Era(0),
            engine: EngineName::new("raft"),
            contacts: Default::default(),
            listen: "127.0.0.1:0".into(),
            service_address: None,
            client_alpn: Some(ALPN),
            tls: dev_certs::node_tls(NodeId(1), Some(certificates.path())).unwrap(),
            limits: TransportLimits::default(),
            timing: LinkTiming::default(),
        });
        let transport = transport.await.unwrap();
        let tables = Arc::new(MemoryTables::new());
        let mut machine = KvMachine::open(tables.clone()).unwrap();
        let watches = Watches::default();
        machine.announce(Box::new(watches.announcer()));
        let kv = machine.reader();
        let log = Arc::new(FakeLog {
            machine: Mutex::new(machine),
            fates: Mutex::default(),
            batches: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
        });
        let service = Service {
            failure: watch::Sender::new(None),
            log: log.clone(),
            kv,
            tables,
            snapshots: None,
            identity: Identity {
                cluster_id: ClusterId(0xc1),
                engine: EngineName::new("raft"),
                node: NodeId(1),
                store: StoreId(7),
            },
            origin: Origin { founders: Vec::new(), restored_from: None },
            limits: KvLimits::default(),
            reads: ReadMode::Index,
            request_timeout: Duration::from_secs(5),
            watches,
            http_address_of: Box::new(|_| None),
            counts: Box::new(Counts::default),
        };
        let (stop, stopped) = oneshot::channel();
        let server = clients::serve(Arc::new(service), transport.clients(), async {
            let _ = stopped.await;
        });
        Served { certificates, log, transport, stop, server: tokio::spawn(server) }
    }

    async fn clerk(&self, timeout: Duration) -> Clerk {
        let builder = Clerk::builder().endpoints([self.transport.local_addr().to_string()]).request_timeout(timeout);
        builder.tls(TlsFiles::in_dir(self.certificates.path())).connect().await.unwrap()
    }
}

#[tokio::test]
async fn what_waits_for_the_log_becomes_one_batch() {
    let served = Served::start().await;
    let clerk = served.clerk(PATIENCE).await;
    clerk.put("first", "").await.unwrap();
    served.log.batches.lock().unwrap().clear();
    let closed = served.log.gate.lock().await;
    let puts: Vec<_> = (0..200)
        .map(|number| {
            let clerk = clerk.clone();
            tokio::spawn(async move { clerk.put(format!("k{number:03}"), "v").await })
        })
        .collect();
    // As many batches as may be under way are; the rest gathers. The last is in the log once the gate is open.
    tokio::task::yield_now().await;
    drop(closed);
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let batches = served.log.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 200);
    assert!(batches.len() < 100, "{batches:?}");
    let mut scan = clerk.scan(KeyRange::prefix("k"));
    let mut count = 0;
    while let Some(item) = scan.next().await {
        item.unwrap();
        count += 1;
    }
    assert_eq!(count, 200);
}

#[tokio::test]
async fn what_was_applied_and_not_answered_is_not_applied_again() {
    let served = Served::start().await;
    let clerk = served.clerk(PATIENCE).await;
    clerk.put("k", "").await.unwrap();
    served.log.fate_is([Fate::AppliedUnknown, Fate::Refused(Refusal::NoLeader), Fate::AppliedUnknown]);
    let appended = clerk.append("k", "once").await.unwrap();
    assert_eq!(appended.version, 2);
    assert_eq!(clerk.get("k").await.unwrap().unwrap().value.0, "once");
}

#[tokio::test]
async fn what_is_under_way_when_the_node_stops_is_answered_and_what_comes_later_is_not_claimed() {
    let served = Served::start().await;
    let clerk = served.clerk(Duration::from_secs(2)).await;
    clerk.put("k", "").await.unwrap();
    let closed = served.log.gate.lock().await;
    let under_way = {
        let clerk = clerk.clone();
        tokio::spawn(async move { clerk.append("k", "1").await })
    };
    while served.log.batches.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    served.stop.send(()).unwrap();
    drop(closed);
    assert_eq!(under_way.await.unwrap().unwrap().version, 2, "it was carried out, and that is said");
    served.server.await.unwrap();
    let error = clerk.append("k", "2").await.unwrap_err();
    assert!(matches!(error, ClerkError::NotApplied { .. } | ClerkError::Maybe { .. }), "{error}");
}

#[tokio::test]
async fn a_transaction_that_is_larger_than_a_frame_is_watched_as_any_other() {
    let served = Served::start().await;
    let clerk = served.clerk(PATIENCE).await;
    // A put right behind the beginning is seen.
    let mut watch = clerk.watch("", None).await.unwrap();
    for half in ["a", "b"] {
        let txn = (0..5).fold(Txn::new(), |txn, number| {
            txn.then(Operation::append(format!("{half}/{number}"), vec![b'v'; 1 << 20]))
        });
        clerk.txn(txn).await.unwrap();
    }
    let txn = ["a", "b"].into_iter().flat_map(|half| (0..5).map(move |number| format!("{half}/{number}")));
    clerk.txn(txn.fold(Txn::new(), |txn, key| txn.then(Operation::append(key, "")))).await.unwrap();
    let mut revisions = Vec::new();
    for _ in 0..20 {
        let change = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(change.item.unwrap().value.0.len(), 1 << 20);
        revisions.push(change.revision);
    }
    assert_eq!(revisions, [vec![1; 5], vec![2; 5], vec![3; 10]].concat());
    let long = clerk.watch(vec![b'k'; 4098], None).await.unwrap_err();
    assert!(matches!(long, ClerkError::TooLarge { .. }), "{long}");
}
