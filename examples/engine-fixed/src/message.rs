//! What the nodes say to each other.

use bincode::{Decode, Encode};
use consensus_api::errands::Errand;
use consensus_api::{Ballot, Lane, LogIndex, SharedEntry};

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Message {
    /// From the leader: these entries follow each other, and its disk holds them. Without any it is a heartbeat.
    Append {
        /// The leader's present life.
        ballot: Ballot,
        /// The entries.
        entries: Vec<SharedEntry>,
        /// Everything up to here is committed.
        commit: LogIndex,
    },
    /// To the leader: my disk holds everything up to here.
    Ack {
        /// The ballot of the messages that it answers.
        ballot: Ballot,
        /// The last index.
        through: LogIndex,
    },
    /// Requests on their way to the leader, and its answers.
    Errand(Errand),
}

impl Message {
    /// Heartbeats overtake entries.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Message::Append { entries, .. } if entries.is_empty() => Lane::Control,
            Message::Append { .. } | Message::Ack { .. } => Lane::Replication,
            Message::Errand(_) => Lane::Requests,
        }
    }
}
