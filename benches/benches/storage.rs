//! The log on the disk beneath the target folder: appending by batch, with one sync each and without, reading back,
//! trimming.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use benches::entries::commands;
use consensus_api::{EngineName, Era, GroupId, LogIndex, LogPosition, LogStore, NodeId, SharedEntry, Write, WriteId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kv_machine::schema;
use storage_rocks::{Expected, Store, StoreOptions};
use tempfile::TempDir;

const VALUE_BYTES: usize = 256;
/// Every so many entries the log is trimmed, off the clock, as a snapshot would have it.
const KEPT: u64 = 65_536;
/// How many entries are read back, or trimmed away, at a time.
const RANGE: u64 = 1_000;

/// A log with the directory that it is in.
struct Log {
    store: Store,
    next: LogIndex,
    write: WriteId,
    _directory: TempDir,
}

impl Log {
    fn blank(sync: bool) -> Log {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let expected = Expected { node: NodeId(1), engine: EngineName::new("raft"), group: GroupId(0), era: Era(0) };
        let options = StoreOptions { sync, tables: &schema::TABLES };
        let store = Store::open(directory.path(), expected, options).unwrap();
        Log { store, next: LogIndex(1), write: WriteId(0), _directory: directory }
    }

    fn following(&self, count: u64) -> Vec<SharedEntry> {
        commands(self.next.0, count, VALUE_BYTES)
    }

    fn append(&mut self, entries: Vec<SharedEntry>) {
        self.next = entries.last().unwrap().index.next();
        self.write = WriteId(self.write.0 + 1);
        self.store.log.write(&[Write { id: self.write, entries, ..Write::default() }]).unwrap();
    }

    fn trim(&self) {
        let ballot = commands(1, 1, 0)[0].ballot;
        self.store.log.trim(LogPosition { index: self.next.previous(), ballot }).unwrap();
    }
}

fn append(criterion: &mut Criterion) {
    for (name, sync) in [("storage/append", true), ("storage/append-without-sync", false)] {
        let mut group = criterion.benchmark_group(name);
        for batch in [1, 64, 512] {
            group.throughput(Throughput::Elements(batch));
            let mut log = None;
            group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
                let log = log.get_or_insert_with(|| Log::blank(sync));
                bencher.iter_custom(|iterations| {
                    let mut took = Duration::ZERO;
                    for _ in 0..iterations {
                        let entries = log.following(batch);
                        let since = Instant::now();
                        log.append(entries);
                        took += since.elapsed();
                        if log.next.0 - log.store.log.base().index.0 > KEPT {
                            log.trim();
                        }
                    }
                    took
                });
            });
        }
        group.finish();
    }
}

fn read_back(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage/read-back");
    group.throughput(Throughput::Elements(RANGE));
    let (mut log, mut first) = (None, 1);
    group.bench_function(BenchmarkId::from_parameter(RANGE), |bencher| {
        let log = log.get_or_insert_with(|| {
            let mut log = Log::blank(false);
            (0..16).for_each(|_| log.append(log.following(RANGE)));
            log
        });
        bencher.iter(|| {
            let read = log.store.log.read(LogIndex(first)..=LogIndex(first + RANGE - 1), usize::MAX).unwrap();
            assert_eq!(read.len() as u64, RANGE);
            first = (first + RANGE) % (15 * RANGE);
            read
        });
    });
    group.finish();
}

fn trim(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage/trim");
    group.throughput(Throughput::Elements(RANGE));
    let mut log = None;
    group.bench_function(BenchmarkId::from_parameter(RANGE), |bencher| {
        let log = log.get_or_insert_with(|| Log::blank(false));
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                log.append(log.following(RANGE));
                let since = Instant::now();
                log.trim();
                took += since.elapsed();
            }
            took
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = append, read_back, trim
}
criterion_main!(benches);
