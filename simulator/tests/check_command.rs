//! `simulator check FILE.jsonl`: its verdicts, its exit codes, and what it says to bad input.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const GOOD: &str = r#"{"client":1,"op":"put","key":"k","value":"a","call":0,"return":10,"outcome":"ok"}
{"client":2,"op":"get","key":"k","value":"a","call":20,"return":30,"outcome":"ok"}
"#;
const STALE: &str = r#"{"client":1,"op":"put","key":"k","value":"a","call":0,"return":10,"outcome":"ok"}
{"client":2,"op":"get","key":"k","value":null,"call":20,"return":30,"outcome":"ok"}
"#;
const APPEND: &str = r#"{"client":1,"op":"append","key":"k","value":"a","call":0,"return":10,"outcome":"ok"}
"#;

fn check(dir: &Path, history: &str, arguments: &[&str]) -> Output {
    fs::write(dir.join("history.jsonl"), history).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulator"));
    command.current_dir(dir).arg("check").arg("history.jsonl").args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_linearizable_history_ends_with_zero() {
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), GOOD, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).starts_with("history.jsonl: linearizable\n2 operations by 2 clients on 1 keys"));
}

#[test]
fn one_that_is_not_ends_with_one_and_shows_the_offending_part() {
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), STALE, &["--model", "register"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let words = out(&output);
    assert!(words.contains("not linearizable\nkey \"k\": no order explains these 2 operations:"), "{words}");
    assert!(words.contains("client 2: get \"k\" → absent, ok, from 20 to 30 ns"), "{words}");
    assert!(words.contains("it could have seen \"a\""), "{words}");
}

#[test]
fn a_malformed_line_ends_with_two_and_is_named() {
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), &format!("{GOOD}{{\"client\":1}}\n"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(err(&output), "error: history.jsonl:3: \"outcome\" is missing\n");
}

#[test]
fn an_append_to_a_register_ends_with_two_and_is_named() {
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), APPEND, &["--model", "register"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).starts_with("error: history.jsonl:1: a register has no append"), "{}", err(&output));
    assert_eq!(check(dir.path(), APPEND, &["--model", "kv"]).status.code(), Some(0));
}

#[test]
fn a_file_that_does_not_exist_and_an_unknown_model_end_with_two() {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulator"));
    let output = command.args(["check", "no-such-file.jsonl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no-such-file.jsonl cannot be opened"), "{}", err(&output));
    let output = check(dir.path(), GOOD, &["--model", "queue"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("kv, register"), "{}", err(&output));
}

#[test]
fn a_history_too_hard_for_the_time_limit_ends_with_three() {
    // Overlapping appends of a few pieces, and a value that lacks its first byte, which only all orders rule out.
    let pieces = ["a", "aa", "ab", "ba", "aab", "baa"];
    let mut appended: Vec<&str> = (0..120).map(|number| pieces[(number * 7 + number / 6) % 6]).collect();
    appended.push("bb");
    let mut history = String::new();
    for (number, piece) in appended.iter().enumerate() {
        history += &format!(
            "{{\"client\":{number},\"op\":\"append\",\"key\":\"k\",\"value\":\"{piece}\",\"call\":{number},\"return\":{},\"outcome\":\"ok\"}}\n",
            1000 + number
        );
    }
    let value = &appended.concat()[1..];
    history += &format!(
        "{{\"client\":999,\"op\":\"get\",\"key\":\"k\",\"value\":\"{value}\",\"call\":2000,\"return\":2001,\"outcome\":\"ok\"}}\n"
    );
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), &history, &["--time-limit", "1"]);
    assert_eq!(output.status.code(), Some(3), "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("raise the time limit"), "{}", out(&output));
}

#[test]
fn the_page_is_written_where_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let output = check(dir.path(), STALE, &["--page", "page.html"]);
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("History history.jsonl"));
    let output = check(dir.path(), STALE, &["--page", "no-such-folder/page.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no-such-folder/page.html cannot be written"), "{}", err(&output));
}
