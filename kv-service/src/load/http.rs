//! Operations over HTTP: a pool of kept connections, each of which carries one at a time.
//!
//! ```text
//!   operation ──▶ place ──▶ idle connection, or a new one ──▶ request, answer ──▶ idle again
//!                                     ▲                            │
//!                 the next endpoint ──┴── lost, or node in trouble ┘
//! ```

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri};
use kv_client::Expect;
use kv_client::protocol::Consistency;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connection::{Answer, Broken, Connection};
use super::keys::reserve;
use super::link::{Failure, Found};
use super::targets::Targets;

/// The connections of a run.
pub(super) struct HttpLink {
    targets: Targets,
    consistency: Consistency,
    timeout: Duration,
    places: Semaphore,
    /// Connected. The one that has rested longest is next, so that all are used.
    idle: RefCell<VecDeque<Slot>>,
    /// Not connected; used where no other is idle.
    closed: RefCell<VecDeque<Slot>>,
    paths: RefCell<BytesMut>,
}

/// A connection's place.
struct Slot {
    number: usize,
    /// How often it went on to the next endpoint, because one was in trouble.
    turn: usize,
    connection: Option<Connection>,
}

/// A connection for one operation.
pub(super) struct HttpLane<'a> {
    link: &'a HttpLink,
    /// Goes back when the lane is dropped.
    slot: Option<Slot>,
    _place: SemaphorePermit<'a>,
}

impl HttpLink {
    /// A pool of so many connections, none of which is open yet.
    pub(super) fn new(targets: Targets, connections: usize, consistency: Consistency, timeout: Duration) -> HttpLink {
        let slots = (0..connections).map(|number| Slot { number, turn: 0, connection: None });
        HttpLink {
            targets,
            consistency,
            timeout,
            places: Semaphore::new(connections),
            idle: RefCell::default(),
            closed: RefCell::new(slots.collect()),
            paths: RefCell::default(),
        }
    }

    /// A connection that nobody uses; connects if need be.
    pub(super) async fn lane(&self) -> Result<HttpLane<'_>, Failure> {
        let refused = |broken: Broken| Failure::Refused(Cow::Borrowed(broken.kind()));
        let place = self.places.acquire().await.map_err(|_| refused(Broken::Lost))?;
        let idle = self.idle.borrow_mut().pop_front();
        let slot = idle.or_else(|| self.closed.borrow_mut().pop_front());
        let mut lane = HttpLane { link: self, slot, _place: place };
        if let Some(slot) = lane.slot.as_mut().filter(|slot| slot.connection.is_none()) {
            let endpoint = self.targets.endpoint(slot.number, slot.turn);
            match timeout(self.timeout, Connection::open(endpoint)).await {
                Ok(Ok(connection)) => slot.connection = Some(connection),
                _ => {
                    slot.turn += 1;
                    return Err(refused(Broken::Connect));
                }
            }
        }
        Ok(lane)
    }

    /// A path of these pieces, of which all are fit for one.
    fn path(&self, pieces: &[&[u8]]) -> Result<Uri, Failure> {
        let mut paths = self.paths.borrow_mut();
        reserve(&mut paths);
        for piece in pieces {
            paths.extend_from_slice(piece);
        }
        let path = PathAndQuery::from_maybe_shared(paths.split().freeze());
        path.map(Uri::from).map_err(|_| Failure::Refused(Cow::Borrowed("no path")))
    }
}

impl HttpLane<'_> {
    /// Reads a key.
    pub(super) async fn get(&mut self, key: &[u8], wants_value: bool) -> Result<Option<Found>, Failure> {
        let consistency = self.link.consistency.as_str().as_bytes();
        let path = self.link.path(&[b"/v1/kv/", key, b"?consistency=", consistency])?;
        let answer = self.ask(Method::GET, path, Bytes::new(), None, wants_value).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let tag = answer.tag.as_ref().and_then(|tag| tag.to_str().ok());
        let mod_revision = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
        let malformed = || Failure::Refused(Cow::Borrowed("no revision in the answer"));
        Ok(Some(Found { value: answer.body, mod_revision: mod_revision.ok_or_else(malformed)? }))
    }

    /// Writes a key.
    pub(super) async fn put(&mut self, key: &[u8], value: Bytes, expect: Expect) -> Result<(), Failure> {
        let path = self.link.path(&[b"/v1/kv/", key])?;
        let condition = match expect {
            Expect::Any => None,
            Expect::Version(0) | Expect::ModRevision(0) => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
            Expect::ModRevision(revision) => {
                HeaderValue::from_str(&format!("\"{revision}\"")).ok().map(|revision| (IF_MATCH, revision))
            }
            Expect::Version(_) => return Err(Failure::Refused(Cow::Borrowed("unsupported"))),
        };
        self.ask(Method::PUT, path, value, condition, false).await.map(drop)
    }

    /// Reads the keys from one to before another.
    pub(super) async fn scan(&mut self, start: &[u8], end: &[u8], limit: u64) -> Result<(), Failure> {
        let (limit, consistency) = (limit.to_string(), self.link.consistency.as_str());
        let pieces: [&[u8]; 8] = [
            b"/v1/kv?start=",
            start,
            b"&end=",
            end,
            b"&limit=",
            limit.as_bytes(),
            b"&consistency=",
            consistency.as_bytes(),
        ];
        let path = self.link.path(&pieces)?;
        self.ask(Method::GET, path, Bytes::new(), None, false).await.map(drop)
    }

    async fn ask(
        &mut self,
        method: Method,
        path: Uri,
        body: Bytes,
        condition: Option<(HeaderName, HeaderValue)>,
        wants_body: bool,
    ) -> Result<Answer, Failure> {
        let lost = |kind| Failure::Unknown(Cow::Borrowed(kind));
        let slot = self.slot.as_mut();
        let Some((slot, mut connection)) = slot.and_then(|slot| slot.connection.take().map(|it| (slot, it))) else {
            return Err(Failure::Refused(Cow::Borrowed(Broken::Lost.kind())));
        };
        let is_get = method == Method::GET;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path;
        request.headers_mut().insert(HOST, connection.host.clone());
        if let Some((name, value)) = condition {
            request.headers_mut().insert(name, value);
        }
        let outcome = match timeout(self.link.timeout, connection.ask(request, wants_body)).await {
            Ok(Ok(answer)) => judge(answer, is_get),
            Ok(Err(broken)) => Err((lost(broken.kind()), true)),
            Err(_) => Err((lost("no answer in time"), true)),
        };
        match outcome {
            // What the connection would bring yet belongs to this request, or its node is of no use.
            Err((failure, true)) => {
                slot.turn += 1;
                Err(failure)
            }
            Err((failure, false)) => {
                slot.connection = Some(connection);
                Err(failure)
            }
            Ok(answer) => {
                slot.connection = Some(connection);
                Ok(answer)
            }
        }
    }
}

impl Drop for HttpLane<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let resting = if slot.connection.is_some() { &self.link.idle } else { &self.link.closed };
            resting.borrow_mut().push_back(slot);
        }
    }
}

/// An answer, or the failure that it tells, with whether another node should be asked. That there is no such key is an answer
/// to a get, and to nothing else.
fn judge(answer: Answer, is_get: bool) -> Result<Answer, (Failure, bool)> {
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND if is_get => Ok(answer),
        StatusCode::PRECONDITION_FAILED => Err((Failure::Mismatch, false)),
        status => {
            let kind = Cow::Owned(error_kind(&answer));
            let is_unknown = status == StatusCode::GATEWAY_TIMEOUT;
            let failure = if is_unknown { Failure::Unknown(kind) } else { Failure::Refused(kind) };
            Err((failure, status.is_server_error()))
        }
    }
}

/// The kind under which an error answer is counted: status and code.
fn error_kind(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Error {
        error: String,
    }
    match serde_json::from_slice::<Error>(&answer.body) {
        Ok(error) => format!("{} {}", answer.status.as_u16(), error.error),
        Err(_) => answer.status.as_u16().to_string(),
    }
}
