//! The engines alone: from a proposal to its application at every node, without I/O, both engines on the same work.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use benches::Cluster;
use bytes::Bytes;
use consensus_api::Engine;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

fn commit<E: Engine>(criterion: &mut Criterion, voters: u64) {
    let mut group = criterion.benchmark_group(format!("commit/{voters}-nodes"));
    let data = Bytes::from(vec![7; 256]);
    for in_flight in [1_u64, 64, 512] {
        group.throughput(Throughput::Elements(in_flight));
        group.bench_with_input(BenchmarkId::new(E::NAME.to_string(), in_flight), &in_flight, |bencher, in_flight| {
            let mut cluster = Cluster::<E>::elected(voters).unwrap();
            bencher.iter(|| cluster.commit(black_box(*in_flight), &data));
        });
    }
    group.finish();
}

fn engines(criterion: &mut Criterion) {
    for voters in [3, 5] {
        commit::<Raft>(criterion, voters);
        commit::<MultiPaxos>(criterion, voters);
    }
}

criterion_group!(benches, engines);
criterion_main!(benches);
