//! The rules: what each command does to the keys, and what it answers.
//!
//! A command is performed on the overlay's stage, and settled as a whole or abandoned as a whole. If it has changed
//! anything, it was at the next revision, and that is the revision now.

use bytes::Bytes;
use consensus_api::{Blob, TableBatch, Tables};

use crate::command::{Command, Compare, Expect, Operation, Relation, Target, Txn};
use crate::error::KvError;
use crate::item::Item;
use crate::limits::{KvLimits, Quantity, TXN_RESULT_BYTES_MAX, within};
use crate::overlay::Overlay;
use crate::reply::{OperationResult, Reply};
use crate::request::{Batch, Replies, Request};
use crate::scan::{ScanLimits, ScanRange, charge_bytes};

/// Carries out the commands of one slice of entries, one after the other.
pub(crate) struct Executor<'a, T> {
    overlay: Overlay<'a, T>,
    revision: u64,
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
    /// Begins above `tables`, which are at `revision`.
    pub(crate) fn new(tables: &'a T, revision: u64) -> Executor<'a, T> {
        Executor { overlay: Overlay::new(tables), revision }
    }

    /// The bytes of keys and values that the commands so far have changed.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.overlay.settled_bytes()
    }

    /// Carries out the batch that `bytes` encode, if they encode one.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Result<Replies, KvError> {
        let Ok(batch) = Batch::decode(bytes) else { return Ok(Replies { replies: vec![Reply::Malformed] }) };
        let replies = batch.requests.into_iter().map(|request| self.run_one(request)).collect::<Result<_, _>>()?;
        Ok(Replies { replies })
    }

    fn run_one(&mut self, request: Request) -> Result<Reply, KvError> {
        match self.perform(request.command) {
            Ok(reply) => {
                self.revision = self.revision_so_far();
                self.overlay.settle();
                Ok(reply)
            }
            Err(Stop::Refused(reply)) => {
                self.overlay.abandon();
                Ok(reply)
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The changes of all the commands, and the revision after them.
    pub(crate) fn finish(self) -> (TableBatch, u64) {
        (self.overlay.into_batch(), self.revision)
    }

    fn perform(&mut self, command: Command) -> Result<Reply, Stop> {
        command.check(&KvLimits::APPLIED)?;
        match command {
            Command::Put { key, value, expect } => {
                let before = self.expected(&key.0, expect)?;
                Ok(self.write(key.0, before.as_ref(), value))
            }
            Command::Append { key, suffix, expect } => {
                let before = self.expected(&key.0, expect)?;
                let value = appended(before.as_ref(), suffix)?;
                Ok(self.write(key.0, before.as_ref(), value))
            }
            Command::Delete { key, expect } => {
                let deleted = self.expected(&key.0, expect)?.is_some();
                if deleted {
                    self.overlay.stage(key.0, None);
                }
                Ok(Reply::Deleted { deleted, revision: self.revision_so_far() })
            }
            Command::Txn(txn) => self.transact(txn),
            Command::PutEphemeral { .. } | Command::OpenSession { .. } | Command::CloseSession { .. } => {
                Err(Stop::Refused(Reply::Malformed))
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

    fn write(&mut self, key: Bytes, before: Option<&Item>, value: Blob) -> Reply {
        let version = self.stage_value(key, before, value);
        Reply::Written { version, revision: self.revision_so_far() }
    }

    /// Stages a key's new value at the next revision and returns its version.
    fn stage_value(&mut self, key: Bytes, before: Option<&Item>, value: Blob) -> u64 {
        let item = Item::written(before, value, self.revision + 1);
        let version = item.version;
        self.overlay.stage(key, Some(item));
        version
    }

    fn transact(&mut self, txn: Txn) -> Result<Reply, Stop> {
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded = succeeded && holds(compare, self.overlay.get(&compare.key.0)?.as_ref());
        }
        let branch = if succeeded { txn.then } else { txn.otherwise };
        let mut results = Vec::with_capacity(branch.len());
        let mut result_bytes = 0;
        for operation in branch {
            results.push(self.operate(operation, &mut result_bytes)?);
            within(Quantity::ResultBytes, result_bytes, TXN_RESULT_BYTES_MAX)?;
        }
        Ok(Reply::Txn { succeeded, revision: self.revision_so_far(), results })
    }

    /// One step of a transaction; adds to `result_bytes` what it returns.
    fn operate(&mut self, operation: Operation, result_bytes: &mut usize) -> Result<OperationResult, Stop> {
        Ok(match operation {
            Operation::Get { key } => {
                let item = self.overlay.get(&key.0)?;
                *result_bytes += item.as_ref().map_or(0, |item| charge_bytes(&key.0, item));
                OperationResult::Got(item)
            }
            Operation::Put { key, value } => {
                let before = self.overlay.get(&key.0)?;
                OperationResult::Written { version: self.stage_value(key.0, before.as_ref(), value) }
            }
            Operation::PutEphemeral { .. } => return Err(Stop::Refused(Reply::SessionNeeded)),
            Operation::Append { key, suffix } => {
                let before = self.overlay.get(&key.0)?;
                let value = appended(before.as_ref(), suffix)?;
                OperationResult::Written { version: self.stage_value(key.0, before.as_ref(), value) }
            }
            Operation::Delete { key } => {
                let deleted = self.overlay.get(&key.0)?.is_some();
                if deleted {
                    self.overlay.stage(key.0, None);
                }
                OperationResult::Deleted { deleted }
            }
            Operation::Scan { start, end, limit } => {
                let range = ScanRange::between(start.0, end.map(|end| end.0));
                let bytes_max = TXN_RESULT_BYTES_MAX - *result_bytes;
                let page = self.overlay.scan(&range, ScanLimits { items_max: limit as usize, bytes_max })?;
                *result_bytes += page.bytes;
                OperationResult::Scanned { items: page.items, more: page.more }
            }
        })
    }
}

/// The value with the suffix behind it, unless that is too long.
fn appended(before: Option<&Item>, suffix: Blob) -> Result<Blob, KvError> {
    let Some(before) = before else { return Ok(suffix) };
    KvLimits::APPLIED.check_value(before.value.0.len() + suffix.0.len())?;
    Ok(Blob([&before.value.0[..], &suffix.0[..]].concat().into()))
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
