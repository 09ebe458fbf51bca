//! Takes messages from the transport, decodes them beside the engine's task, and passes them on in order.

use std::sync::Arc;

use consensus_api::{Engine, NodeId, Transport, codec};
use tokio::sync::mpsc::Sender;

/// A peer's message.
pub(crate) struct FromPeer<M> {
    pub(crate) from: NodeId,
    pub(crate) message: M,
}

/// Receives until the transport is closed or the engine is gone. Where the engine is slower than the peers this waits,
/// and the transport's own flow control holds them back.
pub(crate) async fn run<E: Engine, T: Transport>(transport: Arc<T>, inbox: Sender<FromPeer<E::Message>>) {
    let mut batch = Vec::new();
    while transport.receive(&mut batch).await {
        for incoming in batch.drain(..) {
            match codec::decode::<E::Message>(&incoming.payload) {
                Ok(message) => {
                    if inbox.send(FromPeer { from: incoming.from, message }).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(from = incoming.from.0, lane = ?incoming.lane, %error, "message dropped"),
            }
        }
    }
}
