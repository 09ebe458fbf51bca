//! What waits to be sent to one peer: a bounded queue per stream, and the task that writes it out.
//!
//! ```text
//!   send ──▶ queue (full or link down: dropped and counted) ──▶ writer: takes all that waits, one buffer, one write
//!
//!   replication, spread over three streams:    1 4 7 ══▶   each message goes to the next one's queue;
//!                                              2 5 8 ══▶   where a packet of 1 4 7 is lost, 2 3 5 6 …
//!                                              3 6 9 ══▶   arrive all the same
//! ```
//!
//! A lane is one stream, but for replication where that is wanted.
//!
//! Nothing is kept for a peer that is not connected: what an engine said to a peer that was gone for a while is stale,
//! and the engine says it anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    lanes: [Streams; Lane::ALL.len()],
    message_bytes_max: usize,
    counters: Arc<Counters>,
}

/// The queues of a lane, one for each of its streams.
#[derive(Debug)]
struct Streams {
    queues: Vec<StreamQueue>,
    /// Whose turn it is.
    turn: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct StreamQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    open: bool,
}

impl Lanes {
    pub(crate) fn new(peer: NodeId, limits: &TransportLimits, counters: &Arc<Counters>) -> Lanes {
        let lanes = Lane::ALL.map(|lane| Streams::new(limits.streams(lane), limits.queue_bytes_max(lane)));
        Lanes { peer, lanes, message_bytes_max: limits.frame_bytes_max, counters: Arc::clone(counters) }
    }

    /// Queues a message, or drops it.
    pub(crate) fn send(&self, lane: Lane, payload: Bytes) {
        let streams = &self.lanes[lane as usize];
        let too_large = payload.len() > self.message_bytes_max;
        if !too_large && streams.next().push(payload) {
            return;
        }
        self.counters.dropped(lane);
        let dropped = streams.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        // Each time the count doubles: a log that a flood cannot flood.
        if dropped.is_power_of_two() {
            warn!(peer = self.peer.0, ?lane, dropped, too_large, "messages dropped");
        }
    }

    /// How many messages of each lane were dropped while the peer was connected, or because they were too large.
    pub(crate) fn dropped(&self) -> [u64; Lane::ALL.len()] {
        std::array::from_fn(|index| self.lanes[index].dropped.load(Ordering::Relaxed))
    }

    /// The link is there: from now on messages wait to be written.
    pub(crate) fn open(&self) {
        self.queues().for_each(|queue| lock(&queue.waiting).open = true);
    }

    /// The link is gone: what waits is dropped, and so is what comes.
    pub(crate) fn shut(&self) {
        self.queues().for_each(|queue| *lock(&queue.waiting) = Waiting::default());
    }

    fn queues(&self) -> impl Iterator<Item = &StreamQueue> {
        self.lanes.iter().flat_map(|lane| &lane.queues)
    }
}

impl Streams {
    /// So many streams share what may wait on the lane.
    fn new(count: usize, bytes_max: usize) -> Streams {
        let queue = |_| StreamQueue { waiting: Mutex::default(), filled: Notify::new(), bytes_max: bytes_max / count };
        Streams { queues: (0..count).map(queue).collect(), turn: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    fn next(&self) -> &StreamQueue {
        match &self.queues[..] {
            [only] => only,
            several => &several[self.turn.fetch_add(1, Ordering::Relaxed) % several.len()],
        }
    }
}

impl StreamQueue {
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

/// Opens the streams of all lanes and writes each until the connection ends, or the future is dropped.
pub(crate) async fn write_all(context: &SharedContext, connection: &Connection, lanes: &Arc<Lanes>) {
    let mut writers = JoinSet::new();
    for (lane, priority) in Lane::ALL.into_iter().zip([3, 2, 1, 0]) {
        for number in 0..lanes.lanes[lane as usize].queues.len() {
            let Ok(stream) = connection.open_uni().await else { return };
            // Fails only on a stream that was reset, and this one is new.
            let _ = stream.set_priority(priority);
            let (context, lanes) = (Arc::clone(context), Arc::clone(lanes));
            writers.spawn(async move {
                let queue = &lanes.lanes[lane as usize].queues[number];
                write_stream(&context, lane, queue, stream).await
            });
        }
    }
    lanes.open();
    // A stream that has nothing to write does not notice that the connection is gone.
    tokio::select! {
        _ = writers.join_next() => {}
        _ = connection.closed() => {}
    }
}

async fn write_stream(
    context: &SharedContext,
    lane: Lane,
    queue: &StreamQueue,
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
        assert!(!lanes.lanes[Lane::Control as usize].queues[0].try_take(&mut Vec::new()));
        lanes.send(Lane::Control, Bytes::from_static(b"stale"));
        lanes.shut();
        lanes.open();
        assert!(!lanes.lanes[Lane::Control as usize].queues[0].try_take(&mut Vec::new()));
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

    #[test]
    fn messages_of_a_lane_with_several_streams_take_them_in_turn_and_share_its_bound() {
        let limits = TransportLimits { replication_streams: 3, ..TransportLimits::default() };
        let lanes = Lanes::new(NodeId(2), &limits, &Arc::default());
        lanes.open();
        for number in 0..7 {
            lanes.send(Lane::Replication, Bytes::from(vec![number]));
        }
        let queues = &lanes.lanes[Lane::Replication as usize].queues;
        let taken = queues.iter().map(|queue| {
            let mut batch = Vec::new();
            queue.try_take(&mut batch);
            batch.iter().map(|message| message[0]).collect::<Vec<_>>()
        });
        assert_eq!(taken.collect::<Vec<_>>(), [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
        assert_eq!(queues[0].bytes_max, limits.command_queue_bytes_max / 3);
        assert_eq!(lanes.lanes[Lane::Control as usize].queues.len(), 1);
    }
}
