//! Logs that stay bounded and replicas that come back: snapshots taken, trimmed behind and sent, by policy and under load.

use std::fs;
use std::time::{Duration, Instant};

use crate::flood::pour;
use crate::harness::Cluster;
use crate::load::{Load, check, nodes_agree};
use crate::watch::{bytes_in, names_in, number_in, tables_in};

/// One that neither leads nor is spoken to.
async fn bystander(cluster: &Cluster) -> (u64, u64) {
    let leader = cluster.leader().await;
    (leader, cluster.running().into_iter().find(|id| *id != leader).unwrap())
}

/// What a leader may hold besides after twice as many entries. RocksDB's write buffer for the log is 64 MiB and still
/// fills up at this number of entries, by less than 200 bytes for each; a queue or a window that grew as well would hold
/// each entry once more.
const GROWTH_MAX: u64 = 32 << 20;

async fn a_follower_that_missed_200_000_entries_comes_back(engine: &'static str) {
    let mut cluster =
        Cluster::start_with(engine, 3, &["--snapshot-entries", "20000", "--log-tail-entries", "1000"]).await;
    let (leader, away) = bystander(&cluster).await;
    cluster.kill(away);
    let mut took = pour(&cluster, leader, 70_000).await;
    let after_a_third = cluster.resident_bytes(leader);
    took += pour(&cluster, leader, 140_000).await;
    let at_the_end = cluster.resident_bytes(leader);
    println!("{engine}: 210,000 entries in {took:?}; the leader's memory {after_a_third} and then {at_the_end} bytes");
    assert!(at_the_end < after_a_third + GROWTH_MAX, "the leader of a dead follower has grown");

    let load = Load::start(&cluster);
    load.progress(50, &cluster).await;
    let (since, mark) = (Instant::now(), cluster.mark(away));
    cluster.run(away);
    let line = cluster.line(mark, "snapshot installed").await;
    let installed_after = since.elapsed();
    let goal = cluster.status(leader).await.unwrap().commit_index;
    cluster.applied(away, goal).await;
    println!("{engine}: installed after {installed_after:?}, level after {:?}", since.elapsed());
    load.progress(50, &cluster).await;
    let journals = load.finish().await;
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;

    cluster.kill(away);
    let found = cluster.inspect(away);
    let installed = found["installed_index"].as_u64();
    assert!(installed >= Some(180_000) && installed == number_in(&line, "index"), "{line}, and {found}");
    assert!(found["base"]["index"].as_u64() >= installed, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_follower_that_missed_200_000_entries_comes_back_by_a_snapshot_and_its_leader_has_not_grown() {
    a_follower_that_missed_200_000_entries_comes_back("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_follower_that_missed_200_000_entries_comes_back_by_a_snapshot_and_its_leader_has_not_grown() {
    a_follower_that_missed_200_000_entries_comes_back("paxos").await;
}

/// Stopped for longer than the log is kept for it, again and again, while snapshots are taken several times a second.
async fn a_slow_follower_needs_few_snapshots(engine: &'static str) {
    const STOPS: u32 = 8;
    let cluster = Cluster::start_with(engine, 3, &["--snapshot-entries", "2000", "--log-tail-entries", "200"]).await;
    let (leader, slow) = bystander(&cluster).await;
    let mark = cluster.mark(slow);
    let stumbling = async {
        for _ in 0..STOPS {
            cluster.signal(slow, "STOP");
            tokio::time::sleep(Duration::from_millis(400)).await;
            cluster.signal(slow, "CONT");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (took, ()) = tokio::join!(pour(&cluster, leader, 80_000), stumbling);
    nodes_agree(&cluster).await;
    let installed = |line: &String| line.contains("replica::applier") && line.contains("snapshot installed");
    let installations = cluster.lines_since(mark).iter().filter(|line| installed(line)).count();
    println!("{engine}: 80,000 entries in {took:?}, {STOPS} stops, {installations} installations");
    assert!(installations <= 2, "one snapshot after the other; {}", cluster.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_raft_follower_is_not_locked_in_a_sequence_of_snapshots() {
    a_slow_follower_needs_few_snapshots("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_paxos_follower_is_not_locked_in_a_sequence_of_snapshots() {
    a_slow_follower_needs_few_snapshots("paxos").await;
}

const TAIL: u64 = 200;
/// The write-ahead log of the log and the buffers of the tables: what RocksDB lets gather before it writes tables of it.
const DISK_BYTES_MAX: u64 = 96 << 20;

async fn the_log_is_trimmed_and_the_disk_bounded(engine: &'static str) {
    let flags =
        ["--snapshot-entries", "2000", "--log-tail-entries", &TAIL.to_string(), "--log-level", "info,replica=debug"];
    let mut cluster = Cluster::start_with(engine, 3, &flags).await;
    let leader = cluster.leader().await;
    let ids = cluster.running();
    let marks: Vec<_> = ids.iter().map(|id| cluster.mark(*id)).collect();
    let took = pour(&cluster, leader, 40_000).await;
    nodes_agree(&cluster).await;
    let mut covered = Vec::new();
    for (id, mark) in ids.iter().zip(marks) {
        // Where the node's own policy has covered the last entry just before, this is the same snapshot and nothing is
        // left to trim: the line came then.
        let index = cluster.client(&[*id]).snapshot().await.unwrap();
        let is_trimmed = |line: &str| {
            line.split("log trimmed base=")
                .nth(1)
                .is_some_and(|base| base.trim().parse::<u64>().unwrap() >= index - TAIL)
        };
        cluster.find_line(&[mark], is_trimmed, async || false).await;
        assert_eq!(cluster.status(*id).await.unwrap().snapshot_index, index);
        covered.push(index);
    }
    cluster.kill_all();
    for (id, index) in ids.iter().zip(&covered) {
        let (found, bytes) = (cluster.inspect(*id), bytes_in(&cluster.data_dir(*id)));
        println!("{engine} node {id}: 40,000 entries in {took:?}, {bytes} bytes on the disk, log {}", found["entries"]);
        assert!(bytes < DISK_BYTES_MAX, "{bytes}");
        // The tail reaches no further back than the older snapshot.
        let older = found["snapshots"][1]["index"].as_u64().unwrap();
        assert_eq!(found["base"]["index"].as_u64(), Some(older.max(index - TAIL)), "{found}");
        assert!(found["entries"].as_u64().unwrap() < TAIL + 50, "a restart has more than the tail to read: {found}");
        let shelf = cluster.data_dir(*id).join("snapshots");
        for stray in ["taking", "00ff00ff00ff00ff00ff00ff00ff00ff", "of an operator"] {
            fs::create_dir_all(shelf.join(stray)).unwrap();
            fs::write(shelf.join(stray).join("000001.sst"), "stray").unwrap();
        }
    }
    cluster.run_all();
    cluster.leader().await;
    nodes_agree(&cluster).await;
    cluster.kill_all();
    for id in ids {
        let kept = cluster.inspect(id)["snapshots"].as_array().unwrap().clone();
        let mut kept: Vec<&str> = kept.iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect();
        kept.sort_unstable();
        assert_eq!(kept.len(), 2);
        assert_eq!(names_in(&cluster.data_dir(id).join("snapshots")), kept, "two are kept and nothing besides");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_trims_its_log_keeps_two_snapshots_and_bounds_its_disk() {
    the_log_is_trimmed_and_the_disk_bounded("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_trims_its_log_keeps_two_snapshots_and_bounds_its_disk() {
    the_log_is_trimmed_and_the_disk_bounded("paxos").await;
}

/// Each flushes a little of every table. What is flushed of a table that only grows at its end is merged like the rest:
/// otherwise a snapshot would have one more file than the one before it, each of them linked, synced and sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_small_snapshots_leave_files_that_were_merged() {
    const SNAPSHOTS: usize = 100;
    let cluster = Cluster::start_with("raft", 1, &[]).await;
    let client = cluster.client(&[1]);
    for number in 0..SNAPSHOTS {
        client.put("k", &number.to_string()).await.unwrap();
        client.snapshot().await.unwrap();
    }
    let newest = cluster.status(1).await.unwrap().snapshot_index;
    assert!(newest > 100, "{newest}");
    let kept = names_in(&cluster.data_dir(1).join("snapshots"));
    for name in kept {
        let files = tables_in(&cluster.data_dir(1).join("snapshots").join(&name)).len();
        assert!(files < SNAPSHOTS / 2, "{files} files in {name}");
    }
}
