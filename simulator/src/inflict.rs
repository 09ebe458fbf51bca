//! How a planned fault takes place, and how it ends.
//!
//! ```text
//!   inflict ──▶ whom does it hit? ──▶ at once: a cut, a pause, …                    ──▶ over ──▶ relieve
//!                 (leads, is free,    armed: goes off when the moment comes,
//!                  may be lost)              or at the end of its span at the latest
//! ```
//!
//! A node that stops is held down by the fault that stopped it, and starts again when the last fault that holds it is
//! over. Faults that stop nodes keep out of each other's way: one finds another node, or does not take place; unless the
//! profile has promised it, then it first brings somebody back whom it can hit.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;

use crate::atlas::{Atlas, Loss};
use crate::checks::Violation;
use crate::disk::{Ailment, Damage, DiskError, Fate};
use crate::network::Shape;
use crate::node::Slowness;
use crate::plan::{Fault, Moment, Planned, Target};
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// A crash that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    number: u64,
    moment: Moment,
}

/// A fault that is not over.
#[derive(Clone, Debug)]
struct Active {
    planned: Planned,
    node: Option<NodeId>,
    links: BTreeSet<(NodeId, NodeId)>,
    chance: SeededRandom,
    struck: bool,
}

/// All faults that are not over, and the nodes that they hold down.
#[derive(Debug, Default)]
pub(crate) struct Afflictions {
    active: BTreeMap<u64, Active>,
    holds: BTreeMap<NodeId, BTreeSet<u64>>,
}

impl Afflictions {
    fn hold(&mut self, node: NodeId, number: u64) {
        self.holds.entry(node).or_default().insert(number);
    }

    /// The nodes that this fault held down, and no other one does.
    fn release(&mut self, number: u64) -> Vec<NodeId> {
        let mut free = Vec::new();
        self.holds.retain(|node, holders| {
            if holders.remove(&number) && holders.is_empty() {
                free.push(*node);
            }
            !holders.is_empty()
        });
        free
    }

    /// Whether a fault that stops nodes has to do with this one.
    fn is_engaged(&self, node: NodeId) -> bool {
        let stops = |active: &Active| active.node == Some(node) && active.planned.fault.stops();
        self.holds.contains_key(&node) || self.active.values().any(stops)
    }

    /// What the faults of this node still say, of which the last holds.
    fn last<T>(&self, node: NodeId, says: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let of_node = self.active.values().filter(|active| active.node == Some(node));
        of_node.filter_map(|active| says(&active.planned.fault)).last()
    }
}

/// The life of a fault.
impl<P: Protocol> World<P> {
    /// What stands and what does not.
    pub fn atlas(&self) -> &Atlas {
        &self.atlas
    }

    /// A planned fault begins; false where there is nobody whom it could hit, and nothing came of it.
    pub fn inflict(&mut self, planned: &Planned) -> Result<bool, Violation> {
        let Some(target) = planned.fault.target() else {
            return self.begin(planned, None);
        };
        for node in self.candidates(planned, target) {
            if planned.fault.stops() && !self.is_free(node) {
                self.bring_back(node)?;
            }
            if self.begin(planned, Some(node))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A fault's span is over: what waited goes off now, and what it broke works again.
    pub fn relieve(&mut self, planned: &Planned) -> Result<(), Violation> {
        let number = planned.number;
        if self.afflictions.active.get(&number).is_some_and(|active| !active.struck) {
            self.go_off(number)?;
        }
        let Some(active) = self.afflictions.active.remove(&number) else { return Ok(()) };
        self.end(&active)?;
        self.note(Happening::Over(planned.fault.kind(), active.node));
        let freed = self.afflictions.release(number);
        for node in freed.into_iter().chain(active.node) {
            if !self.afflictions.holds.contains_key(&node) {
                self.start_again(node)?;
            }
        }
        Ok(())
    }

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
        }
    }

    /// These nodes run again, with everything well between them; the others are down, and stay so.
    pub fn repair(&mut self, chosen: &BTreeSet<NodeId>) -> Result<(), Violation> {
        self.heal_all();
        for id in self.ids() {
            if chosen.contains(&id) {
                self.start_again(id)?;
            } else {
                self.stop(id)?;
            }
        }
        Ok(())
    }

    /// Every node runs again that is not lost for good; returns which they are.
    pub fn repair_all(&mut self) -> Result<Vec<NodeId>, Violation> {
        let healable = self.atlas.healable();
        self.repair(&healable.iter().copied().collect())?;
        Ok(healable)
    }

    fn stop(&mut self, id: NodeId) -> Result<(), Violation> {
        let at_stake = self.at_stake(id);
        self.crash(id, at_stake)
    }

    fn start_again(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.atlas.is_lost(id) { Ok(()) } else { self.restart(id) }
    }
}

/// Whom it hits.
impl<P: Protocol> World<P> {
    /// The target as it is now, then whoever else would do.
    fn candidates(&self, planned: &Planned, target: Target) -> Vec<NodeId> {
        let fault = &planned.fault;
        let first = self.resolve(target);
        let ids = self.ids();
        let after = ids.iter().filter(|id| **id > first).chain(ids.iter().filter(|id| **id < first)).copied();
        let all: Vec<NodeId> = std::iter::once(first).chain(after).filter(|id| !self.atlas.is_lost(*id)).collect();
        let all = match fault {
            Fault::Damage(..) | Fault::Wipe(_) => {
                all.into_iter().filter(|id| self.atlas.may_lose_for_good(*id)).collect()
            }
            Fault::Partition(..) | Fault::Clog(..) | Fault::Drift(..) => return all,
            _ => all,
        };
        let (fit, unfit): (Vec<NodeId>, Vec<NodeId>) =
            all.into_iter().partition(|id| if fault.stops() { self.is_free(*id) } else { self.is_up(*id) });
        if planned.promised { fit.into_iter().chain(unfit).collect() } else { fit }
    }

    fn resolve(&self, target: Target) -> NodeId {
        let ids = self.ids();
        match target {
            Target::Node(node) => node,
            Target::Leader => self.leader().unwrap_or(ids[0]),
            Target::Follower(nth) => {
                let others: Vec<NodeId> = ids.iter().copied().filter(|id| self.leader() != Some(*id)).collect();
                others.get((nth % others.len().max(1) as u64) as usize).copied().unwrap_or(ids[0])
            }
        }
    }

    fn is_free(&self, node: NodeId) -> bool {
        self.is_up(node) && !self.afflictions.is_engaged(node)
    }

    /// Whatever keeps this node from running lets it go: what was promised needs it.
    fn bring_back(&mut self, id: NodeId) -> Result<(), Violation> {
        let stops = |active: &Active| active.node == Some(id) && active.planned.fault.stops();
        let engaged: Vec<Planned> =
            self.afflictions.active.values().filter(|active| stops(active)).map(|active| active.planned).collect();
        for planned in engaged {
            self.relieve(&planned)?;
        }
        self.afflictions.holds.remove(&id);
        self.resume(id);
        self.start_again(id)
    }
}

/// What it does.
impl<P: Protocol> World<P> {
    /// False where nothing comes of it.
    fn begin(&mut self, planned: &Planned, node: Option<NodeId>) -> Result<bool, Violation> {
        let chance = SeededRandom::new(planned.seed);
        let active = Active { planned: *planned, node, links: BTreeSet::new(), chance, struck: false };
        let number = planned.number;
        self.afflictions.active.insert(number, active);
        let began = match (planned.fault, node) {
            (Fault::Weather(faults), _) => {
                self.network.begin_weather(number, faults);
                self.strike(number)
            }
            (fault, Some(node)) => self.begin_at(number, fault, node)?,
            (_, None) => false,
        };
        if !began {
            self.afflictions.active.remove(&number);
        }
        Ok(began)
    }

    fn begin_at(&mut self, number: u64, fault: Fault, id: NodeId) -> Result<bool, Violation> {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(false) };
        match fault {
            Fault::Crash(_, moment) | Fault::CrashAll(_, moment) => match moment {
                Moment::Now => self.go_off(number)?,
                moment => node.armed = Some(Armed { number, moment }),
            },
            Fault::TornWrite(_) => node.armed = Some(Armed { number, moment: Moment::NextWriteBegun }),
            Fault::Disk(_, ailment) => node.disk.fall_ill(ailment),
            Fault::Damage(_, damage) => return Ok(self.damage(number, id, damage)),
            Fault::Wipe(_) => return self.wipe(number, id).map(|()| true),
            Fault::Partition(_, shape) => {
                let links = self.span(number, shape, id);
                links.iter().for_each(|(from, to)| self.cut(*from, *to));
                return Ok(!links.is_empty() && self.strike(number));
            }
            Fault::Clog(_, shape) => {
                let links = self.span(number, shape, id);
                links.iter().for_each(|(from, to)| self.network.clog(*from, *to));
                return Ok(!links.is_empty() && self.strike(number));
            }
            Fault::Pause(_) => {
                self.pause(id);
                return Ok(self.strike(number));
            }
            Fault::SlowNode(..) | Fault::SlowDisk(..) => {
                self.set_slowness(id);
                return Ok(self.strike(number));
            }
            Fault::Drift(_, ppm) => {
                node.clock.set_rate(now, ppm);
                return Ok(self.strike(number));
            }
            Fault::Campaign(_) => {
                self.strike(number);
                self.campaign(id)?;
            }
            Fault::Weather(_) => {}
        }
        Ok(true)
    }

    /// The fault has taken place.
    fn strike(&mut self, number: u64) -> bool {
        if let Some(active) = self.afflictions.active.get_mut(&number) {
            active.struck = true;
            let (kind, node) = (active.planned.fault.kind(), active.node);
            self.note(Happening::Struck(kind, node));
        }
        true
    }

    /// The links of a shape around a node; the fault remembers them.
    fn span(&mut self, number: u64, shape: Shape, target: NodeId) -> BTreeSet<(NodeId, NodeId)> {
        let ids = self.ids();
        let Some(active) = self.afflictions.active.get_mut(&number) else { return BTreeSet::new() };
        active.links = shape.links(target, &ids, active.planned.seed);
        active.links.clone()
    }

    fn damage(&mut self, number: u64, id: NodeId, damage: Damage) -> bool {
        let choice = self.afflictions.active.get_mut(&number).map_or(0, |active| active.chance.next_u64());
        let spot = self.nodes.get(&id).and_then(|node| node.disk.damage(damage, choice));
        if spot.is_some() {
            self.atlas.lose(id, Loss::Damaged);
            self.strike(number);
        }
        spot.is_some()
    }

    /// Somebody puts a blank disk in, and starts the node under its old id.
    fn wipe(&mut self, number: u64, id: NodeId) -> Result<(), Violation> {
        self.strike(number);
        self.stop(id)?;
        self.atlas.lose(id, Loss::Wiped);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.wipe();
        }
        self.checks.wiped(id);
        self.restart(id)
    }

    /// What the node's faults say now about how slow it is.
    fn set_slowness(&mut self, id: NodeId) {
        let work = self.afflictions.last(id, |fault| match fault {
            Fault::SlowNode(_, times) => Some(*times),
            _ => None,
        });
        let sync = self.afflictions.last(id, |fault| match fault {
            Fault::SlowDisk(_, times) => Some(*times),
            _ => None,
        });
        let work = work.unwrap_or(1);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.slowness = Slowness { work, sync: work.max(sync.unwrap_or(1)) };
        }
    }

    /// What the fault broke works again, save for nodes that are down.
    fn end(&mut self, active: &Active) -> Result<(), Violation> {
        for (from, to) in &active.links {
            match active.planned.fault {
                Fault::Clog(..) => self.unclog(*from, *to),
                _ => self.mend(*from, *to),
            }
        }
        let Some(id) = active.node else {
            self.network.end_weather(active.planned.number);
            return Ok(());
        };
        match active.planned.fault {
            Fault::Pause(_) => self.resume(id),
            Fault::SlowNode(..) | Fault::SlowDisk(..) => self.set_slowness(id),
            Fault::Drift(..) => self.set_rate(id),
            Fault::Disk(_, ailment) => {
                // In vain, while the disk is as it is.
                if ailment != Ailment::SyncFails {
                    self.start_again(id)?;
                }
                if let Some(node) = self.nodes.get(&id) {
                    node.disk.cure(ailment);
                }
            }
            Fault::Damage(..) => self.find_damage(id)?,
            _ => {}
        }
        Ok(())
    }

    fn set_rate(&mut self, id: NodeId) {
        let now = self.now;
        let ppm = self.afflictions.last(id, |fault| if let Fault::Drift(_, ppm) = fault { Some(*ppm) } else { None });
        if let Some(node) = self.nodes.get_mut(&id) {
            match ppm {
                Some(ppm) => node.clock.set_rate(now, ppm),
                None => node.clock.restore_rate(now),
            }
        }
    }

    /// The node has not come across its damage: it does now, at a start. It must not run on such a disk.
    fn find_damage(&mut self, id: NodeId) -> Result<(), Violation> {
        self.stop(id)?;
        if !self.nodes.get(&id).is_some_and(|node| node.disk.is_damaged()) {
            // What was damaged is trimmed meanwhile.
            return Ok(());
        }
        self.restart(id)?;
        if self.process(id).is_some() {
            return Err(Violation::Engine { node: id, what: "runs on a disk whose damage a start must find".into() });
        }
        Ok(())
    }
}

/// What goes off.
impl<P: Protocol> World<P> {
    /// A moment has come for the node; true where a crash was waiting for it, and the node is down now.
    pub(crate) fn moment(&mut self, id: NodeId, moment: Moment) -> Result<bool, Violation> {
        let armed = self.nodes.get(&id).and_then(|node| node.armed).filter(|armed| armed.moment == moment);
        let Some(armed) = armed else { return Ok(false) };
        self.go_off(armed.number)?;
        Ok(self.process(id).is_none())
    }

    /// The fault stops whom it is to stop.
    fn go_off(&mut self, number: u64) -> Result<(), Violation> {
        let Some(active) = self.afflictions.active.get(&number) else { return Ok(()) };
        let (fault, mut chance) = (active.planned.fault, active.chance.clone());
        let Some(id) = active.node else { return Ok(()) };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.armed = None;
        }
        self.strike(number);
        let victims = if matches!(fault, Fault::CrashAll(..)) { self.atlas.healable() } else { vec![id] };
        for victim in victims {
            if self.process(victim).is_some() {
                self.afflictions.hold(victim, number);
                self.lose_power(victim, &mut chance, matches!(fault, Fault::TornWrite(_)))?;
            }
        }
        Ok(())
    }

    /// A node's process dies, and of what was under way any subset is left.
    pub(crate) fn lose_power(&mut self, id: NodeId, chance: &mut SeededRandom, torn: bool) -> Result<(), Violation> {
        let at_stake = self.at_stake(id);
        let mut fates = Fate::draw(at_stake.writes, chance);
        if torn {
            // With nothing under way the beginning of a record is left that nobody will ever name.
            let place = chance.below(at_stake.writes as u64) as usize;
            fates = if fates.is_empty() { vec![Fate::Torn] } else { Fate::prefix(place, at_stake.writes) };
            if let Some(fate) = fates.get_mut(place) {
                *fate = Fate::Torn;
            }
        }
        let batches = chance.below(at_stake.batches as u64 + 1) as usize;
        self.crash_with(id, &fates, batches)
    }

    /// The node's disk has failed a write or a read: the process ends, as the driver's does.
    pub(crate) fn disk_failed(&mut self, id: NodeId, error: DiskError) -> Result<(), Violation> {
        self.note(Happening::DiskFailed(id, error));
        let fails = |active: &&Active| {
            let Fault::Disk(_, ailment) = active.planned.fault else { return false };
            active.node == Some(id) && ailment.error() == error
        };
        match self.afflictions.active.values().find(fails).map(|active| active.planned.number) {
            Some(number) => self.go_off(number),
            None => {
                let mut chance = SeededRandom::new(self.random.next_u64());
                self.lose_power(id, &mut chance, false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
