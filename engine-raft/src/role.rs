//! The part that a node plays, and what it knows while it plays it.
//!
//! ```text
//!                    suspects           a quorum would vote        a quorum votes
//!   ┌──────────┐ ─────────────▶ ┌──────────────┐ ─────▶ ┌───────────┐ ─────▶ ┌────────┐
//!   │ Follower │                │ PreCandidate │        │ Candidate │        │ Leader │
//!   └──────────┘ ◀───────────── └──────────────┘        └───────────┘        └────────┘
//!        ▲         hears the leader, or of a higher term    │                     │
//!        └──────────────────────────────────────────────────┴─────────────────────┘
//!                                              also: no quorum heard for an election timeout
//! ```
//!
//! A learner is a follower that the membership gives no vote: it never suspects anybody.

use std::collections::{BTreeMap, VecDeque};

use consensus_api::detector::QuorumContact;
use consensus_api::flow::InFlight;
use consensus_api::hand_over::Transfer;
use consensus_api::lease::Lease;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::reads::ReadQueue;
use consensus_api::{Ballot, HardState, LogClock, LogIndex, MonoTime, NodeId, ReadBackId, Role, Tally, Timing};

use crate::Raft;
use crate::membership::Retiring;

/// What a node is, with what it only knows as that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower {
        /// Whom.
        leader: Option<NodeId>,
    },
    /// Asks whether a campaign would succeed.
    PreCandidate {
        /// The ballot that the campaign would have.
        ballot: Ballot,
        /// The answers.
        tally: Tally,
    },
    /// Asks for votes in its own ballot.
    Candidate {
        /// The votes.
        tally: Tally,
        /// Somebody in charge wants this election.
        forced: bool,
        /// The ballot of the leader that has handed over to this node.
        released_by: Option<Ballot>,
        /// When to ask again.
        resend_at: MonoTime,
    },
    /// Leads in its own ballot.
    Leader(Box<Leader>),
}

/// What a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// How far each peer is: the members, and those who are removed and not told yet.
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    /// When each voter was last heard (check-quorum).
    pub(crate) contact: QuorumContact,
    /// The reads that wait for their round.
    pub(crate) reads: ReadQueue,
    /// Until when nobody else leads, as answers to earlier rounds have told. It ends with the leadership.
    pub(crate) lease: Lease,
    /// Stamps its entries.
    pub(crate) clock: LogClock,
    /// Its no-op. What earlier leaders acknowledged lies below; no read is served from less.
    pub(crate) epoch_start: LogIndex,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: MonoTime,
    /// A heartbeat to everyone goes out with the next effects.
    pub(crate) heartbeat_due: bool,
    /// How far its own log is durable: its own vote for what is committed.
    pub(crate) durable: LogIndex,
    /// Its entries that are not committed yet, with their sizes; the bounds on proposals in flight are counted here.
    pub(crate) open: VecDeque<(LogIndex, usize)>,
    /// The sum of those sizes.
    pub(crate) open_bytes: usize,
    /// The attempt to hand over that is under way.
    pub(crate) transfer: Option<Transfer>,
}

/// What a leader knows of one peer.
///
/// ```text
///   ───── matched ─────────────── next ───────── last
///     known to be    sent, not       not sent
///     the same       answered
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The peer has acknowledged everything up to here, durably, in this ballot.
    pub(crate) matched: LogIndex,
    /// The next entry to send. Always above `matched`.
    pub(crate) next: LogIndex,
    /// How to send.
    pub(crate) phase: Phase,
    /// Messages with entries that were sent and not answered.
    pub(crate) in_flight: InFlight,
    /// When anything was last heard from it.
    pub(crate) heard_at: MonoTime,
    /// The commit index that it was last told; `None`: nothing has been sent to it yet.
    pub(crate) told_commit: Option<LogIndex>,
    /// The request for entries that it needs and that have left the window.
    pub(crate) reading: Option<ReadBackId>,
    /// It is no member any more, and is to hear of that.
    pub(crate) retiring: Option<Retiring>,
}

/// How entries are sent to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Where the logs part is not known: one message per heartbeat interval or answer.
    Probe {
        /// The message of this interval is out.
        asked: bool,
    },
    /// The logs agree up to what was sent: `next` moves with each message, without waiting for answers.
    Replicate,
    /// The peer needs what is trimmed. Probed as above, so that it is noticed when the snapshot has arrived.
    Snapshot {
        /// The probe of this interval is out.
        asked: bool,
        /// When the snapshot was last asked for.
        since: MonoTime,
    },
}

/// What a node knows of the leader of its term. There is one at most, so all of it holds through every change of this
/// node's own role within the term, and none of it beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Allegiance {
    /// The leader, once it has spoken.
    pub(crate) leader: Option<NodeId>,
    /// The log is the leader's up to here.
    pub(crate) verified: LogIndex,
    /// The highest commit index that the leader has told.
    pub(crate) leader_commit: LogIndex,
    /// The last read round that was answered.
    pub(crate) answered_round: u64,
    /// An acknowledgement through `verified` goes out with the next effects.
    pub(crate) owes_reply: bool,
}

impl Progress {
    /// A peer at the beginning of a leadership, or of its own membership: taken to have everything up to there, until it
    /// says otherwise.
    pub(crate) fn new(next: LogIndex, now: MonoTime) -> Progress {
        Progress {
            matched: LogIndex::ZERO,
            next,
            phase: Phase::Probe { asked: false },
            in_flight: InFlight::default(),
            heard_at: now,
            told_commit: None,
            reading: None,
            retiring: None,
        }
    }

    /// Whether anything has been sent to it that it could answer.
    pub(crate) fn was_asked(&self) -> bool {
        self.told_commit.is_some()
    }

    /// Whether it has been silent so long that it is only probed, not sent entries at full speed.
    pub(crate) fn is_silent(&self, now: MonoTime, timing: &Timing) -> bool {
        now.since(self.heard_at) >= timing.election_timeout
    }

    /// Takes what is in flight for lost, and asks from `next` on where the logs part.
    pub(crate) fn probe_from(&mut self, next: LogIndex) {
        self.next = next.max(self.matched.next());
        self.phase = Phase::Probe { asked: false };
        self.in_flight.clear();
    }
}

impl Raft {
    /// Whom this node takes for the leader.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Follower { leader } => *leader,
            RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => None,
            RoleState::Leader(_) => Some(self.config.node),
        }
    }

    /// The role, as the outside sees it.
    pub(crate) fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower { .. } if self.is_voter() => Role::Follower,
            RoleState::Follower { .. } => Role::Learner,
            RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Up to where a leader knows each peer to have the log.
    pub(crate) fn progress(&self) -> BTreeMap<NodeId, LogIndex> {
        let RoleState::Leader(leader) = &self.role else { return BTreeMap::new() };
        leader.peers.iter().map(|(peer, progress)| (*peer, progress.matched)).collect()
    }

    /// Raises the term, or gives the vote in the present one. Durable with the write that
    /// `ballot_write` names.
    pub(crate) fn set_ballot(&mut self, ballot: Ballot) {
        let first_vote = ballot.round == self.ballot.round && self.ballot.node == NodeId::NONE;
        assert!(ballot.round > self.ballot.round || first_vote, "ballot {} may not become {ballot}", self.ballot);
        if ballot.round > self.ballot.round {
            self.allegiance = Allegiance { verified: self.log.commit(), ..Allegiance::default() };
        }
        self.ballot = ballot;
        self.write_hard_state();
        self.ballot_write = self.log.dependency();
    }

    /// Has the pledge that comes with every answer to a leader recorded, before the first one leaves.
    pub(crate) fn record_pledge(&mut self) {
        if self.pledge.must_be_recorded() {
            self.write_hard_state();
            self.ballot_write = self.log.dependency();
        }
    }

    fn write_hard_state(&mut self) {
        let written =
            if is_planted(Bug::VoteNotWritten) { Ballot::new(self.ballot.round, NodeId::NONE) } else { self.ballot };
        if self.ballot.node != self.config.node || !is_planted(Bug::OwnBallotNotWritten) {
            let state = HardState { ballot: written, pledge: self.pledge.recorded() };
            self.log.writer.set_hard_state(state.encode());
        }
    }
}
