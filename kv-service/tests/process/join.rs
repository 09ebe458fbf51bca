//! A node comes to a cluster that runs: it asks for its place, catches up, votes; or is told why not.

use std::process::Command;
use std::time::Instant;

use kv_client::protocol::{ErrorCode, MemberReply, MemberRequest, MembersReply};
use serde_json::Value;

use crate::harness::{Client, Cluster, GLANCE, PATIENCE, program, run_to_end, signal, wait_for_end};
use crate::ports::free_port;
use crate::raw_http::ask;

const ENGINES: [&str; 2] = ["raft", "paxos"];

/// Waits until the node says that the members stand so.
async fn until(cluster: &Cluster, id: u64, stands: impl Fn(&MembersReply) -> bool) -> MembersReply {
    let (client, since) = (cluster.client(&[id]), Instant::now());
    loop {
        match client.members().await {
            Ok(members) if stands(&members) => return members,
            found => assert!(since.elapsed() < PATIENCE, "node {id}: {found:?}; {}", cluster.logs()),
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until the node has logged this.
async fn until_said(cluster: &Cluster, id: u64, words: &str) {
    let since = Instant::now();
    while !cluster.log_of(id).contains(words) {
        assert!(since.elapsed() < PATIENCE, "node {id} does not say \"{words}\"; {}", cluster.logs());
        tokio::time::sleep(GLANCE).await;
    }
}

fn member(members: &MembersReply, id: u64) -> Option<&MemberReply> {
    members.members.iter().find(|member| member.id == id)
}

fn votes(members: &MembersReply, id: u64) -> bool {
    !members.changing && member(members, id).is_some_and(|member| member.voter)
}

fn learns(members: &MembersReply, id: u64) -> bool {
    !members.changing && member(members, id).is_some_and(|member| !member.voter)
}

/// Runs a node that is to be refused; what it says in its last words.
fn refusal(command: Command) -> String {
    let output = run_to_end(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let words: Vec<&str> = text.lines().filter(|line| line.starts_with("kv-service: ")).collect();
    assert_eq!(words.len(), 1, "one error: {text}");
    words[0].to_owned()
}

/// A node with a blank directory of its own that asks node 1 for a place.
fn newcomer(cluster: &Cluster, engine: &str, id: u64) -> Command {
    let mut command = program();
    command.env("XDG_STATE_HOME", cluster.directory.path().join("state"));
    command.args(["--engine", engine, "--id", &id.to_string(), "--join", &cluster.http(1)]);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--http", &format!("127.0.0.1:{}", free_port())]);
    command.arg("--data-dir").arg(cluster.directory.path().join("newcomer"));
    command
}

/// Repeats what may be refused while leadership changes hands.
async fn removed(client: &Client, id: u64) {
    let since = Instant::now();
    loop {
        match client.remove_member(id).await {
            Ok(_) => return,
            Err(error) if error.code() == Some(ErrorCode::NotFound) => return,
            Err(error) => assert!(since.elapsed() < PATIENCE, "node {id} is not removed: {error}"),
        }
        tokio::time::sleep(GLANCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_votes_by_itself_and_carries_the_cluster_when_two_old_ones_are_gone() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.client(&[1]).put("k", "before").await.unwrap();
        cluster.invite(4, 2, &[]);
        cluster.run(4);
        let members = until(&cluster, 4, |members| votes(members, 4)).await;
        assert_eq!(member(&members, 4).unwrap().address, format!("127.0.0.1:{}", cluster.nodes[&4].listen));
        assert_eq!(cluster.client(&[4]).get("k").await.unwrap().as_deref(), Some("before"), "{engine}");
        assert!(cluster.client(&[4]).is_ready().await);
        until_said(&cluster, 4, "this node votes").await;

        let leader = cluster.leader().await;
        let mut others = (1..=3).filter(|id| *id != leader);
        let (first, second) = (others.next().unwrap(), others.next().unwrap());
        removed(&cluster.client(&[4]), first).await;
        cluster.kill(first);
        cluster.kill(second);
        let rest = [leader, 4];
        cluster.leader_of(&[leader, second, 4]).await;
        cluster.client(&rest).put("k", "after").await.unwrap();

        // And it is a member for good: from its own disk, and without being asked in again.
        cluster.kill(4);
        cluster.run(4);
        cluster.leader_of(&[leader, second, 4]).await;
        assert_eq!(cluster.client(&[4]).get("k").await.unwrap().as_deref(), Some("after"), "{engine}");
        assert!(cluster.log_of(4).contains("--join asks nobody"), "{}", cluster.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_stays_one_until_it_is_started_without_that_wish() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.invite(4, 1, &["--learner"]);
        cluster.run(4);
        until(&cluster, 4, |members| learns(members, 4)).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        assert_eq!(cluster.client(&[4]).get("k").await.unwrap().as_deref(), Some("v"), "{engine}: a learner reads");
        assert!(cluster.client(&[4]).is_ready().await);
        assert!(learns(&cluster.client(&[1]).members().await.unwrap(), 4));
        cluster.kill(4);
        cluster.nodes.get_mut(&4).unwrap().joins.as_mut().unwrap().retain(|flag| flag != "--learner");
        cluster.run(4);
        until(&cluster, 1, |members| votes(members, 4)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_engine_is_refused_with_the_one_to_use() {
    for (engine, other) in [("raft", "paxos"), ("paxos", "raft")] {
        let cluster = Cluster::start(engine, 1).await;
        let said = refusal(newcomer(&cluster, other, 4));
        assert!(said.contains(&format!("--engine {engine}")) && said.contains("blank"), "{said}");
        assert_eq!(cluster.client(&[1]).members().await.unwrap().version, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_somebody_has_is_refused_with_what_to_do() {
    for engine in ENGINES {
        let cluster = Cluster::start(engine, 3).await;
        let said = refusal(newcomer(&cluster, engine, 2));
        assert!(said.contains("node 2 has voted") && said.contains("DELETE /v1/members/2"), "{said}");
        assert_eq!(cluster.client(&[1]).members().await.unwrap().version, 0, "{engine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_lost_its_disk_is_refused_under_its_id_also_when_it_is_removed_and_welcome_under_a_new_one() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        let leader = cluster.leader().await;
        let victim = if leader == 3 { 2 } else { 3 };
        cluster.kill(victim);
        std::fs::remove_dir_all(cluster.data_dir(victim)).unwrap();
        let join = vec!["--join".to_owned(), cluster.http(leader)];
        cluster.nodes.get_mut(&victim).unwrap().joins = Some(join);
        let said = refusal(cluster.command(victim, &cluster.data_dir(victim)));
        assert!(said.contains("has voted with another disk") && said.contains("remove it"), "{said}");

        removed(&cluster.client(&[leader]), victim).await;
        let said = refusal(cluster.command(victim, &cluster.data_dir(victim)));
        assert!(said.contains("join under an id that was never used"), "{said}");

        cluster.nodes.remove(&victim);
        cluster.invite(4, leader, &[]);
        cluster.run(4);
        until(&cluster, 4, |members| votes(members, 4)).await;
        assert_eq!(cluster.client(&[4]).get("k").await.unwrap().as_deref(), Some("v"), "{engine}");
        cluster.digests().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sole_founder_that_lost_its_disk_after_it_was_replaced_is_nobody_until_it_has_a_new_id() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 1).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        cluster.invite(2, 1, &[]);
        cluster.run(2);
        until(&cluster, 2, |members| votes(members, 2)).await;
        removed(&cluster.client(&[2]), 1).await;
        cluster.leader_of(&[2]).await;
        cluster.kill(1);
        std::fs::remove_dir_all(cluster.data_dir(1)).unwrap();
        // By the founders' membership it would decide alone.
        let join = vec!["--join".to_owned(), cluster.http(2)];
        cluster.nodes.get_mut(&1).unwrap().joins = Some(join);
        let said = refusal(cluster.command(1, &cluster.data_dir(1)));
        assert!(said.contains("join under an id that was never used"), "{said}");

        cluster.nodes.remove(&1);
        cluster.invite(3, 2, &[]);
        cluster.run(3);
        until(&cluster, 3, |members| votes(members, 3)).await;
        cluster.client(&[3]).put("k", "w").await.unwrap();
        assert_eq!(cluster.client(&[2]).get("k").await.unwrap().as_deref(), Some("w"), "{engine}");
        cluster.digests().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_was_demoted_stays_a_learner_though_its_command_line_is_what_it_was() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 1).await;
        cluster.invite(2, 1, &[]);
        cluster.run(2);
        until(&cluster, 2, |members| votes(members, 2)).await;
        let learner = MemberRequest { id: 2, learner: true, ..MemberRequest::default() };
        cluster.client(&[1]).with_timeout(PATIENCE).add_member(&learner).await.unwrap();
        until(&cluster, 2, |members| learns(members, 2)).await;
        cluster.kill(2);
        cluster.run(2);
        until_said(&cluster, 2, "asks for no vote again").await;
        assert!(learns(&cluster.client(&[1]).members().await.unwrap(), 2), "{engine}");
        // Whoever wants it to vote again says so.
        let voter = MemberRequest { id: 2, ..MemberRequest::default() };
        cluster.client(&[1]).with_timeout(PATIENCE).add_member(&voter).await.unwrap();
        until(&cluster, 2, |members| votes(members, 2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_is_there_it_waits_and_says_for_whom() {
    for engine in ENGINES {
        let mut cluster = Cluster::new(engine, 1, &[]);
        cluster.invite(4, 1, &[]);
        cluster.run(4);
        let (contact, since) = (cluster.http(1), Instant::now());
        loop {
            // Before the port is bound nobody answers at all.
            if std::net::TcpStream::connect(cluster.http(4)).is_ok() {
                let error = ask(&cluster.http(4), "GET", "/health/ready", &[], "").into_error(503, "no_leader");
                if error["message"].as_str().unwrap().contains(&format!("{contact}: no endpoint")) {
                    break;
                }
            }
            assert!(since.elapsed() < PATIENCE, "{}", cluster.logs());
            tokio::time::sleep(GLANCE).await;
        }
        cluster.run(1);
        until(&cluster, 4, |members| votes(members, 4)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_founded_from_a_snapshot_is_joined_and_the_newcomer_can_be_asked_by_the_next() {
    for engine in ENGINES {
        let source = Cluster::start(engine, 1).await;
        source.client(&[1]).put("k", "kept").await.unwrap();
        let file = source.directory.path().join("backup");
        let snapshot = |arguments: &[&str]| {
            let mut command = program();
            command.arg("snapshot").args(arguments);
            let output = run_to_end(command);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let file = file.to_str().unwrap();
        snapshot(&["save", file, "--endpoints", &source.http(1)]);
        let mut cluster = Cluster::new(engine, 1, &[]);
        let data_dir = cluster.data_dir(1);
        snapshot(&["restore", file, "--data-dir", data_dir.to_str().unwrap(), "--engine", engine, "--id", "1"]);
        cluster.run(1);
        cluster.leader().await;

        // Its own tables would not be the cluster's.
        cluster.invite(4, 1, &[]);
        let restored = cluster.directory.path().join("restored");
        snapshot(&["restore", file, "--data-dir", restored.to_str().unwrap(), "--engine", engine, "--id", "4"]);
        let said = refusal(cluster.command(4, &restored));
        assert!(said.contains("blank directory"), "{said}");

        cluster.run(4);
        until(&cluster, 4, |members| votes(members, 4)).await;
        cluster.invite(5, 4, &[]);
        cluster.run(5);
        until(&cluster, 5, |members| votes(members, 5)).await;
        assert_eq!(cluster.client(&[5]).get("k").await.unwrap().as_deref(), Some("kept"), "{engine}");
        let digests = cluster.digests().await;
        assert!(digests.values().all(|digest| *digest == digests[&1]), "{engine}: {digests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_ask_twice_for_the_same_place_is_to_ask_once() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.invite(4, 1, &["--learner"]);
        cluster.run(4);
        let before = until(&cluster, 1, |members| learns(members, 4)).await;
        let four = member(&before, 4).unwrap();
        let again = MemberRequest {
            id: 4,
            address: Some(four.address.clone()),
            store: Some(four.store.clone()),
            learner: true,
            engine: Some(engine.into()),
            ..MemberRequest::default()
        };
        // At a node that may lag behind the change.
        for id in 1..=4 {
            let reply = cluster.client(&[id]).add_member(&again).await.unwrap();
            assert_eq!((reply.members.version, reply.founders.len()), (before.version, 3), "{engine}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_removed_says_so_once_and_is_not_ready_and_answers_what_it_can() {
    for engine in ENGINES {
        let cluster = Cluster::start(engine, 3).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        cluster.digests().await;
        let leader = cluster.leader().await;
        let gone = if leader == 3 { 2 } else { 3 };
        removed(&cluster.client(&[leader]), gone).await;
        until_said(&cluster, gone, "no member of the cluster").await;
        let node = cluster.http(gone);
        let ready: Value = {
            let answer = ask(&node, "GET", "/health/ready", &[], "");
            assert_eq!(answer.status, 503);
            answer.json()
        };
        assert!(ready["member"] == false && ready["message"].as_str().unwrap().contains("have it added"), "{ready}");
        assert_eq!(ask(&node, "GET", "/v1/kv/k?consistency=stale", &[], "").body(), "v");
        // Taken back with the disk that it has, it goes on where it was.
        cluster.client(&[leader]).put("k", "w").await.unwrap();
        let store = storage_of(&cluster, gone).await;
        let address = format!("127.0.0.1:{}", cluster.nodes[&gone].listen);
        let back = MemberRequest { id: gone, address: Some(address), store: Some(store), ..MemberRequest::default() };
        cluster.client(&[leader]).with_timeout(PATIENCE).add_member(&back).await.unwrap();
        until(&cluster, gone, |members| votes(members, gone)).await;
        assert_eq!(cluster.client(&[gone]).get("k").await.unwrap().as_deref(), Some("w"), "{engine}");
        assert_eq!(cluster.log_of(gone).matches("no member of the cluster").count(), 1, "{}", cluster.logs());
    }
}

/// The store of a founder, as whoever joins is told it.
async fn storage_of(cluster: &Cluster, id: u64) -> String {
    let leader = cluster.client(&[id % 3 + 1]);
    let known = leader.members().await.unwrap().members[0].id;
    let reply = leader.add_member(&MemberRequest { id: known, ..MemberRequest::default() }).await.unwrap();
    reply.founders.iter().find(|founder| founder.id == id).unwrap().store.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_first() {
    for engine in ENGINES {
        let mut cluster = Cluster::start(engine, 3).await;
        cluster.client(&[1]).put("k", "v").await.unwrap();
        let leader = cluster.leader().await;
        signal(cluster.pid(leader), "TERM");
        assert!(wait_for_end(&mut cluster, leader).success(), "{}", cluster.logs());
        assert!(cluster.log_of(leader).contains("leadership handed over"), "{engine}: {}", cluster.logs());
        // Nobody had to miss it: somebody leads already.
        let rest: Vec<u64> = cluster.running();
        let status = cluster.status(rest[0]).await.unwrap();
        assert!(status.leader_id.is_some_and(|next| next != leader), "{engine}: {status:?}");
        cluster.client(&rest).put("k", "w").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_whom_an_operator_names_whichever_node_is_told() {
    for engine in ENGINES {
        let cluster = Cluster::start(engine, 3).await;
        for to in [1, 2, 3, 1] {
            let told = cluster.client(&[to % 3 + 1]);
            assert_eq!(told.transfer(Some(to)).await.unwrap().leader_id, Some(to), "{engine}");
            cluster.client(&[1, 2, 3]).put("k", &to.to_string()).await.unwrap();
        }
        let next = cluster.client(&[2]).transfer(None).await.unwrap().leader_id;
        assert!(next.is_some_and(|next| next != 1), "{engine}: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_with_its_own_certificate_of_the_clusters_authority_is_taken_in() {
    let mut cluster = Cluster::new("raft", 3, &[]);
    let certificates = cluster.directory.path().join("certificates");
    let cert = |arguments: &[&str]| {
        let mut command = program();
        command.arg("cert").args(arguments);
        assert!(run_to_end(command).status.success());
    };
    let path = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
    cert(&["ca", "--dir", &path("ca")]);
    cluster.invite(4, 1, &[]);
    for id in 1..=4_u64 {
        let (number, directory) = (id.to_string(), path(&format!("node{id}")));
        cert(&["node", "--ca", &path("ca"), "--id", &number, "--dir", &directory]);
        let node = cluster.nodes.get_mut(&id).unwrap();
        node.environment.push(("QUORATE_TLS_DIR", directory.into()));
    }
    for id in 1..=3 {
        cluster.run(id);
    }
    cluster.leader_of(&[1, 2, 3]).await;
    cluster.run(4);
    until(&cluster, 4, |members| votes(members, 4)).await;
}
