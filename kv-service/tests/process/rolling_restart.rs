//! Planned work on a cluster that serves: nodes are stopped and started one by one, or leadership is moved on purpose, and
//! nobody who writes has to wait for an election timeout, let alone to fail.
//!
//! ```text
//!   Clerk × 4 ─ put, one after the other ─▶ any node         each acknowledgement with its time
//!   operator  ─ SIGTERM ─▶ node: hands over, answers what it owes, exits 0 ─▶ started again, ready ─▶ the next one
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_client::Clerk;
use tokio::task::JoinHandle;

use crate::harness::{Cluster, GLANCE, PATIENCE, signal, wait_for_end};
use crate::load::nodes_agree;

const WRITERS: u64 = 4;
/// A writer's rest after each put: the machine has other things to do.
const REST: Duration = Duration::from_millis(1);
/// The nodes' own: whoever waits so long for a write has waited for an election.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// A put that was acknowledged.
#[derive(Clone, Copy)]
struct Acknowledged {
    called: Instant,
    at: Instant,
}

/// Writers that never rest for long, and never fail.
struct Writers {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<Acknowledged>>>,
}

/// What the writers had to put up with.
struct Waits {
    puts: usize,
    /// The longest time in which nobody's put was acknowledged.
    pause: Duration,
    /// The longest that one put took.
    longest_put: Duration,
}

impl Writers {
    async fn start(cluster: &Cluster) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            writers.push(tokio::spawn(write(number, cluster.clerk(&[1, 2, 3]).await, stop.clone())));
        }
        Writers { stop, writers }
    }

    /// Ends them; the last put of each is what its key holds.
    async fn finish(self, cluster: &Cluster) -> Waits {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        let reader = cluster.clerk(&[1, 2, 3]).await;
        for (number, writer) in (0..).zip(self.writers) {
            let acknowledged = writer.await.unwrap();
            let kept = reader.get(key(number)).await.unwrap().unwrap().value.0;
            assert_eq!(kept, acknowledged.len().to_string().as_bytes(), "writer {number}'s last put");
            all.extend(acknowledged);
        }
        all.sort_by_key(|put| put.at);
        let longest_put = all.iter().map(|put| put.at - put.called).max().unwrap();
        let pause = all.windows(2).map(|puts| puts[1].at - puts[0].at).max().unwrap();
        Waits { puts: all.len(), pause, longest_put }
    }
}

impl Waits {
    /// States them, and holds them against an election timeout.
    fn check(&self, what: &str) {
        let Waits { puts, pause, longest_put } = self;
        println!("{what}: {puts} puts, none failed; the longest pause {pause:?}, the longest put {longest_put:?}");
        assert!(*pause < ELECTION_TIMEOUT, "{what}: a pause of {pause:?}");
    }
}

/// Puts the numbers from 1 on.
async fn write(number: u64, clerk: Clerk, stop: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let called = Instant::now();
        let put = clerk.put(key(number), (acknowledged.len() + 1).to_string()).await;
        put.unwrap_or_else(|error| panic!("writer {number}, after {:?}: {error}", called.elapsed()));
        acknowledged.push(Acknowledged { called, at: Instant::now() });
        tokio::time::sleep(REST).await;
    }
    acknowledged
}

fn key(writer: u64) -> String {
    format!("writer-{writer}")
}

/// The epoch that the leader is in.
async fn round(cluster: &Cluster) -> u64 {
    let leader = cluster.leader().await;
    cluster.status(leader).await.unwrap().ballot.round
}

/// Stops a node in order. Where it leads, the others have another leader by the time that it has ended; returns whether it
/// did.
async fn stop(cluster: &mut Cluster, id: u64) -> bool {
    let led = cluster.leader().await == id;
    signal(cluster.pid(id), "TERM");
    let status = wait_for_end(cluster, id);
    assert_eq!(status.code(), Some(0), "{}", cluster.logs());
    if led {
        for other in cluster.running() {
            let leader = cluster.status(other).await.unwrap().leader_id;
            assert!(
                leader.is_some_and(|leader| leader != id),
                "node {id} has ended, and node {other} follows {leader:?}; {}",
                cluster.logs()
            );
        }
    }
    led
}

async fn every_node_is_restarted_and_no_write_fails(engine: &'static str) {
    const ROUNDS: u64 = 2;
    let mut cluster = Cluster::start(engine, 3).await;
    let before = round(&cluster).await;
    let writers = Writers::start(&cluster).await;
    let mut handed_over = 0;
    for id in (0..ROUNDS).flat_map(|_| 1..=3) {
        handed_over += u64::from(stop(&mut cluster, id).await);
        cluster.run(id);
        let (client, since) = (cluster.client(&[id]), Instant::now());
        while !client.is_ready().await {
            assert!(since.elapsed() < PATIENCE, "node {id} is not ready; {}", cluster.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }
    let waits = writers.finish(&cluster).await;
    waits.check(&format!("{engine}, {} restarts, {handed_over} of a leader", ROUNDS * 3));
    assert!(handed_over >= ROUNDS, "whoever leads is restarted in every round");
    assert_eq!(round(&cluster).await - before, handed_over, "nobody was elected but by being handed to");
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_nodes_are_restarted_one_by_one_and_no_write_fails_or_waits_for_an_election() {
    every_node_is_restarted_and_no_write_fails("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_nodes_are_restarted_one_by_one_and_no_write_fails_or_waits_for_an_election() {
    every_node_is_restarted_and_no_write_fails("paxos").await;
}

async fn leadership_goes_round_and_no_write_fails(engine: &'static str) {
    const TIMES: u64 = 20;
    let cluster = Cluster::start(engine, 3).await;
    let writers = Writers::start(&cluster).await;
    // Most of the time another node than the leader is asked.
    let client = cluster.client(&[1, 2, 3]);
    for _ in 0..TIMES * 3 {
        let to = cluster.leader().await % 3 + 1;
        let reply = client.transfer(Some(to)).await.unwrap();
        assert_eq!(reply.leader_id, Some(to), "{}", cluster.logs());
        tokio::time::sleep(GLANCE).await;
    }
    let waits = writers.finish(&cluster).await;
    waits.check(&format!("{engine}, {} transfers", TIMES * 3));
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_of_raft_goes_round_twenty_times_and_no_write_fails() {
    leadership_goes_round_and_no_write_fails("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_of_paxos_goes_round_twenty_times_and_no_write_fails() {
    leadership_goes_round_and_no_write_fails("paxos").await;
}
