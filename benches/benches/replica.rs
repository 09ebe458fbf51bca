//! Whole replicas, three of each engine in this process: QUIC with mutual TLS between them, RocksDB with synced logs, the
//! state machine; no HTTP and no client protocol.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::replicas::{Replicas, Settings};
use consensus_api::{NodeId, ReadMode, ReplicatedLog};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ENGINES: [&str; 2] = ["raft", "paxos"];
const NODES: u64 = 3;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Three replicas, asked at the one that leads.
struct World {
    runtime: Runtime,
    group: Replicas,
    leader: NodeId,
    _directory: TempDir,
}

impl World {
    fn found(engine: &str) -> World {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime = Runtime::new().unwrap();
        let (group, leader) = runtime.block_on(async {
            let group = Replicas::found(Settings::of(engine).unwrap(), directory.path(), NODES).await.unwrap();
            let leader = group.leader().await.unwrap();
            (group, leader)
        });
        World { runtime, group, leader, _directory: directory }
    }

    fn log(&self) -> Arc<dyn ReplicatedLog> {
        self.group.nodes()[&self.leader].replica.clone()
    }

    /// Stops in order, so that nothing of it is left running beside the next one.
    fn end(mut self) {
        self.runtime.block_on(async {
            for node in (1..=NODES).map(NodeId) {
                self.group.stop(node).await.unwrap();
            }
        });
    }
}

fn puts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replica/puts-256-B");
    for engine in ENGINES {
        for in_flight in [1, 64, 512] {
            group.throughput(Throughput::Elements(in_flight));
            let mut world = None;
            group.bench_function(BenchmarkId::new(engine, in_flight), |bencher| {
                let world = world.get_or_insert_with(|| World::found(engine));
                let puts = Puts { keys: 10_000, value_bytes: 256, in_flight };
                bencher.iter_custom(|iterations| {
                    world.runtime.block_on(puts.write(&world.log(), iterations * in_flight)).unwrap().took
                });
            });
            if let Some(world) = world {
                world.end();
            }
        }
    }
    group.finish();
}

/// So many reads at a time, each by a round of heartbeats or by one that others wait for too.
fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replica/read-barriers");
    for engine in ENGINES {
        for at_once in [1, 64] {
            group.throughput(Throughput::Elements(at_once));
            let mut world = None;
            group.bench_function(BenchmarkId::new(engine, at_once), |bencher| {
                let world = world.get_or_insert_with(|| World::found(engine));
                bencher.iter_custom(|iterations| {
                    let log = world.log();
                    world.runtime.block_on(async {
                        let since = Instant::now();
                        for _ in 0..iterations {
                            let read = |_| log.read_barrier(ReadMode::Index, TIMEOUT);
                            join_all((0..at_once).map(read))
                                .await
                                .into_iter()
                                .for_each(|read| assert!(read.is_ok(), "{read:?}"));
                        }
                        since.elapsed()
                    })
                });
            });
            if let Some(world) = world {
                world.end();
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = puts, reads
}
criterion_main!(benches);
