//! Takes messages from the transport, decodes them beside the engine's task, and passes them on in order: those of the
//! bulk lane to the transfers, all others to the engine.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use consensus_api::{Engine, Incoming, Lane, NodeId, Transport, codec};
use tokio::sync::mpsc::Sender;

use crate::snapshots::Task;
use crate::transfer::TransferMessage;

/// A peer's message.
pub(crate) struct FromPeer<M> {
    pub(crate) from: NodeId,
    pub(crate) message: M,
}

/// Receives until the transport is closed or the engine is gone. Where the engine is slower than the peers this waits,
/// and the transport's own flow control holds them back.
pub(crate) async fn run<E: Engine, T: Transport>(
    transport: Arc<T>,
    inbox: Sender<FromPeer<E::Message>>,
    tasks: SyncSender<Task>,
) {
    let mut batch = Vec::new();
    while transport.receive(&mut batch).await {
        for incoming in batch.drain(..) {
            if incoming.lane == Lane::Bulk {
                pass_to_transfers(&incoming, &tasks);
                continue;
            }
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

/// Never waits: a transfer asks again for what is dropped, and the engine's messages must not queue behind a slow disk.
fn pass_to_transfers(incoming: &Incoming, tasks: &SyncSender<Task>) {
    match codec::decode::<TransferMessage>(&incoming.payload) {
        Ok(message) => {
            let _ = tasks.try_send(Task::Message { from: incoming.from, message });
        }
        Err(error) => tracing::warn!(from = incoming.from.0, lane = ?incoming.lane, %error, "message dropped"),
    }
}
