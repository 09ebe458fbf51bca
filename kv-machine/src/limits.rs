//! How large commands may be.
//!
//! There are two lines of defence. A node's own [`KvLimits`] refuse a command before it is proposed. They must not
//! decide what a chosen command does, or two nodes that are configured differently would diverge; so when a command is
//! applied, it is held against [`KvLimits::APPLIED`], constants of this build that a node can only tighten. Only there
//! can an append be judged at all, because what it appends to is known only then.

use std::fmt;

use bincode::{Decode, Encode};

use crate::command::{Command, Operation, Txn};
use crate::error::KvError;
use crate::scan::FLAT_BYTES;

/// The most bytes that the reads of one transaction may return, counting keys, values and a flat charge for each item.
/// A constant: it decides what an applied command does.
pub const TXN_RESULT_BYTES_MAX: usize = 4 << 20;
/// The most bytes that the reads of all transactions of one batch may return together, counted alike: what is over it is
/// refused as if the transaction were too large. A constant, and such that the replies to a batch always encode.
pub const BATCH_RESULT_BYTES_MAX: usize = 8 * TXN_RESULT_BYTES_MAX;
/// The most bytes that one batch may write: each key that is written or removed, with the whole of its new value, which
/// of an append is more than was sent. The history keeps every one of them, also those that the next write of the same
/// batch replaces. What is over it is refused, for the sake of those before it. A constant, and such that a transaction
/// that is alone in its batch is never refused for it.
pub const BATCH_WRITTEN_BYTES_MAX: usize =
    KvLimits::APPLIED.txn_operations_max * (KvLimits::APPLIED.key_bytes_max + KvLimits::APPLIED.value_bytes_max);

/// The largest commands that a node proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLimits {
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value, in bytes; also what an append may make of one, up to [`KvLimits::APPLIED`].
    pub value_bytes_max: usize,
    /// The most comparisons, and the most operations in either branch, of a transaction.
    pub txn_operations_max: usize,
}

impl KvLimits {
    /// What holds when a command is applied, at every node. To change it is to change the machine: never within the
    /// life of a log.
    pub const APPLIED: KvLimits = KvLimits { key_bytes_max: 4096, value_bytes_max: 1 << 20, txn_operations_max: 128 };

    /// These limits, none of them above the applied ones: what is proposed must not be refused for its size when it is
    /// applied, except for an append.
    fn within_applied(&self) -> KvLimits {
        let applied = KvLimits::APPLIED;
        KvLimits {
            key_bytes_max: self.key_bytes_max.min(applied.key_bytes_max),
            value_bytes_max: self.value_bytes_max.min(applied.value_bytes_max),
            txn_operations_max: self.txn_operations_max.min(applied.txn_operations_max),
        }
    }
}

impl Default for KvLimits {
    fn default() -> KvLimits {
        KvLimits::APPLIED
    }
}

/// What can be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Quantity {
    /// A key, in bytes.
    KeyBytes,
    /// A value, or what an append would make of one, in bytes.
    ValueBytes,
    /// The comparisons or operations of a transaction, counted.
    Operations,
    /// What the reads of a transaction return, in bytes.
    ResultBytes,
    /// What a batch writes, in bytes: this request and those before it. Alone it may come again.
    BatchBytes,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quantity::KeyBytes => "key (in bytes)",
            Quantity::ValueBytes => "value (in bytes)",
            Quantity::Operations => "transaction (in operations)",
            Quantity::ResultBytes => "transaction's result (in bytes)",
            Quantity::BatchBytes => "batch (in bytes that it writes)",
        })
    }
}

/// Refuses `found` over `limit`.
pub(crate) fn within(what: Quantity, found: usize, limit: usize) -> Result<(), KvError> {
    if found <= limit { Ok(()) } else { Err(KvError::TooLarge { what, found: found as u64, limit: limit as u64 }) }
}

impl Command {
    /// Whether the command may be proposed under these limits, or under [`KvLimits::APPLIED`] where that is less.
    ///
    /// # Errors
    /// [`KvError::EmptyKey`], [`KvError::TooLarge`] or [`KvError::DuplicateKey`]: the sender's fault, never the
    /// replica's.
    pub fn check(&self, limits: &KvLimits) -> Result<(), KvError> {
        let limits = limits.within_applied();
        match self {
            Command::Put { key, value, .. } | Command::PutEphemeral { key, value, .. } => {
                limits.check_key(&key.0).and(limits.check_value(value.0.len()))
            }
            Command::Append { key, suffix, .. } => limits.check_key(&key.0).and(limits.check_value(suffix.0.len())),
            Command::Delete { key, .. } => limits.check_key(&key.0),
            Command::Txn(txn) => limits.check_txn(txn),
            Command::OpenSession { .. } | Command::CloseSession { .. } => Ok(()),
        }
    }

    /// The most bytes that the command's reads may return, counted as [`TXN_RESULT_BYTES_MAX`] is. Where those of a batch
    /// come to no more than [`BATCH_RESULT_BYTES_MAX`] together, none is refused for what another reads.
    pub fn result_bytes_max(&self) -> usize {
        let Command::Txn(txn) = self else { return 0 };
        let read = |operation: &Operation| match operation {
            Operation::Get { key } => FLAT_BYTES + key.0.len() + KvLimits::APPLIED.value_bytes_max,
            Operation::Scan { .. } => TXN_RESULT_BYTES_MAX,
            _ => 0,
        };
        let branch = |branch: &[Operation]| branch.iter().map(read).fold(0, usize::saturating_add);
        branch(&txn.then).max(branch(&txn.otherwise)).min(TXN_RESULT_BYTES_MAX)
    }

    /// The most bytes that the command may write, counted as [`BATCH_WRITTEN_BYTES_MAX`] is: what an append makes of a
    /// value is not known here, and counts as the longest. Where those of a batch come to no more than
    /// [`BATCH_WRITTEN_BYTES_MAX`] together, none is refused for what another writes.
    pub fn written_bytes_max(&self) -> usize {
        match self {
            Command::Put { key, value, .. } | Command::PutEphemeral { key, value, .. } => key.0.len() + value.0.len(),
            Command::Append { key, .. } => key.0.len() + KvLimits::APPLIED.value_bytes_max,
            Command::Delete { key, .. } => key.0.len(),
            Command::Txn(txn) => {
                let branch = |branch: &[Operation]| branch.iter().map(Operation::written_bytes_max).sum();
                usize::max(branch(&txn.then), branch(&txn.otherwise))
            }
            // The keys that vanish with a session have a bound of their own.
            Command::OpenSession { .. } | Command::CloseSession { .. } => 0,
        }
    }
}

impl Operation {
    fn written_bytes_max(&self) -> usize {
        match self {
            Operation::Put { key, value } | Operation::PutEphemeral { key, value } => key.0.len() + value.0.len(),
            Operation::Append { key, .. } => key.0.len() + KvLimits::APPLIED.value_bytes_max,
            Operation::Delete { key } => key.0.len(),
            Operation::Get { .. } | Operation::Scan { .. } => 0,
        }
    }
}

impl KvLimits {
    fn check_key(&self, key: &[u8]) -> Result<(), KvError> {
        if key.is_empty() {
            return Err(KvError::EmptyKey);
        }
        within(Quantity::KeyBytes, key.len(), self.key_bytes_max)
    }

    pub(crate) fn check_value(&self, value_bytes: usize) -> Result<(), KvError> {
        within(Quantity::ValueBytes, value_bytes, self.value_bytes_max)
    }

    fn check_txn(&self, txn: &Txn) -> Result<(), KvError> {
        for operations in [txn.compare.len(), txn.then.len(), txn.otherwise.len()] {
            within(Quantity::Operations, operations, self.txn_operations_max)?;
        }
        for compare in &txn.compare {
            self.check_key(&compare.key.0)?;
        }
        self.check_branch(&txn.then)?;
        self.check_branch(&txn.otherwise)
    }

    fn check_branch(&self, branch: &[Operation]) -> Result<(), KvError> {
        for operation in branch {
            match operation {
                Operation::Get { key } | Operation::Delete { key } => self.check_key(&key.0)?,
                Operation::Put { key, value } | Operation::PutEphemeral { key, value } => {
                    self.check_key(&key.0).and(self.check_value(value.0.len()))?
                }
                Operation::Append { key, suffix } => self.check_key(&key.0).and(self.check_value(suffix.0.len()))?,
                // The start may be empty (the first key of all), and no key is longer than the longest.
                Operation::Scan { start, end, .. } => {
                    within(Quantity::KeyBytes, start.0.len(), self.key_bytes_max)?;
                    within(Quantity::KeyBytes, end.as_ref().map_or(0, |end| end.0.len()), self.key_bytes_max)?;
                }
            }
        }
        let mut written: Vec<&[u8]> = branch.iter().filter_map(Operation::written_key).collect();
        written.sort_unstable();
        match written.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(KvError::DuplicateKey { key: pair[0].to_vec() }),
            None => Ok(()),
        }
    }
}
