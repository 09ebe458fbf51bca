//! Clients at the peers' port: who is taken in, who is not, and that peers do not suffer from them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use consensus_api::NodeId;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};

use super::{Site, bind, reach, within};
use crate::hello::HelloRefused;
use crate::link::CLOSE_REFUSED;
use crate::{Authority, CertificateName, CertificateRole, ClientClosed, NodeTls};

impl Site {
    fn client(&self, name: &str, cluster: &str) -> NodeTls {
        let name = CertificateName::client(name, cluster).expect("a name");
        self.authority.node_tls(Path::new("memory"), &name, 1).expect("a certificate")
    }
}

/// Dials node 1 with this protocol, as far as TLS goes.
async fn dial(site: &Site, tls: &NodeTls, alpn: &[u8]) -> Result<(Endpoint, Connection), ConnectionError> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).expect("a socket");
    let config = tls.client_config_for(alpn).expect("a configuration");
    let address: SocketAddr = site.addresses[&NodeId(1)].parse().unwrap();
    let connecting = endpoint.connect_with(ClientConfig::new(Arc::new(config)), address, "node-1.test.quorate");
    let connection = within(connecting.expect("dials")).await?;
    Ok((endpoint, connection))
}

/// The code with which node 1 closed.
async fn verdict(connection: &Connection) -> VarInt {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code,
        other => panic!("closed otherwise: {other}"),
    }
}

fn code(closed: ClientClosed) -> VarInt {
    VarInt::from_u32(closed as u32)
}

#[tokio::test]
async fn a_client_is_handed_to_the_service_and_speaks_on_streams_of_its_own() {
    let site = Site::new(1);
    let one = site.start(1).await;
    let mut clients = one.clients();
    let (_endpoint, connection) = dial(&site, &site.client("ada", "test"), b"client/1").await.expect("TLS is in order");
    let client = within(clients.next()).await.expect("a client");
    assert_eq!(*client.name().role(), CertificateRole::Client("ada".into()));
    let (mut send, mut receive) = within(connection.open_bi()).await.expect("a stream");
    send.write_all(b"hello").await.expect("written");
    let (mut answer, mut question) = within(client.accept_stream()).await.expect("a stream");
    let mut heard = [0; 5];
    within(question.read_exact(&mut heard)).await.expect("read");
    answer.write_all(&heard).await.expect("written");
    within(receive.read_exact(&mut heard)).await.expect("read");
    assert_eq!(&heard, b"hello");
    client.close(7, "enough");
    assert_eq!(verdict(&connection).await, VarInt::from_u32(7));
}

#[tokio::test]
async fn a_node_may_be_a_client() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let mut clients = one.clients();
    let _kept = dial(&site, &site.tls(2), b"client/1").await.expect("TLS is in order");
    let client = within(clients.next()).await.expect("a client");
    assert_eq!(*client.name().role(), CertificateRole::Node(NodeId(2)));
}

#[tokio::test]
async fn a_clients_certificate_makes_no_peer() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let mut clients = one.clients();
    let (_endpoint, connection) = dial(&site, &site.client("ada", "test"), crate::tls::PEER_ALPN).await.expect("TLS");
    let hello = super::hostile::hello_of(2);
    // Whether the answer or the close comes first, it is a refusal.
    let refused = within(crate::hello::offer(&connection, &hello)).await;
    assert!(refused.is_err());
    assert_eq!(verdict(&connection).await, CLOSE_REFUSED);
    let close = connection.close_reason();
    let Some(ConnectionError::ApplicationClosed(close)) = close else { panic!("closed otherwise: {close:?}") };
    let reason: HelloRefused = consensus_api::codec::decode(&close.reason).expect("a reason");
    assert!(matches!(reason, HelloRefused::NotTheCertificates { .. }), "{reason}");
    assert!(futures_are_pending(clients.next()).await);
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_is_refused_in_the_handshake() {
    let site = Site::new(1);
    let one = site.start(1).await;
    let _clients = one.clients();
    assert!(dial(&site, &site.client("ada", "test"), b"client/2").await.is_err());
}

#[tokio::test]
async fn a_client_of_another_cluster_is_closed_with_the_reason() {
    let site = Site::new(1);
    let one = site.start(1).await;
    let _clients = one.clients();
    // Of the same authority, so that TLS has nothing against it.
    let (_endpoint, connection) =
        dial(&site, &site.client("ada", "other"), b"client/1").await.expect("TLS is in order");
    assert_eq!(verdict(&connection).await, code(ClientClosed::OtherCluster));
}

#[tokio::test]
async fn a_client_of_an_unknown_authority_does_not_get_in() {
    let site = Site::new(1);
    let one = site.start(1).await;
    let mut clients = one.clients();
    let stranger = Authority::generate("test", 1).expect("an authority");
    let name = CertificateName::client("ada", "test").expect("a name");
    let tls = stranger.node_tls(Path::new("memory"), &name, 1).expect("a certificate");
    assert!(dial(&site, &tls, b"client/1").await.is_err(), "it does not trust the node either");
    assert!(futures_are_pending(clients.next()).await);
}

#[tokio::test]
async fn where_nobody_serves_the_client_is_told_so() {
    let site = Site::new(1);
    let _one = site.start(1).await;
    let (_endpoint, connection) = dial(&site, &site.client("ada", "test"), b"client/1").await.expect("TLS is in order");
    assert_eq!(verdict(&connection).await, code(ClientClosed::NotServing));
}

#[tokio::test]
async fn the_places_of_clients_are_counted_come_back_and_are_not_the_peers() {
    let site = Site::new(2);
    let one = bind(|| {
        let mut config = site.config(1);
        config.limits.clients_max = 2;
        config
    })
    .await;
    consensus_api::Transport::set_membership(&one, &site.membership());
    let mut clients = one.clients();
    let tls = site.client("ada", "test");
    let mut taken = Vec::new();
    for _ in 0..2 {
        let dialed = dial(&site, &tls, b"client/1").await.expect("TLS is in order");
        taken.push((dialed, within(clients.next()).await.expect("a client")));
    }
    let (_endpoint, refused) = dial(&site, &tls, b"client/1").await.expect("TLS is in order");
    assert_eq!(verdict(&refused).await, code(ClientClosed::Full));
    let two = site.start(2).await;
    assert_eq!(reach(&two, NodeId(1), &one).await.from, NodeId(2));
    drop(taken.pop());
    let _kept = dial(&site, &tls, b"client/1").await.expect("TLS is in order");
    within(clients.next()).await.expect("a place is free again");
}

/// Whether nothing is there now.
async fn futures_are_pending<F: Future>(future: F) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}
