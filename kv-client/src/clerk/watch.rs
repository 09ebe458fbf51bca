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
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::Blob;
use futures_core::Stream;
use quinn::{Connection, RecvStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::ledger::RETRY;
use super::{Clerk, ClerkError, KeyRange};
use crate::backoff::Backoff;
use crate::wire::{Change, FrameReader, Refused, WatchEvent, WatchRequest, append_frame};

/// Changes that wait for whoever watches, before no more is read.
const WAITING_MAX: usize = 256;

/// The changes of a range; see [`Clerk::watch`]. They come in order of their revisions, each once, whichever nodes they
/// come from. It ends after an error, or when the Clerk was closed. A watch that is not read holds up nobody but itself.
///
/// A watch that breaks off goes on by itself. The errors are [`ClerkError::Compacted`], where it has fallen behind what the
/// cluster keeps, and [`ClerkError::TooManyWatches`], where for as long as a request's time no node had a place for it.
pub struct Watch {
    changes: mpsc::Receiver<Result<Change, ClerkError>>,
    task: AbortHandle,
    /// So that the Clerk lives as long as what it watches.
    _clerk: Clerk,
}

impl Watch {
    /// Returns when a node has begun it.
    pub(super) async fn begin(clerk: Clerk, range: KeyRange, from_revision: Option<u64>) -> Result<Watch, ClerkError> {
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        let (told, begun) = oneshot::channel();
        let patience = clerk.inner.request_timeout;
        let follower = Follower {
            connections: clerk.inner.standing.clone(),
            range,
            place: Place { next: from_revision, delivered: 0 },
            begun: Some(told),
            changes: sender,
            crowded_since: None,
            // Before the time is over, so that there is time to say why.
            patience: patience * 3 / 4,
        };
        // Dropped with an error, it ends its task.
        let watch = Watch { changes, task: tokio::spawn(follower.run()).abort_handle(), _clerk: clerk };
        match timeout(patience, begun).await {
            Ok(Ok(begun)) => begun.map(|()| watch),
            Ok(Err(_)) => Err(ClerkError::NoAnswer { reason: "the clerk was closed".to_owned() }),
            Err(_) => Err(ClerkError::NoAnswer { reason: "no node has begun the watch".to_owned() }),
        }
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
    /// Another attempt may go on.
    Broken(String),
    /// There is no place for it; one may become free.
    Crowded(String),
    /// There is no going on.
    Failed(ClerkError),
    /// Nobody watches any more.
    Over,
}

struct Follower {
    connections: tokio::sync::watch::Receiver<super::driver::Standing>,
    range: KeyRange,
    place: Place,
    /// Who waits for the beginning.
    begun: Option<oneshot::Sender<Result<(), ClerkError>>>,
    changes: mpsc::Sender<Result<Change, ClerkError>>,
    /// Since when no node has a place for it.
    crowded_since: Option<Instant>,
    /// For how long a place is waited for.
    patience: Duration,
}

impl Follower {
    async fn run(mut self) {
        let mut backoff = Backoff::of(RETRY);
        loop {
            let connected = self.connections.wait_for(|standing| standing.connection.is_some()).await;
            let Some(connection) = connected.ok().and_then(|standing| standing.connection.clone()) else { return };
            let before = self.place;
            let ended = self.follow(&connection).await;
            // What has moved on is well; what has not moved may need time.
            if self.place != before {
                backoff = Backoff::of(RETRY);
            }
            let pause = backoff.pause();
            let error = match ended {
                Ended::Over => return,
                Ended::Failed(error) => Some(error),
                Ended::Crowded(message) => {
                    let since = *self.crowded_since.get_or_insert_with(Instant::now);
                    // After a pause that ends too late there would be no time to say why.
                    (since.elapsed() + pause >= self.patience).then_some(ClerkError::TooManyWatches { message })
                }
                Ended::Broken(reason) => {
                    tracing::debug!(reason, "watch broken off");
                    None
                }
            };
            if let Some(error) = error {
                return self.fail(error).await;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changes.closed() => return,
            }
        }
    }

    /// One who has left needs no error.
    async fn fail(mut self, error: ClerkError) {
        let _ = match self.begun.take() {
            Some(begun) => begun.send(Err(error)).map_err(drop),
            None => self.changes.send(Err(error)).await.map_err(drop),
        };
    }

    async fn follow(&mut self, connection: &Connection) -> Ended {
        let mut stream = match timeout(self.patience, self.open(connection)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(reason)) => return Ended::Broken(reason),
            // A node that says nothing at all would have lost its connection long before.
            Err(_) => {
                let message = "this clerk's connection has as many watches as the node allows; end some, or watch with \
                               another clerk";
                return Ended::Failed(ClerkError::TooManyWatches { message: message.to_owned() });
            }
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

    async fn open(&self, connection: &Connection) -> Result<RecvStream, String> {
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
                self.crowded_since = None;
                if let Some(begun) = self.begun.take() {
                    // One who has left is noticed with the first change.
                    let _ = begun.send(Ok(()));
                }
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
            WatchEvent::Compacted { first } => Some(Ended::Failed(ClerkError::Compacted { first })),
            WatchEvent::Failed { why, message } => Some(match why {
                Refused::Busy => Ended::Crowded(message),
                why if why.is_worth_a_retry() => Ended::Broken(message),
                Refused::TooLarge => Ended::Failed(ClerkError::TooLarge { message }),
                Refused::BadInput => Ended::Failed(ClerkError::BadInput { message }),
                _ => Ended::Failed(ClerkError::Unsupported { message }),
            }),
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
