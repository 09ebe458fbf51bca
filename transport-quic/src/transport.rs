//! The transport as its owner sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use consensus_api::{ClusterId, Incoming, Lane, Membership, NodeId, Transport};
use rustls::crypto::SecureRandom;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::info;

use crate::clients::{ClientConnections, ClientDoor};
use crate::config::TransportConfig;
use crate::context::{Context, Founder, SharedContext};
use crate::counters::{Counters, TransportCounts};
use crate::endpoint;
use crate::error::TransportError;
use crate::hello::{Hello, SERVICE_ADDRESS_BYTES_MAX};
use crate::inbox::Inbox;
use crate::incoming;
use crate::link::CLOSE_DONE;
use crate::locks::{read, write};
use crate::name::CertificateRole;
use crate::refusals::{Refusal, Refusals};
use crate::roster::Roster;
use crate::standing::Standing;
use crate::tls;

/// How long `close` waits for the peers to hear of it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Peers over QUIC with mutual TLS. Dropping it closes it, without waiting for the peers to hear of it.
#[derive(Debug)]
pub struct QuicTransport {
    context: SharedContext,
    acceptor: AbortHandle,
    local: SocketAddr,
}

/// How a peer stands, for people and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where it is dialed.
    pub address: String,
    /// What is sent to it now leaves.
    pub sending: bool,
    /// What it sends now arrives.
    pub receiving: bool,
    /// The round trip, while it is sent to.
    pub rtt: Option<Duration>,
    /// Per lane, in the order of [`Lane::ALL`]: the messages that were dropped because too much waited.
    pub dropped: [u64; Lane::ALL.len()],
}

impl QuicTransport {
    /// Listens, and begins to dial the contacts. Within a tokio runtime.
    ///
    /// Fails where the address cannot be listened on, and where the certificate is not this node's.
    pub async fn bind(config: TransportConfig) -> Result<QuicTransport, TransportError> {
        let TransportConfig {
            node,
            store,
            restored_from,
            cluster,
            group,
            era,
            engine,
            contacts,
            listen,
            service_address,
            client_alpn,
            tls,
            limits,
            timing,
        } = config;
        if *tls.name().role() != CertificateRole::Node(node) {
            return Err(TransportError::CertificateOfAnother { found: tls.name().to_string(), node });
        }
        if let Some(found) = service_address.as_ref().map(String::len).filter(|len| *len > SERVICE_ADDRESS_BYTES_MAX) {
            return Err(TransportError::ServiceAddressTooLong { found, limit: SERVICE_ADDRESS_BYTES_MAX });
        }
        let (endpoint, client) = endpoint::open(&listen, &tls, client_alpn, &limits, &timing).await?;
        let local = endpoint.local_addr().map_err(|source| TransportError::Bind { address: listen.clone(), source })?;
        let address = if listen.ends_with(":0") { local.to_string() } else { listen };
        let life = draw_life()?;
        let mine = Hello {
            engine,
            group,
            era,
            node,
            store,
            address,
            service_address,
            restored_from,
            life,
            cluster,
            members_version: 0,
        };
        let context = Arc::new(Context {
            endpoint,
            client,
            cluster_name: tls.name().cluster().to_owned(),
            inbox: Inbox::new(limits.inbox_bytes_max),
            clients: ClientDoor::new(limits.clients_max),
            limits,
            timing,
            roster: RwLock::new(Roster::new(Standing::new(mine, contacts))),
            counters: Arc::new(Counters::default()),
            refusals: Refusals::new(),
            founders: watch::Sender::new(BTreeMap::new()),
        });
        write(&context.roster).dial_known(&context);
        let acceptor = tokio::spawn(incoming::accept(Arc::clone(&context))).abort_handle();
        info!(node = node.0, address = %local, "listening for peers");
        Ok(QuicTransport { context, acceptor, local })
    }

    /// The clients that connect from now on. Each is given to one caller only: the latest of this method. Until it is
    /// called they are told that nobody serves them here.
    pub fn clients(&self) -> ClientConnections {
        self.context.clients.open()
    }

    /// Where it tells its peers that it can be reached.
    pub fn address(&self) -> String {
        self.context.hello().address
    }

    /// Where it listens; with the port that was chosen, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Where a peer serves others than its peers, if it is connected and has said so.
    pub fn service_address(&self, node: NodeId) -> Option<String> {
        let roster = read(&self.context.roster);
        let link = roster.peers().get(&node)?.links().next()?;
        link.hello.service_address.clone()
    }

    /// What each peer last said of itself. Complete when every contact is in it: then the founders know each other.
    pub fn founders(&self) -> watch::Receiver<BTreeMap<NodeId, Founder>> {
        self.context.founders.subscribe()
    }

    /// This node is stamped: from now on messages flow to and from the nodes of the same stamp, on the links that are
    /// there already. Panics if it was stamped with another cluster before.
    pub fn set_cluster(&self, cluster: ClusterId, membership: &Membership) {
        self.context.set_members(Some(cluster), membership);
    }

    /// Why the peers that refuse us, or that we refuse, do so. Empty when all is well.
    pub fn refusals(&self) -> watch::Receiver<BTreeMap<NodeId, Refusal>> {
        self.context.refusals.watch()
    }

    /// What it has done since it was bound.
    pub fn counts(&self) -> TransportCounts {
        self.context.counters.read()
    }

    /// How each peer stands.
    pub fn peers(&self) -> BTreeMap<NodeId, PeerStatus> {
        let roster = read(&self.context.roster);
        let status = roster.peers().iter().map(|(node, peer)| {
            let status = PeerStatus {
                address: peer.address().to_owned(),
                sending: peer.outgoing().is_some(),
                receiving: peer.incoming().is_some(),
                rtt: peer.outgoing().map(|link| link.connection.rtt()),
                dropped: peer.lanes().dropped(),
            };
            (*node, status)
        });
        status.collect()
    }

    fn stop(&self) {
        self.context.inbox.close();
        self.context.clients.shut();
        self.acceptor.abort();
        write(&self.context.roster).clear();
        self.context.endpoint.close(CLOSE_DONE, b"closed");
    }
}

#[async_trait]
impl Transport for QuicTransport {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) {
        read(&self.context.roster).send(to, lane, payload);
    }

    async fn receive(&self, batch: &mut Vec<Incoming>) -> bool {
        self.context.inbox.receive(batch).await
    }

    fn set_membership(&self, membership: &Membership) {
        self.context.set_members(None, membership);
    }

    async fn close(&self) {
        self.stop();
        // A peer that does not hear of it notices by itself, later.
        let _ = timeout(CLOSE_PATIENCE, self.context.endpoint.wait_idle()).await;
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Never zero, which stands for "not heard of yet".
fn draw_life() -> Result<u64, TransportError> {
    let mut bytes = [0; 8];
    let random: &dyn SecureRandom = tls::provider().secure_random;
    random.fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
