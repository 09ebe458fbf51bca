//! To the leader itself, for those who ask for it.

use super::*;

/// A node that follows `leader`.
fn follower(leader: Option<u64>) -> Node {
    let node = Node::new();
    node.change_status(|status| {
        status.engine.role = Role::Follower;
        status.engine.leader = leader.map(NodeId);
    });
    node
}

const ALL: [(Method, &str); 12] = [
    (Method::GET, "/v1/kv/a%20b?redirect=1"),
    (Method::PUT, "/v1/kv/k?expect_version=0&redirect=1"),
    (Method::POST, "/v1/kv/k/append?redirect=1"),
    (Method::DELETE, "/v1/kv/k?redirect=1"),
    (Method::GET, "/v1/kv?prefix=a&redirect=1"),
    (Method::POST, "/v1/txn?redirect=1"),
    (Method::POST, "/v1/sessions?redirect=1"),
    (Method::DELETE, "/v1/sessions/000102030405060708090a0b0c0d0e0f?redirect=1"),
    (Method::GET, "/v1/members?redirect=1"),
    (Method::POST, "/v1/members?timeout_ms=9&redirect=1"),
    (Method::DELETE, "/v1/members/2?redirect=1"),
    (Method::POST, "/v1/leader/transfer?redirect=1"),
];

#[tokio::test]
async fn a_follower_sends_the_same_request_to_the_leader_and_does_nothing_itself() {
    let node = follower(Some(2));
    for (method, path) in ALL {
        let answer = node.ask(method, path, "{}").await;
        assert_eq!(answer.is_error(307, ErrorCode::NotLeader).leader, Some(2));
        assert_eq!(answer.header("location"), format!("http://two.example:8002{path}"));
    }
    assert_eq!(node.log.status().applied_index, LogIndex::ZERO);
    assert_eq!(node.log.barriers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_leader_that_has_not_told_its_address_and_no_leader_are_503() {
    for (leader, hint) in [(Some(3), "leave out redirect=1"), (None, "nobody leads")] {
        let node = follower(leader);
        for (method, path) in ALL {
            let error = node.ask(method, path, "{}").await.is_error(503, ErrorCode::NoLeader);
            assert_eq!(error.leader, leader);
            assert!(error.message.contains(hint), "{error:?}");
        }
    }
}

#[tokio::test]
async fn the_leader_serves_and_so_does_a_follower_that_is_not_asked_to_send_elsewhere() {
    Node::new().put("/v1/kv/k?redirect=1", "v").await.ok();
    let node = follower(Some(2));
    node.put("/v1/kv/k?redirect=0", "v").await.ok();
    node.put("/v1/kv/k", "v").await.ok();
}

#[tokio::test]
async fn what_a_peer_says_of_itself_becomes_a_host_and_a_port_or_nothing() {
    for address in ["", "no-port", "user@host:1", "host:1/path", "host:1\r\nx: y", "a b:1"] {
        let mut node = follower(Some(2));
        let service = Service {
            log: node.log.clone(),
            kv: node.service.kv.clone(),
            tables: node.service.tables.clone(),
            snapshots: None,
            origin: node.service.origin.clone(),
            http_address_of: Box::new(move |_| Some(address.to_owned())),
            counts: Box::new(Counts::default),
            watches: Watches::default(),
            failure: tokio::sync::watch::Sender::new(None),
            ..*node.service
        };
        node.router = router(Arc::new(service));
        node.get("/v1/kv/k?redirect=1").await.is_error(503, ErrorCode::NoLeader);
    }
}
