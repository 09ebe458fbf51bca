//! What each method asks, and what it makes of the answer.

use std::time::Duration;

use kv_client::protocol::{BallotReply, Consistency, DeleteReply, PutReply, RoleReply};
use kv_client::txn::{Compare, Operation, OperationResult, Relation, Target, TxnRequest};
use kv_client::{ClientError, Expect, HttpClient, ReadOptions, ScanRequest, Value, WriteOptions};
use serde_json::json;

use crate::node::{Node, Play};

fn client(node: &Node) -> HttpClient {
    HttpClient::new([node.endpoint()]).unwrap()
}

fn written() -> Play {
    Play::ok(json!({"version": 2, "revision": 7}))
}

fn expecting(expect: Expect) -> WriteOptions {
    WriteOptions { expect, ..WriteOptions::default() }
}

#[tokio::test]
async fn a_put_sends_the_value_as_it_is_and_the_key_encoded() {
    let node = Node::start([written()]).await;
    let reply = client(&node).put(b"a/b \xff", "value".into(), WriteOptions::default()).await.unwrap();
    assert_eq!(reply, PutReply { version: 2, revision: 7 });
    let seen = &node.seen()[0];
    assert_eq!((seen.line.as_str(), &seen.body[..]), ("PUT /v1/kv/a%2Fb%20%FF", &b"value"[..]));
}

#[tokio::test]
async fn each_condition_has_its_own_spelling() {
    let node = Node::start([written(), written(), written()]).await;
    let client = client(&node);
    client.put(b"k", "v".into(), expecting(Expect::Version(0))).await.unwrap();
    client.append(b"k", "v".into(), expecting(Expect::ModRevision(9))).await.unwrap();
    client.put(b"k", "v".into(), expecting(Expect::ModRevision(0))).await.unwrap();
    let seen = node.seen();
    assert_eq!(seen[0].line, "PUT /v1/kv/k?expect_version=0");
    assert_eq!(
        (seen[1].line.as_str(), &seen[1].headers["if-match"]),
        ("POST /v1/kv/k/append", &"\"9\"".parse().unwrap())
    );
    assert_eq!((seen[2].line.as_str(), &seen[2].headers["if-none-match"]), ("PUT /v1/kv/k", &"*".parse().unwrap()));
}

#[tokio::test]
async fn a_get_returns_the_value_with_what_the_headers_say_of_it() {
    let headers = vec![("etag", "\"5\""), ("quorate-version", "3"), ("quorate-revision", "11")];
    let node = Node::start([Play::Answer { status: 200, headers, body: "value".into() }]).await;
    let options = ReadOptions { consistency: Consistency::Stale, ..ReadOptions::default() };
    let value = client(&node).get(b"k", options).await.unwrap();
    assert_eq!(value, Some(Value { value: "value".into(), version: 3, mod_revision: 5, revision: 11 }));
    assert_eq!(node.seen()[0].line, "GET /v1/kv/k?consistency=stale");
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_none_but_a_path_that_does_not_is_an_error() {
    let no_path = Play::Answer { status: 404, headers: vec![], body: "no such page".into() };
    let node = Node::start([Play::error(404, "not_found"), no_path]).await;
    assert_eq!(client(&node).get(b"k", ReadOptions::default()).await, Ok(None));
    let error = client(&node).get(b"k", ReadOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Api { status: 404, ref message, .. } if message == "no such page"), "{error}");
}

#[tokio::test]
async fn an_answer_without_its_headers_is_not_understood() {
    let node = Node::start([Play::Answer { status: 200, headers: vec![], body: "value".into() }]).await;
    let error = client(&node).get(b"k", ReadOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidReply { .. }), "{error}");
}

#[tokio::test]
async fn a_delete_says_whether_there_was_anything() {
    let node = Node::start([Play::ok(json!({"deleted": false, "revision": 7}))]).await;
    let reply = client(&node).delete(b"k", WriteOptions::default()).await.unwrap();
    assert_eq!(reply, DeleteReply { deleted: false, revision: 7 });
    assert_eq!(node.seen()[0].line, "DELETE /v1/kv/k");
}

#[tokio::test]
async fn a_scan_names_its_range_and_limit() {
    let item = json!({"key": "YQ==", "value": "MQ==", "version": 1, "create_revision": 1, "mod_revision": 1});
    let node = Node::start([Play::ok(json!({"items": [item], "more": true, "revision": 9}))]).await;
    let request =
        ScanRequest { start: Some("a&b".into()), end: Some("c".into()), limit: Some(1), ..ScanRequest::default() };
    let reply = client(&node).scan(&request, ReadOptions::default()).await.unwrap();
    assert_eq!((reply.items[0].key.clone(), reply.more, reply.revision), ("a".into(), true, 9));
    assert_eq!(node.seen()[0].line, "GET /v1/kv?start=a%26b&end=c&limit=1&consistency=linearizable");
}

#[tokio::test]
async fn a_transaction_goes_out_as_json() {
    let body = json!({"succeeded": false, "revision": 4, "results": [{"op": "get", "item": null}]});
    let node = Node::start([Play::ok(body)]).await;
    let request = TxnRequest {
        compare: vec![Compare { key: "k".into(), target: Target::Version(1), relation: Relation::Equal }],
        then: vec![],
        otherwise: vec![Operation::Get { key: "k".into() }],
    };
    let reply = client(&node).txn(&request, Duration::from_secs(5)).await.unwrap();
    assert_eq!((reply.succeeded, reply.results), (false, vec![OperationResult::Get { item: None }]));
    let seen = &node.seen()[0];
    assert_eq!(serde_json::from_slice::<TxnRequest>(&seen.body).unwrap(), request);
    assert_eq!(seen.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_status_has_every_field_of_the_interface() {
    let body = json!({
        "engine": "raft", "node_id": 1, "cluster_id": "00ff", "role": "leader", "leader_id": 1,
        "ballot": {"round": 3, "node": 1}, "commit_index": 9, "applied_index": 8, "last_index": 10,
        "snapshot_index": 0, "members_version": 2, "members_changing": false, "members": [{
            "id": 1, "address": "127.0.0.1:7001", "store": "0a", "voter": true, "outgoing": false,
            "matched_index": 10, "behind": 0,
        }],
        "something_newer": 1,
    });
    let node = Node::start([Play::ok(body)]).await;
    let status = client(&node).status(Duration::from_secs(5)).await.unwrap();
    assert_eq!((status.role, status.ballot), (RoleReply::Leader, BallotReply { round: 3, node: 1 }));
    assert_eq!((status.leader_id, status.members.len()), (Some(1), 1));
}

#[tokio::test]
async fn a_connection_is_kept() {
    let node = Node::start([written(), written(), written()]).await;
    let client = client(&node);
    for _ in 0..3 {
        client.put(b"k", "v".into(), WriteOptions::default()).await.unwrap();
    }
    assert_eq!(node.connections(), 1);
}

#[tokio::test]
async fn an_empty_key_is_refused_before_anybody_is_asked() {
    let node = Node::start([]).await;
    assert_eq!(client(&node).get(b"", ReadOptions::default()).await, Err(ClientError::EmptyKey));
    assert_eq!(node.connections(), 0);
}
