//! Members come, are promoted, move and go; whoever asks again is answered alike, and each refusal says what to do.

use kv_client::protocol::MemberAddedReply;
use serde_json::json;

use super::*;

const FOUR: &str = r#"{"id":4,"address":"127.0.0.1:7004","store":"2c"}"#;

fn member(node: u64) -> (NodeId, Member) {
    (NodeId(node), Member { address: format!("127.0.0.1:700{node}"), store: StoreId(10 * u128::from(node) + 4) })
}

/// A cluster of which nodes 1 to 3 vote, and these learn. Node 1 leads, and answers.
fn cluster(learners: &[u64]) -> Node {
    let mut members = Membership::of_voters((1..=3).map(member));
    members.learners = learners.iter().copied().map(NodeId).collect();
    members.members.extend(learners.iter().copied().map(member));
    members.version = 3;
    Node::among(KvLimits::default(), members)
}

/// The ids of those who vote, and of those who learn.
fn parts(node: &Node) -> (Vec<u64>, Vec<u64>) {
    let members = node.log.status().engine.membership;
    let ids = |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
    (ids(&members.voters), ids(&members.learners))
}

fn changes(node: &Node) -> usize {
    node.log.changes.lock().unwrap().len()
}

#[tokio::test]
async fn the_leader_tells_how_far_each_member_is_and_another_node_of_itself_only() {
    let node = cluster(&[4]);
    node.change_status(|status| {
        status.engine.progress = [(2, 118), (3, 121), (4, 20)].map(|(id, at)| (NodeId(id), LogIndex(at))).into();
        (status.engine.commit_index, status.engine.last_index) = (LogIndex(120), LogIndex(121));
    });
    let reply = node.get("/v1/members").await.ok().json();
    let standing =
        |id: usize| (reply["members"][id - 1]["matched_index"].clone(), reply["members"][id - 1]["behind"].clone());
    assert_eq!(standing(1), (json!(121), json!(0)));
    assert_eq!(standing(2), (json!(118), json!(2)));
    assert_eq!(standing(3), (json!(121), json!(0)));
    assert_eq!(standing(4), (json!(20), json!(100)));
    assert_eq!((&reply["version"], &reply["changing"], &reply["leader_id"]), (&json!(3), &json!(false), &json!(1)));
    assert_eq!(reply["cluster_id"], "000000000000000000000000000000c1");
    let four = json!({
        "id": 4, "address": "127.0.0.1:7004", "store": "0000000000000000000000000000002c", "voter": false,
        "outgoing": false, "matched_index": 20, "behind": 100,
    });
    assert_eq!(reply["members"][3], four);
    node.change_status(|status| {
        (status.engine.role, status.engine.leader) = (Role::Follower, Some(NodeId(2)));
        status.engine.progress.clear();
    });
    let reply = node.get("/v1/members").await.ok().json();
    assert_eq!(reply["members"][0]["matched_index"], 121);
    assert_eq!((&reply["members"][1]["matched_index"], &reply["members"][1]["behind"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn who_votes_only_until_the_change_is_done_is_said_to_be_outgoing() {
    let node = cluster(&[]);
    node.change_status(|status| {
        let mut members = Membership::clone(&status.engine.membership);
        members.outgoing = members.voters.clone();
        members.voters.remove(&NodeId(3));
        (status.engine.membership, status.engine.is_changing) = (Arc::new(members), true);
    });
    let reply = node.get("/v1/members").await.ok().json();
    assert_eq!(reply["changing"], true);
    let of = |id: usize| (reply["members"][id - 1]["voter"].clone(), reply["members"][id - 1]["outgoing"].clone());
    assert_eq!((of(2), of(3)), ((json!(true), json!(false)), (json!(false), json!(true))));
    node.post("/v1/members?timeout_ms=20", FOUR).await.is_error(409, ErrorCode::ChangePending);
    assert_eq!(changes(&node), 0);
}

#[tokio::test]
async fn a_node_becomes_a_learner_then_a_voter_and_then_it_goes() {
    let node = cluster(&[]);
    let learner = r#"{"id":4,"address":"127.0.0.1:7004","store":"2c","learner":true,"engine":"raft"}"#;
    node.post("/v1/members", learner).await.ok();
    assert_eq!(parts(&node), (vec![1, 2, 3], vec![4]));
    node.post("/v1/members", r#"{"id":4}"#).await.ok();
    assert_eq!(parts(&node), (vec![1, 2, 3, 4], vec![]));
    let reply = node.delete("/v1/members/4").await.ok();
    assert_eq!(reply.json(), node.get("/v1/members").await.ok().json());
    assert_eq!((parts(&node), &reply.json()["version"]), ((vec![1, 2, 3], vec![]), &json!(6)));
    node.delete("/v1/members/4").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn whoever_is_added_is_told_what_the_cluster_began_with() {
    let node = cluster(&[]);
    let reply: MemberAddedReply = serde_json::from_slice(&node.post("/v1/members", FOUR).await.ok().body).unwrap();
    assert_eq!((reply.founders.len(), reply.founders[0].id), (1, 1), "the founders, not who is there now");
    assert_eq!(reply.founders[0].store, StoreId(7).to_string());
    assert_eq!((reply.restored_from, reply.members.members.len()), (None, 4));
}

#[tokio::test]
async fn to_ask_again_for_what_is_so_already_changes_nothing_and_is_answered_alike() {
    let node = cluster(&[]);
    let first = node.post("/v1/members", FOUR).await.ok().json();
    for again in [FOUR, r#"{"id":4}"#, r#"{"id":4,"expect_version":3}"#, r#"{"id":4,"replaces":9}"#] {
        assert_eq!(node.post("/v1/members", again).await.ok().json(), first, "{again}");
    }
    assert_eq!(changes(&node), 1);
}

#[tokio::test]
async fn of_what_is_so_but_not_yet_for_good_nothing_is_said_until_it_is_settled() {
    let node = cluster(&[4]);
    let learner = r#"{"id":4,"learner":true}"#;
    node.change_status(|status| status.engine.is_changing = true);
    node.post("/v1/members?timeout_ms=20", learner).await.is_error(409, ErrorCode::ChangePending);
    // It is gone in a log that may be overwritten yet: who is told so wipes its disk.
    node.delete("/v1/members/9?timeout_ms=20").await.is_error(409, ErrorCode::ChangePending);
    let settles = async {
        tokio::task::yield_now().await;
        node.change_status(|status| status.engine.is_changing = false);
    };
    let (gone, ()) = tokio::join!(node.delete("/v1/members/9"), settles);
    gone.is_error(404, ErrorCode::NotFound);
    node.post("/v1/members", learner).await.ok();
    assert_eq!(changes(&node), 0);
}

#[tokio::test]
async fn one_that_was_gone_and_is_there_again_when_the_change_is_settled_is_removed() {
    let node = cluster(&[4]);
    let with_four = node.log.status().engine.membership;
    node.change_status(|status| {
        let mut members = Membership::clone(&with_four);
        members.learners.clear();
        members.members.remove(&NodeId(4));
        (status.engine.membership, status.engine.is_changing) = (Arc::new(members), true);
    });
    let overwritten = async {
        tokio::task::yield_now().await;
        node.change_status(|status| (status.engine.membership, status.engine.is_changing) = (with_four, false));
    };
    let (removed, ()) = tokio::join!(node.delete("/v1/members/4"), overwritten);
    removed.ok();
    assert_eq!((changes(&node), parts(&node)), (1, (vec![1, 2, 3], vec![])));
}

#[tokio::test]
async fn one_node_takes_the_place_of_another_in_one_change() {
    let node = cluster(&[]);
    let replacing = r#"{"id":4,"address":"127.0.0.1:7004","store":"2c","replaces":2}"#;
    node.post("/v1/members", replacing).await.ok();
    assert_eq!(parts(&node), (vec![1, 3, 4], vec![]));
    assert_eq!(changes(&node), 1);
    node.post("/v1/members", replacing).await.ok();
    assert_eq!(changes(&node), 1, "it is so already");
    let nobody = r#"{"id":5,"address":"127.0.0.1:7005","store":"36","replaces":2}"#;
    node.post("/v1/members", nobody).await.is_error(404, ErrorCode::NotFound);
    node.post("/v1/members", r#"{"id":3,"replaces":3}"#).await.is_error(400, ErrorCode::BadInput);
}

#[tokio::test]
async fn a_member_that_has_moved_keeps_its_vote_and_its_store() {
    let node = cluster(&[]);
    node.post("/v1/members", r#"{"id":2,"address":"127.0.0.1:9002"}"#).await.ok();
    let members = node.log.status().engine.membership;
    assert_eq!(members.members[&NodeId(2)], Member { address: "127.0.0.1:9002".into(), store: member(2).1.store });
    assert_eq!(parts(&node), (vec![1, 2, 3], vec![]));
}

#[tokio::test]
async fn a_voter_may_be_made_a_learner_and_the_last_one_stays() {
    let node = cluster(&[]);
    node.post("/v1/members", r#"{"id":2,"learner":true}"#).await.ok();
    assert_eq!(parts(&node), (vec![1, 3], vec![2]));
    let alone = Node::new();
    alone.delete("/v1/members/1").await.is_error(400, ErrorCode::BadInput);
    let error = alone.post("/v1/members", r#"{"id":1,"learner":true}"#).await.is_error(400, ErrorCode::BadInput);
    assert!(error.message.contains("last voter"), "{error:?}");
    assert_eq!(changes(&alone), 0);
}

/// Asks for the node with another disk than it had.
async fn with_another_disk(node: &Node, id: u64) -> Answer {
    let other = json!({"id": id, "address": "127.0.0.1:7009", "store": "ff", "learner": true});
    node.post("/v1/members", other.to_string()).await
}

#[tokio::test]
async fn a_learner_that_has_never_voted_comes_back_with_another_disk_once_it_is_removed() {
    let node = cluster(&[4]);
    let error = with_another_disk(&node, 4).await.is_error(409, ErrorCode::IdInUse);
    assert!(error.message.contains("DELETE /v1/members/4") && error.message.contains("is a learner"), "{error:?}");
    node.delete("/v1/members/4").await.ok();
    with_another_disk(&node, 4).await.ok();
    assert_eq!(node.log.status().engine.membership.members[&NodeId(4)].store, StoreId(0xff));
}

#[tokio::test]
async fn an_id_that_has_voted_keeps_its_disk_for_ever() {
    let node = cluster(&[4]);
    node.post("/v1/members", r#"{"id":4}"#).await.ok();
    node.post("/v1/members", r#"{"id":4,"learner":true}"#).await.ok();
    for id in [2, 4] {
        for _ in ["while it is a member", "and when it is none"] {
            let error = with_another_disk(&node, id).await.is_error(409, ErrorCode::IdInUse);
            for words in [format!("{:032x}", 10 * id + 4), format!("DELETE /v1/members/{id}"), "never used".into()] {
                assert!(error.message.contains(&words), "{words}: {error:?}");
            }
            node.delete(&format!("/v1/members/{id}")).await;
        }
        let same = json!({"id": id, "address": "127.0.0.1:7009", "store": format!("{:x}", 10 * id + 4)});
        node.post("/v1/members", same.to_string()).await.ok();
        node.delete(&format!("/v1/members/{id}")).await.ok();
    }
}

#[tokio::test]
async fn a_change_that_was_meant_for_other_members_is_refused() {
    let node = cluster(&[]);
    let meant_for =
        |version: u64| json!({"id": 4, "address": "127.0.0.1:7004", "store": "2c", "expect_version": version});
    let error = node.post("/v1/members", meant_for(2).to_string()).await.is_error(412, ErrorCode::MembersChanged);
    assert!(error.message.contains("version 2") && error.message.contains('3'), "{error:?}");
    assert_eq!(changes(&node), 0);
    node.post("/v1/members", meant_for(3).to_string()).await.ok();
    node.next_fails_at_the_change(Refusal::MembershipMoved { asked: 4, present: 5 });
    node.delete("/v1/members/2").await.is_error(412, ErrorCode::MembersChanged);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_asked_of_the_log() {
    let node = cluster(&[]);
    for (body, hint) in [
        ("", "no member"),
        ("{}", "id"),
        (r#"{"id":0}"#, "from 1 on"),
        (r#"{"id":"four"}"#, "no member"),
        (r#"{"id":4,"lerner":true}"#, "lerner"),
        (r#"{"id":4}"#, "--join"),
        (r#"{"id":4,"address":"127.0.0.1:7004"}"#, "store"),
        (r#"{"id":4,"store":"2c"}"#, "address"),
        (r#"{"id":4,"address":"127.0.0.1:7004","store":"0"}"#, "hexadecimal"),
        (r#"{"id":4,"address":"127.0.0.1:7004","store":"+2c"}"#, "hexadecimal"),
        (r#"{"id":4,"address":"127.0.0.1:7004","store":"100000000000000000000000000000000"}"#, "hexadecimal"),
        (r#"{"id":4,"address":"nowhere","store":"2c"}"#, "host:port"),
        (r#"{"id":4,"address":"127.0.0.1:7002","store":"2c"}"#, "of another one"),
        (r#"{"id":4,"address":"127.0.0.1:7004","store":"2c","replaces":0}"#, "from 1 on"),
        (r#"{"id":4,"address":"127.0.0.1:7004","store":"2c","engine":"paxos"}"#, "--engine raft"),
    ] {
        let error = node.post("/v1/members", body).await.is_error(400, ErrorCode::BadInput);
        assert!(error.message.contains(hint), "{body}: {error:?}");
    }
    assert_eq!(changes(&node), 0);
}

#[tokio::test]
async fn what_makes_no_sense_whoever_the_members_are_needs_no_quorum_to_be_refused() {
    let node = cluster(&[]);
    for body in [
        r#"{"id":0}"#,
        r#"{"id":4,"address":"127.0.0.1:7004","store":"here"}"#,
        r#"{"id":4,"address":"nowhere","store":"2c"}"#,
        r#"{"id":4,"replaces":0}"#,
        r#"{"id":4,"replaces":4}"#,
        r#"{"id":4,"engine":"paxos"}"#,
    ] {
        node.next_fails(Refusal::NoLeader);
        node.post("/v1/members", body).await.is_error(400, ErrorCode::BadInput);
    }
    assert_eq!(node.log.barriers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn each_refusal_of_the_log_has_its_code() {
    let (lags, moved) =
        (Refusal::LearnerLags { node: NodeId(4), behind: 5000 }, Refusal::MembershipMoved { asked: 3, present: 4 });
    let refusals = [
        (Refusal::ChangePending, 409, ErrorCode::ChangePending),
        (lags, 409, ErrorCode::LearnerLags),
        (moved, 412, ErrorCode::MembersChanged),
        (Refusal::NoLiveMajority { voters: 2, answering: 1 }, 409, ErrorCode::NoLiveMajority),
        (Refusal::InvalidMembership { reason: "no".into() }, 400, ErrorCode::BadInput),
        (Refusal::NoLeader, 503, ErrorCode::NoLeader),
        (Refusal::NotReady, 503, ErrorCode::NoLeader),
        (Refusal::NoQuorum { waited_ms: 5 }, 503, ErrorCode::NoQuorum),
        (Refusal::Busy, 429, ErrorCode::TooBusy),
    ];
    for (refusal, status, code) in refusals {
        let node = cluster(&[]);
        node.next_fails_at_the_change(refusal.clone());
        node.post("/v1/members", FOUR).await.is_error(status, code);
        node.next_fails_at_the_change(refusal);
        node.delete("/v1/members/2").await.is_error(status, code);
    }
    let node = cluster(&[]);
    node.next_fails_at_the_change(RequestError::Unknown { waited_ms: 5 });
    node.post("/v1/members", FOUR).await.is_error(504, ErrorCode::UnknownOutcome);
}

#[tokio::test]
async fn a_node_that_cannot_tell_who_the_members_are_changes_nothing() {
    let node = cluster(&[]);
    for error in [RequestError::from(Refusal::NoLeader), RequestError::Unknown { waited_ms: 5 }] {
        node.next_fails(error);
        let answer = node.post("/v1/members", FOUR).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
    assert_eq!(changes(&node), 0);
}

#[tokio::test]
async fn a_change_may_take_as_long_as_the_request_says_within_a_bound_or_as_long_as_any_request() {
    let node = cluster(&[]);
    node.post("/v1/members", FOUR).await.ok();
    node.delete("/v1/members/4?timeout_ms=60000").await.ok();
    node.post("/v1/members?timeout_ms=86400000", FOUR).await.ok();
    let changes = node.log.changes.lock().unwrap();
    let asked: Vec<Duration> = changes.iter().map(|(_, timeout)| *timeout).collect();
    let most = [5, 60, 600].map(Duration::from_secs);
    for (asked, most) in asked.iter().zip(most) {
        assert!(*asked <= most && *asked + Duration::from_secs(4) > most, "{asked:?} of {most:?}");
    }
}
