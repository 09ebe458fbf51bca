//! The codec on what a replication message carries.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Ballot, Blob, Entry, LogIndex, LogTime, NodeId, Payload, RequestId, SharedEntry, codec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn entries(count: u64) -> Vec<SharedEntry> {
    let data = Bytes::from(vec![7; 256]);
    let entry = |index| Entry {
        index: LogIndex(index),
        ballot: Ballot::new(3, NodeId(1)),
        log_time: LogTime { millis: 12_345 },
        payload: Payload::Command {
            id: RequestId { origin: NodeId(1), boot: 2, sequence: index },
            data: Blob(data.clone()),
        },
    };
    (1..=count).map(|index| Arc::new(entry(index))).collect()
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec/64-entries-256-bytes");
    let entries = entries(64);
    let encoded = codec::encode(&entries).unwrap();
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| codec::encode(black_box(&entries)).unwrap()));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| codec::decode::<Vec<SharedEntry>>(black_box(&encoded)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
