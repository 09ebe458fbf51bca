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
