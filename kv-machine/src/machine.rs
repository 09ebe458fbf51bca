//! The state machine: takes slices of the log, turns each into one batch, and knows how far it has come.
//!
//! ```text
//!   batch = { data changes, sessions, progress (index, log time, revision), members if they changed,
//!             local: position, recent changes }
//! ```
//!
//! All of that is one atomic step. If the index went in apart from the data, a crash between the two would apply the
//! same append twice, or never; if the sessions did, a retry would be taken for carried out that never was.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bincode::Decode;
use bytes::Bytes;
use consensus_api::membership::VOID_REPLY;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    AppliedMembership, AppliedState, Ballot, LogIndex, LogPosition, Membership, Payload, SharedEntry, StateMachine,
    TableBatch, TableRead, Tables, codec,
};

use crate::digest;
use crate::error::KvError;
use crate::execute::Executor;
use crate::history::{HISTORY_BYTES_DEFAULT, History, SliceChanges};
use crate::reader::KvReader;
use crate::schema::{MEMBERS_KEY, META, POSITION_KEY, PROGRESS_KEY, Progress};
use crate::session_store;
use crate::sessions::Sessions;

/// A batch ends with the command that brings its changes and replies to this: a short command may change or return
/// megabytes, and thousands of them may wait.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The key-value machine. It alone writes the tables; [`KvReader`]s read them meanwhile.
pub struct KvMachine<T> {
    tables: Arc<T>,
    applied: AppliedState,
    revision: u64,
    sessions: Sessions,
    history: History,
    announce: Announce,
}

/// Is told each new revision.
type Announce = Box<dyn Fn(u64) + Send>;

impl<T> fmt::Debug for KvMachine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KvMachine { applied, revision, .. } = self;
        f.debug_struct("KvMachine").field("applied", applied).field("revision", revision).finish_non_exhaustive()
    }
}

impl<T: Tables> KvMachine<T> {
    /// The machine as these tables hold it; blank tables hold one that has applied nothing and has no members.
    ///
    /// # Errors
    /// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
    pub fn open(tables: Arc<T>) -> Result<KvMachine<T>, KvError> {
        let (applied, revision) = recorded(&*tables)?;
        let sessions = session_store::load(&*tables)?;
        let history = History::load(&*tables, revision, HISTORY_BYTES_DEFAULT)?;
        Ok(KvMachine { tables, applied, revision, sessions, history, announce: Box::new(|_| ()) })
    }

    /// How many bytes of recent changes are kept for [`KvReader::changes`], at least those of the last slice of entries:
    /// [`HISTORY_BYTES_DEFAULT`] unless this is called. It is a node's own affair; what is too much goes with the next
    /// change.
    pub fn keep_changes(&mut self, bytes_max: u64) {
        self.history.set_bytes_max(bytes_max);
    }

    /// From now on `announce` is told the revision each time that it has changed, once the changes can be read; and when
    /// other tables have taken the place of the machine's own. It must not block: the machine waits for it.
    pub fn announce(&mut self, announce: Box<dyn Fn(u64) + Send>) {
        self.announce = announce;
    }

    /// Names the founders, durably, to a blank machine or to a [disbanded](disband) one. To name the same ones again does
    /// nothing.
    ///
    /// # Errors
    /// [`KvError::AlreadyFounded`] where the machine has other members or has applied entries without any.
    pub fn found(&mut self, membership: Arc<Membership>) -> Result<(), KvError> {
        let founded = AppliedMembership::founded(membership);
        match &self.applied.membership {
            Some(present) if *present == founded => return Ok(()),
            // No entry is ever chosen under ballot zero: nothing of a log was applied since the beginning.
            None if self.applied.position.ballot == Ballot::ZERO => {}
            _ => return Err(KvError::AlreadyFounded),
        }
        let mut batch = TableBatch::default();
        batch.put(META, MEMBERS_KEY, codec::encode(&founded)?);
        self.tables.write(batch).map_err(KvError::tables)?;
        self.tables.flush().map_err(KvError::tables)?;
        self.applied.membership = Some(founded);
        Ok(())
    }

    /// Reads the same tables.
    pub fn reader(&self) -> KvReader<T> {
        KvReader::new(self.tables.clone())
    }

    /// The global revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Writes the changes of a slice, with the sessions and the history, together with where they lead.
    fn write(
        &mut self,
        mut batch: TableBatch,
        changes: SliceChanges,
        next: AppliedState,
        revision: u64,
    ) -> Result<(), KvError> {
        if is_planted(Bug::ReplyCachedBeforeApply) {
            let mut sessions = TableBatch::default();
            session_store::write_touched(&mut self.sessions, &mut sessions)?;
            self.tables.write(sessions).map_err(KvError::tables)?;
        }
        session_store::write_touched(&mut self.sessions, &mut batch)?;
        self.history.write(changes, revision, &*self.tables, &mut batch)?;
        let progress = Progress { index: next.position.index, log_time: next.log_time, revision };
        if is_planted(Bug::AppliedIndexNotAtomic) {
            self.tables.write(std::mem::take(&mut batch)).map_err(KvError::tables)?;
        }
        batch.put(META, PROGRESS_KEY, codec::encode(&progress)?);
        batch.put(META, POSITION_KEY, codec::encode(&next.position)?);
        if let Some(membership) = &next.membership
            && Some(membership) != self.applied.membership.as_ref()
        {
            batch.put(META, MEMBERS_KEY, codec::encode(membership)?);
        }
        self.tables.write(batch).map_err(KvError::tables)?;
        self.applied = next;
        if revision != self.revision {
            self.revision = revision;
            (self.announce)(revision);
        }
        Ok(())
    }
}

impl<T: Tables> StateMachine for KvMachine<T> {
    type Error = KvError;

    fn applied(&self) -> Result<AppliedState, KvError> {
        Ok(self.applied.clone())
    }

    fn persisted(&self) -> Result<LogIndex, KvError> {
        let record = self.tables.get_persisted(META, PROGRESS_KEY).map_err(KvError::tables)?;
        let progress: Progress = decode_record(PROGRESS_KEY, record)?.unwrap_or_default();
        assert!(progress.index <= self.applied.position.index, "the tables persisted what was never applied");
        Ok(progress.index)
    }

    fn apply(&mut self, entries: &[SharedEntry]) -> Result<Vec<Bytes>, KvError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let tables = self.tables.clone();
        let mut executor = Executor::new(&*tables, &mut self.sessions, self.revision);
        let mut next = self.applied.clone();
        let mut replies: Vec<Bytes> = Vec::with_capacity(entries.len());
        let mut reply_bytes = 0;
        for entry in entries {
            if reply_bytes + executor.staged_bytes() > BATCH_BYTES_MAX {
                break;
            }
            assert_eq!(entry.index, next.position.index.next(), "entries are applied in order and without a gap");
            next.position = LogPosition { index: entry.index, ballot: entry.ballot };
            // The maximum, because along a Paxos log an entry may carry an older stamp than the one before it.
            next.log_time = next.log_time.max(entry.log_time);
            executor.begin_entry(next.log_time)?;
            replies.push(match &entry.payload {
                Payload::Command { data, .. } if data.0.is_empty() => Bytes::new(),
                Payload::Command { data, .. } => executor.run(&data.0)?.encode()?,
                Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } => {
                    let founded = next.membership.get_or_insert_with(|| AppliedMembership::founded(Arc::default()));
                    let is_void = !founded.take(entry.index, membership);
                    Bytes::from_static(if is_void { VOID_REPLY } else { b"" })
                }
                Payload::Noop | Payload::Tick => Bytes::new(),
            });
            reply_bytes += replies.last().map_or(0, Bytes::len);
        }
        let (batch, changes, revision) = executor.finish();
        self.write(batch, changes, next, revision)?;
        Ok(replies)
    }

    fn time_wanted(&self) -> Option<Duration> {
        self.sessions.time_wanted()
    }

    fn flush(&mut self) -> Result<(), KvError> {
        self.tables.flush().map_err(KvError::tables)
    }

    fn reopened(&mut self) -> Result<AppliedState, KvError> {
        (self.applied, self.revision) = recorded(&*self.tables)?;
        self.sessions = session_store::load(&*self.tables)?;
        self.history = History::load(&*self.tables, self.revision, self.history.bytes_max())?;
        (self.announce)(self.revision);
        Ok(self.applied.clone())
    }

    fn digest(&self) -> Result<[u8; 32], KvError> {
        digest::of(&*self.tables.view()).map_err(KvError::tables)
    }
}

/// Takes from the tables what belongs to the cluster that wrote them, durably: its members, the ballot of the last
/// applied entry, and its clients' sessions. These end as if their time had run out, with the keys that they kept alive (a
/// revision for each session that has some): no lock may outlive its holder, and a stray client of the old cluster is told
/// that its session has expired. What is left is where another cluster can begin, under any engine.
///
/// # Errors
/// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
pub fn disband<T: Tables>(tables: &T) -> Result<(), KvError> {
    let (applied, mut revision) = recorded(tables)?;
    let mut sessions = session_store::load(tables)?;
    let mut history = History::load(tables, revision, HISTORY_BYTES_DEFAULT)?;
    let mut some_ended = true;
    while some_ended {
        let mut executor = Executor::new(tables, &mut sessions, revision);
        some_ended = executor.end_some(applied.log_time)?;
        let (mut batch, changes, after) = executor.finish();
        revision = after;
        session_store::write_touched(&mut sessions, &mut batch)?;
        history.write(changes, revision, tables, &mut batch)?;
        let progress = Progress { index: applied.position.index, log_time: applied.log_time, revision };
        batch.put(META, PROGRESS_KEY, codec::encode(&progress)?);
        tables.write(batch).map_err(KvError::tables)?;
    }
    let position = LogPosition { ballot: Ballot::ZERO, ..applied.position };
    let mut batch = TableBatch::default();
    batch.delete(META, MEMBERS_KEY);
    batch.put(META, POSITION_KEY, codec::encode(&position)?);
    tables.write(batch).map_err(KvError::tables)?;
    tables.flush().map_err(KvError::tables)
}

/// How far the machine of these tables has come: what a snapshot of them covers.
///
/// # Errors
/// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
pub fn applied_state<E>(tables: &dyn TableRead<Error = E>) -> Result<AppliedState, KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    recorded(tables).map(|(applied, _)| applied)
}

/// How far the machine has come, and its revision there.
fn recorded<E>(tables: &dyn TableRead<Error = E>) -> Result<(AppliedState, u64), KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let record = |key| tables.get(META, key).map_err(KvError::tables);
    let progress: Progress = decode_record(PROGRESS_KEY, record(PROGRESS_KEY)?)?.unwrap_or_default();
    let position: LogPosition = decode_record(POSITION_KEY, record(POSITION_KEY)?)?.unwrap_or_default();
    let membership: Option<AppliedMembership> = decode_record(MEMBERS_KEY, record(MEMBERS_KEY)?)?;
    if position.index != progress.index {
        let reason = format!("it says {}, the progress {}", position.index, progress.index);
        return Err(KvError::damaged("the applied position", reason));
    }
    let applied = AppliedState { position, log_time: progress.log_time, membership };
    Ok((applied, progress.revision))
}

/// The record of the meta table, if it is there.
pub(crate) fn decode_record<R: Decode<()>>(key: &[u8], record: Option<Bytes>) -> Result<Option<R>, KvError> {
    let damaged = |error| KvError::damaged(format!("\"{}\"", key.escape_ascii()), error);
    record.map(|bytes| codec::decode(&bytes)).transpose().map_err(damaged)
}
