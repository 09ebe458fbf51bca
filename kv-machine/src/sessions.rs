//! Exactly-once: which requests of a session were carried out, and what they were answered.
//!
//! ```text
//!   numbers   1 … acked_below          …  window  …
//!             forgotten: never         ✓ ✗ ✓ ✓ ✗      ✓ carried out, its reply is kept; a copy is answered with it
//!             carried out (again)                      ✗ not yet
//! ```
//!
//! All of it is replicated state: it is decided by the log alone, stands in the tables beside the data that it speaks of,
//! and travels in snapshots. In memory is the same once more: the open sessions with the replies that their clients have
//! not acknowledged. What bounds that memory, and the tables, are the constants here: so many sessions, so many replies
//! and bytes in each, so many bytes in all of them together. Beyond a bound a request is refused *before* it is carried
//! out, which is judged by the largest reply that it may have. Two requests have room nevertheless, so that nobody is shut
//! out for ever: in a full session the one whose number is the first that is not acknowledged, because the client can
//! acknowledge nothing before it has that reply; and when all sessions together are full, one whose session has taken
//! less than its share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bincode::{Decode, Encode};
use consensus_api::LogTime;
use consensus_api::planted::{Bug, is_planted};

use crate::command::Command;
use crate::expiry::{Deadlines, Ended, deadline};
use crate::reply::{OperationResult, Reply};
use crate::request::{SessionId, SessionTag};
use crate::scan::charge_bytes;

/// The most sessions that are open at once. Like all bounds here a constant: it decides what an applied command does.
pub const SESSIONS_MAX: usize = 65_536;
/// The most replies that a session keeps: how many numbers may be in flight. The first number that is not acknowledged
/// is carried out however many there are, and may be one more.
pub const SESSION_REPLIES_MAX: usize = 4_096;
/// The most bytes of replies that a session keeps; each counts with a flat charge, what it has read comes on top. The
/// reply to the first number that is not acknowledged may come on top of them.
pub const SESSION_REPLY_BYTES_MAX: usize = 8 << 20;
/// The most bytes of replies that all sessions keep together, besides what each may keep in any case.
pub const SESSIONS_REPLY_BYTES_MAX: usize = 128 << 20;
/// So many bytes of replies a session may keep however much the others do: a few clients that acknowledge nothing refuse
/// themselves, and not everybody. The reply to the first number that is not acknowledged has as much for itself. So all
/// sessions together are bounded by [`SESSIONS_REPLY_BYTES_MAX`] and two such shares for each of [`SESSIONS_MAX`]: only as
/// many clients as that, none of which acknowledges, come to it.
pub const SESSION_REPLY_BYTES_SHARE: usize = 64 << 10;
/// The most ephemeral keys of a session, which vanish together when it ends.
pub const SESSION_KEYS_MAX: usize = 4_096;
/// The shortest time to live, in milliseconds.
pub const SESSION_TTL_MS_MIN: u64 = 1_000;
/// The longest time to live, in milliseconds.
pub const SESSION_TTL_MS_MAX: u64 = 24 * 3_600_000;
/// The time to live of a session that asks for none, in milliseconds.
pub const SESSION_TTL_MS_DEFAULT: u64 = 60_000;

/// Replies of so many consecutive numbers stand under one key of the table.
pub(crate) const PAGE_NUMBERS: u64 = 64;

/// What any reply counts for, about what it takes in memory.
const REPLY_BYTES: usize = 128;
/// What any result of an operation counts for, besides what it has read.
const RESULT_BYTES: usize = 32;

/// What the table says of a session besides its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Head {
    pub(crate) ttl_ms: u64,
    pub(crate) acked_below: u64,
    pub(crate) last_sign: LogTime,
    /// How many ephemeral keys it holds.
    pub(crate) keys: u64,
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) head: Head,
    /// By number, none below the acknowledged ones.
    pub(crate) replies: BTreeMap<u64, Reply>,
    reply_bytes: usize,
}

/// What was touched since it was last written to the table.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) heads: BTreeSet<SessionId>,
    pub(crate) pages: BTreeSet<(SessionId, u64)>,
    pub(crate) ended: BTreeSet<SessionId>,
}

/// Whether a request is carried out.
pub(crate) enum Admission {
    /// It is, and then [`Sessions::record`] is told its reply.
    CarryOut,
    /// It is not; this is the answer.
    Answer(Reply),
}

/// The sessions that are open and those that have ended.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) open: BTreeMap<SessionId, Session>,
    deadlines: Deadlines,
    pub(crate) ended: Ended,
    reply_bytes: usize,
    pub(crate) touched: Touched,
}

impl Sessions {
    /// A session as the table has it.
    pub(crate) fn restore(&mut self, id: SessionId, head: Head) {
        self.deadlines.add(id, head.last_sign, head.ttl_ms);
        self.open.insert(id, Session { head, replies: BTreeMap::new(), reply_bytes: 0 });
    }

    /// A reply as the table has it; false where its session is not open.
    pub(crate) fn restore_reply(&mut self, id: SessionId, number: u64, reply: Reply) -> bool {
        let bytes = reply_bytes(&reply);
        let Some(session) = self.open.get_mut(&id) else { return false };
        session.reply_bytes += bytes;
        self.reply_bytes += bytes;
        session.replies.insert(number, reply).is_none()
    }

    /// How often the log's time must go forward for sessions to end in time.
    pub(crate) fn time_wanted(&self) -> Option<Duration> {
        self.deadlines.time_wanted()
    }

    /// Opens a session, or takes this for a sign of life.
    pub(crate) fn open(&mut self, id: SessionId, ttl_ms: u64, now: LogTime) -> Reply {
        let wanted_ms = if ttl_ms == 0 { SESSION_TTL_MS_DEFAULT } else { ttl_ms };
        let ttl_ms = wanted_ms.clamp(SESSION_TTL_MS_MIN, SESSION_TTL_MS_MAX);
        if let Some(session) = self.open.get_mut(&id) {
            if is_overdue(&session.head, now) {
                return Reply::SessionExpired;
            }
            self.deadlines.remove(id, session.head.last_sign, session.head.ttl_ms);
            session.head.ttl_ms = ttl_ms;
            session.head.last_sign = now;
        } else if self.ended.at(id).is_some() {
            return Reply::SessionExpired;
        } else if self.open.len() >= SESSIONS_MAX {
            return Reply::SessionFull;
        } else {
            // Numbers begin at 1.
            let head = Head { ttl_ms, acked_below: 1, last_sign: now, keys: 0 };
            self.open.insert(id, Session { head, replies: BTreeMap::new(), reply_bytes: 0 });
        }
        self.deadlines.add(id, now, ttl_ms);
        self.touched.heads.insert(id);
        Reply::SessionOpened { ttl_ms }
    }

    /// Judges a request before it is carried out. Whatever comes of it, it is a sign of life, and says what the client has
    /// acknowledged.
    pub(crate) fn admit(&mut self, tag: &SessionTag, command: &Command, now: LogTime) -> Admission {
        let Some(session) = self.open.get_mut(&tag.session).filter(|session| !is_overdue(&session.head, now)) else {
            let executed = is_planted(Bug::ExpiredSessionsRetryExecuted);
            return if executed { Admission::CarryOut } else { Admission::Answer(Reply::SessionExpired) };
        };
        let head = &mut session.head;
        if head.last_sign != now {
            self.deadlines.remove(tag.session, head.last_sign, head.ttl_ms);
            self.deadlines.add(tag.session, now, head.ttl_ms);
            head.last_sign = now;
            self.touched.heads.insert(tag.session);
        }
        self.acknowledge(tag.session, tag.acked_below);
        self.judge(tag, command)
    }

    /// The client has the replies to all numbers below this one: they are dropped. An older word changes nothing.
    pub(crate) fn acknowledge(&mut self, id: SessionId, acked_below: u64) {
        let Some(session) = self.open.get_mut(&id).filter(|session| acked_below > session.head.acked_below) else {
            return;
        };
        session.head.acked_below = acked_below;
        self.touched.heads.insert(id);
        let mut released = 0;
        let mut page = None;
        while let Some(first) = session.replies.first_entry()
            && *first.key() < session.head.acked_below
        {
            let (number, reply) = first.remove_entry();
            released += reply_bytes(&reply);
            if page.replace(number / PAGE_NUMBERS) != Some(number / PAGE_NUMBERS) {
                self.touched.pages.insert((id, number / PAGE_NUMBERS));
            }
        }
        session.reply_bytes -= released;
        self.reply_bytes -= released;
    }

    fn judge(&self, tag: &SessionTag, command: &Command) -> Admission {
        let Some(session) = self.open.get(&tag.session) else { return Admission::Answer(Reply::SessionExpired) };
        if tag.number < session.head.acked_below {
            return Admission::Answer(Reply::Forgotten);
        }
        if let Some(reply) = session.replies.get(&tag.number) {
            return Admission::Answer(reply.clone());
        }
        let bytes = reply_bytes_max(command);
        let is_full =
            session.replies.len() >= SESSION_REPLIES_MAX || session.reply_bytes + bytes > SESSION_REPLY_BYTES_MAX;
        // Of all replies the client lacks this one most: until it has it, nothing can be dropped. So what the session keeps
        // does not count against it, neither for the session nor for the share.
        let is_first = tag.number == session.head.acked_below;
        let all_are_full = self.reply_bytes + bytes > SESSIONS_REPLY_BYTES_MAX;
        let kept = if is_first { 0 } else { session.reply_bytes };
        let has_share = kept + bytes <= SESSION_REPLY_BYTES_SHARE;
        if (is_full && !is_first) || (all_are_full && !has_share) {
            return Admission::Answer(Reply::SessionFull);
        }
        Admission::CarryOut
    }

    /// Keeps the reply to a request that was carried out.
    pub(crate) fn record(&mut self, tag: &SessionTag, reply: &Reply) {
        let Some(session) = self.open.get_mut(&tag.session) else {
            assert!(
                is_planted(Bug::ExpiredSessionsRetryExecuted),
                "a request outside of every session was carried out"
            );
            return;
        };
        let bytes = reply_bytes(reply);
        session.reply_bytes += bytes;
        self.reply_bytes += bytes;
        let before = session.replies.insert(tag.number, reply.clone());
        assert!(before.is_none(), "request {} of session {} was carried out twice", tag.number, tag.session);
        self.touched.pages.insert((tag.session, tag.number / PAGE_NUMBERS));
    }

    /// How many ephemeral keys the session holds.
    pub(crate) fn keys(&self, id: SessionId) -> u64 {
        self.open.get(&id).map_or(0, |session| session.head.keys)
    }

    /// The session holds one ephemeral key more.
    pub(crate) fn hold(&mut self, id: SessionId) {
        if let Some(session) = self.open.get_mut(&id) {
            session.head.keys += 1;
            self.touched.heads.insert(id);
        }
    }

    /// The session holds one ephemeral key less.
    pub(crate) fn let_go(&mut self, id: SessionId) {
        if let Some(session) = self.open.get_mut(&id) {
            session.head.keys -= 1;
            self.touched.heads.insert(id);
        }
    }

    /// The open session whose time ran out first, if there is one at `now`.
    pub(crate) fn first_overdue(&self, now: LogTime) -> Option<SessionId> {
        self.deadlines.first_before(now)
    }

    /// Ends an open session, whose keys are gone already, and remembers that it has ended. Returns how many replies it
    /// kept.
    pub(crate) fn end(&mut self, id: SessionId, now: LogTime) -> usize {
        let Some(session) = self.open.remove(&id) else { return 0 };
        self.deadlines.remove(id, session.head.last_sign, session.head.ttl_ms);
        self.reply_bytes -= session.reply_bytes;
        self.touched.heads.insert(id);
        self.touched.pages.extend(session.replies.keys().map(|number| (id, number / PAGE_NUMBERS)));
        self.ended.remember(id, now);
        self.touched.ended.insert(id);
        self.forget_ended(now);
        session.replies.len()
    }

    /// Forgets the ended sessions that are too many or too old.
    pub(crate) fn forget_ended(&mut self, now: LogTime) {
        while let Some(id) = self.ended.forget_one(now) {
            self.touched.ended.insert(id);
        }
    }
}

/// Whether the session's time has run out, though its end has not come yet: many end over several entries.
fn is_overdue(head: &Head, now: LogTime) -> bool {
    deadline(head.last_sign, head.ttl_ms) < now
}

/// What a reply counts for.
fn reply_bytes(reply: &Reply) -> usize {
    let results = if let Reply::Txn { results, .. } = reply { results.len() } else { 0 };
    REPLY_BYTES + RESULT_BYTES * results + read_bytes(reply)
}

/// What the items in a reply count for.
pub(crate) fn read_bytes(reply: &Reply) -> usize {
    let Reply::Txn { results, .. } = reply else { return 0 };
    let read = |result: &OperationResult| match result {
        // Its key is not part of the result.
        OperationResult::Got(Some(item)) => charge_bytes(&[], item),
        OperationResult::Scanned { items, .. } => {
            items.iter().map(|found| charge_bytes(&found.key.0, &found.item)).sum()
        }
        OperationResult::Got(None) | OperationResult::Written { .. } | OperationResult::Deleted { .. } => 0,
    };
    results.iter().map(read).sum()
}

/// The most that the reply to a command may count for.
fn reply_bytes_max(command: &Command) -> usize {
    let results = if let Command::Txn(txn) = command { txn.then.len().max(txn.otherwise.len()) } else { 0 };
    REPLY_BYTES + RESULT_BYTES * results + command.result_bytes_max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use consensus_api::Blob;

    use super::*;
    use crate::command::{Operation, Txn};
    use crate::item::Item;

    fn read() -> Command {
        Command::Txn(Txn { then: vec![Operation::Get { key: Blob::from("k") }], ..Txn::default() })
    }

    #[test]
    fn all_sessions_together_keep_a_bounded_number_of_bytes() {
        // One value, shared by all the replies.
        let value = Blob(vec![0; 1 << 20].into());
        let item = Item { value, version: 1, create_revision: 1, mod_revision: 1, session: None };
        let results = vec![OperationResult::Got(Some(item))];
        let reply = Reply::Txn { succeeded: true, revision: 1, results };
        let mut sessions = Sessions::default();
        let mut kept = 0;
        let refused = (0..).find(|number| {
            let session = SessionId(number / 7);
            sessions.open(session, 0, LogTime::default());
            let tag = SessionTag { session, number: (number % 7) as u64 + 1, acked_below: 0 };
            match sessions.admit(&tag, &read(), LogTime::default()) {
                Admission::CarryOut => {
                    sessions.record(&tag, &reply);
                    kept += reply_bytes(&reply);
                    false
                }
                Admission::Answer(answer) => {
                    assert_eq!(answer, Reply::SessionFull);
                    true
                }
            }
        });
        assert!(refused.is_some() && kept <= SESSIONS_REPLY_BYTES_MAX && kept > SESSIONS_REPLY_BYTES_MAX - (2 << 20));
        sessions.end(SessionId(0), LogTime::default());
        let tag = SessionTag { session: SessionId(1), number: 8, acked_below: 2 };
        assert!(matches!(sessions.admit(&tag, &read(), LogTime::default()), Admission::CarryOut));
    }

    #[test]
    fn a_session_has_its_share_though_all_together_are_full() {
        let now = LogTime::default();
        let mut sessions = Sessions { reply_bytes: SESSIONS_REPLY_BYTES_MAX, ..Sessions::default() };
        let (small, reply) =
            (Command::CloseSession { session: SessionId(0) }, Reply::Written { version: 1, revision: 1 });
        for id in [SessionId(1), SessionId(2)] {
            sessions.open(id, 0, now);
            let tag = |number| SessionTag { session: id, number, acked_below: 1 };
            assert!(matches!(sessions.admit(&tag(1), &read(), now), Admission::Answer(Reply::SessionFull)));
            for number in 2..=(SESSION_REPLY_BYTES_SHARE / REPLY_BYTES) as u64 + 1 {
                assert!(matches!(sessions.admit(&tag(number), &small, now), Admission::CarryOut), "{number}");
                sessions.record(&tag(number), &reply);
            }
            assert!(matches!(sessions.admit(&tag(10_000), &small, now), Admission::Answer(Reply::SessionFull)));
            assert!(matches!(sessions.admit(&tag(1), &small, now), Admission::CarryOut), "the first that is missing");
        }
    }

    #[test]
    fn the_first_reply_that_is_missing_has_room_in_a_session_full_of_bytes() {
        let now = LogTime::default();
        let mut sessions = Sessions::default();
        sessions.open(SessionId(1), 0, now);
        sessions.open.get_mut(&SessionId(1)).unwrap().reply_bytes = SESSION_REPLY_BYTES_MAX;
        let tag = |number| SessionTag { session: SessionId(1), number, acked_below: 3 };
        assert!(matches!(sessions.admit(&tag(4), &read(), now), Admission::Answer(Reply::SessionFull)));
        assert!(matches!(sessions.admit(&tag(3), &read(), now), Admission::CarryOut));
    }

    #[test]
    fn no_reply_counts_for_more_than_was_judged() {
        let value = Blob(vec![0; crate::KvLimits::APPLIED.value_bytes_max].into());
        let item = Item { value, version: 1, create_revision: 1, mod_revision: 1, session: Some(SessionId(1)) };
        let reply = Reply::Txn { succeeded: true, revision: 1, results: vec![OperationResult::Got(Some(item))] };
        assert!(reply_bytes(&reply) <= reply_bytes_max(&read()));
    }
}
