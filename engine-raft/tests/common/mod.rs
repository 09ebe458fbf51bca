//! One node with a disk that forgets what was not synced.
//!
//! ```text
//!   step ──▶ engine ──take──▶ write ──▶ unsynced ──sync──▶ disk, then Persisted
//!                       └───▶ messages ──▶ held until their write is synced ──▶ outbox
//! ```

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::ballot_runs::BallotRuns;
use consensus_api::engine::encode_ballot;
use consensus_api::{
    AppliedMembership, Ballot, Blob, Effects, Engine, EngineConfig, Entry, Era, Input, Limits, LogIndex, LogPosition,
    LogTime, Member, Membership, MonoTime, NodeId, Outgoing, Payload, ReadBack, ReadReady, Recovered, RecoveredLog,
    Refusal, Refused, RequestId, Role, SendSnapshot, SharedEntry, StoreId, Timing, Write, WriteId,
};
use engine_raft::Raft;
use engine_raft::message::{Append, AppendOutcome, AppendReply, Heartbeat, HeartbeatReply, Message, RequestVote, Vote};

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: Option<Bytes>,
    pub commit: LogIndex,
    pub entries: BTreeMap<LogIndex, SharedEntry>,
    pub base: LogPosition,
    /// The state machine's own tables: how far they are durable.
    pub applied: LogIndex,
    /// The members in them, where the log does not tell: it was trimmed, or a snapshot was installed.
    pub members: Option<AppliedMembership>,
}

impl Disk {
    /// A disk with a log of these terms, each led by node 9, and a hard state.
    pub fn with(terms: &[u64], hard_state: Ballot, commit: u64) -> Disk {
        let entries = (1..).zip(terms).map(|(index, term)| (LogIndex(index), entry(index, *term, 9))).collect();
        Disk { hard_state: Some(encode_ballot(hard_state)), entries, commit: LogIndex(commit), ..Disk::default() }
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
        let tail = self.entries.values().rev().take(3).rev().cloned().collect();
        Recovered {
            era: Era(0),
            base: self.base,
            applied: LogPosition { index: self.applied, ballot: runs.get(self.applied).unwrap_or(self.base.ballot) },
            log_time: LogTime::default(),
            membership: self.applied_membership(Arc::new(membership)),
            log: RecoveredLog {
                hard_state: self.hard_state.clone(),
                commit: self.commit,
                runs,
                tail,
                memberships: self.memberships(),
            },
        }
    }

    fn memberships(&self) -> Vec<(LogIndex, Arc<Membership>)> {
        let naming = self.entries.values().filter_map(|entry| match &entry.payload {
            Payload::Membership { membership, .. } => Some((entry.index, membership.clone())),
            _ => None,
        });
        naming.collect()
    }

    /// The members in the tables, which have applied a part of the log.
    pub fn applied_membership(&self, founders: Arc<Membership>) -> AppliedMembership {
        let mut members = self.members.clone().unwrap_or_else(|| AppliedMembership::founded(founders));
        for (index, named) in self.memberships() {
            if index <= self.applied && index > members.since {
                members.take(index, &named);
            }
        }
        members
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
    pub raft: Raft,
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
    /// What the state machine has applied; the disk's tables may be behind.
    pub applied: LogIndex,
    pub reads_ready: Vec<ReadReady>,
    pub refused: Vec<Refused>,
    pub read_back: Vec<ReadBack>,
    pub snapshots: Vec<SendSnapshot>,
    /// With whom it is in touch, as it was last told.
    pub contacts: Arc<Membership>,
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

/// These members after so many changes, and who of them only learns.
pub fn members(version: u64, voting: &[u64], learning: &[u64]) -> Membership {
    let mut membership = voters(voting);
    membership.version = version;
    membership.learners = learning.iter().copied().map(NodeId).collect();
    membership.members.extend(voters(learning).members);
    membership
}

/// An entry that names members.
pub fn naming(index: u64, term: u64, leader: u64, membership: Membership) -> SharedEntry {
    let id = request(leader, 1_000 + index);
    let payload = Payload::Membership { id, membership: Arc::new(membership) };
    Arc::new(Entry { payload, ..Entry::clone(&entry(index, term, leader)) })
}

/// As a snapshot tells these members, who are the founders.
pub fn founded(ids: &[u64]) -> AppliedMembership {
    AppliedMembership::founded(Arc::new(voters(ids)))
}

pub fn config(id: u64) -> EngineConfig {
    EngineConfig { node: NodeId(id), store: None, boot: 1, seed: id, timing: timing(), limits: Limits::default() }
}

pub fn entry(index: u64, term: u64, leader: u64) -> SharedEntry {
    let id = RequestId { origin: NodeId(leader), boot: term, sequence: index };
    Arc::new(Entry {
        index: LogIndex(index),
        ballot: Ballot::new(term, NodeId(leader)),
        log_time: LogTime::default(),
        payload: Payload::Command { id, data: Blob::from("value") },
    })
}

pub fn position(index: u64, term: u64, leader: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), ballot: Ballot::new(term, NodeId(leader)) }
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
        let raft = Raft::recover(config.clone(), disk.recovered(members.clone()), now).expect("a sound disk");
        let contacts = raft.status().membership;
        Node {
            raft,
            config,
            members,
            now,
            applied: disk.applied,
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
            contacts,
        }
    }

    pub fn id(&self) -> NodeId {
        self.config.node
    }

    /// One step, and what comes of it.
    pub fn step(&mut self, input: Input<Message>) {
        self.raft.step(self.now, input);
        self.take();
    }

    pub fn take(&mut self) {
        let effects: Effects<Message> = self.raft.take_effects();
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
        self.contacts = effects.contacts.unwrap_or_else(|| self.contacts.clone());
    }

    pub fn hear(&mut self, from: u64, message: Message) {
        self.step(Input::Message { from: NodeId(from), message });
    }

    pub fn propose(&mut self, sequence: u64) {
        let id = RequestId { origin: self.id(), boot: self.config.boot, sequence };
        self.step(Input::Propose { id, data: Blob::from("value") });
    }

    /// Trims the log as far as the tables have applied it durably.
    pub fn trim(&mut self, base: LogPosition) {
        self.disk.members = Some(self.disk.applied_membership(Arc::new(self.members.clone())));
        self.disk.trim(base);
        self.step(Input::Trimmed { base });
    }

    /// A snapshot has arrived, and stands for everything up to `base`.
    pub fn install(&mut self, base: LogPosition, membership: AppliedMembership) {
        self.disk.trim(base);
        self.disk.members = Some(membership.clone());
        self.disk.applied = base.index;
        self.applied = base.index;
        self.committed.clear();
        self.step(Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
    }

    /// Applies what was handed out; the tables are durable at once.
    pub fn apply(&mut self) {
        let Some(last) = self.committed.drain(..).next_back() else { return };
        self.applied = last.index;
        self.disk.applied = last.index;
        self.step(Input::Applied { through: last.index });
    }

    /// Asks for other members, in a request of this node.
    pub fn change(&mut self, sequence: u64, target: Membership) {
        let id = RequestId { origin: self.id(), boot: self.config.boot, sequence };
        self.step(Input::ChangeMembership { id, target: Arc::new(target) });
    }

    pub fn transfer(&mut self, sequence: u64, to: Option<u64>) {
        let id = RequestId { origin: self.id(), boot: self.config.boot, sequence };
        self.step(Input::TransferLeadership { id, to: to.map(NodeId) });
    }

    pub fn membership(&self) -> Membership {
        Membership::clone(&self.raft.status().membership)
    }

    /// With whom it is in touch.
    pub fn contact_ids(&self) -> Vec<u64> {
        self.contacts.members.keys().map(|node| node.0).collect()
    }

    /// Why requests were refused, since this was last asked.
    pub fn refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused).into_iter().map(|refused| refused.reason).collect()
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

    /// The messages that may leave for one peer.
    pub fn sent_to(&mut self, peer: u64) -> Vec<Message> {
        self.sent().into_iter().filter(|(to, _)| *to == peer).map(|(_, message)| message).collect()
    }

    pub fn term(&self) -> u64 {
        self.raft.status().ballot.round
    }

    pub fn commit(&self) -> u64 {
        self.raft.status().commit_index.0
    }

    pub fn last(&self) -> u64 {
        self.raft.status().last_index.0
    }

    pub fn role(&self) -> Role {
        self.raft.status().role
    }
}

pub fn ballot(term: u64, node: u64) -> Ballot {
    Ballot::new(term, NodeId(node))
}

pub fn append(term: u64, leader: u64, prev: LogPosition, entries: Vec<SharedEntry>, commit: u64) -> Message {
    Message::Append(Append { ballot: ballot(term, leader), prev, entries, commit: LogIndex(commit) })
}

pub fn heartbeat(term: u64, leader: u64, commit: u64, matched: u64, round: u64) -> Message {
    let (commit, matched) = (LogIndex(commit), LogIndex(matched));
    Message::Heartbeat(Heartbeat { ballot: ballot(term, leader), commit, matched, round })
}

pub fn heartbeat_reply(term: u64, leader: u64, round: u64) -> Message {
    pledging_reply(term, leader, round, 0)
}

/// From one who pledges to vote for nobody else for so long.
pub fn pledging_reply(term: u64, leader: u64, round: u64, pledge_ms: u64) -> Message {
    let (ballot, pledge) = (ballot(term, leader), Duration::from_millis(pledge_ms));
    Message::HeartbeatReply(HeartbeatReply { ballot, round, pledge })
}

pub fn matched(term: u64, leader: u64, through: u64) -> Message {
    let outcome = AppendOutcome::Matched { through: LogIndex(through) };
    Message::AppendReply(AppendReply { ballot: ballot(term, leader), outcome })
}

pub fn request_vote(term: u64, candidate: u64, last: LogPosition) -> Message {
    Message::RequestVote(asking(term, candidate, last))
}

/// For a vote, of one that nobody has told to campaign.
pub fn asking(term: u64, candidate: u64, last: LogPosition) -> RequestVote {
    RequestVote { ballot: ballot(term, candidate), last, forced: false, released_by: None }
}

pub fn vote(term: u64, candidate: u64, granted: bool) -> Message {
    Message::Vote(Vote { ballot: ballot(term, candidate), granted })
}

pub fn nowhere() -> LogPosition {
    LogPosition::default()
}

/// Makes node 1 of three the leader of the next term, by the vote of node 2, and forgets what it sent.
pub fn elect(node: &mut Node) {
    node.step(Input::Campaign);
    node.sync();
    let term = node.term();
    node.hear(2, vote(term, 1, true));
    assert_eq!(node.role(), Role::Leader);
}

pub fn leader() -> Node {
    let mut node = Node::blank(1);
    elect(&mut node);
    node.sync();
    node.hear(2, matched(1, 1, 1));
    node.hear(3, matched(1, 1, 1));
    node.hear(2, heartbeat_reply(1, 1, 1));
    node.sent();
    assert_eq!(node.commit(), 1);
    node
}

/// Nodes that hear each other at once, but for those that are cut off.
pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    pub cut: BTreeSet<u64>,
}

impl Cluster {
    /// These nodes, the founders of which are the same for all.
    pub fn of(ids: &[u64], founders: &[u64], settings: impl Fn(u64) -> EngineConfig) -> Cluster {
        let node = |id: u64| (id, Node::on(settings(id), voters(founders), Disk::default()));
        Cluster { nodes: ids.iter().copied().map(node).collect(), cut: BTreeSet::new() }
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub fn members(&self, id: u64) -> Membership {
        Membership::clone(&self.nodes[&id].raft.status().membership)
    }

    /// Delivers, writes and applies until there is nothing left to do.
    pub fn settle(&mut self) {
        loop {
            let mut sent = Vec::new();
            for (id, node) in &mut self.nodes {
                node.sync();
                node.apply();
                node.answer_read_backs();
                sent.extend(node.sent().into_iter().map(|(to, message)| (*id, to, message)));
            }
            sent.retain(|(from, to, _)| {
                !self.cut.contains(from) && !self.cut.contains(to) && self.nodes.contains_key(to)
            });
            if sent.is_empty() {
                return;
            }
            for (from, to, message) in sent {
                self.node(to).hear(from, message);
            }
        }
    }

    /// Lets time pass, by steps that are short to everybody.
    pub fn run(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(2) {
            self.nodes.values_mut().for_each(|node| node.tick(2));
            self.settle();
        }
    }

    /// Has this one elected, whoever leads.
    pub fn elect(&mut self, id: u64) {
        self.node(id).step(Input::Campaign);
        self.settle();
        assert_eq!(self.node(id).role(), Role::Leader);
    }

    /// Asks this node for other members.
    pub fn change(&mut self, at: u64, sequence: u64, target: Membership) {
        self.node(at).change(sequence, target);
        self.settle();
    }
}
