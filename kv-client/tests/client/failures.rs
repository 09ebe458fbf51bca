//! Whom the client asks next, and when it must not ask anybody else.

use std::time::Duration;

use kv_client::protocol::ErrorCode;
use kv_client::{ClientError, HttpClient, ReadOptions, WriteOptions};
use serde_json::json;

use crate::node::{Node, Nowhere, Play};

/// Long enough to send a request over loopback, short enough to wait for.
const SHORT: Duration = Duration::from_millis(100);

/// More than there are rounds in a test.
const ROUNDS: usize = 100;

fn written() -> Play {
    Play::ok(json!({"version": 1, "revision": 1}))
}

fn found() -> Play {
    let headers = vec![("etag", "\"1\""), ("quorate-version", "1"), ("quorate-revision", "1")];
    Play::Answer { status: 200, headers, body: "v".into() }
}

async fn put(client: &HttpClient) -> Result<u64, ClientError> {
    client.put(b"k", "v".into(), WriteOptions::default()).await.map(|reply| reply.version)
}

async fn get(client: &HttpClient) -> Result<Option<u64>, ClientError> {
    client.get(b"k", ReadOptions::default()).await.map(|value| value.map(|value| value.version))
}

fn client_of(nodes: &[&Node]) -> HttpClient {
    HttpClient::new(nodes.iter().map(|node| node.endpoint())).unwrap()
}

#[tokio::test]
async fn a_write_goes_to_the_next_node_where_the_first_cannot_be_reached() {
    let node = Node::start([written(), written()]).await;
    let nowhere = Nowhere::new();
    let client = HttpClient::new([nowhere.endpoint(), node.endpoint()]).unwrap();
    assert_eq!(put(&client).await, Ok(1));
    assert_eq!(put(&client).await, Ok(1));
    assert_eq!(node.seen().len(), 2);
}

#[tokio::test]
async fn a_write_goes_to_the_next_node_where_the_first_has_no_leader() {
    let (cut_off, well) = (Node::start([Play::error(503, "no_leader")]).await, Node::start([written()]).await);
    assert_eq!(put(&client_of(&[&cut_off, &well])).await, Ok(1));
    assert_eq!((cut_off.seen().len(), well.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_write_that_may_have_arrived_is_never_sent_again() {
    let (dying, well) = (Node::start([Play::HangUp]).await, Node::start([written()]).await);
    let error = put(&client_of(&[&dying, &well])).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!((dying.seen().len(), well.seen().len()), (1, 0));
}

#[tokio::test]
async fn a_write_on_a_kept_connection_that_dies_is_not_sent_again_either() {
    let node = Node::start([written(), Play::HangUp, written()]).await;
    let client = client_of(&[&node]);
    assert_eq!(put(&client).await, Ok(1));
    let error = put(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!((node.seen().len(), node.connections()), (2, 1));
}

#[tokio::test]
async fn a_write_without_an_answer_in_time_has_an_unknown_outcome() {
    let node = Node::start([Play::Silence]).await;
    let options = WriteOptions { timeout: SHORT, ..WriteOptions::default() };
    let error = client_of(&[&node]).put(b"k", "v".into(), options).await.unwrap_err();
    assert_eq!(error, ClientError::Unknown { reason: "no answer within 100 ms".into() });
}

#[tokio::test]
async fn a_write_answered_with_504_has_an_unknown_outcome_and_is_not_sent_again() {
    let (slow, well) = (Node::start([Play::error(504, "unknown_outcome")]).await, Node::start([written()]).await);
    let error = put(&client_of(&[&slow, &well])).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!(well.seen().len(), 0);
}

#[tokio::test]
async fn a_read_goes_to_the_next_node_whatever_became_of_it() {
    for trouble in [Play::HangUp, Play::error(503, "no_quorum"), Play::error(504, "unknown_outcome")] {
        let (ill, well) = (Node::start([trouble]).await, Node::start([found()]).await);
        assert_eq!(get(&client_of(&[&ill, &well])).await, Ok(Some(1)));
    }
}

#[tokio::test]
async fn a_read_without_an_answer_in_time_may_simply_be_repeated() {
    let node = Node::start([Play::Silence, found()]).await;
    let client = client_of(&[&node]);
    let options = ReadOptions { timeout: SHORT, ..ReadOptions::default() };
    assert_eq!(client.get(b"k", options).await, Err(ClientError::Timeout { waited_ms: 100 }));
    assert_eq!(get(&client).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_status_code_message_and_leader() {
    let (first, second) = (Node::start([Play::error(412, "version_mismatch")]).await, Node::start([written()]).await);
    let error = put(&client_of(&[&first, &second])).await.unwrap_err();
    let message = "about version_mismatch".to_owned();
    assert_eq!(error, ClientError::Api { status: 412, code: ErrorCode::VersionMismatch, message, leader: Some(2) });
    assert_eq!(second.seen().len(), 0);
}

#[tokio::test]
async fn a_nodes_own_word_counts_more_than_that_others_cannot_be_reached() {
    let node = Node::start(vec![Play::error(503, "no_quorum"); ROUNDS]).await;
    let nowhere = Nowhere::new();
    let client = HttpClient::new([node.endpoint(), nowhere.endpoint()]).unwrap();
    let options = WriteOptions { timeout: SHORT, ..WriteOptions::default() };
    let error = client.put(b"k", "v".into(), options).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoQuorum));
}

#[tokio::test]
async fn rounds_follow_each_other_until_somebody_can_do_it() {
    for refusal in [Play::error(503, "no_leader"), Play::error(429, "too_busy")] {
        let electing = Node::start([refusal.clone(), refusal.clone(), refusal, written()]).await;
        assert_eq!(put(&client_of(&[&electing])).await, Ok(1));
        assert_eq!(electing.seen().len(), 4);
    }
}

#[tokio::test]
async fn a_refusal_that_takes_long_is_not_asked_for_where_the_time_is_up_before_it_comes() {
    let slow = Play::Late { after: Duration::from_millis(300), play: Box::new(Play::error(503, "no_quorum")) };
    let node = Node::start(vec![slow; ROUNDS]).await;
    let options = WriteOptions { timeout: Duration::from_millis(500), ..WriteOptions::default() };
    let error = client_of(&[&node]).put(b"k", "v".into(), options).await.unwrap_err();
    // A second attempt would be cut off under way, and leave the write in doubt.
    assert_eq!((error.code(), node.seen().len()), (Some(ErrorCode::NoQuorum), 1));
}

#[tokio::test]
async fn a_node_that_hangs_costs_a_read_a_part_of_its_time() {
    let (hung, well) = (Node::start([Play::Silence]).await, Node::start([found()]).await);
    let options = ReadOptions { timeout: Duration::from_secs(3), ..ReadOptions::default() };
    assert!(client_of(&[&hung, &well]).get(b"k", options).await.unwrap().is_some());
}

#[tokio::test]
async fn where_nobody_can_be_reached_each_endpoint_is_named_with_its_trouble() {
    let nowhere = [Nowhere::new(), Nowhere::new()];
    let [first, second] = nowhere.each_ref().map(Nowhere::endpoint);
    let client = HttpClient::new([&first, &second]).unwrap();
    let error = put(&client).await.unwrap_err();
    let ClientError::Unreachable { tried } = &error else { panic!("{error}") };
    assert!(tried.contains(&first) && tried.contains(&second) && tried.contains("refused"), "{tried}");
}

#[tokio::test]
async fn the_client_keeps_to_the_node_that_answered_last() {
    let (cut_off, well) =
        (Node::start([Play::error(503, "no_leader")]).await, Node::start([written(), written(), found()]).await);
    let client = client_of(&[&cut_off, &well]);
    assert_eq!((put(&client).await, put(&client).await, get(&client).await), (Ok(1), Ok(1), Ok(Some(1))));
    assert_eq!((cut_off.seen().len(), well.seen().len()), (1, 3));
}
