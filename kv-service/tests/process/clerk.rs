//! A Clerk and real nodes: what it reads, writes and watches, and what it makes of the death of a leader.

use std::time::Duration;

use kv_client::wire::{Compare, Operation, OperationResult, Txn};
use kv_client::{Clerk, ClerkError, Expect, KeyRange, TlsFiles};

use crate::harness::{Cluster, PATIENCE};

impl Cluster {
    /// A Clerk that is given these nodes, with the development certificates that they have made.
    pub async fn clerk(&self, ids: &[u64]) -> Clerk {
        let endpoints = ids.iter().map(|id| format!("127.0.0.1:{}", self.nodes[id].listen));
        let builder = Clerk::builder().endpoints(endpoints).request_timeout(PATIENCE);
        builder.tls(TlsFiles::in_dir(self.directory.path().join("state/quorate"))).connect().await.unwrap()
    }
}

async fn reads_writes_and_watches(engine: &'static str) {
    let cluster = Cluster::start(engine, 3).await;
    let clerk = cluster.clerk(&[1, 2, 3]).await;
    assert_eq!(clerk.get("a").await.unwrap(), None);
    let mut watch = clerk.watch("a", None).await.unwrap();
    let first = clerk.put("a", "1").await.unwrap();
    assert_eq!(first.version, 1);
    let seen = watch.next().await.unwrap().unwrap();
    assert_eq!((&seen.key.0[..], seen.revision), (&b"a"[..], first.revision));
    assert_eq!(clerk.append("a", "2").await.unwrap().version, 2);
    assert_eq!(clerk.get("a").await.unwrap().unwrap().value.0, "12");
    let mismatch = clerk.put_if("a", "x", Expect::Version(1)).await.unwrap_err();
    assert_eq!(mismatch, ClerkError::VersionMismatch { version: 2, mod_revision: first.revision + 1 });
    assert!(clerk.cas("a", "12", "3").await.unwrap());
    assert!(!clerk.cas("a", "12", "4").await.unwrap());
    let taken = Txn::new().when(Compare::absent("a")).then(Operation::put("a", "x")).otherwise(Operation::get("a"));
    let taken = clerk.txn(taken).await.unwrap();
    assert!(!taken.succeeded);
    assert!(matches!(&taken.results[..], [OperationResult::Got(Some(item))] if item.value.0 == "3"));
    for key in ["b/1", "b/2", "c"] {
        clerk.put(key, key).await.unwrap();
    }
    let mut scan = clerk.scan(KeyRange::prefix("b/"));
    let mut keys = Vec::new();
    while let Some(item) = scan.next().await {
        keys.push(item.unwrap().key.0);
    }
    assert_eq!(keys, ["b/1", "b/2"]);
    assert!(clerk.delete("a").await.unwrap().deleted);
    let mut values = Vec::new();
    for _ in 0..3 {
        values.push(watch.next().await.unwrap().unwrap().item.map(|item| item.value.0));
    }
    assert_eq!(values, [Some("12".into()), Some("3".into()), None]);
}

#[tokio::test]
async fn a_clerk_reads_writes_and_watches_with_raft() {
    reads_writes_and_watches("raft").await;
}

#[tokio::test]
async fn a_clerk_reads_writes_and_watches_with_paxos() {
    reads_writes_and_watches("paxos").await;
}

#[tokio::test]
async fn an_ephemeral_key_goes_with_its_clerk() {
    let cluster = Cluster::start("raft", 1).await;
    let (clerk, other) = (cluster.clerk(&[1]).await, cluster.clerk(&[1]).await);
    clerk.put_ephemeral("name", "mine", Expect::Version(0)).await.unwrap();
    assert!(other.get("name").await.unwrap().is_some());
    let mut watch = other.watch("name", Some(1)).await.unwrap();
    assert!(watch.next().await.unwrap().unwrap().item.is_some());
    clerk.close().await.unwrap();
    assert!(watch.next().await.unwrap().unwrap().item.is_none());
    assert_eq!(other.get("name").await.unwrap(), None);
}

/// Every append of a run stands in the value once, whatever became of the leader meanwhile.
async fn appends_across_a_change_of_leader(engine: &'static str) {
    const APPENDS: usize = 400;
    let mut cluster = Cluster::start(engine, 3).await;
    let clerk = cluster.clerk(&[1, 2, 3]).await;
    let mut watch = clerk.watch("log", None).await.unwrap();
    // The watch is there before the first append is.
    clerk.put("log", "").await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..APPENDS {
        let clerk = clerk.clone();
        appends.spawn(async move { clerk.append("log", format!("{number},")).await.map(|written| written.version) });
        if number == APPENDS / 2 {
            let leader = cluster.leader().await;
            cluster.kill(leader);
        }
        if number % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut versions = Vec::new();
    while let Some(version) = appends.join_next().await {
        versions.push(version.unwrap().unwrap());
    }
    versions.sort_unstable();
    // The put was version 1; a reply of its own for each, so each was applied once and answered for itself.
    assert_eq!(versions, (2..=APPENDS as u64 + 1).collect::<Vec<_>>());
    let value = clerk.get("log").await.unwrap().unwrap().value.0;
    let mut found: Vec<usize> =
        std::str::from_utf8(&value).unwrap().split_terminator(',').map(|number| number.parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..APPENDS).collect::<Vec<_>>());
    // The watch, which may have been at the node that died, saw each change once and in order.
    let mut last = 1;
    while last <= APPENDS as u64 {
        let change = watch.next().await.unwrap().unwrap();
        let version = change.item.unwrap().version;
        assert_eq!(version, last + 1);
        last = version;
    }
}

#[tokio::test]
async fn a_write_that_is_retried_across_the_death_of_a_raft_leader_is_applied_once() {
    appends_across_a_change_of_leader("raft").await;
}

#[tokio::test]
async fn a_write_that_is_retried_across_the_death_of_a_paxos_leader_is_applied_once() {
    appends_across_a_change_of_leader("paxos").await;
}

#[tokio::test]
async fn a_clerk_that_gives_up_says_maybe() {
    let mut cluster = Cluster::start("raft", 3).await;
    let leader = cluster.leader().await;
    let endpoint = format!("127.0.0.1:{}", cluster.nodes[&leader].listen);
    let tls = TlsFiles::in_dir(cluster.directory.path().join("state/quorate"));
    let timeout = Duration::from_millis(1500);
    let clerk = Clerk::builder().endpoints([endpoint]).tls(tls).request_timeout(timeout).connect().await.unwrap();
    clerk.put("k", "1").await.unwrap();
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.kill(id);
    }
    // The leader has it in its log, and nobody can say whether it will be chosen.
    let error = clerk.put("k", "2").await.unwrap_err();
    assert!(matches!(error, ClerkError::Maybe { .. }), "{error}");
}
