//! Multi-Paxos as a pure state machine (Lamport, "Paxos Made Simple", 2001).
//!
//! ```text
//!                  Tick · Message · Propose · Read · Persisted · EntriesRead · …
//!                                        │ step
//!   ┌────────────────────────────────────┴───────────────────────────────────┐
//!   │ election.rs     suspicion, pre-check, campaign, stepping down          │
//!   │ takeover.rs     promises, catching up, re-proposing                    │
//!   │ replication.rs  the leader's side    follower.rs  the acceptor's side  │
//!   │ catch_up.rs     learning chosen values, entries that are read back     │
//!   │ proposals.rs    commands, direct and forwarded; ticks                  │
//!   │ reads.rs        read rounds, leases  snapshot.rs  what is trimmed      │
//!   │ quorum_reads.rs reads that ask no leader                               │
//!   │ membership.rs   who decides where    extension.rs new members' slots   │
//!   │ transfer.rs     handing over         recovery.rs  the way back         │
//!   │ role.rs · log.rs · open_slots.rs · gathering.rs · message.rs           │
//!   │                 what they all work on                                  │
//!   └────────────────────────────────────┬───────────────────────────────────┘
//!                                        │ take_effects
//!        one write · messages, each with the write it waits for · entries to apply · …
//! ```
//!
//! The hard state is the promised ballot; an entry's ballot is the one that it was accepted under here. What
//! distinguishes Multi-Paxos from other protocols on the same log, in one line each:
//!
//! - each slot is accepted and chosen by itself, in any order, and only applied in order;
//! - any node may be elected, whatever its log holds: it gathers what may have been chosen from a quorum's promises;
//! - a new leader proposes the open slots again under its own ballot, so a slot's ballot goes up while its value stays;
//! - ballots belong to nodes, so votes are never split: the higher ballot wins;
//! - members change a window of slots behind the entry that names them, any set of them at once, and each slot is decided
//!   by one majority.
//!
//! Caveats: the window bounds how many slots are open, and is the same at every node for as long as the cluster lives; a
//! change takes up to a window of no-ops where nobody writes; and of two changes that different leaders have proposed
//! to the same members one is void. Where all voters change at once, the old ones must run until the new ones know it
//! ([`EngineStatus::is_changing`] at the leader).

mod catch_up;
mod election;
mod extension;
mod follower;
mod gathering;
mod log;
mod membership;
pub mod message;
mod open_slots;
mod planted;
mod proposals;
mod quorum_reads;
mod reads;
mod recovery;
mod replication;
mod role;
mod snapshot;
mod takeover;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus_api::delivery::Delivery;
use consensus_api::detector::FailureDetector;
use consensus_api::errands::{Errand, Errands, Order, Proposal};
use consensus_api::lease::Pledge;
use consensus_api::timekeeper::Timekeeper;
use consensus_api::{
    Ballot, Effects, Engine, EngineConfig, EngineError, EngineName, EngineStatus, Input, Membership, MonoTime, NodeId,
    Outgoing, ReadMode, Recovered, RoleChange, WriteId,
};

use crate::catch_up::{Learning, ReadBacks};
use crate::log::Log;
use crate::membership::{Electorate, Retiring};
pub use crate::message::Message;
use crate::proposals::Admitted;
use crate::quorum_reads::QuorumReads;
use crate::role::{Allegiance, RoleState};

/// One node's Multi-Paxos.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiPaxos {
    config: EngineConfig,
    // The latest reading that a step came with.
    now: MonoTime,
    // Who had a say when that was last looked at.
    followed: Electorate,
    // The members in force that the disk knows of, or will with this write: then it knows everything before their slots to be
    // chosen.
    recorded: (u64, WriteId),
    // Who was removed and may not know it.
    retiring: BTreeMap<NodeId, Retiring>,
    // With whom to be in touch, as was last told.
    contacts: Arc<Membership>,
    // The promise.
    ballot: Ballot,
    // The write that makes `ballot` durable.
    ballot_write: WriteId,
    writes_durable: WriteId,
    // The highest round of any ballot that was heard of; the next campaign goes above.
    round_seen: u64,
    log: Log,
    delivery: Delivery,
    role: RoleState,
    allegiance: Allegiance,
    detector: FailureDetector,
    // What this node owes to leaders that hold leases.
    pledge: Pledge,
    // Until when it owes something to leaders before the one that it follows.
    owed_until: MonoTime,
    timekeeper: Timekeeper,
    admitted: Admitted,
    errands: Errands,
    reads_asked_at: MonoTime,
    quorum_reads: QuorumReads,
    learning: Option<Learning>,
    read_backs: ReadBacks,
    // When a snapshot was last asked for, for each peer.
    snapshots_wanted: BTreeMap<NodeId, MonoTime>,
    // What the steps since the last `take_effects` amount to, so far.
    effects: Effects<Message>,
    reported: Option<RoleChange>,
}

impl Engine for MultiPaxos {
    type Message = Message;

    const NAME: EngineName = EngineName::new("paxos");

    const READS: &'static [ReadMode] = &[ReadMode::Index, ReadMode::Lease, ReadMode::Log, ReadMode::Quorum];

    fn recover(config: EngineConfig, recovered: Recovered, now: MonoTime) -> Result<MultiPaxos, EngineError> {
        MultiPaxos::from_recovered(config, recovered, now)
    }

    fn step(&mut self, now: MonoTime, input: Input<Message>) {
        self.now = self.now.max(now);
        self.step_down_without_quorum();
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.on_message(from, message),
            Input::Propose { id, data } => self.on_propose(Proposal { id, data }),
            Input::Read { id, mode } => self.on_read(id, mode),
            Input::KeepTime { every } => self.on_keep_time(every),
            Input::ChangeMembership { id, target } => self.on_change_membership(id, target),
            Input::TransferLeadership { id, to } => self.on_transfer_leadership(id, to),
            Input::Campaign => self.campaign(true, None),
            Input::Persisted { write } => self.on_persisted(write),
            Input::Applied { through } => self.delivery.applied_through(through),
            Input::EntriesRead { id, entries } => self.on_entries_read(id, entries),
            Input::SnapshotInstalled { base, log_time, membership } => {
                self.on_snapshot_installed(base, log_time, membership);
            }
            Input::Trimmed { base } => self.on_trimmed(base),
        }
        self.check_election_timer();
        self.check_resend_timer();
        self.mind_members();
        self.check_transfer_timer();
        self.check_heartbeat_timer();
        self.keep_time();
    }

    fn take_effects(&mut self) -> Effects<Message> {
        self.acknowledge();
        // Before what it may propose is sent.
        self.read_by_quorum();
        self.replicate();
        self.send_errands();
        self.deliver();
        self.report_role();
        self.effects.write = self.log.take_write();
        self.log.evict(self.config.limits.window_bytes_max, matches!(self.role, RoleState::Leader(_)));
        self.send_learn_request();
        std::mem::take(&mut self.effects)
    }

    fn deadline(&self) -> MonoTime {
        let of_role = match &self.role {
            RoleState::Leader(leader) => {
                leader.heartbeat_at.min(self.tick_deadline(leader)).min(self.transfer_deadline())
            }
            RoleState::Follower { leader: None } | RoleState::PreCandidate { .. } if self.decides_alone() => self.now,
            RoleState::Candidate(candidate) if self.decides_alone() => candidate.resend_at.max(self.pledge.until()),
            RoleState::Candidate(candidate) => candidate.resend_at.min(self.election_deadline()),
            _ => self.election_deadline(),
        };
        let of_reads = self.quorum_reads.deadline(self.config.timing.heartbeat_interval);
        of_role.min(of_reads).min(self.retirement_deadline())
    }

    fn status(&self) -> EngineStatus {
        let progress = match &self.role {
            RoleState::Leader(leader) => leader.peers.iter().map(|(peer, progress)| (*peer, progress.known)).collect(),
            _ => BTreeMap::new(),
        };
        EngineStatus {
            role: self.role(),
            leader: self.leader(),
            ballot: self.ballot,
            commit_index: self.log.chosen_through(),
            last_index: self.log.last_index(),
            base_index: self.log.base().index,
            membership: self.present(),
            is_changing: self.is_changing(),
            progress,
        }
    }
}

impl MultiPaxos {
    fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::PreCheck(question) => self.on_pre_check(from, question),
            Message::PreCheckReply(reply) => self.on_pre_check_reply(from, reply),
            Message::Prepare(prepare) => self.on_prepare(from, prepare),
            Message::Promise(promise) => self.on_promise(from, promise),
            Message::Accept(accept) => self.on_accept(from, accept),
            Message::Accepted(reply) => self.on_accepted(from, reply),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat),
            Message::HeartbeatReply(reply) => self.on_heartbeat_reply(from, reply),
            Message::Nack(nack) => self.on_nack(nack),
            Message::LearnRequest(request) => self.on_learn_request(from, request),
            Message::Learned(learned) => self.on_learned(from, learned),
            Message::ReadQuery(query) => self.on_read_query(from, query),
            Message::ReadReport(report) => self.on_read_report(from, report),
            Message::Errand(Errand::Propose { ballot, proposals }) => {
                self.on_forwarded_proposals(from, ballot, proposals);
            }
            Message::Errand(Errand::Read { ballot, mode, ids }) => self.on_forwarded_reads(from, ballot, mode, ids),
            Message::HandOver(word) => self.on_hand_over(from, word),
            Message::Errand(Errand::ChangeMembership { ballot, id, target }) => {
                self.on_forwarded_order(from, ballot, id, Order::ChangeMembership(target));
            }
            Message::Errand(Errand::TransferLeadership { ballot, id, to }) => {
                self.on_forwarded_order(from, ballot, id, Order::TransferLeadership(to));
            }
            Message::Errand(Errand::Refuse { refused }) => self.on_refusals(refused),
            Message::Errand(Errand::ReadIndex { ready }) => self.on_read_indexes(ready),
        }
    }

    fn on_persisted(&mut self, write: WriteId) {
        let written = self.log.writer.persisted(write);
        self.writes_durable = self.writes_durable.max(write);
        self.count_own_promise(&[]);
        self.count_own_accepts(&written);
    }

    fn report_role(&mut self) {
        let change = RoleChange { role: self.role(), leader: self.leader(), ballot: self.ballot };
        if self.reported != Some(change) {
            self.reported = Some(change);
            self.effects.role = Some(change);
        }
    }

    /// Sends what promises nothing.
    fn send(&mut self, to: NodeId, message: Message) {
        self.send_after(to, WriteId(0), message);
    }

    /// Sends what promises something about this node's state as it is now.
    fn send_promise(&mut self, to: NodeId, message: Message) {
        let after = self.log.dependency();
        self.send_after(to, after, message);
    }

    fn send_after(&mut self, to: NodeId, after: WriteId, message: Message) {
        let after = planted::waits_for(after, &message);
        self.effects.messages.push(Outgoing { to, lane: message.lane(), after, message });
    }
}
