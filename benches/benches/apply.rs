//! The state machine alone: committed entries applied, over tables in memory and over RocksDB's. The tables' batches
//! are not synced, as in service: the log is.
//!
//! `entries`: so many entries in one step, each with one request. `requests`: one entry with as many.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::entries::command;
use bytes::Bytes;
use consensus_api::{Blob, EngineName, Era, GroupId, NodeId, SharedEntry, StateMachine, Tables};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kv_machine::{
    Batch, Command, Compare, Expect, KvMachine, MemoryTables, Operation, Relation, Replies, Reply, Request, SessionId,
    SessionTag, Target, Txn, schema,
};
use storage_rocks::{Expected, RocksTables, Store, StoreOptions};
use tempfile::TempDir;

const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;
const SESSION: SessionId = SessionId(7);
const HOUR_MS: u64 = 3_600_000;

/// A machine with the index that comes next.
struct World<T: Tables> {
    machine: KvMachine<T>,
    next: u64,
    _directory: Option<TempDir>,
}

impl World<MemoryTables> {
    fn in_memory() -> World<MemoryTables> {
        World { machine: KvMachine::open(Arc::new(MemoryTables::new())).unwrap(), next: 1, _directory: None }
    }
}

impl World<RocksTables> {
    fn on_disk() -> World<RocksTables> {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let expected = Expected { node: NodeId(1), engine: EngineName::new("raft"), group: GroupId(0), era: Era(0) };
        let options = StoreOptions { sync: true, tables: &schema::TABLES };
        let store = Store::open(directory.path(), expected, options).unwrap();
        World { machine: KvMachine::open(store.tables.clone()).unwrap(), next: 1, _directory: Some(directory) }
    }
}

impl<T: Tables> World<T> {
    /// The next entry, with these requests.
    fn entry(&mut self, requests: Vec<Request>) -> SharedEntry {
        let entry = command(self.next, Batch { requests }.encode().unwrap());
        self.next += 1;
        entry
    }

    /// So many entries, each with the request that `make` has for its index.
    fn entries(&mut self, count: u64, make: fn(u64) -> Request) -> Vec<SharedEntry> {
        (0..count).map(|_| self.entry(vec![make(self.next)])).collect()
    }

    /// One entry with as many requests.
    fn packed(&mut self, count: u64, make: fn(u64) -> Request) -> Vec<SharedEntry> {
        let requests = (0..count).map(|place| make(self.next * count + place)).collect();
        vec![self.entry(requests)]
    }

    /// Applies all of them, and returns what the machine says to the last; it may take them in several steps.
    fn apply(&mut self, entries: &[SharedEntry]) -> Bytes {
        let (mut rest, mut last) = (entries, Bytes::new());
        while !rest.is_empty() {
            let mut replies = self.machine.apply(rest).unwrap();
            rest = &rest[replies.len()..];
            last = replies.pop().unwrap();
        }
        last
    }
}

fn value() -> Bytes {
    vec![7; VALUE_BYTES].into()
}

fn key(number: u64) -> Bytes {
    format!("key{:012}", number % KEYS).into()
}

fn put(number: u64) -> Request {
    Command::Put { key: Blob(key(number)), value: Blob(value()), expect: Expect::Any }.into()
}

/// Whether a key exists decides by which branch two others are written.
fn txn(number: u64) -> Request {
    let write = |number| Operation::Put { key: Blob(key(number)), value: Blob(value()) };
    let both = || vec![write(number), write(number + 1)];
    let compare = vec![Compare { key: Blob(key(number + 2)), target: Target::Version(0), relation: Relation::Equal }];
    Command::Txn(Txn { compare, then: both(), otherwise: both() }).into()
}

/// A put with a place in a session, the reply to the one before having arrived.
fn put_in_session(number: u64) -> Request {
    let tag = SessionTag { session: SESSION, number, acked_below: number };
    Request { session: Some(tag), ..put(number) }
}

fn is_done(reply: &Reply) -> bool {
    matches!(reply, Reply::Written { .. } | Reply::Txn { .. })
}

fn with_session<T: Tables>(mut world: World<T>) -> World<T> {
    let open = world.entry(vec![Command::OpenSession { session: SESSION, ttl_ms: HOUR_MS }.into()]);
    world.apply(&[open]);
    world
}

type Prepare<T> = fn(&mut World<T>, u64) -> Vec<SharedEntry>;

fn measure<T: Tables>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, count): (&str, u64),
    blank: fn() -> World<T>,
    prepare: Prepare<T>,
) {
    group.throughput(Throughput::Elements(count));
    let mut world = None;
    group.bench_function(BenchmarkId::new(name, count), |bencher| {
        let world = world.get_or_insert_with(|| with_session(blank()));
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let entries = prepare(world, count);
                let since = Instant::now();
                let reply = world.apply(&entries);
                took += since.elapsed();
                assert!(Replies::decode(&reply).unwrap().replies.iter().all(is_done), "what is measured is done");
            }
            took
        });
    });
}

fn over<T: Tables>(criterion: &mut Criterion, tables: &str, blank: fn() -> World<T>) {
    let mut group = criterion.benchmark_group(format!("apply/{tables}"));
    for count in [1, 64, 512] {
        measure(&mut group, ("puts/entries", count), blank, |world, count| world.entries(count, put));
    }
    for count in [64, 512] {
        measure(&mut group, ("puts/requests", count), blank, |world, count| world.packed(count, put));
    }
    measure(&mut group, ("txns/entries", 64), blank, |world, count| world.entries(count, txn));
    measure(&mut group, ("session-puts/entries", 64), blank, |world, count| world.entries(count, put_in_session));
    group.finish();
}

fn machines(criterion: &mut Criterion) {
    over(criterion, "memory", World::in_memory);
    over(criterion, "rocksdb", World::on_disk);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = machines
}
criterion_main!(benches);
