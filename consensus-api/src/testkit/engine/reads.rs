//! Reads: whatever an engine says of one, it is no older than what was acknowledged. The referee looks at each.

use crate::engine::{Engine, Refusal};
use crate::reads::ReadMode;

use super::Claims;
use super::world::{ELECTION_TIMEOUT, World};

const MODES: [ReadMode; 4] = [ReadMode::Index, ReadMode::Lease, ReadMode::Log, ReadMode::Quorum];

/// Reads by every means that the engine names, at every node, and sees them answered.
fn everybody_reads<E: Engine>(world: &mut World<E>) {
    for node in world.ids() {
        for mode in MODES {
            let id = world.read(node, mode);
            let is_named = E::READS.contains(&mode);
            world.run_until(&format!("a read by {mode:?} is answered"), |world| {
                let is_served = world.ready.contains_key(&id) || world.done.contains_key(&id);
                if is_named { is_served } else { world.refused.contains_key(&id) }
            });
            if let Some(index) = world.ready.get(&id).copied() {
                world.run_until("what it waits for is applied", |world| world.node(node).tables.applied >= index);
            }
            if !is_named {
                assert!(matches!(world.refused[&id], Refusal::Unsupported { .. }), "{mode:?} is not named");
            }
        }
    }
}

/// While clients write, too.
pub fn a_read_sees_what_was_acknowledged<E: Engine>(_: Claims) {
    let mut world = World::<E>::of(3);
    let leader = world.await_leader();
    for _ in 0..5 {
        world.goes_on();
        world.propose_some(leader);
        everybody_reads(&mut world);
    }
}

/// The watermark that rode along may be lost, and tables forget what was not flushed; the log is not. Nobody proposes
/// anything after the restart, and a node alone hears from nobody.
pub fn a_read_after_everybody_restarted_sees_what_was_acknowledged<E: Engine>(_: Claims) {
    for count in [1, 3] {
        let mut world = World::<E>::of(count);
        world.flushes = false;
        (0..10).for_each(|_| world.goes_on());
        for node in world.ids() {
            world.stop(node);
            let disk = &mut world.node_mut(node).disk;
            disk.commit = disk.base.index;
        }
        world.ids().into_iter().for_each(|node| world.start(node));
        // Whoever comes to lead is asked at once, before it has committed anything.
        world.run_until("somebody leads", |world| world.leader().is_some());
        let leader = world.leader().expect("it was waited for");
        world.read(leader, ReadMode::Index);
        world.await_leader();
        everybody_reads(&mut world);
    }
}

/// A leader that is cut off may not know that others have gone on. What it says of a read is right all the same.
pub fn who_is_cut_off_serves_nothing_old<E: Engine>(claims: Claims) {
    let mut world = World::<E>::of(3);
    let old = world.await_leader();
    world.goes_on();
    world.cut.insert(old);
    if claims.survives_loss_of_leader {
        world.run_until("another one leads", |world| world.leader().is_some());
        world.goes_on();
    }
    for mode in E::READS {
        world.read(old, *mode);
    }
    world.run_for(10 * ELECTION_TIMEOUT);
    world.cut.clear();
    world.goes_on();
}
