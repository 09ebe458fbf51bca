//! The load generator against real nodes: what it reports, and whether what it saw has an order that explains it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use simulator::linearizability::{Action, Operation, Outcome, read_history};

use crate::harness::{Cluster, program, run_to_end};
use crate::witnesses::{count, judge};

impl Cluster {
    /// The load generator, with the development certificates that these nodes have made.
    fn bench(&self, flags: &str) -> Command {
        let mut command = program();
        command.env("XDG_STATE_HOME", self.directory.path().join("state"));
        let endpoints: Vec<String> = self.nodes.keys().map(|id| self.http(*id)).collect();
        command.args(["bench", "--json", "--endpoints", &endpoints.join(",")]).args(flags.split_whitespace());
        command
    }

    fn history_file(&self) -> PathBuf {
        self.directory.path().join("history.jsonl")
    }

    fn history(&self) -> Vec<Operation> {
        read_history(BufReader::new(File::open(self.history_file()).unwrap())).unwrap()
    }
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run of reads, and of reads with a write of the same key, on keys that are fought over.
async fn a_short_run_is_linearizable(engine: &'static str, protocol: &str, loop_flags: &str) {
    const OPERATIONS: u64 = 2000;
    let cluster = Cluster::start(engine, 3).await;
    let flags = format!("--protocol {protocol} {loop_flags} --workload f --keys 40 --count {OPERATIONS} --warmup 0");
    let mut command = cluster.bench(&flags);
    command.arg("--history").arg(cluster.history_file());
    let report = report(&run_to_end(command));
    assert_eq!((report["engine"].as_str(), report["protocol"].as_str()), (Some(engine), Some(protocol)));
    let is_open = loop_flags.contains("--rate");
    assert_eq!(report["loop"], if is_open { "open" } else { "closed" });
    assert_eq!(report["rate_target_per_s"].is_null(), !is_open);

    let (operations, errors) = (&report["operations"], &report["errors_total"]);
    let [succeeded, failed] = [operations, errors].map(|number| number.as_u64().unwrap());
    assert_eq!(succeeded + failed, OPERATIONS);
    assert!(succeeded > OPERATIONS * 9 / 10, "{report}");
    for kind in ["get", "rmw"] {
        let row = &report["kinds"][kind];
        let [p50, p99, max] = ["p50_us", "p99_us", "max_us"].map(|name| row[name].as_u64().unwrap());
        assert!(p50 > 0 && p50 <= p99 && p99 <= max, "{row}");
        let points = row["cdf"].as_array().unwrap();
        assert!((2..=200).contains(&points.len()) && points.last().unwrap()[1] == 1.0, "{row}");
    }
    let by_second = report["per_second"].as_array().unwrap().iter();
    assert_eq!(by_second.map(|row| row["operations"].as_u64().unwrap()).sum::<u64>(), operations.as_u64().unwrap());
    assert!(report["cpu_s"].as_f64().unwrap() > 0.0);

    let history = cluster.history();
    assert_eq!(report["history"]["operations"], history.len());
    let swapped = |operation: &&Operation| matches!(operation.action, Action::Cas { .. });
    assert!(history.iter().filter(swapped).filter(|it| it.outcome == Outcome::Ok).count() > 100);
    judge(&format!("bench-{engine}-{protocol}-{}", report["loop"]), &history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_by_quic_sees_one_order() {
    a_short_run_is_linearizable("raft", "quic", "--clients 8 --window 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_by_quic_sees_one_order() {
    a_short_run_is_linearizable("paxos", "quic", "--rate 1000 --arrivals poisson --in-flight-max 32 --connections 2")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_by_http_sees_one_order() {
    a_short_run_is_linearizable("paxos", "http", "--clients 8 --spread").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_by_http_sees_one_order() {
    a_short_run_is_linearizable("raft", "http", "--rate 1000 --in-flight-max 32").await;
}

/// The stall after the death of a leader, as those see it who would have come during it.
async fn the_death_of_a_leader_shows(engine: &'static str) {
    let mut cluster = Cluster::start(engine, 3).await;
    let mut command = cluster.bench("--rate 400 --duration 6 --warmup 0 --reads 50 --keys 100 --progress");
    command.arg("--history").arg(cluster.history_file());
    let mut bench = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its first line says that the first second is over.
    let mut progress = BufReader::new(bench.stderr.take().unwrap()).lines();
    assert!(progress.next().unwrap().unwrap().contains("ops/s"));
    let leader = cluster.leader().await;
    cluster.kill(leader);
    assert!(progress.all(|line| line.is_ok()));
    let report = report(&bench.wait_with_output().unwrap());

    // Nobody leads for an election timeout of half a second: some 200 operations were meant to start then.
    let row = &report["all"];
    assert!(row["max_us"].as_u64().unwrap() > 400_000, "{row}");
    assert!(row["p99_us"].as_u64().unwrap() > 300_000, "{row}");
    let number = |name: &str| report[name].as_u64().unwrap();
    let due = number("operations") + number("errors_total") + number("not_started");
    assert!((2399..=2401).contains(&due), "{due} of 2400 are accounted for: {report}");
    let history = cluster.history();
    assert!(count(&history, Outcome::Ok) > 200);
    judge(&format!("bench-death-{engine}"), &history);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_raft_leader_shows_in_an_open_loop() {
    the_death_of_a_leader_shows("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_paxos_leader_shows_in_an_open_loop() {
    the_death_of_a_leader_shows("paxos").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_and_scans_run_by_either_protocol_and_leave_an_interval_log() {
    let cluster = Cluster::start("raft", 1).await;
    for (workload, kind, protocol) in [("e", "scan", "quic"), ("e", "scan", "http"), ("d", "get", "quic")] {
        let log = cluster.directory.path().join("run.hlog");
        let flags = "--clients 4 --keys 200 --count 400 --warmup 0 --value-bytes 16..64";
        let mut command = cluster.bench(&format!("{flags} --workload {workload} --protocol {protocol}"));
        command.arg("--hdr").arg(&log);
        let report = report(&run_to_end(command));
        assert_eq!((&report["operations"], &report["errors_total"]), (&400.into(), &0.into()), "{report}");
        assert!(report["kinds"][kind]["count"].as_u64().unwrap() > 300, "{report}");
        assert!(report["kinds"]["put"]["count"].as_u64().unwrap() > 1, "{report}");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("Tag=put,") && log.contains(&format!("Tag={kind},")), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_status_two_and_one_line() {
    let cluster = Cluster::new("raft", 1, &[]);
    for wrong in ["--rate 0", "--distribution normal", "--value-bytes 9..3", "--count 5 --duration 5", "--spread"] {
        let output = run_to_end(cluster.bench(wrong));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{wrong}");
    }
}
