//! A watch that is cut: it goes on where it was, with nothing lost and nothing twice.

use std::time::Duration;

use kv_client::http::{Change, Watch, WatchRequest};
use kv_client::protocol::{CompactedEvent, DeleteEvent, ProgressEvent, PutEvent, WatchEvent};
use kv_client::{ClientError, HttpClient};

use crate::node::{Node, Nowhere, Play};

fn delete(revision: u64, key: &'static str) -> WatchEvent {
    WatchEvent::Delete(DeleteEvent { revision, key: key.into() })
}

fn put(revision: u64, key: &'static str) -> WatchEvent {
    WatchEvent::Put(PutEvent {
        revision,
        key: key.into(),
        value: "v".into(),
        version: 1,
        create_revision: 1,
        session: None,
    })
}

fn progress(revision: u64) -> WatchEvent {
    WatchEvent::Progress(ProgressEvent { revision })
}

fn text(events: &[WatchEvent]) -> String {
    let text = |event: &WatchEvent| format!("event: {}\ndata: {}\n\n", event.name(), event.data().unwrap());
    events.iter().map(text).collect()
}

/// A stream that ends behind these events.
fn stream(events: &[WatchEvent]) -> Play {
    Play::Answer { status: 200, headers: vec![("content-type", "text/event-stream")], body: text(events) }
}

async fn watch(node: &Node, from_revision: Option<u64>) -> Result<Watch, ClientError> {
    let client = HttpClient::new([node.endpoint()]).unwrap();
    let timeout = Duration::from_secs(10);
    client.watch(WatchRequest { prefix: "a".into(), from_revision, timeout }).await
}

async fn next(watch: &mut Watch) -> (u64, String) {
    let change = watch.next().await.unwrap();
    (change.revision(), String::from_utf8(change.key().to_vec()).unwrap())
}

fn lines(node: &Node) -> Vec<String> {
    node.seen().into_iter().map(|seen| seen.line).collect()
}

#[tokio::test]
async fn a_watch_that_is_cut_within_a_revision_goes_on_within_it() {
    let first = stream(&[progress(4), put(5, "a1"), put(7, "a2"), delete(7, "a3")]);
    let second = stream(&[put(7, "a2"), delete(7, "a3"), put(7, "a4"), put(8, "a1")]);
    let node = Node::start([first, second]).await;
    let mut watch = watch(&node, Some(5)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(next(&mut watch).await);
    }
    let expected = [(5, "a1"), (7, "a2"), (7, "a3"), (7, "a4"), (8, "a1")];
    assert_eq!(seen, expected.map(|(revision, key)| (revision, key.to_owned())));
    assert_eq!(lines(&node), ["GET /v1/watch?prefix=a&from_revision=5", "GET /v1/watch?prefix=a&from_revision=7"]);
}

#[tokio::test]
async fn a_stream_that_is_cut_within_an_event_loses_nothing() {
    let whole = text(&[put(5, "a1"), put(6, "a2")]);
    for cut in [1, whole.len() / 2, whole.len() - 1] {
        let first = Play::Answer { status: 200, headers: vec![], body: whole[..cut].to_owned() };
        let node = Node::start([first, stream(&[put(5, "a1"), put(6, "a2")])]).await;
        let mut watch = watch(&node, Some(5)).await.unwrap();
        assert_eq!([next(&mut watch).await.0, next(&mut watch).await.0], [5, 6], "cut at {cut}");
    }
}

#[tokio::test]
async fn a_watch_from_now_on_begins_where_the_node_says_and_stays_there_through_a_cut() {
    let node = Node::start([stream(&[progress(9)]), stream(&[progress(9), put(12, "a")])]).await;
    let mut watch = watch(&node, None).await.unwrap();
    assert_eq!(watch.revision(), 10);
    assert_eq!(next(&mut watch).await, (12, "a".to_owned()));
    assert_eq!(lines(&node), ["GET /v1/watch?prefix=a", "GET /v1/watch?prefix=a&from_revision=10"]);
}

#[tokio::test]
async fn progress_moves_on_where_a_watch_goes_on() {
    let node = Node::start([stream(&[put(5, "a"), progress(90)]), stream(&[put(91, "a")])]).await;
    let mut watch = watch(&node, Some(5)).await.unwrap();
    assert_eq!([next(&mut watch).await.0, next(&mut watch).await.0], [5, 91]);
    assert!(lines(&node)[1].ends_with("from_revision=91"), "{:?}", lines(&node));
}

#[tokio::test]
async fn what_is_not_remembered_any_more_is_said_with_the_first_revision_that_is() {
    let body = r#"{"error":"compacted","message":"m","first_revision":40}"#.to_owned();
    let node = Node::start([Play::Answer { status: 410, headers: vec![], body }]).await;
    assert_eq!(watch(&node, Some(5)).await.unwrap_err(), ClientError::Compacted { first_revision: 40 });
    let fallen_behind = WatchEvent::Compacted(CompactedEvent { first_revision: 40 });
    let node = Node::start([stream(&[put(5, "a"), fallen_behind])]).await;
    let mut watch = watch(&node, Some(5)).await.unwrap();
    assert_eq!(next(&mut watch).await.0, 5);
    assert_eq!(watch.next().await, Err(ClientError::Compacted { first_revision: 40 }));
}

#[tokio::test]
async fn events_of_a_later_build_are_skipped() {
    let body = format!("event: lunch\ndata: {{}}\n\n{}", text(&[put(5, "a")]));
    let node = Node::start([Play::Answer { status: 200, headers: vec![], body }]).await;
    let mut watch = watch(&node, Some(5)).await.unwrap();
    assert!(matches!(watch.next().await, Ok(Change::Put(_))));
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node() {
    let first = Node::start([stream(&[put(5, "a")])]).await;
    let second = Node::start([stream(&[put(6, "a")])]).await;
    let nowhere = Nowhere::new();
    let endpoints = [first.endpoint(), nowhere.endpoint(), second.endpoint()];
    let client = HttpClient::new(endpoints).unwrap();
    let timeout = Duration::from_secs(10);
    let request = WatchRequest { prefix: "a".into(), from_revision: Some(5), timeout };
    let mut watch = client.watch(request).await.unwrap();
    assert_eq!([next(&mut watch).await.0, next(&mut watch).await.0], [5, 6]);
}

#[tokio::test]
async fn a_watch_from_revision_zero_begins_with_the_first_change_and_not_now() {
    let node = Node::start([stream(&[progress(0), delete(1, "a")])]).await;
    let mut watch = watch(&node, Some(0)).await.unwrap();
    assert_eq!(next(&mut watch).await, (1, "a".into()));
    assert!(lines(&node)[0].contains("from_revision=1"), "{:?}", lines(&node));
}
