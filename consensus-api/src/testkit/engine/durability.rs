//! What is promised is on disk first.

use crate::engine::Engine;

use super::Claims;
use super::world::{ELECTION_TIMEOUT, World};

/// A follower whose disk finishes nothing helps to commit nothing. The referee would see it, for what is handed out is on a
/// majority of disks.
pub fn a_disk_that_hangs_counts_for_nothing<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    world.goes_on();
    let before = world.last_chosen();
    let [away, hanging] = world.followers(leader)[..] else { panic!("there are three") };
    world.stop(away);
    world.node_mut(hanging).is_frozen = true;
    world.propose(leader);
    world.run_for(5 * ELECTION_TIMEOUT);
    assert_eq!(world.last_chosen(), before);
    world.node_mut(hanging).is_frozen = false;
    world.goes_on();
}

/// Each node is stopped and started in its turn: it has what it had, and hands nothing out again that was applied.
pub fn a_restart_keeps_the_log<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    for round in 0..6 {
        let node = world.ids()[round % 3];
        (0..5).for_each(|_| world.goes_on());
        let before = world.status(node).expect("it runs").last_index;
        world.stop(node);
        world.start(node);
        let after = world.status(node).expect("it runs").last_index;
        assert_eq!(before, after, "{node} comes back with another log");
    }
    world.goes_on();
}

/// Power fails everywhere at once, after any number of events: every write that was not finished is lost, and so is all
/// mail. What anybody was handed out before is handed out again.
pub fn a_crash_of_everybody_at_any_point_loses_nothing<E: Engine>(_: Claims) {
    let mut commits = 0;
    for point in 0..300 {
        let mut world = World::<E>::seeded(point % 7, 3, Default::default());
        world.flushes = false;
        let leader = world.await_leader();
        world.propose(leader);
        (0..point).for_each(|_| world.go_about());
        let before = world.last_chosen();
        commits += before.0;
        world.ids().into_iter().for_each(|node| world.stop(node));
        world.mail.clear();
        world.ids().into_iter().for_each(|node| world.start(node));
        world.goes_on();
        assert!(world.last_chosen() > before && world.is_level());
    }
    assert!(commits > 300, "only {commits} entries were committed before the crashes");
}
