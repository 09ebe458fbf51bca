//! Runs every script under `tests/scripts` against both engines, and compares what happens with what is recorded there.
//! `UPDATE_GOLDENFILES=1 cargo test --release -p simulator --test golden` records anew; read the difference before it
//! is kept.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use simulator::Script;

macro_rules! scripts {
    ($($name:ident),+ $(,)?) => {
        const SCRIPTS: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                let path = folder().join(stringify!($name));
                goldenscript::run(&mut Script::new().expect("two fresh worlds"), path).expect("the script runs");
            }
        )+
    };
}

scripts![
    duel,
    first_election,
    follower_1000_behind,
    forwarded_proposal_once,
    holes,
    leader_crash_mid_replication,
    lease_ends_with_a_pause,
    lease_read_needs_no_round,
    members_change,
    old_entries_are_not_committed_by_counting,
    old_leader_returns,
    pre_check_spares_a_working_leader,
    quorum_read_without_a_leader,
    read_needs_a_quorum,
    restart_keeps_promise,
    transfer,
    write_waits_for_disk,
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

#[test]
fn every_script_in_the_folder_is_run() {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let mut found: Vec<String> =
        entries.map(|entry| entry.expect("is readable").file_name().into_string().expect("is a plain name")).collect();
    found.sort();
    assert_eq!(found, SCRIPTS);
}

#[test]
fn every_script_opens_with_its_claim() {
    for name in SCRIPTS {
        let text = std::fs::read_to_string(folder().join(name)).expect("is readable");
        assert!(text.starts_with("# "), "{name} does not say what it claims");
    }
}
