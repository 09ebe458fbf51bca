//! Exactly-once, and keys that live with a session.

use kv_machine::{Command, SESSION_REPLIES_MAX, SessionTag};
use serde_json::json;

use super::*;

const SESSION: &str = "000102030405060708090a0b0c0d0e0f";

/// A node with an open session.
async fn node() -> Node {
    let node = Node::new();
    node.post("/v1/sessions", format!(r#"{{"session":"{SESSION}"}}"#)).await.ok();
    node
}

impl Node {
    /// A write with this number in the session.
    async fn write(&self, number: &str, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let headers = [("quorate-session", SESSION), ("quorate-request", number)];
        self.ask_with(method, path, &headers, body).await
    }
}

#[tokio::test]
async fn a_write_that_is_repeated_in_its_session_is_carried_out_once_and_answered_alike() {
    let node = node().await;
    let txn = r#"{"then":[{"op":"append","key":"aw==","suffix":"IQ=="}]}"#;
    let writes = [
        ("1", Method::PUT, "/v1/kv/k?expect_version=0", "v"),
        ("2", Method::POST, "/v1/kv/k/append", "w"),
        ("3", Method::POST, "/v1/txn", txn),
    ];
    for (number, method, path, body) in writes {
        let first = node.write(number, method.clone(), path, body).await.ok();
        for _ in 0..3 {
            let again = node.write(number, method.clone(), path, body).await.ok();
            assert_eq!((&again.body, again.headers.get("etag")), (&first.body, first.headers.get("etag")));
        }
    }
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "vw!");
    let first = node.write("4", Method::DELETE, "/v1/kv/k", "").await.ok();
    assert_eq!(node.write("4", Method::DELETE, "/v1/kv/k", "").await.ok().body, first.body);
    assert_eq!(first.json()["deleted"], true);
}

#[tokio::test]
async fn conditions_are_judged_once_too() {
    let node = node().await;
    node.put("/v1/kv/k", "v").await.ok();
    for (number, name, tags) in
        [("1", "if-match", "*"), ("2", "if-match", "\"1\", \"2\""), ("3", "if-none-match", "\"1\"")]
    {
        let headers = [("quorate-session", SESSION), ("quorate-request", number), (name, tags)];
        let first = node.ask_with(Method::POST, "/v1/kv/k/append", &headers, "+").await.ok();
        let again = node.ask_with(Method::POST, "/v1/kv/k/append", &headers, "+").await.ok();
        assert_eq!(again.body, first.body, "{name}: {tags}");
    }
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "v+++");
}

#[tokio::test]
async fn headers_that_make_no_sense_are_refused_and_nothing_is_written() {
    let node = node().await;
    let cases: [&[(&str, &str)]; 19] = [
        &[("quorate-session", SESSION)],
        &[("quorate-request", "1")],
        &[("quorate-acked-below", "1")],
        &[("quorate-session", SESSION), ("quorate-acked-below", "1")],
        &[("quorate-request", "1"), ("quorate-acked-below", "1")],
        &[("quorate-session", "1"), ("quorate-request", "1")],
        &[("quorate-session", "+00102030405060708090a0b0c0d0e0f"), ("quorate-request", "1")],
        &[("quorate-session", "g00102030405060708090a0b0c0d0e0f"), ("quorate-request", "1")],
        &[("quorate-session", ""), ("quorate-request", "1")],
        &[("quorate-session", "\u{e9}"), ("quorate-request", "1")],
        &[("quorate-session", SESSION), ("quorate-request", "0")],
        &[("quorate-session", SESSION), ("quorate-request", "+1")],
        &[("quorate-session", SESSION), ("quorate-request", "one")],
        &[("quorate-session", SESSION), ("quorate-request", "18446744073709551616")],
        &[("quorate-session", SESSION), ("quorate-request", "1"), ("quorate-acked-below", "0")],
        &[("quorate-session", SESSION), ("quorate-request", "1"), ("quorate-acked-below", "2")],
        &[("quorate-session", SESSION), ("quorate-request", "1"), ("quorate-request", "2")],
        &[("quorate-session", SESSION), ("quorate-session", SESSION), ("quorate-request", "1")],
        &[
            ("quorate-session", SESSION),
            ("quorate-request", "1"),
            ("quorate-acked-below", "1"),
            ("quorate-acked-below", "1"),
        ],
    ];
    for headers in cases {
        for (method, path) in [(Method::PUT, "/v1/kv/k"), (Method::POST, "/v1/kv/k/append"), (Method::POST, "/v1/txn")]
        {
            let answer = node.ask_with(method, path, headers, "{}").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
        }
    }
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
    for path in ["/v1/kv/k", "/v1/kv", "/v1/watch"] {
        let answer = node.ask_if(Method::GET, path, ("quorate-session", SESSION), "").await;
        let error = answer.is_error(400, ErrorCode::BadInput);
        assert!(error.message.contains("leave it out"), "a read takes no session: {error:?}");
    }
}

#[tokio::test]
async fn a_session_that_was_never_opened_or_has_ended_carries_nothing_out() {
    let node = Node::new();
    node.write("1", Method::PUT, "/v1/kv/k", "v").await.is_error(409, ErrorCode::SessionExpired);
    let open = format!(r#"{{"session":"{SESSION}"}}"#);
    node.post("/v1/sessions", open.clone()).await.ok();
    node.write("1", Method::PUT, "/v1/kv/k", "v").await.ok();
    let path = format!("/v1/sessions/{SESSION}");
    assert_eq!(node.delete(&path).await.ok().json(), json!({"ended": true, "revision": 1}));
    assert_eq!(node.delete(&path).await.ok().json(), json!({"ended": false, "revision": 1}));
    for number in ["1", "2"] {
        node.write(number, Method::PUT, "/v1/kv/k", "w").await.is_error(409, ErrorCode::SessionExpired);
    }
    node.post("/v1/sessions", open).await.is_error(409, ErrorCode::SessionExpired);
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "v");
}

#[tokio::test]
async fn what_the_client_has_acknowledged_is_forgotten_and_not_carried_out_again() {
    let node = node().await;
    node.write("1", Method::POST, "/v1/kv/k/append", "a").await.ok();
    node.write("2", Method::POST, "/v1/kv/k/append", "b").await.ok();
    node.write("1", Method::POST, "/v1/kv/k/append", "a").await.is_error(409, ErrorCode::RequestForgotten);
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "ab");
}

#[tokio::test]
async fn a_window_of_requests_may_arrive_in_any_order() {
    let node = node().await;
    let write = async |number: &str, acked: &str| {
        let headers = [("quorate-session", SESSION), ("quorate-request", number), ("quorate-acked-below", acked)];
        node.ask_with(Method::POST, "/v1/kv/k/append", &headers, number.to_owned()).await.status.as_u16()
    };
    for (number, acked, status) in
        [("3", "1", 200), ("1", "1", 200), ("3", "1", 200), ("2", "1", 200), ("4", "4", 200), ("3", "3", 409)]
    {
        assert_eq!(write(number, acked).await, status, "{number} {acked}");
    }
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "3124");
}

#[tokio::test]
async fn a_full_session_refuses_before_it_carries_out_and_says_when_to_come_back() {
    let node = node().await;
    // As many requests as there may be unacknowledged answers.
    let session: kv_machine::SessionId = SESSION.parse().unwrap();
    let delete = Command::Delete { key: "absent".into(), expect: Default::default() };
    let request = |number| {
        let tag = SessionTag { session, number, acked_below: 1 };
        kv_machine::Request { session: Some(tag), command: delete.clone() }
    };
    let requests = (1..=SESSION_REPLIES_MAX as u64).map(request).collect();
    node.service.submit(requests, Duration::from_secs(5)).await.unwrap();
    let headers = [("quorate-session", SESSION), ("quorate-request", "5000"), ("quorate-acked-below", "1")];
    let answer = node.ask_with(Method::PUT, "/v1/kv/k", &headers, "v").await;
    answer.is_error(429, ErrorCode::TooBusy);
    assert_eq!(answer.header("retry-after"), "1");
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
    // Who acknowledges goes on.
    node.write("5000", Method::PUT, "/v1/kv/k", "v").await.ok();
}

#[tokio::test]
async fn a_number_that_stood_for_another_request_is_the_clients_mistake() {
    let node = node().await;
    node.write("1", Method::PUT, "/v1/kv/k", "v").await.ok();
    let error = node.write("1", Method::DELETE, "/v1/kv/k", "").await.is_error(400, ErrorCode::BadInput);
    assert!(error.message.contains("never use a number twice"), "{error:?}");
    assert_eq!(node.get("/v1/kv/k").await.ok().body, "v");
}

#[tokio::test]
async fn a_session_is_opened_under_the_clients_id_or_one_that_is_drawn() {
    let node = Node::new();
    let mut drawn = std::collections::BTreeSet::new();
    for body in ["", "{}", r#"{"ttl_ms":5000}"#] {
        let answer = node.post("/v1/sessions", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let session = answer.json()["session"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), format!("/v1/sessions/{session}"));
        assert!(drawn.insert(session), "drawn twice");
    }
    let open = format!(r#"{{"session":"{}","ttl_ms":5000}}"#, SESSION.to_uppercase());
    for _ in 0..2 {
        let answer = node.post("/v1/sessions", open.clone()).await.ok();
        assert_eq!(answer.json(), json!({"session": SESSION, "ttl_ms": 5000}));
    }
    for (asked, given) in [("1", 1_000), ("18446744073709551615", 86_400_000)] {
        let answer = node.post("/v1/sessions", format!(r#"{{"ttl_ms":{asked}}}"#)).await;
        assert_eq!(answer.json()["ttl_ms"], given);
    }
    for bad in [r#"{"session":"1"}"#, r#"{"ttl_ms":0}"#, r#"{"ttl_ms":-1}"#, r#"{"ttl":1}"#, "[1]", "x"] {
        node.post("/v1/sessions", bad).await.is_error(400, ErrorCode::BadInput);
    }
    node.post("/v1/sessions", vec![b' '; 5000]).await.is_error(413, ErrorCode::TooLarge);
}

#[tokio::test]
async fn an_ephemeral_key_names_its_session_and_vanishes_with_it() {
    let node = node().await;
    node.put("/v1/kv/stays", "v").await.ok();
    node.write("1", Method::PUT, "/v1/kv/lock?ephemeral=1&expect_version=0", "mine").await.ok();
    let headers = [("quorate-session", SESSION), ("quorate-request", "2"), ("if-match", "*")];
    node.ask_with(Method::PUT, "/v1/kv/lock?ephemeral=1", &headers, "still mine").await.ok();
    let txn = r#"{"then":[{"op":"put_ephemeral","key":"aw==","value":"dg=="}]}"#;
    node.write("3", Method::POST, "/v1/txn", txn).await.ok();
    for key in ["lock", "k"] {
        assert_eq!(node.get(&format!("/v1/kv/{key}")).await.ok().header("quorate-ephemeral"), SESSION);
    }
    assert!(!node.get("/v1/kv/stays").await.ok().headers.contains_key("quorate-ephemeral"));
    let items = node.get("/v1/kv").await.ok().json()["items"].clone();
    let sessions: Vec<Option<&str>> = (0..3).map(|at| items[at].get("session").and_then(Value::as_str)).collect();
    assert_eq!(sessions, [Some(SESSION), Some(SESSION), None]);
    let ended = node.delete(&format!("/v1/sessions/{SESSION}")).await.ok().json();
    assert_eq!(ended, json!({"ended": true, "revision": 5}));
    for key in ["lock", "k"] {
        node.get(&format!("/v1/kv/{key}")).await.is_error(404, ErrorCode::NotFound);
    }
    node.get("/v1/kv/stays").await.ok();
}

#[tokio::test]
async fn an_ephemeral_write_needs_a_session() {
    let node = Node::new();
    node.put("/v1/kv/k?ephemeral=1", "v").await.is_error(400, ErrorCode::BadInput);
    let txn = r#"{"then":[{"op":"put_ephemeral","key":"aw==","value":"dg=="}]}"#;
    node.post("/v1/txn", txn).await.is_error(400, ErrorCode::BadInput);
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_session_whose_opening_has_no_known_outcome_says_so() {
    let node = Node::new();
    node.next_fails(RequestError::Unknown { waited_ms: 1 });
    node.post("/v1/sessions", "").await.is_error(504, ErrorCode::UnknownOutcome);
    node.next_fails(Refusal::NoLeader);
    node.delete(&format!("/v1/sessions/{SESSION}")).await.is_error(503, ErrorCode::NoLeader);
}
