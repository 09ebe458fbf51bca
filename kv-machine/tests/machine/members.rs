//! Who the members are is part of what the machine is: it changes with the log, and with nothing else.

use std::sync::Arc;

use consensus_api::membership::VOID_REPLY;
use consensus_api::{
    AppliedMembership, Ballot, Entry, LogIndex, Membership, NodeId, Payload, RequestId, SnapshotStore, StateMachine,
};
use kv_machine::{KvError, MemorySnapshots, disband};

use crate::snapshots::send;
use crate::world::{World, entry, founded, naming, voters};

/// What the machine says of the members.
fn told(world: &World) -> AppliedMembership {
    world.machine.applied().unwrap().membership.unwrap()
}

/// The members of a world that was founded by node 1, and to which these were named in turn, each by an entry.
fn changed(changes: &[(u64, &[u64])]) -> World {
    let mut world = World::new();
    world.machine.found(voters([1])).unwrap();
    for (version, nodes) in changes {
        assert_eq!(world.name(naming(*version, nodes)), b"".as_ref());
    }
    world
}

#[test]
fn founders_are_named_once_and_survive_a_power_loss() {
    let mut world = World::new();
    assert_eq!(world.machine.applied().unwrap().membership, None);
    world.machine.found(voters([1, 2, 3])).unwrap();
    world.tables.crash(0);
    let mut world = world.restart();
    assert_eq!(world.machine.applied().unwrap().membership, Some(founded([1, 2, 3])));
    world.machine.found(voters([1, 2, 3])).unwrap();
    assert!(matches!(world.machine.found(voters([1, 2])), Err(KvError::AlreadyFounded)));
}

#[test]
fn a_machine_that_has_applied_entries_is_not_founded_any_more() {
    let mut world = World::new();
    world.put("k", "v");
    assert!(matches!(world.machine.found(voters([1])), Err(KvError::AlreadyFounded)));
}

#[test]
fn a_disbanded_machine_keeps_its_data_and_takes_new_founders() {
    let digest_of_founded_again = |ballot: u64| {
        let mut world = World::new();
        world.machine.found(voters([1, 2, 3])).unwrap();
        world.put("k", "v");
        let last = Entry { ballot: Ballot::new(ballot, NodeId(1)), ..Entry::clone(&entry(2, Payload::Noop)) };
        world.machine.apply(&[Arc::new(last)]).unwrap();
        let before = world.machine.applied().unwrap();
        disband(&*world.tables).unwrap();
        world.tables.crash(0);
        let mut world = world.restart();
        let after = world.machine.applied().unwrap();
        assert_eq!((after.position.index, after.log_time), (before.position.index, before.log_time));
        assert_eq!((after.position.ballot, after.membership), (Ballot::ZERO, None));
        world.machine.found(voters([4, 5])).unwrap();
        assert!(matches!(world.machine.found(voters([6])), Err(KvError::AlreadyFounded)));
        world.tables.crash(0);
        let world = world.restart();
        assert_eq!(world.machine.applied().unwrap().membership, Some(founded([4, 5])));
        assert_eq!(world.machine.revision(), 1);
        world.digest()
    };
    assert_eq!(digest_of_founded_again(1), digest_of_founded_again(7), "old ballots leave no trace");
}

#[test]
fn an_entry_that_names_the_next_members_is_taken_and_those_before_are_told_too() {
    let world = changed(&[(1, &[1, 2]), (2, &[2, 3])]).restart();
    let (latest, previous) = (naming(2, &[2, 3]), Some(naming(1, &[1, 2])));
    let told = told(&world);
    assert_eq!(told, AppliedMembership { latest, since: LogIndex(2), previous, voted: told.voted.clone() });
}

#[test]
fn an_entry_that_was_meant_for_other_members_says_so_and_changes_nothing() {
    let mut world = changed(&[(1, &[1, 2])]);
    let (before, content) = (told(&world), world.content());
    for (version, nodes) in [(1, [1, 3]), (3, [1, 2]), (0, [1, 2])] {
        assert_eq!(world.name(naming(version, &nodes)), VOID_REPLY);
        assert_eq!((told(&world), world.content()), (before.clone(), content.clone()));
    }
    assert_eq!(told(&world.restart()), before);
}

#[test]
fn a_stop_sign_names_members_by_the_same_rule() {
    let mut world = changed(&[]);
    let stop_sign = |version, nodes: &[u64]| Payload::StopSign {
        id: RequestId::default(),
        engine: consensus_api::EngineName::new("next"),
        membership: naming(version, nodes),
    };
    assert_eq!(world.apply_next(stop_sign(2, &[1, 2])), VOID_REPLY);
    assert_eq!(world.apply_next(stop_sign(1, &[1, 2])), b"".as_ref());
    assert_eq!(told(&world).latest, naming(1, &[1, 2]));
}

#[test]
fn a_change_and_one_that_it_made_void_in_the_same_slice_are_told_apart() {
    let mut world = changed(&[]);
    let entries = [(1, vec![1, 2]), (1, vec![1, 3]), (2, vec![1, 4])];
    let entries: Vec<_> =
        (1..).zip(entries).map(|(index, (version, nodes))| entry(index, named(naming(version, &nodes)))).collect();
    assert_eq!(world.machine.apply(&entries).unwrap(), [b"".as_ref(), VOID_REPLY, b"".as_ref()]);
    let (latest, previous) = (naming(2, &[1, 4]), Some(naming(1, &[1, 2])));
    let told = told(&world.restart());
    assert_eq!(told, AppliedMembership { latest, since: LogIndex(3), previous, voted: told.voted.clone() });
}

#[test]
fn members_are_part_of_the_digest_and_so_are_those_before_and_where_they_changed() {
    let same = |one: &[(u64, &[u64])], idle| {
        let mut world = changed(one);
        (0..idle).for_each(|_| drop(world.apply_next(Payload::Noop)));
        world.digest()
    };
    assert_eq!(same(&[(1, &[1, 2])], 1), same(&[(1, &[1, 2])], 1));
    assert_ne!(same(&[(1, &[1, 2])], 1), same(&[(1, &[1, 3])], 1));
    assert_ne!(same(&[(1, &[1, 2]), (2, &[1])], 0), same(&[(1, &[1, 3]), (2, &[1])], 0));
    let mut later = changed(&[]);
    later.apply_next(Payload::Noop);
    later.name(naming(1, &[1, 2]));
    assert_ne!(later.digest(), same(&[(1, &[1, 2])], 1));
}

#[test]
fn a_power_loss_takes_a_change_and_the_log_brings_it_back() {
    let mut world = changed(&[]);
    world.machine.flush().unwrap();
    world.name(naming(1, &[1, 2]));
    world.tables.crash(0);
    let mut world = world.restart();
    let applied = world.applied_index();
    assert_eq!((applied, told(&world)), (LogIndex::ZERO, founded([1])));
    world.name(naming(1, &[1, 2]));
    assert_eq!(told(&world).latest, naming(1, &[1, 2]));
}

#[test]
fn a_checkpoint_between_a_change_and_its_coming_into_force_tells_who_decides_when() {
    let mut world = changed(&[(1, &[1, 2])]);
    let copy = World::over(world.tables.checkpoint());
    assert_eq!(told(&copy), told(&world));
    let window = 4;
    assert_eq!(told(&copy).in_force_from(window), LogIndex(5));
    assert_eq!(**told(&copy).governing(LogIndex(4), window), *voters([1]));
    assert_eq!(*told(&copy).governing(LogIndex(5), window), naming(1, &[1, 2]));
    world.name(naming(2, &[2]));
    assert_eq!(told(&copy).latest.version, 1, "a checkpoint stays as it was");
}

#[test]
fn a_snapshot_carries_the_members_the_previous_ones_and_where_they_changed() {
    let source = changed(&[(1, &[1, 2]), (2, &[1, 2, 3])]);
    let mut other = World::new();
    other.machine.found(voters([1])).unwrap();
    let (from, to) = (MemorySnapshots::new(source.tables.clone()), MemorySnapshots::new(other.tables.clone()));
    let manifest = send(&from, &to);
    assert_eq!(manifest.membership, *naming(2, &[1, 2, 3]));
    to.install(manifest.id).unwrap();
    assert_eq!(other.machine.reopened().unwrap().membership, Some(told(&source)));
    assert_eq!(other.digest(), source.digest());
    assert_eq!(other.name(naming(2, &[4])), VOID_REPLY, "it knows what has changed before");
    assert_eq!(other.name(naming(3, &[4])), b"".as_ref());
}

fn named(membership: Arc<Membership>) -> Payload {
    Payload::Membership { id: RequestId::default(), membership }
}
