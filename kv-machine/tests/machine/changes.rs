//! The recent changes, as a watch reads them.

use std::sync::mpsc::channel;

use consensus_api::{SnapshotStore, StateMachine};
use kv_machine::{Change, ChangeLimits, Changes, Command, Expect, MemorySnapshots, ScanRange};

use crate::snapshots::send;
use crate::world::{World, always, append, blob, entries, item, put, txn_put};

const ALL: ChangeLimits = ChangeLimits { changes_max: usize::MAX, bytes_max: usize::MAX };

fn read(world: &World, prefix: &str, from_revision: u64, limits: ChangeLimits) -> Changes {
    world.reader().changes(&ScanRange::prefix(prefix.to_owned()), from_revision, limits).unwrap()
}

fn page(changes: Vec<Change>, next_revision: u64) -> Changes {
    Changes::Page { changes, next_revision }
}

fn wrote(key: &str, value: &str, version: u64, created: u64, revision: u64) -> Change {
    Change { revision, key: blob(key), item: Some(item(value, version, created, revision)) }
}

fn removed(key: &str, revision: u64) -> Change {
    Change { revision, key: blob(key), item: None }
}

/// Revision 1: a; 2: b; 3: a again; 4: b is gone, c, a once more; all in one slice.
fn one_slice() -> World {
    let mut world = World::new();
    let at_once = always(vec![kv_machine::Operation::Delete { key: blob("b") }, txn_put("c", "4"), txn_put("a", "4")]);
    let commands = [
        put("a", "1", Expect::Any),
        put("b", "2", Expect::Any),
        append("a", "3", Expect::Any),
        Command::Delete { key: blob("absent"), expect: Expect::Any },
        at_once,
    ];
    world.machine.apply(&entries(&commands)).unwrap();
    world
}

fn all_of_one_slice() -> Vec<Change> {
    vec![
        wrote("a", "1", 1, 1, 1),
        wrote("b", "2", 1, 2, 2),
        wrote("a", "13", 2, 1, 3),
        removed("b", 4),
        wrote("c", "4", 1, 4, 4),
        wrote("a", "4", 3, 1, 4),
    ]
}

#[test]
fn every_change_of_a_slice_is_there_in_order() {
    assert_eq!(read(&one_slice(), "", 0, ALL), page(all_of_one_slice(), 5));
    assert_eq!(read(&one_slice().restart(), "", 3, ALL), page(all_of_one_slice().split_off(2), 5));
}

#[test]
fn the_changes_of_one_revision_come_together() {
    let world = one_slice();
    let of = |changes_max| ChangeLimits { changes_max, ..ALL };
    assert_eq!(read(&world, "", 1, of(3)), page(all_of_one_slice()[..3].to_vec(), 4));
    assert_eq!(read(&world, "", 1, of(4)), page(all_of_one_slice()[..3].to_vec(), 4));
    assert_eq!(read(&world, "", 1, of(5)), page(all_of_one_slice()[..3].to_vec(), 4));
    assert_eq!(read(&world, "", 4, of(1)), page(all_of_one_slice()[3..].to_vec(), 5));
    assert_eq!(read(&world, "", 1, of(1)), page(all_of_one_slice()[..1].to_vec(), 2));
    assert_eq!(read(&world, "", 1, of(0)), page(all_of_one_slice()[..1].to_vec(), 2));
    let of = |bytes_max| ChangeLimits { bytes_max, ..ALL };
    assert_eq!(read(&world, "", 1, of(300)), page(all_of_one_slice()[..2].to_vec(), 3));
}

#[test]
fn a_watch_of_a_prefix_passes_what_is_not_its_own() {
    let world = one_slice();
    assert_eq!(read(&world, "c", 1, ALL), page(vec![wrote("c", "4", 1, 4, 4)], 5));
    assert_eq!(read(&world, "nothing", 1, ALL), page(Vec::new(), 5));
}

#[test]
fn a_page_beyond_the_present_is_empty() {
    let world = one_slice();
    assert_eq!(read(&world, "", 5, ALL), page(Vec::new(), 5));
    assert_eq!(read(&world, "", 9, ALL), page(Vec::new(), 9));
    assert_eq!(read(&World::new(), "", 0, ALL), page(Vec::new(), 1));
}

#[test]
fn the_oldest_slices_go_where_there_are_too_many_bytes() {
    let mut world = World::new();
    world.machine.keep_changes(1_000);
    let value = "x".repeat(100);
    for revision in 1..=50 {
        assert_eq!(world.machine.revision() + 1, revision);
        world.put("k", &value);
        let kept = world.history_bytes();
        assert!(kept <= 1_000, "{kept} bytes are kept");
        assert!(revision < 8 || kept >= 700, "only {kept} bytes are kept");
        if revision == 25 {
            world = world.restart();
            world.machine.keep_changes(1_000);
        }
    }
    let Changes::Compacted { first_revision } = read(&world, "", 1, ALL) else { panic!("all of it is kept") };
    assert_eq!(read(&world, "", first_revision - 1, ALL), Changes::Compacted { first_revision });
    let Changes::Page { changes, next_revision: 51 } = read(&world, "", first_revision, ALL) else {
        panic!("compacted")
    };
    let revisions: Vec<u64> = changes.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (first_revision..=50).collect::<Vec<u64>>());
}

#[test]
fn the_newest_slice_is_kept_whatever_it_takes() {
    let mut world = World::new();
    world.machine.keep_changes(0);
    world.put("k", "1");
    world.put("k", "2");
    assert_eq!(read(&world, "", 1, ALL), Changes::Compacted { first_revision: 2 });
    assert_eq!(read(&world, "", 2, ALL), page(vec![wrote("k", "2", 2, 1, 2)], 3));
}

#[test]
fn tables_without_a_history_have_it_from_now_on() {
    let mut world = one_slice();
    world.drop_history();
    world.machine.reopened().unwrap();
    assert_eq!(read(&world, "", 1, ALL), Changes::Compacted { first_revision: 5 });
    world.put("d", "5");
    assert_eq!(read(&world, "", 4, ALL), Changes::Compacted { first_revision: 5 });
    assert_eq!(read(&world, "", 5, ALL), page(vec![wrote("d", "5", 1, 5, 5)], 6));
}

#[test]
fn a_history_with_a_gap_is_read_up_to_it_and_from_behind_it() {
    let mut world = World::new();
    for revision in 1..=3 {
        world.put("k", &revision.to_string());
        if revision == 2 {
            world.drop_history();
        }
    }
    assert_eq!(read(&world, "", 1, ALL), Changes::Compacted { first_revision: 3 });
    let mut world = one_slice();
    world.put("d", "5");
    world.drop_newest_of_history();
    world.machine.reopened().unwrap();
    world.put("d", "6");
    assert_eq!(read(&world, "", 1, ALL), page(all_of_one_slice(), 5));
    assert_eq!(read(&world, "", 5, ALL), Changes::Compacted { first_revision: 6 });
    assert_eq!(read(&world, "", 6, ALL), page(vec![wrote("d", "6", 2, 5, 6)], 7));
}

#[test]
fn the_history_is_a_nodes_own_and_in_no_digest() {
    let mut short = World::new();
    short.machine.keep_changes(0);
    let mut long = World::new();
    for world in [&mut short, &mut long] {
        world.put("k", "1");
        world.put("k", "2");
    }
    assert_eq!(short.digest(), long.digest());
}

#[test]
fn a_snapshot_brings_the_history_of_its_source() {
    let source = one_slice();
    let mut other = World::new();
    other.put("its own", "x");
    let (announced, heard) = channel();
    other.machine.announce(Box::new(move |revision| announced.send(revision).unwrap()));
    let (from, to) = (MemorySnapshots::new(source.tables.clone()), MemorySnapshots::new(other.tables.clone()));
    let manifest = send(&from, &to);
    to.install(manifest.id).unwrap();
    other.machine.reopened().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [4]);
    assert_eq!(read(&other, "", 1, ALL), page(all_of_one_slice(), 5));
    other.put("d", "5");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [5]);
    assert_eq!(read(&other, "", 5, ALL), page(vec![wrote("d", "5", 1, 5, 5)], 6));
}

#[test]
fn each_new_revision_is_announced_once_its_changes_can_be_read() {
    let mut world = World::new();
    let reader = world.reader();
    let (announced, heard) = channel();
    world.machine.announce(Box::new(move |revision| {
        let found = reader.changes(&ScanRange::prefix(""), revision, ALL).unwrap();
        announced.send((revision, found)).unwrap();
    }));
    world.put("k", "1");
    world.delete("absent");
    world.put("k", "2");
    let heard: Vec<_> = heard.try_iter().collect();
    let expected = [(1, page(vec![wrote("k", "1", 1, 1, 1)], 2)), (2, page(vec![wrote("k", "2", 2, 1, 2)], 3))];
    assert_eq!(heard, expected);
}

#[test]
fn what_a_power_loss_takes_of_the_data_it_takes_of_the_history() {
    let mut world = World::new();
    for number in 1..=5 {
        world.put("k", &number.to_string());
    }
    world.tables.crash(3);
    let mut world = world.restart();
    let Changes::Page { changes, next_revision: 4 } = read(&world, "", 1, ALL) else { panic!("compacted") };
    assert_eq!(changes.len(), 3);
    world.put("k", "another");
    assert_eq!(read(&world, "", 4, ALL), page(vec![wrote("k", "another", 4, 1, 4)], 5));
}
