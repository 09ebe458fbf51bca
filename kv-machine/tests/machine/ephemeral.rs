//! Keys that live as long as a session: locks, and who is there.

use consensus_api::StateMachine;
use kv_machine::{
    Change, ChangeLimits, Changes, Command, Expect, Item, Operation, Reply, Request, SESSION_KEYS_MAX, ScanRange, Txn,
    disband,
};

use crate::world::{World, always, append, blob, id, item, put, tag};

fn ephemeral(key: &str, value: &str) -> Command {
    Command::PutEphemeral { key: blob(key), value: blob(value), expect: Expect::Any }
}

fn txn_ephemeral(key: &str, value: &str) -> Operation {
    Operation::PutEphemeral { key: blob(key), value: blob(value) }
}

/// A world with sessions 1 and 2, both of a second.
fn world() -> World {
    let mut world = World::new();
    world.open(1, 1_000);
    world.open(2, 1_000);
    world
}

fn end(world: &mut World, session: u128) -> Reply {
    world.run(Command::CloseSession { session: id(session) })
}

fn removed(key: &str, revision: u64) -> Change {
    Change { revision, key: blob(key), item: None }
}

fn changes(world: &World, from_revision: u64) -> Vec<Change> {
    match world.reader().changes(&ScanRange::prefix(""), from_revision, ChangeLimits::default()).unwrap() {
        Changes::Page { changes, .. } => changes,
        Changes::Compacted { first_revision } => panic!("compacted up to {first_revision}"),
    }
}

#[test]
fn an_ephemeral_key_says_who_keeps_it_alive() {
    let mut world = world();
    let reply = world.request(tag(1, 1, 0), ephemeral("lock", "mine"));
    assert_eq!(reply, Reply::Written { version: 1, revision: 1 });
    let expected = Item { session: Some(id(1)), ..item("mine", 1, 1, 1) };
    assert_eq!(world.restart().item("lock"), Some(expected));
}

#[test]
fn the_keys_of_a_session_vanish_at_one_revision_when_it_expires() {
    let mut world = world();
    world.put("stays", "");
    for (number, key) in [(1, "b"), (2, "a"), (3, "c")] {
        world.request(tag(1, number, 0), ephemeral(key, "x"));
    }
    let mut world = world.restart();
    world.request(tag(1, 4, 0), Command::Delete { key: blob("c"), expect: Expect::Any });
    world.tick(world.now() + 1_001);
    assert_eq!(world.machine.revision(), 6);
    assert_eq!(changes(&world, 6), [removed("a", 6), removed("b", 6)]);
    assert_eq!((world.item("a"), world.item("b"), world.value("stays")), (None, None, Some(blob(""))));
    assert_eq!(world.session_records(), 2, "that both have ended");
}

#[test]
fn the_keys_of_a_session_vanish_when_it_is_closed() {
    let mut world = world();
    world.request(tag(1, 1, 0), ephemeral("a", "x"));
    assert_eq!(end(&mut world, 1), Reply::SessionClosed { existed: true, revision: 2 });
    assert_eq!((world.item("a"), world.machine.revision()), (None, 2));
}

#[test]
fn sessions_that_expire_at_one_entry_end_in_the_order_of_their_deadlines() {
    let mut world = world();
    world.request(tag(2, 1, 0), ephemeral("of 2", "x"));
    world.request(tag(1, 1, 0), ephemeral("of 1", "x"));
    world.tick(world.now() + 5_000);
    assert_eq!(changes(&world, 3), [removed("of 2", 3), removed("of 1", 4)]);
}

#[test]
fn a_session_without_keys_ends_without_a_revision() {
    let mut world = world();
    world.tick(world.now() + 5_000);
    assert_eq!(world.machine.revision(), 0);
}

#[test]
fn whoever_writes_a_key_plainly_makes_it_stay() {
    let mut world = world();
    for key in ["put", "appended", "in a txn"] {
        world.run_batch(vec![Request { session: Some(tag(1, key.len() as u64, 0)), command: ephemeral(key, "x") }]);
    }
    // The session itself may do so too.
    world.request(tag(1, 20, 0), put("put", "y", Expect::Any));
    world.run(append("appended", "y", Expect::Any));
    world.run(always(vec![Operation::Put { key: blob("in a txn"), value: blob("y") }]));
    end(&mut world, 1);
    for key in ["put", "appended", "in a txn"] {
        assert_eq!(world.item(key).unwrap().session, None, "{key}");
    }
}

#[test]
fn a_key_belongs_to_the_session_that_wrote_it_ephemerally_last() {
    let mut world = world();
    world.request(tag(1, 1, 0), ephemeral("lock", "of 1"));
    world.request(tag(2, 1, 0), ephemeral("lock", "of 2"));
    end(&mut world, 1);
    assert_eq!(world.value("lock"), Some(blob("of 2")));
    end(&mut world, 2);
    assert_eq!(world.item("lock"), None);
}

#[test]
fn a_key_that_was_deleted_and_made_anew_is_not_the_sessions_any_more() {
    let mut world = world();
    world.request(tag(1, 1, 0), ephemeral("lock", "of 1"));
    world.delete("lock");
    world.put("lock", "plain");
    end(&mut world, 1);
    assert_eq!(world.value("lock"), Some(blob("plain")));
}

#[test]
fn an_ephemeral_write_outside_of_a_session_is_refused_with_its_whole_transaction() {
    let mut world = world();
    assert_eq!(world.run(ephemeral("a", "x")), Reply::SessionNeeded);
    let both = || always(vec![Operation::Put { key: blob("b"), value: blob("x") }, txn_ephemeral("a", "x")]);
    assert_eq!(world.run(both()), Reply::SessionNeeded);
    assert_eq!((world.item("a"), world.item("b"), world.machine.revision()), (None, None, 0));
    assert!(matches!(world.request(tag(1, 1, 0), both()), Reply::Txn { revision: 1, .. }));
    assert_eq!(world.item("a").unwrap().session, Some(id(1)));
}

#[test]
fn a_session_keeps_a_bounded_number_of_keys_alive() {
    let mut world = world();
    let many = |from: usize, to: usize| {
        let then = (from..to).map(|number| txn_ephemeral(&format!("{number:05}"), "x")).collect();
        Command::Txn(Txn { then, ..Txn::default() })
    };
    let step = 128;
    let requests = (0..SESSION_KEYS_MAX / step).map(|part| Request {
        session: Some(tag(1, part as u64 + 1, 0)),
        command: many(part * step, (part + 1) * step),
    });
    world.run_batch(requests.collect());
    let mut world = world.restart();
    let revision = world.machine.revision();
    assert_eq!(world.request(tag(1, 100, 0), ephemeral("one more", "x")), Reply::SessionFull);
    assert_eq!(world.request(tag(1, 101, 0), many(SESSION_KEYS_MAX - 1, SESSION_KEYS_MAX + 1)), Reply::SessionFull);
    assert_eq!(world.machine.revision(), revision);
    assert!(matches!(world.request(tag(1, 102, 0), ephemeral("00007", "y")), Reply::Written { .. }), "it has that one");
    world.delete("00000");
    assert!(matches!(world.request(tag(1, 100, 0), ephemeral("one more", "x")), Reply::Written { .. }));
    end(&mut world, 1);
    assert_eq!(world.reader().scan(&ScanRange::prefix(""), Default::default()).unwrap().items, []);
}

#[test]
fn many_sessions_end_over_several_entries_and_take_nothing_meanwhile() {
    let mut world = World::new();
    let sessions = 5_000;
    for first in (0..sessions).step_by(1_000) {
        let open = |session| Command::OpenSession { session: id(session), ttl_ms: 1_000 }.into();
        world.run_batch((first..first + 1_000).map(open).collect());
    }
    world.at(world.now() + 1_001);
    let last = sessions - 1;
    assert_eq!(world.request(tag(last, 1, 0), put("k", "v", Expect::Any)), Reply::SessionExpired);
    assert_eq!(world.open(last, 1_000), Reply::SessionExpired);
    assert_eq!((world.machine.time_wanted(), world.value("k")), (None, None));
    assert_eq!(world.session_records(), sessions as usize);
}

#[test]
fn a_disbanded_machine_has_no_sessions_and_no_keys_of_theirs() {
    let mut world = world();
    world.put("stays", "x");
    world.request(tag(1, 1, 0), ephemeral("a", "x"));
    world.request(tag(2, 1, 0), ephemeral("b", "x"));
    disband(&*world.tables).unwrap();
    world.tables.crash(0);
    let mut world = world.restart();
    assert_eq!((world.item("a"), world.item("b"), world.value("stays")), (None, None, Some(blob("x"))));
    assert_eq!((world.machine.time_wanted(), world.machine.revision()), (None, 5));
    assert_eq!(changes(&world, 4), [removed("a", 4), removed("b", 5)]);
    assert_eq!(world.open(1, 1_000), Reply::SessionExpired);
    assert_eq!(world.request(tag(2, 1, 0), put("b", "x", Expect::Any)), Reply::SessionExpired);
}
