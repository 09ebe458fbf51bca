//! What is whole again after the faults, and what stays broken: a majority must work whatever becomes of the others.
//!
//! ```text
//!   repair      majority ══ whole        the others: down · paused · deaf · mute · a chain's end · slow disk · drift
//!   repair_all  everything that is not lost for good
//! ```

use std::collections::BTreeSet;

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;

use super::Afflictions;
use crate::checks::Violation;
use crate::disk::Ailment;
use crate::node::Slowness;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// What is wrong with a node outside the repaired majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftBroken {
    /// It does not run.
    Down,
    /// It stands still, as under SIGSTOP.
    Paused,
    /// It hears nobody, and is heard.
    Deaf,
    /// It is heard by nobody, and hears.
    Mute,
    /// It reaches this one, and nobody else, and nobody else reaches it.
    Chained(NodeId),
    /// Its syncs take this many times as long.
    SlowDisk(u32),
    /// Its clock gains this many microseconds a second.
    Drifting(i64),
}

impl LeftBroken {
    fn draw(majority: &BTreeSet<NodeId>, random: &mut SeededRandom) -> LeftBroken {
        let link = majority.iter().nth(random.below(majority.len() as u64) as usize).copied().unwrap_or(NodeId::NONE);
        match random.below(8) {
            0 => LeftBroken::Down,
            1 => LeftBroken::Paused,
            2 => LeftBroken::Deaf,
            3 => LeftBroken::Mute,
            4 => LeftBroken::Chained(link),
            5 => LeftBroken::SlowDisk(10),
            6 => LeftBroken::Drifting(50_000),
            _ => LeftBroken::Drifting(-50_000),
        }
    }
}

impl<P: Protocol> World<P> {
    /// All links, clocks and disks are well again (save what is lost for good), and whatever runs goes on. What is down
    /// stays down.
    pub fn heal_all(&mut self) {
        self.afflictions = Afflictions::default();
        self.heal();
        let now = self.now;
        for id in self.ids() {
            self.resume(id);
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.armed = None;
            node.slowness = Slowness::NONE;
            node.clock.restore_rate(now);
            for ailment in [Ailment::SyncFails, Ailment::ReadsFail, Ailment::Full] {
                node.disk.cure(ailment);
            }
            node.snapshots.fill(false);
        }
    }

    /// These nodes run again, with everything well between them. Each of the others stays broken in a way that the world's
    /// seed draws, and those that are lost for good as they are.
    pub fn repair(&mut self, majority: &BTreeSet<NodeId>) -> Result<(), Violation> {
        self.heal_all();
        let is_safe = self.is_safe_from_strays();
        let mut random = SeededRandom::new(self.config.seed ^ 0x7265_7061_6972);
        for id in self.ids() {
            let drawn = LeftBroken::draw(majority, &mut random);
            if majority.contains(&id) {
                self.start_again(id)?;
            } else if !self.atlas.is_lost(id) {
                self.leave_broken(id, if is_safe { drawn } else { LeftBroken::Down })?;
            }
        }
        Ok(())
    }

    /// A node that hears nobody asks for votes for ever. Others are deaf to it only where they ask around first and mind a
    /// leader that they hear.
    pub(crate) fn is_safe_from_strays(&self) -> bool {
        self.config.timing.pre_check && self.config.timing.check_quorum
    }

    /// Every node runs again that is not lost for good, and all is well between them; who is no member does so where it
    /// cannot disturb the others. Returns the members among them.
    pub fn repair_all(&mut self) -> Result<Vec<NodeId>, Violation> {
        self.heal_all();
        self.update_atlas();
        let has_a_say = self.atlas.healable();
        for id in self.ids() {
            if self.atlas.is_lost(id) {
                continue;
            }
            if has_a_say.contains(&id) || self.settled_members().contains(id) || self.is_safe_from_strays() {
                self.start_again(id)?;
            } else {
                self.stop(id)?;
            }
        }
        Ok(self.whole_members())
    }

    /// The settled members that are not lost for good.
    pub fn whole_members(&self) -> Vec<NodeId> {
        let members = self.settled_members();
        let is_whole = |node: &NodeId| {
            let is_known = members.members.get(node).is_some_and(|member| Some(member.store) == self.store(*node));
            is_known && !self.atlas.is_lost(*node)
        };
        members.members.keys().copied().filter(is_whole).collect()
    }

    /// The node is broken in this way until it is repaired.
    pub fn leave_broken(&mut self, id: NodeId, how: LeftBroken) -> Result<(), Violation> {
        if how == LeftBroken::Down {
            self.stop(id)?;
        } else {
            self.start_again(id)?;
        }
        let (now, others) = (self.now, self.ids().into_iter().filter(|other| *other != id));
        for other in others {
            if how == LeftBroken::Deaf || matches!(how, LeftBroken::Chained(link) if link != other) {
                self.cut(other, id);
            }
            if how == LeftBroken::Mute || matches!(how, LeftBroken::Chained(link) if link != other) {
                self.cut(id, other);
            }
        }
        match (how, self.nodes.get_mut(&id)) {
            (LeftBroken::SlowDisk(sync), Some(node)) => node.slowness = Slowness { sync, ..Slowness::NONE },
            (LeftBroken::Drifting(ppm), Some(node)) => node.clock.set_rate(now, ppm),
            (LeftBroken::Paused, _) => self.pause(id),
            _ => {}
        }
        self.note(Happening::LeftBroken(id, how));
        Ok(())
    }
}
