//! Nodes that do not belong together, and configurations that cannot work.

use consensus_api::{EngineName, NodeId, StoreId};

use super::{Site, bind, reach, until};
use crate::{Authority, HelloRefused, NodeTls, QuicTransport, RefusalCause, TransportError};

#[tokio::test]
async fn another_engine_is_refused_and_both_sides_know_why() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let two = bind(|| {
        let mut config = site.config(2);
        config.engine = EngineName::new("other");
        config
    })
    .await;
    for (transport, peer) in [(&one, NodeId(2)), (&two, NodeId(1))] {
        let refusals = until(transport.refusals(), |all| all.contains_key(&peer)).await;
        let cause = refusals[&peer].cause.to_string();
        assert!(matches!(refusals[&peer].cause, RefusalCause::Hello(HelloRefused::OtherEngine { .. })), "{cause}");
        assert!(cause.contains("engine other") || cause.contains("engine any"), "{cause}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let site = Site::new(2);
    let mut impostors = Site::new(0);
    impostors.addresses = site.addresses.clone();
    let one = site.start(1).await;
    let two = impostors.start(2).await;
    let refusals = until(one.refusals(), |all| all.contains_key(&NodeId(2))).await;
    assert!(matches!(refusals[&NodeId(2)].cause, RefusalCause::Tls(_)), "{}", refusals[&NodeId(2)]);
    until(two.refusals(), |all| all.contains_key(&NodeId(1))).await;
    assert!(one.founders().borrow().is_empty());
}

#[tokio::test]
async fn a_refusal_is_forgotten_when_the_peer_comes_back_as_it_should() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let wrong = bind(|| {
        let mut config = site.config(2);
        config.store = StoreId(99);
        config
    })
    .await;
    until(one.refusals(), |all| all.contains_key(&NodeId(2))).await;
    drop(wrong);
    let right = site.start(2).await;
    until(one.refusals(), |all| all.is_empty()).await;
    assert_eq!(reach(&one, NodeId(2), &right).await.from, NodeId(1));
}

#[tokio::test]
async fn the_certificate_of_another_node_does_not_start() {
    let site = Site::new(2);
    let mut config = site.config(1);
    config.tls = site.tls(2);
    let error = QuicTransport::bind(config).await.expect_err("the certificate is node 2's");
    assert!(matches!(error, TransportError::CertificateOfAnother { node: NodeId(1), .. }), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let site = Site::new(2);
    let _one = site.start(1).await;
    let mut config = site.config(2);
    config.listen = site.addresses[&NodeId(1)].clone();
    let error = QuicTransport::bind(config).await.expect_err("the port is taken");
    assert!(matches!(error, TransportError::AddressInUse { .. }), "{error}");
    assert!(error.to_string().contains(&site.addresses[&NodeId(1)]), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_named() {
    let site = Site::new(1);
    for listen in ["7001", "127.0.0.1", "127.0.0.1:70000", ""] {
        let mut config = site.config(1);
        config.listen = listen.to_owned();
        let error = QuicTransport::bind(config).await.expect_err("not an address");
        assert!(matches!(error, TransportError::Address { .. }), "{listen}: {error}");
    }
}

#[test]
fn each_missing_or_damaged_file_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = "node-1.test.quorate".parse().expect("a name");
    let authority = Authority::generate("test", 1).expect("an authority");
    for file in ["ca.pem", "node.pem", "node.key"] {
        authority.write_node(dir.path(), &name, 1).expect("written");
        assert_eq!(NodeTls::from_dir(dir.path()).expect("whole").name(), &name);
        std::fs::write(dir.path().join(file), "rubbish").expect("written");
        let damaged = NodeTls::from_dir(dir.path()).expect_err("damaged").to_string();
        assert!(damaged.contains(file), "{damaged}");
        std::fs::remove_file(dir.path().join(file)).expect("removed");
        let missing = NodeTls::from_dir(dir.path()).expect_err("missing");
        assert!(matches!(missing, TransportError::File { .. }) && missing.to_string().contains(file), "{missing}");
    }
}

#[test]
fn an_authority_is_read_back_and_never_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    Authority::generate("test", 1).expect("an authority").save(dir.path()).expect("saved");
    let loaded = Authority::load(dir.path()).expect("loaded");
    let name = "node-1.test.quorate".parse().expect("a name");
    loaded.write_node(dir.path(), &name, 1).expect("signed");
    assert!(NodeTls::from_dir(dir.path()).is_ok());
    assert!(matches!(loaded.save(dir.path()), Err(TransportError::Exists { .. })));
}
