//! This node's copy of the log. It only grows at the end and is only trimmed at the front.
//!
//! ```text
//!             base                 commit              durable     last
//!   ───────────┬─────────────────────┬────────────────────┬─────────┬
//!    trimmed   │  may be applied     │  may be sent,      │ pending │
//!    (tables)  │                     │  or acknowledged   │         │
//! ```

use consensus_api::log_writer::LogWriter;
use consensus_api::window::EntryWindow;
use consensus_api::{EngineError, LogIndex, LogPosition, LogTime, NodeId, Recovered, SharedEntry, Write, WriteId};

/// The log of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    base: LogIndex,
    commit: LogIndex,
    last: LogIndex,
    // The highest stamp of any entry.
    time: LogTime,
    window: EntryWindow,
    writer: LogWriter,
}

impl Log {
    /// The log as the disk has it, all of which is durable; refused where this engine cannot have left it so.
    pub(crate) fn recovered(mut recovered: Recovered, leader: NodeId) -> Result<Log, EngineError> {
        if recovered.log.hard_state.is_some() {
            return Err(EngineError::HardState { reason: "this engine writes none".into() });
        }
        let (base, applied) = (recovered.base.index, recovered.applied.index);
        // After a snapshot was installed they may still tell of what it stands for.
        recovered.log.runs.trim(base);
        let runs = &recovered.log.runs;
        let last = runs.last().unwrap_or(base);
        let commit = recovered.log.commit.max(applied);
        let refuse = |reason: String| Err(EngineError::Log { reason });
        if commit > last || applied < base {
            return refuse(format!("it holds {base} to {last}, of which {applied} are applied and {commit} committed"));
        }
        let hole = runs.first_hole(base.next());
        if hole <= last {
            return refuse(format!("no entry at {hole}, but the log ends at {last}"));
        }
        if let Some(run) = runs.iter_from(base.next()).find(|run| run.ballot.node != leader) {
            return refuse(format!("the entry at {} is by node {}, not by {leader}", run.first, run.ballot.node));
        }
        let (window, writer) = (EntryWindow::default(), LogWriter::default());
        let mut log = Log { base, commit, last, time: recovered.log_time, window, writer };
        for entry in recovered.log.tail.into_iter().filter(|entry| entry.index > base) {
            log.time = log.time.max(entry.log_time);
            log.window.insert(entry);
        }
        Ok(log)
    }

    pub(crate) fn base(&self) -> LogIndex {
        self.base
    }

    pub(crate) fn commit(&self) -> LogIndex {
        self.commit
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.last
    }

    pub(crate) fn time(&self) -> LogTime {
        self.time
    }

    pub(crate) fn window(&self) -> &EntryWindow {
        &self.window
    }

    /// Everything up to here is on disk.
    pub(crate) fn durable(&self) -> LogIndex {
        self.writer.first_volatile().map_or(self.last, LogIndex::previous)
    }

    /// What may be applied: what is committed, once it is on this node's own disk, so that its tables never get ahead of
    /// its log.
    pub(crate) fn deliverable(&self) -> LogIndex {
        self.commit.min(self.durable())
    }

    /// Puts an entry behind the last one. One that is here already is the same; one that does not follow yet is left for
    /// the leader to send again.
    pub(crate) fn accept(&mut self, entry: SharedEntry) {
        if let Some(present) = self.window.get(entry.index) {
            assert!(*present == entry, "two entries at {}", entry.index);
        }
        if entry.index != self.last.next() {
            return;
        }
        self.last = entry.index;
        self.time = self.time.max(entry.log_time);
        self.window.insert(entry.clone());
        self.writer.put(entry);
    }

    /// Everything up to `index` is committed, as far as it is here.
    pub(crate) fn commit_through(&mut self, index: LogIndex) {
        self.commit = self.commit.max(index.min(self.last));
    }

    /// The store no longer holds anything up to `base`.
    pub(crate) fn trim(&mut self, base: LogPosition) {
        assert!(base.index <= self.commit, "{} trimmed before it was committed ({})", base.index, self.commit);
        self.base = self.base.max(base.index);
        self.window.evict(0, self.base.next());
    }

    /// A snapshot stands in for everything up to `base`; what is here behind it stays, for it follows.
    pub(crate) fn install(&mut self, base: LogPosition, time: LogTime) {
        self.last = self.last.max(base.index);
        self.commit = self.commit.max(base.index);
        self.time = self.time.max(time);
        self.trim(base);
    }

    pub(crate) fn persisted(&mut self, write: WriteId) {
        self.writer.persisted(write);
    }

    /// The write that makes everything in the log durable.
    pub(crate) fn dependency(&self) -> WriteId {
        self.writer.dependency()
    }

    pub(crate) fn take_write(&mut self) -> Option<Write> {
        self.writer.take(self.commit)
    }

    /// Shrinks the window; what is not on disk yet cannot be read back and stays.
    pub(crate) fn evict(&mut self, bytes_max: usize) {
        self.window.evict(bytes_max, self.writer.first_volatile().unwrap_or(self.last));
    }
}
