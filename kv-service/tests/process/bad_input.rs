//! What a user can get wrong: one clear error, a fitting exit status, and nothing changed.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use kv_client::ClientError;

use crate::harness::{Cluster, program, run_to_end, wait_for_end};
use crate::ports::free_port;

/// Runs `command`, which must fail with `status` and say each of `words` in one line.
fn fails(command: Command, status: i32, words: &[&str]) {
    let shown = format!("{command:?}");
    let output = run_to_end(command);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{shown}: {text}");
    let line = text.lines().find(|line| line.starts_with("kv-service: ")).unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "{shown}: \"{word}\" is missing in: {text}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node alone, in a directory that is removed with the cluster.
fn alone(cluster: &Cluster, engine: &str, id: u64) -> Command {
    let mut command = program();
    command.env("XDG_STATE_HOME", cluster.directory.path().join("state"));
    command.args(["--engine", engine, "--id", &id.to_string()]);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--http", &format!("127.0.0.1:{}", free_port())]);
    command
}

#[test]
fn an_unknown_engine_is_refused_with_those_that_exist() {
    let mut command = program();
    command.args(["--engine", "pigeon"]);
    fails(command, 2, &["pigeon", "raft", "paxos"]);
}

#[test]
fn a_malformed_peer_is_refused_with_an_example() {
    for peer in ["2", "x=127.0.0.1:7002", "2=", "2=nowhere", "0=127.0.0.1:7002"] {
        let mut command = program();
        command.args(["--engine", "raft", "--peer", peer]);
        fails(command, 2, &["peer"]);
    }
}

#[test]
fn a_malformed_configuration_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "engine = \"raft\"\nelction_timeout_ms = 5\n").unwrap();
    let mut command = program();
    command.arg("--config").arg(&file);
    fails(command, 2, &["node.toml:2", "elction_timeout_ms"]);
}

#[test]
fn a_listener_beyond_loopback_needs_certificates() {
    let mut command = program();
    command.args(["--engine", "raft", "--listen", "192.0.2.7:7001"]);
    fails(command, 2, &["--tls-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_engine_or_node_is_refused_and_stays_as_it_is() {
    let mut cluster = Cluster::start("raft", 1).await;
    cluster.client(&[1]).put("k", "v").await.unwrap();
    cluster.kill(1);
    for (engine, id, words) in [("paxos", 1, ["raft", "paxos"]), ("raft", 2, ["node 1", "node 2"])] {
        let mut command = alone(&cluster, engine, id);
        command.arg("--data-dir").arg(cluster.data_dir(1));
        fails(command, 1, &words);
    }
    cluster.run(1);
    cluster.leader().await;
    assert_eq!(cluster.client(&[1]).get("k").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_refused_by_its_peers() {
    let mut cluster = Cluster::start("paxos", 3).await;
    let mut stranger = Cluster::start("paxos", 3).await;
    stranger.kill_all();
    let leader = cluster.leader().await;
    let victim = if leader == 3 { 2 } else { 3 };
    cluster.kill(victim);
    let log = cluster.directory.path().join("stranger.log");
    let mut command = cluster.command(victim, &stranger.data_dir(victim));
    let file = std::fs::File::create(&log).unwrap();
    let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let since = std::time::Instant::now();
    let said = loop {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.contains("cluster") && text.contains("refused") {
            break text;
        }
        assert!(since.elapsed() < crate::harness::PATIENCE, "no refusal: {text}\n{}", cluster.logs());
        tokio::time::sleep(crate::harness::GLANCE).await;
    };
    assert!(!said.contains("panicked"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    cluster.client(&[leader]).put("k", "undisturbed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_disk_under_the_old_id_is_refused() {
    let mut cluster = Cluster::start("raft", 3).await;
    let leader = cluster.leader().await;
    let victim = if leader == 3 { 2 } else { 3 };
    cluster.kill(victim);
    std::fs::remove_dir_all(cluster.data_dir(victim)).unwrap();
    cluster.run(victim);
    let status = wait_for_end(&mut cluster, victim);
    assert_eq!(status.code(), Some(1), "{}", cluster.logs());
    assert!(cluster.logs().contains("disk was replaced"), "{}", cluster.logs());
    cluster.client(&[leader]).put("k", "undisturbed").await.unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (listen, http) = (free_port(), free_port());
    let base = || {
        let mut command = program();
        command.env("XDG_STATE_HOME", directory.path().join("state"));
        command.args(["--engine", "raft", "--listen", &format!("127.0.0.1:{listen}")]);
        command.args(["--http", &format!("127.0.0.1:{http}")]);
        command.arg("--data-dir").arg(directory.path().join("data"));
        command
    };
    let udp = UdpSocket::bind(("127.0.0.1", listen)).unwrap();
    fails(base(), 1, &[&listen.to_string(), "in use"]);
    drop(udp);
    let _tcp = TcpListener::bind(("127.0.0.1", http)).unwrap();
    fails(base(), 1, &[&http.to_string(), "--http"]);
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("thesis.txt"), "do not lose me").unwrap();
    let mut command = program();
    command.env("XDG_STATE_HOME", directory.path().join("state"));
    command.args(["--engine", "raft", "--listen", &format!("127.0.0.1:{}", free_port())]);
    command.args(["--http", &format!("127.0.0.1:{}", free_port())]).arg("--data-dir").arg(&data);
    fails(command, 1, &["data"]);
    assert_eq!(std::fs::read_to_string(data.join("thesis.txt")).unwrap(), "do not lose me");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
}

#[test]
fn an_unreadable_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let locked = directory.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything; then only the file that is no directory shows the error.
    let locked_holds = std::fs::read_dir(&locked).is_err();
    let mut cases = vec![file.join("data")];
    cases.extend(locked_holds.then(|| locked.join("data")));
    for data in cases {
        let mut command = program();
        command.env("XDG_STATE_HOME", directory.path().join("state"));
        command.args(["--engine", "raft", "--listen", &format!("127.0.0.1:{}", free_port())]);
        command.args(["--http", &format!("127.0.0.1:{}", free_port())]).arg("--data-dir").arg(&data);
        fails(command, 1, &["data"]);
    }
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_over_the_limit_are_refused() {
    let cluster = Cluster::start_with("paxos", 1, &["--value-bytes-max", "100"]).await;
    let client = cluster.client(&[1]);
    let refused = client.put(&"k".repeat(4097), "v").await;
    assert!(matches!(&refused, Err(ClientError::Api { status: 413 | 400, .. })), "{refused:?}");
    let refused = client.put("k", &"v".repeat(101)).await;
    assert!(matches!(&refused, Err(ClientError::Api { status: 413, .. })), "{refused:?}");
    client.put(&"k".repeat(4096), &"v".repeat(100)).await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_at_the_limit_is_taken_by_any_node() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let value = "v".repeat(1 << 20);
        for id in cluster.running() {
            cluster.client(&[id]).put(&format!("k{id}"), &value).await.unwrap();
            let read = cluster.client(&[id]).get(&format!("k{id}")).await.unwrap();
            assert!(read == Some(value.clone()), "{engine}: not what was written");
            let refused = cluster.client(&[id]).put("k", &"v".repeat((1 << 20) + 1)).await;
            assert!(matches!(&refused, Err(ClientError::Api { status: 413, .. })), "{refused:?}");
        }
    }
}

/// A server that closes the connection under a client that still sends leaves it with a broken pipe, and in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_large_value_is_heard_by_a_client_that_is_still_sending() {
    let cluster = Cluster::start("raft", 1).await;
    let client = cluster.client(&[1]);
    for mebibytes in [2, 8, 32] {
        let value = "v".repeat(mebibytes << 20);
        for _ in 0..5 {
            let refused = client.put("k", &value).await;
            assert!(matches!(&refused, Err(ClientError::Api { status: 413, .. })), "{mebibytes} MiB: {refused:?}");
        }
    }
    client.put("k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_the_peer_port_disturbs_nobody() {
    let cluster = Cluster::start("raft", 3).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = 1_u64;
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..1200)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        for node in cluster.nodes.values() {
            socket.send_to(&bytes, ("127.0.0.1", node.listen)).unwrap();
        }
    }
    let client = cluster.client(&[1, 2, 3]);
    client.put("k", "v").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().as_deref(), Some("v"));
    assert_eq!(cluster.running(), [1, 2, 3]);
}
