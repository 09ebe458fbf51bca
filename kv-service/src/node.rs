//! A node: the rooms, wired together, from a checked configuration to the end of the process.
//!
//! ```text
//!   data directory ─▶ store ─┬─ log, snapshots ────▶ replica ◀── transport ◀── certificates
//!                            └─ tables ─▶ machine ──────┘ │
//!                                  └──▶ reader ──▶ HTTP, clients ◀─┘
//! ```
//!
//! Ports are bound before anything is written, the cluster is founded or joined before the engine exists, and clients are
//! served once it runs. Until then HTTP says what is being waited for. A leader that is told to stop hands over first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use consensus_api::{
    ClusterId, EngineConfig, Era, GroupId, Limits, Membership, ReplicatedLog, StateMachine, Transport,
};
use kv_machine::{KvMachine, KvReader, schema};
use replica::{Parts, Replica, ReplicaConfig};
use storage_rocks::{Expected, RocksSnapshots, RocksTables, Store, StoreOptions};
use tokio::sync::watch;
use transport_quic::{LinkTiming, NodeTls, QuicTransport, TransportConfig, TransportLimits, dev_certs};

use crate::belonging;
use crate::chance;
use crate::clients;
use crate::config::NodeConfig;
use crate::engines;
use crate::error::ServiceError;
use crate::founding;
use crate::http::{self, HttpServer};
use crate::joining;
use crate::metrics::Counts;
use crate::service::{Identity, Origin, Service};
use crate::stop::{Stop, StopReason};
use crate::watch::Watches;

/// The most requests of this node's clients that wait for an answer.
const REQUESTS_MAX: usize = 65_536;

/// Runs a node until it is told to stop or cannot go on.
///
/// # Errors
/// Everything that keeps a node from starting, and [`ServiceError::Stopped`] where it had to stop by itself.
pub async fn run(config: NodeConfig) -> Result<(), ServiceError> {
    let server = HttpServer::bind(config.http).await?;
    let tls = certificates(&config)?;
    let store = Arc::new(open_store(&config)?);
    let transport = Arc::new(open_transport(&config, &store, tls, server.local_addr()).await?);

    let mut stop = Stop::listen(config.exit_with_parent)?;
    let (saying, waiting_for) = watch::channel(founding::waiting_for(&config));
    let entered = tokio::select! {
        // In this order: where the cluster was founded long ago nobody is served by a node that is not there yet. A
        // connection that it took would be closed under the client's first write, which could not tell what became of it.
        biased;
        entered = enter(&config, &store, &transport, &saying) => entered,
        () = server.serve(http::waiting_router(waiting_for), std::future::pending()) => return Ok(()),
        reason = stop.requested() => {
            tracing::info!(?reason, "stopped before the node belonged to a cluster");
            transport.close().await;
            return Ok(());
        }
    };
    let (cluster, members) = entered?;
    transport.set_cluster(cluster, &members);

    let reader = KvReader::new(store.tables.clone());
    let snapshots = store.snapshots(|tables| kv_machine::applied_state(tables).map_err(Into::into));
    let connections = transport.clients();
    let watches = Watches::default();
    let machine = open_machine(&store, &members, &watches)?;
    let replica = start_replica(&config, &store, machine, snapshots.clone(), transport.clone(), members)?;
    let replica = Arc::new(replica);
    let counts = counting(&store, transport.clone(), replica.clone());
    let stamp = store.stamp();
    let identity = Identity { cluster_id: cluster, engine: config.engine, node: config.node, store: stamp.store };
    let service = Arc::new(Service {
        log: replica.clone(),
        kv: reader,
        tables: store.tables.clone(),
        snapshots: Some(snapshots),
        identity,
        origin: Origin { founders: stamp.founders, restored_from: stamp.restored_from },
        limits: config.limits,
        reads: config.reads,
        request_timeout: config.request_timeout,
        watches,
        http_address_of: Box::new(move |node| transport.service_address(node)),
        counts,
        failure: watch::Sender::new(None),
    });
    let mut failure = service.failure.subscribe();
    let ended = async {
        tokio::select! {
            Ok(()) = failure.changed() => {
                let reason = failure.borrow().clone().unwrap_or_default();
                Err(ServiceError::Stopped { reason })
            }
            outcome = replica.stopped() => outcome.map_err(|reason| ServiceError::Stopped { reason }),
            reason = stop.requested() => {
                tracing::info!(?reason, "stopping");
                // The whole local cluster stops with its supervisor, and there is nobody to hand over to. Otherwise clients
                // are served until another one leads.
                if reason != StopReason::ParentGone {
                    tokio::select! {
                        () = replica.step_aside(parting_time(&config)) => {}
                        again = stop.requested() => tracing::info!(reason = ?again, "stopping at once"),
                    }
                }
                Ok(())
            }
        }
    };
    let (outcome, ending) = tokio::sync::oneshot::channel();
    let watches = service.clone();
    let (stopping, mut stopped) = watch::channel(false);
    let serving_clients = clients::serve(service.clone(), connections, async move {
        // A sender that is gone has stopped, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let member = service.clone();
    let serving = server.serve(http::router(service), async {
        // Nobody else receives; the outcome is looked at below.
        let _ = outcome.send(ended.await);
        // A watch would not end by itself.
        watches.watches.stop();
        stopping.send_replace(true);
    });
    tracing::info!(node = config.node.0, engine = %config.engine, %cluster, http = %server.local_addr(), "serving");
    let wants_vote = config.join.as_ref().is_some_and(|join| !join.learner);
    tokio::select! {
        _ = async { tokio::join!(serving, serving_clients) } => {}
        () = belonging::watch(member, wants_vote) => {}
    }
    replica.shutdown().await;
    ending.await.unwrap_or(Ok(()))?;
    replica.stopped().await.map_err(|reason| ServiceError::Stopped { reason })
}

/// Reads off what the rooms have counted, whenever it is asked to.
fn counting(
    store: &Store,
    transport: Arc<QuicTransport>,
    replica: Arc<Replica>,
) -> Box<dyn Fn() -> Counts + Send + Sync> {
    let (log, tables) = (store.log.clone(), store.tables.clone());
    Box::new(move || Counts {
        log: log.counts(),
        table_writes: tables.writes(),
        transport: transport.counts(),
        replica: replica.counts(),
    })
}

/// Finds the node's cluster: the one that its directory is stamped with, or else one to found, or to join.
async fn enter(
    config: &NodeConfig,
    store: &Store,
    transport: &QuicTransport,
    waiting_for: &watch::Sender<String>,
) -> Result<(ClusterId, Membership), ServiceError> {
    match (&config.join, store.stamp().cluster) {
        (Some(join), None) => joining::join(config, join, store, transport, waiting_for).await,
        (join, cluster) => {
            if let (Some(_), Some(cluster)) = (join, cluster) {
                tracing::info!(%cluster, "the data directory belongs to a cluster already, --join asks nobody");
            }
            founding::found(config, store, transport).await
        }
    }
}

/// How long a leader that stops tries to hand over: two attempts, or whatever an operator does not notice.
fn parting_time(config: &NodeConfig) -> Duration {
    Duration::from_secs(1).max(2 * config.timing.election_timeout)
}

fn certificates(config: &NodeConfig) -> Result<NodeTls, ServiceError> {
    Ok(match &config.tls_dir {
        Some(directory) => NodeTls::from_dir(directory)?,
        None => dev_certs::node_tls(config.node, None)?,
    })
}

fn open_store(config: &NodeConfig) -> Result<Store, ServiceError> {
    let expected = Expected { node: config.node, engine: config.engine, group: GroupId(0), era: Era(0) };
    let options = StoreOptions { sync: config.sync, tables: &schema::TABLES };
    if !config.sync {
        tracing::warn!("writes do not wait for the disk: a power failure loses what was acknowledged");
    }
    let store = Store::open(&config.data_dir, expected, options)?;
    if !config.log_delay.is_zero() {
        let delay_ms = config.log_delay.as_millis();
        tracing::warn!(delay_ms, "every write to the log is slowed down: this node is for experiments only");
        store.log.delay_writes(config.log_delay);
    }
    Ok(store)
}

async fn open_transport(
    config: &NodeConfig,
    store: &Store,
    tls: NodeTls,
    http: SocketAddr,
) -> Result<QuicTransport, ServiceError> {
    let stamp = store.stamp();
    let transport = TransportConfig {
        node: config.node,
        store: stamp.store,
        restored_from: stamp.restored_from,
        cluster: stamp.cluster,
        group: stamp.group,
        era: stamp.era,
        engine: stamp.engine,
        contacts: config.peers.clone(),
        listen: config.listen.to_string(),
        service_address: advertised(http, config.listen).map(|address| address.to_string()),
        client_alpn: Some(kv_client::wire::ALPN),
        tls,
        limits: TransportLimits { replication_streams: config.replication_streams, ..TransportLimits::default() },
        timing: LinkTiming::default(),
    };
    Ok(QuicTransport::bind(transport).await?)
}

/// Where others reach the HTTP server of this node: a server on every interface is found where peers find the node.
fn advertised(http: SocketAddr, listen: SocketAddr) -> Option<SocketAddr> {
    let ip = if http.ip().is_unspecified() { listen.ip() } else { http.ip() };
    (!ip.is_unspecified()).then(|| SocketAddr::new(ip, http.port()))
}

/// The machine, with its founders, announcing its revisions to the watches.
fn open_machine(
    store: &Store,
    founders: &Membership,
    watches: &Watches,
) -> Result<KvMachine<RocksTables>, ServiceError> {
    let mut machine = KvMachine::open(store.tables.clone())?;
    if machine.applied()?.membership.is_none() {
        machine.found(Arc::new(founders.clone()))?;
    }
    machine.announce(Box::new(watches.announcer()));
    Ok(machine)
}

fn start_replica(
    config: &NodeConfig,
    store: &Store,
    machine: KvMachine<RocksTables>,
    snapshots: RocksSnapshots,
    transport: Arc<QuicTransport>,
    founders: Membership,
) -> Result<Replica, ServiceError> {
    let engine = EngineConfig {
        node: config.node,
        store: Some(store.stamp().store),
        boot: store.stamp().boots,
        seed: config.seed.unwrap_or_else(chance::number),
        timing: config.timing.clone(),
        limits: Limits::default(),
    };
    let parts = Parts { log: store.log.clone(), transport, machine, snapshots: Arc::new(snapshots) };
    let snapshots = config.snapshots.clone();
    Ok(engines::start(config.engine, ReplicaConfig { engine, founders, requests_max: REQUESTS_MAX, snapshots }, parts)?)
}
