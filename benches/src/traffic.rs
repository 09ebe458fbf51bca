//! Two transports of this process and what goes over a lane between them.
//!
//! ```text
//!   one ──payloads, so many bytes ahead at most──▶ two: counts ──▶ one goes on
//!   one ──────────────────payload────────────────▶ two ──the same payload──▶ one
//! ```

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Lane, NodeId, Transport};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use transport_quic::QuicTransport;

use crate::replicas::Failure;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
/// How far the sender may be ahead: below what may wait for a peer on any lane, so that nothing is dropped.
const AHEAD_BYTES_MAX: u64 = 2 << 20;

/// Payloads one way, counted where they arrive.
pub struct OneWay {
    sender: QuicTransport,
    sent_bytes: u64,
    arrived_bytes: watch::Receiver<u64>,
    receiving: JoinHandle<()>,
}

impl OneWay {
    /// From the first of a pair to the second.
    pub fn over((one, two): (QuicTransport, QuicTransport)) -> OneWay {
        let (count, arrived_bytes) = watch::channel(0);
        let receiving = tokio::spawn(async move {
            let mut batch = Vec::new();
            while two.receive(&mut batch).await {
                let bytes: usize = batch.drain(..).map(|incoming| incoming.payload.len()).sum();
                count.send_modify(|total| *total += bytes as u64);
            }
        });
        OneWay { sender: one, sent_bytes: 0, arrived_bytes, receiving }
    }

    /// Sends `payload` so many times, and waits until all have arrived.
    ///
    /// # Errors
    /// The receiving transport is closed.
    pub async fn send(&mut self, lane: Lane, payload: &Bytes, times: u64) -> Result<(), Failure> {
        for _ in 0..times {
            self.sent_bytes += payload.len() as u64;
            let enough = self.sent_bytes.saturating_sub(AHEAD_BYTES_MAX);
            if *self.arrived_bytes.borrow() < enough {
                self.arrived_bytes.wait_for(|arrived| *arrived >= enough).await?;
            }
            self.sender.send(TWO, lane, payload.clone());
        }
        let all = self.sent_bytes;
        self.arrived_bytes.wait_for(|arrived| *arrived >= all).await?;
        Ok(())
    }
}

impl Drop for OneWay {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

/// Payloads there and back.
pub struct Echo {
    near: QuicTransport,
    answering: JoinHandle<()>,
}

impl Echo {
    /// From the first of a pair to the second and back.
    pub fn over((near, far): (QuicTransport, QuicTransport)) -> Echo {
        let far = Arc::new(far);
        let answering = tokio::spawn(async move {
            let mut batch = Vec::new();
            while far.receive(&mut batch).await {
                batch.drain(..).for_each(|incoming| far.send(ONE, incoming.lane, incoming.payload));
            }
        });
        Echo { near, answering }
    }

    /// Sends `payload` and waits until it is back.
    ///
    /// # Errors
    /// The transport is closed.
    pub async fn round_trip(&self, lane: Lane, payload: &Bytes) -> Result<(), Failure> {
        let mut back = Vec::new();
        self.near.send(TWO, lane, payload.clone());
        if self.near.receive(&mut back).await { Ok(()) } else { Err("the transport is closed".into()) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.answering.abort();
    }
}
