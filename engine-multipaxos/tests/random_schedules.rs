//! Claim: under any schedule of loss, duplication, reordering, partitions, pauses and crashes that forget what was not
//! synced, while members come and go and leadership is handed over, the nodes never disagree about what is committed,
//! never lose it, never elect two leaders in a ballot, never serve a read from too low an index, never carry out what they
//! refused; and once the faults end, they go on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::Node;
use consensus_api::membership_change;
use consensus_api::random::SeededRandom;
use consensus_api::{
    AppliedMembership, Ballot, Blob, Engine, Input, LeaseTiming, LogIndex, LogPosition, LogTime, Membership, NodeId,
    Payload, ReadMode, RequestId, Role, SendSnapshot, SharedEntry,
};
use engine_multipaxos::Message;

/// Three of them are the founders; the others may join.
const NODES: u64 = 5;
const STEPS: usize = 4_000;
const SEEDS: u64 = 600;

/// How fast each node's clock may run off true time where leases are on.
const DRIFT_PPM: u32 = 20_000;

struct World {
    random: SeededRandom,
    is_calm: bool,
    /// Where leases are on, time passes for all, by clocks that run at these rates, in parts per million. Elsewhere
    /// nothing is assumed of clocks, and each goes by itself.
    rates: Option<Vec<u64>>,
    nodes: Vec<Node>,
    network: Vec<(u64, u64, Message)>,
    cut: BTreeSet<(u64, u64)>,
    committed: BTreeMap<LogIndex, SharedEntry>,
    leaders: BTreeMap<Ballot, NodeId>,
    refused: BTreeSet<RequestId>,
    proposed: BTreeSet<RequestId>,
    reads: BTreeMap<RequestId, (ReadMode, LogIndex)>,
    sequence: u64,
    /// α, small, so that changes come into force within a schedule.
    window: u64,
    /// The members that were chosen, each with the slot of its entry, in order.
    members: Vec<(LogIndex, Arc<Membership>)>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    committed: u64,
    elections: u64,
    crashes: u64,
    reads: u64,
    lease_reads: u64,
    quorum_reads: u64,
    refusals: u64,
    read_backs: u64,
    snapshots: u64,
    changes: u64,
    void_changes: u64,
    transfers: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = SeededRandom::new(seed);
        let leases = seed % 5 < 2;
        let slowest = u64::from(1_000_000 - DRIFT_PPM);
        let rates = leases.then(|| (0..NODES).map(|_| slowest + random.below(2 * u64::from(DRIFT_PPM) + 1)).collect());
        // In every third schedule there are three nodes, and stay.
        let count = if seed % 3 == 1 { 3 } else { NODES };
        let window = 1 + random.below(16);
        let nodes = (1..=count)
            .map(|id| {
                let mut config = common::config(id);
                config.seed = random.next_u64();
                config.timing.pre_check = !seed.is_multiple_of(4);
                config.timing.check_quorum = !seed.is_multiple_of(3);
                config.timing.lease = leases.then_some(LeaseTiming { clock_drift_ppm: DRIFT_PPM });
                config.limits.reconfiguration_window = window;
                config.limits.message_bytes_max = 300;
                config.limits.window_bytes_max = 400;
                config.limits.unapplied_bytes_max = 1_000;
                config.limits.peer_messages_max = 1 + random.below(6) as usize;
                Node::on(config, common::voters(&[1, 2, 3]), common::Disk::default())
            })
            .collect();
        World {
            random,
            is_calm: seed.is_multiple_of(2),
            rates,
            nodes,
            network: Vec::new(),
            cut: BTreeSet::new(),
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            refused: BTreeSet::new(),
            proposed: BTreeSet::new(),
            reads: BTreeMap::new(),
            sequence: 0,
            window,
            members: vec![(LogIndex::ZERO, Arc::new(common::voters(&[1, 2, 3])))],
            counts: Counts::default(),
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn one_of(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    fn disturb(&mut self) {
        let at = self.one_of(self.nodes.len());
        let asked = self.asked(at);
        // Half of the schedules are calm enough for the log to grow.
        let kinds = if self.is_calm { 982 } else { 1_000 };
        match self.random.below(kinds) {
            0..450 => self.deliver(true),
            450..600 => {
                let millis = self.random.below(12);
                self.tick(at, millis);
            }
            600..750 => {
                let count = self.one_of(self.nodes[at].unsynced.len() + 1);
                self.nodes[at].sync_some(count);
            }
            750..830 => self.propose(asked),
            830..860 => self.read(asked),
            860..868 if self.nodes.len() > 3 => self.change(asked),
            860..870 => self.transfer(asked),
            870..920 => self.read_back(at),
            920..970 => self.apply(at),
            970..980 => self.trim(at),
            980..985 => self.crash(at),
            985..988 => self.tick(at, 150),
            988..990 => self.nodes[at].step(Input::Campaign),
            990..997 => {
                let count = self.nodes.len() as u64;
                let (from, to) = (1 + self.random.below(count), 1 + self.random.below(count));
                self.cut.insert((from, to));
            }
            _ => self.cut.clear(),
        }
        self.settle(at);
        self.settle(asked);
    }

    /// Half of the requests go to whoever leads, and the others anywhere.
    fn asked(&mut self, at: usize) -> usize {
        let leader = self.nodes.iter().position(|node| node.role() == Role::Leader);
        leader.filter(|_| self.chance(50)).unwrap_or(at)
    }

    /// Delivers any one message, perhaps not, perhaps more than once.
    fn deliver(&mut self, faulty: bool) {
        if self.network.is_empty() {
            return;
        }
        let pick = if faulty { self.one_of(self.network.len()) } else { 0 };
        let (from, to, message) =
            if faulty && self.chance(6) { self.network[pick].clone() } else { self.network.remove(pick) };
        if faulty && (self.cut.contains(&(from, to)) || self.chance(3)) {
            return;
        }
        let to = (to - 1) as usize;
        self.nodes[to].hear(from, message);
        self.settle(to);
    }

    fn next_id(&mut self, at: usize) -> RequestId {
        self.sequence += 1;
        RequestId { origin: self.nodes[at].id(), boot: self.nodes[at].config.boot, sequence: self.sequence }
    }

    /// Lets time pass, and has one node see it; the others see it when they are next told anything.
    fn tick(&mut self, at: usize, millis: u64) {
        if let Some(rates) = &self.rates {
            for (node, rate) in self.nodes.iter_mut().zip(rates) {
                node.now = node.now + Duration::from_nanos(millis * rate);
            }
            self.nodes[at].tick(0);
        } else {
            self.nodes[at].tick(millis);
        }
    }

    fn propose(&mut self, at: usize) {
        let id = self.next_id(at);
        self.proposed.insert(id);
        self.nodes[at].step(Input::Propose { id, data: Blob::from("some value") });
    }

    fn read(&mut self, at: usize) {
        let id = self.next_id(at);
        let committed = self.committed.keys().next_back().copied().unwrap_or_default();
        let modes = [ReadMode::Index, ReadMode::Lease, ReadMode::Log, ReadMode::Quorum];
        let mode = modes[self.one_of(modes.len())];
        if mode == ReadMode::Log {
            self.proposed.insert(id);
        }
        self.reads.insert(id, (mode, committed));
        self.nodes[at].step(Input::Read { id, mode });
    }

    /// Asks for other members, any of them that any node may believe to be possible.
    fn change(&mut self, at: usize) {
        let id = self.next_id(at);
        let present = self.nodes[at].paxos.status().membership;
        let wanted: Vec<u64> = (1..=NODES).filter(|_| self.chance(60)).collect();
        let target = Membership { version: present.version, ..common::voters(&wanted) };
        let Some(step) = membership_change::next_step(&present, &target) else { return };
        self.proposed.insert(id);
        self.nodes[at].step(Input::ChangeMembership { id, target: Arc::new(step) });
    }

    fn transfer(&mut self, at: usize) {
        let id = self.next_id(at);
        let to = (1 + self.one_of(self.nodes.len())) as u64;
        let to = self.chance(70).then_some(NodeId(to));
        self.nodes[at].step(Input::TransferLeadership { id, to });
    }

    fn read_back(&mut self, at: usize) {
        self.counts.read_backs += self.nodes[at].read_back.len() as u64;
        self.nodes[at].answer_read_backs();
    }

    /// Applies what was handed out. The tables are made durable at some time of their own.
    fn apply(&mut self, at: usize) {
        let flushes = self.chance(50);
        let node = &mut self.nodes[at];
        for entry in std::mem::take(&mut node.committed) {
            node.applied = entry.index;
            if let Payload::Membership { membership, .. } = &entry.payload {
                node.applied_members.take(entry.index, membership);
            }
        }
        if flushes {
            node.disk.applied = node.applied;
            node.disk.membership = Some(node.applied_members.clone());
        }
        node.step(Input::Applied { through: node.applied });
    }

    fn trim(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let index = node.disk.applied;
        // The store trims what it holds: the write of an applied entry may still be under way.
        if index > node.paxos.status().base_index && node.unsynced.is_empty() {
            let base = LogPosition { index, ballot: self.committed[&index].ballot };
            node.disk.trim(base);
            node.step(Input::Trimmed { base });
        }
    }

    /// Stops, perhaps in the middle of the pending writes, and starts again.
    fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let synced = self.random.below(node.unsynced.len() as u64 + 1) as usize;
        node.restart(synced);
        self.counts.crashes += 1;
    }

    fn install(&mut self, from: usize, snapshot: SendSnapshot) {
        let (applied, membership) = (self.nodes[from].disk.applied, self.nodes[from].disk.membership.clone());
        let to = &mut self.nodes[(snapshot.to.0 - 1) as usize];
        if applied < snapshot.at_least || applied <= to.applied || !to.unsynced.is_empty() {
            return;
        }
        let ballot = self.committed[&applied].ballot;
        let base = LogPosition { index: applied, ballot };
        to.disk.trim(base);
        to.disk.applied = applied;
        to.applied = applied;
        to.committed.clear();
        let membership = membership.unwrap_or_else(|| AppliedMembership::founded(Arc::new(to.members.clone())));
        to.disk.membership = Some(membership.clone());
        to.applied_members = membership.clone();
        to.step(Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
        self.counts.snapshots += 1;
    }

    /// Moves what the node wants done to where it belongs, and checks it.
    fn settle(&mut self, at: usize) {
        let id = self.nodes[at].id().0;
        let sent = self.nodes[at].sent();
        let is_hand_over = |(_, message): &&(u64, Message)| matches!(message, Message::HandOver(_));
        self.counts.transfers += sent.iter().filter(is_hand_over).count() as u64;
        let count = self.nodes.len() as u64;
        let there = sent.into_iter().filter(|(to, _)| *to <= count);
        self.network.extend(there.map(|(to, message)| (id, to, message)));
        for snapshot in std::mem::take(&mut self.nodes[at].snapshots) {
            self.install(at, snapshot);
        }
        self.check_leader(at);
        self.check_commit(at);
        let node = &mut self.nodes[at];
        let (ready, refused) = (std::mem::take(&mut node.reads_ready), std::mem::take(&mut node.refused));
        for read in ready {
            let (mode, committed) = self.reads[&read.id];
            assert!(read.index >= committed, "read {} served by {mode:?} from {}", read.id, read.index);
            self.counts.reads += 1;
            self.counts.lease_reads += u64::from(mode == ReadMode::Lease && self.rates.is_some());
            self.counts.quorum_reads += u64::from(mode == ReadMode::Quorum);
        }
        for refused in refused {
            self.counts.refusals += 1;
            let done = self.committed.values().any(|entry| entry.payload.request_id() == Some(refused.id));
            assert!(!done || !self.proposed.contains(&refused.id), "{} was refused and is committed", refused.id);
            self.refused.insert(refused.id);
        }
    }

    fn check_leader(&mut self, at: usize) {
        let status = self.nodes[at].paxos.status();
        if status.role == Role::Leader {
            let known = self.leaders.entry(status.ballot).or_insert_with(|| {
                self.counts.elections += 1;
                self.nodes[at].id()
            });
            assert_eq!(*known, self.nodes[at].id(), "two leaders in {}", status.ballot);
        }
    }

    /// Who decides in this slot, by what is committed below it.
    fn governing(&self, slot: LogIndex) -> Arc<Membership> {
        let in_force = |(at, _): &&(LogIndex, Arc<Membership>)| at.0 == 0 || at.0 + self.window <= slot.0;
        self.members.iter().rev().find(in_force).unwrap().1.clone()
    }

    /// Whatever is handed out is what everybody else was handed out, in order, once, and on the disks of a majority of
    /// those who decide there.
    fn check_commit(&mut self, at: usize) {
        let handed_out = self.nodes[at].committed.clone();
        let mut expected = self.nodes[at].applied.next();
        for entry in handed_out {
            assert_eq!(entry.index, expected, "a gap or a repetition in what is handed out");
            expected = expected.next();
            let own = self.nodes[at].disk.entries.get(&entry.index).map(value);
            assert_eq!(own, Some(value(&entry)), "handed out before the own copy is durable");
            if let Some(known) = self.committed.get(&entry.index) {
                assert_eq!(value(known), value(&entry), "two values are chosen at {}", entry.index);
                continue;
            }
            let holds = |node: &&Node| {
                let held = node.disk.entries.get(&entry.index).map(value);
                node.disk.base.index >= entry.index || held == Some(value(&entry))
            };
            let holders: BTreeSet<NodeId> = self.nodes.iter().filter(holds).map(Node::id).collect();
            let members = self.governing(entry.index);
            let decide = members.quorums().reached(|node| holders.contains(&node));
            assert!(decide, "{} of {:?} is chosen and durable at {holders:?}", entry.index, members.voters);
            if let Payload::Membership { membership, .. } = &entry.payload {
                let (at, latest) = self.members.last().unwrap();
                if membership.version == latest.version + 1 {
                    assert!(at.0 == 0 || at.0 + self.window <= entry.index.0, "one change at a time");
                    self.members.push((entry.index, membership.clone()));
                    self.counts.changes += 1;
                } else {
                    self.counts.void_changes += 1;
                }
            }
            if let Some(id) = entry.payload.request_id() {
                let again = self.committed.values().any(|other| other.payload.request_id() == Some(id));
                assert!(!again, "{id} is committed twice");
                assert!(!self.refused.contains(&id), "{id} was refused and is committed");
            }
            self.counts.committed += 1;
            self.committed.insert(entry.index, entry);
        }
    }

    /// No more faults: everything is delivered in order, synced, read and applied.
    fn heal(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for at in 0..self.nodes.len() {
                self.nodes[at].sync();
                self.settle(at);
                self.read_back(at);
                self.settle(at);
                self.apply(at);
                self.settle(at);
                self.tick(at, 5);
                self.settle(at);
            }
            while !self.network.is_empty() {
                self.deliver(false);
            }
        }
    }

    fn check_liveness(&mut self) {
        self.cut.clear();
        self.network.clear();
        self.heal(400);
        let leaders = self.nodes.iter().filter(|node| node.role() == Role::Leader).count();
        assert_eq!(leaders, 1, "one leader once the faults are over");
        let last_before = self.sequence;
        let members = self.members.last().unwrap().1.clone();
        for at in 0..self.nodes.len() {
            if members.contains(self.nodes[at].id()) {
                // One after the other: the window may be as small as one.
                self.propose(at);
                self.settle(at);
                self.heal(40);
            }
        }
        let ids = self.committed.values().filter_map(|entry| entry.payload.request_id());
        let count = ids.filter(|id| id.sequence > last_before).count();
        assert_eq!(count, members.members.len(), "what is proposed in peace is chosen");
        let last = *self.committed.keys().next_back().unwrap();
        for node in self.nodes.iter().filter(|node| members.contains(node.id())) {
            assert_eq!(node.paxos.status().membership, members, "and who is in force");
            assert_eq!(node.chosen(), last.0, "everyone knows what is chosen");
            assert_eq!(node.applied, last, "and has applied it");
        }
    }
}

/// What an entry says, under whatever ballot a node has accepted it.
fn value(entry: &SharedEntry) -> (LogIndex, LogTime, &Payload) {
    (entry.index, entry.log_time, &entry.payload)
}

#[test]
fn no_schedule_breaks_safety_and_the_survivors_go_on() {
    let mut total = Counts::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.disturb();
        }
        world.check_liveness();
        total.committed += world.counts.committed;
        total.elections += world.counts.elections;
        total.crashes += world.counts.crashes;
        total.reads += world.counts.reads;
        total.lease_reads += world.counts.lease_reads;
        total.quorum_reads += world.counts.quorum_reads;
        total.refusals += world.counts.refusals;
        total.read_backs += world.counts.read_backs;
        total.snapshots += world.counts.snapshots;
        total.changes += world.counts.changes;
        total.void_changes += world.counts.void_changes;
        total.transfers += world.counts.transfers;
    }
    println!("{total:?}");
    // Not vacuous: each kind of event took place, on average in every seed or nearly so.
    for (what, count) in [
        ("commits", total.committed),
        ("elections", total.elections),
        ("crashes", total.crashes),
        ("reads", total.reads),
        ("lease reads", total.lease_reads),
        ("quorum reads", total.quorum_reads),
        ("refusals", total.refusals),
        ("read-backs", total.read_backs),
        ("changes", total.changes),
    ] {
        assert!(count >= SEEDS, "only {count} {what} in {SEEDS} seeds");
    }
    assert!(total.snapshots > 0, "no snapshot was ever installed");
    assert!(total.transfers > 0, "nobody was ever told to lead");
}

#[test]
fn the_same_schedule_gives_the_same_engines() {
    let run = |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.disturb();
        }
        world.nodes.into_iter().map(|node| node.paxos).collect::<Vec<_>>()
    };
    assert!(run(7) == run(7));
}
