//! A peer with a valid certificate that does what no peer should. Each time its connection is closed with a reason, and
//! nothing else happens: another peer is still served.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use consensus_api::{ClusterId, EngineName, Era, GroupId, Lane, NodeId, codec};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};

use super::{CLUSTER, Site, reach, store_of, within};
use crate::frame::{self, Scope};
use crate::hello::{self, Hello, HelloRefused};
use crate::link::{CLOSE_BAD_FRAME, CLOSE_REFUSED};
use crate::{NodeTls, QuicTransport};

/// A connection to node 1 under this certificate, before any hello.
async fn dial(site: &Site, tls: &NodeTls) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).expect("a socket");
    let client = ClientConfig::new(Arc::new(tls.client_config().expect("a configuration")));
    let address: SocketAddr = site.addresses[&NodeId(1)].parse().unwrap();
    let connecting = endpoint.connect_with(client, address, "node-1.test.quorate").expect("dials");
    let connection = within(connecting).await.expect("TLS is in order");
    (endpoint, connection)
}

pub(super) fn hello_of(node: u64) -> Hello {
    Hello {
        engine: EngineName::new("any"),
        group: GroupId(0),
        era: Era(0),
        node: NodeId(node),
        store: store_of(NodeId(node)),
        address: String::new(),
        service_address: None,
        restored_from: None,
        life: 1,
        cluster: Some(CLUSTER),
        members_version: 0,
    }
}

/// The code and the reason with which node 1 closed.
async fn verdict(connection: &Connection) -> (quinn::VarInt, Vec<u8>) {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => (close.error_code, close.reason.to_vec()),
        other => panic!("closed otherwise: {other}"),
    }
}

async fn serves_node_three(site: &Site, one: &QuicTransport) {
    let three = site.start(3).await;
    assert_eq!(reach(&three, NodeId(1), one).await.from, NodeId(3));
    assert_eq!(reach(one, NodeId(3), &three).await.from, NodeId(1));
}

/// Greets as node 2, sends these bytes on a stream, and returns the reason of the close.
async fn sends(bytes: &[u8]) -> String {
    let site = Site::new(3);
    let one = site.start(1).await;
    let (_endpoint, connection) = dial(&site, &site.tls(2)).await;
    within(hello::offer(&connection, &hello_of(2))).await.expect("greeted");
    let mut stream = connection.open_uni().await.expect("a stream");
    stream.write_all(bytes).await.expect("written");
    let (code, reason) = verdict(&connection).await;
    assert_eq!(code, CLOSE_BAD_FRAME);
    serves_node_three(&site, &one).await;
    String::from_utf8(reason).expect("a text")
}

fn frame_of(scope: Scope, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::encode(&scope, Lane::Control, payload, &mut out);
    out.to_vec()
}

fn scope() -> Scope {
    Scope { group: GroupId(0), era: Era(0), engine: EngineName::new("any"), cluster: CLUSTER }
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let reason = sends(&[0xa5; 4096]).await;
    assert!(reason.contains("not a frame"), "{reason}");
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_the_connection_before_it_has_arrived() {
    let mut header = frame_of(scope(), b"");
    header.truncate(frame::HEADER_BYTES - 4);
    header.extend_from_slice(&u32::MAX.to_le_bytes());
    let reason = sends(&header).await;
    assert!(reason.contains("over the limit"), "{reason}");
}

#[tokio::test]
async fn a_frame_of_another_cluster_closes_the_connection() {
    let reason = sends(&frame_of(Scope { cluster: ClusterId(8), ..scope() }, b"x")).await;
    assert!(reason.contains("cluster"), "{reason}");
}

/// Says this instead of a proper hello, and returns why it was refused.
async fn refused(certificate: &str, hello: &Hello) -> HelloRefused {
    let site = Site::new(3);
    let one = site.start(1).await;
    let name = certificate.parse().expect("a name");
    let tls = site.authority.node_tls(Path::new("memory"), &name, 1).expect("a certificate");
    let (_endpoint, connection) = dial(&site, &tls).await;
    let _ = within(hello::offer(&connection, hello)).await;
    let (code, reason) = verdict(&connection).await;
    assert_eq!(code, CLOSE_REFUSED);
    serves_node_three(&site, &one).await;
    codec::decode(&reason).expect("a reason")
}

#[tokio::test]
async fn a_claimed_id_that_is_not_the_certificates_is_refused() {
    let reason = refused("node-2.test.quorate", &hello_of(3)).await;
    let certificate = "node-2.test.quorate".to_owned();
    assert_eq!(reason, HelloRefused::NotTheCertificates { claimed: NodeId(3), certificate });
}

#[tokio::test]
async fn a_node_of_a_cluster_with_another_name_is_refused() {
    let reason = refused("node-2.other.quorate", &hello_of(2)).await;
    assert!(matches!(reason, HelloRefused::NotTheCertificates { .. }), "{reason}");
}

#[tokio::test]
async fn a_client_is_no_node() {
    let reason = refused("client-ada.test.quorate", &hello_of(2)).await;
    assert!(matches!(reason, HelloRefused::NotTheCertificates { .. }), "{reason}");
}

#[tokio::test]
async fn a_second_node_under_our_own_id_is_refused() {
    let reason = refused("node-1.test.quorate", &hello_of(1)).await;
    assert_eq!(reason, HelloRefused::SameNode { node: NodeId(1) });
}

#[tokio::test]
async fn a_hello_of_another_version_is_told_which_one_is_wanted() {
    let site = Site::new(3);
    let one = site.start(1).await;
    let (_endpoint, connection) = dial(&site, &site.tls(2)).await;
    let (mut stream, _answer) = connection.open_bi().await.expect("a stream");
    stream.write_all(b"Qr\xff\x00\x00\x00").await.expect("written");
    let (code, reason) = verdict(&connection).await;
    assert_eq!(code, CLOSE_REFUSED);
    let reason: HelloRefused = codec::decode(&reason).expect("a reason");
    assert_eq!(reason, HelloRefused::OtherProtocol { refuser: frame::PROTOCOL_VERSION, refused: 255 });
    serves_node_three(&site, &one).await;
}
