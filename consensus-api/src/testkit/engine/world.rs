//! A small world for engines: one thread, virtual time, mail that can be lost, and a referee.
//!
//! ```text
//!   step ──▶ engine ──take_effects──▶ referee ──▶ disk, mail, tables      everything that happens, happens here
//!     ▲                                                    │
//!     └────────── Persisted · Message · Applied ◀──────────┘
//! ```
//!
//! [`settle`](World::settle) does all that is to be done without time passing; [`run_until`](World::run_until) lets time
//! pass too, and ticks an engine only when it has asked for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::engine::{Engine, EngineConfig, EngineStatus, Input, Limits, ReadBack, Refusal, Role, SendSnapshot, Timing};
use crate::entry::{Blob, SharedEntry};
use crate::ids::{LogIndex, NodeId, RequestId, StoreId};
use crate::membership::{Member, Membership};
use crate::random::SeededRandom;
use crate::reads::ReadMode;
use crate::time::MonoTime;

use super::node::Node;

/// How long anything may take in virtual time before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_millis(100);

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter<M> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: M,
}

pub(crate) struct World<E: Engine> {
    seed: u64,
    pub(crate) now: MonoTime,
    pub(crate) random: SeededRandom,
    pub(crate) nodes: BTreeMap<NodeId, Node<E>>,
    pub(crate) mail: VecDeque<Letter<E::Message>>,
    pub(crate) snapshots: Vec<(NodeId, SendSnapshot)>,
    /// Whose mail is lost, both ways.
    pub(crate) cut: BTreeSet<NodeId>,
    /// Every message arrives twice.
    pub(crate) doubles_mail: bool,
    /// Whether tables are made durable as soon as something is applied.
    pub(crate) flushes: bool,
    /// Out of a hundred steps after which effects are taken only with a later one.
    pub(crate) batched_percent: u64,
    pub(crate) founders: Membership,
    /// What anybody was handed out, by index.
    pub(crate) chosen: BTreeMap<LogIndex, SharedEntry>,
    /// Where each request stands in it.
    pub(crate) done: BTreeMap<RequestId, LogIndex>,
    pub(crate) refused: BTreeMap<RequestId, Refusal>,
    /// The least index from which each read may be served.
    pub(crate) reads: BTreeMap<RequestId, LogIndex>,
    pub(crate) ready: BTreeMap<RequestId, LogIndex>,
    /// A hash of all effects so far.
    pub(crate) transcript: u64,
}

pub(crate) fn members(ids: impl IntoIterator<Item = u64>) -> Membership {
    let member = |id: u64| Member { address: format!("127.0.0.1:{}", 7000 + id), store: StoreId(id.into()) };
    Membership::of_voters(ids.into_iter().map(|id| (NodeId(id), member(id))))
}

impl<E: Engine> World<E> {
    /// This many voters, each with a blank disk, started.
    pub(crate) fn of(count: u64) -> World<E> {
        World::seeded(0, count, Limits::default())
    }

    pub(crate) fn seeded(seed: u64, count: u64, limits: Limits) -> World<E> {
        let mut world = World {
            seed,
            now: MonoTime::from_micros(1_000_000),
            random: SeededRandom::new(seed),
            nodes: BTreeMap::new(),
            mail: VecDeque::new(),
            snapshots: Vec::new(),
            cut: BTreeSet::new(),
            doubles_mail: false,
            flushes: true,
            batched_percent: 0,
            founders: members(1..=count),
            chosen: BTreeMap::new(),
            done: BTreeMap::new(),
            refused: BTreeMap::new(),
            reads: BTreeMap::new(),
            ready: BTreeMap::new(),
            transcript: 0,
        };
        for id in 1..=count {
            world.add(NodeId(id), limits.clone());
        }
        world
    }

    /// A node with a blank disk, which knows the founders.
    pub(crate) fn add(&mut self, node: NodeId, limits: Limits) {
        let heartbeat_interval = ELECTION_TIMEOUT / 10;
        let timing = Timing { heartbeat_interval, election_timeout: ELECTION_TIMEOUT, ..Timing::default() };
        let seed = self.random.next_u64();
        let config = EngineConfig { node, store: Some(StoreId(node.0.into())), boot: 1, seed, timing, limits };
        self.nodes.insert(node, Node::blank(config, &self.founders));
        self.start(node);
    }

    pub(crate) fn node(&self, node: NodeId) -> &Node<E> {
        &self.nodes[&node]
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Node<E> {
        self.nodes.get_mut(&node).expect("a node of this world")
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes.values().filter(|node| node.engine.is_some()).map(Node::id).collect()
    }

    pub(crate) fn status(&self, node: NodeId) -> Option<EngineStatus> {
        self.node(node).engine.as_ref().map(Engine::status)
    }

    /// Who leads and is not cut off; of two the one with the higher ballot.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |node: &NodeId| Some((self.status(*node).filter(|it| it.role == Role::Leader)?.ballot, *node));
        self.running().iter().filter(|node| !self.cut.contains(node)).filter_map(leads).max().map(|(_, node)| node)
    }

    /// Lets time pass until somebody leads, and everybody who runs knows it.
    pub(crate) fn await_leader(&mut self) -> NodeId {
        self.run_until("a leader that everybody knows", |world| {
            let reachable = world.running().into_iter().filter(|node| !world.cut.contains(node));
            let leader = world.leader();
            leader.is_some()
                && reachable.into_iter().all(|node| world.status(node).is_some_and(|it| it.leader == leader))
        });
        self.leader().expect("it was waited for")
    }

    pub(crate) fn followers(&self, leader: NodeId) -> Vec<NodeId> {
        self.ids().into_iter().filter(|node| *node != leader).collect()
    }

    pub(crate) fn stop(&mut self, node: NodeId) {
        self.node_mut(node).crash();
    }

    pub(crate) fn start(&mut self, node: NodeId) {
        let now = self.now;
        self.node_mut(node).start(now);
        self.take(node);
    }

    pub(crate) fn next_id(&mut self, node: NodeId) -> RequestId {
        let node = self.node_mut(node);
        node.sequence += 1;
        RequestId { origin: node.id(), boot: node.config.boot, sequence: node.sequence }
    }

    pub(crate) fn propose(&mut self, node: NodeId) -> RequestId {
        self.propose_data(node, Blob::from("some value"))
    }

    pub(crate) fn propose_some(&mut self, node: NodeId) {
        for _ in 0..3 {
            self.propose(node);
        }
    }

    pub(crate) fn propose_data(&mut self, node: NodeId, data: Blob) -> RequestId {
        let id = self.next_id(node);
        self.step(node, Input::Propose { id, data });
        id
    }

    pub(crate) fn read(&mut self, node: NodeId, mode: ReadMode) -> RequestId {
        let id = self.next_id(node);
        self.reads.insert(id, self.last_chosen());
        self.step(node, Input::Read { id, mode });
        id
    }

    pub(crate) fn last_chosen(&self) -> LogIndex {
        self.chosen.keys().next_back().copied().unwrap_or_default()
    }

    /// Proposes at whoever leads until something is carried out and applied by all who run: the cluster goes on.
    pub(crate) fn goes_on(&mut self) {
        for _ in 0..20 {
            let leader = self.await_leader();
            let id = self.propose(leader);
            let until = self.now + 20 * ELECTION_TIMEOUT;
            self.run_until("time", |world| world.done.contains_key(&id) || world.now >= until);
            if self.done.contains_key(&id) {
                self.run_until("all have applied it", World::is_level);
                return;
            }
        }
        panic!("proposals at the leader are not carried out");
    }

    /// Whether everyone who runs and is not cut off has applied all that anybody was handed out.
    pub(crate) fn is_level(&self) -> bool {
        let last = self.last_chosen();
        let level = |node: &NodeId| self.cut.contains(node) || self.node(*node).tables.applied == last;
        self.running().iter().all(level)
    }

    /// One step, if the node runs, and what comes of it.
    pub(crate) fn step(&mut self, node: NodeId, input: Input<E::Message>) {
        let now = self.now;
        let Some(engine) = &mut self.node_mut(node).engine else { return };
        engine.step(now, input);
        if self.random.below(100) >= self.batched_percent {
            self.take(node);
        }
    }

    /// Whether mail gets from one to the other. A member may not be there yet.
    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        self.nodes.contains_key(&to) && !self.cut.contains(&from) && !self.cut.contains(&to)
    }

    /// Delivers one letter, unless its reader is down or cut off.
    pub(crate) fn deliver(&mut self, letter: Letter<E::Message>) {
        if self.reaches(letter.from, letter.to) {
            self.step(letter.to, Input::Message { from: letter.from, message: letter.message });
        }
    }

    pub(crate) fn sync(&mut self, node: NodeId, count: usize) -> bool {
        let synced = self.node_mut(node).sync(count);
        if synced {
            let write = self.node(node).durable;
            self.post(node);
            self.step(node, Input::Persisted { write });
        }
        synced
    }

    /// Puts into the mail what the node's disk holds back no longer.
    pub(crate) fn post(&mut self, node: NodeId) {
        for outgoing in self.node_mut(node).released() {
            self.mail.push_back(Letter { from: node, to: outgoing.to, message: outgoing.message });
        }
    }

    pub(crate) fn apply(&mut self, node: NodeId) -> bool {
        let flushes = self.flushes;
        let there = self.node_mut(node);
        if there.unapplied.is_empty() {
            return false;
        }
        let through = there.apply();
        if flushes {
            there.flush();
        }
        if let Some(through) = through {
            self.step(node, Input::Applied { through });
        }
        true
    }

    pub(crate) fn answer_read_backs(&mut self, node: NodeId) -> bool {
        let wanted: Vec<ReadBack> = std::mem::take(&mut self.node_mut(node).read_backs);
        for wanted in &wanted {
            let entries = self.node(node).disk.read(*wanted);
            self.step(node, Input::EntriesRead { id: wanted.id, entries });
        }
        !wanted.is_empty()
    }

    /// Trims the log as far as the tables have it durably.
    pub(crate) fn trim(&mut self, node: NodeId) {
        self.sync(node, usize::MAX);
        let disk = &mut self.node_mut(node).disk;
        let base = disk.position(disk.tables.applied);
        if base.index > disk.base.index && disk.entries.contains_key(&base.index) {
            disk.trim(base);
            self.step(node, Input::Trimmed { base });
        }
    }

    /// Brings one node's tables to another, as the driver would.
    pub(crate) fn install(&mut self, from: NodeId, wanted: SendSnapshot) {
        let there = &self.node(from).disk;
        let (base, tables) = (there.position(there.tables.applied), there.tables.clone());
        let is_needed = |there: &Node<E>| there.engine.is_some() && base.index > there.tables.applied;
        let reaches = self.reaches(from, wanted.to) && is_needed(self.node(wanted.to));
        if !reaches || base.index < wanted.at_least {
            return;
        }
        self.sync(wanted.to, usize::MAX);
        let here = self.node_mut(wanted.to);
        if !here.unsynced.is_empty() {
            return;
        }
        here.unapplied.clear();
        here.disk.trim(base);
        here.tables = tables;
        here.flush();
        let (log_time, membership) = (here.tables.log_time, here.tables.members.clone());
        self.step(wanted.to, Input::SnapshotInstalled { base, log_time, membership });
    }

    /// Does what there is to do until nothing is left. No time passes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut is_busy = false;
            for node in self.ids() {
                is_busy |= self.sync(node, usize::MAX) | self.answer_read_backs(node) | self.apply(node);
            }
            for letter in std::mem::take(&mut self.mail) {
                is_busy = true;
                if self.doubles_mail {
                    self.deliver(letter.clone());
                }
                self.deliver(letter);
            }
            for (from, wanted) in std::mem::take(&mut self.snapshots) {
                is_busy = true;
                self.install(from, wanted);
            }
            if !is_busy {
                return;
            }
        }
        panic!("the engines have something to do for ever, and no time passes");
    }

    /// Lets time pass, as fast as the engines wish, until this is so.
    pub(crate) fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&World<E>) -> bool) {
        let end = self.now + PATIENCE;
        loop {
            self.settle();
            if is_so(self) {
                return;
            }
            assert!(self.now < end, "{what}: not within {PATIENCE:?} of virtual time");
            let deadline = |node: &Node<E>| node.engine.as_ref().map_or(MonoTime::NEVER, Engine::deadline);
            let next = self.nodes.values().map(deadline).min().unwrap_or(MonoTime::NEVER);
            self.now = next.min(self.now + ELECTION_TIMEOUT).max(self.now + Duration::from_millis(1));
            for node in self.ids() {
                if deadline(self.node(node)) <= self.now {
                    self.step(node, Input::Tick);
                }
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until("time", |world| world.now >= end);
    }
}

/// Whoever looks for the reason of a failure runs the same schedule again.
impl<E: Engine> Drop for World<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world's seed is {}, and its last committed index {}", self.seed, self.last_chosen());
        }
    }
}
