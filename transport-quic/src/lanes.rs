//! What waits to be sent to one peer: a bounded queue per lane, and the task that writes it out.
//!
//! ```text
//!   send ──▶ queue (full or link down: dropped and counted) ──▶ writer: takes all that waits, one buffer, one write
//! ```
//!
//! Nothing is kept for a peer that is not connected: what an engine said to a peer that was gone for a while is stale,
//! and the engine says it anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use consensus_api::{Lane, NodeId};
use quinn::{Connection, SendStream, WriteError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::warn;

use crate::config::TransportLimits;
use crate::context::SharedContext;
use crate::counters::Counters;
use crate::frame::{self, HEADER_BYTES};
use crate::locks::lock;

/// About as much goes into one write. QUIC keeps a write in one piece until all of it is acknowledged.
const WRITE_BYTES: usize = 256 << 10;

/// The queues of one peer.
#[derive(Debug)]
pub(crate) struct Lanes {
    peer: NodeId,
    queues: [LaneQueue; Lane::ALL.len()],
    message_bytes_max: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct LaneQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    bytes_max: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    open: bool,
}

impl Lanes {
    pub(crate) fn new(peer: NodeId, limits: &TransportLimits, counters: &Arc<Counters>) -> Lanes {
        let queue = |lane: Lane| LaneQueue {
            waiting: Mutex::default(),
            filled: Notify::new(),
            bytes_max: limits.queue_bytes_max(lane),
            dropped: AtomicU64::new(0),
        };
        Lanes {
            peer,
            queues: Lane::ALL.map(queue),
            message_bytes_max: limits.frame_bytes_max,
            counters: Arc::clone(counters),
        }
    }

    /// Queues a message, or drops it.
    pub(crate) fn send(&self, lane: Lane, payload: Bytes) {
        let queue = &self.queues[lane as usize];
        let too_large = payload.len() > self.message_bytes_max;
        if !too_large && queue.push(payload) {
            return;
        }
        self.counters.dropped(lane);
        let dropped = queue.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        // Each time the count doubles: a log that a flood cannot flood.
        if dropped.is_power_of_two() {
            warn!(peer = self.peer.0, ?lane, dropped, too_large, "messages dropped");
        }
    }

    /// How many messages of each lane were dropped while the peer was connected, or because they were too large.
    pub(crate) fn dropped(&self) -> [u64; Lane::ALL.len()] {
        std::array::from_fn(|index| self.queues[index].dropped.load(Ordering::Relaxed))
    }

    /// The link is there: from now on messages wait to be written.
    pub(crate) fn open(&self) {
        self.queues.iter().for_each(|queue| lock(&queue.waiting).open = true);
    }

    /// The link is gone: what waits is dropped, and so is what comes.
    pub(crate) fn shut(&self) {
        self.queues.iter().for_each(|queue| *lock(&queue.waiting) = Waiting::default());
    }
}

impl LaneQueue {
    /// False if the queue is full. A message that finds the queue empty always fits.
    fn push(&self, payload: Bytes) -> bool {
        let bytes = HEADER_BYTES + payload.len();
        let mut waiting = lock(&self.waiting);
        if !waiting.open {
            // Gone, not refused: the peer is unreachable, and that is seen elsewhere.
            return true;
        }
        if waiting.bytes + bytes > self.bytes_max && !waiting.messages.is_empty() {
            return false;
        }
        waiting.bytes += bytes;
        waiting.messages.push_back(payload);
        let first = waiting.messages.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        true
    }

    /// Waits for messages and takes about [`WRITE_BYTES`] of them.
    async fn take(&self, batch: &mut Vec<Bytes>) {
        loop {
            if self.try_take(batch) {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn try_take(&self, batch: &mut Vec<Bytes>) -> bool {
        let mut waiting = lock(&self.waiting);
        let mut taken = 0;
        while taken < WRITE_BYTES {
            let Some(message) = waiting.messages.pop_front() else { break };
            taken += HEADER_BYTES + message.len();
            batch.push(message);
        }
        waiting.bytes -= taken;
        !batch.is_empty()
    }
}

/// Opens one stream per lane and writes each until the connection ends, or the future is dropped.
pub(crate) async fn write_all(context: &SharedContext, connection: &Connection, lanes: &Arc<Lanes>) {
    let mut writers = JoinSet::new();
    for (lane, priority) in Lane::ALL.into_iter().zip([3, 2, 1, 0]) {
        let Ok(stream) = connection.open_uni().await else { return };
        // Fails only on a stream that was reset, and this one is new.
        let _ = stream.set_priority(priority);
        let (context, lanes) = (Arc::clone(context), Arc::clone(lanes));
        writers.spawn(async move { write_lane(&context, lane, &lanes.queues[lane as usize], stream).await });
    }
    lanes.open();
    // A lane that has nothing to write does not notice that the connection is gone.
    tokio::select! {
        _ = writers.join_next() => {}
        _ = connection.closed() => {}
    }
}

async fn write_lane(
    context: &SharedContext,
    lane: Lane,
    queue: &LaneQueue,
    mut stream: SendStream,
) -> Result<(), WriteError> {
    let mut batch = Vec::new();
    loop {
        queue.take(&mut batch).await;
        // Not stamped yet: there is nothing to be said, and no name under which to say it.
        let Some(scope) = context.scope() else {
            batch.clear();
            continue;
        };
        context.counters.sent(lane, &batch);
        let bytes = batch.iter().map(|message| HEADER_BYTES + message.len()).sum();
        let mut buffer = BytesMut::with_capacity(bytes);
        for message in batch.drain(..) {
            frame::encode(&scope, lane, &message, &mut buffer);
        }
        stream.write_chunk(buffer.freeze()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Lanes {
        let limits = TransportLimits { frame_bytes_max: 1000, ..TransportLimits::default() };
        Lanes::new(NodeId(2), &limits, &Arc::default())
    }

    #[test]
    fn nothing_waits_for_a_peer_that_is_not_connected() {
        let lanes = lanes();
        lanes.send(Lane::Control, Bytes::from_static(b"early"));
        lanes.open();
        assert!(!lanes.queues[Lane::Control as usize].try_take(&mut Vec::new()));
        lanes.send(Lane::Control, Bytes::from_static(b"stale"));
        lanes.shut();
        lanes.open();
        assert!(!lanes.queues[Lane::Control as usize].try_take(&mut Vec::new()));
    }

    #[test]
    fn a_full_queue_drops_what_comes_and_counts_it() {
        let lanes = lanes();
        lanes.open();
        let payload = Bytes::from(vec![0; 1000]);
        let fit = TransportLimits::default().queue_bytes_max(Lane::Control) / (1000 + HEADER_BYTES);
        for _ in 0..fit + 3 {
            lanes.send(Lane::Control, payload.clone());
        }
        assert_eq!(lanes.dropped(), [3, 0, 0, 0]);
    }

    #[test]
    fn a_message_over_the_frame_limit_is_dropped_and_counted() {
        let lanes = lanes();
        lanes.open();
        lanes.send(Lane::Bulk, Bytes::from(vec![0; 1001]));
        assert_eq!(lanes.dropped(), [0, 0, 0, 1]);
    }
}
