//! The requests of this node's clients that wait for an answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use consensus_api::{Applied, LogIndex, NodeId, Refusal, RequestId};
use tokio::sync::oneshot;

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A command was applied.
    Applied(Applied),
    /// It may have been carried out, or may yet be.
    Unknown,
    /// A read may be served.
    Ready(LogIndex),
    /// It was definitely not carried out.
    Refused(Refusal),
    /// The replica stopped.
    Stopped(String),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// That the machine applies its entry.
    Entry,
    /// That the machine has come to an index.
    Index,
}

/// Waiting requests by sequence number, bounded.
pub(crate) struct Pending {
    node: NodeId,
    boot: u64,
    next: AtomicU64,
    requests_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, (Awaits, oneshot::Sender<Answer>)>,
    stopped: Option<String>,
}

impl Pending {
    pub(crate) fn new(node: NodeId, boot: u64, requests_max: usize) -> Pending {
        Pending { node, boot, next: AtomicU64::new(1), requests_max, state: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock was held left a map that is still a map.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Names a request and begins to wait for its answer; refuses where too many wait or the replica has stopped.
    pub(crate) fn register(&self, awaits: Awaits) -> Result<(RequestId, oneshot::Receiver<Answer>), Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if let Some(reason) = &state.stopped {
            return Err(Answer::Stopped(reason.clone()));
        }
        if state.waiting.len() >= self.requests_max {
            return Err(Answer::Refused(Refusal::Busy));
        }
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        state.waiting.insert(sequence, (awaits, sender));
        Ok((RequestId { origin: self.node, boot: self.boot, sequence }, receiver))
    }

    /// Answers requests; those that nobody waits for any more, and those of other nodes or lives, are passed over.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = (RequestId, Answer)>) {
        let mut state = self.lock();
        for (id, answer) in answers {
            if id.origin == self.node
                && id.boot == self.boot
                && let Some((_, sender)) = state.waiting.remove(&id.sequence)
            {
                // Nobody receives when the client gave up meanwhile.
                let _ = sender.send(answer);
            }
        }
    }

    /// Answers those that wait for an entry with an unknown outcome: a snapshot stands for entries that will never be
    /// applied here one by one.
    pub(crate) fn lose_track_of_entries(&self) {
        for (_, (_, sender)) in self.lock().waiting.extract_if(|_, (awaits, _)| *awaits == Awaits::Entry) {
            // Nobody receives when the client gave up meanwhile.
            let _ = sender.send(Answer::Unknown);
        }
    }

    /// Stops waiting for an answer.
    pub(crate) fn forget(&self, id: RequestId) {
        self.lock().waiting.remove(&id.sequence);
    }

    /// Answers everything, now and from now on, with the reason of the stop; the first reason stands.
    pub(crate) fn stop(&self, reason: &str) {
        let mut state = self.lock();
        let reason = state.stopped.get_or_insert_with(|| reason.to_owned()).clone();
        for (_, (_, sender)) in state.waiting.drain() {
            let _ = sender.send(Answer::Stopped(reason.clone()));
        }
    }

    /// Why the replica stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }
}
