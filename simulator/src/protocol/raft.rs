//! Raft's messages, in words.

use consensus_api::{Ballot, LogIndex, NodeId};
use engine_raft::message::AppendOutcome;
use engine_raft::{Message, Raft};

use super::{Carried, Held, Protocol, Under, Vouched, errand, granted, position};
use crate::transcript;

impl Protocol for Raft {
    const ROUND_IS_EPOCH: bool = true;

    fn vouched(message: &Message) -> Vouched {
        let term = |ballot: Ballot| Vouched::ballot(Ballot::new(ballot.round, NodeId::NONE));
        match message {
            Message::RequestVote(it) => Vouched::ballot(it.ballot),
            Message::Vote(it) if it.granted => Vouched::ballot(it.ballot),
            Message::Vote(it) => term(it.ballot),
            Message::Append(it) => Vouched::ballot(it.ballot),
            Message::Heartbeat(it) => Vouched::ballot(it.ballot),
            Message::AppendReply(it) => match it.outcome {
                // The prefix is the leader's, entries of earlier terms included.
                AppendOutcome::Matched { through } if through > LogIndex::ZERO => {
                    let held = vec![Held { index: through, under: Under::LeaderOf(it.ballot) }];
                    Vouched { held, ..term(it.ballot) }
                }
                _ => term(it.ballot),
            },
            Message::HeartbeatReply(it) => term(it.ballot),
            Message::Nack(it) => term(it.promised),
            // They ask and answer what would be, and bind nobody.
            Message::PreVote(_) | Message::PreVoteReply(_) | Message::Errand(_) => Vouched::nothing(),
            Message::HandOver(it) => Vouched::ballot(it.ballot),
        }
    }

    fn is_vote(message: &Message) -> bool {
        matches!(message, Message::Vote(it) if it.granted)
    }

    fn carried(message: &Message) -> Option<Carried<'_>> {
        match message {
            Message::Append(it) => Some(Carried { ballot: Some(it.ballot), prev: Some(it.prev), entries: &it.entries }),
            _ => None,
        }
    }

    fn describe(message: &Message) -> String {
        match message {
            Message::PreVote(it) => format!("PreVote {} last={}", it.ballot, position(it.last)),
            Message::PreVoteReply(it) => {
                format!("PreVoteReply {} {} (at {})", it.ballot, granted(it.granted), it.promised)
            }
            Message::RequestVote(it) => {
                let forced = if it.forced { " forced" } else { "" };
                let released = it.released_by.map_or(String::new(), |handed| format!(" released by {handed}"));
                format!("RequestVote {} last={}{forced}{released}", it.ballot, position(it.last))
            }
            Message::Vote(it) => format!("Vote {} {}", it.ballot, granted(it.granted)),
            Message::Append(it) => {
                let entries = transcript::entries(&it.entries);
                format!("Append {} prev={} [{entries}] commit={}", it.ballot, position(it.prev), it.commit)
            }
            Message::AppendReply(it) => match it.outcome {
                AppendOutcome::Matched { through } => format!("AppendReply {} matched={through}", it.ballot),
                AppendOutcome::Conflict(conflict) => {
                    let term = conflict.x_term.map_or_else(|| "none".to_owned(), |term| term.to_string());
                    format!(
                        "AppendReply {} conflict prev={} xterm={term} xindex={} xlen={}",
                        it.ballot, conflict.prev, conflict.x_index, conflict.x_len
                    )
                }
            },
            Message::Heartbeat(it) => {
                format!("Heartbeat {} commit={} matched={} round={}", it.ballot, it.commit, it.matched, it.round)
            }
            Message::HeartbeatReply(it) => format!("HeartbeatReply {} round={}", it.ballot, it.round),
            Message::Nack(it) => format!("Nack {} (at {})", it.ballot, it.promised),
            Message::HandOver(it) => format!("HandOver {}", it.ballot),
            Message::Errand(it) => errand(it),
        }
    }
}
