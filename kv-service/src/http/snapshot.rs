//! Backups: takes a snapshot, and sends one as a file.
//!
//! ```text
//!   POST ─▶ barrier ─▶ checkpoint ─▶ {"snapshot_index", "bytes", "id"}
//!   GET ──▶ blocking task: files ─checked, a piece at a time─▶ a few pieces ─▶ body
//! ```
//!
//! What cannot be sent to its end breaks the connection off; the client sees that, and nothing looks whole that is not.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use consensus_api::{SnapshotId, SnapshotManifest, SnapshotStore, Tables};
use futures_util::stream;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use kv_client::protocol::{CONSISTENCY_PARAMETER, SNAPSHOT_ID_PARAMETER, SNAPSHOT_INDEX_HEADER, SnapshotReply};
use storage_rocks::{RocksSnapshots, snapshot_name};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::context::{Context, json_of};
use super::errors::ApiError;
use super::query::Query;

/// How many pieces wait for the connection: a piece has up to a megabyte.
const PIECES_MAX: usize = 4;
/// A client that takes nothing for so long has lost its download, and the node need not keep that snapshot any more.
const STALL_MAX: Duration = Duration::from_secs(60);

/// `POST /v1/snapshot`: takes one, with everything in it that was acknowledged before, unless `?consistency=stale`.
pub(super) async fn take<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[CONSISTENCY_PARAMETER])?;
    let snapshots = snapshots_of(&context)?;
    context.barrier(&query).await?;
    let index = context.service.log.snapshot().await;
    // Nothing changes, so nothing is uncertain.
    let index = index.map_err(|error| ApiError::of_read(error, context.leader()))?;
    let taken = find(snapshots, |snapshot| snapshot.position.index >= index)?;
    json_of(&SnapshotReply {
        snapshot_index: taken.position.index.0,
        bytes: taken.bytes(),
        id: snapshot_name(taken.id),
    })
}

/// `GET /v1/snapshot`: the file of the newest snapshot that this node keeps, or of the one that `?id=` names.
pub(super) async fn download<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[SNAPSHOT_ID_PARAMETER])?;
    let wanted = query.bytes(SNAPSHOT_ID_PARAMETER).map(|id| id_of(&id)).transpose()?;
    let snapshots = snapshots_of(&context)?.clone();
    let snapshot = find(&snapshots, |snapshot| wanted.is_none_or(|wanted| snapshot.id == wanted))?;
    let permit = context.downloads.clone().try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::too_busy("other snapshots are being downloaded; try again later"))?;
    let (pieces, body) = mpsc::channel(PIECES_MAX);
    let runtime = Handle::current();
    let id = snapshot.id;
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces { pieces, runtime };
        let last = match snapshots.export(id, &mut out) {
            Ok(()) => Ok(Bytes::new()),
            Err(error) => {
                tracing::warn!(%error, "download of a snapshot broken off");
                Err(io::Error::other(error))
            }
        };
        // Where the client has gone there is nobody to tell.
        let _ = out.send(last);
        drop(permit);
    });
    let body = stream::unfold(Some(body), |body| async { next_piece(body?).await });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(SNAPSHOT_INDEX_HEADER, HeaderValue::from(snapshot.position.index.0));
    Ok(response)
}

/// The next piece of a body, or why there is none. An empty one is the end; where there is neither, the thread that sends
/// has failed, and that must not look like an end.
async fn next_piece(mut body: Receiver) -> Option<(io::Result<Bytes>, Option<Receiver>)> {
    match body.recv().await {
        Some(Ok(piece)) if piece.is_empty() => None,
        Some(Ok(piece)) => Some((Ok(piece), Some(body))),
        Some(Err(error)) => Some((Err(error), None)),
        None => Some((Err(io::Error::other("the snapshot was not read to its end")), None)),
    }
}

type Receiver = mpsc::Receiver<io::Result<Bytes>>;

/// Writes to a body, from a thread that may block.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
}

impl Pieces {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sent = tokio::time::timeout(STALL_MAX, self.pieces.send(piece));
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing any more")),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.send(Ok(Bytes::copy_from_slice(bytes))).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn snapshots_of<T: Tables>(context: &Context<T>) -> Result<&RocksSnapshots, ApiError> {
    let snapshots = context.service.snapshots.as_ref();
    snapshots.ok_or_else(|| ApiError::unsupported("snapshots of tables in memory are"))
}

/// The newest one that is kept and is `wanted`.
fn find(
    snapshots: &RocksSnapshots,
    wanted: impl Fn(&SnapshotManifest) -> bool,
) -> Result<Arc<SnapshotManifest>, ApiError> {
    let kept = snapshots.kept().map_err(|error| ApiError::internal(error.to_string()))?;
    kept.into_iter().find(|snapshot| wanted(snapshot)).ok_or_else(ApiError::no_such_snapshot)
}

fn id_of(text: &[u8]) -> Result<SnapshotId, ApiError> {
    let id = std::str::from_utf8(text).ok().and_then(|text| u128::from_str_radix(text, 16).ok());
    id.map(SnapshotId).ok_or_else(|| ApiError::bad_input("id must be a snapshot's id in hexadecimal"))
}
