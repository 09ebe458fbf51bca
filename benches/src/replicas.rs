//! What the figures are taken from: whole replicas in this process, with the transport, the disk and the state machine
//! of the service, but without its HTTP.
//!
//! ```text
//!   Writer × in flight ──propose──▶ Node 1 ◀── QUIC on loopback ──▶ Node 2 … N      a data directory each
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consensus_api::{
    EngineConfig, EngineName, Era, GroupId, Limits, Member, Membership, NodeId, ReplicatedLog, Role, StateMachine,
    StoreId, Timing, Transport,
};
use kv_machine::{KvMachine, applied_state, schema};
use replica::{Parts, Replica, ReplicaConfig, SnapshotSettings};
use storage_rocks::{Expected, Store, StoreOptions, cluster_id};
use transport_quic::{LinkTiming, QuicTransport, TransportConfig, TransportLimits, dev_certs};

use crate::counted::{Counted, Sent};

/// Why a bench cannot go on.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How long a group may take to do what it must.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(1);

/// What a group consists of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which engine runs.
    pub engine: EngineName,
    /// When snapshots are taken, and how they are sent.
    pub snapshots: SnapshotSettings,
    /// When to suspect, when to reassure.
    pub timing: Timing,
}

impl Settings {
    /// The service's own, under this engine.
    pub fn of(engine: &str) -> Result<Settings, Failure> {
        let engine = kv_service::engines::parse(engine)?;
        Ok(Settings { engine, snapshots: SnapshotSettings::default(), timing: Timing::default() })
    }
}

/// Replicas that replicate to each other; some of them may be down.
pub struct Replicas {
    settings: Settings,
    directory: PathBuf,
    members: Membership,
    nodes: BTreeMap<NodeId, Node>,
    sent: Arc<Sent>,
}

/// A replica that runs, with what must not be dropped before it.
pub struct Node {
    /// The replica.
    pub replica: Arc<Replica>,
    /// Its data directory, open.
    pub store: Store,
}

impl Replicas {
    /// Founds a group of `count` in `directory` and waits until one leads. The members know each other from the start.
    pub async fn found(settings: Settings, directory: &Path, count: u64) -> Result<Replicas, Failure> {
        let mut members = BTreeMap::new();
        for node in (1..=count).map(NodeId) {
            let store = open(&settings, directory, node)?.stamp().store;
            members.insert(node, Member { address: format!("127.0.0.1:{}", free_port()?), store });
        }
        let members = Membership::of_voters(members);
        let (directory, nodes) = (directory.to_owned(), BTreeMap::new());
        let mut group = Replicas { settings, directory, members, nodes, sent: Arc::default() };
        for node in (1..=count).map(NodeId) {
            group.start(node).await?;
        }
        group.leader().await?;
        Ok(group)
    }

    /// Starts a replica that is down.
    pub async fn start(&mut self, node: NodeId) -> Result<&Node, Failure> {
        let store = open(&self.settings, &self.directory, node)?;
        let founders: Vec<_> = self.members.members.clone().into_iter().collect();
        let cluster = cluster_id(&founders, store.stamp().restored_from);
        store.stamp_cluster(cluster, &founders)?;
        let transport = Arc::new(Counted::new(self.transport(node, &store).await?, self.sent.clone()));
        let mut machine = KvMachine::open(store.tables.clone())?;
        if machine.applied()?.membership.is_none() {
            machine.found(Arc::new(self.members.clone()))?;
        }
        let snapshots = Arc::new(store.snapshots(|tables| applied_state(tables).map_err(Into::into)));
        let engine = EngineConfig {
            node,
            store: Some(store.stamp().store),
            boot: store.stamp().boots,
            seed: node.0,
            timing: self.settings.timing.clone(),
            limits: Limits::default(),
        };
        let config = ReplicaConfig {
            engine,
            founders: self.members.clone(),
            requests_max: 65_536,
            snapshots: self.settings.snapshots.clone(),
        };
        let parts = Parts { log: store.log.clone(), transport, machine, snapshots };
        let replica = Arc::new(kv_service::engines::start(self.settings.engine, config, parts)?);
        Ok(self.nodes.entry(node).or_insert(Node { replica, store }))
    }

    async fn transport(&self, node: NodeId, store: &Store) -> Result<Arc<QuicTransport>, Failure> {
        let stamp = store.stamp();
        let transport = QuicTransport::bind(TransportConfig {
            node,
            store: stamp.store,
            restored_from: stamp.restored_from,
            cluster: stamp.cluster,
            group: stamp.group,
            era: stamp.era,
            engine: stamp.engine,
            contacts: BTreeMap::new(),
            listen: self.members.members[&node].address.clone(),
            service_address: None,
            client_alpn: None,
            tls: dev_certs::node_tls(node, None)?,
            limits: TransportLimits::default(),
            timing: LinkTiming::default(),
        });
        let transport = Arc::new(transport.await?);
        transport.set_membership(&self.members);
        Ok(transport)
    }

    /// Stops a replica in order, and waits until its directory is free again.
    pub async fn stop(&mut self, node: NodeId) -> Result<(), Failure> {
        let Some(Node { replica, store }) = self.nodes.remove(&node) else { return Ok(()) };
        replica.shutdown().await;
        replica.stopped().await?;
        drop((replica, store));
        for _ in 0..PATIENCE.as_millis() / GLANCE.as_millis() {
            if open(&self.settings, &self.directory, node).is_ok() {
                return Ok(());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(format!("the directory of {node} stays in use").into())
    }

    /// What all of them have sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Those that run.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// Two transports of members 1 and 2 of another group, that nobody uses yet.
    pub async fn pair(&self) -> Result<(QuicTransport, QuicTransport), Failure> {
        let mut members = BTreeMap::new();
        for node in (1..=2).map(NodeId) {
            members
                .insert(node, Member { address: format!("127.0.0.1:{}", free_port()?), store: StoreId(node.0.into()) });
        }
        let cluster = cluster_id(&members.clone().into_iter().collect::<Vec<_>>(), None);
        let members = Membership::of_voters(members);
        let bind = async |node: NodeId| -> Result<QuicTransport, Failure> {
            let transport = QuicTransport::bind(TransportConfig {
                node,
                store: members.members[&node].store,
                restored_from: None,
                cluster: Some(cluster),
                group: GroupId(0),
                era: Era(0),
                engine: self.settings.engine,
                contacts: BTreeMap::new(),
                listen: members.members[&node].address.clone(),
                service_address: None,
                client_alpn: None,
                tls: dev_certs::node_tls(node, None)?,
                limits: TransportLimits::default(),
                timing: LinkTiming::default(),
            })
            .await?;
            transport.set_membership(&members);
            Ok(transport)
        };
        let (one, two) = (bind(NodeId(1)).await?, bind(NodeId(2)).await?);
        for _ in 0..PATIENCE.as_millis() / GLANCE.as_millis() {
            if one.peers().get(&NodeId(2)).is_some_and(|peer| peer.sending && peer.receiving) {
                return Ok((one, two));
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err("the two do not find each other".into())
    }

    /// The data directory of a node.
    pub fn path(&self, node: NodeId) -> PathBuf {
        path(&self.directory, node)
    }

    /// Whoever leads, as soon as somebody does.
    pub async fn leader(&self) -> Result<NodeId, Failure> {
        for _ in 0..PATIENCE.as_millis() / GLANCE.as_millis() {
            let leads = |node: &&NodeId| self.nodes[node].replica.status().engine.role == Role::Leader;
            if let Some(leader) = self.nodes.keys().find(leads) {
                return Ok(*leader);
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err("nobody leads".into())
    }
}

fn path(directory: &Path, node: NodeId) -> PathBuf {
    directory.join(format!("node{node}"))
}

fn open(settings: &Settings, directory: &Path, node: NodeId) -> Result<Store, Failure> {
    let expected = Expected { node, engine: settings.engine, group: GroupId(0), era: Era(0) };
    Ok(Store::open(&path(directory, node), expected, StoreOptions { sync: true, tables: &schema::TABLES })?)
}

fn free_port() -> Result<u16, Failure> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}
