//! The example does what it says.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Runs it and returns the sum that it says last.
fn sum(engine: &str, directory: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    command.env("XDG_STATE_HOME", directory.join("state")).arg(engine).arg(directory.join("data"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_counter_in_memory_is_brought_back_by_the_log() {
    for engine in ["raft", "paxos"] {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(sum(engine, directory.path()), "55");
        assert_eq!(sum(engine, directory.path()), "110", "{engine} restarts where it stopped");
    }
}
