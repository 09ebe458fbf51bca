//! A watch's stream: changes in order of their revisions, as fast as the client reads them.
//!
//! ```text
//!   from ──▶ page of changes ──▶ stream ─┐
//!    ▲                                   │ everything sent
//!    └── the machine announces more ◀────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::Tables;
use kv_client::protocol::Consistency;
use kv_client::wire::{Change, FrameReader, WatchEvent, WatchRequest, append_frame};
use kv_machine::{ChangeLimits, Changes, KvError, ScanRange};
use tokio::time::timeout;
use transport_quic::{RecvStream, SendStream};

use super::connection::stop_if_broken;
use super::{Shared, convert};
use crate::service::Service;

/// How long a client may take to say what it watches.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much is read at a time.
const PAGE: ChangeLimits = ChangeLimits { changes_max: 1000, bytes_max: 1 << 20 };
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
async fn follow<T: Tables>(mut shared: Shared<T>, request: WatchRequest, send: &mut SendStream) -> Option<WatchEvent> {
    let failed = |message: String| Some(WatchEvent::Failed { message });
    let range = ScanRange::between(request.start.0, request.end.map(|end| end.0));
    let mut from = match request.from_revision {
        Some(revision) => revision,
        None => match now(&shared.service).await {
            Ok(revision) => revision + 1,
            Err(message) => return failed(message),
        },
    };
    write(send, &WatchEvent::Started { from_revision: from }).await?;
    let mut told = from;
    loop {
        match page(&shared.service, range.clone(), from).await {
            Ok(Changes::Page { changes, next_revision }) => {
                if !changes.is_empty() || next_revision >= told.saturating_add(PROGRESS_EVERY) {
                    told = next_revision;
                    let changes = changes.into_iter().map(change).collect();
                    write(send, &WatchEvent::Changes { changes, through: next_revision - 1 }).await?;
                }
                from = next_revision;
            }
            Ok(Changes::Compacted { first_revision }) => return Some(WatchEvent::Compacted { first: first_revision }),
            Err(message) => return failed(message),
        }
        tokio::select! {
            grown = shared.revisions.wait_for(|revision| *revision >= from) => if grown.is_err() {
                return failed("the machine has stopped".to_owned());
            },
            _ = shared.stopping.wait_for(|stopping| *stopping) => return failed("the node is stopping".to_owned()),
        }
    }
}

/// The revision that everything acknowledged by now is part of.
async fn now<T: Tables>(service: &Service<T>) -> Result<u64, String> {
    let fresh = service.freshen(Consistency::Linearizable, service.request_timeout).await;
    fresh.map_err(|error| error.to_string())?;
    service.kv.revision().map_err(|error| broken(service, &error))
}

async fn page<T: Tables>(service: &Arc<Service<T>>, range: ScanRange, from: u64) -> Result<Changes, String> {
    let kv = service.kv.clone();
    // A page may take milliseconds, too long for a thread that others wait for.
    let page = tokio::task::spawn_blocking(move || kv.changes(&range, from, PAGE)).await;
    page.map_err(|error| error.to_string())?.map_err(|error| broken(service, &error))
}

fn broken<T: Tables>(service: &Service<T>, error: &KvError) -> String {
    stop_if_broken(service, error);
    error.to_string()
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
