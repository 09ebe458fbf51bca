//! A watch's stream: changes in order of their revisions, as fast as the client reads them.
//!
//! ```text
//!   from ──▶ page of changes ──▶ stream ─┐
//!    ▲                                   │ everything sent
//!    └── the machine announces more ◀────┘
//! ```

use std::time::Duration;

use bytes::Bytes;
use consensus_api::Tables;
use kv_client::protocol::Consistency;
use kv_client::wire::{Change, FrameReader, WatchEvent, WatchRequest, append_frame};
use kv_machine::ScanRange;
use tokio::time::timeout;
use transport_quic::{RecvStream, SendStream};

use super::{Shared, convert};
use crate::service::Service;
use crate::watch::{WatchError, WatchPage};

/// How long a client may take to say what it watches.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client whose range does not change hears this often, counted in revisions, how far its watch is.
const PROGRESS_EVERY: u64 = 1000;

/// Serves one watch until the client has enough, the node stops or the changes are not kept any more.
pub(super) async fn serve<T: Tables>(shared: Shared<T>, mut send: SendStream, mut receive: RecvStream) {
    let Ok(Some(request)) = timeout(PATIENCE, read(&mut receive)).await else { return };
    let stopped = send.stopped();
    tokio::select! {
        last = follow(shared, request, &mut send) => if let Some(last) = last {
            // Where it cannot be written nobody reads it.
            let _ = write(&mut send, &last).await;
            let _ = send.finish();
        },
        // The client has enough.
        _ = stopped => {}
    }
}

/// What the client watches; `None` where it says nothing that makes sense.
async fn read(stream: &mut RecvStream) -> Option<WatchRequest> {
    let mut frames = FrameReader::new();
    loop {
        if let Some(request) = frames.next_message().ok()? {
            return Some(request);
        }
        frames.push(&stream.read_chunk(usize::MAX, true).await.ok()??.bytes);
    }
}

/// Sends changes as they come; returns the last event, where there is one to send.
async fn follow<T: Tables>(shared: Shared<T>, request: WatchRequest, send: &mut SendStream) -> Option<WatchEvent> {
    let service = &shared.service;
    let range = ScanRange::between(request.start.0, request.end.map(|end| end.0));
    let from_revision = match request.from_revision {
        Some(revision) => revision,
        None => match present(service).await {
            Ok(revision) => revision + 1,
            Err(message) => return Some(WatchEvent::Failed { message }),
        },
    };
    let mut watcher = match service.watches.watch(&service.kv, range, from_revision).await {
        Ok(watcher) => watcher,
        Err(error) => return Some(last(service, error)),
    };
    write(send, &WatchEvent::Started { from_revision }).await?;
    let mut told = from_revision;
    loop {
        match watcher.next_page().await {
            Ok(WatchPage { changes, reached }) => {
                if !changes.is_empty() || reached >= told.saturating_add(PROGRESS_EVERY) {
                    told = reached;
                    let changes = changes.into_iter().map(change).collect();
                    write(send, &WatchEvent::Changes { changes, through: reached }).await?;
                }
            }
            Err(error) => return Some(last(service, error)),
        }
    }
}

/// The revision that everything acknowledged by now is part of.
async fn present<T: Tables>(service: &Service<T>) -> Result<u64, String> {
    let fresh = service.freshen(Consistency::Linearizable, service.request_timeout).await;
    fresh.map_err(|error| error.to_string())?;
    service.kv.revision().map_err(|error| {
        service.stop_if_broken(&error);
        error.to_string()
    })
}

/// What a watch ends with.
fn last<T: Tables>(service: &Service<T>, error: WatchError) -> WatchEvent {
    match error {
        WatchError::Compacted { first_revision } => WatchEvent::Compacted { first: first_revision },
        WatchError::Tables(error) => {
            service.stop_if_broken(&error);
            WatchEvent::Failed { message: error.to_string() }
        }
        WatchError::TooMany | WatchError::Stopping => WatchEvent::Failed { message: error.to_string() },
    }
}

fn change(change: kv_machine::Change) -> Change {
    Change { revision: change.revision, key: change.key, item: change.item.map(convert::item) }
}

/// `None` where the client reads no more.
async fn write(send: &mut SendStream, event: &WatchEvent) -> Option<()> {
    let mut frame = Vec::new();
    append_frame(event, &mut frame).ok()?;
    send.write_chunk(Bytes::from(frame)).await.ok()
}
