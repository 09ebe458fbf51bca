//! What a client has asked and nobody has begun to do: sorted by how it is done, and taken out in lumps.
//!
//! ```text
//!   requests ─┬─ writes ──▶ next_batch: many, at most about 1 MiB, and no more than one entry may read and write
//!             ├─ gets ────▶ take_gets: all that wait for the same freshness
//!             └─ scans ───▶ next_scan
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use consensus_api::Blob;
use kv_client::protocol::Consistency;
use kv_client::wire::{Answer, Answered, Numbered, Refused, Request};
use kv_machine::{BATCH_RESULT_BYTES_MAX, BATCH_WRITTEN_BYTES_MAX, Command, KvError, KvLimits, ScanRange, SessionTag};

use super::answers;
use super::convert;
use super::range;

/// The most requests of a connection that are taken in and not answered.
pub(super) const WINDOW: usize = 4096;
/// The most bytes of them, before no more is read.
const OPEN_BYTES_MAX: usize = 16 << 20;
/// The most requests of one batch, and so of one entry of the log.
const BATCH_REQUESTS_MAX: usize = 1024;
/// The most bytes of one batch, unless one request alone has more.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A write that waits.
struct Write {
    id: u64,
    request: kv_machine::Request,
    bytes: usize,
    /// What its reads may return at most.
    result_bytes: usize,
    patience: Duration,
}

/// Writes that become one entry.
#[derive(Debug, Default)]
pub(super) struct WriteBatch {
    /// The number of each request, in order.
    pub(super) ids: Vec<u64>,
    /// The requests.
    pub(super) requests: Vec<kv_machine::Request>,
    /// About how much they take.
    pub(super) bytes: usize,
    /// How long the most patient of them may wait.
    pub(super) patience: Duration,
}

/// Gets that wait for the same barrier.
#[derive(Debug, Default)]
pub(super) struct Gets {
    /// The number of each, and its key.
    pub(super) gets: Vec<(u64, Blob)>,
    /// How long the most patient of them may wait.
    pub(super) patience: Duration,
}

/// A scan that waits.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: u64,
    pub(super) range: ScanRange,
    /// What it counts for.
    pub(super) bytes: usize,
    pub(super) limit: u32,
    pub(super) consistency: Consistency,
    pub(super) patience: Duration,
}

/// Everything that waits.
#[derive(Default)]
pub(super) struct Backlog {
    writes: VecDeque<Write>,
    gets: [Gets; 3],
    scans: VecDeque<Scan>,
    open: usize,
    open_bytes: usize,
}

impl Backlog {
    /// Whether more may be read from the client.
    pub(super) fn has_room(&self) -> bool {
        self.open < WINDOW && self.open_bytes < OPEN_BYTES_MAX
    }

    /// Whether everything that was taken in has been answered.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// This many requests of this many bytes together were answered.
    pub(super) fn settle(&mut self, requests: usize, bytes: usize) {
        assert!(requests <= self.open && bytes <= self.open_bytes, "more was answered than asked");
        self.open -= requests;
        self.open_bytes -= bytes;
    }

    /// Takes a request in; or returns the answer, where it needs no doing.
    pub(super) fn take(&mut self, numbered: Numbered, patience: Duration, limits: &KvLimits) -> Option<Answered> {
        let Numbered { id, request } = numbered;
        let outcome = match request {
            Request::Write { tag, command } => {
                let bytes = command.bytes();
                self.take_write(id, convert::request(tag, command), bytes, patience, limits)
            }
            Request::OpenSession { session, ttl_ms, acked_below } => {
                let session = convert::session(session);
                // It has no number; what it acknowledges is of interest.
                let tag = SessionTag { session, number: 0, acked_below };
                let command = Command::OpenSession { session, ttl_ms };
                let request = kv_machine::Request { session: Some(tag), command };
                self.take_write(id, request, 0, patience, limits)
            }
            Request::CloseSession { session } => {
                let command = Command::CloseSession { session: convert::session(session) };
                self.take_write(id, command.into(), 0, patience, limits)
            }
            Request::Get { key, consistency } => check_key(&key, limits).map(|()| {
                let bytes = key.0.len();
                let group = &mut self.gets[consistency as usize];
                group.gets.push((id, key));
                group.patience = group.patience.max(patience);
                self.open(bytes);
            }),
            Request::Scan { start, end, limit, consistency } => {
                let bytes = start.0.len() + end.as_ref().map_or(0, |end| end.0.len());
                range::checked(start, end, limits).map(|range| {
                    self.scans.push_back(Scan { id, range, bytes, limit, consistency, patience });
                    self.open(bytes);
                })
            }
        };
        outcome.err().map(|error| Answered { id, answer: answers::of_bad_request(&error) })
    }

    fn take_write(
        &mut self,
        id: u64,
        request: kv_machine::Request,
        bytes: usize,
        patience: Duration,
        limits: &KvLimits,
    ) -> Result<(), KvError> {
        request.command.check(limits)?;
        let result_bytes = request.command.result_bytes_max();
        self.writes.push_back(Write { id, request, bytes, result_bytes, patience });
        self.open(bytes);
        Ok(())
    }

    fn open(&mut self, bytes: usize) {
        self.open += 1;
        self.open_bytes += bytes;
    }

    /// The writes that wait, as many as one entry may have.
    pub(super) fn next_batch(&mut self) -> Option<WriteBatch> {
        let mut batch = WriteBatch::default();
        let (mut result_bytes, mut written_bytes) = (0, 0);
        while let Some(next) = self.writes.front() {
            let is_full = batch.requests.len() >= BATCH_REQUESTS_MAX || batch.bytes + next.bytes > BATCH_BYTES_MAX;
            // The reads of a batch share one bound and its writes another: none may be refused for what another does.
            let more_written = next.request.command.written_bytes_max();
            let is_overfull = result_bytes + next.result_bytes > BATCH_RESULT_BYTES_MAX
                || written_bytes + more_written > BATCH_WRITTEN_BYTES_MAX;
            if !batch.requests.is_empty() && (is_full || is_overfull) {
                break;
            }
            let Some(Write { id, request, bytes, result_bytes: more, patience }) = self.writes.pop_front() else {
                break;
            };
            batch.ids.push(id);
            batch.requests.push(request);
            batch.bytes += bytes;
            batch.patience = batch.patience.max(patience);
            result_bytes += more;
            written_bytes += more_written;
        }
        (!batch.requests.is_empty()).then_some(batch)
    }

    /// All gets that wait for this freshness.
    pub(super) fn take_gets(&mut self, consistency: Consistency) -> Gets {
        std::mem::take(&mut self.gets[consistency as usize])
    }

    /// The next scan.
    pub(super) fn next_scan(&mut self) -> Option<Scan> {
        self.scans.pop_front()
    }

    /// The node stops: what nobody has begun to do will not be done.
    pub(super) fn refuse_all(&mut self) -> Vec<Answered> {
        let mut ids: Vec<u64> = Vec::new();
        let mut bytes = 0;
        for write in self.writes.drain(..) {
            ids.push(write.id);
            bytes += write.bytes;
        }
        for (id, key) in self.gets.iter_mut().flat_map(|group| group.gets.drain(..)) {
            ids.push(id);
            bytes += key.0.len();
        }
        for scan in self.scans.drain(..) {
            ids.push(scan.id);
            bytes += scan.bytes;
        }
        self.settle(ids.len(), bytes);
        let refused = || answers::refused(Refused::Stopping, "the node is stopping; ask another");
        ids.into_iter().map(|id| Answered { id, answer: Answer::Failed(refused()) }).collect()
    }
}

fn check_key(key: &Blob, limits: &KvLimits) -> Result<(), KvError> {
    Command::Delete { key: key.clone(), expect: kv_machine::Expect::Any }.check(limits)
}
