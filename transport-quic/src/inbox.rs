//! What has arrived and was not received yet: one bounded queue per lane.
//!
//! ```text
//!   stream readers ── deliver ──▶ │ control     │ ──┐
//!   (wait while their lane        │ replication │   ├── receive: everything, the most urgent lane first
//!    is full, and so QUIC         │ requests    │   │
//!    slows the sender down)       │ bulk        │ ──┘
//! ```

use std::collections::VecDeque;
use std::sync::Mutex;

use consensus_api::{Incoming, Lane};
use tokio::sync::Notify;

use crate::frame::HEADER_BYTES;
use crate::locks::lock;

/// The queues of all lanes.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    space: [Notify; Lane::ALL.len()],
    lane_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    queues: [Queue; Lane::ALL.len()],
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Incoming>,
    bytes: usize,
}

impl Inbox {
    /// A reader waits while its lane holds this many bytes or more.
    pub(crate) fn new(lane_bytes_max: usize) -> Inbox {
        Inbox { state: Mutex::default(), arrived: Notify::new(), space: Default::default(), lane_bytes_max }
    }

    /// Queues these messages of one lane, as soon as there is room; the queue may exceed its bound by this one batch
    /// of each reader.
    pub(crate) async fn deliver(&self, lane: Lane, batch: &mut Vec<Incoming>) {
        let index = lane as usize;
        loop {
            // Before the look, so that room that is made in between is not missed.
            let space = self.space[index].notified();
            if self.try_deliver(index, batch) {
                return;
            }
            space.await;
        }
    }

    fn try_deliver(&self, index: usize, batch: &mut Vec<Incoming>) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            batch.clear();
            return true;
        }
        let queue = &mut state.queues[index];
        if queue.bytes >= self.lane_bytes_max {
            return false;
        }
        queue.bytes += batch.iter().map(|message| HEADER_BYTES + message.payload.len()).sum::<usize>();
        queue.messages.extend(batch.drain(..));
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Waits for something and takes everything; false once closed. Only one task may call it.
    pub(crate) async fn receive(&self, batch: &mut Vec<Incoming>) -> bool {
        loop {
            match self.take(batch) {
                Some(0) => self.arrived.notified().await,
                Some(_) => return true,
                None => return false,
            }
        }
    }

    /// How many messages were there; `None` once closed.
    fn take(&self, batch: &mut Vec<Incoming>) -> Option<usize> {
        let before = batch.len();
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        for (queue, space) in state.queues.iter_mut().zip(&self.space) {
            batch.extend(queue.messages.drain(..));
            if std::mem::take(&mut queue.bytes) >= self.lane_bytes_max {
                space.notify_waiters();
            }
        }
        Some(batch.len() - before)
    }

    /// Ends `receive`; what is there is dropped.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.queues = Default::default();
        drop(state);
        self.arrived.notify_one();
        self.space.iter().for_each(Notify::notify_waiters);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use consensus_api::NodeId;

    use super::*;

    fn message(lane: Lane, bytes: usize) -> Incoming {
        Incoming { from: NodeId(2), lane, payload: Bytes::from(vec![0; bytes]) }
    }

    #[tokio::test]
    async fn a_full_lane_makes_its_readers_wait_and_no_others() {
        let inbox = Inbox::new(1000);
        inbox.deliver(Lane::Bulk, &mut vec![message(Lane::Bulk, 1000)]).await;
        let mut second = vec![message(Lane::Bulk, 1)];
        let mut urgent = vec![message(Lane::Control, 1)];
        tokio::select! {
            biased;
            () = inbox.deliver(Lane::Bulk, &mut second) => panic!("the bulk lane was full"),
            () = inbox.deliver(Lane::Control, &mut urgent) => {}
        }
        let mut batch = Vec::new();
        assert!(inbox.receive(&mut batch).await);
        assert_eq!(batch.iter().map(|message| message.lane).collect::<Vec<_>>(), [Lane::Control, Lane::Bulk]);
        inbox.deliver(Lane::Bulk, &mut second).await;
        assert!(second.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_waits_goes_on_when_there_is_room() {
        let inbox = Inbox::new(10);
        inbox.deliver(Lane::Bulk, &mut vec![message(Lane::Bulk, 10)]).await;
        let mut second = vec![message(Lane::Bulk, 7)];
        let mut batch = Vec::new();
        tokio::join!(inbox.deliver(Lane::Bulk, &mut second), async {
            assert!(inbox.receive(&mut batch).await);
        });
        assert!(inbox.receive(&mut batch).await);
        assert_eq!(batch.iter().map(|message| message.payload.len()).collect::<Vec<_>>(), [10, 7]);
    }
}
