//! Snapshots in memory, and what the machine makes of tables that were exchanged beneath it.

use std::sync::Arc;

use consensus_api::testkit::snapshot_store::{self, Life, SnapshotDisk};
use consensus_api::{
    AppliedState, LogIndex, SnapshotId, SnapshotManifest, SnapshotStore, StateMachine, TableBatch, codec,
};
use kv_machine::{MemorySnapshotError, MemorySnapshots, MemoryTables, schema};

use crate::world::World;

/// Tables and snapshots that outlive every life.
struct Memory {
    tables: Arc<MemoryTables>,
    store: Arc<MemorySnapshots>,
}

impl Memory {
    fn blank() -> Memory {
        let tables = Arc::new(MemoryTables::new());
        Memory { store: Arc::new(MemorySnapshots::new(tables.clone())), tables }
    }
}

impl SnapshotDisk for Memory {
    type Tables = MemoryTables;
    type Store = MemorySnapshots;

    fn open(&mut self) -> Life<Memory> {
        Life { tables: self.tables.clone(), store: self.store.clone() }
    }

    fn crash(&mut self, _: Life<Memory>) {
        self.tables.crash(0);
        self.store.crash(true);
    }

    fn stamp(batch: &mut TableBatch, applied: &AppliedState) {
        let AppliedState { position, log_time, membership } = applied;
        let progress = schema::Progress { index: position.index, log_time: *log_time, revision: 1 };
        batch.put(schema::META, schema::PROGRESS_KEY, codec::encode(&progress).unwrap());
        batch.put(schema::META, schema::POSITION_KEY, codec::encode(position).unwrap());
        batch.put(schema::META, schema::MEMBERS_KEY, codec::encode(membership.as_ref().unwrap()).unwrap());
    }

    /// There are two: before it and after it.
    fn crash_during_install(&mut self, manifest: &SnapshotManifest, point: u32) -> bool {
        if point > 0 {
            self.store.install(manifest.id).unwrap();
        }
        self.tables.crash(0);
        self.store.crash(true);
        point < 2
    }

    fn spoil_kept(&mut self, id: SnapshotId, offset: u64) {
        assert!(self.store.spoil(id, offset));
    }

    fn spoil_received(&mut self, manifest: &SnapshotManifest, offset: u64) {
        assert!(self.store.spoil(manifest.id, offset));
    }

    fn strays(&self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn snapshots_in_memory_do_what_every_store_of_them_must() {
    snapshot_store::run_all(Memory::blank);
}

/// The stream of the newest snapshot of these tables, passed on to another store.
pub(crate) fn send(from: &MemorySnapshots, to: &MemorySnapshots) -> Arc<SnapshotManifest> {
    let manifest = from.take().unwrap();
    let mut offset = to.receive(&manifest).unwrap();
    while offset < manifest.bytes() {
        let bytes = from.read(manifest.id, offset, 100).unwrap().unwrap();
        offset = to.append(manifest.id, offset, &bytes).unwrap();
    }
    manifest
}

#[test]
fn a_machine_goes_on_from_the_tables_that_were_exchanged_beneath_it() {
    let mut source = World::new();
    for number in 0..50 {
        source.put(&format!("key {number}"), "a value");
    }
    let mut other = World::new();
    other.put("its own", "value");
    let (from, to) = (MemorySnapshots::new(source.tables.clone()), MemorySnapshots::new(other.tables.clone()));
    let manifest = send(&from, &to);
    to.install(manifest.id).unwrap();
    let state = other.machine.reopened().unwrap();
    assert_eq!((state.position, other.machine.revision()), (manifest.position, 50));
    assert_eq!(other.item("its own"), None);
    assert_eq!(other.digest(), source.digest());
    assert_eq!(other.machine.persisted().unwrap(), LogIndex(50), "what is installed survives a power loss");
    source.put("next", "1");
    other.put("next", "1");
    assert_eq!(other.digest(), source.digest());
}

#[test]
fn a_crash_takes_what_is_being_received_or_leaves_it() {
    let mut source = World::new();
    (0..20).for_each(|number| drop(source.put(&format!("key {number}"), "a value")));
    let from = MemorySnapshots::new(source.tables.clone());
    for (survives, expected) in [(true, 100), (false, 0)] {
        let to = MemorySnapshots::new(World::new().tables);
        let manifest = from.take().unwrap();
        to.receive(&manifest).unwrap();
        let first = from.read(manifest.id, 0, 100).unwrap().unwrap();
        to.append(manifest.id, 0, &first).unwrap();
        to.crash(survives);
        assert_eq!(to.receive(&manifest).unwrap(), expected);
    }
}

#[test]
fn a_full_disk_leaves_the_tables_and_what_is_kept_as_they_are() {
    let mut world = World::new();
    world.put("a", "1");
    let store = MemorySnapshots::new(world.tables.clone());
    let manifest = store.take().unwrap();
    let before = world.digest();
    store.fill(true);
    assert!(matches!(store.take(), Err(MemorySnapshotError::Full)));
    assert!(matches!(store.receive(&manifest), Err(MemorySnapshotError::Full)));
    assert_eq!((world.digest(), store.kept().unwrap()), (before, vec![manifest]));
    store.fill(false);
    assert!(store.take().is_ok());
}
