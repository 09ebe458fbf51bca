//! What a user types, and what comes back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

fn simulator(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_simulator")).args(arguments).current_dir(&folder).output().unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = simulator(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_unknown_profile_is_answered_with_those_that_exist() {
    let said = refusal(&["--profile", "stormy"]);
    assert!(said.contains("no profile \"stormy\"; the profiles are calm, swarm, disk, partition, clock"), "{said}");
}

#[test]
fn an_unknown_engine_is_answered_with_those_that_exist() {
    let said = refusal(&["--engine", "zab"]);
    assert!(said.contains("zab") && said.contains("[possible values: raft, paxos, both]"), "{said}");
}

#[test]
fn seeds_that_are_no_range_are_answered_with_an_example() {
    for seeds in ["7", "9..3", "a..b"] {
        let said = refusal(&["--seeds", seeds]);
        assert!(said.contains(&format!("\"{seeds}\" is no range of seeds; write it as 1..1001")), "{said}");
    }
}

#[test]
fn a_trace_wants_one_seed() {
    assert!(refusal(&["--trace"]).contains("--seed <SEED>"));
}

#[test]
fn a_run_tells_what_took_place() {
    let output = simulator(&["--seeds", "1..9"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for word in ["16 runs, 0 failed", "operations", "elections", "faults", "partition", "virtual seconds a second"] {
        assert!(said.contains(word), "no \"{word}\" in {said}");
    }
}

#[test]
fn a_trace_is_the_same_each_time() {
    let arguments = ["--engine", "paxos", "--profile", "disk", "--seed", "7", "--nodes", "3", "--trace"];
    let [first, second] = [simulator(&arguments), simulator(&arguments)];
    assert_eq!(first.status.code(), Some(0));
    assert!(first.stdout.len() > 10_000, "only {} bytes", first.stdout.len());
    assert!(first.stdout == second.stdout, "the second trace is another one");
}
