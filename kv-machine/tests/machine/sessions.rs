//! Exactly-once: what sessions remember, refuse and forget.

use std::time::Duration;

use consensus_api::{Blob, StateMachine};
use kv_machine::{
    BATCH_RESULT_BYTES_MAX, Batch, Command, Expect, KvLimits, MemorySnapshots, Operation, OperationResult, Quantity,
    Replies, Reply, Request, SESSION_REPLIES_MAX, SESSION_REPLY_BYTES_MAX, SESSIONS_MAX, SessionTag,
};

use crate::snapshots::send;
use crate::world::{World, always, append, blob, id, put, tag};

/// An append to `log`, as request `number` of session 1.
fn append_once(world: &mut World, number: u64) -> Reply {
    world.request(tag(1, number, 0), append("log", &format!("{number},"), Expect::Any))
}

#[test]
fn a_copy_of_a_request_has_the_first_reply_and_is_not_carried_out() {
    let mut world = World::new();
    world.open(1, 60_000);
    let first = append_once(&mut world, 1);
    append_once(&mut world, 2);
    assert_eq!(append_once(&mut world, 1), first);
    assert_eq!((first, world.value("log")), (Reply::Written { version: 1, revision: 1 }, Some(blob("1,2,"))));
    let mut world = world.restart();
    assert_eq!(append_once(&mut world, 1), Reply::Written { version: 1, revision: 1 });
    assert_eq!(world.value("log"), Some(blob("1,2,")));
}

#[test]
fn a_copy_in_the_same_batch_has_the_first_reply() {
    let mut world = World::new();
    world.open(1, 60_000);
    let request = || Request { session: Some(tag(1, 1, 0)), command: append("log", "x", Expect::Any) };
    let replies = world.run_batch(vec![request(), request()]);
    assert_eq!(replies, vec![Reply::Written { version: 1, revision: 1 }; 2]);
    assert_eq!(world.value("log"), Some(blob("x")));
}

#[test]
fn a_window_of_requests_arrives_in_any_order() {
    let mut world = World::new();
    world.open(1, 60_000);
    for number in [5, 200, 1, 64, 63, 2] {
        assert!(matches!(append_once(&mut world, number), Reply::Written { .. }));
    }
    for number in [1, 2, 5, 63, 64, 200] {
        append_once(&mut world, number);
    }
    assert_eq!(world.value("log"), Some(blob("5,200,1,64,63,2,")));
}

#[test]
fn whatever_was_answered_is_answered_again() {
    let mut world = World::new();
    world.open(1, 60_000);
    world.put("k", "a");
    let mismatch = world.request(tag(1, 1, 0), put("k", "b", Expect::Version(7)));
    let read = world.request(tag(1, 2, 0), always(vec![Operation::Get { key: blob("k") }]));
    let large = "x".repeat(KvLimits::APPLIED.value_bytes_max + 1);
    let too_large = world.request(tag(1, 3, 0), put("k", &large, Expect::Any));
    let malformed = world.request(tag(1, 4, 0), put("", "b", Expect::Any));
    assert!(matches!((&mismatch, &too_large), (Reply::Mismatch { .. }, Reply::TooLarge { .. })));
    world.put("k", "another");
    let mut world = world.restart();
    for (number, first) in [(1, mismatch), (2, read), (3, too_large), (4, malformed)] {
        assert_eq!(world.request(tag(1, number, 0), put("k", "c", Expect::Any)), first);
    }
    assert_eq!(world.value("k"), Some(blob("another")));
}

#[test]
fn what_is_acknowledged_is_forgotten_and_never_carried_out() {
    let mut world = World::new();
    world.open(1, 60_000);
    (1..=3).for_each(|number| drop(append_once(&mut world, number)));
    world.request(tag(1, 70, 3), append("log", "70,", Expect::Any));
    let mut world = world.restart();
    // An older word of the client does not bring anything back.
    for (number, acked_below) in [(1, 0), (2, 1), (0, 0)] {
        assert_eq!(world.request(tag(1, number, acked_below), put("log", "", Expect::Any)), Reply::Forgotten);
    }
    assert_eq!(append_once(&mut world, 3), Reply::Written { version: 3, revision: 3 });
    assert_eq!(world.value("log"), Some(blob("1,2,3,70,")));
}

#[test]
fn a_request_that_acknowledges_itself_is_not_carried_out() {
    let mut world = World::new();
    world.open(1, 60_000);
    assert_eq!(world.request(tag(1, 5, 6), put("k", "v", Expect::Any)), Reply::Forgotten);
    assert_eq!(world.value("k"), None);
}

#[test]
fn a_request_in_a_session_that_is_not_open_is_not_carried_out() {
    let mut world = World::new();
    assert_eq!(append_once(&mut world, 1), Reply::SessionExpired);
    assert_eq!((world.value("log"), world.machine.revision()), (None, 0));
}

#[test]
fn sessions_do_not_share_their_numbers() {
    let mut world = World::new();
    world.open(1, 60_000);
    world.open(2, 60_000);
    world.request(tag(1, 1, 0), append("log", "a", Expect::Any));
    world.request(tag(2, 1, 0), append("log", "b", Expect::Any));
    assert_eq!(world.value("log"), Some(blob("ab")));
}

#[test]
fn a_time_to_live_is_brought_within_its_bounds() {
    let mut world = World::new();
    let day_ms = 24 * 3_600_000;
    for (asked, ttl_ms) in [(0, 60_000), (1, 1_000), (5_000, 5_000), (u64::MAX, day_ms)] {
        assert_eq!(world.open(1, asked), Reply::SessionOpened { ttl_ms });
    }
}

#[test]
fn a_session_lives_as_long_as_its_client_gives_signs() {
    let mut world = World::new();
    world.open(1, 1_000);
    append_once(&mut world, 1);
    // A request, a copy of one, an opening: each is a sign. The deadline itself is still within.
    world.at(world.now() + 1_000);
    assert!(matches!(append_once(&mut world, 2), Reply::Written { .. }));
    world.at(world.now() + 1_000);
    assert!(matches!(append_once(&mut world, 1), Reply::Written { .. }));
    world.at(world.now() + 1_000);
    assert!(matches!(world.open(1, 1_000), Reply::SessionOpened { .. }));
    world.at(world.now() + 1_000);
    assert!(matches!(append_once(&mut world, 3), Reply::Written { .. }));
    world.at(world.now() + 1_001);
    assert_eq!(append_once(&mut world, 4), Reply::SessionExpired);
    assert_eq!(world.value("log"), Some(blob("1,2,3,")));
}

#[test]
fn an_expired_session_stays_ended_and_its_retries_are_never_carried_out() {
    let mut world = World::new();
    world.open(1, 1_000);
    append_once(&mut world, 1);
    world.tick(world.now() + 1_001);
    let mut world = world.restart();
    assert_eq!(append_once(&mut world, 1), Reply::SessionExpired);
    assert_eq!(world.open(1, 1_000), Reply::SessionExpired);
    assert_eq!(append_once(&mut world, 2), Reply::SessionExpired);
    assert_eq!(world.value("log"), Some(blob("1,")));
}

#[test]
fn an_ended_session_is_remembered_for_a_day() {
    let mut world = World::new();
    world.open(1, 1_000);
    world.run(Command::CloseSession { session: id(1) });
    let ended = world.now();
    world.at(ended + 24 * 3_600_000);
    let mut world = world.restart();
    assert_eq!(world.open(1, 1_000), Reply::SessionExpired);
    world.at(ended + 24 * 3_600_000 + 1);
    assert!(matches!(world.open(1, 1_000), Reply::SessionOpened { .. }));
}

#[test]
fn closing_ends_a_session_once() {
    let mut world = World::new();
    world.open(1, 1_000);
    let close = || Command::CloseSession { session: id(1) };
    assert_eq!(world.run(close()), Reply::SessionClosed { existed: true, revision: 0 });
    assert_eq!(world.run(close()), Reply::SessionClosed { existed: false, revision: 0 });
    assert_eq!(append_once(&mut world, 1), Reply::SessionExpired);
}

#[test]
fn time_is_wanted_only_while_a_session_is_open() {
    let mut world = World::new();
    assert_eq!(world.machine.time_wanted(), None);
    world.open(1, 60_000);
    assert_eq!(world.machine.time_wanted(), Some(Duration::from_secs(1)));
    world.open(2, 1_000);
    let mut world = world.restart();
    assert_eq!(world.machine.time_wanted(), Some(Duration::from_millis(250)));
    world.tick(world.now() + 1_001);
    assert_eq!(world.machine.time_wanted(), Some(Duration::from_secs(1)));
    world.run(Command::CloseSession { session: id(1) });
    assert_eq!(world.machine.time_wanted(), None);
}

#[test]
fn as_many_sessions_are_open_as_may_be_and_no_more() {
    let mut world = World::new();
    let open = |session: usize| Request::from(Command::OpenSession { session: id(session as u128), ttl_ms: 0 });
    for first in (0..SESSIONS_MAX).step_by(Batch::REQUESTS_MAX) {
        world.run_batch((first..first + Batch::REQUESTS_MAX).map(open).collect());
    }
    assert_eq!(world.run_batch(vec![open(SESSIONS_MAX)]), [Reply::SessionFull]);
    assert!(matches!(world.run_batch(vec![open(0)])[..], [Reply::SessionOpened { .. }]), "it is open");
    world.run(Command::CloseSession { session: id(0) });
    assert!(matches!(world.run_batch(vec![open(SESSIONS_MAX)])[..], [Reply::SessionOpened { .. }]));
}

#[test]
fn a_full_window_refuses_before_it_applies_and_takes_more_once_some_is_acknowledged() {
    let mut world = World::new();
    world.open(1, 60_000);
    let request = |number, acked_below| Request {
        session: Some(tag(1, number, acked_below)),
        command: append("log", "x", Expect::Any),
    };
    let window = SESSION_REPLIES_MAX as u64;
    world.run_batch((1..=window).map(|number| request(number, 0)).collect());
    let mut world = world.restart();
    assert_eq!(world.run_batch(vec![request(window + 1, 1)]), [Reply::SessionFull]);
    assert_eq!(
        world.run_batch(vec![request(7, 0)]),
        [Reply::Written { version: 7, revision: 7 }],
        "a copy needs no room"
    );
    let taken = world.run_batch(vec![request(window + 1, 2)]);
    assert_eq!(taken, [Reply::Written { version: window + 1, revision: window + 1 }]);
}

#[test]
fn a_number_that_was_lost_is_carried_out_though_the_window_behind_it_is_full() {
    let mut world = World::new();
    world.open(1, 60_000);
    let request = |number, acked_below| Request {
        session: Some(tag(1, number, acked_below)),
        command: append("log", "x", Expect::Any),
    };
    let window = SESSION_REPLIES_MAX as u64;
    // 1 and 2 are lost on their way.
    world.run_batch((3..window + 3).map(|number| request(number, 1)).collect());
    assert_eq!(world.run_batch(vec![request(window + 3, 1), request(2, 1)]), [Reply::SessionFull, Reply::SessionFull]);
    assert_eq!(world.run_batch(vec![request(1, 1)]), [Reply::Written { version: window + 1, revision: window + 1 }]);
    let mut world = world.restart();
    assert_eq!(world.run_batch(vec![request(2, 2)]), [Reply::Written { version: window + 2, revision: window + 2 }]);
    let taken = world.run_batch(vec![request(window + 3, window + 3)]);
    assert_eq!(taken, [Reply::Written { version: window + 3, revision: window + 3 }], "all is acknowledged");
}

#[test]
fn a_sign_of_life_acknowledges_what_its_client_has() {
    let mut world = World::new();
    world.open(1, 60_000);
    world.open(2, 60_000);
    let empty = world.session_records();
    (1..=300).for_each(|number| drop(append_once(&mut world, number)));
    let sign = |of: u128, acked_below| Request {
        session: Some(tag(of, 0, acked_below)),
        command: Command::OpenSession { session: id(1), ttl_ms: 60_000 },
    };
    let opened = [Reply::SessionOpened { ttl_ms: 60_000 }];
    assert_eq!(world.run_batch(vec![sign(2, 301)]), opened, "what another session has is not this one's");
    assert_eq!(append_once(&mut world, 1), Reply::Written { version: 1, revision: 1 });
    assert_eq!(world.run_batch(vec![sign(1, 301)]), opened);
    assert_eq!(world.session_records(), empty);
    let mut world = world.restart();
    assert_eq!(append_once(&mut world, 300), Reply::Forgotten);
    assert_eq!(world.run_batch(vec![sign(1, 1)]), opened);
    assert_eq!(append_once(&mut world, 300), Reply::Forgotten, "an older word does not bring anything back");
    assert_eq!(append_once(&mut world, 301), Reply::Written { version: 301, revision: 301 });
}

#[test]
fn large_replies_are_refused_before_the_session_holds_too_many_bytes() {
    let mut world = World::new();
    world.open(1, 60_000);
    let mebibyte = "x".repeat(KvLimits::APPLIED.value_bytes_max);
    world.put("large", &mebibyte);
    let read =
        || always(vec![Operation::Get { key: blob("large") }, Operation::Append { key: blob("n"), suffix: blob("x") }]);
    let fit = (SESSION_REPLY_BYTES_MAX >> 20) as u64 - 1;
    for number in 1..=fit {
        assert!(matches!(world.request(tag(1, number, 0), read()), Reply::Txn { .. }));
    }
    assert_eq!(world.request(tag(1, fit + 1, 0), read()), Reply::SessionFull);
    assert_eq!(world.item("n").unwrap().version, fit);
    assert!(matches!(append_once(&mut world, fit + 2), Reply::Written { .. }), "a small reply has room");
    assert!(
        matches!(world.request(tag(1, fit + 1, 2), read()), Reply::Txn { .. }),
        "the same number, once there is room"
    );
}

#[test]
fn the_replies_to_a_batch_are_bounded_together_and_copies_with_them() {
    let mut world = World::new();
    world.open(1, 60_000);
    let mebibyte = "x".repeat(KvLimits::APPLIED.value_bytes_max);
    world.put("large", &mebibyte);
    let read = || always(vec![Operation::Get { key: blob("large") }]);
    let fit = (BATCH_RESULT_BYTES_MAX >> 20) - 1;
    let replies = world.run_batch((0..=fit).map(|_| read().into()).collect());
    assert!(replies[..fit].iter().all(|reply| matches!(reply, Reply::Txn { .. })));
    assert!(matches!(replies[fit], Reply::TooLarge { what: Quantity::ResultBytes, .. }));
    world.request(tag(1, 1, 0), read());
    let copies = world.run_batch(vec![Request { session: Some(tag(1, 1, 0)), command: read() }; fit + 1]);
    assert!(copies[..fit].iter().all(|reply| matches!(reply, Reply::Txn { .. })));
    assert_eq!(copies[fit], Reply::SessionExpired);
}

#[test]
fn a_batch_of_too_many_requests_or_of_none_is_refused_as_a_whole() {
    let mut world = World::new();
    let requests = vec![Request::from(put("k", "v", Expect::Any)); Batch::REQUESTS_MAX + 1];
    assert_eq!(world.run_batch(requests), [Reply::Malformed]);
    assert_eq!(world.run_batch(Vec::new()), [Reply::Malformed]);
    assert_eq!(world.value("k"), None);
}

#[test]
fn what_sessions_remember_is_part_of_the_digest_and_of_every_snapshot() {
    let mut source = World::new();
    source.open(1, 60_000);
    (1..100).for_each(|number| drop(append_once(&mut source, number)));
    source.open(2, 1_000);
    source.run(Command::CloseSession { session: id(2) });
    let mut other = World::new();
    let (from, to) = (MemorySnapshots::new(source.tables.clone()), MemorySnapshots::new(other.tables.clone()));
    let manifest = send(&from, &to);
    consensus_api::SnapshotStore::install(&to, manifest.id).unwrap();
    other.machine.reopened().unwrap();
    assert_eq!(other.digest(), source.digest());
    for world in [&mut source, &mut other] {
        assert_eq!(append_once(world, 42), Reply::Written { version: 42, revision: 42 });
        assert_eq!(world.open(2, 1_000), Reply::SessionExpired);
        assert_eq!(append_once(world, 100), Reply::Written { version: 100, revision: 100 });
    }
    assert_eq!(other.digest(), source.digest());
    assert_eq!(other.machine.time_wanted(), source.machine.time_wanted());
}

#[test]
fn an_acknowledged_window_leaves_nothing_in_the_table() {
    let mut world = World::new();
    world.open(1, 60_000);
    let empty = world.session_records();
    (1..=300).for_each(|number| drop(append_once(&mut world, number)));
    assert_eq!(world.session_records(), empty + 5, "pages of 64");
    world.request(tag(1, 301, 301), put("log", "", Expect::Any));
    assert_eq!(world.session_records(), empty + 1);
    world.run(Command::CloseSession { session: id(1) });
    assert_eq!(world.session_records(), 1, "that it has ended");
}

#[test]
fn a_slice_of_many_requests_writes_each_page_once() {
    let mut world = World::new();
    world.open(1, 60_000);
    let requests =
        (1..=500).map(|number| Request { session: Some(tag(1, number, 0)), command: put("k", "v", Expect::Any) });
    world.run_batch(requests.collect());
    // The head, eight pages; one batch, as ever.
    assert_eq!(world.session_records(), 1 + 8);
    assert_eq!(world.tables.unflushed(), 2);
}

#[test]
fn a_txn_in_a_session_may_read_back_what_its_first_copy_read() {
    let mut world = World::new();
    world.open(1, 60_000);
    let read = || always(vec![Operation::Get { key: blob("k") }]);
    world.put("k", "then");
    let first = world.request(tag(1, 1, 0), read());
    world.put("k", "now");
    let Reply::Txn { results, .. } = world.restart().request(tag(1, 1, 0), read()) else { panic!("no transaction") };
    assert!(matches!(&results[0], OperationResult::Got(Some(item)) if item.value == Blob::from("then")));
    assert!(matches!(first, Reply::Txn { .. }));
}

#[test]
fn a_tag_survives_its_encoding() {
    let tag = SessionTag { session: id(u128::MAX), number: u64::MAX, acked_below: 1 };
    let batch = Batch { requests: vec![Request { session: Some(tag), command: put("k", "v", Expect::Any) }] };
    assert_eq!(Batch::decode(&batch.encode().unwrap()).unwrap(), batch);
    let mut world = World::new();
    world.open(u128::MAX, 0);
    let replies = Replies { replies: world.run_batch(batch.requests) };
    assert_eq!(Replies::decode(&replies.encode().unwrap()).unwrap(), replies);
    world.restart();
}
