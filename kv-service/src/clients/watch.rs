//! A watch's stream: changes in order of their revisions, as fast as the client reads them.
//!
//! ```text
//!   from ──▶ page of changes ──▶ frames ──▶ stream ─┐
//!    ▲                                              │ everything sent
//!    └───────── the machine announces more ◀────────┘
//! ```
//!
//! A page has whole revisions and so may be larger than a frame. The frames that it is cut into say how far they go: no
//! further than before the revision that the next one goes on with.

use std::time::Duration;

use bytes::Bytes;
use consensus_api::Tables;
use kv_client::wire::{Change, FrameError, FrameReader, Refused, WatchEvent, WatchRequest, append_frame};
use kv_machine::{KvError, ScanRange};
use tokio::time::timeout;
use transport_quic::{RecvStream, SendStream};

use super::{Shared, answers, convert, range};
use crate::service::{PresentError, Service};
use crate::watch::{WatchError, WatchPage, Watcher};

/// How long a client may take to say what it watches.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes that it may take to say so: more than any range that is not refused.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// A client whose range does not change hears this often, counted in revisions, how far its watch is.
const PROGRESS_EVERY: u64 = 1000;
/// The changes of one frame, in bytes, unless one alone has more.
pub(super) const FRAME_BYTES_AIM: usize = 256 << 10;

/// Why a watch is over.
enum Ended {
    /// The client reads no more.
    Left,
    /// This is to be its last event.
    With(WatchEvent),
}

impl Ended {
    fn failed(why: Refused, message: impl Into<String>) -> Ended {
        Ended::With(WatchEvent::Failed { why, message: message.into() })
    }
}

impl From<FrameError> for Ended {
    /// It cannot be encoded, here or anywhere else.
    fn from(error: FrameError) -> Ended {
        Ended::failed(Refused::TooLarge, error.to_string())
    }
}

/// Serves one watch until the client has enough, the node stops or the changes are not kept any more.
pub(super) async fn serve<T: Tables>(shared: Shared<T>, mut send: SendStream, mut receive: RecvStream) {
    let Ok(Some(request)) = timeout(PATIENCE, read(&mut receive)).await else { return };
    let stopped = send.stopped();
    tokio::select! {
        ended = follow(&shared.service, request, &mut send) => if let Ended::With(last) = ended {
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
    let mut bytes = 0;
    while bytes <= REQUEST_BYTES_MAX {
        if let Some(request) = frames.next_message().ok()? {
            return Some(request);
        }
        let chunk = stream.read_chunk(REQUEST_BYTES_MAX, true).await.ok()??;
        bytes += chunk.bytes.len();
        frames.push(&chunk.bytes);
    }
    None
}

/// Sends changes as they come, until that ends.
async fn follow<T: Tables>(service: &Service<T>, request: WatchRequest, send: &mut SendStream) -> Ended {
    match begin(service, request, send).await {
        Ok((watcher, from_revision)) => match tell(service, watcher, from_revision, send).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        },
        Err(ended) => ended,
    }
}

/// Begins the watch, and says so.
async fn begin<T: Tables>(
    service: &Service<T>,
    request: WatchRequest,
    send: &mut SendStream,
) -> Result<(Watcher<T>, u64), Ended> {
    let range = range::checked(request.start, request.end, &service.limits);
    let range: ScanRange = range.map_err(|error| Ended::failed(Refused::TooLarge, error.to_string()))?;
    let from_revision = match request.from_revision {
        Some(revision) => revision,
        None => service.present_revision().await.map_err(not_present)? + 1,
    };
    let watcher = service.watches.watch(&service.kv, range, from_revision).await;
    let watcher = watcher.map_err(|error| last(service, error))?;
    write(send, &WatchEvent::Started { from_revision }).await?;
    Ok((watcher, from_revision))
}

async fn tell<T: Tables>(
    service: &Service<T>,
    mut watcher: Watcher<T>,
    from_revision: u64,
    send: &mut SendStream,
) -> Result<std::convert::Infallible, Ended> {
    let mut told = from_revision;
    loop {
        let page = watcher.next_page().await.map_err(|error| last(service, error))?;
        if !page.changes.is_empty() || page.reached >= told.saturating_add(PROGRESS_EVERY) {
            told = page.reached;
            for event in events(page) {
                write(send, &event).await?;
            }
        }
    }
}

/// The page's events, each of which a frame has room for.
pub(super) fn events(page: WatchPage) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for change in page.changes {
        let more = change_bytes(&change);
        if bytes + more > FRAME_BYTES_AIM && !changes.is_empty() {
            // Perhaps all of the revision before was sent; that all of this one was would be a lie.
            let through = change.revision - 1;
            events.push(WatchEvent::Changes { changes: std::mem::take(&mut changes), through });
            bytes = 0;
        }
        bytes += more;
        changes.push(self::change(change));
    }
    events.push(WatchEvent::Changes { changes, through: page.reached });
    events
}

/// About what a change takes in a frame.
fn change_bytes(change: &kv_machine::Change) -> usize {
    const FLAT: usize = 64;
    FLAT + change.key.0.len() + change.item.as_ref().map_or(0, |item| item.value.0.len())
}

fn not_present(error: PresentError) -> Ended {
    match error {
        PresentError::Log(error) => match answers::of_read(&error) {
            kv_client::wire::Failure::Refused { why, message } => Ended::failed(why, message),
            // A read never fails otherwise.
            other => Ended::failed(Refused::Internal, format!("{other:?}")),
        },
        PresentError::Tables(error) => broken(&error),
    }
}

fn broken(error: &KvError) -> Ended {
    Ended::failed(Refused::Internal, error.to_string())
}

/// What a watch ends with.
fn last<T: Tables>(service: &Service<T>, error: WatchError) -> Ended {
    match error {
        WatchError::Compacted { first_revision } => Ended::With(WatchEvent::Compacted { first: first_revision }),
        WatchError::Tables(error) => {
            service.stop_if_broken(&error);
            broken(&error)
        }
        WatchError::TooMany => Ended::failed(Refused::Busy, error.to_string()),
        WatchError::Stopping => Ended::failed(Refused::Stopping, error.to_string()),
    }
}

fn change(change: kv_machine::Change) -> Change {
    Change { revision: change.revision, key: change.key, item: change.item.map(convert::item) }
}

async fn write(send: &mut SendStream, event: &WatchEvent) -> Result<(), Ended> {
    let mut frame = Vec::new();
    append_frame(event, &mut frame)?;
    send.write_chunk(Bytes::from(frame)).await.map_err(|_| Ended::Left)
}
