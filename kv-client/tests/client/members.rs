//! Members and leadership: what is asked, whom, and what the answers mean.

use std::time::Duration;

use kv_client::protocol::{ErrorCode, MemberRequest};
use kv_client::{ClientError, HttpClient, Removal};
use serde_json::{Value, json};

use crate::node::{Node, Nowhere, Play};

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(10);

fn client_of(nodes: &[&Node]) -> HttpClient {
    HttpClient::new(nodes.iter().map(|node| node.endpoint())).unwrap()
}

fn members(version: u64, behind: Option<u64>) -> Value {
    json!({
        "version": version, "changing": false, "leader_id": 2, "cluster_id": "0c", "members": [{
            "id": 2, "address": "127.0.0.1:7002", "store": "0b", "voter": true, "outgoing": false,
            "matched_index": behind.map(|_| 9), "behind": behind,
        }],
    })
}

fn added(version: u64) -> Value {
    let mut body = members(version, Some(0));
    body["founders"] = json!([{"id": 2, "address": "127.0.0.1:7002", "store": "0b"}]);
    body["restored_from"] = Value::Null;
    body
}

fn fourth() -> MemberRequest {
    MemberRequest {
        id: 4,
        address: Some("127.0.0.1:7004".into()),
        store: Some("0d".into()),
        ..MemberRequest::default()
    }
}

#[tokio::test]
async fn the_leader_is_asked_for_the_members_wherever_it_is() {
    let leader = Node::start([Play::ok(members(3, Some(7)))]).await;
    let location = format!("http://{}/v1/members?redirect=1", leader.endpoint());
    let follower = Node::start([Play::Elsewhere(location)]).await;
    let reply = client_of(&[&follower]).members(LONG).await.unwrap();
    assert_eq!((reply.version, reply.members[0].behind), (3, Some(7)));
    assert_eq!(follower.seen()[0].line, "GET /v1/members?redirect=1");
    assert_eq!(leader.seen()[0].line, "GET /v1/members?redirect=1");
}

#[tokio::test]
async fn a_node_tells_what_it_knows_where_nobody_leads_or_the_leader_is_out_of_reach() {
    let gone = Nowhere::new();
    for first in [Play::error(503, "no_leader"), Play::Elsewhere(format!("http://{}/v1/members", gone.endpoint()))] {
        let node = Node::start([first, Play::ok(members(3, None))]).await;
        let reply = client_of(&[&node]).members(LONG).await.unwrap();
        assert_eq!(reply.members[0].behind, None);
        assert_eq!(node.seen()[1].line, "GET /v1/members");
    }
}

#[tokio::test]
async fn whoever_is_sent_on_again_is_not_followed_in_circles() {
    let nowhere = Nowhere::new();
    let second = Node::start([Play::Elsewhere(format!("http://{}/", nowhere.endpoint()))]).await;
    let there = Play::Elsewhere(format!("http://{}/v1/members?redirect=1", second.endpoint()));
    let first = Node::start([there, Play::ok(members(3, None))]).await;
    assert_eq!(client_of(&[&first]).members(LONG).await.unwrap().members[0].behind, None);
    assert_eq!((first.seen().len(), second.seen().len()), (2, 1));
}

#[tokio::test]
async fn a_member_that_is_asked_for_again_is_asked_for_in_the_same_words() {
    let (dying, well) = (Node::start([Play::HangUp]).await, Node::start([Play::ok(added(4))]).await);
    let reply = client_of(&[&dying, &well]).add_member(&fourth(), LONG).await.unwrap();
    assert_eq!((reply.members.version, reply.founders.len()), (4, 1));
    let (first, second) = (&dying.seen()[0], &well.seen()[0]);
    assert_eq!(first.line, "POST /v1/members");
    assert_eq!((&first.line, &first.body), (&second.line, &second.body));
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(body, json!({"id": 4, "address": "127.0.0.1:7004", "store": "0d", "learner": false}));
}

#[tokio::test]
async fn each_refusal_of_a_change_is_told_apart_by_its_code_and_not_argued_with() {
    for (status, code) in [
        (409, ErrorCode::LearnerLags),
        (409, ErrorCode::ChangePending),
        (409, ErrorCode::IdInUse),
        (409, ErrorCode::NoLiveMajority),
        (412, ErrorCode::MembersChanged),
        (400, ErrorCode::BadInput),
    ] {
        let name = serde_json::to_value(code).unwrap();
        let node = Node::start([Play::error(status, name.as_str().unwrap()), Play::ok(added(4))]).await;
        let error = client_of(&[&node]).add_member(&fourth(), LONG).await.unwrap_err();
        assert_eq!((error.code(), node.seen().len()), (Some(code), 1), "{error}");
    }
}

#[tokio::test]
async fn a_member_that_is_gone_already_is_no_error() {
    let node = Node::start([Play::ok(members(5, None)), Play::error(404, "not_found")]).await;
    let client = client_of(&[&node]);
    let Removal::Done(left) = client.remove_member(4, LONG).await.unwrap() else { panic!("it was there") };
    assert_eq!(left.version, 5);
    assert_eq!(client.remove_member(4, LONG).await, Ok(Removal::NoMember));
    assert_eq!(node.seen()[1].line, "DELETE /v1/members/4");
}

#[tokio::test]
async fn leadership_goes_to_the_voter_that_is_named_or_to_any() {
    let done = || Play::ok(json!({"leader_id": 3}));
    let node = Node::start([done(), done()]).await;
    let client = client_of(&[&node]);
    assert_eq!(client.transfer(Some(3), LONG).await.unwrap().leader_id, Some(3));
    assert_eq!(client.transfer(None, LONG).await.unwrap().leader_id, Some(3));
    let lines: Vec<String> = node.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, ["POST /v1/leader/transfer?to=3", "POST /v1/leader/transfer"]);
}

#[tokio::test]
async fn a_transfer_that_failed_is_not_tried_again_unasked() {
    let (node, other) = (Node::start([Play::error(503, "transfer_failed")]).await, Node::start([]).await);
    let error = client_of(&[&node, &other]).transfer(Some(3), LONG).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TransferFailed));
    assert_eq!((node.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_transfer_to_anybody_whose_answer_is_lost_is_not_repeated_and_one_to_a_node_is() {
    let (dying, well) = (Node::start([Play::HangUp]).await, Node::start([Play::ok(json!({"leader_id": 3}))]).await);
    let error = client_of(&[&dying, &well]).transfer(None, LONG).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!(well.seen().len(), 0);
    let dying = Node::start([Play::HangUp]).await;
    assert_eq!(client_of(&[&dying, &well]).transfer(Some(3), LONG).await.unwrap().leader_id, Some(3));
}
