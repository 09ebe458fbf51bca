//! Plans that can be carried out, and those that cannot.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;

use super::*;

fn refused(text: &str) -> String {
    toml::from_str::<Plan>(text).unwrap().check(Some(kv_service::engines::NAMES)).unwrap_err().to_string()
}

fn experiments() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_plan_that_is_there_can_be_carried_out_and_begins_with_its_question() {
    let paths = experiments();
    assert!(paths.len() >= 8, "{paths:?}");
    for path in paths {
        let plan = Plan::read(&path).unwrap();
        plan.check(Some(kv_service::engines::NAMES)).unwrap();
        assert!(plan.question.ends_with('?'), "{}: {}", path.display(), plan.question);
        assert!(!plan.courses().is_empty());
    }
}

#[test]
fn a_wrong_plan_is_answered_with_what_to_write_instead() {
    let curve = "[[curve]]\nname = \"c\"\nrates_per_s = [10]\n";
    for (text, remedy) in [
        (String::new(), "add a [[curve]]"),
        (format!("rounds = 0\n{curve}"), "at least 1"),
        (format!("{curve}networks = [\"moon\"]\n"), "use loopback, relay, lan"),
        (format!("{curve}mixes = [\"g\"]\n"), "puts, reads, mixed, a"),
        (format!("{curve}nodes = [0]\n"), "from 1 to 9"),
        (format!("{curve}nodes = []\n"), "leave the list out"),
        (format!("{curve}nodes = [1]\nnetworks = [\"relay\"]\n"), "on loopback"),
        (format!("{curve}nodes = [2]\nnetworks = [\"slow-disk\"]\n"), "more nodes"),
        (format!("{curve}{curve}"), "a name of its own"),
        (format!("{curve}[[subject]]\nname = \"x\"\nengine = \"zab\"\n"), "raft or paxos"),
        (format!("{curve}[[subject]]\nname = \"x\"\nengine = \"raft\"\nsame_as = \"y\"\n"), "name one that stands"),
        (format!("{curve}[[network]]\nname = \"n\"\nrelay = false\nloss = \"1%\"\n"), "relay = true"),
        (format!("{curve}[[network]]\nname = \"n\"\nloss = \"much\"\n"), "losses as \"1%\""),
        ("[[curve]]\nname = \"c\"\nrates_per_s = [0]\n".to_owned(), "from 1 on"),
    ] {
        let error = refused(&text);
        assert!(error.contains(remedy), "{text}: {error}");
    }
}

#[test]
fn a_repetition_is_started_as_its_original_is() {
    let subjects = |more: &str| {
        refused(&format!(
            "[[subject]]\nname = \"r\"\nengine = \"raft\"\n[[subject]]\nname = \"again\"\nsame_as = \"r\"\n{more}\n\
             [[curve]]\nname = \"c\"\nrates_per_s = [10]\n"
        ))
    };
    assert!(subjects("engine = \"paxos\"").contains("the same engine and flags"));
    let flags = subjects("engine = \"raft\"\nflags = [\"--reads\", \"log\"]");
    assert!(flags.contains("the same engine and flags, or leave same_as out"), "{flags}");
}

#[test]
fn a_value_that_is_there_twice_is_named() {
    let curve = "[[curve]]\nname = \"c\"\n";
    let failover = "[[failover]]\nname = \"f\"\ntimes = 5\n";
    let meanwhile = "[[meanwhile]]\nname = \"m\"\nrate_per_s = 9\n";
    for (text, what) in [
        (format!("{curve}rates_per_s = [10, 20, 10]\n"), "rates_per_s has 10 twice"),
        (format!("{curve}rates_per_s = [10]\nnodes = [3, 3]\n"), "nodes has 3 twice"),
        (format!("{curve}rates_per_s = [10]\nnetworks = [\"lan\", \"lan\"]\n"), "networks has lan twice"),
        (format!("{curve}rates_per_s = [10]\nmixes = [\"puts\", \"a\", \"a\"]\n"), "mixes has a twice"),
        (format!("{curve}rates_per_s = [10]\nvalue_bytes = [16, 16]\n"), "value_bytes has 16 twice"),
        (format!("{curve}rates_per_s = [10]\nsync = [true, true]\n"), "sync has true twice"),
        (format!("{failover}what = [\"kill\", \"kill\"]\n"), "what has kill twice"),
        (format!("{failover}what = [\"kill\"]\nopen_tails = [0, 9, 9]\n"), "open_tails has 9 twice"),
        (format!("{meanwhile}what = [\"transfer\", \"transfer\"]\n"), "what has transfer twice"),
    ] {
        let error = refused(&text);
        assert!(error.contains(what) && error.contains("write each value once"), "{text}: {error}");
    }
}

#[test]
fn every_figure_has_a_bound_and_the_answer_names_it() {
    let curve = "[[curve]]\nname = \"c\"\nrates_per_s = [10]\n";
    let failover = "[[failover]]\nname = \"f\"\nwhat = [\"kill\"]\n";
    let meanwhile = "[[meanwhile]]\nname = \"m\"\nwhat = [\"transfer\"]\n";
    for (text, bound) in [
        (format!("rounds = 1001\n{curve}"), "rounds from 1 to 1000"),
        (format!("watched_keys = 0\n{curve}"), "watched_keys from 1 to 1000"),
        (format!("watched_keys = 1001\n{curve}"), "watched_keys from 1 to 1000"),
        (format!("{curve}seconds = 0\n"), "seconds from 1 to 3600"),
        (format!("{curve}seconds = 3601\n"), "seconds from 1 to 3600"),
        (format!("{curve}warmup_seconds = 3601\n"), "warmup_seconds from 0 to 3600"),
        (format!("{curve}value_bytes = [1048577]\n"), "value_bytes from 0 to 1048576"),
        ("[[curve]]\nname = \"c\"\nrates_per_s = [1000001]\n".to_owned(), "rates_per_s from 0 to 1000000"),
        (format!("{failover}times = 10001\n"), "times from 1 to 10000"),
        (format!("{failover}times = 5\nopen_tails = [4097]\n"), "open_tails from 0 to 4096"),
        (format!("{meanwhile}rate_per_s = 1000001\n"), "rate_per_s from 1 to 1000000"),
        (format!("{meanwhile}rate_per_s = 9\npreload_thousands = 10001\n"), "preload_thousands from 0 to 10000"),
        (format!("{meanwhile}rate_per_s = 9\nseconds = 3601\n"), "seconds from 1 to 3600"),
    ] {
        let error = refused(&text);
        assert!(error.contains(bound), "{text}: {error}");
    }
}

#[test]
fn what_must_cut_links_needs_a_relay_and_enough_nodes() {
    let loss = |what: &str, more: &str| {
        refused(&format!("[[failover]]\nname = \"f\"\nwhat = [\"{what}\"]\ntimes = 5\n{more}"))
    };
    assert!(loss("cut", "networks = [\"loopback\"]\n").contains("with a relay"));
    assert!(loss("kill", "networks = [\"loopback\"]\nopen_tails = [10]\n").contains("with a relay"));
    assert!(loss("explode", "").contains("kill, pause, cut"));
    assert!(loss("chain", "").contains("kill, pause, cut"), "a partition is no failover");
    assert!(loss("kill", "nodes = [2]\n").contains("from 3"));
    assert!(loss("kill", "rate_per_s = 100000\n").contains("from 1 to 1000"));
    let seldom = refused("rounds = 3\n[[failover]]\nname = \"f\"\nwhat = [\"kill\"]\ntimes = 2\n");
    assert!(seldom.contains("each round an event"), "{seldom}");
    let partition = refused("[[partition]]\nname = \"p\"\nwhat = [\"bridge\"]\ntimes = 5\n");
    assert!(partition.contains("from 5 to 5"), "{partition}");
}

#[test]
fn who_joins_does_not_go_through_a_relay() {
    let meanwhile = |what: &str| {
        refused(&format!("[[meanwhile]]\nname = \"m\"\nwhat = [\"{what}\"]\nrate_per_s = 9\nnetworks = [\"relay\"]\n"))
    };
    assert!(meanwhile("snapshot").contains("on loopback"));
    assert!(meanwhile("nothing").contains("transfer, membership, snapshot, catch-up"));
}

#[test]
fn a_file_that_is_no_plan_is_named() {
    let missing = Plan::read(Path::new("no/such/plan.toml")).unwrap_err().to_string();
    assert!(missing.contains("no/such/plan.toml") && missing.contains("benches/experiments"), "{missing}");
}
