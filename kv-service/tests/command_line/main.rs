//! What a user sees who types something: the exit status, one line on standard error, and which setting wins.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod members;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn kv_service(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-service"));
    command.current_dir(dir).env_clear();
    command
}

fn error_of(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "an error is one line: {text}");
    text
}

/// Runs it, asserts the exit status, and returns the line on standard error.
#[track_caller]
fn fails(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error_of(&output)
}

/// An engine that does not exist is named in the error, and so shows which place was believed.
fn believed_engine(flag: Option<&str>, variable: Option<&str>, file: Option<&str>) -> String {
    let dir = TempDir::new().unwrap();
    let mut command = kv_service(dir.path());
    if let Some(engine) = flag {
        command.args(["--engine", engine]);
    }
    if let Some(engine) = variable {
        command.env("QUORATE_ENGINE", engine);
    }
    if let Some(engine) = file {
        fs::write(dir.path().join("node.toml"), format!("engine = \"{engine}\"\n")).unwrap();
        command.args(["--config", "node.toml"]);
    }
    fails(&mut command, 2)
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    assert!(believed_engine(Some("flag"), Some("variable"), Some("file")).contains("'flag'"));
    assert!(believed_engine(None, Some("variable"), Some("file")).contains("'variable'"));
    assert!(believed_engine(None, None, Some("file")).contains("'file'"));
    assert!(believed_engine(None, None, None).contains("no engine is chosen"));
}

#[test]
fn peers_in_the_environment_are_separated_by_commas() {
    let dir = TempDir::new().unwrap();
    let mut command = kv_service(dir.path());
    let error = fails(command.env("QUORATE_PEERS", "2=h:1,2=h:2").args(["--engine", "raft"]), 2);
    assert!(error.contains("node 2 is named twice"), "{error}");
}

#[test]
fn settings_of_a_node_in_the_environment_do_not_disturb_a_client() {
    let dir = TempDir::new().unwrap();
    let mut command = kv_service(dir.path());
    command.env("QUORATE_ENGINE", "raft").env("QUORATE_ID", "2");
    let error = fails(command.args(["get", "k", "--endpoints", "127.0.0.1:1"]), 1);
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_wrong_usage_exits_with_2_and_a_failure_with_1() {
    let dir = TempDir::new().unwrap();
    for wrong in [
        &["stauts"][..],
        &["get"],
        &["get", ""],
        &["cert"],
        &["status", "--endpoints", "nonsense"],
        &["cluster", "--engine", "zab"],
    ] {
        fails(kv_service(dir.path()).args(wrong), 2);
    }
    for failing in [
        &["get", "k", "--endpoints", "127.0.0.1:1"][..],
        &["put", "k", "v", "--endpoints", "127.0.0.1:1,127.0.0.1:2"],
        &["status", "--endpoints", "127.0.0.1:1"],
        &["bench", "--endpoints", "127.0.0.1:1"],
        &["inspect", "nothing-here"],
        &["cert", "node", "--id", "1", "--ca", "nothing-here", "--dir", "n1"],
    ] {
        fails(kv_service(dir.path()).args(failing), 1);
    }
}

#[test]
fn an_authority_is_made_once_and_signs_for_every_node_and_client() {
    let dir = TempDir::new().unwrap();
    let made = kv_service(dir.path()).args(["cert", "ca", "--dir", "ca"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for node in ["1", "2"] {
        let to = format!("n{node}");
        let made = kv_service(dir.path()).args(["cert", "node", "--id", node, "--ca", "ca", "--dir", &to]).output();
        assert!(made.unwrap().status.success());
        for file in ["ca.pem", "node.pem", "node.key"] {
            assert!(dir.path().join(&to).join(file).is_file(), "{file}");
        }
    }
    let made = kv_service(dir.path()).args(["cert", "client", "ada", "--ca", "ca", "--dir", "ada"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for file in ["ca.pem", "client.pem", "client.key"] {
        assert!(dir.path().join("ada").join(file).is_file(), "{file}");
    }
    fails(kv_service(dir.path()).args(["cert", "client", "Ada!", "--ca", "ca", "--dir", "ada"]), 1);
    // A second one would cut off whoever trusts the first.
    fails(kv_service(dir.path()).args(["cert", "ca", "--dir", "ca"]), 1);
}

#[test]
fn help_is_a_result_and_not_an_error() {
    let dir = TempDir::new().unwrap();
    for help in [&["--help"][..], &["put", "--help"], &["cert", "ca", "--help"], &["--version"]] {
        let output = kv_service(dir.path()).args(help).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{output:?}");
    }
}
