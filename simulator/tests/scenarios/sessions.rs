//! Sessions: what is asked under one number is done once and answered the same, whatever is lost, whoever leads, and
//! whatever is restored; and nothing is done in a session that is over.

use std::time::Duration;

use consensus_api::{Limits, NodeId};
use kv_machine::{Reply, SessionTag};
use simulator::WorldConfig;
use simulator::faults::Survivors;

use crate::stage::sessions::{SESSION, numbered};
use crate::stage::{ONE, Stage, THREE, TWO, Words, holds};

stories! {
    both {
        a_retry_across_a_change_of_leader_and_a_snapshot_is_done_once_and_answered_the_same,
        an_expired_sessions_retry_is_refused_by_every_leader_and_after_a_snapshot,
        an_outage_ends_no_session,
        a_restart_keeps_data_applied_index_and_answers_together,
        a_window_that_arrives_in_any_order_and_twice_is_done_once,
        a_copy_of_what_was_given_up_and_acknowledged_is_never_done,
    }
    raft {}
    multi_paxos {}
}

/// The shortest that a session lives without a sign of its client.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// What 3 lacks from now on is not in the others' logs any more, once they have taken their snapshots.
fn falls_behind<P: Words>(stage: &mut Stage<P>, node: NodeId) {
    holds(stage.world.flush_tables(node));
    stage.isolate(node);
}

/// 1 dies, 2 leads, and 3 is restored from a snapshot.
fn restored_under_two<P: Words>(stage: &mut Stage<P>) {
    for _ in 0..5 {
        stage.append(ONE, "other", ".");
        stage.run_for(Duration::from_millis(5));
    }
    stage.take_snapshot(ONE);
    stage.take_snapshot(TWO);
    stage.crash(ONE);
    stage.world.heal();
    stage.campaign(TWO);
    stage.run(3);
    assert!(stage.leads(TWO) && stage.installed(THREE) > 0, "3 was not restored from a snapshot");
}

fn leads_next<P: Words>(stage: &mut Stage<P>, node: NodeId) {
    stage.campaign(node);
    stage.run_for(Duration::from_millis(100));
    assert!(stage.leads(node));
}

/// The client's write is done and its reply lost. It asks 2 again, which leads meanwhile, and then 3, which knows of the
/// write by a snapshot alone.
fn a_retry_across_a_change_of_leader_and_a_snapshot_is_done_once_and_answered_the_same<P: Words>() {
    let mut stage = Stage::<P>::with_short_logs(WorldConfig::default());
    stage.opens(ONE, LONG);
    falls_behind(&mut stage, THREE);
    let lost = stage.asks(ONE, numbered(1), "x");
    assert!(matches!(lost, Reply::Written { version: 1, .. }), "{lost:?}");
    restored_under_two(&mut stage);

    assert_eq!(stage.asks(TWO, numbered(1), "x"), lost);
    leads_next(&mut stage, THREE);
    assert_eq!(stage.asks(THREE, numbered(1), "x"), lost);
    assert_eq!(stage.counts().duplicates, 2);
    assert!(matches!(stage.asks(THREE, numbered(2), "y"), Reply::Written { version: 2, .. }));
    stage.restart(ONE);
    stage.converges(&[ONE, TWO, THREE]);
    assert_eq!(stage.value(ONE, "k").as_deref(), Some("xy"));
}

/// The client was away for too long, by the log's time. Whether its first question was answered or never arrived, the second
/// one is refused by 1, by the next leader, and by one that knows of the session by a snapshot alone; and so is the wish
/// to open it again.
fn an_expired_sessions_retry_is_refused_by_every_leader_and_after_a_snapshot<P: Words>() {
    for was_done in [true, false] {
        let mut stage = Stage::<P>::with_short_logs(WorldConfig::default());
        stage.opens(ONE, SHORT);
        if was_done {
            stage.asks(ONE, numbered(1), "x");
        }
        falls_behind(&mut stage, THREE);
        stage.run_for(SHORT * 2);
        assert!(stage.counts().ticks > 0, "nobody tells the time");
        assert_eq!(stage.asks(ONE, numbered(1), "x"), Reply::SessionExpired);
        restored_under_two(&mut stage);
        assert_eq!(stage.asks(TWO, numbered(1), "x"), Reply::SessionExpired);
        leads_next(&mut stage, THREE);
        assert_eq!(stage.asks(THREE, numbered(1), "x"), Reply::SessionExpired);
        assert_eq!(stage.opens(THREE, SHORT), Reply::SessionExpired);
        stage.restart(ONE);
        stage.converges(&[ONE, TWO, THREE]);
        assert_eq!(stage.value(ONE, "k").as_deref(), was_done.then_some("x"));
    }
}

/// While nobody leads no time passes in the log, however long that is: nobody could have given a sign.
fn an_outage_ends_no_session<P: Words>() {
    let mut stage = Stage::<P>::running_under_one(3, 1);
    let ttl = SHORT * 10;
    stage.opens(ONE, ttl);
    let done = stage.asks(ONE, numbered(1), "x");
    for node in [ONE, TWO, THREE] {
        stage.isolate(node);
    }
    stage.run_for(ttl * 6);
    assert!(!stage.leads(ONE), "1 leads without a quorum");
    stage.world.heal();
    let leader = stage.settles_within(8);
    assert_eq!(stage.asks(leader, numbered(1), "x"), done);
    assert!(matches!(stage.asks(leader, numbered(2), "y"), Reply::Written { .. }));
    assert_eq!(stage.value(leader, "k").as_deref(), Some("xy"));
}

/// Tables reach the disk in their own time, so a crash takes some of what was applied. Whatever is left fits together: what is
/// applied again is done again, and what is not is answered from the table.
fn a_restart_keeps_data_applied_index_and_answers_together<P: Words>() {
    const LETTERS: [&str; 4] = ["a", "b", "c", "d"];
    for (node, kept) in [ONE, TWO].into_iter().flat_map(|node| (0..=LETTERS.len()).map(move |kept| (node, kept))) {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        let opened = stage.open(ONE, LONG);
        stage.stabilize();
        assert!(matches!(stage.reply(opened), Reply::SessionOpened { .. }));
        holds(stage.world.flush_tables(node));
        let mut first = Vec::new();
        for (number, letter) in (1..).zip(LETTERS) {
            let id = stage.append_as(ONE, numbered(number), letter);
            stage.stabilize();
            first.push(stage.reply(id));
        }
        assert_eq!(stage.world.at_stake(node).batches, LETTERS.len());
        holds(stage.world.crash(node, Survivors { writes: 0, batches: kept, incoming: true }));
        assert_eq!(stage.value(node, "k").unwrap_or_default(), LETTERS[..kept].concat());

        stage.restart(node);
        stage.run(6);
        stage.converges(&[ONE, TWO, THREE]);
        for ((number, letter), reply) in (1..).zip(LETTERS).zip(first) {
            let again = stage.append_as(node, numbered(number), letter);
            stage.stabilize();
            assert_eq!(stage.reply(again), reply, "{letter} after a crash that left {kept} batches");
        }
        assert_eq!(stage.value(node, "k"), Some(LETTERS.concat()), "after a crash that left {kept} batches");
        stage.converges(&[ONE, TWO, THREE]);
    }
}

/// Eight requests are in flight at once, each asked at two nodes.
fn a_window_that_arrives_in_any_order_and_twice_is_done_once<P: Words>() {
    let mut stage = Stage::<P>::running_under_one(3, 3);
    stage.opens(TWO, LONG);
    let order = [5, 2, 8, 1, 7, 3, 6, 4];
    let mut asked = Vec::new();
    for (number, nodes) in order.into_iter().zip([[ONE, TWO], [THREE, ONE], [TWO, THREE]].into_iter().cycle()) {
        asked.push((number, nodes.map(|node| stage.append_as(node, numbered(number), &number.to_string()))));
    }
    stage.run(1);
    for (number, ids) in asked {
        let [one, other] = ids.map(|id| stage.reply(id));
        assert!(matches!(one, Reply::Written { .. }) && one == other, "{number}: {one:?}, {other:?}");
    }
    let mut value = stage.value(ONE, "k").expect("is written").into_bytes();
    value.sort_unstable();
    assert_eq!(value, b"12345678");
    assert_eq!(stage.counts().duplicates, 8);
}

/// The client has given 1 up, which is still on its way, and acknowledges all below 2 with its next request: 1 arrives
/// after that, and too late.
fn a_copy_of_what_was_given_up_and_acknowledged_is_never_done<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.open(ONE, LONG);
    stage.stabilize();
    let given_up = stage.append_as(THREE, numbered(1), "x");
    let late = stage.hold(THREE, ONE, "Propose");
    assert_eq!(late.len(), 1);
    let next = stage.append_as(TWO, SessionTag { session: SESSION, number: 2, acked_below: 2 }, "y");
    stage.stabilize();
    assert!(matches!(stage.reply(next), Reply::Written { .. }));
    stage.hand_in(late);
    stage.stabilize();
    assert_eq!(stage.reply(given_up), Reply::Forgotten);
    assert_eq!(stage.value(ONE, "k").as_deref(), Some("y"));
    assert_eq!(stage.counts().forgotten, 1);
}
