//! What survives, what is replayed, and what replicas must agree on.

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Ballot, Entry, LogIndex, LogTime, NodeId, Payload, StateMachine, TableBatch, Tables};
use kv_machine::{Expect, KvError, KvMachine, schema};

use crate::world::{World, append, entries, entry, payload, put};

#[test]
fn a_power_loss_takes_a_suffix_and_replay_leads_to_the_same_tables() {
    let commands: Vec<_> = (0..10).map(|i| append("log", &i.to_string(), Expect::Any)).collect();
    let log = entries(&commands);
    let mut steady = World::new();
    steady.machine.apply(&log).unwrap();
    for kept in 0..=log.len() {
        let mut world = World::new();
        for entry in &log {
            world.machine.apply(std::slice::from_ref(entry)).unwrap();
        }
        world.tables.crash(kept);
        let mut world = world.restart();
        assert_eq!(world.applied_index(), LogIndex(kept as u64));
        world.machine.apply(&log[kept..]).unwrap();
        assert_eq!(world.digest(), steady.digest(), "{kept} batches survived");
    }
}

#[test]
fn persisted_trails_applied_until_a_flush() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("b", "2");
    assert_eq!(world.machine.persisted().unwrap(), LogIndex(0));
    world.tables.persist(1);
    assert_eq!(world.machine.persisted().unwrap(), LogIndex(1));
    world.machine.flush().unwrap();
    assert_eq!(world.machine.persisted().unwrap(), LogIndex(2));
}

#[test]
fn a_slice_is_one_batch() {
    let mut world = World::new();
    let log = entries(&[put("k", "a", Expect::Any), append("k", "b", Expect::Any), put("l", "c", Expect::Any)]);
    world.machine.apply(&log).unwrap();
    assert_eq!(world.tables.unflushed(), 1);
}

#[test]
#[should_panic(expected = "without a gap")]
fn entries_with_a_gap_stop_the_machine() {
    let _unreachable = World::new().machine.apply(&[entry(2, Payload::Noop)]);
}

#[test]
fn entries_without_a_command_are_applied_and_answered_with_nothing() {
    let mut world = World::new();
    let replies = world.machine.apply(&[entry(1, Payload::Noop), entry(2, Payload::Tick)]).unwrap();
    assert_eq!(replies, [Bytes::new(), Bytes::new()]);
    assert_eq!((world.applied_index(), world.machine.revision()), (LogIndex(2), 0));
}

#[test]
fn log_time_is_the_highest_so_far_and_never_goes_back() {
    let mut world = World::new();
    let at = |index, millis| {
        let template = entry(index, Payload::Tick);
        Arc::new(Entry { log_time: LogTime { millis }, ..(*template).clone() })
    };
    world.machine.apply(&[at(1, 50), at(2, 20)]).unwrap();
    assert_eq!(world.machine.applied().unwrap().log_time, LogTime { millis: 50 });
    world.machine.apply(&[at(3, 40)]).unwrap();
    assert_eq!(world.restart().machine.applied().unwrap().log_time, LogTime { millis: 50 });
}

#[test]
fn replicas_that_hold_a_value_under_different_ballots_have_one_digest() {
    let under = |round| {
        let mut world = World::new();
        let template = entry(1, payload(put("k", "v", Expect::Any).encode().unwrap()));
        world.machine.apply(&[Arc::new(template.under(Ballot::new(round, NodeId(round))))]).unwrap();
        world.restart()
    };
    let (first, second) = (under(1), under(2));
    assert_eq!(first.digest(), second.digest());
    assert_eq!(second.machine.applied().unwrap().position.ballot, Ballot::new(2, NodeId(2)));
}

#[test]
fn the_digest_tells_any_two_states_apart() {
    let mut digests = std::collections::BTreeSet::new();
    let mut world = World::new();
    digests.insert(world.digest());
    world.put("a", "bc");
    digests.insert(world.digest());
    world.put("a", "bc");
    digests.insert(world.digest());
    let mut other = World::new();
    other.put("ab", "c");
    digests.insert(other.digest());
    let mut sessions = TableBatch::default();
    sessions.put(schema::SESSIONS, &b"client"[..], &b"1"[..]);
    other.tables.write(sessions).unwrap();
    digests.insert(other.digest());
    assert_eq!(digests.len(), 5);
}

#[test]
fn a_checkpoint_is_a_machine_that_goes_on_by_itself() {
    let mut world = World::new();
    world.put("k", "a");
    let mut copy = World::over(world.tables.checkpoint());
    assert_eq!((copy.digest(), copy.machine.persisted().unwrap()), (world.digest(), LogIndex(1)));
    world.put("k", "b");
    copy.put("k", "b");
    assert_eq!(copy.digest(), world.digest());
}

#[test]
fn a_damaged_record_is_an_error_and_never_a_blank_machine() {
    let world = World::new();
    let mut damage = TableBatch::default();
    damage.put(schema::META, schema::PROGRESS_KEY, &b"damage"[..]);
    world.tables.write(damage).unwrap();
    assert!(matches!(KvMachine::open(world.tables.clone()), Err(KvError::Damaged { .. })));
    let mut foreign = TableBatch::default();
    foreign.put(schema::DATA, &b"k"[..], &b"\x09"[..]);
    world.tables.write(foreign).unwrap();
    assert!(matches!(world.reader().get(b"k"), Err(KvError::Damaged { .. })));
}

#[test]
fn a_view_stays_as_it_was() {
    let mut world = World::new();
    world.put("k", "a");
    let tables = world.tables.clone();
    let view = tables.view();
    world.put("k", "b");
    let in_view = view.get(schema::DATA, b"k").unwrap();
    assert!(in_view.is_some_and(|stored| stored.ends_with(b"a")));
}

#[test]
fn short_commands_with_large_outcomes_are_applied_a_batch_at_a_time() {
    let mut world = World::new();
    let large = "x".repeat(1 << 20);
    let commands: Vec<_> = (0..40).map(|i| put(&format!("k{i}"), &large, Expect::Any)).collect();
    let log = entries(&commands);
    let mut applied = 0;
    let mut batches = 0;
    while applied < log.len() {
        let replies = world.machine.apply(&log[applied..]).unwrap();
        assert!((1..=17).contains(&replies.len()), "{} mebibytes in one batch", replies.len());
        applied += replies.len();
        batches += 1;
        assert_eq!(world.applied_index(), LogIndex(applied as u64));
    }
    assert!(batches > 1);
    let mut one_by_one = World::new();
    for entry in &log {
        one_by_one.machine.apply(std::slice::from_ref(entry)).unwrap();
    }
    assert_eq!(world.digest(), one_by_one.digest());
}
