//! What an engine does while nothing fails, or not much.

use std::time::Duration;

use crate::engine::{Engine, Input, Limits, Refusal};
use crate::entry::{Blob, Payload};
use crate::time::LogTime;

use super::Claims;
use super::world::{ELECTION_TIMEOUT, World};

/// A cluster of one needs nobody.
pub fn a_lone_node_commits<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(1);
    let leader = world.await_leader();
    let id = world.propose(leader);
    world.run_until("it is carried out", |world| world.done.contains_key(&id));
}

/// Everything that is proposed at the leader is applied by all; the referee sees that the order is one.
pub fn all_apply_the_same_in_the_same_order<E: Engine>(_: Claims) {
    for count in [3, 5] {
        let mut world = World::<E>::of(count);
        let leader = world.await_leader();
        let ids: Vec<_> = (0..100).map(|_| world.propose(leader)).collect();
        world.run_until("all have applied all", |world| {
            ids.iter().all(|id| world.done.contains_key(id)) && world.is_level()
        });
        assert!(world.refused.is_empty(), "nothing is refused without a reason");
    }
}

/// The referee sees that no id is carried out twice, nor carried out and refused.
pub fn a_proposal_is_carried_out_once_though_all_mail_comes_twice<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    world.doubles_mail = true;
    world.await_leader();
    let mut ids = Vec::new();
    for _ in 0..20 {
        for node in world.ids() {
            ids.push(world.propose(node));
        }
        world.run_for(Duration::from_millis(3));
    }
    world.run_until("each is carried out or refused", |world| {
        ids.iter().all(|id| world.done.contains_key(id) || world.refused.contains_key(id)) && world.is_level()
    });
    assert!(ids.iter().any(|id| world.done.contains_key(id)));
}

/// A client may ask any node.
pub fn a_proposal_at_a_follower_is_carried_out_or_refused_with_the_leaders_name<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    for node in world.followers(leader) {
        let id = world.propose(node);
        world.run_until("an answer", |world| world.done.contains_key(&id) || world.refused.contains_key(&id));
        if let Some(reason) = world.refused.get(&id) {
            assert_eq!(*reason, Refusal::NotLeader { leader: Some(leader) });
        }
    }
}

/// Neither too many commands nor one that is too large are taken in and kept.
pub fn what_is_too_much_is_refused<E: Engine>(_: Claims) {
    const OPEN: usize = 8;
    let limits = Limits { open_entries_max: OPEN, command_bytes_max: 1000, ..Limits::default() };
    let mut world = World::<E>::seeded(0, 3, limits);
    let leader = world.await_leader();
    for node in world.ids() {
        let id = world.propose_data(node, vec![0; 1001].into());
        world.settle();
        assert_eq!(world.refused.get(&id), Some(&Refusal::TooLarge { bytes: 1001, limit: 1000 }));
    }
    world.goes_on();
    world.cut.extend(world.followers(leader));
    let ids: Vec<_> = (0..100).map(|_| world.propose(leader)).collect();
    world.settle();
    let refused = ids.iter().filter(|id| world.refused.get(id) == Some(&Refusal::Busy)).count();
    assert!(refused >= ids.len() - OPEN, "{refused} of {} refused, where {OPEN} may be open", ids.len());
    world.cut.clear();
    world.goes_on();
}

/// The referee sees it too: what is handed out is on a majority of disks.
pub fn a_minority_commits_nothing<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    world.goes_on();
    let before = world.last_chosen();
    let others = world.followers(leader);
    others.iter().for_each(|node| world.stop(*node));
    world.propose(leader);
    world.run_for(10 * ELECTION_TIMEOUT);
    assert_eq!(world.last_chosen(), before);
    others.iter().for_each(|node| world.start(*node));
    world.goes_on();
}

/// Where the state machine wants the time and nobody writes, entries carry it.
pub fn an_idle_leader_carries_the_time_forward<E: Engine>(_: Claims) {
    let every = Some(Duration::from_millis(20));
    let mut world = World::<E>::of(3);
    world.await_leader();
    world.ids().into_iter().for_each(|node| world.step(node, Input::KeepTime { every }));
    world.run_for(Duration::from_secs(1));
    let ticks = world.chosen.values().filter(|entry| entry.payload == Payload::Tick).count();
    assert!((20..=51).contains(&ticks), "{ticks} ticks in a second, of which one is wanted every 20 ms");
    let last = world.chosen.values().map(|entry| entry.log_time).max().unwrap_or_default();
    assert!(last >= LogTime { millis: 800 }, "a second has passed, and the log has come to {} ms", last.millis);
    world.ids().into_iter().for_each(|node| world.step(node, Input::KeepTime { every: None }));
    world.run_for(ELECTION_TIMEOUT);
    let before = world.last_chosen();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.last_chosen(), before, "nobody wants the time any more");
    let leader = world.await_leader();
    world.propose_data(leader, Blob::default());
    world.run_until("it is carried out", |world| world.last_chosen() > before);
}
