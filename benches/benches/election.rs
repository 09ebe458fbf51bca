//! What it takes to replace a leader that left entries which the others have accepted and nobody knows to be committed: the
//! open tail. Without I/O and without timeouts: from the moment at which a replica begins to campaign.
//!
//! `leads`: until it takes itself for the leader. Raft's candidate has proved by its last entry alone that it has all it
//! needs; Multi-Paxos's is sent what was accepted. `applied`: until all of that is applied at the new leader.
//!
//! Our engines refuse more open entries than [`Limits::open_entries_max`](consensus_api::Limits), which is 4,096 by
//! default; here they may have as many as the tail has.

#![allow(missing_docs, clippy::unwrap_used)]

mod rivals;

use std::time::Duration;

use benches::Cluster;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use rivals::Failover;
use rivals::omnipaxos::OmniPaxosReplicas;
use rivals::raft_rs::RaftRs;

const VALUE: [u8; 16] = [7; 16];

fn replace_leader<S: Failover>(group: &mut BenchmarkGroup<'_, WallTime>, entries: u64) {
    let leaderless = || S::with_open_tail(entries, &VALUE);
    group.bench_function(BenchmarkId::new(S::NAME, "leads"), |bencher| {
        bencher.iter_batched_ref(leaderless, S::elect, BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new(S::NAME, "applied"), |bencher| {
        let replace = |replicas: &mut S| {
            replicas.elect();
            assert_eq!(replicas.finish(), entries * VALUE.len() as u64, "nothing of the tail is lost");
        };
        bencher.iter_batched_ref(leaderless, replace, BatchSize::PerIteration);
    });
}

fn elections(criterion: &mut Criterion) {
    for entries in [0, 1_000, 100_000] {
        let mut group = criterion.benchmark_group(format!("election/3-nodes/{entries}-open"));
        group.sampling_mode(SamplingMode::Flat);
        replace_leader::<Cluster<Raft>>(&mut group, entries);
        replace_leader::<Cluster<MultiPaxos>>(&mut group, entries);
        replace_leader::<RaftRs>(&mut group, entries);
        replace_leader::<OmniPaxosReplicas>(&mut group, entries);
        group.finish();
    }
}

// Short, because to make each leaderless group takes many times as long as what is measured.
criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(50));
    targets = elections
}
criterion_main!(benches);
