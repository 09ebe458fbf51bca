//! The smallest engine that is sound: one leader, for ever. **Not for production**: while that node is down nothing goes
//! on, and if its disk is lost, the cluster is.
//!
//! ```text
//!                Tick · Message · Propose · Read · Persisted · EntriesRead · …
//!                                      │ step
//!   ┌──────────────────────────────────┴──────────────────────────────────┐
//!   │ leader.rs    the voter with the lowest id: appends, sends, counts   │
//!   │ follower.rs  everybody else: accepts, acknowledges, forwards        │
//!   │ hand_out.rs  committed entries, entries read back, snapshots        │
//!   │ log.rs · message.rs   what both work on                             │
//!   └──────────────────────────────────┬──────────────────────────────────┘
//!                                      │ take_effects
//!       one write · messages, each with the write it waits for · entries to apply · …
//! ```
//!
//! It is a worked example for docs/engines.md, and a yardstick: what it saves is what elections cost while nobody fails.
//! Why it is sound, in three lines:
//!
//! - only one node ever appends, and it sends an entry once its own disk holds it: so every other log is the beginning of
//!   its log, after any crash of anyone, and nothing is ever overwritten or removed;
//! - an entry is committed once a majority has it on disk; followers acknowledge what is durable;
//! - nobody else can commit anything, so the leader's commit index is always the latest, and a read needs no quorum.
//!
//! All of it rests on the leader's disk: with `--no-sync` a power loss there breaks it, and an assertion stops the node that
//! notices.
//!
//! The ballot of an entry is (how often the leader had started, the leader). Nothing is decided by it; it tells the
//! messages of the leader's present life from those of earlier ones.

mod follower;
mod hand_out;
mod leader;
mod log;
mod message;

use std::sync::Arc;

use consensus_api::delivery::Delivery;
use consensus_api::errands::{Errand, Proposal};
use consensus_api::timekeeper::Timekeeper;
use consensus_api::{
    Blob, Effects, Engine, EngineConfig, EngineError, EngineName, EngineStatus, Input, Membership, MonoTime, NodeId,
    Outgoing, ReadMode, Recovered, Refusal, Refused, RequestId, Role, RoleChange, WriteId,
};

use crate::follower::Follower;
use crate::hand_out::ReadBacks;
use crate::leader::Leader;
use crate::log::Log;
pub use crate::message::Message;

/// One node of a cluster with a fixed leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FixedLeader {
    config: EngineConfig,
    // The latest reading that a step came with.
    now: MonoTime,
    membership: Arc<Membership>,
    part: Part,
    log: Log,
    delivery: Delivery,
    read_backs: ReadBacks,
    timekeeper: Timekeeper,
    // What the steps since the last `take_effects` amount to, so far.
    effects: Effects<Message>,
    reported: Option<RoleChange>,
}

/// What a node is. It never changes while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Leading(Box<Leader>),
    Following(Follower),
}

impl Engine for FixedLeader {
    type Message = Message;

    const NAME: EngineName = EngineName::new("fixed");

    fn recover(config: EngineConfig, recovered: Recovered, now: MonoTime) -> Result<FixedLeader, EngineError> {
        let membership = recovered.membership.latest.clone();
        let first_voter = membership.all_voters().next().unwrap_or(NodeId::NONE);
        let applied = recovered.applied.index;
        let log = Log::recovered(recovered, first_voter)?;
        // With another disk than the members know it would not have what it has sent.
        let leads = config.node == first_voter && config.votes_among(&membership);
        let part = match leads {
            true => Part::Leading(Box::new(Leader::new(&config, &membership, &log, now))),
            false => Part::Following(Follower::new(first_voter, now)),
        };
        let mut engine = FixedLeader {
            config,
            now,
            membership,
            part,
            log,
            delivery: Delivery::after(applied),
            read_backs: ReadBacks::default(),
            timekeeper: Timekeeper::default(),
            effects: Effects::default(),
            reported: None,
        };
        // A leader that is a majority by itself hears from nobody; what its disk holds is committed.
        engine.advance_commit();
        Ok(engine)
    }

    fn step(&mut self, now: MonoTime, input: Input<Message>) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.on_message(from, message),
            Input::Propose { id, data } => self.on_propose(Proposal { id, data }),
            Input::Read { id, mode: ReadMode::Log } => self.on_propose(Proposal { id, data: Blob::default() }),
            Input::Read { id, mode } => self.on_read(id, mode),
            Input::KeepTime { every } => self.timekeeper.keep(every),
            Input::ChangeMembership { id, .. } => self.refuse(id, unsupported("a change of members")),
            Input::TransferLeadership { id, .. } => self.refuse(id, unsupported("another leader")),
            // There is nobody to elect.
            Input::Campaign => {}
            Input::Persisted { write } => self.on_persisted(write),
            Input::Applied { through } => self.delivery.applied_through(through),
            Input::EntriesRead { id, entries } => self.on_entries_read(id, entries),
            Input::SnapshotInstalled { base, log_time, .. } => self.on_snapshot_installed(base, log_time),
            Input::Trimmed { base } => self.log.trim(base),
        }
        self.check_timers();
    }

    fn take_effects(&mut self) -> Effects<Message> {
        self.replicate();
        self.acknowledge();
        self.send_errands();
        self.deliver();
        self.report();
        self.effects.write = self.log.take_write();
        self.log.evict(self.config.limits.window_bytes_max);
        std::mem::take(&mut self.effects)
    }

    fn deadline(&self) -> MonoTime {
        match &self.part {
            Part::Leading(leader) => leader.heartbeat_at.min(self.tick_deadline(leader)),
            Part::Following(follower) => follower.deadline(&self.config.timing),
        }
    }

    fn status(&self) -> EngineStatus {
        let RoleChange { role, leader, ballot } = self.role();
        EngineStatus {
            role,
            leader,
            ballot,
            commit_index: self.log.commit(),
            last_index: self.log.last(),
            base_index: self.log.base(),
            membership: self.membership.clone(),
            is_changing: false,
            progress: match &self.part {
                Part::Leading(leader) => leader.progress(),
                Part::Following(_) => Default::default(),
            },
        }
    }
}

impl FixedLeader {
    fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Append { ballot, entries, commit } => self.on_append(from, ballot, entries, commit),
            Message::Ack { ballot, through } => self.on_ack(from, ballot, through),
            Message::Errand(Errand::Propose { ballot, proposals }) => self.on_forwarded(from, ballot, proposals),
            Message::Errand(Errand::Read { ballot, ids, .. }) => self.on_forwarded_reads(from, ballot, ids),
            Message::Errand(Errand::Refuse { refused }) => self.on_refusals(refused),
            Message::Errand(Errand::ReadIndex { ready }) => self.on_read_indexes(ready),
            // Refused where they are asked for, so nobody forwards them.
            Message::Errand(Errand::ChangeMembership { .. } | Errand::TransferLeadership { .. }) => {}
        }
    }

    fn on_propose(&mut self, proposal: Proposal) {
        let (id, limits) = (proposal.id, &self.config.limits);
        let bytes = proposal.data.0.len();
        let taken = match &mut self.part {
            _ if bytes > limits.command_bytes_max => {
                Err(Refusal::TooLarge { bytes: bytes as u64, limit: limits.command_bytes_max as u64 })
            }
            Part::Leading(_) => self.append_command(proposal),
            Part::Following(follower) => follower.propose(proposal),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    fn on_read(&mut self, id: RequestId, mode: ReadMode) {
        let reads_max = self.config.limits.reads_max;
        let taken = match &mut self.part {
            _ if mode == ReadMode::Quorum => Err(unsupported("a read from a quorum of acceptors")),
            Part::Leading(leader) => {
                self.effects.reads_ready.push(leader.read(id, &self.log));
                Ok(())
            }
            Part::Following(follower) => follower.read(id, mode, reads_max),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    fn on_persisted(&mut self, write: WriteId) {
        self.log.persisted(write);
        self.advance_commit();
    }

    fn role(&self) -> RoleChange {
        match &self.part {
            Part::Leading(leader) => {
                RoleChange { role: Role::Leader, leader: Some(self.config.node), ballot: leader.ballot }
            }
            Part::Following(follower) => {
                let votes = self.config.votes_among(&self.membership);
                let role = if votes { Role::Follower } else { Role::Learner };
                RoleChange { role, leader: follower.leader(), ballot: follower.ballot() }
            }
        }
    }

    fn report(&mut self) {
        let role = self.role();
        if self.reported.is_none() {
            self.effects.contacts = Some(self.membership.clone());
        }
        if self.reported != Some(role) {
            self.reported = Some(role);
            self.effects.role = Some(role);
        }
    }

    fn refuse(&mut self, id: RequestId, reason: Refusal) {
        self.effects.refused.push(Refused { id, reason });
    }

    /// Sends what rests on no write that is not durable yet.
    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.messages.push(Outgoing { to, lane: message.lane(), after: WriteId(0), message });
    }

    /// Sends what promises that everything in the log is on disk: it waits for the write that makes that true.
    fn send_promise(&mut self, to: NodeId, message: Message) {
        let after = self.log.dependency();
        self.effects.messages.push(Outgoing { to, lane: message.lane(), after, message });
    }
}

fn unsupported(what: &str) -> Refusal {
    Refusal::Unsupported { what: what.into() }
}
