//! The REPL through a pipe, and the commands that stay: watch, lock, ephemeral keys.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use crate::commands::interrupt;
use crate::harness::{Cluster, program, run_to_end};

fn everywhere(cluster: &Cluster) -> String {
    cluster.running().iter().map(|id| cluster.http(*id)).collect::<Vec<_>>().join(",")
}

fn cli(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = program();
    command.env("XDG_STATE_HOME", cluster.directory.path().join("state"));
    command.env("QUORATE_ENDPOINTS", everywhere(cluster)).args(arguments);
    command
}

fn ok(command: Command) -> String {
    let output = run_to_end(command);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Feeds lines to the REPL.
fn repl(cluster: &Cluster, lines: &str, flags: &[&str]) -> Output {
    let mut command = cli(cluster, &["repl"]);
    command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A command that goes on, and the lines that it prints.
fn stays(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_of_commands_has_no_prompt_goes_on_behind_a_failure_and_ends_with_1() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let well = repl(&cluster, "put a 1\n# a comment\n\nappend a 2\ncas a 12 'x y'\nget a\n", &[]);
        assert!(well.status.success() && well.stderr.is_empty(), "{well:?}");
        let said = String::from_utf8(well.stdout).unwrap();
        assert!(said.ends_with("x y\n") && said.contains("version 3") && !said.contains('>'), "{said}");

        let ill = repl(&cluster, "gte a\nget nothing\ncas a no y\nput b \\x00\\xff\nget \"b\n", &[]);
        let errors = String::from_utf8(ill.stderr).unwrap();
        assert_eq!(ill.status.code(), Some(1), "{errors}");
        for word in ["line 1: ", "'get'", "line 2: ", "nothing", "line 3: ", "x y", "line 5: ", "4 of 5 lines"] {
            assert!(errors.contains(word), "{word} is missing in {errors}");
        }
        assert_eq!(run_to_end(cli(&cluster, &["get", "b"])).stdout, b"\x00\xff");
        assert_eq!(ok(cli(&cluster, &["get", "b", "--hex"])), "00ff\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_about_nodes_speaks_for_people_and_in_json() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let lines = "put a 1\nstatus\nlog\nmembers\nping\nkv\nscan\nhelp\nhelp put\n";
        let text = repl(&cluster, lines, &[]);
        assert!(text.status.success(), "{text:?}");
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("leader") && text.contains(engine) && !text.contains('\x1b'), "{text}");
        let json = repl(&cluster, "put a 1\nstatus\nlog\nmembers\nping\nkv\nscan\nget a\n", &["--json"]);
        let json = String::from_utf8(json.stdout).unwrap();
        assert_eq!(json.lines().count(), 8, "{json}");
        for line in json.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        let elected = repl(&cluster, "prepare 1\n", &[]);
        assert!(elected.status.success(), "{elected:?}");
        let handed_over = repl(&cluster, "transfer\n", &[]);
        assert!(String::from_utf8_lossy(&handed_over.stdout).contains("leads"), "{handed_over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change_in_order_also_of_the_past() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        assert!(repl(&cluster, "put w/a 1\nput other 1\nput w/b 2\ndelete w/a\n", &[]).status.success());
        let seen = ok(cli(&cluster, &["watch", "w/", "--from-revision", "1", "--count", "3"]));
        let parts: Vec<Vec<&str>> = seen.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(parts[0][1..], ["put", "w/a", "1"]);
        assert_eq!(parts[1][1..], ["put", "w/b", "2"]);
        assert_eq!(parts[2][1..], ["delete", "w/a"]);

        let (mut child, mut out) = stays(cli(&cluster, &["watch", "w/", "--from-revision", "1", "--json"]));
        for _ in 0..3 {
            serde_json::from_str::<serde_json::Value>(&line(&mut out)).unwrap();
        }
        assert!(repl(&cluster, "put w/c 3\n", &[]).status.success());
        assert!(line(&mut out).contains("\"event\":\"put\""));
        interrupt(&child);
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_key_stays_as_long_as_its_process_or_its_session() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let (mut child, mut out) = stays(cli(&cluster, &["put", "e", "here", "--ephemeral"]));
        assert!(line(&mut out).starts_with("version 1"));
        assert_eq!(ok(cli(&cluster, &["get", "e"])), "here");
        interrupt(&child);
        assert!(child.wait().unwrap().success());
        assert_eq!(run_to_end(cli(&cluster, &["get", "e"])).status.code(), Some(1));

        let id = ok(cli(&cluster, &["session", "open", "--ttl", "600"]));
        let id = id.trim_end();
        ok(cli(&cluster, &["put", "e", "again", "--ephemeral", "--session", id]));
        ok(cli(&cluster, &["append", "e", "!", "--session", id]));
        ok(cli(&cluster, &["session", "keep", id, "--once"]));
        assert!(ok(cli(&cluster, &["session", "close", id])).starts_with("ended"));
        let late = run_to_end(cli(&cluster, &["put", "e", "late", "--session", id]));
        assert_eq!(late.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&late.stderr).contains("session"), "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_held_by_one_at_a_time_and_passes_the_commands_status_on() {
    for engine in ["raft", "paxos"] {
        let cluster = Cluster::start(engine, 3).await;
        let shared = cluster.directory.path().join("counter");
        std::fs::write(&shared, "0").unwrap();
        // Not atomic: two at a time would lose one.
        let script = format!("n=$(cat {0}); sleep 0.05; echo $((n + 1)) > {0}; exit 7", shared.display());
        let children: Vec<Child> = (0..5)
            .map(|_| {
                cli(&cluster, &["lock", "counter", "--", "sh", "-c", &script]).stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut child in children {
            assert_eq!(child.wait().unwrap().code(), Some(7));
        }
        assert_eq!(std::fs::read_to_string(&shared).unwrap().trim(), "5");
        assert_eq!(ok(cli(&cluster, &["scan", "locks/"])), "", "all are released");
        let unknown = run_to_end(cli(&cluster, &["lock", "counter", "--", "no-such-command-here"]));
        assert_eq!(unknown.status.code(), Some(127));
    }
}

/// The keys of a lock's queue, once that many were put into it.
fn queue(cluster: &Cluster, name: &str, count: &str) -> Vec<String> {
    let prefix = format!("locks/{name}/");
    let seen = ok(cli(cluster, &["watch", &prefix, "--from-revision", "1", "--count", count]));
    seen.lines().map(|line| line.split('\t').nth(2).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_its_place_in_the_queue_does_not_start_its_command() {
    let cluster = Cluster::start("raft", 3).await;
    let (mut holder, mut out) = stays(cli(&cluster, &["lock", "q", "--", "sh", "-c", "echo holds; exec sleep 1000"]));
    assert_eq!(line(&mut out), "holds");
    let mut waits = cli(&cluster, &["lock", "q", "--", "echo", "started"]);
    let waits = waits.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let keys = queue(&cluster, "q", "2");
    ok(cli(&cluster, &["delete", &keys[1]]));
    interrupt(&holder);
    let waited = waits.wait_with_output().unwrap();
    assert_eq!((waited.status.code(), &waited.stdout[..]), (Some(1), &b""[..]), "{waited:?}");
    assert!(String::from_utf8_lossy(&waited.stderr).contains("lost"), "{waited:?}");
    assert_eq!(holder.wait().unwrap().code(), Some(128 + 2), "the interrupt was passed on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_lost_stops_all_that_the_command_has_started() {
    let cluster = Cluster::start("raft", 3).await;
    let script = "sleep 1000 & echo holds; wait";
    let (mut holder, mut out) = stays(cli(&cluster, &["lock", "l", "--ttl", "1", "--", "sh", "-c", script]));
    assert_eq!(line(&mut out), "holds");
    let keys = queue(&cluster, "l", "1");
    ok(cli(&cluster, &["session", "close", keys[0].rsplit('/').next().unwrap()]));
    assert_eq!(holder.wait().unwrap().code(), Some(1));
    // The output ends when nobody is left who could write to it.
    assert_eq!(line(&mut out), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_levels_of_freshness_are_flags() {
    let cluster = Cluster::start("raft", 3).await;
    ok(cli(&cluster, &["put", "k", "1", "--if-absent"]));
    assert_eq!(run_to_end(cli(&cluster, &["put", "k", "2", "--if-absent"])).status.code(), Some(1));
    ok(cli(&cluster, &["put", "k", "2", "--if-version", "1"]));
    assert_eq!(run_to_end(cli(&cluster, &["put", "k", "3", "--if-revision", "999"])).status.code(), Some(1));
    for level in ["linearizable", "lease"] {
        assert_eq!(ok(cli(&cluster, &["get", "k", "--consistency", level])), "2");
    }
    let wrong = run_to_end(cli(&cluster, &["get", "k", "--consistency", "fresh"]));
    assert_eq!(wrong.status.code(), Some(2));
}
