//! Two QUIC transports on loopback, with mutual TLS: the round trip of one message on each lane, and how much goes one way.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use benches::replicas::{Replicas, Settings};
use benches::traffic::{Echo, OneWay};
use bytes::Bytes;
use consensus_api::Lane;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use transport_quic::QuicTransport;

/// How much goes one way in an iteration.
const BURST_BYTES: usize = 1 << 20;

/// Many times what a sample takes.
const PATIENCE: Duration = Duration::from_secs(60);

const LANES: [(&str, Lane); 4] = [
    ("control", Lane::Control),
    ("replication", Lane::Replication),
    ("requests", Lane::Requests),
    ("bulk", Lane::Bulk),
];

fn pair(runtime: &Runtime) -> (QuicTransport, QuicTransport) {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    runtime.block_on(async {
        let alone = Replicas::found(Settings::of("raft").unwrap(), directory.path(), 1).await.unwrap();
        alone.pair().await.unwrap()
    })
}

/// How long this takes. A transport may drop what it sends, as when a link breaks, and then nobody would answer.
fn took(runtime: &Runtime, work: impl Future<Output = ()>) -> Duration {
    runtime.block_on(async {
        let since = Instant::now();
        let done = tokio::time::timeout(PATIENCE, work).await;
        assert!(done.is_ok(), "a message was lost; is the machine too busy for the link to hold?");
        since.elapsed()
    })
}

fn round_trip(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("transport/round-trip-256-B");
    let payload = Bytes::from(vec![7; 256]);
    let _within = runtime.enter();
    let echo = Echo::over(pair(runtime));
    for (name, lane) in LANES {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                took(runtime, async {
                    for _ in 0..iterations {
                        echo.round_trip(lane, &payload).await.unwrap();
                    }
                })
            });
        });
    }
    group.finish();
}

fn throughput(criterion: &mut Criterion, runtime: &Runtime) {
    let _within = runtime.enter();
    let mut one_way = OneWay::over(pair(runtime));
    for (name, bytes) in [("256-B", 256), ("64-KiB", 64 << 10)] {
        let mut group = criterion.benchmark_group(format!("transport/one-way-{name}"));
        let payload = Bytes::from(vec![7; bytes]);
        group.throughput(Throughput::Bytes(BURST_BYTES as u64));
        for (name, lane) in LANES {
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter_custom(|iterations| {
                    let times = iterations * (BURST_BYTES / bytes) as u64;
                    took(runtime, async { one_way.send(lane, &payload, times).await.unwrap() })
                });
            });
        }
        group.finish();
    }
}

fn lanes(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    round_trip(criterion, &runtime);
    throughput(criterion, &runtime);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = lanes
}
criterion_main!(benches);
