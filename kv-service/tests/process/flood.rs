//! Very many writes in little time: as many connections as it takes, one small put after the other on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Cluster, GLANCE, PATIENCE};

const CONNECTIONS: usize = 256;
/// Fewer than are written: the rest are overwrites.
pub const KEYS: u64 = 10_000;

/// Puts `entries` entries into the log by way of one node, and says how long that took. What fails is put again: all
/// are there afterwards, some perhaps twice.
pub async fn pour(cluster: &Cluster, through: u64, entries: u64) -> Duration {
    let since = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (endpoint, next) = (cluster.http(through), next.clone());
        connections.spawn(async move {
            let mut stream = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= entries {
                    return;
                }
                while put(&mut stream, &endpoint, number).await.is_none() {
                    assert!(since.elapsed() < 2 * PATIENCE, "writes do not go on");
                    stream = None;
                    tokio::time::sleep(GLANCE).await;
                }
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended.unwrap_or_else(|error| panic!("{error}; {}", cluster.logs()));
    }
    since.elapsed()
}

/// One put; `None` where it has failed in any way.
async fn put(stream: &mut Option<TcpStream>, endpoint: &str, number: u64) -> Option<()> {
    if stream.is_none() {
        let opened = TcpStream::connect(endpoint).await.ok()?;
        opened.set_nodelay(true).ok()?;
        *stream = Some(opened);
    }
    let stream = stream.as_mut()?;
    let (key, value) = (number % KEYS, number.to_string());
    let request = format!(
        "PUT /v1/kv/flood-{key} HTTP/1.1\r\nhost: {endpoint}\r\ncontent-length: {}\r\n\r\n{value}",
        value.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    answer.starts_with(b"HTTP/1.1 200").then_some(())
}

/// Whether the answer has come to its end, which its length says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}
