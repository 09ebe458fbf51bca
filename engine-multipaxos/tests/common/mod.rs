//! One node with a disk that forgets what was not synced.
//!
//! ```text
//!   step ──▶ engine ──take──▶ write ──▶ unsynced ──sync──▶ disk, then Persisted
//!                       └───▶ messages ──▶ held until their write is synced ──▶ outbox
//! ```

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod cluster;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::ballot_runs::BallotRuns;
use consensus_api::engine::encode_ballot;
use consensus_api::{
    AppliedMembership, Ballot, Blob, Effects, Engine, EngineConfig, Entry, Era, Input, Limits, LogIndex, LogPosition,
    LogTime, Member, Membership, MonoTime, NodeId, Outgoing, Payload, ReadBack, ReadReady, Recovered, RecoveredLog,
    Refused, RequestId, Role, SendSnapshot, SharedEntry, StoreId, Timing, Write, WriteId,
};
use engine_multipaxos::MultiPaxos;
use engine_multipaxos::message::{
    Accept, Accepted, Heartbeat, HeartbeatReply, LearnRequest, Learned, Message, Prepare, Promise,
};

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: Option<Bytes>,
    pub commit: LogIndex,
    pub entries: BTreeMap<LogIndex, SharedEntry>,
    pub base: LogPosition,
    /// The state machine's own tables: how far they are durable, and the members in them; `None` for the founders.
    pub applied: LogIndex,
    pub membership: Option<AppliedMembership>,
}

impl Disk {
    /// A disk with these slots, each accepted under a ballot of node 9's, and a hard state.
    pub fn with(slots: &[(u64, u64)], promised: Ballot, commit: u64) -> Disk {
        let entries = slots.iter().map(|(slot, round)| (LogIndex(*slot), entry(*slot, *round, 9))).collect();
        Disk { hard_state: Some(encode_ballot(promised)), entries, commit: LogIndex(commit), ..Disk::default() }
    }

    pub fn apply(&mut self, write: &Write) {
        self.hard_state = write.hard_state.clone().or(self.hard_state.take());
        if let Some(from) = write.remove_from {
            self.entries.split_off(&from);
        }
        for entry in &write.entries {
            self.entries.insert(entry.index, entry.clone());
        }
        self.commit = self.commit.max(write.commit.unwrap_or_default());
    }

    pub fn trim(&mut self, base: LogPosition) {
        self.entries = self.entries.split_off(&base.index.next());
        self.base = base;
    }

    pub fn recovered(&self, membership: Membership) -> Recovered {
        let mut runs = BallotRuns::default();
        for entry in self.entries.values() {
            runs.set(entry.index, entry.ballot);
        }
        let naming = self.entries.values().filter_map(|entry| match &entry.payload {
            Payload::Membership { membership, .. } => Some((entry.index, membership.clone())),
            _ => None,
        });
        let memberships = naming.collect();
        let tail = self.entries.values().rev().take(3).rev().cloned().collect();
        Recovered {
            era: Era(0),
            base: self.base,
            applied: LogPosition { index: self.applied, ballot: runs.get(self.applied).unwrap_or(self.base.ballot) },
            log_time: LogTime::default(),
            membership: self.membership.clone().unwrap_or_else(|| AppliedMembership::founded(Arc::new(membership))),
            log: RecoveredLog { hard_state: self.hard_state.clone(), commit: self.commit, runs, tail, memberships },
        }
    }

    pub fn read(&self, request: ReadBack) -> Vec<SharedEntry> {
        let mut bytes = 0;
        let within = self.entries.range(request.first..=request.last).map(|(_, entry)| entry.clone());
        let mut found: Vec<SharedEntry> = Vec::new();
        for entry in within {
            bytes += entry.size_bytes();
            if bytes > request.bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        found
    }
}

/// An engine, its disk, and what it wants done.
pub struct Node {
    pub paxos: MultiPaxos,
    pub config: EngineConfig,
    pub members: Membership,
    pub now: MonoTime,
    pub disk: Disk,
    pub unsynced: VecDeque<Write>,
    pub durable: WriteId,
    pub held: Vec<Outgoing<Message>>,
    pub outbox: Vec<Outgoing<Message>>,
    /// Handed out and not yet applied.
    pub committed: Vec<SharedEntry>,
    /// What the state machine has applied, and the members as of that; the disk's tables may be behind.
    pub applied: LogIndex,
    pub applied_members: AppliedMembership,
    /// With whom the engine wants to be in touch, if it has said.
    pub contacts: Option<Arc<Membership>>,
    pub reads_ready: Vec<ReadReady>,
    pub refused: Vec<Refused>,
    pub read_back: Vec<ReadBack>,
    pub snapshots: Vec<SendSnapshot>,
}

pub fn timing() -> Timing {
    Timing {
        heartbeat_interval: Duration::from_millis(10),
        election_timeout: Duration::from_millis(100),
        pre_check: true,
        check_quorum: true,
        lease: None,
    }
}

pub fn voters(ids: &[u64]) -> Membership {
    Membership::of_voters(
        ids.iter().map(|id| (NodeId(*id), Member { address: format!("node-{id}:1"), store: StoreId(u128::from(*id)) })),
    )
}

/// Voters, and learners beside them.
pub fn members(voting: &[u64], learning: &[u64]) -> Membership {
    let everyone: Vec<u64> = voting.iter().chain(learning).copied().collect();
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    Membership { voters: set(voting), learners: set(learning), ..voters(&everyone) }
}

pub fn config(id: u64) -> EngineConfig {
    EngineConfig { node: NodeId(id), store: None, boot: 1, seed: id, timing: timing(), limits: Limits::default() }
}

/// A command that was first proposed for this slot in this round by this leader.
pub fn entry(index: u64, round: u64, leader: u64) -> SharedEntry {
    let id = RequestId { origin: NodeId(leader), boot: round, sequence: index };
    Arc::new(Entry {
        index: LogIndex(index),
        ballot: Ballot::new(round, NodeId(leader)),
        log_time: LogTime::default(),
        payload: Payload::Command { id, data: Blob::from("value") },
    })
}

/// An entry that names these members, proposed first in this round by this leader.
pub fn naming(index: u64, round: u64, leader: u64, version: u64, members: Membership) -> SharedEntry {
    let payload = Payload::Membership {
        id: RequestId { origin: NodeId(leader), boot: round, sequence: index },
        membership: Arc::new(Membership { version, ..members }),
    };
    Arc::new(Entry { payload, ..(*entry(index, round, leader)).clone() })
}

pub fn ballot(round: u64, node: u64) -> Ballot {
    Ballot::new(round, NodeId(node))
}

/// A value chosen earlier, under another ballot.
pub fn under(entry: &SharedEntry, ballot: Ballot) -> SharedEntry {
    Arc::new(entry.under(ballot))
}

pub fn request(origin: u64, sequence: u64) -> RequestId {
    RequestId { origin: NodeId(origin), boot: 1, sequence }
}

impl Node {
    /// One of three voters, with a blank disk.
    pub fn blank(id: u64) -> Node {
        Node::on(config(id), voters(&[1, 2, 3]), Disk::default())
    }

    /// One of three voters, with this disk.
    pub fn with_disk(id: u64, disk: Disk) -> Node {
        Node::on(config(id), voters(&[1, 2, 3]), disk)
    }

    pub fn on(config: EngineConfig, members: Membership, disk: Disk) -> Node {
        let now = MonoTime::from_micros(1_000_000);
        let recovered = disk.recovered(members.clone());
        let applied_members = recovered.membership.clone();
        let paxos = MultiPaxos::recover(config.clone(), recovered, now).expect("a sound disk");
        Node {
            paxos,
            config,
            members,
            now,
            applied: disk.applied,
            applied_members,
            contacts: None,
            disk,
            unsynced: VecDeque::new(),
            durable: WriteId(0),
            held: Vec::new(),
            outbox: Vec::new(),
            committed: Vec::new(),
            reads_ready: Vec::new(),
            refused: Vec::new(),
            read_back: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    pub fn id(&self) -> NodeId {
        self.config.node
    }

    /// One step, and what comes of it.
    pub fn step(&mut self, input: Input<Message>) {
        self.paxos.step(self.now, input);
        self.take();
    }

    pub fn take(&mut self) {
        let effects: Effects<Message> = self.paxos.take_effects();
        self.unsynced.extend(effects.write);
        let durable = self.durable;
        let (free, held): (Vec<_>, Vec<_>) = effects.messages.into_iter().partition(|out| out.after <= durable);
        self.outbox.extend(free);
        self.held.extend(held);
        self.committed.extend(effects.committed);
        self.reads_ready.extend(effects.reads_ready);
        self.refused.extend(effects.refused);
        self.read_back.extend(effects.read_back);
        self.snapshots.extend(effects.snapshots);
        self.contacts = effects.contacts.or(self.contacts.take());
    }

    pub fn hear(&mut self, from: u64, message: Message) {
        self.step(Input::Message { from: NodeId(from), message });
    }

    pub fn propose(&mut self, sequence: u64) {
        let id = RequestId { origin: self.id(), boot: self.config.boot, sequence };
        self.step(Input::Propose { id, data: Blob::from("value") });
    }

    /// Syncs the oldest `count` writes: lets their messages go, and says so to the engine.
    pub fn sync_some(&mut self, count: usize) {
        for write in self.unsynced.drain(..count) {
            self.disk.apply(&write);
            self.durable = write.id;
        }
        let durable = self.durable;
        let (free, held) = std::mem::take(&mut self.held).into_iter().partition(|out| out.after <= durable);
        self.outbox.extend::<Vec<_>>(free);
        self.held = held;
        self.step(Input::Persisted { write: durable });
    }

    pub fn sync(&mut self) {
        while !self.unsynced.is_empty() {
            self.sync_some(self.unsynced.len());
        }
    }

    /// Answers what the engine wants read back.
    pub fn answer_read_backs(&mut self) {
        for request in std::mem::take(&mut self.read_back) {
            let entries = self.disk.read(request);
            self.step(Input::EntriesRead { id: request.id, entries });
        }
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    pub fn tick(&mut self, millis: u64) {
        self.pass(millis);
        self.step(Input::Tick);
    }

    /// Stops, having synced `synced` of the writes that were under way, and starts again from the disk.
    pub fn restart(&mut self, synced: usize) {
        for write in self.unsynced.drain(..synced) {
            self.disk.apply(&write);
        }
        let mut config = self.config.clone();
        config.boot += 1;
        config.seed += 100;
        let now = self.now;
        let (members, disk) = (self.members.clone(), self.disk.clone());
        *self = Node::on(config, members, disk);
        self.now = now.max(self.now);
    }

    /// The messages that may leave.
    pub fn sent(&mut self) -> Vec<(u64, Message)> {
        std::mem::take(&mut self.outbox).into_iter().map(|out| (out.to.0, out.message)).collect()
    }

    /// What the pending and unsynced writes put, as (slot, round).
    pub fn unsynced_puts(&self) -> Vec<(u64, u64)> {
        let entries = self.unsynced.iter().flat_map(|write| &write.entries);
        entries.map(|entry| (entry.index.0, entry.ballot.round)).collect()
    }

    /// The slots handed out so far.
    pub fn handed_out(&self) -> Vec<u64> {
        self.committed.iter().map(|entry| entry.index.0).collect()
    }

    /// The messages that may leave for one peer.
    pub fn sent_to(&mut self, peer: u64) -> Vec<Message> {
        self.sent().into_iter().filter(|(to, _)| *to == peer).map(|(_, message)| message).collect()
    }

    pub fn promised(&self) -> Ballot {
        self.paxos.status().ballot
    }

    pub fn chosen(&self) -> u64 {
        self.paxos.status().commit_index.0
    }

    pub fn last(&self) -> u64 {
        self.paxos.status().last_index.0
    }

    pub fn role(&self) -> consensus_api::Role {
        self.paxos.status().role
    }
}

// The messages, tersely.

pub fn prepare(ballot: Ballot, from: u64) -> Message {
    Message::Prepare(Prepare { ballot, from: LogIndex(from), forced: false, released_by: None })
}

pub fn promise(ballot: Ballot, from: u64, accepted: Vec<SharedEntry>, next: Option<u64>, chosen: u64) -> Message {
    promise_above(0, ballot, from, accepted, next, chosen)
}

/// From one whose log begins after `compacted`.
pub fn promise_above(
    compacted: u64,
    ballot: Ballot,
    from: u64,
    accepted: Vec<SharedEntry>,
    next: Option<u64>,
    chosen: u64,
) -> Message {
    let (from, next, chosen_through) = (LogIndex(from), next.map(LogIndex), LogIndex(chosen));
    let compacted_through = LogIndex(compacted);
    Message::Promise(Promise { ballot, from, accepted, next, chosen_through, compacted_through })
}

pub fn accept(ballot: Ballot, entries: Vec<SharedEntry>, chosen: u64) -> Message {
    Message::Accept(Accept { ballot, entries, chosen_through: LogIndex(chosen) })
}

pub fn accepted(ballot: Ballot, slots: &[(u64, u64)], chosen: u64) -> Message {
    let slots = slots.iter().map(|(first, last)| (LogIndex(*first), LogIndex(*last))).collect();
    Message::Accepted(Accepted { ballot, slots, chosen_through: LogIndex(chosen) })
}

pub fn heartbeat(ballot: Ballot, chosen: u64, round: u64) -> Message {
    Message::Heartbeat(Heartbeat { ballot, chosen_through: LogIndex(chosen), round })
}

pub fn heartbeat_reply(ballot: Ballot, round: u64, chosen: u64) -> Message {
    pledging_reply(ballot, round, chosen, 0)
}

/// From one who pledges to promise nobody else for so long.
pub fn pledging_reply(ballot: Ballot, round: u64, chosen: u64, pledge_ms: u64) -> Message {
    let (chosen_through, pledge) = (LogIndex(chosen), Duration::from_millis(pledge_ms));
    Message::HeartbeatReply(HeartbeatReply { ballot, round, chosen_through, pledge })
}

pub fn learn_request(from: u64, through: u64) -> Message {
    Message::LearnRequest(LearnRequest { from: LogIndex(from), through: LogIndex(through) })
}

/// From one who knows nothing beyond these to be chosen.
pub fn learned(entries: Vec<SharedEntry>) -> Message {
    let chosen_through = entries.last().map_or(0, |entry| entry.index.0);
    learned_of(entries, chosen_through)
}

pub fn learned_of(entries: Vec<SharedEntry>, chosen: u64) -> Message {
    Message::Learned(Learned { entries, chosen_through: LogIndex(chosen) })
}

/// Makes the node, 1 of three, the leader of its next ballot by the empty promise of node 2; forgets what it sent.
pub fn elect(node: &mut Node) -> Ballot {
    node.step(Input::Campaign);
    node.sync();
    node.answer_read_backs();
    let (ballot, chosen) = (node.promised(), node.chosen());
    node.hear(2, promise(ballot, chosen + 1, Vec::new(), None, 0));
    assert_eq!(node.role(), Role::Leader);
    node.sent();
    ballot
}

/// Node 1 of three, which leads in ballot 1.1 with nothing open.
pub fn leader() -> Node {
    let mut node = Node::blank(1);
    assert_eq!(elect(&mut node), ballot(1, 1));
    node
}
