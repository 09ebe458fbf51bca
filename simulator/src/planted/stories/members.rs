//! Stories of members that change: two leaders that change the same ones, voters that were replaced and do not know it, and
//! a leader that does not know who else has decided.

use std::time::Duration;

use consensus_api::membership_change::next_step;
use consensus_api::{Limits, NodeId, ReadMode};

use super::{FIVE, FOUR, ONE, Stage, THREE, TWO, stuck};
use crate::checks::Violation;
use crate::faults::Survivors;
use crate::protocol::Protocol;
use crate::world::{World, WorldConfig};

/// How often an operator looks before a change is taken for one that never ends.
const LOOKS_MAX: u32 = 500;

impl<P: Protocol> Stage<P> {
    /// So many founders, and others that are blank; in Multi-Paxos a change is in force `window` slots behind its own.
    fn with_blank_nodes(nodes: u64, blank: u64, window: u64) -> Result<Stage<P>, Violation> {
        let limits = Limits { reconfiguration_window: window, ..Limits::default() };
        Ok(Stage { world: World::new(WorldConfig { nodes, blank, limits, ..WorldConfig::default() })? })
    }

    /// An operator asks the node for these, to follow the members that it goes by.
    fn ask_for(&mut self, node: NodeId, voters: &[NodeId], learners: &[NodeId]) -> Result<(), Violation> {
        let present = self.world.status(node).map_or(0, |status| status.membership.version);
        let target = self.world.members(present, voters.iter().copied(), learners.iter().copied());
        self.world.change_membership(node, target).map(drop)
    }

    /// An operator asks whoever leads, until these are the members.
    fn change(&mut self, voters: &[NodeId], learners: &[NodeId]) -> Result<(), Violation> {
        for _ in 0..LOOKS_MAX {
            if let Some((leader, status)) = self.world.leader().and_then(|node| Some((node, self.world.status(node)?)))
            {
                let present = status.membership;
                let target = self.world.members(present.version, voters.iter().copied(), learners.iter().copied());
                match next_step(&present, &target) {
                    Some(step) => drop(self.world.change_membership(leader, step)?),
                    None if self.world.are_members_settled() => return Ok(()),
                    None => {}
                }
            }
            self.world.run_until(self.world.now() + Duration::from_millis(10))?;
        }
        Err(stuck(ONE, format!("{voters:?} are not the members")))
    }

    /// A leader that starts again knows that it leads no more, and one that was removed forgets by whom.
    fn start_again(&mut self, node: NodeId) -> Result<(), Violation> {
        self.world.flush_tables(node)?;
        self.world.crash(node, Survivors::default())?;
        self.world.restart(node)
    }

    fn part(&mut self, one: NodeId, other: NodeId) {
        self.world.cut(one, other);
        self.world.cut(other, one);
    }
}

/// (Ongaro's mail to raft-dev, July 2015.) 1 adds a voter, and nobody hears of it; 2 is elected and removes 1, which 3 hears
/// of; 1 is elected by those who heard of neither. Each has a majority of its own.
pub(super) fn two_changes_from_the_same_members<P: Protocol>() -> Result<(), Violation> {
    let mut stage = Stage::<P>::with_blank_nodes(4, 1, 8)?;
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.ask_for(ONE, &[ONE, TWO, THREE, FOUR], &[FIVE])?;
    stage.world.stabilize()?;

    stage.ask_for(ONE, &[ONE, TWO, THREE, FOUR, FIVE], &[])?;
    stage.write(ONE)?;
    stage.lose_all();
    stage.elect(TWO, &[THREE, FOUR])?;
    stage.ask_for(TWO, &[TWO, THREE, FOUR], &[FIVE])?;
    for other in [ONE, FOUR, FIVE] {
        stage.lose(TWO, other);
    }
    stage.exchange(&[TWO, THREE])?;
    stage.lose_all();

    stage.start_again(ONE)?;
    stage.campaign_in_vain(ONE)?;
    stage.elect(ONE, &[FOUR, FIVE])?;
    stage.exchange(&[ONE, FOUR, FIVE])
}

/// 1 proposes a change in slot 1, and nobody hears of it. 3 leads by 4 and 5, and proposes another one in slot 2, which is
/// chosen; what it has in slot 1 nobody hears of. Then 1 leads by 2 and 4, and both are chosen, each in its slot.
pub(super) fn second_change_is_void<P: Protocol>() -> Result<(), Violation> {
    let mut stage = Stage::<P>::with_blank_nodes(5, 0, 8)?;
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.ask_for(ONE, &[ONE, TWO, THREE, FOUR], &[])?;
    stage.write(ONE)?;
    stage.lose_all();

    stage.elect(THREE, &[FOUR, FIVE])?;
    stage.lose_all();
    stage.put(THREE)?;
    stage.write(THREE)?;
    stage.lose_all();
    stage.ask_for(THREE, &[TWO, THREE, FOUR, FIVE], &[])?;
    stage.write(THREE)?;
    for voter in [FOUR, FIVE] {
        stage.deliver(THREE, voter)?;
        stage.write(voter)?;
    }
    stage.lose_all();

    stage.start_again(ONE)?;
    stage.campaign_in_vain(ONE)?;
    stage.elect(ONE, &[TWO, FOUR])?;
    stage.exchange(&[ONE, TWO, FOUR])?;
    match stage.world.counts().changes_void {
        0 => Err(stuck(ONE, "nobody has applied a change that is void".to_owned())),
        _ => Ok(()),
    }
}

/// 4 and 5 have taken the place of 1, 2 and 3, of which 3 knows nothing. By 1 and 2 it reads without a leader.
pub(super) fn replaced_voters_answer<P: Protocol>() -> Result<(), Violation> {
    let mut stage = Stage::<P>::with_blank_nodes(3, 2, 2)?;
    stage.world.campaign(ONE)?;
    stage.run(1)?;
    stage.change(&[ONE, TWO, THREE], &[FOUR, FIVE])?;
    for other in [ONE, TWO, FOUR, FIVE] {
        stage.part(THREE, other);
    }
    stage.change(&[FOUR, FIVE], &[])?;
    for old in [ONE, TWO] {
        stage.part(old, FOUR);
        stage.part(old, FIVE);
        stage.start_again(old)?;
    }
    let leader = stage.world.leader().unwrap_or(FOUR);
    stage.must_acknowledge(leader)?;
    for old in [ONE, TWO] {
        stage.world.mend(old, THREE);
        stage.world.mend(THREE, old);
    }
    stage.world.read(THREE, ReadMode::Quorum)?;
    stage.run(4)
}

/// 1 has 4 and 5 vote too, which 2 and 3 have accepted and do not know to be chosen, and has a command chosen by 4, 5 and
/// itself. Then 2 leads by 3: it finds the change, and what it proposes behind it 4 and 5 accept in the command's place,
/// unless it asks them first.
pub(super) fn old_members_elect<P: Protocol>() -> Result<(), Violation> {
    let mut stage = Stage::<P>::with_blank_nodes(3, 2, 1)?;
    stage.world.campaign(ONE)?;
    stage.run(1)?;
    stage.change(&[ONE, TWO, THREE], &[FOUR, FIVE])?;
    stage.run(1)?;

    stage.ask_for(ONE, &[ONE, TWO, THREE, FOUR, FIVE], &[])?;
    stage.ask(ONE, &[TWO, THREE])?;
    for old in [TWO, THREE] {
        stage.lose(ONE, old);
    }
    stage.exchange(&[ONE, FOUR, FIVE])?;
    let first = stage.put(ONE)?;
    stage.ask(ONE, &[FOUR, FIVE])?;
    stage.lose_all();
    if first.and_then(|id| stage.world.acknowledged_at(id)).is_none() {
        return Err(stuck(ONE, "the new members have chosen nothing".to_owned()));
    }

    stage.elect(TWO, &[THREE])?;
    stage.exchange(&[TWO, THREE])?;
    stage.put(TWO)?;
    stage.exchange(&[TWO, THREE, FOUR, FIVE])
}
