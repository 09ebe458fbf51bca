//! Members as a person changes them: the commands, against clusters that run.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use kv_client::protocol::{MemberReply, MembersReply};

use crate::harness::{Cluster, GLANCE, PATIENCE, program, run_to_end};

const ENGINES: [&str; 2] = ["raft", "paxos"];

/// A command that knows all nodes that run.
fn command(cluster: &Cluster, line: &str) -> Command {
    let endpoints: Vec<String> = cluster.running().iter().map(|id| cluster.http(*id)).collect();
    let mut command = program();
    command.env("XDG_STATE_HOME", cluster.directory.path().join("state"));
    command.env("QUORATE_ENDPOINTS", endpoints.join(",")).args(line.split(' '));
    command
}

fn run(cluster: &Cluster, line: &str) -> Output {
    run_to_end(command(cluster, line))
}

/// What a command says that does what it is asked for.
#[track_caller]
fn said(cluster: &Cluster, line: &str) -> String {
    let output = run(cluster, line);
    assert!(output.status.success(), "{line}: {output:?}; {}", cluster.logs());
    String::from_utf8(output.stdout).unwrap()
}

/// The members, as the command shows them to a program.
fn members(cluster: &Cluster) -> MembersReply {
    serde_json::from_str(&said(cluster, "members --json")).unwrap()
}

fn find(members: &MembersReply, id: u64) -> MemberReply {
    members.members.iter().find(|member| member.id == id).cloned().unwrap()
}

fn voters(members: &MembersReply) -> Vec<u64> {
    members.members.iter().filter(|member| member.voter).map(|member| member.id).collect()
}

/// Three voters, and node 4, which has joined as a learner.
async fn with_learner(engine: &'static str) -> Cluster {
    let mut cluster = Cluster::start(engine, 3).await;
    cluster.client(&[1]).put("k", "v").await.unwrap();
    cluster.invite(4, 1, &["--learner"]);
    cluster.run(4);
    let since = Instant::now();
    while members(&cluster).members.len() < 4 {
        assert!(since.elapsed() < PATIENCE, "node 4 does not join; {}", cluster.logs());
        tokio::time::sleep(GLANCE).await;
    }
    cluster
}

/// One that votes and does not lead.
async fn follower(cluster: &Cluster) -> u64 {
    let leader = cluster.leader_of(&[1, 2, 3]).await;
    if leader == 3 { 2 } else { 3 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_shown_and_promoted_and_demoted_and_removed() {
    for engine in ENGINES {
        let cluster = with_learner(engine).await;
        let table = said(&cluster, "members");
        assert!(table.contains("learner") && table.contains("leads") && !table.contains('\x1b'), "{table}");

        assert!(said(&cluster, "members promote 4").starts_with("node 4 votes; "), "{engine}");
        let promoted = members(&cluster);
        assert_eq!((voters(&promoted), promoted.changing), (vec![1, 2, 3, 4], false), "{engine}");
        assert!(said(&cluster, "members promote 4").starts_with("node 4 votes already; "), "{engine}");
        assert_eq!(members(&cluster).version, promoted.version, "to ask again changes nothing");

        said(&cluster, "members demote 4");
        assert_eq!(voters(&members(&cluster)), [1, 2, 3], "{engine}");
        assert!(said(&cluster, "members remove 4").starts_with("node 4 is removed; "), "{engine}");
        assert_eq!(members(&cluster).members.len(), 3);
        assert!(said(&cluster, "members remove 4").contains("nothing was to be done"), "{engine}");
        assert_eq!(cluster.client(&[1]).get("k").await.unwrap().as_deref(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_that_waits_in_vain_leaves_a_learner_and_goes_on_where_it_was_when_it_is_run_again() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        let gone = follower(&cluster).await;
        let known = find(&members(&cluster), gone);
        said(&cluster, &format!("members remove {gone}"));
        cluster.kill(gone);

        let add = format!("members add {gone} {} --store {}", known.address, known.store);
        let output = run(&cluster, &format!("{add} --timeout 1"));
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{engine}: {notes}");
        assert!(notes.lines().next().unwrap().ends_with(&format!("node {gone} is a learner")), "{notes}");
        assert!(notes.lines().last().unwrap().contains("run the same again"), "{notes}");
        let waiting = members(&cluster);
        assert!(!find(&waiting, gone).voter, "{engine}: nobody has heard of it");

        cluster.run(gone);
        let result = said(&cluster, &add);
        assert!(result.starts_with(&format!("node {gone} votes; ")), "{engine}: {result}");
        assert_eq!(voters(&members(&cluster)), [1, 2, 3], "{engine}");
        cluster.client(&[gone]).put("k", "w").await.unwrap();
        cluster.digests().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_takes_the_place_of_a_dead_voter_in_one_change() {
    for engine in ENGINES {
        let mut cluster = with_learner(engine).await;
        let dead = follower(&cluster).await;
        cluster.kill(dead);
        let result = said(&cluster, &format!("members replace {dead} 4"));
        assert!(result.starts_with(&format!("node 4 votes instead of node {dead}; ")), "{engine}: {result}");
        let now = members(&cluster);
        assert!(voters(&now).contains(&4) && !voters(&now).contains(&dead), "{engine}: {now:?}");
        assert!(said(&cluster, &format!("members replace {dead} 4")).contains("nothing was to be done"), "{engine}");
        cluster.client(&[4]).put("k", "w").await.unwrap();
        cluster.digests().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_removes_the_leader_is_told_that_it_hands_over_and_another_one_leads() {
    for engine in ENGINES {
        let cluster = with_learner(engine).await;
        said(&cluster, "members promote 4");
        let leader = cluster.leader_of(&[1, 2, 3, 4]).await;
        let output = run(&cluster, &format!("members remove {leader}"));
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{engine}: {notes}; {}", cluster.logs());
        assert!(notes.contains(&format!("node {leader} leads; it hands over")), "{engine}: {notes}");
        let rest: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
        assert!(rest.contains(&cluster.leader_of(&rest).await), "{engine}");
        cluster.client(&rest).put("k", "w").await.unwrap();
        assert_eq!(voters(&members(&cluster)), rest, "{engine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_sent_and_not_to_who_does_not_vote() {
    for engine in ENGINES {
        let cluster = with_learner(engine).await;
        let next = follower(&cluster).await;
        assert_eq!(said(&cluster, &format!("transfer {next}")), format!("node {next} leads\n"), "{engine}");
        assert_eq!(cluster.leader_of(&[1, 2, 3]).await, next, "{engine}");
        assert_eq!(said(&cluster, &format!("transfer {next}")), format!("node {next} leads\n"), "{engine}: it does");
        said(&cluster, "transfer");
        assert_ne!(cluster.leader_of(&[1, 2, 3]).await, next, "{engine}");
        let refused = run(&cluster, "transfer 4");
        assert_eq!(refused.status.code(), Some(1), "{engine}: {refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("does not vote"), "{engine}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_knows_the_same_commands() {
    for engine in ENGINES {
        let cluster = with_learner(engine).await;
        let next = follower(&cluster).await;
        let mut child = command(&cluster, "repl");
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lines = format!(
            "members promote 4\nmembers\ntransfer {next}\nmembers remove 4\nmembers remove 4\nmembers rmeove 4\nhelp members add\n"
        );
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (result, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{engine}: {errors}");
        assert!(errors.contains("line 6: ") && errors.contains("'remove'"), "{engine}: {errors}");
        assert!(errors.contains("1 of 7 lines"), "{engine}: {errors}");
        for words in ["node 4 votes; ", &format!("node {next} leads\n"), "node 4 is removed; ", "--store"] {
            assert!(result.contains(words), "{engine}: {words} is missing in {result}");
        }
    }
}
