//! Multi-Paxos' messages, in words.

use consensus_api::LogIndex;
use engine_multipaxos::{Message, MultiPaxos};

use super::{Carried, Held, Protocol, Stretch, Under, Vouched, errand, granted, list};
use crate::transcript;

impl Protocol for MultiPaxos {
    const ROUND_IS_EPOCH: bool = false;

    fn vouched(message: &Message) -> Vouched {
        match message {
            Message::Prepare(it) => Vouched::ballot(it.ballot),
            Message::Promise(it) => {
                let held =
                    it.accepted.iter().map(|entry| Held { index: entry.index, under: Under::AtLeast(entry.ballot) });
                // What is chosen the candidate learns before it leads.
                let first = it.from.max(it.chosen_through.next());
                let whole = Some(Stretch { first, end: it.next, below: it.ballot });
                Vouched { held: held.collect(), whole, ..Vouched::ballot(it.ballot) }
            }
            Message::Accept(it) => Vouched::ballot(it.ballot),
            Message::Accepted(it) => {
                let slots = it.slots.iter().flat_map(|(first, last)| first.0..=last.0);
                let held = slots.map(|slot| Held { index: LogIndex(slot), under: Under::AtLeast(it.ballot) });
                Vouched { held: held.collect(), ..Vouched::ballot(it.ballot) }
            }
            Message::Heartbeat(it) => Vouched::ballot(it.ballot),
            Message::HeartbeatReply(it) => Vouched::ballot(it.ballot),
            Message::Nack(it) => Vouched::ballot(it.promised),
            // The ones ask and answer what would be; the others carry what is chosen, whoever holds it.
            Message::PreCheck(_)
            | Message::PreCheckReply(_)
            | Message::LearnRequest(_)
            | Message::Learned(_)
            | Message::ReadQuery(_)
            | Message::ReadReport(_)
            | Message::HandOver(_)
            | Message::Errand(_) => Vouched::nothing(),
        }
    }

    fn is_vote(message: &Message) -> bool {
        matches!(message, Message::Promise(_))
    }

    fn carried(message: &Message) -> Option<Carried<'_>> {
        let of = |ballot, entries| Some(Carried { ballot, prev: None, entries });
        match message {
            Message::Accept(it) => of(Some(it.ballot), &it.entries),
            Message::Promise(it) => of(None, &it.accepted),
            Message::Learned(it) => of(None, &it.entries),
            _ => None,
        }
    }

    fn describe(message: &Message) -> String {
        match message {
            Message::PreCheck(it) => format!("PreCheck {}", it.ballot),
            Message::PreCheckReply(it) => {
                format!("PreCheckReply {} {} (at {})", it.ballot, granted(it.granted), it.promised)
            }
            Message::Prepare(it) => {
                let forced = if it.forced { " forced" } else { "" };
                let released = it.released_by.map_or_else(String::new, |ballot| format!(" released by {ballot}"));
                format!("Prepare {} from={}{forced}{released}", it.ballot, it.from)
            }
            Message::Promise(it) => {
                let next = it.next.map_or_else(|| "last page".to_owned(), |next| format!("next={next}"));
                let accepted = transcript::entries(&it.accepted);
                format!("Promise {} from={} [{accepted}] chosen={} {next}", it.ballot, it.from, it.chosen_through)
            }
            Message::Accept(it) => {
                let entries = transcript::entries(&it.entries);
                format!("Accept {} [{entries}] chosen={}", it.ballot, it.chosen_through)
            }
            Message::Accepted(it) => {
                let slots = list(&it.slots, |(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}…{last}"),
                });
                format!("Accepted {} [{slots}] chosen={}", it.ballot, it.chosen_through)
            }
            Message::Heartbeat(it) => {
                format!("Heartbeat {} chosen={} round={}", it.ballot, it.chosen_through, it.round)
            }
            Message::HeartbeatReply(it) => {
                format!("HeartbeatReply {} chosen={} round={}", it.ballot, it.chosen_through, it.round)
            }
            Message::Nack(it) => format!("Nack {} (at {})", it.ballot, it.promised),
            Message::LearnRequest(it) => format!("LearnRequest {}…{}", it.from, it.through),
            Message::Learned(it) => format!("Learned [{}]", transcript::entries(&it.entries)),
            Message::ReadQuery(it) => format!("ReadQuery round={}", it.round),
            Message::ReadReport(it) => {
                format!("ReadReport round={} accepted={} chosen={}", it.round, it.accepted_through, it.chosen_through)
            }
            Message::HandOver(it) => format!("HandOver {}", it.ballot),
            Message::Errand(it) => errand(it),
        }
    }
}
