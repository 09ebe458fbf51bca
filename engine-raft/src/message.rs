//! What the nodes of a Raft cluster say to each other.
//!
//! ```text
//!   candidate ──PreVote──────▶ voter      would you vote for me?            (thesis §9.6)
//!             ◀─PreVoteReply──
//!             ──RequestVote──▶            vote for me                       (paper §5.2)
//!             ◀─Vote──────────
//!   leader    ──Append───────▶ follower   these entries follow that one     (paper §5.3)
//!             ◀─AppendReply───
//!             ──Heartbeat────▶            I lead; so much is committed
//!             ◀─HeartbeatReply             you led when I heard that        (thesis §6.4)
//!             ──HandOver─────▶            lead in my place, now             (thesis §3.10)
//!   anyone    ◀─Nack──────────            your ballot is over
//!   follower  ◀─Errand───────▶ leader     forwarded proposals, reads, and an operator's orders
//! ```
//!
//! Every message names the ballot that it belongs to, and a reply the one that it answers: a reply counts for that
//! ballot and for no other. A ballot is never used twice, not even across a restart, so late replies to an earlier
//! life find nothing to count for.

use std::time::Duration;

use bincode::{Decode, Encode};
use consensus_api::errands::Errand;
use consensus_api::hand_over::HandOver;
use consensus_api::{Ballot, Lane, LogIndex, LogPosition, SharedEntry};

/// Everything that Raft nodes say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Message {
    /// Asks for a promise of a vote that binds nobody.
    PreVote(PreVote),
    /// Answers it.
    PreVoteReply(PreVoteReply),
    /// Asks for a vote.
    RequestVote(RequestVote),
    /// Answers it.
    Vote(Vote),
    /// Carries entries.
    Append(Append),
    /// Answers it.
    AppendReply(AppendReply),
    /// Reassures, carries the commit index, and starts a read round.
    Heartbeat(Heartbeat),
    /// Answers it.
    HeartbeatReply(HeartbeatReply),
    /// Answers a message of a term that is over.
    Nack(Nack),
    /// Asks a voter to lead in the sender's place.
    HandOver(HandOver),
    /// Carries requests between a follower and its leader.
    Errand(Errand),
}

impl Message {
    /// The stream it travels on: what is small and urgent must not wait behind entries.
    pub fn lane(&self) -> Lane {
        match self {
            Message::Append(_) | Message::AppendReply(_) => Lane::Replication,
            Message::Errand(_) => Lane::Requests,
            Message::PreVote(_)
            | Message::PreVoteReply(_)
            | Message::RequestVote(_)
            | Message::Vote(_)
            | Message::Heartbeat(_)
            | Message::HeartbeatReply(_)
            | Message::Nack(_)
            | Message::HandOver(_) => Lane::Control,
        }
    }
}

/// "Would you vote for me in this ballot?" (thesis §9.6). Changes nothing at either end, and waits for no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PreVote {
    /// The ballot that the sender would campaign in; it has not adopted it.
    pub ballot: Ballot,
    /// The last entry of the sender's log.
    pub last: LogPosition,
}

/// The answer to a [`PreVote`]. Promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PreVoteReply {
    /// The ballot that was asked about.
    pub ballot: Ballot,
    /// The voter's own term and vote. From a refusal the asker learns a higher term, to campaign above it.
    pub promised: Ballot,
    /// Whether the voter would vote.
    pub granted: bool,
}

/// "Vote for me" (paper §5.2). Leaves once the candidate's own vote is durable, or a restart would use the ballot twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct RequestVote {
    /// The candidate's term and name.
    pub ballot: Ballot,
    /// The last entry of the candidate's log, for the election restriction (paper §5.4.1).
    pub last: LogPosition,
    /// Somebody in charge wants this election: voters answer even though they hear a leader (thesis §4.2.3).
    pub forced: bool,
    /// The ballot in which a leader has handed over to this candidate: what was pledged to that leader, in that ballot or an
    /// earlier one, is owed no more. What it is told in a later one it may rely on.
    pub released_by: Option<Ballot>,
}

/// The answer to a [`RequestVote`] of the voter's own term. Leaves once the vote is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Vote {
    /// The ballot that asked.
    pub ballot: Ballot,
    /// Whether it has the vote.
    pub granted: bool,
}

/// Entries that follow `prev` (paper §5.3). Does not wait for the leader's own disk (thesis §10.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Append {
    /// The leader's term and name.
    pub ballot: Ballot,
    /// The entry before the first of `entries`; they are accepted only where the follower's log has it.
    pub prev: LogPosition,
    /// Consecutive entries; none in a probe.
    pub entries: Vec<SharedEntry>,
    /// The leader's commit index.
    pub commit: LogIndex,
}

/// The answer to an [`Append`]. `Matched` leaves once everything that it vouches for is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct AppendReply {
    /// The ballot of the `Append`.
    pub ballot: Ballot,
    /// What came of it.
    pub outcome: AppendOutcome,
}

/// What came of an [`Append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum AppendOutcome {
    /// The follower's log is the leader's up to here, durably. Cumulative: one answer for several messages.
    Matched {
        /// The last such index.
        through: LogIndex,
    },
    /// The follower's log does not have `prev`.
    Conflict(Conflict),
}

/// Where the logs part, told so that the leader can pass over a whole term in one round trip (paper §5.3, last
/// paragraphs; XTerm, XIndex and XLen are the names under which the trick is taught).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Conflict {
    /// The index of the `prev` that was not found; tells the answer to this probe from an older one's.
    pub prev: LogIndex,
    /// XTerm: the term of the follower's entry at `prev`; `None` where its log ends before.
    pub x_term: Option<u64>,
    /// XIndex: the follower's first uncommitted index with that term.
    pub x_index: LogIndex,
    /// XLen: the follower's last index.
    pub x_len: LogIndex,
}

/// "I lead." Sent every heartbeat interval, for every read round, and when the commit index has moved and there are no
/// entries to carry the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Heartbeat {
    /// The leader's term and name.
    pub ballot: Ballot,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// What the follower has acknowledged in this ballot, for a follower that has forgotten it by a restart and would
    /// otherwise not dare to commit.
    pub matched: LogIndex,
    /// The latest read round.
    pub round: u64,
}

/// The answer to the first [`Heartbeat`] of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct HeartbeatReply {
    /// The ballot of the heartbeat.
    pub ballot: Ballot,
    /// Its round.
    pub round: u64,
    /// For so long by its own clock, since it heard the heartbeat, the follower votes for nobody else
    /// ([`consensus_api::lease`]); zero: it pledges nothing. A pledge is on the disk before the first one leaves.
    pub pledge: Duration,
}

/// "Your term is over." Its receiver, if it still leads or campaigns in that ballot, steps down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Nack {
    /// The ballot that is refused.
    pub ballot: Ballot,
    /// The sender's own term and vote.
    pub promised: Ballot,
}
