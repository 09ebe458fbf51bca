//! Histories in words.
//!
//! ```text
//!   2 receives RequestVote from 1          a cause, flush left
//!     2 writes w1: ballot 1.1              what it leads to, indented
//!   2 syncs w1
//!     2 → 1 Vote 1.1 granted               a message leaves; one that gets lost is struck out
//! ```

use std::collections::BTreeSet;

use consensus_api::engine::decode_ballot;
use consensus_api::{Entry, Membership, MonoTime, NodeId, Payload, ReadMode, Role, RoleChange, SharedEntry, Write};
use kv_machine::{Batch, Command};

use crate::answers::Means;
use crate::checks::SessionNews;
use crate::inflict::LeftBroken;
use crate::protocol::Protocol;
use crate::trace::{Happening, Lost, Parcel};

/// Runs of more entries than this are told by their ends.
const ENTRIES_LISTED_MAX: usize = 5;

/// A command as its key, which is what scripts name commands by.
pub fn command(data: &[u8]) -> String {
    match Batch::decode(data) {
        Ok(batch) => batch.requests.iter().map(|request| key(&request.command)).collect::<Vec<_>>().join("+"),
        Err(_) => data.escape_ascii().to_string(),
    }
}

fn key(command: &Command) -> String {
    match command {
        Command::Put { key, .. }
        | Command::PutEphemeral { key, .. }
        | Command::Append { key, .. }
        | Command::Delete { key, .. } => key.0.escape_ascii().to_string(),
        Command::Txn(_) => "txn".into(),
        Command::OpenSession { session, .. } => format!("open:{session}"),
        Command::CloseSession { session } => format!("close:{session}"),
    }
}

/// What an entry says.
pub fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Noop => "noop".into(),
        Payload::Command { data, .. } => command(&data.0),
        Payload::Membership { membership, .. } => format!("members {}", members(membership)),
        Payload::Tick => "tick".into(),
        Payload::StopSign { engine, .. } => format!("stop:{engine}"),
    }
}

/// Who votes, and who only listens: `v2 1,2,3>2,3,4+5` is version 2, on the way from the first three to the second, with
/// the learner 5.
pub fn members(membership: &Membership) -> String {
    let list = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(",");
    let Membership { version, voters, outgoing, learners, .. } = membership;
    let from = if outgoing.is_empty() { String::new() } else { format!("{}>", list(outgoing)) };
    let with = if learners.is_empty() { String::new() } else { format!("+{}", list(learners)) };
    format!("v{version} {from}{}{with}", list(voters))
}

fn entry(entry: &Entry) -> String {
    format!("{}@{} {}", entry.index, entry.ballot, payload(&entry.payload))
}

/// Entries as `index@ballot value`, in order.
pub fn entries(entries: &[SharedEntry]) -> String {
    match entries {
        [first, .., last] if entries.len() > ENTRIES_LISTED_MAX => {
            format!("{} … {} ({} entries)", entry(first), entry(last), entries.len())
        }
        _ => entries.iter().map(|each| entry(each)).collect::<Vec<_>>().join(", "),
    }
}

fn write(write: &Write) -> String {
    let mut parts = Vec::new();
    if let Some(hard_state) = &write.hard_state {
        parts.push(match decode_ballot(Some(hard_state)) {
            Ok(ballot) => format!("ballot {ballot}"),
            Err(error) => error.to_string(),
        });
    }
    if let Some(index) = write.remove_from {
        parts.push(format!("remove {index}…"));
    }
    if !write.entries.is_empty() {
        parts.push(entries(&write.entries));
    }
    format!("writes {}: {}", write.id, parts.join("; "))
}

/// A node's part, as a verb.
pub fn part(role: Role, leader: Option<NodeId>) -> String {
    match (role, leader) {
        (Role::Leader, _) => "leads".into(),
        (Role::Follower, Some(leader)) => format!("follows {leader}"),
        (Role::Follower, None) => "follows nobody".into(),
        (Role::Candidate, _) => "is a candidate".into(),
        (Role::Learner, Some(leader)) => format!("learns from {leader}"),
        (Role::Learner, None) => "learns from nobody".into(),
    }
}

/// Strikes a text out.
fn struck_out(text: &str) -> String {
    text.chars().flat_map(|c| [c, '\u{336}']).collect()
}

fn parcel<P: Protocol>(parcel: &Parcel<P::Message>) -> String {
    format!("{} → {} {}", parcel.from, parcel.to, P::describe(&parcel.message))
}

/// A means to read, as scripts name it.
fn means(mode: ReadMode) -> &'static str {
    match mode {
        ReadMode::Index => "index",
        ReadMode::Lease => "lease",
        ReadMode::Log => "log",
        ReadMode::Quorum => "quorum",
    }
}

fn session(node: NodeId, news: &SessionNews) -> String {
    match news {
        SessionNews::Opened(session) => format!("{node} opens session {session}"),
        SessionNews::Expired(session) => format!("{node} finds session {session} expired"),
        SessionNews::Answered { session, number } => format!("{node} answers {number} of session {session} once more"),
        SessionNews::Forgotten { session, number } => format!("{node} has forgotten {number} of session {session}"),
    }
}

/// Where a fault takes place, if not everywhere.
fn at(node: Option<NodeId>) -> String {
    node.map(|node| format!(" at {node}")).unwrap_or_default()
}

/// What a node is that was not repaired.
fn left(how: LeftBroken) -> String {
    match how {
        LeftBroken::Down => "down".into(),
        LeftBroken::Paused => "paused".into(),
        LeftBroken::Deaf => "deaf".into(),
        LeftBroken::Mute => "mute".into(),
        LeftBroken::Chained(link) => format!("with no link but to {link}"),
        LeftBroken::SlowDisk(times) => format!("with a disk {times} times as slow"),
        LeftBroken::Drifting(ppm) => format!("with a clock that drifts by {ppm} ppm"),
    }
}

fn cause<P: Protocol>(happening: &Happening<P::Message>) -> Option<String> {
    Some(match happening {
        Happening::Ticked(node) => format!("{node} ticks"),
        Happening::Campaigned(node) => format!("{node} is told to campaign"),
        Happening::Proposed(id, data) => format!("{} is asked to propose {} as {id}", id.origin, command(data)),
        Happening::ReadAsked(id, ReadMode::Index) => format!("{} is asked to read as {id}", id.origin),
        Happening::ReadAsked(id, mode) => format!("{} is asked to read as {id}, by {}", id.origin, means(*mode)),
        Happening::MembersAsked(id, target) => {
            format!("{} is asked for members {} as {id}", id.origin, members(target))
        }
        Happening::TransferAsked(id, Some(to)) => format!("{} is asked to let {to} lead, as {id}", id.origin),
        Happening::TransferAsked(id, None) => format!("{} is asked to let another one lead, as {id}", id.origin),
        Happening::ChangeInterrupted(node) => format!("{node} has died in the middle of a change of members"),
        Happening::Transferred(leader) => format!("{leader} leads as was wanted"),
        Happening::ReadStale(node) => format!("{node} is asked for whatever it has"),
        Happening::Received(Parcel { from, to, message, .. }) => {
            format!("{to} receives {} from {from}", P::name(message))
        }
        Happening::Doubled(doubled) => format!("{} is doubled on its way", parcel::<P>(doubled)),
        Happening::Synced(node, write) => format!("{node} syncs {write}"),
        Happening::Applied(node, index) => format!("{node} has applied {index}"),
        Happening::EntriesRead(node, count) => format!("{node} reads {count} entries back"),
        Happening::Trimmed(node, index) => format!("{node} has trimmed its log up to {index}"),
        Happening::GoesOnFrom(node, index) => format!("{node} goes on from a snapshot through {index}"),
        Happening::LogTrimmed { node, through, entries } => {
            format!("{node} lets go of {entries} entries up to {through}")
        }
        Happening::SnapshotTaken(node, index) => format!("{node} has taken a snapshot through {index}"),
        Happening::NoRoom(node) => format!("{node} has no room for a snapshot"),
        Happening::SnapshotInstalled(node, index) => format!("{node} installs a snapshot through {index}"),
        Happening::NotInstalled(node, why) => format!("{node} does not install a snapshot: {why}"),
        Happening::SnapshotRefused(node, why) => format!("{node} refuses a snapshot: {why}"),
        Happening::PieceReceived(from, to, words) => format!("{to} receives from {from}: {words}"),
        Happening::Garbled(node) => format!("a bit flips in what {node} sends"),
        Happening::Crashed { node, lost, kept } => format!("{node} crashes ({kept} unsynced writes kept, {lost} lost)"),
        Happening::Restarted(node, boot) => format!("{node} starts, boot {boot}"),
        Happening::Paused(node) => format!("{node} is paused"),
        Happening::Resumed(node) => format!("{node} goes on"),
        Happening::Cut(from, to) => format!("{from} → {to} is cut"),
        Happening::Mended(from, to) => format!("{from} → {to} is whole"),
        Happening::Healed => "all links are whole".into(),
        Happening::Struck(kind, node) => format!("{kind}{}", at(*node)),
        Happening::Over(kind, node) => format!("the {kind}{} is over", at(*node)),
        Happening::DiskFailed(node, error) => format!("{node} stops: {error}"),
        Happening::NotStarted(node, error) => format!("{node} does not start: {error}"),
        Happening::LeftBroken(node, how) => format!("{node} is left {}", left(*how)),
        Happening::TailCut { node, found, kept } => {
            format!("{node} finds {found} records that were not synced, and keeps {kept}")
        }
        _ => return None,
    })
}

fn effect<P: Protocol>(happening: &Happening<P::Message>) -> String {
    match happening {
        Happening::Sent(sent) => parcel::<P>(sent),
        Happening::NotDelivered(lost, why) => {
            let why = match why {
                Lost::OnTheWay => "lost",
                Lost::NobodyThere => "nobody there",
                Lost::Dropped => "dropped",
                Lost::NoRoom => "no room",
                Lost::Stranger => "a stranger",
            };
            format!("{} ({why})", struck_out(&parcel::<P>(lost)))
        }
        Happening::Wrote(node, it) => format!("{node} {}", write(it)),
        Happening::Role(node, RoleChange { role, leader, ballot }) => {
            format!("{node} {}, at {ballot}", part(*role, *leader))
        }
        Happening::Committed(node, committed) => format!("{node} commits {}", entries(committed)),
        Happening::Acknowledged(id, index) => format!("{} acknowledges {id} at {index}", id.origin),
        Happening::Refused(refused) => format!("{} refuses {}: {}", refused.id.origin, refused.id, refused.reason),
        Happening::ReadServed(id, index, Means::Lease) => {
            format!("{} serves read {id} at {index} by its lease", id.origin)
        }
        Happening::ReadServed(id, index, _) => format!("{} serves read {id} at {index}", id.origin),
        Happening::Contacts(node, contacts) => {
            format!(
                "{node} is in touch with {}",
                contacts.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(",")
            )
        }
        Happening::Settled(settled, _) => format!("settled: members {}", members(settled)),
        Happening::Named(node, entry, true) => format!("{node} finds {} void", self::entry(entry)),
        Happening::Named(node, entry, false) => format!("{node} has applied {}", self::entry(entry)),
        Happening::Session(node, news) => session(*node, news),
        Happening::ReadBackWanted(node, wanted) => format!("{node} wants {}…{} back", wanted.first, wanted.last),
        Happening::SnapshotWanted(node, wanted) => {
            format!("{node} wants a snapshot of at least {} for {}", wanted.at_least, wanted.to)
        }
        Happening::TransferBegun(node) => format!("{node} begins to send a snapshot"),
        Happening::PieceSent(from, to, words) => format!("{from} → {to} {words}"),
        Happening::PieceLost(from, to, words, _) => struck_out(&format!("{from} → {to} {words}")),
        other => cause::<P>(other).unwrap_or_default(),
    }
}

/// One line for each happening. A cause without an effect, of a kind that says little by itself, is left out.
pub fn lines<P: Protocol>(happenings: &[(MonoTime, Happening<P::Message>)]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut happenings = happenings.iter().map(|(_, happening)| happening).peekable();
    while let Some(happening) = happenings.next() {
        match cause::<P>(happening) {
            Some(line) => {
                let led_to_something = happenings.peek().is_some_and(|next| cause::<P>(next).is_none());
                let says_little = matches!(happening, Happening::Ticked(_) | Happening::Applied(..));
                if led_to_something || !says_little {
                    lines.push(line);
                }
            }
            None => lines.push(format!("  {}", effect::<P>(happening))),
        }
    }
    lines
}

/// One line for each happening, with its time: what a failed run shows.
pub fn timed_lines<P: Protocol>(happenings: &[(MonoTime, Happening<P::Message>)]) -> Vec<String> {
    let line = |(at, happening): &(MonoTime, Happening<P::Message>)| match cause::<P>(happening) {
        Some(cause) => format!("{at} {cause}"),
        None => format!("{at}   {}", effect::<P>(happening)),
    };
    happenings.iter().map(line).collect()
}

/// Whether this is worth a line in a summary: who leads, what is committed, what clients are told, what broke.
pub fn is_news<M>(happening: &Happening<M>) -> bool {
    !matches!(
        happening,
        Happening::Ticked(_)
            | Happening::Received(_)
            | Happening::Synced(..)
            | Happening::Applied(..)
            | Happening::Sent(_)
            | Happening::NotDelivered(..)
            | Happening::Wrote(..)
    )
}
