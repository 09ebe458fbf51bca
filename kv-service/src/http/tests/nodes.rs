//! How a node says that it stands, and what operators may ask of it.

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_status_has_every_promised_field() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    let status = node.get("/v1/status").await.ok().json();
    let expected = json!({
        "engine": "raft",
        "node_id": 1,
        "cluster_id": "000000000000000000000000000000c1",
        "role": "leader",
        "leader_id": 1,
        "ballot": {"round": 4, "node": 1},
        "commit_index": 1,
        "applied_index": 1,
        "last_index": 1,
        "snapshot_index": 0,
        "members": [{"id": 1, "address": "127.0.0.1:7001", "voter": true}],
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn members_come_and_go_through_the_log() {
    let node = Node::new();
    let learner = r#"{"id":2,"address":"127.0.0.1:7002","store":"2a","learner":true}"#;
    let members = node.post("/v1/members", learner).await.ok().json();
    assert_eq!(members["members"][1], json!({"id": 2, "address": "127.0.0.1:7002", "voter": false}));
    assert_eq!(node.log.status().engine.membership.members[&NodeId(2)].store, StoreId(42));
    assert_eq!(node.get("/v1/members").await.ok().json(), members);
    node.post("/v1/members", r#"{"id":2,"address":"127.0.0.1:7002"}"#).await.ok();
    assert!(node.log.status().engine.membership.is_voter(NodeId(2)));
    node.delete("/v1/members/2").await.ok();
    assert!(!node.log.status().engine.membership.contains(NodeId(2)));
    node.delete("/v1/members/2").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn the_last_voter_stays() {
    Node::new().delete("/v1/members/1").await.is_error(400, ErrorCode::BadInput);
}

#[tokio::test]
async fn a_node_lives_as_soon_as_it_answers_and_is_ready_once_it_knows_a_leader() {
    let node = Node::new();
    node.change_status(|status| status.engine.leader = None);
    node.get("/health/live").await.ok();
    assert_eq!(node.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    node.change_status(|status| status.engine.leader = Some(NodeId(2)));
    node.get("/health/ready").await.ok();
}

#[tokio::test]
async fn a_node_that_lags_is_not_ready_and_one_that_keeps_up_under_load_is() {
    let node = Node::new();
    let at = |committed, applied| {
        node.change_status(|status| {
            status.engine.commit_index = LogIndex(committed);
            status.applied_index = LogIndex(applied);
        });
    };
    at(1000, 10);
    assert_eq!(node.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    at(2000, 500);
    assert_eq!(node.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    // Everything that was committed at the last look is applied, though more is on its way.
    at(3000, 2990);
    node.get("/health/ready").await.ok();
}
