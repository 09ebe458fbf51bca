//! A transport that counts what it is given to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use consensus_api::{Incoming, Lane, Membership, NodeId, Transport};

/// How much was sent, by one node or by several.
#[derive(Debug, Default)]
pub struct Sent {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Sent {
    /// Messages and bytes so far, as the engine made them: without framing, encryption and acknowledgements.
    pub fn so_far(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Counts what goes through a transport.
pub struct Counted<T> {
    inner: Arc<T>,
    sent: Arc<Sent>,
}

impl<T> Counted<T> {
    /// Counts in `sent`.
    pub fn new(inner: Arc<T>, sent: Arc<Sent>) -> Counted<T> {
        Counted { inner, sent }
    }
}

#[async_trait::async_trait]
impl<T: Transport> Transport for Counted<T> {
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) {
        self.sent.messages.fetch_add(1, Ordering::Relaxed);
        self.sent.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        self.inner.send(to, lane, payload);
    }

    async fn receive(&self, batch: &mut Vec<Incoming>) -> bool {
        self.inner.receive(batch).await
    }

    fn set_membership(&self, membership: &Membership) {
        self.inner.set_membership(membership);
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
