//! The part that a node plays, and what it knows while it plays it.
//!
//! ```text
//!                    suspects           a quorum would promise    a quorum has promised,
//!   ┌──────────┐ ─────────────▶ ┌──────────────┐ ─────▶ ┌───────────┐ caught up ─▶ ┌────────┐
//!   │ Follower │                │ PreCandidate │        │ Candidate │              │ Leader │
//!   └──────────┘ ◀───────────── └──────────────┘        └───────────┘              └────────┘
//!        ▲         hears the leader, or of a higher ballot  │                           │
//!        └──────────────────────────────────────────────────┴───────────────────────────┘
//!                                              also: no quorum heard for an election timeout
//! ```
//!
//! A learner is a follower that the membership gives no vote: it never campaigns, but where it hears no leader it asks the
//! voters what is chosen.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_api::detector::QuorumContact;
use consensus_api::flow::InFlight;
use consensus_api::hand_over::Transfer;
use consensus_api::lease::Lease;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::reads::ReadQueue;
use consensus_api::{Ballot, HardState, LogClock, LogIndex, MonoTime, NodeId, RequestId, Role, Tally, Timing, WriteId};

use crate::MultiPaxos;
use crate::gathering::Gathering;
use crate::open_slots::OpenSlots;
use crate::takeover::Candidate;

/// What a node is, with what it only knows as that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower {
        /// Whom: the owner of the promised ballot, once it has spoken as a leader.
        leader: Option<NodeId>,
    },
    /// Asks whether a campaign would succeed.
    PreCandidate {
        /// The ballot that the campaign would have.
        ballot: Ballot,
        /// The answers.
        tally: Tally,
    },
    /// Asks for promises in its own ballot.
    Candidate(Box<Candidate>),
    /// Leads in its own ballot.
    Leader(Box<Leader>),
}

/// What a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// How far each peer is.
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    /// When each voter was last heard (check-quorum).
    pub(crate) contact: QuorumContact,
    /// The reads that wait for their round, all of them to be confirmed by those who decide on the next slot.
    pub(crate) reads: ReadQueue,
    /// The reads that no round can confirm yet.
    pub(crate) early_reads: Vec<RequestId>,
    /// Until when nobody else leads, as answers to earlier rounds have told. It ends with the leadership.
    pub(crate) lease: Lease,
    /// Stamps its entries.
    pub(crate) clock: LogClock,
    /// The last slot for which promises have shown a value. What earlier leaders acknowledged lies at or below it; no
    /// read is served from less.
    pub(crate) epoch_start: LogIndex,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: MonoTime,
    /// A heartbeat to everyone goes out with the next effects.
    pub(crate) heartbeat_due: bool,
    /// Its slots that are not chosen yet, and who has accepted them; the bounds on proposals in flight are counted here.
    pub(crate) open: OpenSlots,
    /// The promises to its ballot, and what they have shown and the window has not let it propose again yet.
    pub(crate) gathering: Gathering,
    /// The version of the latest members of which a quorum has promised.
    pub(crate) prepared: u64,
    /// Its attempt to hand over, if one is under way.
    pub(crate) transfer: Option<Transfer>,
}

/// What a leader knows of one peer.
///
/// ```text
///   ──── chosen ────────────── next ───────── last
///                  sent; each     not sent
///                  slot answered
///                  by itself
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The next slot to send.
    pub(crate) next: LogIndex,
    /// Messages with entries that were sent and not answered. It bounds the pipeline; what is sent again is told by
    /// slots.
    pub(crate) in_flight: InFlight,
    /// The first slot that was sent and that the peer has not accepted, and since when it is this one.
    pub(crate) lacks: Option<(LogIndex, MonoTime)>,
    /// When anything was last heard from it; at first, when it came to be a peer.
    pub(crate) heard_at: MonoTime,
    /// Whether anything was.
    pub(crate) has_answered: bool,
    /// The watermark that it was last told.
    pub(crate) told_chosen: LogIndex,
    /// It knows everything up to here to be chosen, as it has said in this ballot.
    pub(crate) known: LogIndex,
}

/// What a node knows of the owner of the ballot that it has promised. Nothing of it holds beyond that ballot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Allegiance {
    /// The highest watermark that the leader has told.
    pub(crate) watermark: LogIndex,
    /// The first slot that is missing below the watermark, and since when.
    pub(crate) gap: Option<(LogIndex, MonoTime)>,
    /// The last read round that was answered.
    pub(crate) answered_round: u64,
    /// Slots whose acceptance goes out with the next effects, if an answer is owed at all.
    pub(crate) owes_accepted: Option<Vec<(LogIndex, LogIndex)>>,
}

impl RoleState {
    /// Where promises to the own ballot are gathered, if that is what this node does.
    pub(crate) fn gathering(&self) -> Option<&Gathering> {
        match self {
            RoleState::Candidate(candidate) => Some(&candidate.gathering),
            RoleState::Leader(leader) => Some(&leader.gathering),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } => None,
        }
    }

    /// As [`gathering`](Self::gathering), to go on with it.
    pub(crate) fn gathering_mut(&mut self) -> Option<&mut Gathering> {
        match self {
            RoleState::Candidate(candidate) => Some(&mut candidate.gathering),
            RoleState::Leader(leader) => Some(&mut leader.gathering),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } => None,
        }
    }
}

impl Progress {
    /// A peer at the beginning of a leadership, or of its membership: it is sent everything from the first open slot on.
    pub(crate) fn new(next: LogIndex, now: MonoTime) -> Progress {
        let (in_flight, told_chosen, known) = (InFlight::default(), LogIndex::ZERO, LogIndex::ZERO);
        Progress { next, in_flight, lacks: None, heard_at: now, has_answered: false, told_chosen, known }
    }

    /// Whether it has been silent so long that it is sent heartbeats only.
    pub(crate) fn is_silent(&self, now: MonoTime, timing: &Timing) -> bool {
        now.since(self.heard_at) >= timing.election_timeout
    }

    /// Whether something was lost on the way to the peer or back: `first_without`, the first slot that it has not
    /// accepted, was sent and has been the same one for `patience`, or nothing at all was answered for so long.
    ///
    /// Messages alone would not tell. Take 1..5, lost, and 6..10, answered slowly: both are sent again as one message,
    /// 1..10, which is lost too. The late answer 6..10 covers the slot that this message is named by, nothing is in
    /// flight any more, and yet nobody has 1..5. Nor would a stall of all messages: under load there is always another
    /// one that is answered.
    pub(crate) fn is_stalled(&mut self, first_without: LogIndex, now: MonoTime, patience: Duration) -> bool {
        let same = self.lacks.filter(|(slot, _)| *slot == first_without);
        self.lacks = (first_without < self.next).then(|| same.unwrap_or((first_without, now)));
        let long_ago = |since| now.since(since) >= patience && !is_planted(Bug::LossNeverNoticed);
        self.lacks.is_some_and(|(_, since)| long_ago(since)) || self.in_flight.stalled_since().is_some_and(long_ago)
    }

    /// Takes what is in flight for lost, and sends again from the first slot that the peer has not accepted.
    pub(crate) fn resume_from(&mut self, next: LogIndex) {
        self.next = next;
        self.in_flight.clear();
        self.lacks = None;
    }
}

impl MultiPaxos {
    /// Whom this node takes for the leader.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Follower { leader } => *leader,
            RoleState::PreCandidate { .. } | RoleState::Candidate(_) => None,
            RoleState::Leader(_) => Some(self.config.node),
        }
    }

    /// The role, as the outside sees it.
    pub(crate) fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower { .. } if self.is_voter() => Role::Follower,
            RoleState::Follower { .. } => Role::Learner,
            RoleState::PreCandidate { .. } | RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Raises the promise. What the present leader is still owed goes out first. Durable with the write that [`MultiPaxos::ballot_write`] names.
    pub(crate) fn set_ballot(&mut self, ballot: Ballot) {
        assert!(ballot > self.ballot, "promise {} may not become {ballot}", self.ballot);
        self.acknowledge();
        self.ballot = ballot;
        self.round_seen = self.round_seen.max(ballot.round);
        self.allegiance = Allegiance::default();
        if ballot.node != self.config.node || !is_planted(Bug::OwnBallotNotWritten) {
            self.write_hard_state();
        }
        self.ballot_write = self.log.dependency();
    }

    fn write_hard_state(&mut self) {
        let state = HardState { ballot: self.ballot, pledge: self.pledge.recorded() };
        self.log.writer.set_hard_state(state.encode());
    }

    /// Has the pledge that comes with every answer to a leader recorded, before the first one leaves.
    pub(crate) fn record_pledge(&mut self) {
        if self.pledge.must_be_recorded() {
            self.write_hard_state();
            self.ballot_write = self.log.dependency();
        }
    }

    /// Others are in force by what is known to be chosen here: has that written down before anybody is told that it is
    /// known, or counts it as known ([`membership`](crate::membership)).
    pub(crate) fn record_members(&mut self) {
        let version = self.present().version;
        if version != self.recorded.0 {
            self.write_hard_state();
            self.ballot_write = self.log.dependency();
            self.recorded = (version, self.ballot_write);
        }
    }

    /// The write that makes this node's promise durable, what it has pledged, and which members it knows to be in force.
    pub(crate) fn ballot_write(&self) -> WriteId {
        self.ballot_write
    }
}
