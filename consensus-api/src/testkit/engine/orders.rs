//! What an operator may want, and an engine may not do: then it says so, at every node.

use std::sync::Arc;

use crate::engine::{Engine, Input, Limits, Refusal};
use crate::ids::{NodeId, RequestId};

use super::Claims;
use super::world::{World, members};

fn is_refused_as_unsupported<E: Engine>(world: &mut World<E>, id: RequestId) {
    world.settle();
    let reason = world.refused.get(&id);
    assert!(matches!(reason, Some(Refusal::Unsupported { .. })), "{reason:?}");
}

/// Leadership is handed over, and nothing is lost.
pub fn another_node_leads_on_request<E: Engine>(claims: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    world.goes_on();
    let to = world.followers(leader).first().copied().expect("there are three");
    let id = world.next_id(leader);
    world.step(leader, Input::TransferLeadership { id, to: Some(to) });
    if claims.hands_over {
        world.run_until("the other one leads", |world| world.leader() == Some(to));
    } else {
        is_refused_as_unsupported(&mut world, id);
        assert_eq!(world.leader(), Some(leader));
    }
    world.goes_on();
}

/// A newcomer is sent the log, without a vote. (What changes of voters rest on is each engine's own.)
pub fn a_learner_is_added_and_has_everything<E: Engine>(claims: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    (0..10).for_each(|_| world.goes_on());
    let newcomer = NodeId(4);
    let mut target = world.founders.clone();
    target.members.extend(members([newcomer.0]).members);
    target.learners.insert(newcomer);
    let id = world.next_id(leader);
    world.step(leader, Input::ChangeMembership { id, target: Arc::new(target) });
    if !claims.changes_members {
        is_refused_as_unsupported(&mut world, id);
        world.goes_on();
        return;
    }
    world.run_until("the change is carried out", |world| world.done.contains_key(&id));
    world.add(newcomer, Limits::default());
    world.run_until("the newcomer has everything", World::is_level);
    world.goes_on();
}
