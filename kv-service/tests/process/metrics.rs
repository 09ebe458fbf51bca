//! What nodes count, over an election and some writes, and how an election looks in the log.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::Cluster;
use crate::raw_http::ask;

const ENGINES: [&str; 2] = ["raft", "paxos"];
const PUTS: u64 = 20;

/// A node's counters by name, labels included.
fn counters(cluster: &Cluster, id: u64) -> BTreeMap<String, u64> {
    let answer = ask(&cluster.http(id), "GET", "/metrics", &[], "");
    assert_eq!(answer.status, 200);
    let text = answer.body();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_grow_with_what_a_cluster_does() {
    for engine in ENGINES {
        let cluster = Cluster::start(engine, 3).await;
        let leader = cluster.leader().await;
        let before = counters(&cluster, leader);
        assert!(before["quorate_elections_started_total"] >= 1, "{engine}");
        assert_eq!(before["quorate_leaderships_total"], 1, "{engine}");
        for number in 0..PUTS {
            cluster.client(&[leader]).put(&format!("k{number}"), "some value").await.unwrap();
        }
        let after = counters(&cluster, leader);
        let grown = |name: &str| after[name] - before[name];
        for at_least_one_a_put in [
            "quorate_log_syncs_total",
            "quorate_log_writes_total",
            "quorate_log_entries_total",
            "quorate_applied_entries_total",
            "quorate_tables_writes_total",
            "quorate_sent_messages_total{lane=\"replication\"}",
            "quorate_received_messages_total{lane=\"replication\"}",
            "quorate_wire_sent_datagrams_total",
        ] {
            assert!(grown(at_least_one_a_put) >= PUTS, "{engine}: {at_least_one_a_put} of {after:?}");
        }
        let payload = PUTS * "some value".len() as u64;
        assert!(grown("quorate_log_bytes_total") > payload, "{engine}");
        assert!(grown("quorate_sent_bytes_total{lane=\"replication\"}") > payload, "{engine}");
        assert!(grown("quorate_wire_sent_bytes_total") > grown("quorate_sent_bytes_total{lane=\"replication\"}"));
        assert_eq!(grown("quorate_log_rewritten_entries_total"), 0, "{engine}: nobody disputes anything");
        assert_eq!(grown("quorate_dropped_messages_total{lane=\"replication\"}"), 0, "{engine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_role_is_a_line_with_its_time_in_microseconds() {
    for engine in ENGINES {
        let cluster = Cluster::start_with(engine, 3, &["--log-format", "json"]).await;
        let leader = cluster.leader().await;
        let log = cluster.log_of(leader);
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let changes: Vec<Value> = lines.filter(|line| line["message"] == "role").collect();
        let roles: Vec<&str> = changes.iter().filter_map(|change| change["role"].as_str()).collect();
        assert!(roles.ends_with(&["pre-candidate", "candidate", "leader"]), "{engine}: {roles:?}");
        for change in &changes {
            let (_, fraction) = change["timestamp"].as_str().unwrap().rsplit_once('.').unwrap();
            assert_eq!(fraction.len(), "123456Z".len(), "{change}");
            assert!(change["ballot"].is_string(), "{change}");
        }
    }
}
