//! The state machine: takes slices of the log, turns each into one batch, and knows how far it has come.
//!
//! ```text
//!   batch = { data changes, progress (index, log time, revision), members if they changed, local position }
//! ```
//!
//! All of that is one atomic step. If the index went in apart from the data, a crash between the two would apply the
//! same append twice, or never.

use std::sync::Arc;

use bincode::Decode;
use bytes::Bytes;
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    AppliedState, Ballot, LogIndex, LogPosition, Membership, Payload, SharedEntry, StateMachine, TableBatch, TableRead,
    Tables, codec,
};

use crate::digest;
use crate::error::KvError;
use crate::execute::Executor;
use crate::reader::KvReader;
use crate::schema::{MEMBERS_KEY, META, POSITION_KEY, PROGRESS_KEY, Progress};

/// A batch ends with the command that brings its changes and replies to this: a short command may change or return
/// megabytes, and thousands of them may wait.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The key-value machine. It alone writes the tables; [`KvReader`]s read them meanwhile.
#[derive(Debug)]
pub struct KvMachine<T> {
    tables: Arc<T>,
    applied: AppliedState,
    revision: u64,
}

impl<T: Tables> KvMachine<T> {
    /// The machine as these tables hold it; blank tables hold one that has applied nothing and has no members.
    ///
    /// # Errors
    /// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
    pub fn open(tables: Arc<T>) -> Result<KvMachine<T>, KvError> {
        let (applied, revision) = recorded(&*tables)?;
        Ok(KvMachine { tables, applied, revision })
    }

    /// Names the founders, durably, to a blank machine or to a [disbanded](disband) one. To name the same ones again does
    /// nothing.
    ///
    /// # Errors
    /// [`KvError::AlreadyFounded`] where the machine has other members or has applied entries without any.
    pub fn found(&mut self, membership: Arc<Membership>) -> Result<(), KvError> {
        match &self.applied.membership {
            Some(present) if *present == membership => return Ok(()),
            // No entry is ever chosen under ballot zero: nothing of a log was applied since the beginning.
            None if self.applied.position.ballot == Ballot::ZERO => {}
            _ => return Err(KvError::AlreadyFounded),
        }
        let mut batch = TableBatch::default();
        batch.put(META, MEMBERS_KEY, codec::encode(&*membership)?);
        self.tables.write(batch).map_err(KvError::tables)?;
        self.tables.flush().map_err(KvError::tables)?;
        self.applied.membership = Some(membership);
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

    /// Writes the changes of a slice together with where they lead.
    fn write(&mut self, mut batch: TableBatch, next: AppliedState, revision: u64) -> Result<(), KvError> {
        let progress = Progress { index: next.position.index, log_time: next.log_time, revision };
        if is_planted(Bug::AppliedIndexNotAtomic) {
            self.tables.write(std::mem::take(&mut batch)).map_err(KvError::tables)?;
        }
        batch.put(META, PROGRESS_KEY, codec::encode(&progress)?);
        batch.put(META, POSITION_KEY, codec::encode(&next.position)?);
        if let Some(membership) = &next.membership
            && Some(membership) != self.applied.membership.as_ref()
        {
            batch.put(META, MEMBERS_KEY, codec::encode(&**membership)?);
        }
        self.tables.write(batch).map_err(KvError::tables)?;
        self.applied = next;
        self.revision = revision;
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
        let mut executor = Executor::new(&*tables, self.revision);
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
            replies.push(match &entry.payload {
                Payload::Command { data, .. } if data.0.is_empty() => Bytes::new(),
                Payload::Command { data, .. } => executor.run(&data.0)?.encode()?,
                Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } => {
                    next.membership = Some(membership.clone());
                    Bytes::new()
                }
                Payload::Noop | Payload::Tick => Bytes::new(),
            });
            reply_bytes += replies.last().map_or(0, Bytes::len);
        }
        let (batch, revision) = executor.finish();
        self.write(batch, next, revision)?;
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), KvError> {
        self.tables.flush().map_err(KvError::tables)
    }

    fn reopened(&mut self) -> Result<AppliedState, KvError> {
        (self.applied, self.revision) = recorded(&*self.tables)?;
        Ok(self.applied.clone())
    }

    fn digest(&self) -> Result<[u8; 32], KvError> {
        digest::of(&*self.tables.view()).map_err(KvError::tables)
    }
}

/// Takes from the tables what belongs to the cluster that wrote them, durably: its members, and the ballot of the last
/// applied entry. What is left is where another cluster can begin, under any engine.
///
/// # Errors
/// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
pub fn disband<T: Tables>(tables: &T) -> Result<(), KvError> {
    let (applied, _) = recorded(tables)?;
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
    let membership: Option<Membership> = decode_record(MEMBERS_KEY, record(MEMBERS_KEY)?)?;
    if position.index != progress.index {
        let reason = format!("it says {}, the progress {}", position.index, progress.index);
        return Err(KvError::damaged("the applied position", reason));
    }
    let applied = AppliedState { position, log_time: progress.log_time, membership: membership.map(Arc::new) };
    Ok((applied, progress.revision))
}

/// The record of the meta table, if it is there.
pub(crate) fn decode_record<R: Decode<()>>(key: &[u8], record: Option<Bytes>) -> Result<Option<R>, KvError> {
    let damaged = |error| KvError::damaged(format!("\"{}\"", key.escape_ascii()), error);
    record.map(|bytes| codec::decode(&bytes)).transpose().map_err(damaged)
}
