//! A program that adds an engine to the node runs it, and names it among those that there are.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Stops the node when the test ends, however it does.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kv_fixed(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-fixed"));
    command.env("XDG_STATE_HOME", directory.join("state"));
    command
}

/// A node under the engine, alone, and where it serves, as soon as it does.
fn serving(directory: &Path) -> (Node, String) {
    let listen = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = kv_fixed(directory);
    command.args(["--engine=fixed".into(), format!("--listen={listen}"), format!("--http={http}")]);
    command.arg("--data-dir").arg(directory.join("data")).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("serving")), "it ends before it serves");
    // Or it would wait for somebody to read what it says.
    std::thread::spawn(move || lines.for_each(drop));
    (Node(child), http.to_string())
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_node_under_an_added_engine_keeps_what_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let ask = |http: &str, words: &[&str]| {
        said(kv_fixed(directory.path()).args(words).args(["--endpoints", http]).output().unwrap())
    };
    let (node, http) = serving(directory.path());
    ask(&http, &["put", "a", "1"]);
    drop(node);
    let (_node, http) = serving(directory.path());
    assert_eq!(ask(&http, &["get", "a"]).trim(), "1", "after a kill and a restart");
}

#[test]
fn the_added_engine_is_named_among_those_that_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_kv-fixed")).args(["--engine", "other"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("raft, paxos, fixed"), "{error}");
}
