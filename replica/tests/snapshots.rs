//! Snapshots of running replicas: taken, trimmed behind, refused by a full disk, sent to a peer and installed there.

#![allow(clippy::unwrap_used)]

mod common;
mod gated;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::{MemoryLog, PATIENCE, Solo};
use consensus_api::*;
use futures_util::future::join_all;
use gated::{Gated, Wire};
use kv_machine::{Command, Expect, KvMachine, MemorySnapshots, MemoryTables};
use replica::{Parts, Replica, ReplicaConfig, SnapshotSettings};

/// A node and what it stands on.
struct Node {
    replica: Replica,
    log: Arc<MemoryLog>,
    tables: Arc<MemoryTables>,
    store: Arc<Gated>,
}

fn start_on(id: u64, wire: Wire, snapshots: SnapshotSettings) -> Node {
    let tables = Arc::new(MemoryTables::new());
    let store = Arc::new(Gated::new(MemorySnapshots::new(tables.clone())));
    start_over(id, wire, snapshots, (Arc::default(), tables, store))
}

/// Starts on what an earlier life has left.
fn start_over(
    id: u64,
    wire: Wire,
    snapshots: SnapshotSettings,
    (log, tables, store): (Arc<MemoryLog>, Arc<MemoryTables>, Arc<Gated>),
) -> Node {
    let node = NodeId(id);
    let machine = KvMachine::open(tables.clone()).unwrap();
    let member = Member { address: "nowhere:0".into(), store: StoreId(1) };
    let config = ReplicaConfig {
        engine: EngineConfig {
            node,
            store: None,
            boot: 1,
            seed: 1,
            timing: Timing::default(),
            limits: Limits::default(),
        },
        founders: Membership::of_voters([(node, member)]),
        requests_max: 1024,
        snapshots,
    };
    let parts = Parts { log: log.clone(), transport: Arc::new(wire), machine, snapshots: store.clone() };
    let replica = replica::start::<Solo, _, _, _, _>(config, parts).unwrap();
    Node { replica, log, tables, store }
}

fn start(snapshots: SnapshotSettings) -> Node {
    start_on(1, Wire::pair().0, snapshots)
}

fn without_tail() -> SnapshotSettings {
    SnapshotSettings { tail_entries: 0, ..SnapshotSettings::on_demand() }
}

impl Node {
    async fn put(&self, count: u64) -> LogIndex {
        let puts = (0..count).map(|number| {
            let key = Blob::from(format!("key {number}").into_bytes());
            let command = Command::Put { key, value: Blob::from(vec![7; 100]), expect: Expect::Any };
            self.replica.propose(command.encode().unwrap(), PATIENCE)
        });
        let answers = join_all(puts).await;
        answers.into_iter().map(|answer| answer.unwrap().index).max().unwrap()
    }

    fn base(&self) -> LogIndex {
        self.replica.status().engine.base_index
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_snapshot_on_demand_covers_what_was_acknowledged_and_the_log_is_trimmed_behind_it() {
    let node = start(SnapshotSettings { tail_entries: 10, ..SnapshotSettings::on_demand() });
    node.put(50).await;
    node.tables.flush().unwrap();
    assert_eq!(node.replica.snapshot().await, Ok(LogIndex(50)));
    until("the engine hears that the log was trimmed", || node.base() == LogIndex(40)).await;
    assert_eq!(node.log.base().index, LogIndex(40));
    assert_eq!(node.replica.status().snapshot_index, LogIndex(50));
    assert_eq!(node.put(1).await, LogIndex(51));
}

#[tokio::test]
async fn the_log_is_never_trimmed_past_what_the_tables_have_made_durable() {
    let node = start(without_tail());
    node.put(20).await;
    node.tables.flush().unwrap();
    node.put(20).await;
    assert_eq!(node.replica.snapshot().await, Ok(LogIndex(40)));
    until("the log is trimmed", || node.base() == LogIndex(20)).await;
    node.tables.flush().unwrap();
    assert_eq!(node.replica.snapshot().await, Ok(LogIndex(40)));
    until("the log is trimmed further", || node.base() == LogIndex(40)).await;
}

#[tokio::test]
async fn snapshots_are_taken_after_so_many_entries_and_the_log_stays_bounded() {
    let node = start(SnapshotSettings { entries: 100, tail_entries: 10, ..SnapshotSettings::default() });
    for _ in 0..20 {
        let last = node.put(50).await;
        node.tables.flush().unwrap();
        until("a snapshot", || node.replica.status().snapshot_index.0 + 100 > last.0).await;
    }
    assert!(node.store.takes.begun() >= 8, "{} snapshots", node.store.takes.begun());
    until("the log is short", || 1000 - node.base().0 <= 200).await;
}

#[tokio::test]
async fn a_full_disk_is_told_to_whoever_asked_and_everything_else_goes_on() {
    let node = start(without_tail());
    node.put(5).await;
    node.store.inner.fill(true);
    let refused = node.replica.snapshot().await;
    assert!(
        matches!(&refused, Err(RequestError::SnapshotFailed { reason }) if reason.contains("no room")),
        "{refused:?}"
    );
    assert_eq!(node.put(1).await, LogIndex(6));
    assert_eq!(node.base(), LogIndex::ZERO);
    node.store.inner.fill(false);
    assert_eq!(node.replica.snapshot().await, Ok(LogIndex(6)));
}

#[tokio::test]
async fn writes_go_on_while_a_snapshot_is_taken_and_demands_that_come_meanwhile_share_the_next() {
    let node = Arc::new(start(without_tail()));
    node.put(5).await;
    node.store.takes.hold();
    let first = tokio::spawn({
        let node = node.clone();
        async move { node.replica.snapshot().await }
    });
    until("the first is under way", || node.store.takes.begun() == 1).await;
    assert_eq!(node.put(5).await, LogIndex(10));
    let (answers, ()) = tokio::join!(join_all((0..20).map(|_| node.replica.snapshot())), async {
        // Every demand reaches the thread before the first one ends.
        assert_eq!(node.put(5).await, LogIndex(15));
        node.store.takes.release();
    });
    assert!(first.await.unwrap().is_ok());
    assert!(answers.iter().all(|answer| *answer == Ok(LogIndex(15))), "{answers:?}");
    assert_eq!(node.store.takes.begun(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_a_peer_sends_takes_the_place_of_the_tables() {
    let (one, two) = Wire::pair();
    let (source, other) = (start_on(1, one, without_tail()), start_on(2, two, without_tail()));
    source.put(500).await;
    other.put(3).await;
    assert_eq!(source.replica.snapshot().await, Ok(LogIndex(500)));
    // Its entry will never be applied here: the snapshot stands for it, or for another one in its place.
    other.log.hold();
    let lost = other.replica.propose(Bytes::from("lost"), PATIENCE);
    let sent = async {
        // Answered by nobody, as this engine does not do it.
        let _ = source.replica.transfer_leadership(Some(NodeId(2)), Duration::from_millis(1)).await;
    };
    let (outcome, ()) = tokio::join!(lost, sent);
    assert!(matches!(outcome, Err(RequestError::Unknown { .. })), "{outcome:?}");
    other.log.release();
    until("the engine goes on from there", || other.base() == LogIndex(500)).await;
    assert_eq!(other.log.base().index, LogIndex(500));
    assert_eq!(other.replica.read_barrier(ReadMode::Index, PATIENCE).await, Ok(LogIndex(500)));
    assert_eq!(other.replica.digest().await.unwrap(), source.replica.digest().await.unwrap());
    assert_eq!(other.replica.status().snapshot_index, LogIndex(500));
    assert_eq!((other.put(5).await, source.put(5).await), (LogIndex(505), LogIndex(505)));
    assert_eq!(other.replica.digest().await.unwrap(), source.replica.digest().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_room_refuses_goes_on_and_has_it_later() {
    let (one, two) = Wire::pair();
    let (source, other) = (start_on(1, one, without_tail()), start_on(2, two, without_tail()));
    source.put(50).await;
    source.replica.snapshot().await.unwrap();
    other.store.inner.fill(true);
    let ask = || source.replica.transfer_leadership(Some(NodeId(2)), Duration::from_millis(1));
    let _ = ask().await;
    until("it was tried", || other.store.received.load(Ordering::SeqCst) > 0).await;
    assert_eq!(other.put(3).await, LogIndex(3));
    other.store.inner.fill(false);
    while other.base() != LogIndex(50) {
        let _ = ask().await;
    }
    assert_eq!(other.replica.digest().await.unwrap(), source.replica.digest().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_stopped_while_a_snapshot_is_installed_stops_in_order_and_goes_on_from_it() {
    let (one, two) = Wire::pair();
    let (source, other) = (start_on(1, one, without_tail()), start_on(2, two, without_tail()));
    source.put(50).await;
    source.replica.snapshot().await.unwrap();
    other.put(3).await;
    other.store.installs.hold();
    let _ = source.replica.transfer_leadership(Some(NodeId(2)), Duration::from_millis(1)).await;
    until("the installation has begun", || other.store.installs.begun() == 1).await;
    let ((), ()) = tokio::join!(other.replica.shutdown(), async {
        // The engine's task ends at once; nobody is left to trim the log.
        let asked = || other.replica.read_barrier(ReadMode::Index, Duration::from_millis(1));
        while !matches!(asked().await, Err(RequestError::Stopped { .. })) {}
        other.store.installs.release();
    });
    assert_eq!(other.replica.stopped().await, Ok(()));
    assert_eq!(other.log.base().index, LogIndex::ZERO);

    let left = (other.log.clone(), other.tables.clone(), other.store.clone());
    let again = start_over(2, Wire::pair().0, without_tail(), left);
    assert_eq!((again.base(), again.log.base().index), (LogIndex(50), LogIndex(50)));
    assert_eq!(again.replica.digest().await.unwrap(), source.replica.digest().await.unwrap());
    assert_eq!(again.put(1).await, LogIndex(51));
}
