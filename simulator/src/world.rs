//! The world: nodes, the links between them, and virtual time. It does what is due, one thing after another, and looks
//! after each whether everything still holds.
//!
//! ```text
//!   agenda ──earliest──▶ world ──input──▶ node's core ──settle──▶ writes  ──▶ a sync is due
//!      ▲                   │                                      messages ─▶ deliveries are due
//!      │                   └─▶ checks, trace                      entries ──▶ an application is due
//!      └────────────────────────────────────────────────────────  …
//! ```
//!
//! Whoever drives it (a script, a schedule) either lets time run and what is due happen, or picks single things by
//! hand. Crashes and cuts are in [`faults`](crate::World::crash).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::random::SeededRandom;
use consensus_api::{
    Blob, EngineConfig, EngineStatus, Input, Limits, LogIndex, Member, Membership, MonoTime, NodeId, RequestId, Role,
    StateMachine, StoreId, Timing,
};

use replica::SnapshotSettings;

use crate::agenda::{Agenda, Place, Scope, Task};
use crate::answers::{Answer, Reading};
use crate::atlas::Atlas;
use crate::checks::{Checks, Identity, OwnedDisk, Violation};
use crate::clock::{Clock, PPM_MAX};
use crate::disk::Disk;
use crate::inflict::Afflictions;
use crate::network::Network;
use crate::node::{Node, Process, first_store};
use crate::protocol::Protocol;
use crate::trace::{Counts, Happening, Trace};

pub use crate::inflict::LeftBroken;
pub use crate::network::{LinkFaults, Shape, SpanUs};

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// How many nodes found the cluster, all of them voters, with ids from 1.
    pub nodes: u64,
    /// How many more there are, blank and not members yet.
    pub blank: u64,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// The engines' timing.
    pub timing: Timing,
    /// The engines' bounds.
    pub limits: Limits,
    /// What links do.
    pub links: LinkFaults,
    /// How long a sync takes.
    pub sync: SpanUs,
    /// How long an application, a read-back, or the gathering of a batch takes.
    pub local: SpanUs,
    /// How often, of a thousand inputs, a node goes on gathering before it hands its effects out.
    pub batching_permille: u64,
    /// How far the nodes' clocks are apart, at most.
    pub clocks_apart: Duration,
    /// How many microseconds a second each clock gains or loses, at most; where the engines rely on a bound, no more than
    /// that, whatever goes wrong.
    pub drift_ppm_max: u64,
    /// When snapshots are taken, how much log is kept behind them, and how they are sent.
    pub snapshots: SnapshotSettings,
    /// How many bytes of recent changes the machines keep for watches; they travel in snapshots.
    pub history_bytes: u64,
    /// How many of a thousand chunks of snapshots are damaged on their way.
    pub garbled_permille: u64,
    /// How much of the history is kept to be shown.
    pub trace_max: usize,
}

impl Default for WorldConfig {
    /// Three nodes among which nothing takes time and nothing fails.
    fn default() -> WorldConfig {
        WorldConfig {
            nodes: 3,
            blank: 0,
            seed: 1,
            timing: Timing::default(),
            limits: Limits::default(),
            links: LinkFaults::default(),
            sync: SpanUs::default(),
            local: SpanUs::default(),
            batching_permille: 0,
            clocks_apart: Duration::ZERO,
            drift_ppm_max: 0,
            snapshots: SnapshotSettings::on_demand(),
            history_bytes: 1_000,
            garbled_permille: 0,
            trace_max: 100_000,
        }
    }
}

impl WorldConfig {
    /// How many nodes there are, members or not.
    pub fn nodes_in_all(&self) -> u64 {
        self.nodes + self.blank
    }

    /// Those who found the cluster.
    pub fn founders(&self) -> Membership {
        Membership::of_voters((1..=self.nodes).map(NodeId).map(|node| (node, member(node, first_store(node)))))
    }

    /// A clock's rate, as far as leases allow: beyond the bound that they are given nothing is promised.
    pub(crate) fn within_bound(&self, ppm: i64) -> i64 {
        let bound = self.timing.lease.map_or(i64::MAX, |lease| lease.clock_drift_ppm.into());
        ppm.clamp(-bound, bound)
    }
}

/// A node as a membership names it.
pub(crate) fn member(node: NodeId, store: StoreId) -> Member {
    Member { address: format!("node-{node}:1"), store }
}

/// Every disk that any node has had.
pub(crate) fn disks<P: Protocol>(nodes: &BTreeMap<NodeId, Node<P>>) -> Vec<OwnedDisk<'_>> {
    nodes.values().flat_map(Node::disks).collect()
}

/// How much may happen within one instant before the nodes are taken for busy without end.
const EVENTS_PER_INSTANT_MAX: u32 = 200_000;

/// A world of one engine's nodes.
#[derive(Debug)]
pub struct World<P: Protocol> {
    pub(crate) config: WorldConfig,
    pub(crate) now: MonoTime,
    pub(crate) random: SeededRandom,
    pub(crate) nodes: BTreeMap<NodeId, Node<P>>,
    pub(crate) network: Network,
    pub(crate) agenda: Agenda<P::Message>,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace<P::Message>,
    pub(crate) atlas: Atlas,
    pub(crate) afflictions: Afflictions,
    /// What clients want to read.
    pub(crate) reading: BTreeMap<RequestId, Reading>,
    /// The members that were ever asked for.
    pub(crate) ordered: Vec<Arc<Membership>>,
    /// How many changes of them are noted as settled.
    pub(crate) settled_noted: usize,
    /// For the clients, if any listen.
    pub(crate) answers: Option<Vec<Answer>>,
    events_this_instant: u32,
}

/// Where a node's clock stands when the world begins, and how fast it goes.
fn draw_clock(config: &WorldConfig, random: &mut SeededRandom) -> Clock {
    let apart_us = u64::try_from(config.clocks_apart.as_micros()).unwrap_or(u64::MAX);
    let offset = Duration::from_micros(random.below(apart_us.saturating_add(1)));
    let drift_ppm = match config.within_bound(i64::try_from(config.drift_ppm_max).unwrap_or(PPM_MAX)).min(PPM_MAX) {
        0 => 0,
        most => i64::try_from(random.below(2 * most.unsigned_abs() + 1)).unwrap_or(0) - most,
    };
    Clock::new(offset, drift_ppm)
}

impl<P: Protocol> World<P> {
    /// A world in which every node has just started from a blank disk.
    pub fn new(config: WorldConfig) -> Result<World<P>, Violation> {
        let mut random = SeededRandom::new(config.seed);
        let ids: Vec<NodeId> = (1..=config.nodes_in_all()).map(NodeId).collect();
        let nodes = ids.iter().map(|id| (*id, Node::new(*id, draw_clock(&config, &mut random))));
        let mut world = World {
            now: MonoTime::default(),
            nodes: nodes.collect(),
            network: Network::new(config.nodes_in_all(), config.links),
            agenda: Agenda::new(),
            checks: Checks::new(P::ROUND_IS_EPOCH, config.founders(), config.limits.reconfiguration_window),
            trace: Trace::new(config.trace_max),
            atlas: Atlas::new(config.founders()),
            ordered: Vec::new(),
            settled_noted: 0,
            afflictions: Afflictions::default(),
            reading: BTreeMap::new(),
            answers: None,
            events_this_instant: 0,
            random,
            config,
        };
        for id in ids {
            world.start(id)?;
        }
        Ok(world)
    }

    /// Starts a process on a node's disk and tables.
    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        let founders = self.config.founders();
        let store = self.store(id).filter(|_| !is_planted(Bug::WipedDiskAdmitted));
        let config = EngineConfig {
            node: id,
            store,
            boot: 0,
            seed: self.random.next_u64(),
            timing: self.config.timing.clone(),
            limits: self.config.limits.clone(),
        };
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if let Err(error) = node.start(config, founders, (&self.config.snapshots, self.config.history_bytes), now) {
            return self.not_started(id, &error);
        }
        self.atlas.up(id);
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        if let Some((status, process)) = node.status().zip(node.process.as_ref()) {
            self.checks.started((id, &node.disk), &status, process.core.applied())?;
            let state = process.machine.applied();
            let state = state.map_err(|error| Violation::Engine { node: id, what: error.to_string() })?;
            self.checks.begins_with((id, &node.disk), &state)?;
        }
        // The last life may have ended between a snapshot and the trimming.
        self.want_trim(id)?;
        self.keep_time(id);
        self.settle(id)
    }

    /// The time, by a clock that nobody in the world can read.
    pub fn now(&self) -> MonoTime {
        self.now
    }

    /// All nodes, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// How a running node stands.
    pub fn status(&self, node: NodeId) -> Option<EngineStatus> {
        self.nodes.get(&node)?.status()
    }

    /// What a running node's tables have applied.
    pub fn applied(&self, node: NodeId) -> Option<LogIndex> {
        self.process(node).map(|process| process.core.applied())
    }

    /// What a node's disk is known by, and whose it is.
    pub(crate) fn identity(&self, node: NodeId) -> Identity {
        (node, self.store(node).unwrap_or_default())
    }

    /// Between which disks a message leaves; where there is no connection, between none that are ever there.
    pub(crate) fn connected(&self, from: NodeId, to: NodeId) -> (StoreId, StoreId) {
        if self.admits(from, to) { self.stores(from, to) } else { (StoreId::default(), StoreId::default()) }
    }

    pub(crate) fn stores(&self, from: NodeId, to: NodeId) -> (StoreId, StoreId) {
        (self.identity(from).1, self.identity(to).1)
    }

    /// What a node's disk is known by.
    pub fn store(&self, node: NodeId) -> Option<StoreId> {
        self.nodes.get(&node).map(|node| node.store)
    }

    /// A node's disk.
    pub fn disk(&self, node: NodeId) -> Option<&Disk> {
        self.nodes.get(&node).map(|node| &node.disk)
    }

    /// The history.
    pub fn trace(&mut self) -> &mut Trace<P::Message> {
        &mut self.trace
    }

    /// How much of everything has happened.
    pub fn counts(&self) -> Counts {
        self.trace.counts()
    }

    /// Where an acknowledged proposal stands.
    pub fn acknowledged_at(&self, id: RequestId) -> Option<LogIndex> {
        self.checks.requests.acknowledged_at(id)
    }

    /// Whether a proposal was refused.
    pub fn is_refused(&self, id: RequestId) -> bool {
        self.checks.requests.is_refused(id)
    }

    /// Whether a read was served.
    pub fn is_read_served(&self, id: RequestId) -> bool {
        self.checks.reads.is_served(id)
    }

    /// The last index of which a client knows that it is applied.
    pub fn last_acknowledged(&self) -> LogIndex {
        self.checks.requests.last_acknowledged()
    }

    /// The last index that any node has taken for committed.
    pub fn last_committed(&self) -> LogIndex {
        self.checks.last_committed()
    }

    /// The running node that leads in the highest ballot, if any does.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |node: &Node<P>| node.status().filter(|status| status.role == Role::Leader);
        self.nodes.values().filter_map(|node| Some((leads(node)?.ballot, node.id))).max().map(|(_, id)| id)
    }

    /// Whether a node runs and is not paused.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.process(node).is_some_and(|process| !process.paused)
    }

    pub(crate) fn process(&self, node: NodeId) -> Option<&Process<P>> {
        self.nodes.get(&node)?.process.as_ref()
    }

    pub(crate) fn process_mut(&mut self, node: NodeId) -> Option<&mut Process<P>> {
        self.nodes.get_mut(&node)?.process.as_mut()
    }

    pub(crate) fn note(&mut self, happening: Happening<P::Message>) {
        self.trace.note(self.now, happening);
    }
}

/// Time.
impl<P: Protocol> World<P> {
    /// Lets everything happen that is due until then.
    pub fn run_until(&mut self, until: MonoTime) -> Result<(), Violation> {
        while self.happen_next(until, Scope::Everything)? {}
        self.now = self.now.max(until);
        Ok(())
    }

    /// As [`World::run_until`], but no further than to an answer for a client.
    pub fn run_until_answered(&mut self, until: MonoTime) -> Result<(), Violation> {
        while self.answers.as_ref().is_none_or(Vec::is_empty) {
            if !self.happen_next(until, Scope::Everything)? {
                self.now = self.now.max(until);
                break;
            }
        }
        Ok(())
    }

    /// Lets time pass for the nodes' timers and for nothing else: what is on its way stays there.
    pub fn elapse(&mut self, span: Duration) -> Result<(), Violation> {
        let until = self.now + span;
        while self.happen_next(until, Scope::Internal)? {}
        self.now = until;
        Ok(())
    }

    /// Lets everything happen that can happen without the passing of time.
    pub fn stabilize(&mut self) -> Result<(), Violation> {
        self.exhaust(Scope::Everything)
    }

    /// Lets happen what goes on within the nodes: application, read-back.
    pub fn settle_locally(&mut self) -> Result<(), Violation> {
        self.exhaust(Scope::Internal)
    }

    fn exhaust(&mut self, scope: Scope) -> Result<(), Violation> {
        while let Some(place) = self.agenda.first(scope)
            && place.0 <= self.now
        {
            self.perform(place)?;
        }
        Ok(())
    }

    /// The earliest task or timer until then; false where there is none.
    fn happen_next(&mut self, until: MonoTime, scope: Scope) -> Result<bool, Violation> {
        let task = self.agenda.first(scope);
        let due = |node: &Node<P>| node.wakes_at().into_iter().chain(node.transfers_due()).min();
        let timer = self.nodes.values().filter_map(|node| Some((due(node)?.max(self.now), node.id))).min();
        match (task, timer) {
            (Some(place), timer) if place.0 <= until && timer.is_none_or(|(due, _)| place.0 <= due) => {
                self.perform(place)?;
            }
            (_, Some((due, node))) if due <= until => {
                self.pass_to(due);
                self.wake(node)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pass_to(&mut self, time: MonoTime) {
        if time > self.now {
            self.now = time;
            self.events_this_instant = 0;
        }
    }

    fn perform(&mut self, place: Place) -> Result<(), Violation> {
        self.pass_to(place.0);
        let Some(task) = self.agenda.take(place) else { return Ok(()) };
        let node = task.node();
        self.count_event(node)?;
        if let Some(process) = self.process_mut(node)
            && process.paused
        {
            process.held.push(task);
            return Ok(());
        }
        let is_current = |world: &World<P>, boot| world.nodes.get(&node).is_some_and(|node| node.boot == boot);
        match task {
            Task::Deliver(parcel) => self.deliver(parcel),
            Task::DeliverPiece(parcel) => self.deliver_piece(parcel),
            Task::Sync { boot, .. } if is_current(self, boot) => self.finish_sync(node),
            Task::Apply { boot, .. } if is_current(self, boot) => self.apply(node),
            Task::ReadBack { boot, .. } if is_current(self, boot) => self.read_back(node),
            Task::Settle { boot, .. } if is_current(self, boot) => self.settle(node),
            Task::Take { boot, .. } if is_current(self, boot) => self.take_snapshot(node),
            Task::Report { boot, .. } if is_current(self, boot) => self.hear_report(node),
            // It belonged to a life that is over.
            _ => Ok(()),
        }
    }

    /// The engine's timer goes off, or the courier's.
    fn wake(&mut self, node: NodeId) -> Result<(), Violation> {
        let transfers_due = self.nodes.get(&node).and_then(Node::transfers_due);
        if transfers_due.is_some_and(|due| due <= self.now) {
            self.count_event(node)?;
            return self.move_on(node);
        }
        self.tick(node)
    }

    /// A node's timer goes off.
    pub fn tick(&mut self, node: NodeId) -> Result<(), Violation> {
        self.count_event(node)?;
        self.input(node, Happening::Ticked(node), Input::Tick)
    }

    fn count_event(&mut self, node: NodeId) -> Result<(), Violation> {
        self.events_this_instant += 1;
        if self.events_this_instant <= EVENTS_PER_INSTANT_MAX {
            return Ok(());
        }
        Err(Violation::Engine { node, what: "is busy without end, and no time passes".into() })
    }
}

/// Clients.
impl<P: Protocol> World<P> {
    /// A client of the node proposes a command; `None` where nobody is there to take it.
    pub fn propose(&mut self, node: NodeId, data: Bytes) -> Result<Option<RequestId>, Violation> {
        let Some(id) = self.next_request(node) else { return Ok(None) };
        let cause = Happening::Proposed(id, data.clone());
        self.input(node, cause, Input::Propose { id, data: Blob(data) })?;
        Ok(Some(id))
    }

    /// Clients of the node propose commands that the node takes in as one batch.
    pub fn propose_together(&mut self, node: NodeId, batch: Vec<Bytes>) -> Result<(), Violation> {
        for data in batch {
            let Some(id) = self.next_request(node) else { return Ok(()) };
            let cause = Happening::Proposed(id, data.clone());
            self.step(node, cause, Input::Propose { id, data: Blob(data) });
        }
        self.settle(node)
    }

    /// The node is told to start an election.
    pub fn campaign(&mut self, node: NodeId) -> Result<(), Violation> {
        self.input(node, Happening::Campaigned(node), Input::Campaign)
    }

    pub(crate) fn next_request(&mut self, id: NodeId) -> Option<RequestId> {
        let node = self.nodes.get_mut(&id)?;
        let boot = node.boot;
        node.process.as_mut().filter(|process| !process.paused).map(|process| process.next_request(id, boot))
    }
}
