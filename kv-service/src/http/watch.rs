//! `GET /v1/watch?prefix=&from_revision=`: every change of the keys with a prefix, as server-sent events.
//!
//! ```text
//!   event: progress     data: {"revision":6}              it begins behind 6; and again where long nothing was to be said
//!   event: put          data: {"revision":7,"key":…}      id: 7.0   the first of several changes at revision 7
//!   event: delete       data: {"revision":7,"key":…}      id: 7     the last one: all of revision 7 was sent
//!   event: compacted    data: {"first_revision":9}        the watch fell behind, and ends
//! ```
//!
//! An `id` says where to go on, and an `EventSource` sends it by itself as `Last-Event-ID` when it connects again, to
//! whichever node. `7` is everything up to revision 7. `7.0` is in the midst of it, behind the first of its changes under
//! this prefix; their order is the same on every node. So nothing is lost, and nothing comes twice.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use consensus_api::Tables;
use futures_util::{Stream, stream};
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use kv_client::Base64;
use kv_client::protocol::{
    CompactedEvent, DeleteEvent, FROM_REVISION_PARAMETER, LAST_EVENT_ID_HEADER, PREFIX_PARAMETER, ProgressEvent,
    PutEvent, WatchEvent,
};
use kv_machine::{Change, ScanRange};
use tokio::time::Instant;

use super::context::Context;
use super::errors::ApiError;
use super::headers::{single, whole};
use super::query::Query;
use super::sessions::none_for_a_read;
use crate::service::PresentError;
use crate::watch::{WatchError, WatchPage, Watcher};

/// A watch that has nothing to say says how far it has come, at least this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// Answers a watch.
pub(super) async fn watch<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[PREFIX_PARAMETER, FROM_REVISION_PARAMETER])?;
    none_for_a_read(request.headers())?;
    let from_revision = query.number(FROM_REVISION_PARAMETER)?;
    let start = match (Start::resumed(request.headers())?, from_revision) {
        (Some(start), _) => start,
        (None, Some(revision)) => Start { revision, skipped: 0 },
        (None, None) => Start { revision: present(&context).await? + 1, skipped: 0 },
    };
    let range = ScanRange::prefix(query.bytes(PREFIX_PARAMETER).unwrap_or_default());
    let service = &context.service;
    let watcher = service.watches.watch(&service.kv, range, start.revision).await;
    let watcher = watcher.map_err(|error| refusal(&context, error))?;
    let mut response = Response::new(Body::from_stream(events(context, watcher, start, PROGRESS_INTERVAL)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The revision that stands now, as of a linearizable read: a write that is acknowledged before is not told.
async fn present<T: Tables>(context: &Context<T>) -> Result<u64, ApiError> {
    context.service.present_revision().await.map_err(|error| match error {
        PresentError::Log(error) => ApiError::of_read(error, context.leader()),
        PresentError::Tables(error) => ApiError::from(error),
    })
}

fn refusal<T: Tables>(context: &Context<T>, error: WatchError) -> ApiError {
    let message = error.to_string();
    match error {
        WatchError::TooMany => ApiError::too_busy(message),
        WatchError::Compacted { first_revision } => ApiError::compacted(message, first_revision),
        WatchError::Stopping => ApiError::stopping(message),
        WatchError::Tables(error) => context.failed_read(error),
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) revision: u64,
    /// How many changes of that revision were told already.
    pub(super) skipped: usize,
}

impl Start {
    /// Behind the event with the id that `Last-Event-ID` gives.
    fn resumed(headers: &HeaderMap) -> Result<Option<Start>, ApiError> {
        let Some(id) = single(headers, LAST_EVENT_ID_HEADER)?.filter(|id| !id.is_empty()) else { return Ok(None) };
        let start = match id.split_once('.') {
            None => {
                whole(id).and_then(|revision| revision.checked_add(1)).map(|revision| Start { revision, skipped: 0 })
            }
            Some((revision, last)) => whole(revision).zip(whole(last)).and_then(|(revision, last)| {
                let skipped = usize::try_from(last).ok()?.checked_add(1)?;
                Some(Start { revision, skipped })
            }),
        };
        start.map(Some).ok_or_else(|| ApiError::bad_input("Last-Event-ID must be the id of an event of a watch"))
    }
}

/// A watch that is being served.
struct Serving<T: Tables> {
    context: Arc<Context<T>>,
    watcher: Watcher<T>,
    start: Start,
    /// Whether the client knows where it begins.
    begun: bool,
    /// When the client must hear something again.
    progress_at: Instant,
    ended: bool,
}

/// The watch's text, a page at a time; it ends where the watch does.
pub(super) fn events<T: Tables>(
    context: Arc<Context<T>>,
    watcher: Watcher<T>,
    start: Start,
    progress_interval: Duration,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let serving = Serving { context, watcher, start, begun: false, progress_at: Instant::now(), ended: false };
    stream::unfold(serving, move |mut serving| async move {
        let text = serving.next(progress_interval).await?;
        Some((Ok(Bytes::from(text)), serving))
    })
}

impl<T: Tables> Serving<T> {
    /// What is to be sent next; `None` at the end.
    async fn next(&mut self, progress_interval: Duration) -> Option<String> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            self.push_progress(&mut text);
        }
        while text.is_empty() {
            if self.ended {
                return None;
            }
            match tokio::time::timeout_at(self.progress_at, self.watcher.next_page()).await {
                Ok(Ok(page)) => self.push_changes(&mut text, page),
                Ok(Err(WatchError::Compacted { first_revision })) => {
                    push(&mut text, &WatchEvent::Compacted(CompactedEvent { first_revision }), None);
                    self.ended = true;
                }
                Ok(Err(error)) => {
                    let error = refusal(&self.context, error);
                    tracing::debug!(?error, "a watch ends");
                    return None;
                }
                Err(_) => self.push_progress(&mut text),
            }
        }
        self.progress_at = Instant::now() + progress_interval;
        Some(text)
    }

    fn push_progress(&self, text: &mut String) {
        let revision = self.watcher.reached();
        // In the midst of a revision there is no id that says so and nothing else.
        let id = (self.start.skipped == 0).then(|| revision.to_string());
        push(text, &WatchEvent::Progress(ProgressEvent { revision }), id);
    }

    fn push_changes(&mut self, text: &mut String, page: WatchPage) {
        let mut changes = page.changes.into_iter().peekable();
        let mut of_revision = (0, 0);
        while let Some(change) = changes.next() {
            let revision = change.revision;
            of_revision = if of_revision.0 == revision { (revision, of_revision.1 + 1) } else { (revision, 0) };
            if revision == self.start.revision && of_revision.1 < self.start.skipped {
                continue;
            }
            let is_last = changes.peek().is_none_or(|next| next.revision != revision);
            let id = if is_last { revision.to_string() } else { format!("{revision}.{}", of_revision.1) };
            push(text, &event(change), Some(id));
        }
        self.start.skipped = 0;
    }
}

fn event(change: Change) -> WatchEvent {
    let Change { revision, key, item } = change;
    let key = Base64(key.0);
    match item {
        Some(item) => WatchEvent::Put(PutEvent {
            revision,
            key,
            value: Base64(item.value.0),
            version: item.version,
            create_revision: item.create_revision,
            session: item.session.map(|session| session.to_string()),
        }),
        None => WatchEvent::Delete(DeleteEvent { revision, key }),
    }
}

/// One event in the form of the WHATWG's server-sent events; JSON has no line breaks of its own.
fn push(text: &mut String, event: &WatchEvent, id: Option<String>) {
    // Structs of numbers and strings always serialize, and a string takes whatever is written.
    let data = event.data().unwrap_or_default();
    let _ = writeln!(text, "event: {}", event.name());
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = writeln!(text, "data: {data}\n");
}
