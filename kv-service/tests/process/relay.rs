//! Faults that QUIC itself sees: the nodes reach each other only through a relay, whose links are cut or lose packets.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use kv_client::protocol::{RoleReply, StatusReply};
use link_relay::{Change, LinkName, LinkPattern, LinkReport, Relay, RelayConfig, RouteConfig, Share};
use tempfile::TempDir;

use crate::commands::interrupt;
use crate::harness::{Cluster, GLANCE, PATIENCE, program, run_to_end};
use crate::load::{Load, check, nodes_agree};
use crate::ports::base_port;

/// How soon another leader must serve. Suspicion takes one to two election timeouts of 500 ms; connections to the node
/// that was cut off are given up after 1.5 s; the rest is room for a busy machine.
const FAILOVER_MAX: Duration = Duration::from_secs(10);
const ALL: [LinkPattern; 1] = [LinkPattern::ALL];

/// Three nodes that reach each other only through a relay.
async fn relayed(engine: &'static str) -> Cluster {
    relayed_with(engine, &[]).await
}

/// As `relayed`, with further flags for every node.
pub async fn relayed_with(engine: &'static str, extra: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(engine, 3, extra);
    let route = |link: LinkName| RouteConfig {
        link,
        listen: ([127, 0, 0, 1], 0).into(),
        target: ([127, 0, 0, 1], cluster.nodes[&link.to].listen).into(),
    };
    let routes = LinkName::among(&[1, 2, 3]).into_iter().map(route).collect();
    let control = ([127, 0, 0, 1], 0).into();
    cluster.relay = Some(Relay::start(RelayConfig { seed: 1, control, routes }).await.unwrap());
    cluster.run_all();
    cluster.leader().await;
    cluster
}

/// Changes what the links that match do with packets.
pub fn change(cluster: &Cluster, link: LinkPattern, change: &Change) {
    cluster.relay.as_ref().unwrap().links().change(&[link], change).unwrap();
}

fn reports(cluster: &Cluster) -> Vec<LinkReport> {
    cluster.relay.as_ref().unwrap().links().show(&ALL).unwrap()
}

/// Waits until a node says that it stands so; returns how long that took.
async fn until(cluster: &Cluster, id: u64, stands: impl Fn(&StatusReply) -> bool) -> Duration {
    let since = Instant::now();
    while !cluster.status(id).await.is_some_and(|status| stands(&status)) {
        assert!(since.elapsed() < FAILOVER_MAX, "node {id}: {:?}; {}", cluster.status(id).await, cluster.logs());
        tokio::time::sleep(GLANCE).await;
    }
    since.elapsed()
}

async fn no_node_reaches_another_but_through_the_relay(engine: &'static str) {
    let cluster = relayed(engine).await;
    cluster.client(&[1]).put("k", "before").await.unwrap();
    change(&cluster, LinkPattern::ALL, &Change::cut(true));
    for id in 1..=3 {
        until(&cluster, id, |status| status.role != RoleReply::Leader && status.leader_id.is_none()).await;
    }
    let refused = cluster.client(&[1, 2, 3]).with_timeout(Duration::from_secs(2)).put("k", "cut").await;
    assert!(refused.is_err(), "{refused:?}");
    for report in reports(&cluster) {
        assert!(report.counters.delivered > 0 && report.counters.dropped_cut > 0, "{report}");
    }
    change(&cluster, LinkPattern::ALL, &Change::cut(false));
    cluster.leader().await;
    cluster.client(&[2]).put("k", "after").await.unwrap();
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_has_no_leader_while_every_link_of_the_relay_is_cut() {
    no_node_reaches_another_but_through_the_relay("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_has_no_leader_while_every_link_of_the_relay_is_cut() {
    no_node_reaches_another_but_through_the_relay("paxos").await;
}

/// `cut_off` names the links of the leader that are cut.
async fn another_leads_after_a_one_way_cut(engine: &'static str, cut_off: fn(u64) -> LinkPattern) {
    let cluster = relayed(engine).await;
    let load = Load::start(&cluster);
    load.progress(100, &cluster).await;
    let old = cluster.leader().await;
    let others: Vec<u64> = cluster.running().into_iter().filter(|id| *id != old).collect();

    let since = Instant::now();
    change(&cluster, cut_off(old), &Change::cut(true));
    let client = cluster.client(&others).with_timeout(Duration::from_secs(2));
    while client.put("k", "after").await.is_err() {
        assert!(since.elapsed() < FAILOVER_MAX, "no service; {}", cluster.logs());
    }
    let served = since.elapsed();
    until(&cluster, old, |status| status.role != RoleReply::Leader).await;
    println!("{engine}, cut {}: served after {served:?}, stepped down within {:?}", cut_off(old), since.elapsed());
    for id in &others {
        until(&cluster, *id, |status| status.leader_id.is_some_and(|leader| others.contains(&leader))).await;
    }
    load.progress(100, &cluster).await;

    change(&cluster, LinkPattern::ALL, &Change::cut(false));
    let journals = load.finish().await;
    cluster.leader().await;
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_replaces_a_leader_that_can_only_receive() {
    another_leads_after_a_one_way_cut("raft", LinkPattern::out_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_replaces_a_leader_that_can_only_receive() {
    another_leads_after_a_one_way_cut("paxos", LinkPattern::out_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_replaces_a_leader_that_can_only_send() {
    another_leads_after_a_one_way_cut("raft", LinkPattern::into).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_replaces_a_leader_that_can_only_send() {
    another_leads_after_a_one_way_cut("paxos", LinkPattern::into).await;
}

async fn keeps_what_it_acknowledged_at_five_percent_loss(engine: &'static str) {
    let cluster = relayed(engine).await;
    change(&cluster, LinkPattern::ALL, &Change::loss(Share::of_thousand(50)));
    let before: BTreeMap<LinkName, u64> =
        reports(&cluster).into_iter().map(|report| (report.link, report.counters.packets)).collect();
    let since = Instant::now();
    let load = Load::start(&cluster);
    load.progress(2000, &cluster).await;
    let took = since.elapsed();
    let journals = load.finish().await;
    let (mut packets, mut lost) = (0, 0);
    for report in reports(&cluster) {
        packets += report.counters.packets - before[&report.link];
        lost += report.counters.dropped_loss;
    }
    println!("{engine}: 2000 appends in {took:?}, while {lost} of {packets} packets were lost");
    assert!(lost > 100 && (30..70).contains(&(lost * 1000 / packets)), "{lost} of {packets} packets were lost");
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_keeps_everything_once_and_in_order_at_five_percent_loss() {
    keeps_what_it_acknowledged_at_five_percent_loss("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_keeps_everything_once_and_in_order_at_five_percent_loss() {
    keeps_what_it_acknowledged_at_five_percent_loss("paxos").await;
}

fn kv(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments);
    run_to_end(command)
}

#[test]
fn a_local_cluster_with_a_relay_is_cut_shown_and_healed_by_commands() {
    let directory = TempDir::new().unwrap();
    let (base, _held) = base_port();
    let (control, endpoint) = (format!("127.0.0.1:{}", base + 100), format!("127.0.0.1:{}", base + 1002));
    let mut command = program();
    command.env("XDG_STATE_HOME", directory.path().join("state"));
    command.args(["cluster", "--engine", "raft", "--relay", "--base-port", &base.to_string(), "--dir"]);
    command.arg(directory.path().join("data"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let put = || kv(&["put", "a", "1", "--timeout-ms", "2000", "--endpoints", &endpoint]).status.success();
    let order = |arguments: &[&str]| {
        let output = kv(&[&["relay"], arguments, &["--json", "--control", &control]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<LinkReport>>()
    };
    let since = Instant::now();
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(since.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(GLANCE);
        }
    };
    wait_for("the cluster serves", &put);
    assert!(order(&["show"]).iter().all(|report| report.counters.delivered > 0));
    assert!(order(&["cut"]).iter().all(|report| report.faults.cut));
    wait_for("a cluster whose links are cut does not serve", &|| !put());
    assert_eq!(order(&["set", "--link", "1:2", "--delay-ms", "5"])[0].faults.delay_us, 5_000);
    assert!(order(&["heal"]).iter().all(|report| !report.faults.cut));
    wait_for("the cluster serves again", &put);
    assert_eq!(order(&["show", "--link", "1:2"])[0].faults.delay_us, 5_000, "healing leaves other faults alone");

    let wrong = kv(&["relay", "cut", "--link", "1:4", "--control", &control]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the relay has 1:2, 1:3"), "{wrong:?}");
    interrupt(&child);
    while child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < PATIENCE, "the cluster does not stop");
        std::thread::sleep(GLANCE);
    }
}
