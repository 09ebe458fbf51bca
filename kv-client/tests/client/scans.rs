//! A scan that is longer than a page.

use kv_client::{ClientError, HttpClient, ReadOptions, ScanRequest};
use serde_json::{Value, json};

use crate::node::{Node, Play};

fn item(key: &str) -> Value {
    json!({"key": key, "value": "MQ==", "version": 1, "create_revision": 1, "mod_revision": 1})
}

fn page(keys: &[&str], more: bool) -> Play {
    Play::ok(json!({"items": keys.iter().map(|key| item(key)).collect::<Vec<_>>(), "more": more, "revision": 9}))
}

async fn keys(node: &Node, limit: Option<u32>) -> Result<(Vec<Vec<u8>>, bool), ClientError> {
    let client = HttpClient::new([node.endpoint()]).unwrap();
    let request = ScanRequest { prefix: Some("a".into()), limit, ..ScanRequest::default() };
    let mut scan = client.scan_all(request, ReadOptions::default());
    let mut keys = Vec::new();
    while let Some(item) = scan.next().await? {
        keys.push(item.key.0.to_vec());
    }
    Ok((keys, scan.more()))
}

#[tokio::test]
async fn the_next_page_begins_behind_the_last_key() {
    // "a", "ab", "ac"
    let node = Node::start([page(&["YQ==", "YWI="], true), page(&["YWM="], false)]).await;
    assert_eq!(keys(&node, None).await.unwrap(), (vec![b"a".to_vec(), b"ab".to_vec(), b"ac".to_vec()], false));
    let seen = node.seen();
    assert_eq!(seen[0].line, "GET /v1/kv?prefix=a&consistency=linearizable");
    assert_eq!(seen[1].line, "GET /v1/kv?prefix=a&start=ab%00&consistency=linearizable");
}

#[tokio::test]
async fn a_limit_holds_over_all_pages_and_says_that_there_is_more() {
    let node = Node::start([page(&["YQ==", "YWI="], true), page(&["YWM="], true)]).await;
    assert!(keys(&node, Some(3)).await.unwrap().1);
    assert!(node.seen()[1].line.contains("limit=1"), "{:?}", node.seen()[1]);
    assert_eq!(node.seen().len(), 2);
}

#[tokio::test]
async fn a_page_without_items_is_the_last() {
    let node = Node::start([page(&[], true)]).await;
    assert_eq!(keys(&node, None).await.unwrap(), (vec![], false));
}
