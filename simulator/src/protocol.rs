//! What the simulator must know of an engine beyond the [`Engine`] trait: how to read its messages aloud, and which
//! ballots exclude each other.

mod paxos;
mod raft;

use std::fmt;

use consensus_api::errands::Errand;
use consensus_api::{Ballot, Engine, LogIndex, LogPosition, ReadMode, Refused, RequestId, SharedEntry};

use crate::transcript;

/// What a message vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// The sender has promised, voted in or adopted this ballot. In Raft without a node: the term alone.
    pub ballot: Option<Ballot>,
    /// The sender's log holds these.
    pub held: Vec<Held>,
    /// Of this stretch of its log it lists everything.
    pub whole: Option<Stretch>,
}

impl Vouched {
    fn nothing() -> Vouched {
        Vouched::default()
    }

    fn ballot(ballot: Ballot) -> Vouched {
        Vouched { ballot: Some(ballot), ..Vouched::default() }
    }
}

/// An entry that a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub index: LogIndex,
    /// Under which ballot.
    pub under: Under,
}

/// The slots of a page of a promise that the candidate does not come to know in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first of them.
    pub first: LogIndex,
    /// The first that is no longer one; `None` where they go on to the end.
    pub end: Option<LogIndex>,
    /// What is accepted there under this ballot or a higher one came after the promise.
    pub below: Ballot,
}

/// What is said about a held entry's ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// It is this one, or a higher one that took its place.
    AtLeast(Ballot),
    /// It is the one under which the leader of this ballot has the entry.
    LeaderOf(Ballot),
}

impl fmt::Display for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Under::AtLeast(ballot) => write!(f, "under {ballot}"),
            Under::LeaderOf(ballot) => write!(f, "as the leader of {ballot} has it"),
        }
    }
}

/// Log entries that a message carries.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The ballot of the leader in whose log they stand, where a leader sends its own.
    pub ballot: Option<Ballot>,
    /// What the first of them follows, where entries follow each other.
    pub prev: Option<LogPosition>,
    /// The entries, each under its own ballot.
    pub entries: &'a [SharedEntry],
}

/// An engine that the simulator can describe.
pub trait Protocol: Engine {
    /// Whether all ballots of a round are one epoch, as in Raft, whose terms are compared without the node. In Paxos
    /// each ballot is an epoch of its own.
    const ROUND_IS_EPOCH: bool;

    /// The message in a few words; the first one is its name.
    fn describe(message: &Self::Message) -> String;

    /// What must be on the sender's disk when the message leaves.
    fn vouched(message: &Self::Message) -> Vouched;

    /// Whether it is a vote or a promise: what only a voter may give.
    fn is_vote(message: &Self::Message) -> bool;

    /// The log entries that it carries, if it is of a kind that does: whether or not any disk holds them yet.
    fn carried(message: &Self::Message) -> Option<Carried<'_>>;

    /// The message's name.
    fn name(message: &Self::Message) -> String {
        Self::describe(message).split(' ').next().unwrap_or_default().to_owned()
    }
}

/// Where a log ends, as `index@ballot`.
fn position(position: LogPosition) -> String {
    format!("{}@{}", position.index, position.ballot)
}

/// A word for a yes or no.
fn granted(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

fn list<T>(items: &[T], describe: impl Fn(&T) -> String) -> String {
    items.iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// Errands are the same in both engines.
fn errand(errand: &Errand) -> String {
    match errand {
        Errand::Propose { ballot, proposals } => {
            let all = list(proposals, |proposal| format!("{} {}", proposal.id, transcript::command(&proposal.data.0)));
            format!("Propose {ballot} {all}")
        }
        Errand::Read { ballot, mode, ids } => {
            let mode = if *mode == ReadMode::Index { String::new() } else { format!("{mode:?} ").to_lowercase() };
            format!("Read {ballot} {mode}{}", list(ids, RequestId::to_string))
        }
        Errand::ChangeMembership { ballot, id, target } => {
            format!("ChangeMembership {ballot} {id} {}", transcript::members(target))
        }
        Errand::TransferLeadership { ballot, id, to } => {
            let to = to.map_or("the most advanced".to_owned(), |node| node.to_string());
            format!("TransferLeadership {ballot} {id} to {to}")
        }
        Errand::Refuse { refused } => {
            format!("Refuse {}", list(refused, |Refused { id, reason }| format!("{id}: {reason}")))
        }
        Errand::ReadIndex { ready } => {
            format!("ReadIndex {}", list(ready, |ready| format!("{} at {}", ready.id, ready.index)))
        }
    }
}
