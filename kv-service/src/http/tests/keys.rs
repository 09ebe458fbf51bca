//! Keys and values: what is written is read, under whatever key and condition.

use serde_json::json;

use super::*;

#[tokio::test]
async fn what_was_put_is_read_with_its_history_in_headers() {
    let node = Node::new();
    let written = node.put("/v1/kv/k", "first").await.ok();
    assert_eq!(written.json(), json!({"version": 1, "revision": 1}));
    assert_eq!(written.header("etag"), "\"1\"");
    node.put("/v1/kv/other", "x").await.ok();
    node.put("/v1/kv/k", "second").await.ok();
    node.put("/v1/kv/other", "y").await.ok();

    let read = node.get("/v1/kv/k").await.ok();
    assert_eq!(read.body, "second");
    assert_eq!(read.header("etag"), "\"3\"");
    assert_eq!(read.header("quorate-version"), "2");
    assert_eq!(read.header("quorate-revision"), "4");
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_not_found() {
    let error = Node::new().get("/v1/kv/nothing").await.is_error(404, ErrorCode::NotFound);
    assert_eq!(error.leader, None);
}

#[tokio::test]
async fn an_empty_value_is_a_value() {
    let node = Node::new();
    node.put("/v1/kv/k", "").await.ok();
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "");
}

#[tokio::test]
async fn a_value_may_be_any_bytes() {
    let node = Node::new();
    let value: Vec<u8> = (0..=255).collect();
    node.put("/v1/kv/k", value.clone()).await.ok();
    assert_eq!(node.get("/v1/kv/k").await.ok().body, value);
}

#[tokio::test]
async fn a_key_may_be_any_bytes() {
    let node = Node::new();
    for byte in 0..=255_u8 {
        let path = format!("/v1/kv/%{byte:02x}");
        node.put(&path, format!("value {byte}")).await.ok();
    }
    for byte in 0..=255_u8 {
        let read = node.get(&format!("/v1/kv/%{byte:02X}")).await.ok();
        assert_eq!(read.body, format!("value {byte}"));
    }
}

#[tokio::test]
async fn a_slash_in_a_key_may_be_encoded_or_not() {
    let node = Node::new();
    node.put("/v1/kv/users/7/name", "Ada").await.ok();
    assert_eq!(node.get("/v1/kv/users%2F7%2fname").await.ok().body, "Ada");
    node.put("/v1/kv//leading//and/trailing/", "x").await.ok();
    assert_eq!(node.get("/v1/kv/%2Fleading%2F%2Fand%2Ftrailing%2F").await.ok().body, "x");
    node.get("/v1/kv/leading//and/trailing/").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_plus_in_a_path_is_a_plus_and_in_a_query_a_space() {
    let node = Node::new();
    node.put("/v1/kv/a+b", "plus").await.ok();
    node.put("/v1/kv/a%20b", "space").await.ok();
    assert_eq!(node.get("/v1/kv/a%2Bb").await.ok().body, "plus");
    let scan = node.get("/v1/kv?prefix=a+b").await.ok().json();
    assert_eq!(scan["items"][0]["value"], "c3BhY2U=");
    assert_eq!(scan["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_append_goes_behind_the_value_or_creates_it() {
    let node = Node::new();
    node.post("/v1/kv/log/append", "one").await.ok();
    let appended = node.post("/v1/kv/log/append", ",two").await.ok();
    assert_eq!(appended.json(), json!({"version": 2, "revision": 2}));
    assert_eq!(node.get("/v1/kv/log").await.ok().body, "one,two");
}

#[tokio::test]
async fn a_key_that_is_called_append_is_still_a_key() {
    let node = Node::new();
    node.put("/v1/kv/log/append", "a value").await.ok();
    node.post("/v1/kv/log/append/append", " and more").await.ok();
    assert_eq!(node.get("/v1/kv/log/append").await.ok().body, "a value and more");
    node.get("/v1/kv/log").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_post_without_a_verb_is_refused() {
    Node::new().post("/v1/kv/log", "x").await.is_error(400, ErrorCode::BadInput);
}

#[tokio::test]
async fn a_delete_says_whether_there_was_anything() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    assert_eq!(node.delete("/v1/kv/k").await.ok().json(), json!({"deleted": true, "revision": 2}));
    assert_eq!(node.delete("/v1/kv/k").await.ok().json(), json!({"deleted": false, "revision": 2}));
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn expect_version_lets_only_the_next_write_through() {
    let node = Node::new();
    node.put("/v1/kv/k?expect_version=0", "created").await.ok();
    node.put("/v1/kv/k?expect_version=0", "again").await.is_error(412, ErrorCode::VersionMismatch);
    node.post("/v1/kv/k/append?expect_version=1", "!").await.ok();
    node.delete("/v1/kv/k?expect_version=1").await.is_error(412, ErrorCode::VersionMismatch);
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "created!");
    node.delete("/v1/kv/k?expect_version=2").await.ok();
}

#[tokio::test]
async fn if_match_holds_for_one_life_of_a_key_only() {
    let node = Node::new();
    node.put("/v1/kv/k", "first life").await.ok();
    let tag = node.get("/v1/kv/k").await.header("etag").to_owned();
    node.delete("/v1/kv/k").await.ok();
    node.put("/v1/kv/k", "second life").await.ok();
    // The version is 1 again, the revision is not.
    let answer = node.ask_if(Method::PUT, "/v1/kv/k", ("if-match", &tag), "x").await;
    answer.is_error(412, ErrorCode::VersionMismatch);
    let tag = node.get("/v1/kv/k").await.header("etag").to_owned();
    node.ask_if(Method::PUT, "/v1/kv/k", ("if-match", &tag), "third").await.ok();
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "third");
}

#[tokio::test]
async fn if_none_match_creates_and_never_overwrites() {
    let node = Node::new();
    node.ask_if(Method::PUT, "/v1/kv/k", ("if-none-match", "*"), "created").await.ok();
    let answer = node.ask_if(Method::PUT, "/v1/kv/k", ("if-none-match", "*"), "again").await;
    answer.is_error(412, ErrorCode::VersionMismatch);
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "created");
}

#[tokio::test]
async fn a_reader_that_has_the_value_is_not_sent_it_again() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    let answer = node.ask_if(Method::GET, "/v1/kv/k", ("if-none-match", "\"1\""), "").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0));
    node.put("/v1/kv/k", "w").await.ok();
    assert_eq!(node.ask_if(Method::GET, "/v1/kv/k", ("if-none-match", "\"1\""), "").await.ok().body, "w");
}

#[tokio::test]
async fn a_scan_gives_pages_that_follow_each_other() {
    let node = Node::new();
    for key in ["a", "b/1", "b/2", "b/3", "c"] {
        node.put(&format!("/v1/kv/{key}"), key).await.ok();
    }
    let keys = |answer: &Answer| -> Vec<Value> {
        answer.json()["items"].as_array().unwrap().iter().map(|item| item["key"].clone()).collect()
    };
    let first = node.get("/v1/kv?prefix=b/&limit=2").await.ok();
    assert_eq!(keys(&first), ["Yi8x", "Yi8y"]);
    assert_eq!((&first.json()["more"], &first.json()["revision"]), (&json!(true), &json!(5)));
    let second = node.get("/v1/kv?prefix=b/&limit=2&start=b/2%00").await.ok();
    assert_eq!((keys(&second), &second.json()["more"]), (vec![json!("Yi8z")], &json!(false)));
    assert_eq!(keys(&node.get("/v1/kv?start=b/3&end=d").await.ok()), ["Yi8z", "Yw=="]);
    assert_eq!(keys(&node.get("/v1/kv?start=d&end=a").await.ok()), Vec::<Value>::new());
    assert_eq!(keys(&node.get("/v1/kv").await.ok()).len(), 5);
    let item = &node.get("/v1/kv?prefix=c").await.ok().json()["items"][0];
    assert_eq!(item, &json!({"key": "Yw==", "value": "Yw==", "version": 1, "create_revision": 5, "mod_revision": 5}));
}

#[tokio::test]
async fn a_transaction_takes_one_branch_or_the_other() {
    let node = Node::new();
    let txn = json!({
        "compare": [{"key": "aw==", "version": 0, "relation": "="}],
        "then": [{"op": "put", "key": "aw==", "value": "dg=="}],
        "else": [{"op": "get", "key": "aw=="}, {"op": "delete", "key": "aw=="}],
    });
    let then = node.post("/v1/txn", txn.to_string()).await.ok().json();
    assert_eq!(then, json!({"succeeded": true, "revision": 1, "results": [{"op": "written", "version": 1}]}));
    let otherwise = node.post("/v1/txn", txn.to_string()).await.ok().json();
    let item = json!({"key": "aw==", "value": "dg==", "version": 1, "create_revision": 1, "mod_revision": 1});
    let results = json!([{"op": "get", "item": item}, {"op": "deleted", "deleted": true}]);
    assert_eq!(otherwise, json!({"succeeded": false, "revision": 2, "results": results}));
}

#[tokio::test]
async fn every_comparison_and_operation_of_a_transaction_reaches_the_machine() {
    let node = Node::new();
    node.put("/v1/kv/k", "v").await.ok();
    let txn = json!({
        "compare": [
            {"key": "aw==", "version": 1, "relation": "="},
            {"key": "aw==", "create_revision": 2, "relation": "<"},
            {"key": "aw==", "mod_revision": 0, "relation": ">"},
            {"key": "aw==", "value": "dw==", "relation": "!="},
            {"key": "eA==", "value": null, "relation": "="},
        ],
        "then": [{"op": "append", "key": "aw==", "suffix": "IQ=="}, {"op": "scan", "start": "aw==", "limit": 1}],
    });
    let reply = node.post("/v1/txn", txn.to_string()).await.ok().json();
    assert_eq!(reply["succeeded"], true, "{reply}");
    assert_eq!(reply["results"][0], json!({"op": "written", "version": 2}));
    assert_eq!(reply["results"][1]["items"][0]["value"], "diE=");
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "v!");
}
