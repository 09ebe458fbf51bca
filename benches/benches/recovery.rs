//! An engine that starts over what its disk holds: the state is checked, the recent entries taken into memory. The reading
//! itself is `storage`'s.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use benches::engines::{config, founders};
use benches::entries::commands;
use consensus_api::ballot_runs::BallotRuns;
use consensus_api::{
    Ballot, Engine, HardState, Limits, LogIndex, LogPosition, MonoTime, NodeId, Recovered, RecoveredLog,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

/// How many of the last entries the tables have not applied.
const UNAPPLIED: u64 = 64;

/// A disk with so many entries of 256 B, written under one leader.
fn recovered(entries: u64) -> Recovered {
    let ballot = Ballot::new(3, NodeId(1));
    let (tail, applied) = (commands(1, entries, 256), LogIndex(entries - UNAPPLIED));
    let mut runs = BallotRuns::default();
    tail.iter().for_each(|entry| runs.set(entry.index, entry.ballot));
    let hard_state = HardState { ballot, pledge: Duration::ZERO }.encode();
    let log = RecoveredLog { hard_state: Some(hard_state), commit: applied, runs, tail, memberships: vec![] };
    Recovered { applied: LogPosition { index: applied, ballot }, log, ..Recovered::blank(founders(3)) }
}

fn recover<E: Engine>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    for entries in [1_000, 100_000] {
        let found = recovered(entries);
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::new(E::NAME.to_string(), entries), |bencher| {
            let start =
                |found| E::recover(config(NodeId(2), Limits::default()), found, MonoTime::from_micros(1)).unwrap();
            bencher.iter_batched(|| found.clone(), start, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn engines(criterion: &mut Criterion) {
    recover::<Raft>(criterion);
    recover::<MultiPaxos>(criterion);
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
