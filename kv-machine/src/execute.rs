//! The rules: what each command does to the keys, and what it answers.
//!
//! A command is performed on the overlay's stage, and settled as a whole or abandoned as a whole. If it has changed
//! anything, it was at the next revision, and that is the revision now. Before the first command of an entry, the sessions
//! end whose time has run out by then.

use std::collections::BTreeSet;

use bytes::Bytes;
use consensus_api::{Blob, LogTime, TableBatch, Tables};

use crate::command::{Command, Compare, Expect, Operation, Relation, Target, Txn};
use crate::error::KvError;
use crate::history::SliceChanges;
use crate::item::Item;
use crate::limits::{
    BATCH_RESULT_BYTES_MAX, BATCH_WRITTEN_BYTES_MAX, KvLimits, Quantity, TXN_RESULT_BYTES_MAX, within,
};
use crate::overlay::Overlay;
use crate::reply::{OperationResult, Reply};
use crate::request::{Batch, Replies, Request, SessionId, SessionTag};
use crate::scan::{ScanLimits, ScanRange, charge_bytes};
use crate::sessions::{Admission, SESSION_KEYS_MAX, Sessions, read_bytes};

/// Sessions end at an entry, by their time or by their clients, until they have held so many keys and replies. The others
/// whose time has run out end at the next entries, and take no requests until then; a client comes again. It bounds what a
/// single entry changes. A constant: it decides what an entry does.
const ENDS_PER_ENTRY_MAX: usize = 4096;

/// Carries out the commands of one slice of entries, one after the other.
pub(crate) struct Executor<'a, T> {
    overlay: Overlay<'a, T>,
    sessions: &'a mut Sessions,
    revision: u64,
    /// The log's time at the entry under way.
    now: LogTime,
    /// The session whose command is under way.
    session: Option<SessionId>,
    /// What the sessions held that have ended at the entry under way.
    ends: usize,
    /// What the reads of the batch under way have returned.
    result_bytes: usize,
    /// What the batch under way has written. What a refused request had staged stays counted: so this bounds the work of
    /// a batch too, which may consist of requests that are refused for their last operation.
    written_bytes: usize,
}

/// Why a command does not go on: it is answered without a change, or the machine fails.
enum Stop {
    Refused(Reply),
    Failed(KvError),
}

impl From<KvError> for Stop {
    /// What is the command's own fault is an answer, the same at every replica; the rest is this replica's failure.
    fn from(error: KvError) -> Stop {
        match error {
            KvError::TooLarge { what, found, limit } => Stop::Refused(Reply::TooLarge { what, found, limit }),
            KvError::EmptyKey
            | KvError::DuplicateKey { .. }
            | KvError::Codec(_)
            | KvError::NotOneReply
            | KvError::SessionId { .. } => Stop::Refused(Reply::Malformed),
            KvError::Tables(_) | KvError::Damaged { .. } | KvError::AlreadyFounded => Stop::Failed(error),
        }
    }
}

impl<'a, T: Tables> Executor<'a, T> {
    /// Begins above `tables`, which are at `revision` and have these sessions.
    pub(crate) fn new(tables: &'a T, sessions: &'a mut Sessions, revision: u64) -> Executor<'a, T> {
        Executor {
            overlay: Overlay::new(tables),
            sessions,
            revision,
            now: LogTime::default(),
            session: None,
            ends: 0,
            result_bytes: 0,
            written_bytes: 0,
        }
    }

    /// The bytes of keys and values that the commands so far have changed, with their history.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.overlay.settled_bytes()
    }

    /// An entry begins, at this log time: what has expired by then ends, the first to expire first.
    pub(crate) fn begin_entry(&mut self, now: LogTime) -> Result<(), KvError> {
        self.now = now;
        self.sessions.forget_ended(now);
        (self.ends, self.result_bytes, self.written_bytes) = (0, 0, 0);
        while self.may_end()
            && let Some(session) = self.sessions.first_overdue(now)
        {
            self.end(session)?;
        }
        Ok(())
    }

    /// Ends every session, or so many of them as one batch may change; false once there is none.
    pub(crate) fn end_some(&mut self, now: LogTime) -> Result<bool, KvError> {
        self.now = now;
        self.ends = 0;
        while self.may_end()
            && let Some((session, _)) = self.sessions.open.first_key_value()
        {
            self.end(*session)?;
        }
        Ok(self.ends > 0)
    }

    /// Whether the entry may end one session more, whatever that holds.
    fn may_end(&self) -> bool {
        self.ends < ENDS_PER_ENTRY_MAX
    }

    /// Ends a session; the keys that it kept alive go at one revision. It counts for 1, and its keys and replies.
    fn end(&mut self, session: SessionId) -> Result<(), KvError> {
        // Most sessions have none, and need not be searched for.
        let keys = if self.sessions.keys(session) == 0 { BTreeSet::new() } else { self.overlay.keys_of(session)? };
        let held = 1 + keys.len();
        for key in keys {
            self.overlay.stage(key, Some(session), None);
        }
        self.settle();
        self.ends += held + self.sessions.end(session, self.now);
        Ok(())
    }

    /// Carries out the batch that `bytes` encode, if they encode one.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Result<Replies, KvError> {
        let batch = Batch::decode(bytes).ok();
        let Some(batch) = batch.filter(|batch| (1..=Batch::REQUESTS_MAX).contains(&batch.requests.len())) else {
            return Ok(Replies { replies: vec![Reply::Malformed] });
        };
        let replies = batch.requests.into_iter().map(|request| self.run_one(request)).collect::<Result<_, _>>()?;
        Ok(Replies { replies })
    }

    fn run_one(&mut self, request: Request) -> Result<Reply, KvError> {
        match (request.command, request.session) {
            // To open and to end are the same however often they are done, so they need no number and ignore one.
            (Command::OpenSession { session, ttl_ms }, tag) => Ok(self.open(session, ttl_ms, tag)),
            (Command::CloseSession { session }, _) => self.close(session),
            (command, None) => self.carry_out(command, None),
            (command, Some(tag)) => self.carry_out_once(command, &tag),
        }
    }

    /// Opens the session, or takes a sign of its life: a client that has nothing to write acknowledges by it.
    fn open(&mut self, session: SessionId, ttl_ms: u64, tag: Option<SessionTag>) -> Reply {
        let reply = self.sessions.open(session, ttl_ms, self.now);
        if let Some(tag) = tag.filter(|tag| tag.session == session)
            && matches!(reply, Reply::SessionOpened { .. })
        {
            self.sessions.acknowledge(session, tag.acked_below);
        }
        reply
    }

    fn close(&mut self, session: SessionId) -> Result<Reply, KvError> {
        let existed = self.sessions.open.contains_key(&session);
        if existed && !self.may_end() {
            return Ok(Reply::SessionFull);
        }
        if existed {
            self.end(session)?;
        }
        Ok(Reply::SessionClosed { existed, revision: self.revision })
    }

    /// Carries the command out unless the session says that it was, or must not be.
    fn carry_out_once(&mut self, command: Command, tag: &SessionTag) -> Result<Reply, KvError> {
        let reply = match self.sessions.admit(tag, &command, self.now) {
            Admission::CarryOut => self.carry_out(command, Some(tag.session))?,
            Admission::Answer(reply) => return Ok(self.repeated(reply)),
        };
        // What was refused for want of room was not carried out: the client may come again under the same number.
        if !reply.may_come_again() {
            self.sessions.record(tag, &reply);
        }
        Ok(reply)
    }

    /// A reply that was given before. Where the batch returns too much already, nobody can be told any more: only a batch
    /// that no service packs comes to that.
    fn repeated(&mut self, reply: Reply) -> Reply {
        let bytes = read_bytes(&reply);
        if self.result_bytes + bytes > BATCH_RESULT_BYTES_MAX {
            return Reply::SessionExpired;
        }
        self.result_bytes += bytes;
        reply
    }

    fn carry_out(&mut self, command: Command, session: Option<SessionId>) -> Result<Reply, KvError> {
        self.session = session;
        match self.perform(command).and_then(|reply| self.has_room_for_keys().map(|()| reply)) {
            Ok(reply) => {
                self.settle();
                self.result_bytes += read_bytes(&reply);
                Ok(reply)
            }
            Err(Stop::Refused(reply)) => {
                self.overlay.abandon();
                Ok(reply)
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn settle(&mut self) {
        self.revision = self.revision_so_far();
        self.overlay.settle(self.revision, self.sessions);
    }

    /// Whether the session may keep alive all the keys that the command under way gives it.
    fn has_room_for_keys(&self) -> Result<(), Stop> {
        let Some(session) = self.session else { return Ok(()) };
        let more = self.overlay.staged_keys(session);
        let keys = self.sessions.keys(session).saturating_add_signed(more);
        if more > 0 && keys > SESSION_KEYS_MAX as u64 { Err(Stop::Refused(Reply::SessionFull)) } else { Ok(()) }
    }

    /// The changes of all the commands, their history, and the revision after them.
    pub(crate) fn finish(self) -> (TableBatch, SliceChanges, u64) {
        let (batch, changes) = self.overlay.into_batch();
        (batch, changes, self.revision)
    }

    fn perform(&mut self, command: Command) -> Result<Reply, Stop> {
        command.check(&KvLimits::APPLIED)?;
        match command {
            Command::Put { key, value, expect } => {
                let before = self.expected(&key.0, expect)?;
                let version = self.stage_value(key.0, before.as_ref(), value, None)?;
                Ok(self.written(version))
            }
            Command::PutEphemeral { key, value, expect } => {
                let session = self.session.ok_or(Stop::Refused(Reply::SessionNeeded))?;
                let before = self.expected(&key.0, expect)?;
                let version = self.stage_value(key.0, before.as_ref(), value, Some(session))?;
                Ok(self.written(version))
            }
            Command::Append { key, suffix, expect } => {
                let before = self.expected(&key.0, expect)?;
                let version = self.stage_suffix(key.0, before.as_ref(), suffix)?;
                Ok(self.written(version))
            }
            Command::Delete { key, expect } => {
                let before = self.expected(&key.0, expect)?;
                let deleted = self.stage_removal(key.0, before.as_ref())?;
                Ok(Reply::Deleted { deleted, revision: self.revision_so_far() })
            }
            Command::Txn(txn) => self.transact(txn),
            Command::OpenSession { .. } | Command::CloseSession { .. } => {
                unreachable!("sessions are opened and ended before a command is performed")
            }
        }
    }

    /// The revision of what is settled and of what is staged.
    fn revision_so_far(&self) -> u64 {
        self.revision + u64::from(self.overlay.has_staged())
    }

    /// What stands under `key`, if that is as expected.
    fn expected(&self, key: &[u8], expect: Expect) -> Result<Option<Item>, Stop> {
        let item = self.overlay.get(key)?;
        let (version, mod_revision) = item.as_ref().map_or((0, 0), |item| (item.version, item.mod_revision));
        let holds = match expect {
            Expect::Any => true,
            Expect::Version(expected) => expected == version,
            Expect::ModRevision(expected) => expected == mod_revision,
        };
        if holds { Ok(item) } else { Err(Stop::Refused(Reply::Mismatch { version, mod_revision })) }
    }

    fn written(&self, version: u64) -> Reply {
        Reply::Written { version, revision: self.revision_so_far() }
    }

    /// Takes the bytes from what the batch may write, if that is still so much.
    fn charge(&mut self, bytes: usize) -> Result<(), KvError> {
        within(Quantity::BatchBytes, self.written_bytes + bytes, BATCH_WRITTEN_BYTES_MAX)?;
        self.written_bytes += bytes;
        Ok(())
    }

    /// Stages a key's new value at the next revision, kept alive by `session` or by none, and returns its version.
    fn stage_value(
        &mut self,
        key: Bytes,
        before: Option<&Item>,
        value: Blob,
        session: Option<SessionId>,
    ) -> Result<u64, KvError> {
        self.charge(key.len() + value.0.len())?;
        Ok(self.stage_charged(key, before, value, session))
    }

    /// Stages a key's value with the suffix behind it, unless that is too long, and returns its version.
    fn stage_suffix(&mut self, key: Bytes, before: Option<&Item>, suffix: Blob) -> Result<u64, KvError> {
        let start = before.map_or(&[][..], |item| &item.value.0);
        let value_bytes = start.len() + suffix.0.len();
        KvLimits::APPLIED.check_value(value_bytes)?;
        // Before it is copied: that is the work.
        self.charge(key.len() + value_bytes)?;
        let value = if start.is_empty() { suffix } else { Blob([start, &suffix.0[..]].concat().into()) };
        Ok(self.stage_charged(key, before, value, None))
    }

    fn stage_charged(&mut self, key: Bytes, before: Option<&Item>, value: Blob, session: Option<SessionId>) -> u64 {
        let item = Item::written(before, value, self.revision + 1, session);
        let version = item.version;
        self.overlay.stage(key, before.and_then(|item| item.session), Some(item));
        version
    }

    /// Stages a key's removal, if there is something to remove, and returns whether there is.
    fn stage_removal(&mut self, key: Bytes, before: Option<&Item>) -> Result<bool, KvError> {
        let Some(before) = before else { return Ok(false) };
        self.charge(key.len())?;
        self.overlay.stage(key, before.session, None);
        Ok(true)
    }

    fn transact(&mut self, txn: Txn) -> Result<Reply, Stop> {
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded = succeeded && holds(compare, self.overlay.get(&compare.key.0)?.as_ref());
        }
        let branch = if succeeded { txn.then } else { txn.otherwise };
        let mut results = Vec::with_capacity(branch.len());
        let limit = TXN_RESULT_BYTES_MAX.min(BATCH_RESULT_BYTES_MAX - self.result_bytes);
        let mut room = limit;
        for operation in branch {
            results.push(self.operate(operation, &mut room, limit)?);
        }
        Ok(Reply::Txn { succeeded, revision: self.revision_so_far(), results })
    }

    /// One step of a transaction; takes what it returns from the `room` that is left of the `limit`.
    fn operate(&mut self, operation: Operation, room: &mut usize, limit: usize) -> Result<OperationResult, Stop> {
        Ok(match operation {
            Operation::Get { key } => {
                let item = self.overlay.get(&key.0)?;
                spend(room, item.as_ref().map_or(0, |item| charge_bytes(&key.0, item)), limit)?;
                OperationResult::Got(item)
            }
            Operation::Put { key, value } => {
                let before = self.overlay.get(&key.0)?;
                OperationResult::Written { version: self.stage_value(key.0, before.as_ref(), value, None)? }
            }
            Operation::PutEphemeral { key, value } => {
                let session = self.session.ok_or(Stop::Refused(Reply::SessionNeeded))?;
                let before = self.overlay.get(&key.0)?;
                OperationResult::Written { version: self.stage_value(key.0, before.as_ref(), value, Some(session))? }
            }
            Operation::Append { key, suffix } => {
                let before = self.overlay.get(&key.0)?;
                OperationResult::Written { version: self.stage_suffix(key.0, before.as_ref(), suffix)? }
            }
            Operation::Delete { key } => {
                let before = self.overlay.get(&key.0)?;
                OperationResult::Deleted { deleted: self.stage_removal(key.0, before.as_ref())? }
            }
            Operation::Scan { start, end, limit: items_max } => {
                let range = ScanRange::between(start.0, end.map(|end| end.0));
                let limits = ScanLimits { items_max: items_max as usize, bytes_max: *room };
                let page = self.overlay.scan(&range, limits)?;
                spend(room, page.bytes, limit)?;
                OperationResult::Scanned { items: page.items, more: page.more }
            }
        })
    }
}

/// Takes the bytes from the room that is left of the limit, if they fit.
fn spend(room: &mut usize, bytes: usize, limit: usize) -> Result<(), KvError> {
    within(Quantity::ResultBytes, limit - *room + bytes, limit)?;
    *room -= bytes;
    Ok(())
}

fn holds(compare: &Compare, item: Option<&Item>) -> bool {
    let number = |property: fn(&Item) -> u64| item.map_or(0, property);
    let ordering = match &compare.target {
        Target::Version(version) => number(|item| item.version).cmp(version),
        Target::CreateRevision(revision) => number(|item| item.create_revision).cmp(revision),
        Target::ModRevision(revision) => number(|item| item.mod_revision).cmp(revision),
        Target::Value(value) => item.map(|item| &item.value.0).cmp(&value.as_ref().map(|value| &value.0)),
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Less => ordering.is_lt(),
        Relation::Greater => ordering.is_gt(),
    }
}
