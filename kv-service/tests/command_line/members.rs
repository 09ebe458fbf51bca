//! The members, as they are typed and as a pipe sees them.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kv_client::protocol::ErrorCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::fake::{Cluster, Fake};
use crate::{fails, kv_service};

const STORE: &str = "5e1f20c8a94b4c0f8d7e6a5b4c3d2e1f";

fn command(fake: &Fake, line: &str) -> Command {
    let mut command = kv_service(std::env::temp_dir().as_path());
    command.env("QUORATE_ENDPOINTS", &fake.endpoint).args(line.split(' '));
    command
}

fn run(fake: &Fake, line: &str) -> Output {
    command(fake, line).output().unwrap()
}

/// Runs it, and returns its result and its notes.
#[track_caller]
fn said(fake: &Fake, line: &str) -> (String, String) {
    let output = run(fake, line);
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_members_are_a_table_without_colours_in_a_pipe() {
    let fake = Fake::start().with_learner(4, 5000);
    let (table, notes) = said(&fake, "members");
    assert_eq!(
        table,
        "node  address         part     behind\n   \
            1  127.0.0.1:7001  voter         0  leads\n   \
            2  127.0.0.1:7002  voter         0\n   \
            3  127.0.0.1:7003  voter         0\n   \
            4  127.0.0.1:7004  learner    5000\n"
    );
    assert_eq!(notes, "");
}

#[test]
fn the_members_are_one_object_in_json() {
    let fake = Fake::start().with_learner(4, 5000);
    let (json, _) = said(&fake, "members --json");
    let reply: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&reply["version"], &reply["leader_id"]), (&3.into(), &1.into()));
    assert_eq!((&reply["members"][3]["behind"], &reply["members"][3]["voter"]), (&5000.into(), &false.into()));
}

#[test]
fn a_node_is_added_step_by_step_and_each_is_told_once() {
    let fake = Fake::start();
    fake.cluster().pace = 45_000;
    let (result, notes) = said(&fake, &format!("members add 4 127.0.0.1:7004 --store {STORE}"));
    assert_eq!(result, "node 4 votes; version 5: voters 1 2 3 4\n");
    assert_eq!(
        notes, "kv-service: node 4 is a learner\nkv-service: node 4 catches up, 99999 entries behind\n",
        "the last step is the result"
    );
    assert_eq!(fake.cluster().asked, ["POST /v1/members", "POST /v1/members"]);
}

#[test]
fn what_was_done_already_is_not_asked_for_again() {
    let fake = Fake::start().with_learner(4, 0);
    let line = "members add 4 127.0.0.1:7004 --store 4";
    let (result, notes) = said(&fake, line);
    assert_eq!((result.as_str(), notes.as_str()), ("node 4 votes; version 4: voters 1 2 3 4\n", ""));
    let (again, _) = said(&fake, line);
    assert_eq!(again, "node 4 votes already; version 4: voters 1 2 3 4\n");
    assert_eq!(fake.cluster().asked.len(), 1);
}

#[test]
fn the_result_of_a_change_is_one_object_in_json() {
    let fake = Fake::start();
    let (json, _) = said(&fake, &format!("members add 4 127.0.0.1:7004 --store {STORE} --learner --json"));
    let reply: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&reply["version"], &reply["members"][3]["store"]), (&4.into(), &STORE.into()));
}

#[test]
fn a_refusal_that_passes_is_waited_for_and_told() {
    let fake = Fake::start().with_learner(4, 0);
    fake.cluster().refusals = [ErrorCode::ChangePending, ErrorCode::LearnerLags, ErrorCode::MembersChanged].into();
    let (result, notes) = said(&fake, "members promote 4");
    assert!(result.starts_with("node 4 votes; "), "{result}");
    assert!(notes.contains("another change") && notes.contains("LearnerLags"), "{notes}");
}

#[test]
fn a_refusal_that_stays_is_the_error() {
    let fake = Fake::start();
    let used = fails(&mut command(&fake, &format!("members add 3 127.0.0.1:7003 --store {STORE}")), 1);
    assert!(used.contains("IdInUse"), "{used}");
    fake.cluster().refusals = [ErrorCode::NoLiveMajority].into();
    let stands_still = fails(&mut command(&fake, "members remove 3"), 1);
    assert!(stands_still.contains("this is NoLiveMajority; do something else"), "{stands_still}");
    fake.cluster().refusals = [ErrorCode::BadInput].into();
    let refused = fails(&mut command(&fake, "members remove 2"), 1);
    assert!(refused.contains("BadInput"), "{refused}");
    let unknown = fails(&mut command(&fake, "members promote 9"), 1);
    assert!(unknown.contains("node 9 is no member"), "{unknown}");
    let unknown = fails(&mut command(&fake, "members replace 2 9"), 1);
    assert!(unknown.contains("--join"), "{unknown}");
}

#[test]
fn a_learner_that_does_not_catch_up_in_time_stays_one_and_the_command_can_go_on_later() {
    let fake = Fake::start().with_learner(4, 50_000);
    fake.cluster().pace = 0;
    let output = run(&fake, "members promote 4 --timeout 1");
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let error = notes.lines().last().unwrap();
    assert!(error.contains("not done within 1 s") && error.contains("50000 entries behind"), "{error}");
    assert!(error.contains("run the same again"), "{error}");
    fake.cluster().pace = 50_000;
    said(&fake, "members promote 4");
}

#[test]
fn a_step_that_somebody_else_has_undone_is_told_at_once_and_not_waited_for() {
    let fake = Fake::start();
    fake.cluster().pace = 0;
    let mut add = command(&fake, &format!("members add 4 127.0.0.1:7004 --store {STORE}"));
    let add = add.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let undo = |cluster: &mut Cluster| match cluster.members.members.len() {
        4 => {
            cluster.members.members.pop();
            cluster.members.version += 1;
            true
        }
        _ => false,
    };
    while !undo(&mut fake.cluster()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = add.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let last = error.lines().last().unwrap();
    assert!(last.contains("somebody else changed the members meanwhile: node 4 is a learner"), "{error}");
    assert!(last.contains("version 4") && last.contains("version 5"), "{error}");
}

#[test]
fn a_learner_that_nobody_has_heard_of_is_not_made_a_voter() {
    let fake = Fake::start().with_learner(4, 0);
    fake.cluster().pace = 0;
    fake.cluster().members.members[3].matched_index = Some(0);
    let output = run(&fake, "members promote 4 --timeout 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("check that it runs"), "{output:?}");
    assert!(fake.cluster().asked.is_empty());
}

#[test]
fn a_member_is_removed_once_and_a_second_time_nothing_is_done() {
    let fake = Fake::start();
    assert_eq!(said(&fake, "members remove 3"), ("node 3 is removed; version 4: voters 1 2\n".into(), String::new()));
    let (again, _) = said(&fake, "members remove 3");
    assert_eq!(again, "node 3 is no member, nothing was to be done; version 4: voters 1 2\n");
    assert_eq!(fake.cluster().asked, ["DELETE /v1/members/3"]);
}

#[test]
fn whoever_removes_the_leader_is_told_that_it_hands_over() {
    let fake = Fake::start();
    let (result, notes) = said(&fake, "members remove 1");
    assert_eq!(notes, "kv-service: node 1 leads; it hands over once it is removed\n");
    assert!(result.starts_with("node 1 is removed; "), "{result}");
}

#[test]
fn a_learner_takes_a_voters_place_in_one_change() {
    let fake = Fake::start().with_learner(4, 90_000);
    fake.cluster().pace = 45_000;
    let (result, notes) = said(&fake, "members replace 2 4");
    assert_eq!(result, "node 4 votes instead of node 2; version 4: voters 1 3 4\n");
    assert_eq!(notes, "kv-service: node 4 catches up, 90000 entries behind\n");
    assert_eq!(fake.cluster().asked.len(), 1);
    let (again, _) = said(&fake, "members replace 2 4");
    assert!(again.contains("nothing was to be done"), "{again}");
}

#[test]
fn a_node_that_is_no_member_yet_takes_a_voters_place_as_well() {
    let fake = Fake::start();
    let (result, notes) = said(&fake, "members replace 2 4 --address 127.0.0.1:7004 --store 4");
    assert_eq!(result, "node 4 votes instead of node 2; version 5: voters 1 3 4\n");
    assert!(notes.starts_with("kv-service: node 4 is a learner\n"), "{notes}");
}

#[test]
fn a_voter_becomes_a_learner() {
    let fake = Fake::start();
    let (result, _) = said(&fake, "members demote 3");
    assert_eq!(result, "node 3 is a learner; version 4: voters 1 2, learners 3\n");
}

#[test]
fn leadership_is_handed_to_whom_it_is_meant_for() {
    let fake = Fake::start();
    assert_eq!(said(&fake, "transfer 2").0, "node 2 leads\n");
    assert_eq!(said(&fake, "transfer").0, "node 3 leads\n");
    assert_eq!(said(&fake, "transfer --json").0, "{\"leader_id\":3}\n");
    fake.cluster().refusals = [ErrorCode::TransferFailed].into();
    let failed = fails(&mut command(&fake, "transfer 2"), 1);
    assert!(failed.contains("TransferFailed"), "{failed}");
    assert_eq!(fake.cluster().asked.len(), 4, "it is not tried again");
}

#[test]
fn what_is_typed_wrongly_is_told_in_one_line_before_anybody_is_asked() {
    let dir = TempDir::new().unwrap();
    for (line, names) in [
        ("members add 4 127.0.0.1:7004", "--join"),
        ("members add 4", "ADDRESS"),
        ("members add four 127.0.0.1:7004 --store 4", "four"),
        ("members add 4 7004 --store 4", "host:port"),
        ("members add 0 127.0.0.1:7004 --store 4", "from 1 on"),
        ("members replace 2 4 --address 7004 --store 4", "host:port"),
        ("members add 4 127.0.0.1:7004 --store here", "inspect"),
        ("members ad 4 127.0.0.1:7004", "'add'"),
        ("members rmeove 4", "'remove'"),
        ("members remove", "ID"),
        ("members replace 2", "NEW"),
        ("members replace 2 2", "--join"),
        ("members --json promote 4", "--json"),
        ("transfer two", "two"),
        ("transfre 2", "'transfer'"),
    ] {
        let error = fails(kv_service(dir.path()).args(line.split(' ')), 2);
        assert!(error.contains(names), "{line}: {error}");
    }
}
