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
        "members_version": 0,
        "members_changing": false,
        "members": [{
            "id": 1,
            "address": "127.0.0.1:7001",
            "store": "00000000000000000000000000000007",
            "voter": true,
            "outgoing": false,
            "matched_index": 1,
            "behind": 0,
        }],
    });
    assert_eq!(status, expected);
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

#[tokio::test]
async fn a_node_that_is_no_member_is_not_ready_and_says_what_to_do_and_nor_is_one_with_another_disk() {
    let node = Node::new();
    node.get("/health/ready").await.ok();
    for store in [None, Some(StoreId(8))] {
        node.change_status(|status| {
            let address = "127.0.0.1:7001".to_owned();
            let members = store.map(|store| (NodeId(1), Member { address, store }));
            status.engine.membership = Arc::new(Membership::of_voters(members));
        });
        let answer = node.get("/health/ready").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let answer = answer.json();
        assert_eq!((&answer["ready"], &answer["member"]), (&json!(false), &json!(false)));
        assert!(answer["message"].as_str().unwrap().contains("have it added"), "{answer}");
    }
}

#[tokio::test]
async fn a_leader_hands_over_to_whom_it_is_told_or_says_why_it_leads_on() {
    let node = Node::new();
    assert_eq!(node.post("/v1/leader/transfer?to=2", "").await.ok().json(), json!({"leader_id": 2}));
    node.post("/v1/leader/transfer", "").await.is_error(503, ErrorCode::TransferFailed);
    node.next_fails(Refusal::NotAVoter { node: NodeId(4) });
    let error = node.post("/v1/leader/transfer?to=4", "").await.is_error(400, ErrorCode::BadInput);
    assert!(error.message.contains("node 4"), "{error:?}");
    node.next_fails(RequestError::Unknown { waited_ms: 5000 });
    node.post("/v1/leader/transfer?to=2", "").await.is_error(504, ErrorCode::UnknownOutcome);
}
