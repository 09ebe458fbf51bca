//! What a log has done since it was opened: plain numbers, for whoever compares or watches.
//!
//! One thread writes and adds once for each batch; others read whenever they like, and see numbers that may be of two
//! neighbouring batches.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// How often it has waited for the disk.
    pub syncs: u64,
    /// Batches, whatever was in them.
    pub writes: u64,
    /// Entries that were put.
    pub entries: u64,
    /// The bytes of their payloads.
    pub bytes: u64,
    /// Those among the entries that were put where one had been put before.
    pub rewritten_entries: u64,
    /// The bytes of their payloads.
    pub rewritten_bytes: u64,
}

/// The numbers themselves.
#[derive(Debug, Default)]
pub(crate) struct LogCounters {
    syncs: AtomicU64,
    writes: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    rewritten_entries: AtomicU64,
    rewritten_bytes: AtomicU64,
}

impl LogCounters {
    /// Counts one more wait for the disk.
    pub(crate) fn add_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more batch.
    pub(crate) fn add_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the entries of one batch.
    pub(crate) fn add_entries(&self, put: &PutEntries) {
        self.entries.fetch_add(put.entries, Ordering::Relaxed);
        self.bytes.fetch_add(put.bytes, Ordering::Relaxed);
        self.rewritten_entries.fetch_add(put.rewritten_entries, Ordering::Relaxed);
        self.rewritten_bytes.fetch_add(put.rewritten_bytes, Ordering::Relaxed);
    }

    /// How they stand.
    pub(crate) fn read(&self) -> LogCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogCounts {
            syncs: read(&self.syncs),
            writes: read(&self.writes),
            entries: read(&self.entries),
            bytes: read(&self.bytes),
            rewritten_entries: read(&self.rewritten_entries),
            rewritten_bytes: read(&self.rewritten_bytes),
        }
    }
}

/// The entries of one batch.
#[derive(Debug, Default)]
pub(crate) struct PutEntries {
    entries: u64,
    bytes: u64,
    rewritten_entries: u64,
    rewritten_bytes: u64,
}

impl PutEntries {
    /// Adds an entry with a payload of so many bytes.
    pub(crate) fn add(&mut self, bytes: usize, rewritten: bool) {
        let bytes = bytes as u64;
        self.entries += 1;
        self.bytes += bytes;
        if rewritten {
            self.rewritten_entries += 1;
            self.rewritten_bytes += bytes;
        }
    }
}
