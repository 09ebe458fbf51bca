//! Whole transports on loopback, and what a hostile or misconfigured peer can do to them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clients;
mod conformance;
mod counters;
mod forming;
mod hostile;
mod members;
mod misfits;
mod restart;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{
    ClusterId, EngineName, Era, GroupId, Incoming, Lane, Member, Membership, NodeId, StoreId, Transport,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::{
    Authority, CertificateName, Founder, LinkTiming, NodeTls, QuicTransport, TransportConfig, TransportError,
    TransportLimits,
};

/// Nothing takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const CLUSTER: ClusterId = ClusterId(7);

/// The nodes of one test: their authority and where they listen.
struct Site {
    authority: Authority,
    addresses: BTreeMap<NodeId, String>,
}

impl Site {
    fn new(nodes: u64) -> Site {
        // Held together, so that each gets a port of its own.
        let sockets: Vec<UdpSocket> =
            (0..nodes).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a free port")).collect();
        let addresses = (1..).map(NodeId).zip(sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()));
        Site { authority: Authority::generate("test", 1).expect("an authority"), addresses: addresses.collect() }
    }

    fn tls(&self, node: u64) -> NodeTls {
        let name = CertificateName::node(NodeId(node), "test").expect("a name");
        self.authority.node_tls(Path::new("memory"), &name, 1).expect("a certificate")
    }

    /// A node that is stamped and knows all others as contacts.
    fn config(&self, node: u64) -> TransportConfig {
        TransportConfig {
            node: NodeId(node),
            store: store_of(NodeId(node)),
            restored_from: None,
            cluster: Some(CLUSTER),
            group: GroupId(0),
            era: Era(0),
            engine: EngineName::new("any"),
            contacts: self.addresses.clone(),
            listen: self.addresses[&NodeId(node)].clone(),
            service_address: None,
            client_alpn: Some(b"client/1"),
            tls: self.tls(node),
            limits: TransportLimits::default(),
            timing: LinkTiming::default(),
        }
    }

    /// What a node says of itself.
    fn founder(&self, node: NodeId, cluster: Option<ClusterId>) -> Founder {
        Founder { store: store_of(node), address: self.addresses[&node].clone(), cluster }
    }

    fn membership(&self) -> Membership {
        Membership::of_voters(self.addresses.iter().map(|(node, address)| (*node, member(*node, address))))
    }

    /// A stamped node with its membership.
    async fn start(&self, node: u64) -> QuicTransport {
        let transport = bind(|| self.config(node)).await;
        transport.set_membership(&self.membership());
        transport
    }
}

fn store_of(node: NodeId) -> StoreId {
    StoreId(u128::from(node.0) * 11)
}

fn member(node: NodeId, address: &str) -> Member {
    Member { address: address.to_owned(), store: store_of(node) }
}

/// Binds, also right after a transport on the same port was closed: its socket goes a moment later.
async fn bind(config: impl Fn() -> TransportConfig) -> QuicTransport {
    let bound = async {
        loop {
            match QuicTransport::bind(config()).await {
                Ok(transport) => return transport,
                Err(TransportError::AddressInUse { .. }) => sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("cannot bind: {error}"),
            }
        }
    };
    within(bound).await
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("took too long")
}

/// Waits until `wanted` holds of what is watched, and returns it.
async fn until<T: Clone>(mut watched: watch::Receiver<T>, wanted: impl Fn(&T) -> bool) -> T {
    within(watched.wait_for(wanted)).await.expect("still watched").clone()
}

/// Sends until something arrives, and returns the first that does.
async fn reach(from: &QuicTransport, to: NodeId, receiver: &QuicTransport) -> Incoming {
    within(async {
        let mut batch = Vec::new();
        loop {
            from.send(to, Lane::Control, Bytes::from_static(b"hello"));
            let _ = timeout(Duration::from_millis(10), receiver.receive(&mut batch)).await;
            if !batch.is_empty() {
                return batch.remove(0);
            }
        }
    })
    .await
}
