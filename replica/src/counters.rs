//! What a replica has done since it was started: plain numbers, for whoever compares or watches.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a replica has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Entries that the state machine was given. Those that came with a snapshot are not among them.
    pub applied_entries: u64,
    /// How often this node has become a candidate, which it is as soon as it asks around.
    pub elections_started: u64,
    /// How often it has become the leader.
    pub leaderships: u64,
}

/// The numbers themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied_entries: AtomicU64,
    pub(crate) elections_started: AtomicU64,
    pub(crate) leaderships: AtomicU64,
}

impl Counters {
    /// How they stand.
    pub(crate) fn read(&self) -> ReplicaCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReplicaCounts {
            applied_entries: read(&self.applied_entries),
            elections_started: read(&self.elections_started),
            leaderships: read(&self.leaderships),
        }
    }
}
