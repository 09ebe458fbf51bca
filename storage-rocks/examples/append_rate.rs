//! Prints how many entries a second the log takes, by the size of the batches; to be run with nothing else running.
//!
//! `cargo run --release -p storage-rocks --example append_rate [DIR]`

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus_api::{
    Ballot, Blob, EngineName, Entry, Era, GroupId, LogIndex, LogPosition, LogStore, LogTime, NodeId, Payload,
    RequestId, Write, WriteId,
};
use storage_rocks::{Expected, Store, StoreOptions};

const VALUE_BYTES: usize = 300;
const FOR: Duration = Duration::from_secs(2);

fn entry(index: u64, data: &Blob) -> Arc<Entry> {
    let id = RequestId { origin: NodeId(1), boot: 1, sequence: index };
    let payload = Payload::Command { id, data: data.clone() };
    Arc::new(Entry { index: LogIndex(index), ballot: Ballot::new(1, NodeId(1)), log_time: LogTime::default(), payload })
}

/// Writes batches of this size for a while; prints rate and percentiles.
fn measure(store: &Store, batch: u64, sync: bool) {
    let data = Blob::from(vec![7; VALUE_BYTES]);
    let first = store.log.base().index.0 + 1;
    let mut index = first;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < FOR {
        let entries = (index..index + batch).map(|index| entry(index, &data)).collect();
        let write = Write { id: WriteId(1), entries, commit: Some(LogIndex(index)), ..Write::default() };
        let begin = Instant::now();
        store.log.write(&[write]).unwrap();
        times.push(begin.elapsed());
        index += batch;
    }
    let rate = (index - first) as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    println!("sync {sync:<5}  batch {batch:>4}  {rate:>9.0} entries/s  p50 {:>5} µs  p99 {:>5} µs", at(0.5), at(0.99));

    let begin = Instant::now();
    let recovered = store.log.recover(16 << 20).unwrap();
    let count = recovered.runs.last().map_or(0, |last| last.0 + 1 - first);
    println!("{:>12} recovered  {:>9.0} entries/s", count, count as f64 / begin.elapsed().as_secs_f64());
    store.log.trim(LogPosition { index: LogIndex(index - 1), ..LogPosition::default() }).unwrap();
}

fn main() {
    let directory = std::env::args().nth(1).map_or_else(|| tempfile::TempDir::new().unwrap().keep(), PathBuf::from);
    let expected = Expected { node: NodeId(1), engine: EngineName::new("none"), group: GroupId(0), era: Era(0) };
    for sync in [true, false] {
        let store = Store::open(&directory, expected, StoreOptions { sync, tables: &[] }).unwrap();
        for batch in [1, 64, 512] {
            measure(&store, batch, sync);
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
