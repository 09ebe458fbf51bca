//! Each row of the table of errors.

use axum::response::IntoResponse;
use kv_machine::{KvError, Replies, Reply};

use super::super::context::{json_of, outcome_of};
use super::super::errors::ApiError;
use super::*;
use crate::service::SubmitError;

#[tokio::test]
async fn a_write_that_nobody_leads_was_not_carried_out() {
    let node = Node::new();
    node.next_fails(Refusal::NoLeader);
    node.put("/v1/kv/k", "v").await.is_error(503, ErrorCode::NoLeader);
    node.get("/v1/kv/k").await.is_error(404, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_refusal_names_the_leader_to_try() {
    let node = Node::new();
    node.next_fails(Refusal::NotLeader { leader: Some(NodeId(3)) });
    assert_eq!(node.put("/v1/kv/k", "v").await.is_error(503, ErrorCode::NoLeader).leader, Some(3));
    node.next_fails(Refusal::Busy);
    assert_eq!(node.put("/v1/kv/k", "v").await.error().leader, Some(1));
}

#[tokio::test]
async fn a_busy_node_says_when_to_come_back() {
    let node = Node::new();
    node.next_fails(Refusal::Busy);
    let answer = node.put("/v1/kv/k", "v").await;
    answer.is_error(429, ErrorCode::TooBusy);
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_the_only_504() {
    let node = Node::new();
    for error in [RequestError::Unknown { waited_ms: 5000 }, RequestError::Stopped { reason: "disk".into() }] {
        for (method, path) in [
            (Method::PUT, "/v1/kv/k"),
            (Method::POST, "/v1/kv/k/append"),
            (Method::DELETE, "/v1/kv/k"),
            (Method::POST, "/v1/txn"),
        ] {
            node.next_fails(error.clone());
            node.ask(method, path, "{}").await.is_error(504, ErrorCode::UnknownOutcome);
        }
    }
}

#[tokio::test]
async fn a_write_that_was_carried_out_is_unknown_where_its_reply_makes_no_sense() {
    let session = r#"{"session":"000102030405060708090a0b0c0d0e0f"}"#;
    let writes = [
        (Method::PUT, "/v1/kv/k", "v"),
        (Method::POST, "/v1/kv/k/append", "v"),
        (Method::DELETE, "/v1/kv/k", ""),
        (Method::POST, "/v1/txn", "{}"),
        (Method::POST, "/v1/sessions", session),
        (Method::DELETE, "/v1/sessions/000102030405060708090a0b0c0d0e0f", ""),
    ];
    let garbage = Bytes::from_static(b"\xff\xffgarbage");
    let none = Replies { replies: vec![] }.encode().unwrap();
    let mismatched = Reply::SessionClosed { existed: true, revision: 1 };
    let other = Replies { replies: vec![mismatched] }.encode().unwrap();
    for (method, path, body) in writes {
        let node = Node::new();
        for reply in [&garbage, &none, &other] {
            if (reply == &other) && path.starts_with("/v1/sessions/") {
                continue;
            }
            let before = node.log.status().applied_index;
            node.next_is_answered(reply.clone());
            node.ask(method.clone(), path, body).await.is_error(504, ErrorCode::UnknownOutcome);
            assert_eq!(node.log.status().applied_index, before.next(), "it was carried out");
        }
    }
}

#[test]
fn what_cannot_be_encoded_was_never_proposed_and_is_no_unknown_outcome() {
    let too_long = SubmitError::Encode(KvError::NotOneReply);
    assert!(too_long.is_definite());
    assert_eq!(ApiError::of_write(too_long, None).into_response().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn that_an_answer_cannot_be_written_takes_nothing_back() {
    struct Unwritable;
    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let status = |answer: Result<_, ApiError>| answer.unwrap_err().into_response().status();
    assert_eq!(status(outcome_of(&Unwritable)), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(status(json_of(&Unwritable)), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_read_has_no_outcome_that_could_be_unknown() {
    let node = Node::new();
    for path in ["/v1/kv/k", "/v1/kv"] {
        node.next_fails(RequestError::Unknown { waited_ms: 5000 });
        node.get(path).await.is_error(503, ErrorCode::NoQuorum);
        node.next_fails(RequestError::Stopped { reason: "disk".into() });
        node.get(path).await.is_error(503, ErrorCode::Stopping);
        node.next_fails(Refusal::NoQuorum { waited_ms: 5000 });
        node.get(path).await.is_error(503, ErrorCode::NoQuorum);
    }
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_unsupported() {
    let node = Node::new();
    node.post("/v1/leader/campaign", "").await.is_error(501, ErrorCode::Unsupported);
    node.post("/v1/snapshot", "").await.is_error(501, ErrorCode::Unsupported);
    node.next_fails(Refusal::Unsupported { what: "a transfer of leadership".into() });
    node.post("/v1/leader/transfer", "").await.is_error(501, ErrorCode::Unsupported);
}

#[tokio::test]
async fn what_is_over_a_limit_is_too_large_and_changes_nothing() {
    let node = Node::with(KvLimits { key_bytes_max: 8, value_bytes_max: 16, txn_operations_max: 2 });
    node.put("/v1/kv/k", vec![b'v'; 16]).await.ok();
    node.put("/v1/kv/k", vec![b'w'; 17]).await.is_error(413, ErrorCode::TooLarge);
    node.post("/v1/kv/k/append", vec![b'w'; 17]).await.is_error(413, ErrorCode::TooLarge);
    node.put("/v1/kv/123456789", "v").await.is_error(413, ErrorCode::TooLarge);
    assert_eq!(node.get("/v1/kv/k").await.ok().body, vec![b'v'; 16]);
    node.next_fails(Refusal::TooLarge { bytes: 9, limit: 8 });
    node.put("/v1/kv/k", "v").await.is_error(413, ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let node = Node::with(KvLimits { value_bytes_max: 16, ..KvLimits::default() });
    let chunks = std::iter::repeat_n(Ok::<_, std::convert::Infallible>(Bytes::from_static(b"12345678")), 3);
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    node.put("/v1/kv/k", body).await.is_error(413, ErrorCode::TooLarge);
}

#[tokio::test]
async fn an_append_that_would_grow_too_large_changes_nothing() {
    let node = Node::new();
    let most = KvLimits::APPLIED.value_bytes_max;
    node.put("/v1/kv/k", vec![b'v'; most]).await.ok();
    node.post("/v1/kv/k/append", "x").await.is_error(413, ErrorCode::TooLarge);
    assert_eq!(node.get("/v1/kv/k").await.ok().body.len(), most);
}

#[tokio::test]
async fn bad_input_is_refused_before_it_is_proposed() {
    let node = Node::new();
    let bad = [
        (Method::PUT, "/v1/kv/"),
        (Method::GET, "/v1/kv/"),
        (Method::PUT, "/v1/kv/%"),
        (Method::PUT, "/v1/kv/a%2"),
        (Method::PUT, "/v1/kv/a%zz"),
        (Method::POST, "/v1/kv//append"),
        (Method::PUT, "/v1/kv/k?expect_version=one"),
        (Method::PUT, "/v1/kv/k?expect_version=-1"),
        (Method::PUT, "/v1/kv/k?expect_version="),
        (Method::PUT, "/v1/kv/k?expect_version=1&expect_version=2"),
        (Method::PUT, "/v1/kv/k?expect_verison=1"),
        (Method::GET, "/v1/kv/k?consistency=dirty"),
        (Method::GET, "/v1/kv/k?consistency=stale&redirect=1"),
        (Method::GET, "/v1/kv/k?redirect=yes"),
        (Method::GET, "/v1/kv?limit=0"),
        (Method::GET, "/v1/kv?limit=many"),
        (Method::GET, "/v1/kv?limit=+5"),
        (Method::GET, "/v1/kv?limit=18446744073709551616"),
        (Method::GET, "/v1/kv?perfix=a"),
        (Method::GET, "/v1/kv?start=%f"),
        (Method::PUT, "/v1/kv/k?expect_version=18446744073709551616"),
        (Method::PUT, "/v1/kv/k?ephemeral=yes"),
        (Method::PUT, "/v1/kv/k?ephemeral=1"),
        (Method::POST, "/v1/kv/k/append?ephemeral=1"),
        (Method::GET, "/v1/watch?from_revision=now"),
        (Method::GET, "/v1/watch?start=a"),
        (Method::GET, "/v1/status?verbose=1"),
        (Method::POST, "/v1/txn"),
        (Method::POST, "/v1/sessions"),
        (Method::POST, "/v1/sessions?ttl_ms=5"),
        (Method::DELETE, "/v1/sessions/1"),
        (Method::POST, "/v1/leader/transfer?to=0"),
        (Method::POST, "/v1/members"),
        (Method::POST, "/v1/members?timeout_ms=0"),
        (Method::POST, "/v1/members?timeout_ms=soon"),
        (Method::GET, "/v1/members?timeout_ms=5"),
        (Method::DELETE, "/v1/members/none"),
        (Method::DELETE, "/v1/members/2?timeout_ms=-1"),
    ];
    for (method, path) in bad {
        let answer = node.ask(method.clone(), path, "{").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path}: {answer:?}");
        answer.is_error(400, ErrorCode::BadInput);
    }
    assert_eq!(node.log.status().applied_index, LogIndex::ZERO);
}

#[tokio::test]
async fn malformed_transactions_are_refused_with_what_is_wrong() {
    let node = Node::new();
    let put = r#"{"op":"put","key":"aw==","value":"dg=="}"#;
    for (body, hint) in [
        ("", "no transaction"),
        (r#"{"els":[]}"#, "els"),
        (r#"{"then":[{"op":"put","key":"?","value":""}]}"#, "base64"),
        (r#"{"then":[{"op":"put","key":"","value":""}]}"#, "empty"),
        (&format!(r#"{{"then":[{put},{put}]}}"#), "twice"),
    ] {
        let error = node.post("/v1/txn", body.to_owned()).await.is_error(400, ErrorCode::BadInput);
        assert!(error.message.contains(hint), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_json_too() {
    let node = Node::new();
    node.get("/v2/kv/k").await.is_error(404, ErrorCode::NotFound);
    let answer = node.ask(Method::PATCH, "/v1/kv/k", "").await;
    answer.is_error(405, ErrorCode::BadInput);
    assert!(answer.header("allow").contains("PUT"));
}

/// Where the table of errors is kept: the doc comment of `errors.rs`.
#[tokio::test]
async fn every_code_is_in_the_table_of_errors_with_its_status() {
    let table = include_str!("../errors.rs");
    for code in ErrorCode::ALL {
        let name = serde_json::to_value(code).unwrap();
        let name = format!("`{}`", name.as_str().unwrap());
        let row = table.lines().find(|line| line.starts_with("//! |") && line.contains(&name));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        assert!(row.starts_with(&format!("//! | {} |", code.status())), "{row}");
    }
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let node = Node::new();
    let named = node.ask_if(Method::GET, "/v1/kv/absent", ("x-request-id", "mine-7"), "").await;
    named.is_error(404, ErrorCode::NotFound);
    assert_eq!(named.header("x-request-id"), "mine-7");
    let mut seen = std::collections::BTreeSet::new();
    let long = "x".repeat(129);
    for (method, path, given) in [
        (Method::PUT, "/v1/kv/k", ""),
        (Method::GET, "/v1/nowhere", ""),
        (Method::PATCH, "/v1/kv/k", ""),
        (Method::GET, "/health/live", "with a space"),
        (Method::GET, "/v1/status", &long),
    ] {
        let answer = node.ask_with(method, path, &[("x-request-id", given)], "").await;
        assert_ne!(answer.header("x-request-id"), given, "a name that cannot be logged is replaced");
        assert!(seen.insert(answer.header("x-request-id").to_owned()), "a name was given twice");
    }
}

#[tokio::test]
async fn a_node_without_a_cluster_names_its_requests_too_and_says_what_it_waits_for_at_the_moment() {
    let (saying, waiting_for) = tokio::sync::watch::channel("nobody is there yet".to_owned());
    let router = waiting_router(waiting_for);
    for word in ["nobody is there yet", "one of three is there"] {
        saying.send_replace(word.to_owned());
        let answer = router.clone().oneshot(Request::get("/health/ready").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("x-request-id"));
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let error: ErrorReply = serde_json::from_slice(&body).unwrap();
        assert_eq!((error.error, error.message.as_str()), (ErrorCode::NoLeader, word));
    }
}
