//! A cluster is saved into a file, and another one founded from it, under either engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use kv_client::HttpClient;
use kv_client::protocol::{Consistency, ErrorCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Cluster, GLANCE, PATIENCE, program, run_to_end};
use crate::ports::free_port;

fn snapshot(arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("snapshot").args(arguments);
    run_to_end(command)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", complaint(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&said(output)).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What an operation that must fail says: one line.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", complaint(output));
    let line = complaint(output);
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn save(cluster: &Cluster, id: u64, file: &Path) -> Value {
    json(&snapshot(&["save", file.to_str().unwrap(), "--endpoints", &cluster.http(id), "--json"]))
}

fn restore(file: &Path, data_dir: &Path, engine: &str, id: u64) -> Output {
    let (file, data_dir) = (file.to_str().unwrap(), data_dir.to_str().unwrap());
    snapshot(&["restore", file, "--data-dir", data_dir, "--engine", engine, "--id", &id.to_string()])
}

/// A new cluster, founded from the file.
async fn restored(file: &Path, engine: &'static str, count: u64) -> Cluster {
    let mut cluster = Cluster::new(engine, count, &[]);
    for id in 1..=count {
        let said = said(&restore(file, &cluster.data_dir(id), engine, id));
        assert!(said.contains("--peer") && said.contains(engine), "{said}");
    }
    cluster.run_all();
    cluster.leader().await;
    cluster
}

/// A file beside others that disappear with the test.
fn file(directory: &TempDir, name: &str) -> PathBuf {
    directory.path().join(name)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn check_keys(cluster: &Cluster, expected: &[(String, String)]) {
    for id in cluster.running() {
        for (key, value) in expected {
            assert_eq!(cluster.client(&[id]).get(key).await.unwrap().as_ref(), Some(value), "{key} at node {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_under_one_engine_is_restored_under_the_other_and_back() {
    for (first, second) in [("raft", "paxos"), ("paxos", "raft")] {
        let directory = TempDir::new().unwrap();
        let old = Cluster::start(first, 3).await;
        let mut expected = Vec::new();
        for number in 0..50 {
            let (key, value) = (format!("key {number}"), format!("value {number}"));
            old.client(&[1 + number % 3]).put(&key, &value).await.unwrap();
            expected.push((key, value));
        }
        let rewritten = old.client(&[1]).put("key 0", "value 0").await.unwrap();
        let (there, back) = (file(&directory, "there"), file(&directory, "back"));
        let saved = save(&old, 2, &there);
        let status = json(&snapshot(&["status", there.to_str().unwrap(), "--json"]));
        assert_eq!(status["keys"], 50);
        assert_eq!(
            ["snapshot_index", "id", "bytes"].map(|name| &status[name]),
            [&saved["snapshot_index"], &saved["id"], &saved["bytes"]]
        );
        assert_eq!(status["members"].as_array().unwrap().len(), 3);
        let digests = old.digests().await;
        assert!(digests.values().all(|digest| *digest == status["digest"]), "{digests:?}, {status}");
        drop(old);

        let middle = restored(&there, second, 3).await;
        check_keys(&middle, &expected).await;
        let again = middle.client(&[2]).put("key 0", "value 0").await.unwrap();
        assert_eq!((again.version, again.revision), (rewritten.version + 1, rewritten.revision + 1));
        middle.client(&[3]).put("new", "one").await.unwrap();
        expected.push(("new".into(), "one".into()));
        let digests = middle.digests().await;
        assert!(digests.values().all(|digest| *digest == digests[&1]), "{digests:?}");
        let saved_again = save(&middle, 1, &back);
        assert!(saved_again["snapshot_index"].as_u64() > saved["snapshot_index"].as_u64());
        drop(middle);

        let mut last = restored(&back, first, 3).await;
        check_keys(&last, &expected).await;
        last.client(&[1]).put("new", "two").await.unwrap();
        last.kill_all();
        last.run_all();
        last.leader().await;
        assert_eq!(last.client(&[2]).get("new").await.unwrap().as_deref(), Some("two"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_is_saved_and_restored_and_a_backup_is_not_replaced() {
    let directory = TempDir::new().unwrap();
    let cluster = Cluster::start("raft", 1).await;
    cluster.client(&[1]).put("k", "v").await.unwrap();
    let backup = file(&directory, "backup");
    save(&cluster, 1, &backup);
    let contents = fs::read(&backup).unwrap();
    let again = snapshot(&["save", backup.to_str().unwrap(), "--endpoints", &cluster.http(1)]);
    assert!(refusal(&again).contains("choose another name"));
    assert!(fs::read(&backup).unwrap() == contents, "it is untouched");
    let over = restore(&backup, &cluster.data_dir(1), "raft", 1);
    assert!(refusal(&over).contains("is there already"));
    drop(cluster);
    let alone = restored(&backup, "paxos", 1).await;
    assert_eq!(alone.client(&[1]).get("k").await.unwrap().as_deref(), Some("v"));
    assert_eq!(names(directory.path()), ["backup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restored_from_another_snapshot_is_kept_out() {
    let directory = TempDir::new().unwrap();
    let source = Cluster::start("raft", 1).await;
    let (earlier, later) = (file(&directory, "earlier"), file(&directory, "later"));
    source.client(&[1]).put("k", "1").await.unwrap();
    save(&source, 1, &earlier);
    source.client(&[1]).put("k", "2").await.unwrap();
    save(&source, 1, &later);
    drop(source);

    let mut cluster = Cluster::new("paxos", 3, &[]);
    for (id, backup) in [(1, &later), (2, &later), (3, &earlier)] {
        said(&restore(backup, &cluster.data_dir(id), "paxos", id));
    }
    cluster.run_all();
    let since = Instant::now();
    while !(1..=3).all(|id| cluster.log_of(id).contains("from the same snapshot")) {
        assert!(since.elapsed() < PATIENCE, "{}", cluster.logs());
        tokio::time::sleep(GLANCE).await;
    }
    assert!((1..=3).all(|id| !cluster.log_of(id).contains("cluster founded")), "{}", cluster.logs());

    // Nothing is stamped yet, so the mistake is mended by restoring that one node again.
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    said(&restore(&later, &cluster.data_dir(3), "paxos", 3));
    cluster.run(3);
    cluster.leader().await;
    assert_eq!(cluster.client(&[3]).get("k").await.unwrap().as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_quorum_can_be_saved_as_it_is() {
    let directory = TempDir::new().unwrap();
    let mut cluster = Cluster::start_with("paxos", 3, &["--request-timeout-ms", "500"]).await;
    cluster.client(&[1]).put("k", "v").await.unwrap();
    cluster.digests().await;
    cluster.kill(2);
    cluster.kill(3);
    let backup = file(&directory, "backup");
    let backup = backup.to_str().unwrap();
    refusal(&snapshot(&["save", backup, "--endpoints", &cluster.http(1)]));
    assert_eq!(names(directory.path()), [""; 0], "nothing is left of what failed");
    said(&snapshot(&["save", backup, "--endpoints", &cluster.http(1), "--stale"]));
    assert_eq!(json(&snapshot(&["status", backup, "--json"]))["keys"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_with_what_is_wrong() {
    let directory = TempDir::new().unwrap();
    let cluster = Cluster::start("raft", 1).await;
    cluster.client(&[1]).put("k", "v").await.unwrap();
    let backup = file(&directory, "backup");
    save(&cluster, 1, &backup);
    let whole = fs::read(&backup).unwrap();
    let target = file(&directory, "node");
    let refused = |contents: &[u8], why: &str| {
        fs::write(&backup, contents).unwrap();
        let shown = refusal(&snapshot(&["status", backup.to_str().unwrap()]));
        assert!(shown.contains(why) && shown.contains("backup"), "{shown}");
        let restored = refusal(&restore(&backup, &target, "paxos", 1));
        assert!(restored.contains(why), "{restored}");
        assert_eq!(names(directory.path()), ["backup"]);
    };
    let mut flipped = whole.clone();
    flipped[whole.len() * 3 / 4] ^= 1;
    refused(&flipped, "another checksum");
    refused(&whole[..whole.len() - 1], "ends within");
    refused(b"something else altogether", "does not begin like one");
    let missing = file(&directory, "missing");
    assert!(refusal(&snapshot(&["status", missing.to_str().unwrap()])).contains("missing"));
}

#[test]
fn nothing_is_left_where_no_node_could_be_reached() {
    let directory = TempDir::new().unwrap();
    let backup = file(&directory, "backup");
    let endpoint = format!("127.0.0.1:{}", free_port());
    let output = snapshot(&["save", backup.to_str().unwrap(), "--endpoints", &endpoint]);
    assert!(refusal(&output).contains("no endpoint could be reached"));
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_the_snapshot_that_was_taken_and_refused_for_a_snapshot_that_is_not_kept() {
    let cluster = Cluster::start("paxos", 1).await;
    let client = HttpClient::new([cluster.http(1)]).unwrap();
    let none = client.download_snapshot("7", PATIENCE).await.unwrap_err();
    assert_eq!(none.code(), Some(ErrorCode::NotFound), "{none}");
    cluster.client(&[1]).put("k", "v").await.unwrap();
    let taken = client.take_snapshot(Consistency::Linearizable, PATIENCE).await.unwrap();
    let mut download = client.download_snapshot(&taken.id, PATIENCE).await.unwrap();
    let mut received = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        received.extend_from_slice(&piece);
    }
    let found = storage_rocks::check_export(&received[..]).unwrap();
    assert_eq!((found.position.index.0, found.bytes()), (taken.snapshot_index, taken.bytes));
    let misspelt = client.download_snapshot("newest", PATIENCE).await.unwrap_err();
    assert_eq!(misspelt.code(), Some(ErrorCode::BadInput), "{misspelt}");
}
