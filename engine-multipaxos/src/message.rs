//! What the nodes of a Multi-Paxos cluster say to each other.
//!
//! ```text
//!   candidate ──PreCheck─────▶ acceptor   would you promise me this ballot?
//!             ◀─PreCheckReply─
//!             ──Prepare──────▶            promise it, for every slot from here on      (phase 1a)
//!             ◀─Promise───────            promised; this is what I have accepted       (phase 1b), page by page
//!   leader    ──Accept───────▶ acceptor   these values for these slots                 (phase 2a)
//!             ◀─Accepted──────            accepted                                     (phase 2b)
//!             ──Heartbeat────▶            I lead; so much is chosen
//!             ◀─HeartbeatReply            you led when I heard that
//!   anyone    ◀─Nack──────────            your ballot is over
//!   who lacks ──LearnRequest─▶ who knows  what was chosen in these slots?
//!             ◀─Learned───────
//!   who reads ──ReadQuery────▶ acceptor   what is the last slot that you have accepted?
//!             ◀─ReadReport────
//!   leader    ──HandOver─────▶ follower   lead in my place
//!   follower  ◀─Errand───────▶ leader     forwarded proposals, reads and orders
//! ```
//!
//! The phases are those of Lamport, "Paxos Made Simple" (2001), §2.2, with one Prepare for all slots (§3). A reply
//! names the ballot that it answers and counts for that ballot and no other. A ballot is never used twice, not even
//! across a restart, so late replies to an earlier life find nothing to count for.

use std::time::Duration;

use bincode::{Decode, Encode};
use consensus_api::errands::Errand;
use consensus_api::hand_over::HandOver;
use consensus_api::{Ballot, Lane, LogIndex, SharedEntry};

/// Everything that Multi-Paxos nodes say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Message {
    /// Asks for a promise that binds nobody.
    PreCheck(PreCheck),
    /// Answers it.
    PreCheckReply(PreCheckReply),
    /// Asks for a promise.
    Prepare(Prepare),
    /// Gives it.
    Promise(Promise),
    /// Carries values for slots.
    Accept(Accept),
    /// Answers it.
    Accepted(Accepted),
    /// Reassures, carries the watermark, and starts a read round.
    Heartbeat(Heartbeat),
    /// Answers it.
    HeartbeatReply(HeartbeatReply),
    /// Answers a message of a ballot that is over.
    Nack(Nack),
    /// Asks for chosen values.
    LearnRequest(LearnRequest),
    /// Carries chosen values.
    Learned(Learned),
    /// Asks how far slots are accepted, for a read that no leader is asked for.
    ReadQuery(ReadQuery),
    /// Answers it.
    ReadReport(ReadReport),
    /// Asks the receiver to lead in the sender's place.
    HandOver(HandOver),
    /// Carries requests between a follower and its leader.
    Errand(Errand),
}

impl Message {
    /// The stream it travels on: what is small and urgent must not wait behind entries.
    pub fn lane(&self) -> Lane {
        match self {
            Message::Promise(promise) if !promise.accepted.is_empty() => Lane::Replication,
            Message::Accept(_) | Message::Accepted(_) | Message::LearnRequest(_) | Message::Learned(_) => {
                Lane::Replication
            }
            Message::Errand(_) => Lane::Requests,
            Message::PreCheck(_)
            | Message::PreCheckReply(_)
            | Message::Prepare(_)
            | Message::Promise(_)
            | Message::Heartbeat(_)
            | Message::HeartbeatReply(_)
            | Message::Nack(_)
            | Message::ReadQuery(_)
            | Message::ReadReport(_)
            | Message::HandOver(_) => Lane::Control,
        }
    }
}

/// "Would you promise me this ballot?" (thesis §9.6, carried over to Prepare). Changes nothing at either end, and waits
/// for no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PreCheck {
    /// The ballot that the sender would campaign in; it has not promised it itself.
    pub ballot: Ballot,
    /// The first slot that it does not know to be chosen.
    pub from: LogIndex,
}

/// The answer to a [`PreCheck`]. Promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PreCheckReply {
    /// The ballot that was asked about.
    pub ballot: Ballot,
    /// What the acceptor has promised. From a refusal the asker learns a higher ballot, to campaign above it.
    pub promised: Ballot,
    /// Whether the acceptor would promise.
    pub granted: bool,
}

/// "Promise me this ballot, and tell what you have accepted" (phase 1a). One for all slots. Leaves once the candidate's
/// own promise is durable, or a restart would use the ballot twice. Sent again with the same ballot for the next page; and
/// by its leader to new members, before it proposes in slots that are theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Prepare {
    /// The candidate's ballot.
    pub ballot: Ballot,
    /// The first slot that it wants to hear of: the first that it does not know to be chosen, or the next page.
    pub from: LogIndex,
    /// Somebody in charge wants this election: acceptors answer even though they hear a leader.
    pub forced: bool,
    /// The leader of this ballot has handed over to the sender, and relies on nothing any more that was pledged to it. It
    /// may lead again in a later one, and then rely on what is pledged to it there.
    pub released_by: Option<Ballot>,
}

/// A page of a promise (phase 1b): everything accepted from `from` on, up to before `next`. It leaves once the promise
/// and all that it tells are durable, and counts once the last page has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Promise {
    /// The ballot of the Prepare.
    pub ballot: Ballot,
    /// The page's first slot, as the Prepare asked.
    pub from: LogIndex,
    /// What was accepted there, holes left out, each entry under its own ballot. Up to `chosen_through` these are the
    /// chosen values.
    pub accepted: Vec<SharedEntry>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<LogIndex>,
    /// The acceptor knows everything up to here to be chosen. A page has no entries that were compacted away, and so the
    /// candidate must get to here by other ways before it leads.
    pub chosen_through: LogIndex,
    /// The acceptor's log begins after this: what was chosen up to here it can send as a snapshot only.
    pub compacted_through: LogIndex,
}

/// "Accept these values" (phase 2a), each for its own slot, independent of all others. Does not wait for the leader's
/// own disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Accept {
    /// The leader's ballot; every entry's too.
    pub ballot: Ballot,
    /// The values.
    pub entries: Vec<SharedEntry>,
    /// The watermark: every slot up to here is chosen. What the receiver has accepted there under this very ballot is
    /// what was chosen; nothing else is.
    pub chosen_through: LogIndex,
}

/// "Accepted" (phase 2b). Leaves once the values, and the promise that goes with them, are durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Accepted {
    /// The ballot of the Accept.
    pub ballot: Ballot,
    /// The slots accepted under it, as inclusive ranges. One answer for several messages.
    pub slots: Vec<(LogIndex, LogIndex)>,
    /// The acceptor knows everything up to here to be chosen; slots of the Accept that lie there were not accepted anew.
    pub chosen_through: LogIndex,
}

/// "I lead." Sent every heartbeat interval, for every read round, and when the watermark has moved and there are no
/// entries to carry the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Heartbeat {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The watermark, as in [`Accept`].
    pub chosen_through: LogIndex,
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
    /// The follower knows everything up to here to be chosen.
    pub chosen_through: LogIndex,
    /// For so long by its own clock, since it heard the heartbeat, the follower promises nobody else
    /// ([`consensus_api::lease`]); zero: it pledges nothing. A pledge is on the disk before the first one leaves.
    pub pledge: Duration,
}

/// "Your ballot is over." Its receiver, if it still leads or campaigns in that ballot, steps down, and goes above what
/// was promised the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Nack {
    /// The ballot that is refused.
    pub ballot: Ballot,
    /// What the sender has promised.
    pub promised: Ballot,
}

/// "What was chosen here?" Asked of anyone who is known to know; belongs to no ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LearnRequest {
    /// The first slot.
    pub from: LogIndex,
    /// The last slot.
    pub through: LogIndex,
}

/// Chosen values, one after another. Chosen is chosen: it belongs to no ballot and waits for no write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Learned {
    /// The values, from the first slot that was asked for on, without a hole. None of them where that slot is compacted:
    /// then a snapshot is on its way.
    pub entries: Vec<SharedEntry>,
    /// The sender knows everything up to here to be chosen.
    pub chosen_through: LogIndex,
}

/// "What is the last slot that you have accepted?" Asked of every acceptor for all the reads that wait; belongs to no
/// ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReadQuery {
    /// The asker's boot: an answer to an earlier life, whose rounds had the same numbers, is told by it.
    pub boot: u64,
    /// The asker's round.
    pub round: u64,
    /// The highest slot that a read is held up by; zero where none is. A leader sees to it that something is chosen
    /// through there.
    pub wants: LogIndex,
}

/// The answer to a [`ReadQuery`]. Promises nothing and waits for no write: it only has to tell of all that was answered
/// for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReadReport {
    /// The asker's boot.
    pub boot: u64,
    /// Its round.
    pub round: u64,
    /// The last slot that the acceptor has accepted under any ballot, or knows to be chosen.
    pub accepted_through: LogIndex,
    /// The acceptor knows everything up to here to be chosen.
    pub chosen_through: LogIndex,
}
