//! Freshness of reads, and requests over a real connection.

use std::net::SocketAddr;

use kv_client::{ClientError, Expect, HttpClient, ReadOptions, WriteOptions};
use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn only_a_stale_read_does_without_the_barrier() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    node.get("/v1/kv/k?consistency=stale").await.ok();
    node.get("/v1/kv?consistency=stale").await.ok();
    assert_eq!(node.log.barriers.load(Ordering::Relaxed), 0);
    for path in ["/v1/kv/k", "/v1/kv/k?consistency=linearizable", "/v1/kv", "/v1/kv/absent"] {
        node.get(path).await;
    }
    assert_eq!(node.log.barriers.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_read_is_as_fresh_as_it_asks_to_be() {
    let node = Node::new();
    for path in ["/v1/kv/k", "/v1/kv"] {
        for (consistency, mode) in [("linearizable", ReadMode::Index), ("lease", ReadMode::Lease)] {
            node.get(&format!("{path}?consistency={consistency}")).await;
            assert_eq!(node.log.modes.lock().unwrap().pop(), Some(mode), "{path} {consistency}");
        }
    }
}

#[tokio::test]
async fn a_stale_read_works_without_a_quorum() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    node.next_fails(Refusal::NoLeader);
    assert_eq!(node.get("/v1/kv/k?consistency=stale").await.ok().body, "v");
}

/// The node behind a real port, until the sender is dropped.
async fn served(node: &Node) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = node.router.clone();
    let serving = tokio::spawn(async move { server.serve(router, async { drop(stopped.await) }).await });
    (address, stop, serving)
}

#[tokio::test]
async fn the_client_library_and_the_server_understand_each_other() {
    let node = Node::new();
    let (address, _stop, _serving) = served(&node).await;
    let client = HttpClient::new([address.to_string()]).unwrap();
    let key = b"any/key \xff+%";
    let once = WriteOptions { expect: Expect::Version(0), ..WriteOptions::default() };
    let put = client.put(key, "value".into(), once).await.unwrap();
    assert_eq!((put.version, put.revision), (1, 1));
    let refused = client.put(key, "again".into(), once).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::VersionMismatch));
    let revised = WriteOptions { expect: Expect::ModRevision(1), ..WriteOptions::default() };
    client.append(key, "!".into(), revised).await.unwrap();
    let found = client.get(key, ReadOptions::default()).await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.version, found.mod_revision, found.revision), (&b"value!"[..], 2, 2, 2));
    let page = client.scan(&Default::default(), ReadOptions::default()).await.unwrap();
    assert_eq!(page.items[0].key.0, &key[..]);
    assert_eq!(client.status(Duration::from_secs(5)).await.unwrap().leader_id, Some(1));
    assert!(client.delete(key, WriteOptions::default()).await.unwrap().deleted);
    assert_eq!(client.get(key, ReadOptions::default()).await.unwrap(), None);
    node.next_fails(RequestError::Unknown { waited_ms: 1 });
    let unknown = client.put(key, "x".into(), WriteOptions::default()).await.unwrap_err();
    assert!(matches!(unknown, ClientError::Unknown { .. }), "{unknown:?}");
}

#[tokio::test]
async fn a_server_that_stops_ends_idle_connections_and_returns() {
    let node = Node::new();
    let (address, stop, serving) = served(&node).await;
    let client = HttpClient::new([address.to_string()]).unwrap();
    client.put(b"k", "v".into(), WriteOptions::default()).await.unwrap();
    drop(stop);
    tokio::time::timeout(Duration::from_secs(4), serving).await.expect("the idle connection held it up").unwrap();
    let refused = client.put(b"k", "v".into(), WriteOptions::default()).await;
    assert!(matches!(refused, Err(ClientError::Unreachable { .. } | ClientError::Unknown { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = HttpServer::bind(taken.local_addr()).await.unwrap_err().to_string();
    assert!(error.contains(&taken.local_addr().to_string()) && error.contains("--http"), "{error}");
}
