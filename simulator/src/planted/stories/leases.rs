//! Stories of leases: a leader that hears nobody any more reads by its lease, while the others do all they can to replace
//! it. Nothing but the lease is in the way of a stale read, for here a leader minds no quorum.

use std::time::Duration;

use consensus_api::{LeaseTiming, ReadMode, Role, Timing};

use super::{ONE, Stage, THREE, TIMEOUTS_TO_SETTLE, TWO, stuck};
use crate::checks::Violation;
use crate::faults::Survivors;
use crate::plan::{Fault, Planned, Target};
use crate::protocol::Protocol;
use crate::world::{World, WorldConfig};

/// What clocks gain or lose at most, which is much.
const DRIFT_PPM: u32 = 200_000;

/// 1 leads, holds a lease, and has acknowledged a write.
fn led<P: Protocol>(nodes: u64) -> Result<Stage<P>, Violation> {
    let lease = Some(LeaseTiming { clock_drift_ppm: DRIFT_PPM });
    let timing = Timing { lease, check_quorum: false, ..Timing::default() };
    let mut stage = Stage { world: World::new(WorldConfig { nodes, timing, ..WorldConfig::default() })? };
    stage.world.campaign(ONE)?;
    stage.run(1)?;
    stage.put(ONE)?;
    stage.run(1)?;
    Ok(stage)
}

fn apart<P: Protocol>(stage: &mut Stage<P>) {
    for other in stage.world.ids().into_iter().filter(|other| *other != ONE) {
        stage.world.cut(ONE, other);
        stage.world.cut(other, ONE);
    }
}

/// 2 is told to take over until it has, and then writes; clients of 1 read by its lease all the time, if it runs.
fn take_over<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    let mut has_written = false;
    for millisecond in 0..(Timing::default().election_timeout * TIMEOUTS_TO_SETTLE / 4).as_millis() {
        let leads = stage.world.status(TWO).is_some_and(|status| status.role == Role::Leader);
        if !leads && !has_written && millisecond % 10 == 0 {
            stage.world.campaign(TWO)?;
        }
        if leads && !has_written {
            stage.put(TWO)?;
            has_written = true;
        }
        stage.world.read(ONE, ReadMode::Lease)?;
        stage.world.run_until(stage.world.now() + Duration::from_millis(1))?;
    }
    if has_written { Ok(()) } else { Err(stuck(TWO, "2 was not elected".to_owned())) }
}

/// The leader's clock goes as slowly as is allowed, and the voters' as fast.
pub(super) fn slow_leader_and_fast_voters<P: Protocol>() -> Result<(), Violation> {
    let mut stage = led::<P>(3)?;
    let ppm = i64::from(DRIFT_PPM);
    for (number, (node, ppm)) in (0..).zip([(ONE, -ppm), (TWO, ppm), (THREE, ppm)]) {
        let fault = Fault::Drift(Target::Node(node), ppm);
        let (at, lasting) = (Duration::ZERO, Duration::ZERO);
        stage.world.inflict(&Planned { number, at, lasting, fault, seed: 1, promised: false })?;
    }
    stage.run(2)?;
    apart(&mut stage);
    take_over(&mut stage)
}

/// The leader stands still until another one has written, and is asked to read before it hears of that.
pub(super) fn leader_stands_still<P: Protocol>() -> Result<(), Violation> {
    let mut stage = led::<P>(3)?;
    stage.world.pause(ONE);
    take_over(&mut stage)?;
    apart(&mut stage);
    stage.world.resume(ONE);
    stage.world.read(ONE, ReadMode::Lease)?;
    stage.run(1)
}

/// Both voters lose their memory.
pub(super) fn voters_restart<P: Protocol>() -> Result<(), Violation> {
    let mut stage = led::<P>(3)?;
    apart(&mut stage);
    for voter in [TWO, THREE] {
        stage.world.crash(voter, Survivors::default())?;
        stage.world.restart(voter)?;
    }
    take_over(&mut stage)
}

/// The election is forced while the lease lasts. Of five nodes: three can elect 2 while its own vote is still bound.
pub(super) fn election_is_forced<P: Protocol>() -> Result<(), Violation> {
    let mut stage = led::<P>(5)?;
    apart(&mut stage);
    take_over(&mut stage)
}
