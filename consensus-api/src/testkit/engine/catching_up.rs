//! Nodes that were away. Little fits into memory and into a message, so that the log store is asked.

use crate::engine::{Engine, Limits};

use super::Claims;
use super::world::World;

fn small() -> Limits {
    Limits { message_bytes_max: 300, window_bytes_max: 400, unapplied_bytes_max: 1_000, ..Limits::default() }
}

/// A world in which a follower was away for a while.
fn with_one_away<E: Engine>() -> (World<E>, crate::NodeId) {
    let mut world = World::<E>::seeded(0, 3, small());
    let leader = world.await_leader();
    let away = world.followers(leader)[0];
    world.goes_on();
    world.stop(away);
    (0..60).for_each(|_| world.goes_on());
    (world, away)
}

/// It is sent what it lacks.
pub fn a_node_that_was_away_catches_up<E: Engine>(_: Claims) {
    let (mut world, away) = with_one_away::<E>();
    world.start(away);
    world.run_until("it has caught up", World::is_level);
    assert_eq!(world.node(away).tables.applied, world.last_chosen());
}

/// Where the others have trimmed what it lacks, a snapshot is asked for, and it goes on from there.
pub fn a_node_that_needs_what_is_trimmed_gets_a_snapshot<E: Engine>(_: Claims) {
    let (mut world, away) = with_one_away::<E>();
    world.running().into_iter().for_each(|node| world.trim(node));
    world.start(away);
    world.run_until("it has caught up", World::is_level);
    assert!(world.node(away).disk.base.index > crate::LogIndex(60), "by a snapshot");
    world.goes_on();
    world.stop(away);
    world.start(away);
    world.goes_on();
}
