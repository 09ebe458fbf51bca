//! The leader is gone. An engine that claims to survive that elects another one; one that does not stands still, says so,
//! and goes on once the leader is back.

use crate::engine::Engine;

use super::Claims;
use super::world::{ELECTION_TIMEOUT, World};

/// With a majority left, and again with the next leader gone.
pub fn others_go_on_when_the_leader_is_gone<E: Engine>(claims: Claims) {
    let mut world = World::<E>::of(5);
    let first = world.await_leader();
    world.goes_on();
    let before = world.last_chosen();
    world.stop(first);
    if claims.survives_loss_of_leader {
        let second = world.await_leader();
        world.goes_on();
        world.stop(second);
        world.await_leader();
        world.goes_on();
        return;
    }
    world.run_until("everybody has noticed", |world| {
        world.running().into_iter().all(|node| world.status(node).is_some_and(|it| it.leader.is_none()))
    });
    let ids: Vec<_> = world.running().into_iter().map(|node| world.propose(node)).collect();
    world.run_for(10 * ELECTION_TIMEOUT);
    assert!(ids.iter().all(|id| world.refused.contains_key(id)), "without a leader proposals are refused");
    assert_eq!(world.last_chosen(), before);
    world.start(first);
    world.goes_on();
}

/// Again and again, whoever leads by then.
pub fn a_leader_that_comes_back_finds_its_place<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    for _ in 0..10 {
        let leader = world.await_leader();
        // Some of these are lost with it, and some are not.
        world.propose_some(leader);
        world.stop(leader);
        world.run_for(5 * ELECTION_TIMEOUT);
        world.start(leader);
        world.goes_on();
    }
}
