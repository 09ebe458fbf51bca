//! Power failures: whatever was not synced is gone from the disk when the node comes back. See the crate `power-loss`.

use kv_client::protocol::RoleReply;
use power_loss::{Loss, Remains};

use crate::harness::{GLANCE, wait_for_end};
use crate::load::{Journal, Load, check, kept, nodes_agree};
use crate::powered::Powered;

/// The numbers of a round's appends begin above those of all rounds before it.
fn first_number(round: u64) -> u64 {
    round * 1_000_000_000
}

const ROUNDS: u64 = 6;

async fn keeps_what_it_acknowledged_when_all_nodes_lose_power(engine: &'static str) {
    let mut powered = Powered::start(engine, 3, &[]).await;
    let mut journals = Vec::new();
    let mut lost = Loss::default();
    for round in 0..ROUNDS {
        let load = Load::start_after(&powered.cluster, first_number(round));
        load.progress(150, &powered.cluster).await;
        let torn = |id| if round % 2 == 0 { Remains::Synced } else { Remains::Torn(10 * round + id) };
        lost.bytes += powered.lose_power_everywhere(torn).bytes;
        Journal::extend(&mut journals, load.finish().await);
        powered.cluster.run_all();
        powered.cluster.leader().await;
        check(&powered.cluster, &journals).await;
        nodes_agree(&powered.cluster).await;
    }
    assert!(lost.bytes > 0, "there was nothing to lose");
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_keeps_what_it_acknowledged_when_all_nodes_lose_power_at_once() {
    keeps_what_it_acknowledged_when_all_nodes_lose_power("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_keeps_what_it_acknowledged_when_all_nodes_lose_power_at_once() {
    keeps_what_it_acknowledged_when_all_nodes_lose_power("paxos").await;
}

async fn goes_on_when_its_leader_loses_power(engine: &'static str) {
    let mut powered = Powered::start(engine, 3, &[]).await;
    let load = Load::start(&powered.cluster);
    load.progress(50, &powered.cluster).await;
    for round in 0..ROUNDS {
        let leader = powered.cluster.leader().await;
        powered.cluster.kill(leader);
        powered.lose_power(leader, if round % 2 == 0 { Remains::Synced } else { Remains::Torn(round) });
        load.progress(50, &powered.cluster).await;
        powered.cluster.run(leader);
        powered.cluster.leader().await;
        load.progress(50, &powered.cluster).await;
    }
    let journals = load.finish().await;
    check(&powered.cluster, &journals).await;
    nodes_agree(&powered.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_goes_on_when_its_leader_loses_power_again_and_again() {
    goes_on_when_its_leader_loses_power("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_goes_on_when_its_leader_loses_power_again_and_again() {
    goes_on_when_its_leader_loses_power("paxos").await;
}

/// That the tests above can fail. The nodes said at their start that this would happen; they come up again, agree with
/// each other, and hold nothing twice.
async fn without_sync_a_power_failure_takes_what_was_acknowledged(engine: &'static str) {
    let mut powered = Powered::start(engine, 3, &["--no-sync"]).await;
    let warned = powered.cluster.logs().matches("a power failure loses what was acknowledged").count();
    assert_eq!(warned, 3, "each node warns; {}", powered.cluster.logs());
    let load = Load::start(&powered.cluster);
    load.progress(150, &powered.cluster).await;
    powered.lose_power_everywhere(|_| Remains::Synced);
    let journals = load.finish().await;
    powered.cluster.run_all();
    powered.cluster.leader().await;
    let (mut acknowledged, mut there) = (0, 0);
    for journal in &journals {
        acknowledged += journal.acknowledged.len();
        there += kept(&powered.cluster, journal).await.len();
    }
    println!("{engine}: {there} of {acknowledged} acknowledged appends are there");
    assert!(there < acknowledged, "nothing was lost: these tests would not notice a missing sync");
    nodes_agree(&powered.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_loses_what_it_acknowledged_if_it_does_not_sync() {
    without_sync_a_power_failure_takes_what_was_acknowledged("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_loses_what_it_acknowledged_if_it_does_not_sync() {
    without_sync_a_power_failure_takes_what_was_acknowledged("paxos").await;
}

/// A node of a cluster of one starts and loses power at its `sync`-th sync; or, if it comes so far, when it serves (true).
async fn start_and_lose_power_at(powered: &mut Powered, sync: u64) -> bool {
    powered.disks[&1].kill_at_sync(sync).unwrap();
    powered.cluster.run(1);
    let serves = loop {
        if powered.cluster.has_ended(1) {
            break false;
        }
        if powered.cluster.status(1).await.is_some_and(|status| status.role == RoleReply::Leader) {
            break true;
        }
        tokio::time::sleep(GLANCE).await;
    };
    powered.lose_power_everywhere(|_| if sync.is_multiple_of(2) { Remains::Synced } else { Remains::Torn(sync) });
    serves
}

/// Every sync of the first start, and every sync of a start with a log to replay.
async fn starts_wherever_an_earlier_start_lost_power(engine: &'static str) {
    for sync in 1..100 {
        let quick = ["--election-timeout-ms", "100", "--heartbeat-interval-ms", "20"];
        let mut powered = Powered::new(engine, 1, &quick);
        let first = start_and_lose_power_at(&mut powered, sync).await;
        powered.cluster.run(1);
        powered.cluster.leader().await;
        powered.cluster.client(&[1]).put("k", "kept").await.unwrap();
        powered.lose_power_everywhere(|_| Remains::Synced);
        let second = start_and_lose_power_at(&mut powered, sync).await;
        powered.cluster.run(1);
        powered.cluster.leader().await;
        let value = powered.cluster.client(&[1]).get("k").await.unwrap();
        assert_eq!(value.as_deref(), Some("kept"), "power was lost at sync {sync} of the second start");
        if first && second {
            assert!(sync > 10, "{sync} syncs are too few for a start");
            println!("{engine}: {sync} syncs at most before a node serves");
            return;
        }
    }
    panic!("no start came to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_starts_wherever_an_earlier_start_lost_power() {
    starts_wherever_an_earlier_start_lost_power("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_starts_wherever_an_earlier_start_lost_power() {
    starts_wherever_an_earlier_start_lost_power("paxos").await;
}

/// The node ends by itself, with one line that says why.
fn assert_ends_with(powered: &mut Powered, id: u64, reason: &str) {
    let status = wait_for_end(&mut powered.cluster, id);
    let logs = powered.cluster.logs();
    assert_eq!(status.code(), Some(1), "{logs}");
    let errors: Vec<&str> = logs.lines().filter(|line| line.starts_with("kv-service: ")).collect();
    println!("{}: {errors:?}", powered.cluster.engine);
    assert_eq!(errors.len(), 1, "one line: {logs}");
    assert!(errors[0].contains(reason) && errors[0].contains("restart the node"), "{}", errors[0]);
}

/// Alone, so that what it acknowledged is on this disk and nowhere else.
async fn one_node_whose_sync_fails_once_ends(engine: &'static str) {
    let mut powered = Powered::start(engine, 1, &[]).await;
    let load = Load::start(&powered.cluster);
    load.progress(100, &powered.cluster).await;
    powered.disks[&1].fail_next_sync().unwrap();
    assert_ends_with(&mut powered, 1, "Input/output error");
    assert!(powered.disks[&1].has_sync_failed());
    let journals = load.finish().await;
    powered.lose_power(1, Remains::Synced);
    powered.cluster.run(1);
    powered.cluster.leader().await;
    check(&powered.cluster, &journals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_node_whose_sync_fails_once_ends_and_has_kept_what_it_acknowledged() {
    one_node_whose_sync_fails_once_ends("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_node_whose_sync_fails_once_ends_and_has_kept_what_it_acknowledged() {
    one_node_whose_sync_fails_once_ends("paxos").await;
}

async fn the_others_go_on_when_the_leaders_sync_fails(engine: &'static str) {
    let mut powered = Powered::start(engine, 3, &[]).await;
    let load = Load::start(&powered.cluster);
    load.progress(100, &powered.cluster).await;
    let leader = powered.cluster.leader().await;
    powered.disks[&leader].fail_next_sync().unwrap();
    assert_ends_with(&mut powered, leader, "Input/output error");
    powered.cluster.leader().await;
    load.progress(100, &powered.cluster).await;
    powered.lose_power(leader, Remains::Synced);
    powered.cluster.run(leader);
    load.progress(100, &powered.cluster).await;
    let journals = load.finish().await;
    check(&powered.cluster, &journals).await;
    nodes_agree(&powered.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_goes_on_when_the_sync_of_its_leader_fails() {
    the_others_go_on_when_the_leaders_sync_fails("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_goes_on_when_the_sync_of_its_leader_fails() {
    the_others_go_on_when_the_leaders_sync_fails("paxos").await;
}

async fn one_node_whose_disk_is_full_ends(engine: &'static str) {
    let mut powered = Powered::start(engine, 1, &[]).await;
    let load = Load::start(&powered.cluster);
    load.progress(100, &powered.cluster).await;
    powered.disks[&1].fill().unwrap();
    assert_ends_with(&mut powered, 1, "No space left on device");
    let journals = load.finish().await;
    powered.lose_power(1, Remains::Torn(1));
    powered.cluster.run(1);
    powered.cluster.leader().await;
    check(&powered.cluster, &journals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_node_whose_disk_is_full_ends_and_has_kept_what_it_acknowledged() {
    one_node_whose_disk_is_full_ends("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_node_whose_disk_is_full_ends_and_has_kept_what_it_acknowledged() {
    one_node_whose_disk_is_full_ends("paxos").await;
}
