//! The contract of a consensus engine: a pure state machine that turns inputs into effects.
//!
//! ```text
//!   Tick · Message · Propose · Read · Persisted · Applied · EntriesRead · …
//!                               │ step (as many inputs as are waiting)
//!                               ▼
//!                          ┌─────────┐
//!                          │ Engine  │   no clock, no disk, no socket, no chance but its seed
//!                          └─────────┘
//!                               │ take_effects (once, for all of them)
//!                               ▼
//!   one write · messages, each with the write it waits for · entries to apply · reads to serve · refusals · …
//! ```
//!
//! Same inputs at the same readings, taken at the same points, from the same seed: same effects, to the byte. A driver
//! steps the engine through everything that waits and only then takes the effects, so that batches form by themselves
//! while the disk is busy and an idle system answers at once.
//!
//! **The durability rule.** Each message names the write that must be durable before it may leave
//! ([`Outgoing::after`]). A promise, a vote, an accept, a Prepare or a RequestVote names the write that holds it; a
//! leader's own replication messages name [`WriteId`] zero and leave in parallel with the leader's own disk (Raft
//! thesis §10.2.1), and its own copy counts toward a quorum only once [`Input::Persisted`] has named its write.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::ballot_runs::BallotRuns;
use crate::entry::{Blob, SharedEntry};
pub use crate::hard_state::{decode_ballot, encode_ballot};
use crate::ids::{Ballot, EngineName, Era, LogIndex, NodeId, ReadBackId, RequestId, StoreId, WriteId};
use crate::log_store::{RecoveredLog, Write};
use crate::membership::{AppliedMembership, Membership};
use crate::reads::ReadMode;
use crate::time::{LogTime, MonoTime};
use crate::transport::Lane;

/// A consensus protocol as a pure state machine. It is `Clone + Eq + Hash`, so that a model checker can hold it.
pub trait Engine: Clone + Eq + Hash + Debug + Send + Sized + 'static {
    /// What its peers say to each other.
    type Message: Encode + Decode<()> + Clone + Eq + Hash + Debug + Send + 'static;

    /// The name in stamps, frames and on the command line.
    const NAME: EngineName;

    /// By which means its reads can be linearizable; others are refused.
    const READS: &'static [ReadMode] = &[ReadMode::Index, ReadMode::Lease, ReadMode::Log];

    /// The engine as it was before the last stop, as far as the disk knows. Refuses a state that it cannot have
    /// written itself.
    fn recover(config: EngineConfig, recovered: Recovered, now: MonoTime) -> Result<Self, EngineError>;

    /// Takes one input in. `now` is a reading taken after the input arrived, so that a pause of the process is seen
    /// before anything is answered.
    fn step(&mut self, now: MonoTime, input: Input<Self::Message>);

    /// Hands out everything that the steps since the last call amount to.
    fn take_effects(&mut self) -> Effects<Self::Message>;

    /// When the engine wants its next [`Input::Tick`] at the latest.
    fn deadline(&self) -> MonoTime;

    /// How it stands, for people and for checkers.
    fn status(&self) -> EngineStatus;
}

/// What an engine is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineConfig {
    /// Who this is.
    pub node: NodeId,
    /// What its disk is known by. Members that know the node by another one mean a disk that is gone, with what was promised
    /// on it: among them this node does not vote. `None`: whatever they know it by.
    pub store: Option<StoreId>,
    /// How often this node has started; larger than at any earlier start.
    pub boot: u64,
    /// Decides the random part of timeouts.
    pub seed: u64,
    /// When to suspect, when to reassure.
    pub timing: Timing,
    /// What may be in flight and in memory.
    pub limits: Limits,
}

impl EngineConfig {
    /// Whether this node votes among these members, with the disk that it has.
    pub fn votes_among(&self, members: &Membership) -> bool {
        let known = members.members.get(&self.node).map(|member| member.store);
        members.is_voter(self.node) && (self.store.is_none() || known.is_none() || self.store == known)
    }
}

/// The shared failure detector's settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How often a leader reassures its followers.
    pub heartbeat_interval: Duration,
    /// The least time without a leader's word before a campaign; the actual time is drawn anew each time from here to
    /// twice this.
    pub election_timeout: Duration,
    /// Ask around before a campaign, so that a node that was cut off does not disturb a working leader (Raft thesis
    /// §9.6; the same for Prepare).
    pub pre_check: bool,
    /// A leader that has not heard from a quorum for an election timeout steps down, and voters that hear a leader
    /// grant nobody else (Raft thesis §6.2; the same for Multi-Paxos).
    pub check_quorum: bool,
    /// Leaders may hold leases for reads, and voters give them pledges; `None`: neither. What was pledged before is kept
    /// all the same ([`lease`](crate::lease)). A leader that may hold leases minds its quorum, whatever `check_quorum` says.
    pub lease: Option<LeaseTiming>,
}

impl Timing {
    /// Whether a leader that hears no quorum steps down. Where it may hold a lease it does: once that is over, it could
    /// only keep those waiting who count on it for reads.
    pub fn leader_minds_quorum(&self) -> bool {
        self.check_quorum || self.lease.is_some()
    }
}

/// What leases for reads rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTiming {
    /// The most that a node's clock gains or loses on true time, in parts per million. Crystals stay below 200; a clock
    /// that is steered hard may reach 1,000.
    pub clock_drift_ppm: u32,
}

impl Default for LeaseTiming {
    fn default() -> LeaseTiming {
        LeaseTiming { clock_drift_ppm: 10_000 }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
            pre_check: true,
            check_quorum: true,
            lease: None,
        }
    }
}

/// The engine's bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The most bytes of entries in one message (a single larger entry still travels, alone).
    pub message_bytes_max: usize,
    /// The most bytes of one command. Below what a transport carries in one frame, with room for the message around it.
    pub command_bytes_max: usize,
    /// The most bytes of entries sent to one peer and not yet answered.
    pub peer_bytes_max: usize,
    /// The most messages with entries sent to one peer and not yet answered.
    pub peer_messages_max: usize,
    /// The most entries that a leader has proposed and not yet seen chosen.
    pub open_entries_max: usize,
    /// How many indexes behind its own a change of members comes into force, under an engine that orders the two by a
    /// window (Multi-Paxos: Lamport's α); so many slots above what is chosen may be open. **The same at every node, for as
    /// long as the cluster lives**: nodes that disagree on it disagree on who decides. Others ignore it.
    pub reconfiguration_window: u64,
    /// The most bytes of such entries.
    pub open_bytes_max: usize,
    /// The most bytes of recent entries that are kept in memory.
    pub window_bytes_max: usize,
    /// The most bytes of committed entries that are handed out and not yet applied.
    pub unapplied_bytes_max: usize,
    /// The most reads that wait for their quorum round.
    pub reads_max: usize,
}

/// The window of every cluster that is not simulated, and as many entries may be open under any engine, so that a
/// comparison does not compare this. A whole round trip across an ocean at 40,000 entries a second, of which each may carry
/// a batch; and no more than 4,096 no-ops to bring a change into force where nobody writes.
pub const RECONFIGURATION_WINDOW: u64 = 4096;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes_max: 1 << 20,
            command_bytes_max: 7 << 20,
            peer_bytes_max: 16 << 20,
            peer_messages_max: 1024,
            open_entries_max: RECONFIGURATION_WINDOW as usize,
            reconfiguration_window: RECONFIGURATION_WINDOW,
            open_bytes_max: 64 << 20,
            window_bytes_max: 96 << 20,
            unapplied_bytes_max: 32 << 20,
            reads_max: 65_536,
        }
    }
}

/// An index with the ballot of the entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LogPosition {
    /// Where.
    pub index: LogIndex,
    /// Under which ballot the entry there was accepted.
    pub ballot: Ballot,
}

/// What a replica finds when it starts. A blank disk gives the founders' membership and an empty log.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The era that the log is in.
    pub era: Era,
    /// The last index that the log no longer holds, because the state machine's tables hold what it did.
    pub base: LogPosition,
    /// What the state machine has applied; at or above the base. After a snapshot was installed this is the base, and the
    /// runs below may still hold the log's own entry there: a crash came before what followed it was looked at.
    pub applied: LogPosition,
    /// The log time of the last applied entry.
    pub log_time: LogTime,
    /// The members as of `applied`.
    pub membership: AppliedMembership,
    /// The log above the base.
    pub log: RecoveredLog,
}

impl Recovered {
    /// A blank disk among these founders.
    pub fn blank(membership: Membership) -> Recovered {
        Recovered {
            era: Era(0),
            base: LogPosition::default(),
            applied: LogPosition::default(),
            log_time: LogTime::default(),
            membership: AppliedMembership::founded(Arc::new(membership)),
            log: RecoveredLog { runs: BallotRuns::default(), ..RecoveredLog::default() },
        }
    }
}

/// What an engine can be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<M> {
    /// Time has passed.
    Tick,
    /// A peer says something. The transport vouches for who it is.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: M,
    },
    /// A client of this node wants a command in the log.
    Propose {
        /// Its name for ever; the sequence grows by one with each request of this boot.
        id: RequestId,
        /// The command.
        data: Blob,
    },
    /// A client of this node wants to know from which index on its read is linearizable. In [`ReadMode::Log`] it
    /// completes as a proposal does, when the entry with its id is applied.
    Read {
        /// Its name.
        id: RequestId,
        /// By which means.
        mode: ReadMode,
    },
    /// From now on the state machine wants the log's time carried forward this often, or no more: a leader proposes a
    /// [`Payload::Tick`](crate::entry::Payload::Tick) where it has appended nothing else for as long. Only the latest
    /// word counts, and none is `None`.
    KeepTime {
        /// How often.
        every: Option<Duration>,
    },
    /// A client of this node wants other members, by one change: whoever is to vote is a learner by now, and has caught up
    /// ([`membership_change`](crate::membership_change)). It completes as a proposal does, when the last entry that it
    /// takes is applied.
    ChangeMembership {
        /// Its name.
        id: RequestId,
        /// The members it wants, with the version of those that they are meant to follow.
        target: Arc<Membership>,
    },
    /// A client of this node wants another leader. It is done when that one leads, and is refused where it did not take
    /// over in time; the leader then leads on.
    TransferLeadership {
        /// Its name.
        id: RequestId,
        /// Whom, or the most advanced voter.
        to: Option<NodeId>,
    },
    /// An operator wants an election now, whoever leads; leases are honoured all the same.
    Campaign,
    /// This write, and every write before it, is durable.
    Persisted {
        /// The last one of them.
        write: WriteId,
    },
    /// The state machine has applied everything up to here.
    Applied {
        /// The last applied index.
        through: LogIndex,
    },
    /// The answer to [`ReadBack`]: those entries of the range that the log holds, in order, ended early at the limit
    /// of bytes. The log may have been overwritten since the request: the engine compares each ballot with its own.
    EntriesRead {
        /// Which request.
        id: ReadBackId,
        /// What was found.
        entries: Vec<SharedEntry>,
    },
    /// A snapshot stands in the place of the log up to here: the tables were swapped and the log's base moved.
    SnapshotInstalled {
        /// The last index that it covers.
        base: LogPosition,
        /// The log time there.
        log_time: LogTime,
        /// The members there.
        membership: AppliedMembership,
    },
    /// The log store no longer holds entries up to here; everything trimmed is in the tables, durably.
    Trimmed {
        /// The last index that is gone.
        base: LogPosition,
    },
}

/// What an engine wants done. Everything in it may be done in parallel, except where a message names a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effects<M> {
    /// At most one atomic write to the log store.
    pub write: Option<Write>,
    /// What to say to peers, in order for each peer and lane.
    pub messages: Vec<Outgoing<M>>,
    /// Entries that are committed and not yet handed out: the next in order, without a gap.
    pub committed: Vec<SharedEntry>,
    /// Reads whose index is known.
    pub reads_ready: Vec<ReadReady>,
    /// Requests that were definitely not carried out.
    pub refused: Vec<Refused>,
    /// Entries to fetch from the log store.
    pub read_back: Vec<ReadBack>,
    /// Peers that can only go on from a snapshot.
    pub snapshots: Vec<SendSnapshot>,
    /// The node's part in the cluster has changed.
    pub role: Option<RoleChange>,
    /// With whom to be in touch from now on: the members of every configuration that has a say, and those who were
    /// removed and have yet to be told.
    pub contacts: Option<Arc<Membership>>,
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Effects {
            write: None,
            messages: Vec::new(),
            committed: Vec::new(),
            reads_ready: Vec::new(),
            refused: Vec::new(),
            read_back: Vec::new(),
            snapshots: Vec::new(),
            role: None,
            contacts: None,
        }
    }
}

impl<M> Effects<M> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.write.is_none()
            && self.messages.is_empty()
            && self.committed.is_empty()
            && self.reads_ready.is_empty()
            && self.refused.is_empty()
            && self.read_back.is_empty()
            && self.snapshots.is_empty()
            && self.role.is_none()
            && self.contacts.is_none()
    }
}

/// A message that may leave once a write is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outgoing<M> {
    /// To whom.
    pub to: NodeId,
    /// On which lane.
    pub lane: Lane,
    /// The write that must be durable first; zero where none need be.
    pub after: WriteId,
    /// What to say.
    pub message: M,
}

/// A read may be served from tables that have applied this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReadReady {
    /// Which read.
    pub id: RequestId,
    /// The least index whose application must be seen.
    pub index: LogIndex,
}

/// A request that was **definitely not** carried out, and never will be under this id. Of a request to hand over only the
/// first is definite: the leader has stopped trying, and a successor that it had told to take over may come to lead yet
/// ([`Refusal::TransferFailed`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Refused {
    /// Which request.
    pub id: RequestId,
    /// Why.
    pub reason: Refusal,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// Nobody is known to lead.
    #[error(
        "no leader is known: an election is under way, or no quorum is up; check that a majority of the nodes runs"
    )]
    NoLeader,
    /// A leader is known, but no quorum has confirmed it in time.
    #[error(
        "no quorum answered within {waited_ms} ms, or this node has yet to apply what was committed; check that a majority of the nodes runs, and retry"
    )]
    NoQuorum {
        /// How long the request was waited for.
        waited_ms: u64,
    },
    /// The node that was asked does not lead any more.
    #[error("leadership has moved; retry, the leader is now {}", .leader.map_or("unknown".into(), |node| format!("node {node}")))]
    NotLeader {
        /// Who leads instead, if that is known.
        leader: Option<NodeId>,
    },
    /// A bound is reached.
    #[error("too many requests in flight; retry a little later")]
    Busy,
    /// The command is larger than a message may be.
    #[error("{bytes} bytes, over the limit of {limit}; split the command")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A change of members was meant for others than the present ones.
    #[error(
        "the members have changed meanwhile: version {asked} was asked to change, and they are at version {present}; look at them ('kv-service members') and ask again"
    )]
    MembershipMoved {
        /// The version that was to be changed.
        asked: u64,
        /// The present one.
        present: u64,
    },
    /// One change of members at a time.
    #[error("another change of members is under way; ask again when it is done ('kv-service members' shows it)")]
    ChangePending,
    /// The leader is so new that it does not know yet what of the log is committed.
    #[error("the leader was elected just now and has yet to commit an entry of its own; ask again in a moment")]
    NotReady,
    /// Nobody can be a cluster of these.
    #[error("these cannot be the members: {reason}")]
    InvalidMembership {
        /// Why not.
        reason: String,
    },
    /// A learner that would hold up the cluster.
    #[error(
        "node {node} is {behind} entries behind and would hold up the cluster as a voter; check that it runs, and ask again when it has caught up ('kv-service members' shows how far it is)"
    )]
    LearnerLags {
        /// Which one.
        node: NodeId,
        /// By how many entries.
        behind: u64,
    },
    /// A cluster that could decide nothing any more, not even to undo the change.
    #[error(
        "of the {voters} nodes that are to vote {answering} answer, which is no majority, and the cluster would stand still; start the others first, or remove those that are gone instead"
    )]
    NoLiveMajority {
        /// How many are to vote.
        voters: usize,
        /// How many of them answer.
        answering: usize,
    },
    /// Only a voter can lead.
    #[error("node {node} does not vote, so it cannot lead; name a voter ('kv-service members' shows them)")]
    NotAVoter {
        /// Which one.
        node: NodeId,
    },
    /// The leader leads on, and has stopped trying to hand over. Whom it had told to take over may do so yet: the word may
    /// still be on its way, or the ballot on its way to the disk. That does no harm, but it is not ruled out. Where there was
    /// nobody to be told nothing will come of it.
    #[error("{}", .to.map_or_else(
        || "no other voter was heard lately, so there is nobody to hand over to; check that the others run".to_owned(),
        |node| format!(
            "node {node} has not taken over in time, though it still may, and the leader leads on; see who leads, check that node {node} runs, and ask again or name another one"
        ),
    ))]
    TransferFailed {
        /// Who was to lead; `None` where nobody was named, and there was nobody.
        to: Option<NodeId>,
    },
    /// The engine cannot do this.
    #[error("{what} is not supported by this engine")]
    Unsupported {
        /// What was asked.
        what: String,
    },
}

/// A range of entries that the engine needs and has no longer in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadBack {
    /// The request's name.
    pub id: ReadBackId,
    /// The first index.
    pub first: LogIndex,
    /// The last index.
    pub last: LogIndex,
    /// Stop before the entry that exceeds this, except that one entry is always returned if there is one.
    pub bytes_max: usize,
}

/// A peer needs what this node's log no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendSnapshot {
    /// Who.
    pub to: NodeId,
    /// The snapshot must cover at least this.
    pub at_least: LogIndex,
}

/// A node's part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Role {
    /// Receives the log without a vote.
    Learner,
    /// Follows, or waits for someone to follow.
    Follower,
    /// Asks around, or for votes or promises.
    Candidate,
    /// Leads.
    Leader,
}

/// The role as it is from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoleChange {
    /// What this node is.
    pub role: Role,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// In which ballot.
    pub ballot: Ballot,
}

/// How an engine stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineStatus {
    /// Its part.
    pub role: Role,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// The highest ballot that it has promised or voted in.
    pub ballot: Ballot,
    /// Everything up to here is committed, as far as this node knows.
    pub commit_index: LogIndex,
    /// The last index that holds an entry.
    pub last_index: LogIndex,
    /// The last index that is trimmed.
    pub base_index: LogIndex,
    /// The members in force.
    pub membership: Arc<Membership>,
    /// Whether they are about to change: a change is open, or chosen and not all in force.
    pub is_changing: bool,
    /// At a leader: up to where each peer is known to have the log.
    pub progress: BTreeMap<NodeId, LogIndex>,
}

/// Why an engine does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The hard state is not one that this engine writes.
    #[error(
        "hard state cannot be read ({reason}); the data directory was written by another engine or is damaged: restore it from a backup"
    )]
    HardState {
        /// What is wrong with it.
        reason: String,
    },
    /// The log contradicts itself or the hard state.
    #[error(
        "log and hard state contradict each other ({reason}); the data directory is damaged: restore it from a backup"
    )]
    Log {
        /// Where.
        reason: String,
    },
}
