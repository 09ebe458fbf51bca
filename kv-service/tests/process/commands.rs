//! The commands as they are typed.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::{Cluster, GLANCE, PATIENCE, program, run_to_end};
use crate::ports::{base_port, free_port};

fn cli(endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).args(["--endpoints", endpoint]);
    run_to_end(command)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_first_minute_works_on_any_node() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let on = |id: u64, arguments: &[&str]| cli(&cluster.http(id), arguments);
        said(&on(1, &["put", "a", "1"]));
        assert_eq!(said(&on(2, &["get", "a"])).trim_end(), "1");
        said(&on(3, &["append", "a", "23"]));
        assert_eq!(said(&on(1, &["get", "a"])).trim_end(), "123");
        said(&on(2, &["put", "b", "x"]));
        let listed = said(&on(3, &["scan"]));
        assert!(listed.contains('a') && listed.contains("123") && listed.contains('b'), "{listed}");
        let status: serde_json::Value = serde_json::from_str(&said(&on(1, &["status", "--json"]))).unwrap();
        let text = status.to_string();
        assert!(text.contains(engine) && text.contains("leader"), "{text}");
        said(&on(1, &["members"]));
        said(&on(1, &["delete", "a"]));
        let gone = on(2, &["get", "a"]);
        assert_eq!(gone.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&gone.stderr).lines().count(), 1);
        let mismatch = on(2, &["put", "b", "y", "--expect-version", "7"]);
        assert_eq!(mismatch.status.code(), Some(1));
        assert_eq!(said(&on(1, &["get", "b"])).trim_end(), "x");
    }
}

#[test]
fn wrong_usage_is_status_two_and_nobody_there_is_status_one() {
    let mut typo = program();
    typo.arg("statsu");
    let output = run_to_end(typo);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("status"), "a typo is answered with what was meant");
    let nobody = cli(&format!("127.0.0.1:{}", free_port()), &["get", "a"]);
    assert_eq!(nobody.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_tells_what_a_stopped_node_holds() {
    for engine in ["raft", "paxos"] {
        let mut cluster = Cluster::start(engine, 1).await;
        for number in 0..20 {
            cluster.client(&[1]).put(&format!("k{number}"), "v").await.unwrap();
        }
        cluster.kill(1);
        let mut command = program();
        command.arg("inspect").arg(cluster.data_dir(1));
        let text = said(&run_to_end(command));
        assert!(text.contains(engine), "{text}");
        assert!(text.contains("20") || text.contains("21"), "the log's last index is missing: {text}");
        cluster.run(1);
        cluster.leader().await;
        assert_eq!(cluster.client(&[1]).get("k19").await.unwrap().as_deref(), Some("v"), "inspecting changes nothing");
    }
}

pub fn interrupt(child: &std::process::Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_local_cluster_runs_serves_and_stops_at_ctrl_c() {
    for engine in ["raft", "paxos"] {
        let directory = TempDir::new().unwrap();
        let (base, _held) = base_port();
        let mut command = program();
        command.env("XDG_STATE_HOME", directory.path().join("state"));
        command.args(["cluster", "--engine", engine, "--nodes", "3", "--base-port", &base.to_string()]);
        command.arg("--dir").arg(directory.path().join("data"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let endpoint = format!("127.0.0.1:{}", base + 1001);
        let since = Instant::now();
        while !cli(&endpoint, &["put", "a", "1"]).status.success() {
            assert!(since.elapsed() < PATIENCE, "the cluster does not serve");
            std::thread::sleep(GLANCE);
        }
        assert_eq!(said(&cli(&format!("127.0.0.1:{}", base + 1003), &["get", "a"])).trim_end(), "1");
        interrupt(&child);
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < PATIENCE, "the cluster does not stop");
            std::thread::sleep(GLANCE);
        }
        for port in (1..=3).map(|id| base + 1000 + id) {
            assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "a node outlived its cluster");
        }
    }
}
