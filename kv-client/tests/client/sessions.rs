//! Writes in a session: sent again where their answer is lost, always under the same number.

use std::time::Duration;

use kv_client::protocol::ErrorCode;
use kv_client::txn::TxnRequest;
use kv_client::{ClientError, HttpClient, HttpSession, WriteOptions};
use serde_json::json;

use crate::node::{Node, Play, Seen};

const TIMEOUT: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(60);
const ID: &str = "000102030405060708090a0b0c0d0e0f";

fn written() -> Play {
    Play::ok(json!({"version": 1, "revision": 1}))
}

fn session(nodes: &[&Node]) -> HttpSession {
    HttpClient::new(nodes.iter().map(|node| node.endpoint())).unwrap().session(ID, TTL, 1)
}

async fn put(session: &HttpSession, timeout: Duration) -> Result<u64, ClientError> {
    let options = WriteOptions { timeout, ..WriteOptions::default() };
    session.put(b"k", "v".into(), options).await.map(|reply| reply.version)
}

fn tag(seen: &Seen) -> [&str; 3] {
    ["quorate-session", "quorate-request", "quorate-acked-below"].map(|name| seen.headers[name].to_str().unwrap())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_sent_again_elsewhere_under_its_number() {
    for trouble in [Play::HangUp, Play::error(504, "unknown_outcome")] {
        let (ill, well) = (Node::start([trouble]).await, Node::start([written(), written()]).await);
        let session = session(&[&ill, &well]);
        assert_eq!(put(&session, TIMEOUT).await, Ok(1));
        assert_eq!(put(&session, TIMEOUT).await, Ok(1));
        assert_eq!(tag(&ill.seen()[0]), [ID, "1", "1"]);
        assert_eq!(tag(&well.seen()[0]), [ID, "1", "1"]);
        assert_eq!(tag(&well.seen()[1]), [ID, "2", "2"]);
    }
}

#[tokio::test]
async fn a_node_that_hangs_is_not_waited_for_to_the_end() {
    let (hung, well) = (Node::start([Play::Silence]).await, Node::start([written()]).await);
    assert_eq!(put(&session(&[&hung, &well]), Duration::from_secs(3)).await, Ok(1));
}

#[tokio::test]
async fn a_doubt_stays_whatever_is_refused_later() {
    let refused = vec![Play::error(503, "no_leader"); 100];
    let node = Node::start([Play::HangUp].into_iter().chain(refused)).await;
    let error = put(&session(&[&node]), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn that_the_session_is_gone_says_nothing_of_an_earlier_attempt() {
    for code in ["session_expired", "request_forgotten"] {
        let node = Node::start([Play::HangUp, Play::error(409, code)]).await;
        let error = put(&session(&[&node]), TIMEOUT).await.unwrap_err();
        assert!(matches!(&error, ClientError::Unknown { reason } if reason.contains(code)), "{error}");
        // Without one it says that nothing was carried out.
        let node = Node::start([Play::error(409, code)]).await;
        assert!(matches!(put(&session(&[&node]), TIMEOUT).await, Err(ClientError::Api { status: 409, .. })));
    }
}

#[tokio::test]
async fn a_mismatch_that_a_second_attempt_is_told_is_the_first_ones_answer() {
    let node = Node::start([Play::HangUp, Play::error(412, "version_mismatch")]).await;
    let error = put(&session(&[&node]), TIMEOUT).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::VersionMismatch));
}

#[tokio::test]
async fn what_another_node_refuses_by_its_own_limits_says_nothing_of_an_earlier_attempt() {
    let compacted = json!({"error": "compacted", "message": "m", "leader": null, "first_revision": 9}).to_string();
    let refusals = [
        ("bad_input", Play::error(400, "bad_input")),
        ("too_large", Play::error(413, "too_large")),
        ("unsupported", Play::error(501, "unsupported")),
        ("not_found", Play::error(404, "not_found")),
        ("revision 9", Play::Answer { status: 410, headers: vec![], body: compacted }),
    ];
    for (word, refusal) in refusals {
        let (ill, other) = (Node::start([Play::HangUp]).await, Node::start([refusal.clone()]).await);
        let error = put(&session(&[&ill, &other]), TIMEOUT).await.unwrap_err();
        assert!(matches!(&error, ClientError::Unknown { reason } if reason.contains(word)), "{word}: {error}");
        // Without one nothing was carried out.
        let node = Node::start([refusal]).await;
        let error = put(&session(&[&node]), TIMEOUT).await.unwrap_err();
        assert!(error.code().is_some(), "{word}: {error}");
    }
}

#[tokio::test]
async fn a_write_that_was_given_up_counts_as_answered_so_that_it_cannot_happen_later() {
    let node = Node::start([Play::Silence, written()]).await;
    let session = session(&[&node]);
    assert!(put(&session, Duration::from_millis(100)).await.is_err());
    assert_eq!(put(&session, TIMEOUT).await, Ok(1));
    assert_eq!(tag(&node.seen()[1]), [ID, "2", "2"]);
}

#[tokio::test]
async fn a_transaction_is_numbered_too() {
    let reply = Play::ok(json!({"succeeded": true, "revision": 4, "results": []}));
    let node = Node::start([Play::HangUp, reply]).await;
    assert!(session(&[&node]).txn(&TxnRequest::default(), TIMEOUT).await.unwrap().succeeded);
    assert_eq!(tag(&node.seen()[1]), [ID, "1", "1"]);
}

#[tokio::test]
async fn a_session_is_opened_kept_and_ended_under_the_id_that_the_client_draws() {
    let lives = |ttl_ms: u64| Play::ok(json!({"session": ID, "ttl_ms": ttl_ms}));
    let ended = Play::ok(json!({"ended": true, "revision": 7}));
    let node = Node::start([Play::HangUp, lives(1000), lives(1000), ended]).await;
    let client = HttpClient::new([node.endpoint()]).unwrap();
    let session = client.open_session(Duration::from_millis(10), TIMEOUT).await.unwrap();
    assert_eq!(session.ttl(), Duration::from_secs(1), "the cluster's bound");
    session.keep_alive(TIMEOUT).await.unwrap();
    assert!(session.close(TIMEOUT).await.unwrap().ended);
    let seen = node.seen();
    let body = |seen: &Seen| serde_json::from_slice::<serde_json::Value>(&seen.body).unwrap();
    assert_eq!(body(&seen[0]), json!({"session": session.id(), "ttl_ms": 10}));
    assert_eq!(body(&seen[0]), body(&seen[1]), "a retry opens the same session");
    assert_eq!(body(&seen[2]), json!({"session": session.id(), "ttl_ms": 1000}));
    assert_eq!(seen[3].line, format!("DELETE /v1/sessions/{}", session.id()));
}

#[tokio::test]
async fn an_ephemeral_put_says_so() {
    let node = Node::start([written()]).await;
    let options = WriteOptions { ephemeral: true, ..WriteOptions::default() };
    session(&[&node]).put(b"k", "v".into(), options).await.unwrap();
    assert_eq!(node.seen()[0].line, "PUT /v1/kv/k?ephemeral=1");
}

#[tokio::test]
async fn keeping_a_session_ends_with_the_session() {
    let node =
        Node::start([Play::ok(json!({"session": ID, "ttl_ms": 900})), Play::error(409, "session_expired")]).await;
    let client = HttpClient::new([node.endpoint()]).unwrap();
    let error = client.session(ID, Duration::from_millis(900), 1).keep().await;
    assert_eq!((error.code(), node.seen().len()), (Some(ErrorCode::SessionExpired), 2));
}

#[tokio::test]
async fn a_session_is_confirmed_as_of_when_the_sign_was_sent_and_not_when_it_was_answered() {
    let delay = Duration::from_millis(50);
    let lives = Play::ok(json!({"session": ID, "ttl_ms": 900}));
    let node = Node::start([Play::Late { after: delay, play: Box::new(lives) }]).await;
    let client = HttpClient::new([node.endpoint()]).unwrap();
    let session = client.open_session(Duration::from_millis(900), TIMEOUT).await.unwrap();
    assert!(session.confirmed().elapsed() >= delay);
}
