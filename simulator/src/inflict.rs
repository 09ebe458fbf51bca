//! How a planned fault takes place, and how it ends.
//!
//! ```text
//!   inflict ──▶ whom does it hit? ──▶ at once: a cut, a pause, …             ──▶ over ──▶ relieve
//!                 (leads, is free,    armed: strikes when the moment comes,
//!                  may be lost)              a disk is asked, a write begins
//! ```
//!
//! What has not struck by the end of its span is provoked ([`strike`]): a crash comes then, and a disk that is ill or
//! damaged is asked for what it cannot do. Where that is not enough and the profile has promised the fault, it stays until
//! it strikes.
//!
//! A node that stops is held down by the fault that stopped it, and starts again when the last fault that holds it is
//! over. Faults that stop nodes keep out of each other's way: one finds another node, or does not take place; unless the
//! profile has promised it, then it first brings somebody back whom it can hit.

mod repair;
mod strike;

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;

use crate::atlas::Atlas;
use crate::checks::Violation;
use crate::disk::DiskError;
use crate::plan::{Fault, Moment, Planned, Target};
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

pub use repair::LeftBroken;

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
    /// Whether it has taken place.
    struck: bool,
    /// Whether its span is over and it stays all the same, until it strikes.
    overdue: bool,
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

    /// The fault because of which this node's disk says so.
    fn cause(&self, node: NodeId, error: DiskError) -> Option<u64> {
        let says = |active: &&Active| match active.planned.fault {
            Fault::Disk(_, ailment) => ailment.error() == error,
            Fault::Damage(..) => error.is_for_good(),
            _ => false,
        };
        let of_node = self.active.values().filter(|active| active.node == Some(node));
        of_node.filter(says).map(|active| active.planned.number).next()
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
        if planned.fault.kind().is_for_good() {
            self.update_atlas();
        }
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

    /// A fault's span is over: what waited strikes now, and what it broke works again. What was promised and cannot strike
    /// now stays until it does.
    pub fn relieve(&mut self, planned: &Planned) -> Result<(), Violation> {
        self.provoke(planned.number)?;
        match self.afflictions.active.get_mut(&planned.number) {
            Some(active) if planned.promised && !active.struck => {
                active.overdue = true;
                Ok(())
            }
            _ => self.finish(planned.number),
        }
    }

    /// Whether or not it has struck.
    fn finish(&mut self, number: u64) -> Result<(), Violation> {
        let Some(active) = self.afflictions.active.remove(&number) else { return Ok(()) };
        self.end(&active)?;
        if active.struck {
            self.note(Happening::Over(active.planned.fault.kind(), active.node));
        }
        let freed = self.afflictions.release(number);
        for node in freed.into_iter().chain(active.node) {
            if !self.afflictions.holds.contains_key(&node) {
                self.start_again(node)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, id: NodeId) -> Result<(), Violation> {
        let at_stake = self.at_stake(id);
        self.crash(id, at_stake)
    }

    /// A node that is down runs again, unless a start has found that it must not.
    fn start_again(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.nodes.get(&id).is_some_and(|node| node.condemned) { Ok(()) } else { self.restart(id) }
    }
}

/// Whom it hits.
impl<P: Protocol> World<P> {
    /// The target as it is now, then whoever else would do.
    fn candidates(&self, planned: &Planned, target: Target) -> Vec<NodeId> {
        let fault = &planned.fault;
        let first = self.resolve(target, planned.seed);
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

    /// The seed decides where nobody leads, or nobody follows.
    fn resolve(&self, target: Target, seed: u64) -> NodeId {
        let ids = self.ids();
        let any = ids[(seed % ids.len() as u64) as usize];
        match target {
            Target::Node(node) => node,
            Target::Leader => self.leader().unwrap_or(any),
            Target::Follower(nth) => {
                let others: Vec<NodeId> = ids.iter().copied().filter(|id| self.leader() != Some(*id)).collect();
                others.get((nth % others.len().max(1) as u64) as usize).copied().unwrap_or(any)
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
            self.provoke(planned.number)?;
            self.finish(planned.number)?;
        }
        self.afflictions.holds.remove(&id);
        self.resume(id);
        self.start_again(id)
    }
}

#[cfg(test)]
mod tests;
