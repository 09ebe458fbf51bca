//! Raft as a pure state machine (Ongaro & Ousterhout 2014, "the paper"; Ongaro 2014, "the thesis").
//!
//! ```text
//!                  Tick · Message · Propose · Read · Persisted · EntriesRead · …
//!                                        │ step
//!   ┌────────────────────────────────────┴───────────────────────────────────┐
//!   │ election.rs     suspicion, pre-vote, campaign, stepping down           │
//!   │ replication.rs  the leader's side    follower.rs  the follower's side  │
//!   │ catch_up.rs     conflict back-off, entries that are read back          │
//!   │ proposals.rs    commands, direct and forwarded; ticks                  │
//!   │ reads.rs        read rounds, leases  snapshot.rs  what is trimmed      │
//!   │ membership.rs   who takes part       transfer.rs  handing over         │
//!   │ recovery.rs     the way back                                           │
//!   │ role.rs · log.rs · message.rs        what all of them work on          │
//!   └────────────────────────────────────┬───────────────────────────────────┘
//!                                        │ take_effects
//!        one write · messages, each with the write it waits for · entries to apply · …
//! ```
//!
//! Raft's term is the round of a [`Ballot`], and only rounds are compared. The hard state's ballot is (term, vote), an
//! entry's is (term, leader). What distinguishes Raft from other protocols on the same log, in one line each:
//!
//! - entries are accepted only behind the entry that the leader has before them (log matching);
//! - only a node whose log is up to date is elected (election restriction), so entries move from leaders to followers
//!   alone, and a new leader has nothing to learn;
//! - entries keep the term in which they were first appended, and are committed only through one of the present term;
//! - the last members that a node's log names are in force there at once, committed or not.

mod catch_up;
mod election;
mod follower;
mod log;
mod membership;
pub mod message;
mod planted;
mod proposals;
mod reads;
mod recovery;
mod replication;
mod role;
mod snapshot;
mod transfer;

use std::sync::Arc;

use consensus_api::delivery::Delivery;
use consensus_api::detector::FailureDetector;
use consensus_api::errands::{Errand, Errands, Order, Proposal};
use consensus_api::hand_over::Transfer;
use consensus_api::lease::Pledge;
use consensus_api::timekeeper::Timekeeper;
use consensus_api::{
    Ballot, Effects, Engine, EngineConfig, EngineError, EngineName, EngineStatus, Input, Membership, MonoTime, NodeId,
    Outgoing, Recovered, RoleChange, WriteId,
};

use crate::catch_up::ReadBacks;
use crate::log::Log;
pub use crate::message::Message;
use crate::proposals::Admitted;
use crate::role::{Allegiance, RoleState};

/// One node's Raft.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    config: EngineConfig,
    // The latest reading that a step came with.
    now: MonoTime,
    // The last members that the log names.
    membership: Arc<Membership>,
    // With whom the driver was last told to be in touch, and whether that may have changed.
    contacts: Arc<Membership>,
    contacts_due: bool,
    // The term, and the vote in it.
    ballot: Ballot,
    // The write that makes `ballot` durable.
    ballot_write: WriteId,
    writes_durable: WriteId,
    log: Log,
    delivery: Delivery,
    role: RoleState,
    allegiance: Allegiance,
    detector: FailureDetector,
    // What this node owes to leaders that hold leases.
    pledge: Pledge,
    timekeeper: Timekeeper,
    admitted: Admitted,
    errands: Errands,
    reads_asked_at: MonoTime,
    read_backs: ReadBacks,
    // What the steps since the last `take_effects` amount to, so far.
    effects: Effects<Message>,
    reported: Option<RoleChange>,
}

impl Engine for Raft {
    type Message = Message;

    const NAME: EngineName = EngineName::new("raft");

    fn recover(config: EngineConfig, recovered: Recovered, now: MonoTime) -> Result<Raft, EngineError> {
        Raft::from_recovered(config, recovered, now)
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
        self.mind_members();
        self.check_election_timer();
        self.check_heartbeat_timer();
        self.check_transfer_timer();
        self.keep_time();
    }

    fn take_effects(&mut self) -> Effects<Message> {
        self.acknowledge();
        self.replicate();
        self.send_errands();
        self.deliver();
        self.report_role();
        self.report_contacts();
        self.effects.write = self.log.take_write();
        self.log.evict(self.config.limits.window_bytes_max);
        std::mem::take(&mut self.effects)
    }

    fn deadline(&self) -> MonoTime {
        match &self.role {
            RoleState::Leader(leader) => {
                let transfer = leader.transfer.as_ref().map_or(MonoTime::NEVER, Transfer::deadline);
                leader.heartbeat_at.min(self.tick_deadline(leader)).min(transfer)
            }
            RoleState::Follower { leader: None } | RoleState::PreCandidate { .. } if self.decides_alone() => self.now,
            RoleState::Candidate { resend_at, .. } if self.decides_alone() => (*resend_at).max(self.pledge.until()),
            RoleState::Candidate { resend_at, .. } => self.election_deadline().min(*resend_at),
            _ if self.is_voter() => self.election_deadline(),
            _ => MonoTime::NEVER,
        }
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            role: self.role(),
            leader: self.leader(),
            ballot: self.ballot,
            commit_index: self.log.commit(),
            last_index: self.log.last_index(),
            base_index: self.log.base().index,
            membership: self.membership.clone(),
            is_changing: self.is_changing(),
            progress: self.progress(),
        }
    }
}

impl Raft {
    fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::PreVote(question) => self.on_pre_vote(from, question),
            Message::PreVoteReply(reply) => self.on_pre_vote_reply(from, reply),
            Message::RequestVote(request) => self.on_request_vote(from, request),
            Message::Vote(vote) => self.on_vote(from, vote),
            Message::Append(append) => self.on_append(from, append),
            Message::AppendReply(reply) => self.on_append_reply(from, reply),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat),
            Message::HeartbeatReply(reply) => self.on_heartbeat_reply(from, reply),
            Message::Nack(nack) => self.on_nack(nack),
            Message::HandOver(word) => self.on_hand_over(from, word),
            Message::Errand(Errand::Propose { ballot, proposals }) => {
                self.on_forwarded_proposals(from, ballot, proposals);
            }
            Message::Errand(Errand::Read { ballot, mode, ids }) => self.on_forwarded_reads(from, ballot, mode, ids),
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
        self.log.writer.persisted(write);
        self.writes_durable = self.writes_durable.max(write);
        self.count_own_vote();
        self.count_own_copy();
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
