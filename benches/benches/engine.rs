//! The engines alone: from a proposal to its application at every replica, without I/O. Ours and those of other people, on
//! the same work ([`rivals`]).

#![allow(missing_docs, clippy::unwrap_used)]

mod rivals;

use std::time::{Duration, Instant};

use benches::Cluster;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use rivals::Subject;
use rivals::omnipaxos::OmniPaxosReplicas;
use rivals::openraft::OpenRaft;
use rivals::raft_rs::RaftRs;

/// What is in flight at most, in bytes of commands.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// None of them trims its log here. So another cluster takes over, off the clock, when one has taken so much.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// The same, in commands.
const KEPT_COMMANDS_MAX: u64 = 65_536;

fn commit<S: Subject>(group: &mut BenchmarkGroup<'_, WallTime>, voters: u64, value_bytes: usize) {
    let data = vec![7; value_bytes];
    for in_flight in [1_u64, 64, 512] {
        if in_flight as usize * value_bytes > IN_FLIGHT_BYTES_MAX {
            continue;
        }
        group.throughput(Throughput::Elements(in_flight));
        let mut present = None;
        group.bench_function(BenchmarkId::new(S::NAME, in_flight), |bencher| {
            let (subject, committed) = present.get_or_insert_with(|| (S::elected(voters), 0));
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    if *committed >= KEPT_COMMANDS_MAX || *committed * value_bytes as u64 >= KEPT_BYTES_MAX {
                        (*subject, *committed) = (S::elected(voters), 0);
                    }
                    let since = Instant::now();
                    subject.commit(in_flight, &data);
                    took += since.elapsed();
                    *committed += in_flight;
                }
                let everything = vec![*committed * value_bytes as u64; voters as usize];
                assert_eq!(subject.applied_bytes(), everything, "every replica has applied everything");
                took
            });
        });
    }
}

fn engines(criterion: &mut Criterion) {
    for voters in [3, 5] {
        for (name, value_bytes) in [("16-B", 16), ("256-B", 256), ("4-KiB", 4 << 10), ("64-KiB", 64 << 10)] {
            let mut group = criterion.benchmark_group(format!("engine/{voters}-nodes/{name}"));
            commit::<Cluster<Raft>>(&mut group, voters, value_bytes);
            commit::<Cluster<MultiPaxos>>(&mut group, voters, value_bytes);
            commit::<RaftRs>(&mut group, voters, value_bytes);
            commit::<OmniPaxosReplicas>(&mut group, voters, value_bytes);
            commit::<OpenRaft>(&mut group, voters, value_bytes);
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = engines
}
criterion_main!(benches);
