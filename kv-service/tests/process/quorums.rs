//! How many nodes may be missing: with a majority the service goes on, without one it refuses in time.

use std::time::{Duration, Instant};

use kv_client::ClientError;

use crate::harness::Cluster;

async fn five_nodes_need_three(engine: &'static str) {
    let mut cluster = Cluster::start_with(engine, 5, &["--request-timeout-ms", "2000"]).await;
    let leader = cluster.leader().await;
    let followers: Vec<u64> = cluster.running().into_iter().filter(|id| *id != leader).collect();
    cluster.client(&[leader]).put("k", "five").await.unwrap();

    cluster.kill(followers[0]);
    cluster.kill(followers[1]);
    cluster.client(&[leader]).put("k", "three").await.unwrap();
    assert_eq!(cluster.client(&[followers[2]]).get("k").await.unwrap().as_deref(), Some("three"));

    cluster.kill(followers[2]);
    // A first write may still be taken by a leader that has not noticed; then its outcome is unknown.
    let first = cluster.client(&[leader]).put("maybe", "x").await;
    assert!(first.is_err(), "two of five acknowledged a write");
    for id in cluster.running() {
        // Time for one answer: the client would ask again for as long as it has more.
        let client = cluster.client(&[id]).with_timeout(Duration::from_secs(3));
        let since = Instant::now();
        let refused = client.put("refused", "x").await;
        assert!(since.elapsed() < Duration::from_secs(4), "refused after {:?}", since.elapsed());
        let Err(ClientError::Api { status: 503, message, .. }) = &refused else { panic!("node {id}: {refused:?}") };
        assert!(message.contains("no quorum"), "{message}");
        let refused = client.get("k").await;
        assert!(matches!(&refused, Err(ClientError::Api { status: 503, .. })), "node {id}: {refused:?}");
    }

    cluster.run(followers[2]);
    cluster.leader().await;
    let client = cluster.client(&cluster.running());
    assert_eq!(client.get("k").await.unwrap().as_deref(), Some("three"));
    assert_eq!(client.get("refused").await.unwrap(), None, "what was refused did not happen");
    client.put("k", "three again").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_goes_on_with_three_of_five_and_refuses_with_two() {
    five_nodes_need_three("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_goes_on_with_three_of_five_and_refuses_with_two() {
    five_nodes_need_three("paxos").await;
}
