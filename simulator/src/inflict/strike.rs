//! What a fault does to the world, and what the world does that makes it strike.
//!
//! ```text
//!   begin ──▶ a link is cut, a node pauses, …        strikes at once
//!         ├─▶ armed, the node's next send, write, …  goes off: the process dies
//!         └─▶ ill or damaged, the disk is asked …    fails a write or a read: the process dies; or refuses a start
//! ```
//!
//! What counts as a fault that took place is the event: a disk that would have failed the next sync has not failed one.

use std::collections::BTreeSet;

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;
use replica::ReplicaError;

use super::{Active, Armed};
use crate::atlas::Loss;
use crate::checks::Violation;
use crate::disk::{Ailment, Damage, DiskError, Fate};
use crate::faults::Survivors;
use crate::network::Shape;
use crate::node::{Node, Slowness};
use crate::plan::{Fault, Moment, Planned};
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// What it does.
impl<P: Protocol> World<P> {
    /// False where nothing comes of it.
    pub(super) fn begin(&mut self, planned: &Planned, node: Option<NodeId>) -> Result<bool, Violation> {
        let chance = SeededRandom::new(planned.seed);
        let active = Active { planned: *planned, node, links: BTreeSet::new(), chance, struck: false, overdue: false };
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
            Fault::Disk(_, ailment) => {
                node.disk.fall_ill(ailment);
                node.snapshots.fill(node.disk.suffers(Ailment::Full));
            }
            Fault::NoRoom(_) => node.snapshots.fill(true),
            Fault::Spoil(_) => return Ok(self.spoil(number, id) && self.strike(number)),
            Fault::Damage(_, damage) => {
                let is_done = self.damage(number, id, damage);
                if is_done {
                    self.atlas.lose(id, Loss::Damaged);
                }
                return Ok(is_done);
            }
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
                node.clock.set_rate(now, self.config.within_bound(ppm));
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

    /// The fault has taken place; it does so once.
    fn strike(&mut self, number: u64) -> bool {
        if let Some(active) = self.afflictions.active.get_mut(&number)
            && !std::mem::replace(&mut active.struck, true)
        {
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

    /// False where there is nothing to damage.
    fn damage(&mut self, number: u64, id: NodeId, damage: Damage) -> bool {
        let choice = self.afflictions.active.get_mut(&number).map_or(0, |active| active.chance.next_u64());
        self.nodes.get(&id).is_some_and(|node| node.disk.damage(damage, choice).is_some())
    }

    /// A bit flips in a snapshot at rest; false where there is none.
    fn spoil(&mut self, number: u64, id: NodeId) -> bool {
        let Some(active) = self.afflictions.active.get_mut(&number) else { return false };
        let Some(node) = self.nodes.get(&id) else { return false };
        let at_rest = node.snapshots.at_rest();
        let Some(place) = active.chance.next_u64().checked_rem(at_rest.len() as u64) else { return false };
        let (snapshot, bytes) = at_rest[place as usize];
        node.snapshots.spoil(snapshot, active.chance.below(bytes))
    }

    /// Somebody puts a blank disk in, and starts the node under its old id.
    fn wipe(&mut self, number: u64, id: NodeId) -> Result<(), Violation> {
        self.strike(number);
        self.replace_disk(id)
    }

    /// As [`Fault::Wipe`](crate::plan::Fault::Wipe), by hand: a blank disk, which has a name of its own.
    pub fn replace_disk(&mut self, id: NodeId) -> Result<(), Violation> {
        self.stop(id)?;
        self.update_atlas();
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
    pub(super) fn end(&mut self, active: &Active) -> Result<(), Violation> {
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
        if let Some(node) = self.nodes.get_mut(&id) {
            node.armed = node.armed.filter(|armed| armed.number != active.planned.number);
        }
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
                self.make_room(id);
            }
            Fault::NoRoom(_) => self.make_room(id),
            _ => {}
        }
        Ok(())
    }

    /// There is room for snapshots again, unless another fault of the node still says that there is none.
    fn make_room(&mut self, id: NodeId) {
        let fills = |fault: &Fault| matches!(fault, Fault::NoRoom(_) | Fault::Disk(_, Ailment::Full)).then_some(());
        let is_full = self.afflictions.last(id, fills).is_some();
        if let Some(node) = self.nodes.get(&id) {
            node.snapshots.fill(is_full);
        }
    }

    fn set_rate(&mut self, id: NodeId) {
        let now = self.now;
        let ppm = self.afflictions.last(id, |fault| if let Fault::Drift(_, ppm) = fault { Some(*ppm) } else { None });
        if let Some(node) = self.nodes.get_mut(&id) {
            match ppm {
                Some(ppm) => node.clock.set_rate(now, self.config.within_bound(ppm)),
                None => node.clock.restore_rate(now),
            }
        }
    }
}

/// What strikes.
impl<P: Protocol> World<P> {
    /// A moment has come for the node; true where a crash was waiting for it, and that life of the node is over.
    pub(crate) fn moment(&mut self, id: NodeId, moment: Moment) -> Result<bool, Violation> {
        let waits = |node: &Node<P>| Some((node.armed.filter(|armed| armed.moment == moment)?, node.boot));
        let Some((armed, boot)) = self.nodes.get(&id).and_then(waits) else { return Ok(false) };
        self.go_off(armed.number)?;
        Ok(self.nodes.get(&id).is_none_or(|node| node.process.is_none() || node.boot != boot))
    }

    /// What has not struck by the end of its span strikes now, if that can be brought about.
    pub(super) fn provoke(&mut self, number: u64) -> Result<(), Violation> {
        let waits = |active: &&Active| !active.struck;
        let Some(active) = self.afflictions.active.get(&number).filter(waits) else { return Ok(()) };
        let (planned, Some(id)) = (active.planned, active.node) else { return Ok(()) };
        match planned.fault {
            Fault::Crash(..) | Fault::CrashAll(..) => self.go_off(number),
            Fault::TornWrite(_) if self.at_stake(id).writes > 0 => self.go_off(number),
            // A ballot of its own is a write, and nobody hears of it: the node dies of that write.
            Fault::TornWrite(_) if planned.promised => self.campaign(id),
            Fault::Disk(_, Ailment::SyncFails) => {
                self.flush_tables(id)?;
                let waits = self.afflictions.active.get(&number).is_some_and(|active| !active.struck);
                if planned.promised && waits { self.campaign(id) } else { Ok(()) }
            }
            Fault::Disk(..) => {
                let mut chance = active.chance.clone();
                self.afflictions.hold(id, number);
                self.lose_power(id, &mut chance, false)?;
                self.start_again(id)
            }
            Fault::Damage(_, damage) => self.find_damage(number, id, damage),
            Fault::NoRoom(_) => self.take_snapshot(id),
            _ => Ok(()),
        }
    }

    /// A snapshot was to be taken or received, and there was no room for it.
    pub(crate) fn no_room(&mut self, id: NodeId) -> Result<(), Violation> {
        let active = self.afflictions.active.values();
        let of_node =
            active.filter(|active| active.node == Some(id) && matches!(active.planned.fault, Fault::NoRoom(_)));
        for (number, overdue) in of_node.map(|it| (it.planned.number, it.overdue)).collect::<Vec<_>>() {
            self.strike(number);
            if overdue {
                self.finish(number)?;
            }
        }
        Ok(())
    }

    /// The node has not come across its damage: it does now, at a start. It must not run on such a disk.
    fn find_damage(&mut self, number: u64, id: NodeId, damage: Damage) -> Result<(), Violation> {
        self.stop(id)?;
        // What was damaged may be trimmed meanwhile.
        let is_damaged = self.nodes.get(&id).is_some_and(|node| node.disk.is_damaged());
        if !is_damaged && !self.damage(number, id, damage) {
            return Ok(());
        }
        self.restart(id)?;
        if self.process(id).is_some() {
            return Err(Violation::Engine { node: id, what: "runs on a disk whose damage a start must find".into() });
        }
        Ok(())
    }

    /// The fault stops whom it is to stop.
    fn go_off(&mut self, number: u64) -> Result<(), Violation> {
        let Some(active) = self.afflictions.active.get(&number) else { return Ok(()) };
        let (fault, overdue, mut chance) = (active.planned.fault, active.overdue, active.chance.clone());
        let Some(id) = active.node else { return Ok(()) };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.armed = None;
        }
        self.strike(number);
        let victims = if matches!(fault, Fault::CrashAll(..)) { self.ids() } else { vec![id] };
        for victim in victims {
            if self.process(victim).is_some() {
                self.afflictions.hold(victim, number);
                self.lose_power(victim, &mut chance, matches!(fault, Fault::TornWrite(_)))?;
            }
        }
        if overdue { self.finish(number) } else { Ok(()) }
    }

    /// A node's process dies, and of what was under way any subset is left; torn, one record of it is there in part.
    fn lose_power(&mut self, id: NodeId, chance: &mut SeededRandom, torn: bool) -> Result<(), Violation> {
        let at_stake = self.at_stake(id);
        let mut fates = Fate::draw(at_stake.writes, chance);
        if torn {
            let place = chance.below(at_stake.writes as u64) as usize;
            fates = Fate::prefix(place, at_stake.writes);
            if let Some(fate) = fates.get_mut(place) {
                *fate = Fate::Torn;
            }
        }
        let batches = chance.below(at_stake.batches as u64 + 1) as usize;
        let incoming = chance.below(2) == 0;
        self.crash_with(id, &fates, Survivors { batches, incoming, ..at_stake })
    }

    /// The node's disk has failed a write or a read: the process ends, as the driver's does.
    pub(crate) fn disk_failed(&mut self, id: NodeId, error: DiskError) -> Result<(), Violation> {
        self.note(Happening::DiskFailed(id, error));
        match self.afflictions.cause(id, error) {
            Some(number) => self.go_off(number),
            None => {
                let mut chance = SeededRandom::new(self.random.next_u64());
                self.lose_power(id, &mut chance, false)
            }
        }
    }

    /// A disk that is ill or damaged keeps its node down; any other reason is a finding, and so is damage that nobody did.
    pub(crate) fn not_started(&mut self, id: NodeId, error: &ReplicaError) -> Result<(), Violation> {
        let found = match error {
            ReplicaError::Log(error) => error.downcast_ref::<DiskError>(),
            _ => None,
        };
        let Some(error) = found.copied().filter(|error| !error.is_for_good() || self.atlas.is_lost(id)) else {
            return Err(Violation::Engine { node: id, what: format!("does not start: {error}") });
        };
        self.note(Happening::NotStarted(id, error));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.condemned |= error.is_for_good();
        }
        if let Some(number) = self.afflictions.cause(id, error) {
            self.strike(number);
        }
        Ok(())
    }
}
