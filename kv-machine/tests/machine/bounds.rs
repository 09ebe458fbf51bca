//! What one entry may write and end at most, whatever its requests are.

use consensus_api::{Blob, StateMachine};
use kv_machine::{
    BATCH_WRITTEN_BYTES_MAX, Batch, Command, Expect, KvLimits, Operation, Quantity, Reply, Request, SESSION_REPLIES_MAX,
};

use crate::world::{World, always, append, blob, entry, id, payload, put, tag};

/// A world where a value has room for so many bytes more.
fn with_a_long_value(room: usize) -> World {
    let mut world = World::new();
    world.put("long", &"x".repeat(KvLimits::APPLIED.value_bytes_max - room));
    world
}

/// An append of a byte.
fn append_once() -> Command {
    append("long", "y", Expect::Any)
}

fn is_for_the_batch(reply: &Reply) -> bool {
    matches!(reply, Reply::TooLarge { what: Quantity::BatchBytes, .. })
}

#[test]
fn many_small_appends_to_a_long_value_write_a_bounded_amount() {
    let mut world = with_a_long_value(2048);
    let before = world.history_bytes();
    let replies = world.run_batch((0..1024).map(|_| append_once().into()).collect());
    let written = replies.iter().take_while(|reply| matches!(reply, Reply::Written { .. })).count();
    assert!((128..140).contains(&written), "{written}");
    assert!(replies[written..].iter().all(is_for_the_batch));
    assert!(world.history_bytes() <= before + BATCH_WRITTEN_BYTES_MAX + 100 * written);
    assert_eq!(
        (world.item("long").unwrap().version, world.machine.revision()),
        (1 + written as u64, 1 + written as u64)
    );
    // The next entry has room of its own.
    assert!(matches!(world.run(append_once()), Reply::Written { .. }));
}

#[test]
fn what_a_batch_has_no_room_for_may_come_again_under_its_number() {
    let mut world = with_a_long_value(2048);
    world.open(1, 60_000);
    let request = |number| Request { session: Some(tag(1, number, 0)), command: append_once() };
    let replies = world.run_batch((1..=200).map(request).collect());
    assert!(is_for_the_batch(&replies[199]));
    let written = replies.iter().filter(|reply| matches!(reply, Reply::Written { .. })).count() as u64;
    let again = world.run_batch(vec![request(200)]);
    assert_eq!(again, [Reply::Written { version: written + 2, revision: written + 2 }]);
    assert_eq!(world.run_batch(vec![request(200)]), again, "and then it has its reply");
}

#[test]
fn what_is_packed_by_what_it_may_write_is_never_refused_for_its_neighbours() {
    let mut world = with_a_long_value(2048);
    let fit = BATCH_WRITTEN_BYTES_MAX / append_once().written_bytes_max();
    let mut replies = world.run_batch((0..fit).map(|_| append_once().into()).collect());
    assert!(fit >= 128 && replies.iter().all(|reply| matches!(reply, Reply::Written { .. })));
    // Small writes are many.
    let small = put("k", &"x".repeat(256), Expect::Any);
    assert!(small.written_bytes_max() * Batch::REQUESTS_MAX < BATCH_WRITTEN_BYTES_MAX);
    replies = world.run_batch(vec![Request::from(small); Batch::REQUESTS_MAX]);
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Written { .. })));
}

#[test]
fn the_largest_transaction_fits_into_a_batch_of_its_own() {
    let key = |of: usize| Blob(format!("{of:0>width$}", width = KvLimits::APPLIED.key_bytes_max).into());
    let appends = (0..KvLimits::APPLIED.txn_operations_max)
        .map(|of| Operation::Append { key: key(of), suffix: blob("x") })
        .collect();
    let largest = always(appends);
    largest.check(&KvLimits::APPLIED).unwrap();
    assert_eq!(largest.written_bytes_max(), BATCH_WRITTEN_BYTES_MAX);
}

#[test]
fn requests_that_are_refused_in_the_end_use_up_what_a_batch_may_write_too() {
    let mut world = with_a_long_value(0);
    let mebibyte = world.value("long").unwrap();
    let keys = || (0..40).map(|at| blob(&format!("key {at}")));
    for key in keys() {
        let value = Blob(mebibyte.0.slice(1..));
        world.run(Command::Put { key, value, expect: Expect::Any });
    }
    let mut appends: Vec<Operation> = keys().map(|key| Operation::Append { key, suffix: blob("y") }).collect();
    appends.push(Operation::Append { key: blob("long"), suffix: blob("y") });
    let replies = world.run_batch(vec![Request::from(always(appends)); 4]);
    assert!(replies[..3].iter().all(|reply| matches!(reply, Reply::TooLarge { what: Quantity::ValueBytes, .. })));
    assert!(is_for_the_batch(&replies[3]), "the work is done three times, and not once more");
}

#[test]
fn a_slice_ends_when_its_changes_and_their_history_are_many() {
    let mut world = with_a_long_value(2048);
    let batch = || Batch { requests: (0..12).map(|_| append_once().into()).collect() }.encode().unwrap();
    let slice: Vec<_> = (2..=4).map(|index| entry(index, payload(batch()))).collect();
    assert_eq!(world.machine.apply(&slice).unwrap().len(), 1, "12 MiB of changes, and as much again of history");
}

#[test]
fn closing_sessions_ends_no_more_of_them_than_an_entry_may() {
    let mut world = World::new();
    world.open(1, 60_000);
    world.open(2, 60_000);
    let request = |number| Request { session: Some(tag(1, number, 0)), command: put("k", "v", Expect::Any) };
    world.run_batch((1..=SESSION_REPLIES_MAX as u64).map(request).collect());
    let close = |session| Request::from(Command::CloseSession { session: id(session) });
    let replies = world.run_batch(vec![close(1), close(2), close(3)]);
    let revision = world.machine.revision();
    let closed = |existed| Reply::SessionClosed { existed, revision };
    assert_eq!(replies, [closed(true), Reply::SessionFull, closed(false)]);
    assert_eq!(world.run_batch(vec![close(2)]), [closed(true)], "it comes again");
}
