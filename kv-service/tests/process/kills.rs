//! `kill -9` under load: nothing that was acknowledged is ever missing, doubled or out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv_client::ClientError;
use tokio::task::JoinHandle;

use crate::harness::{Client, Cluster, GLANCE, PATIENCE};

const WRITERS: u64 = 6;

/// Writers that never rest until they are told to.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Journal>>,
}

/// What one writer was told.
struct Journal {
    writer: u64,
    /// Numbers whose append was acknowledged, in order.
    acknowledged: Vec<u64>,
    /// Numbers whose append may have happened.
    unknown: Vec<u64>,
}

impl Load {
    fn start(cluster: &Cluster) -> Load {
        Load::start_after(cluster, 0)
    }

    /// As `start`, with numbers above `last`, which nobody has used.
    fn start_after(cluster: &Cluster, last: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
        let writers = (0..WRITERS).map(|writer| {
            // Each begins with another node, so that most of them are forwarded.
            let mut ids = ids.clone();
            let turn = usize::try_from(writer).unwrap() % ids.len();
            ids.rotate_left(turn);
            let client = cluster.client(&ids).with_timeout(Duration::from_secs(3));
            tokio::spawn(write(writer, last, client, stop.clone(), acknowledged.clone()))
        });
        let writers = writers.collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until this many more appends were acknowledged.
    async fn progress(&self, more: u64, cluster: &Cluster) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + more;
        let since = Instant::now();
        while self.acknowledged.load(Ordering::SeqCst) < goal {
            assert!(since.elapsed() < PATIENCE, "writes do not go on; {}", cluster.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn finish(self) -> Vec<Journal> {
        self.stop.store(true, Ordering::SeqCst);
        let mut journals = Vec::new();
        for writer in self.writers {
            journals.push(writer.await.unwrap());
        }
        journals
    }
}

/// Appends the numbers after `last` to a key of its own; never the same number twice, whatever the answer.
async fn write(writer: u64, last: u64, client: Client, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Journal {
    let mut journal = Journal { writer, acknowledged: Vec::new(), unknown: Vec::new() };
    let mut number = last;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        match client.append(&key(writer), format!("{number};")).await {
            Ok(_) => {
                journal.acknowledged.push(number);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Err(ClientError::Unknown { .. }) => journal.unknown.push(number),
            // Definitely not applied: the number is simply never there.
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    }
    journal
}

fn key(writer: u64) -> String {
    format!("journal-{writer}")
}

/// Every acknowledged number is there once and in order; beyond those only numbers whose outcome was unknown.
async fn check(cluster: &Cluster, journals: &[Journal]) {
    for journal in journals {
        let client = cluster.client(&cluster.running());
        let text = client.get(&key(journal.writer)).await.unwrap().unwrap_or_default();
        let stored: Vec<u64> = text.split_terminator(';').map(|number| number.parse().unwrap()).collect();
        assert!(!journal.acknowledged.is_empty(), "writer {} wrote nothing", journal.writer);
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for number in &stored {
            *seen.entry(*number).or_default() += 1;
            let known = journal.acknowledged.binary_search(number).is_ok() || journal.unknown.contains(number);
            assert!(known, "writer {}: {number} was refused and is there all the same", journal.writer);
        }
        assert!(seen.values().all(|count| *count == 1), "writer {}: applied twice in {stored:?}", journal.writer);
        let kept: Vec<u64> =
            stored.iter().copied().filter(|number| journal.acknowledged.binary_search(number).is_ok()).collect();
        assert_eq!(kept, journal.acknowledged, "writer {}: acknowledged, and lost or out of order", journal.writer);
    }
}

async fn nodes_agree(cluster: &Cluster) {
    let digests = cluster.digests().await;
    let mut values = digests.values();
    let first = values.next();
    assert!(values.all(|digest| Some(digest) == first), "tables differ: {digests:?}");
    assert_eq!(digests.len(), cluster.nodes.len());
}

async fn survives_ten_kills_of_its_leader(engine: &'static str) {
    let mut cluster = Cluster::start(engine, 3).await;
    let load = Load::start(&cluster);
    load.progress(50, &cluster).await;
    for _ in 0..10 {
        let leader = cluster.leader().await;
        cluster.kill(leader);
        load.progress(50, &cluster).await;
        cluster.run(leader);
        cluster.leader().await;
        load.progress(50, &cluster).await;
    }
    let journals = load.finish().await;
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;

    let load = Load::start_after(&cluster, 1_000_000_000);
    load.progress(200, &cluster).await;
    cluster.kill_all();
    let mut journals = journals;
    for (journal, later) in journals.iter_mut().zip(load.finish().await) {
        journal.acknowledged.extend(later.acknowledged);
        journal.unknown.extend(later.unknown);
    }
    for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        cluster.run(id);
    }
    cluster.leader().await;
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_loses_nothing_when_its_leader_is_killed_ten_times_and_then_everyone_at_once() {
    survives_ten_kills_of_its_leader("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_loses_nothing_when_its_leader_is_killed_ten_times_and_then_everyone_at_once() {
    survives_ten_kills_of_its_leader("paxos").await;
}

async fn service_is_back_soon_after_the_leader_is_killed(engine: &'static str) {
    let mut cluster = Cluster::start(engine, 3).await;
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let leader = cluster.leader().await;
        let others: Vec<u64> = cluster.running().into_iter().filter(|id| *id != leader).collect();
        let client = cluster.client(&others).with_timeout(Duration::from_secs(10));
        client.put("k", "before").await.unwrap();
        let since = Instant::now();
        cluster.kill(leader);
        // A write that was on its way to the dead leader has an unknown outcome; this one may well be repeated.
        while client.put("k", "after").await.is_err() {
            assert!(since.elapsed() < PATIENCE, "no service; {}", cluster.logs());
        }
        pauses.push(since.elapsed());
        cluster.run(leader);
        cluster.leader().await;
    }
    pauses.sort();
    println!("{engine}: service paused for {pauses:?} with an election timeout of 500 ms");
    // Suspicion takes one to two timeouts, the election itself a few round trips. A write that was lost with the leader
    // is waited for another 500 ms; the rest is room for a busy machine.
    assert!(pauses[pauses.len() / 2] < Duration::from_millis(2500), "{pauses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_is_back_within_about_two_election_timeouts() {
    service_is_back_soon_after_the_leader_is_killed("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_is_back_within_about_two_election_timeouts() {
    service_is_back_soon_after_the_leader_is_killed("paxos").await;
}
