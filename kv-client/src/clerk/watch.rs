//! A watch: changes in order of their revisions, from wherever they can be had, none twice and none left out.
//!
//! ```text
//!   node 1 ── 5, 6, 7a │ lost          7 changed the keys a and b
//!   node 2 ──────────── 7a 7b, 8 ──▶   asked from 7 on; 7a was delivered before, so it is skipped
//! ```
//!
//! All changes of one revision come in the same order from every node, so the place of a watch is a revision and how many
//! of its changes were delivered.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use consensus_api::Blob;
use futures_core::Stream;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Clerk, ClerkError, KeyRange};
use crate::wire::{Change, FrameReader, WatchEvent, WatchRequest, append_frame};

/// Changes that wait for whoever watches, before no more is read.
const WAITING_MAX: usize = 256;
/// How long to wait before a watch that broke off is begun again, the first time and at the most.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// The changes of a range; see [`Clerk::watch`]. They come in order of their revisions, each once, whichever nodes they
/// come from. It ends after an error: [`ClerkError::Compacted`], or the Clerk was closed. A watch that is not read holds up
/// nobody but itself.
pub struct Watch {
    changes: mpsc::Receiver<Result<Change, ClerkError>>,
    task: AbortHandle,
    /// So that the Clerk lives as long as what it watches.
    _clerk: Clerk,
}

impl Watch {
    pub(super) fn new(clerk: Clerk, range: KeyRange, from_revision: Option<u64>) -> Watch {
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        let place = Place { next: from_revision, delivered: 0 };
        let follower = Follower { connections: clerk.inner.standing.clone(), range, place, changes: sender };
        Watch { changes, task: tokio::spawn(follower.run()).abort_handle(), _clerk: clerk }
    }

    /// The next change; `None` after an error.
    pub async fn next(&mut self) -> Option<Result<Change, ClerkError>> {
        self.changes.recv().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Stream for Watch {
    type Item = Result<Change, ClerkError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.poll_recv(context)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How far a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The revision whose changes are next; `None` until a node has said where "now" is.
    next: Option<u64>,
    /// How many of its changes were delivered already.
    delivered: usize,
}

/// How a watch at one node ended.
enum Ended {
    /// Another node may go on.
    Broken(String),
    /// Nobody watches any more, or nobody can.
    Over,
}

struct Follower {
    connections: tokio::sync::watch::Receiver<super::driver::Standing>,
    range: KeyRange,
    place: Place,
    changes: mpsc::Sender<Result<Change, ClerkError>>,
}

impl Follower {
    async fn run(mut self) {
        let mut wait = RETRY_MIN;
        loop {
            let connected = self.connections.wait_for(|standing| standing.connection.is_some()).await;
            let Some(connection) = connected.ok().and_then(|standing| standing.connection.clone()) else { return };
            let before = self.place;
            match self.follow(&connection).await {
                Ended::Over => return,
                Ended::Broken(reason) => tracing::debug!(reason, "watch broken off"),
            }
            // What has moved on is well; what has not moved may need time.
            wait = if self.place == before { (wait * 2).min(RETRY_MAX) } else { RETRY_MIN };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changes.closed() => return,
            }
        }
    }

    async fn follow(&mut self, connection: &Connection) -> Ended {
        let begun = self.begin(connection).await;
        let mut stream = match begun {
            Ok(stream) => stream,
            Err(reason) => return Ended::Broken(reason),
        };
        let mut frames = FrameReader::new();
        // Of the changes of the revision that was asked from, those that were delivered before.
        let mut skip = self.place.delivered;
        loop {
            let chunk = tokio::select! {
                chunk = stream.read_chunk(usize::MAX, true) => chunk,
                () = self.changes.closed() => return Ended::Over,
            };
            match chunk {
                Ok(Some(chunk)) => frames.push(&chunk.bytes),
                Ok(None) => return Ended::Broken("the node ended the watch".to_owned()),
                Err(error) => return Ended::Broken(error.to_string()),
            }
            loop {
                let event = match frames.next_message() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => return Ended::Broken(error.to_string()),
                };
                if let Some(ended) = self.take(event, &mut skip).await {
                    return ended;
                }
            }
        }
    }

    async fn begin(&self, connection: &Connection) -> Result<RecvStream, String> {
        let (mut send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let request = WatchRequest {
            start: Blob(self.range.start.clone()),
            end: self.range.end.clone().map(Blob),
            from_revision: self.place.next,
        };
        let mut frame = Vec::new();
        append_frame(&request, &mut frame).map_err(|error| error.to_string())?;
        send.write_chunk(Bytes::from(frame)).await.map_err(|error| error.to_string())?;
        send.finish().map_err(|error| error.to_string())?;
        Ok(receive)
    }

    async fn take(&mut self, event: WatchEvent, skip: &mut usize) -> Option<Ended> {
        match event {
            WatchEvent::Started { from_revision } => {
                self.place.next.get_or_insert(from_revision);
                None
            }
            WatchEvent::Changes { changes, through } => {
                for change in changes {
                    if *skip > 0 && Some(change.revision) == self.place.next {
                        *skip -= 1;
                        continue;
                    }
                    self.place.step_to(change.revision);
                    if self.changes.send(Ok(change)).await.is_err() {
                        return Some(Ended::Over);
                    }
                }
                if self.place.next.is_none_or(|next| next <= through) {
                    self.place = Place { next: Some(through + 1), delivered: 0 };
                    *skip = 0;
                }
                None
            }
            WatchEvent::Compacted { first } => {
                // One who has left needs no error.
                let _ = self.changes.send(Err(ClerkError::Compacted { first })).await;
                Some(Ended::Over)
            }
            WatchEvent::Failed { message } => Some(Ended::Broken(message)),
        }
    }
}

impl Place {
    /// A change of this revision is delivered.
    fn step_to(&mut self, revision: u64) {
        if self.next == Some(revision) {
            self.delivered += 1;
        } else {
            *self = Place { next: Some(revision), delivered: 1 };
        }
    }
}
