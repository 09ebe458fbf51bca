//! A watch: every change of the keys with a prefix, in order of the revisions, none lost and none twice.
//!
//! ```text
//!   revision      5      6        7          8
//!   change        a      a        b, c, d    a
//!   received      ───────────────────▶ ✗ cut within revision 7, behind b
//!   again                         ├──────────▶      from revision 7; b is known and left out
//! ```
//!
//! A transaction changes several keys at one revision, each of them once. So what was received is known by the last
//! revision and the keys received of it, and a cut anywhere, even between two keys of one revision, is made good.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;

use super::backoff::Backoff;
use super::client::{HttpClient, push_parameter};
use super::endpoints::{Call, Effect};
use super::sse::SseParser;
use crate::error::ClientError;
use crate::protocol::{DeleteEvent, FROM_REVISION_PARAMETER, PREFIX_PARAMETER, PutEvent, WatchEvent};

/// How long a node may say nothing at all, not even that it is there, before another one is asked.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// What is watched, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// What the keys begin with; empty: all keys.
    pub prefix: Bytes,
    /// The first revision whose changes are wanted, zero meaning the first of all; `None`: the next one.
    pub from_revision: Option<u64>,
    /// How long is tried to reach a node, at the beginning and after a cut.
    pub timeout: Duration,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(PutEvent),
    /// It was removed.
    Delete(DeleteEvent),
}

impl Change {
    /// At which revision.
    pub fn revision(&self) -> u64 {
        match self {
            Change::Put(event) => event.revision,
            Change::Delete(event) => event.revision,
        }
    }

    /// Which key.
    pub fn key(&self) -> &Bytes {
        match self {
            Change::Put(event) => &event.key.0,
            Change::Delete(event) => &event.key.0,
        }
    }
}

/// A watch that runs. It reconnects by itself, to any node, and goes on where it was.
#[derive(Debug)]
pub struct Watch {
    client: HttpClient,
    prefix: Bytes,
    timeout: Duration,
    place: Place,
    stream: Option<Stream>,
    /// The pauses before nodes are asked again that break off without a word.
    backoff: Backoff,
    broke_off: bool,
}

/// What has been received.
#[derive(Debug, Default)]
struct Place {
    /// The first revision of which not everything has been; zero before the first word of a node.
    revision: u64,
    /// The keys that have been, of that revision.
    keys: BTreeSet<Bytes>,
}

impl Place {
    /// Takes a change in, unless it is known.
    fn take(&mut self, change: Change) -> Option<Change> {
        if change.revision() < self.revision {
            return None;
        }
        if change.revision() > self.revision {
            *self = Place { revision: change.revision(), keys: BTreeSet::new() };
        }
        self.keys.insert(change.key().clone()).then_some(change)
    }

    /// Everything up to this revision has been sent.
    fn complete(&mut self, revision: u64) {
        if revision >= self.revision {
            *self = Place { revision: revision.saturating_add(1), keys: BTreeSet::new() };
        }
    }
}

#[derive(Debug)]
struct Stream {
    endpoint: String,
    body: Incoming,
    parser: SseParser,
}

impl HttpClient {
    /// Begins to watch. When this returns without `from_revision`, every change after it will be seen.
    ///
    /// # Errors
    /// [`ClientError::Compacted`] where changes from `from_revision` on are not remembered any more; otherwise any but
    /// [`ClientError::Unknown`].
    pub async fn watch(&self, request: WatchRequest) -> Result<Watch, ClientError> {
        let WatchRequest { prefix, from_revision, timeout } = request;
        let place = Place { revision: from_revision.map_or(0, |revision| revision.max(1)), keys: BTreeSet::new() };
        let mut watch = Watch {
            client: self.clone(),
            prefix,
            timeout,
            place,
            stream: None,
            backoff: Backoff::new(),
            broke_off: false,
        };
        if from_revision.is_some() {
            watch.stream = Some(watch.connect().await?);
            return Ok(watch);
        }
        // The first event says where it begins.
        let begin = async {
            while watch.place.revision == 0 {
                // A change before that word cannot be: it would have been sent behind it.
                watch.event().await?;
            }
            Ok(())
        };
        let waited_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(timeout, begin).await.unwrap_or(Err(ClientError::Timeout { waited_ms }))?;
        Ok(watch)
    }
}

impl Watch {
    /// The next change. To drop this future loses nothing. After an error that is not [`ClientError::Compacted`], it may be
    /// called again: the watch goes on where it was.
    ///
    /// # Errors
    /// [`ClientError::Compacted`] where the watch has fallen so far behind that changes are lost; otherwise, where no node
    /// can be reached in time, any but [`ClientError::Unknown`].
    pub async fn next(&mut self) -> Result<Change, ClientError> {
        loop {
            let change = match self.event().await? {
                Some(WatchEvent::Put(event)) => Change::Put(event),
                Some(WatchEvent::Delete(event)) => Change::Delete(event),
                _ => continue,
            };
            if let Some(change) = self.place.take(change) {
                return Ok(change);
            }
        }
    }

    /// The first revision of which not everything has been received: where another watch would have to begin.
    pub fn revision(&self) -> u64 {
        self.place.revision
    }

    /// The next event; `None` where the stream broke off.
    async fn event(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        if self.stream.is_none() {
            if self.broke_off {
                tokio::time::sleep(self.backoff.pause()).await;
            }
            self.stream = Some(self.connect().await?);
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let event = stream.event().await;
        match &event {
            Ok(Some(WatchEvent::Progress(progress))) => self.place.complete(progress.revision),
            Ok(Some(WatchEvent::Compacted(compacted))) => {
                let first_revision = compacted.first_revision;
                self.stream = None;
                return Err(ClientError::Compacted { first_revision });
            }
            Ok(Some(_)) => self.backoff = Backoff::new(),
            Ok(None) | Err(_) => (self.stream, self.broke_off) = (None, true),
        }
        event
    }

    async fn connect(&self) -> Result<Stream, ClientError> {
        let mut path_and_query = "/v1/watch".to_owned();
        if !self.prefix.is_empty() {
            push_parameter(&mut path_and_query, PREFIX_PARAMETER, &self.prefix);
        }
        if self.place.revision > 0 {
            let revision = self.place.revision.to_string();
            push_parameter(&mut path_and_query, FROM_REVISION_PARAMETER, revision.as_bytes());
        }
        let call = Call {
            effect: Effect::Read,
            method: Method::GET,
            path_and_query,
            headers: vec![("accept", "text/event-stream".into())],
            body: Bytes::new(),
            timeout: self.timeout,
        };
        let (endpoint, body) = self.client.endpoints.open(&call).await?;
        Ok(Stream { endpoint, body, parser: SseParser::default() })
    }
}

impl Stream {
    /// The next event that is one of ours; `None` at the end, however it came.
    async fn event(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        loop {
            let invalid = |reason: String| ClientError::InvalidReply { endpoint: self.endpoint.clone(), reason };
            while let Some(event) = self.parser.next().map_err(|error| invalid(error.to_string()))? {
                let parsed = WatchEvent::parse(&event.name, &event.data);
                if let Some(event) = parsed.map_err(|error| invalid(error.to_string()))? {
                    return Ok(Some(event));
                }
            }
            match tokio::time::timeout(SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.parser.push(bytes);
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, key: &'static str) -> Change {
        Change::Delete(DeleteEvent { revision, key: key.into() })
    }

    #[test]
    fn a_change_is_taken_once_and_one_of_the_past_never() {
        let mut place = Place { revision: 7, keys: BTreeSet::new() };
        assert_eq!(place.take(change(6, "a")), None);
        assert_eq!(place.take(change(7, "b")), Some(change(7, "b")));
        assert_eq!(place.take(change(7, "b")), None);
        assert_eq!(place.take(change(7, "c")), Some(change(7, "c")));
        assert_eq!(place.take(change(8, "b")), Some(change(8, "b")));
        assert_eq!(place.take(change(7, "d")), None);
    }

    #[test]
    fn what_is_complete_is_not_asked_for_again() {
        let mut place = Place::default();
        place.complete(0);
        assert_eq!(place.revision, 1);
        place.complete(9);
        assert_eq!((place.revision, place.take(change(9, "a"))), (10, None));
        place.complete(5);
        assert_eq!(place.revision, 10);
    }
}
