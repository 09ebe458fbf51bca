//! Nodes under the conditions of an experiment promise what others do: on slow disks, and with replication spread over
//! several streams while links lose packets.

use link_relay::{Change, LinkPattern, Share};

use crate::load::{Load, check, nodes_agree};
use crate::relay::{change, relayed_with};

async fn nothing_is_lost_on_slow_disks_over_several_streams(engine: &'static str) {
    let cluster = relayed_with(engine, &["--log-delay-ms", "2", "--replication-streams", "4"]).await;
    change(&cluster, LinkPattern::ALL, &Change::loss(Share::of_thousand(30)));
    let load = Load::start(&cluster);
    load.progress(300, &cluster).await;
    change(&cluster, LinkPattern::ALL, &Change::loss(Share::NONE));
    let journals = load.finish().await;
    cluster.leader().await;
    check(&cluster, &journals).await;
    nodes_agree(&cluster).await;
    for id in cluster.running() {
        assert!(cluster.log_of(id).contains("for experiments only"), "a node that is slowed down says so");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_loses_nothing_on_slow_disks_over_several_streams() {
    nothing_is_lost_on_slow_disks_over_several_streams("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_loses_nothing_on_slow_disks_over_several_streams() {
    nothing_is_lost_on_slow_disks_over_several_streams("paxos").await;
}
