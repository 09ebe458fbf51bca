//! One request, several nodes that could answer it: whom to ask, whom to ask next, and when to ask nobody else.
//!
//! ```text
//!   what happened                 a read            a write           a write with a number in a session
//!   ────────────────────────────────────────────────────────────────────────────────────────────────────────
//!   no connection                 ask the next      ask the next      ask the next        nothing was sent
//!   307, the leader is elsewhere  ask there, and then as below                           nothing was done
//!   503, 429                      ask the next      ask the next      ask the next        nothing was done
//!   503, nobody took over         that is it        that is it        that is it          the leader's own word
//!   connection lost, no answer    ask the next      Unknown           ask the next *      perhaps it was done
//!   504                           ask the next      Unknown           ask the next *      perhaps it was done
//!   any other answer              that is it        that is it        that is it
//!
//!   * from then on in doubt: then only a success and "the condition does not hold" are answers, which the machine gives
//!     under the same number whatever came first; all else is Unknown: a limit of this node says nothing of another's
//! ```
//!
//! When all have been asked in vain, the next round follows after a pause (see `backoff`), until the call's time is up. Two
//! things end it sooner, because waiting would tell the caller nothing more: nobody listens at any endpoint, for
//! [`UNREACHABLE_PATIENCE`]; or what is left of the time is less than the last answer took.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, LOCATION};
use hyper::http::request::Builder;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::backoff::Backoff;
use crate::error::ClientError;
use crate::protocol::ErrorCode::{TransferFailed, VersionMismatch};

/// The most bytes of an answer's body that are read.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may be that nobody listens anywhere: as long as a node needs to start again.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(1);
/// How long an endpoint is waited for at least, where another one could be asked.
const ATTEMPT_LEAST: Duration = Duration::from_secs(1);
/// A deadline beyond every clock.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most idle connections that are kept to one node.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Whether it matters that a request is carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing.
    Read,
    /// Twice is once too often.
    Write,
    /// It carries its number in a session: the cluster carries it out once, however often it arrives.
    Numbered,
}

/// A request, to whomever it goes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) effect: Effect,
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
}

/// A successful answer, and whose it is.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) endpoint: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why an endpoint gave no answer.
pub(crate) enum NoAnswer {
    NotSent(String),
    Lost(String),
}

/// What is known from the endpoints that were asked in vain.
#[derive(Default)]
struct Failures {
    /// What happened where, in the last round.
    tried: Vec<String>,
    /// The last word of a node that could do nothing now.
    refusal: Option<ClientError>,
    /// Why a write that was sent may have been carried out.
    doubt: Option<String>,
    /// An answer was waited for in vain.
    silent: bool,
    /// Since when nobody listens anywhere.
    unreachable_since: Option<Instant>,
    /// How long the last answer took.
    took: Duration,
}

impl Failures {
    /// What says most comes first: a doubt, then a node's own word, and last that nobody could be reached.
    fn into_error(self, call: &Call) -> ClientError {
        if let Some(reason) = self.doubt {
            return ClientError::Unknown { reason };
        }
        match self.refusal {
            Some(refusal) => refusal,
            None if self.silent => ClientError::Timeout { waited_ms: millis(call.timeout) },
            None => ClientError::Unreachable { tried: self.tried.join("; ") },
        }
    }

    /// Whether another round after this pause could still bring something.
    fn hopeful(&self, pause: Duration, deadline: Instant) -> bool {
        let next = Instant::now() + pause;
        // A bit more than the last answer took: a write must not be cut off under way, where it is in doubt.
        let in_time = next + self.took + self.took / 4 < deadline;
        let listened_to = self.unreachable_since.is_none_or(|since| next - since < UNREACHABLE_PATIENCE);
        in_time && listened_to
    }
}

/// The endpoints, with the connections to them, kept and shared by all clones.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoints: Arc<[Authority]>,
    /// Who answered last: asked first.
    preferred: Arc<AtomicUsize>,
}

impl Endpoints {
    pub(crate) fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<Endpoints, ClientError> {
        let endpoints: Vec<Authority> =
            endpoints.into_iter().map(|endpoint| authority(endpoint.as_ref())).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(ClientError::Endpoint { endpoint: String::new(), reason: "the list is empty".into() });
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Endpoints { client, endpoints: endpoints.into(), preferred: Arc::default() })
    }

    /// Asks until one answers, within the call's time.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, ClientError> {
        self.send_with(call, whole).await
    }

    /// Asks each once. For what takes long: there the call's time says nothing of how long a refusal is to be argued with.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Answer, ClientError> {
        let deadline = Instant::now().checked_add(call.timeout).unwrap_or_else(|| Instant::now() + FAR);
        let mut failures = Failures::default();
        match self.round(call, deadline, &mut failures, &whole).await {
            Some(outcome) => outcome,
            None => Err(failures.into_error(call)),
        }
    }

    /// Asks until one begins a long answer.
    pub(crate) async fn open(&self, call: &Call) -> Result<(String, Incoming), ClientError> {
        self.send_with(call, async |endpoint, _, body| Ok((endpoint, body))).await
    }

    /// Begins to read a long answer of the endpoint that answered last and of nobody else: what was made there is there.
    pub(crate) async fn open_again(&self, call: &Call) -> Result<(String, Incoming), ClientError> {
        let at = self.preferred.load(Ordering::Relaxed) % self.endpoints.len();
        let same = Endpoints {
            client: self.client.clone(),
            endpoints: [self.endpoints[at].clone()].into(),
            preferred: Arc::default(),
        };
        same.open(call).await
    }

    /// Asks until `take` has taken an answer.
    async fn send_with<R>(
        &self,
        call: &Call,
        take: impl AsyncFn(String, HeaderMap, Incoming) -> Result<R, NoAnswer>,
    ) -> Result<R, ClientError> {
        let deadline = Instant::now().checked_add(call.timeout).unwrap_or_else(|| Instant::now() + FAR);
        let mut failures = Failures::default();
        let mut backoff = Backoff::new();
        loop {
            if let Some(outcome) = self.round(call, deadline, &mut failures, &take).await {
                return outcome;
            }
            let pause = backoff.pause();
            if !failures.hopeful(pause, deadline) {
                return Err(failures.into_error(call));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks each endpoint once; `None` where another round may do.
    async fn round<R>(
        &self,
        call: &Call,
        deadline: Instant,
        failures: &mut Failures,
        take: &impl AsyncFn(String, HeaderMap, Incoming) -> Result<R, NoAnswer>,
    ) -> Option<Result<R, ClientError>> {
        let (first, begun) = (self.preferred.load(Ordering::Relaxed), Instant::now());
        let mut heard = false;
        failures.tried.clear();
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            let (endpoint, asked) = (&self.endpoints[at], Instant::now());
            if turn > 0 && asked >= deadline {
                break;
            }
            let until = self.patience(call, asked, deadline);
            match tokio::time::timeout_at(until, self.ask(endpoint, call, take)).await {
                Ok(Ok(Ok(answer))) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Some(Ok(answer));
                }
                Ok(Ok(Err(error))) => {
                    heard = true;
                    failures.took = asked.elapsed();
                    if let Some(error) = judge(error, call.effect, failures) {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Some(Err(error));
                    }
                }
                Ok(Err(NoAnswer::NotSent(reason))) => failures.tried.push(format!("{endpoint}: {reason}")),
                Ok(Err(NoAnswer::Lost(reason))) => {
                    heard = true;
                    if let Some(error) = lost(format!("{endpoint}: {reason}"), call.effect, failures) {
                        return Some(Err(error));
                    }
                }
                // How far the request had come is not known here; so the worse is assumed.
                Err(_) => {
                    (heard, failures.silent) = (true, true);
                    let reason = format!("no answer within {} ms", millis(until - asked));
                    if let Some(error) = lost(reason, call.effect, failures) {
                        return Some(Err(error));
                    }
                }
            }
        }
        failures.unreachable_since = if heard { None } else { failures.unreachable_since.or(Some(begun)) };
        None
    }

    /// Until when one endpoint's answer is waited for. What may be asked again elsewhere does not wait to the end for a
    /// node that hangs.
    fn patience(&self, call: &Call, now: Instant, deadline: Instant) -> Instant {
        let alone = call.effect == Effect::Write || self.endpoints.len() == 1;
        if alone { deadline } else { deadline.min(now + (call.timeout / 3).max(ATTEMPT_LEAST)) }
    }

    /// Sends the request to one endpoint, or where that names the leader instead, to the leader. The outer error: no answer; the
    /// inner one: an answer that is no success.
    async fn ask<R>(
        &self,
        endpoint: &Authority,
        call: &Call,
        take: &impl AsyncFn(String, HeaderMap, Incoming) -> Result<R, NoAnswer>,
    ) -> Result<Result<R, ClientError>, NoAnswer> {
        let mut response = self.exchange(endpoint, call).await?;
        let leader = leader_in(&response);
        // Once: who is sent on again asks while leadership moves, and comes back later.
        if let Some(leader) = &leader {
            response = self.exchange(leader, call).await?;
        }
        let from = leader.as_ref().unwrap_or(endpoint).to_string();
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return take(from, head.headers, body).await.map(Ok);
        }
        let answer = whole(from, head.headers, body).await?;
        Ok(Err(ClientError::from_answer(head.status.as_u16(), &answer.body)))
    }

    async fn exchange(&self, endpoint: &Authority, call: &Call) -> Result<Response<Incoming>, NoAnswer> {
        let request = request(endpoint, call).map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        // The pool repeats a request only where a kept connection proves closed before a byte of it was taken.
        self.client.request(request).await.map_err(|error| {
            let reason = root_cause(&error);
            if error.is_connect() { NoAnswer::NotSent(reason) } else { NoAnswer::Lost(reason) }
        })
    }
}

/// Where the leader is, if the answer is that another node leads.
fn leader_in(response: &Response<Incoming>) -> Option<Authority> {
    let location = response.headers().get(LOCATION).filter(|_| response.status() == StatusCode::TEMPORARY_REDIRECT)?;
    let location: Uri = location.to_str().ok()?.parse().ok()?;
    location.into_parts().authority
}

/// Reads an answer to its end.
async fn whole(endpoint: String, headers: HeaderMap, body: Incoming) -> Result<Answer, NoAnswer> {
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| NoAnswer::Lost(root_cause(&*error)))?.to_bytes();
    Ok(Answer { endpoint, headers, body })
}

/// What follows from an answer that is no success: the final error, or `None` where the next endpoint is to be asked.
fn judge(error: ClientError, effect: Effect, failures: &mut Failures) -> Option<ClientError> {
    let status = if let ClientError::Api { status, .. } = error { Some(status) } else { None };
    match (status, effect) {
        // It has been tried; to try again holds up all writes again, and is for the caller to decide.
        _ if error.code() == Some(TransferFailed) => return Some(error),
        (Some(307 | 503 | 429), _) | (Some(504), Effect::Read) => failures.refusal = Some(error),
        (Some(504), _) => return lost(error.to_string(), effect, failures),
        _ if error.code() == Some(VersionMismatch) => return Some(error),
        // Refused by this node, or by a session that may have ended since: an earlier attempt may have been carried out.
        _ => {
            return Some(match failures.doubt.take() {
                Some(earlier) => ClientError::Unknown { reason: format!("{earlier}; then: {error}") },
                None => error,
            });
        }
    }
    None
}

/// What follows from a request whose answer is lost.
fn lost(reason: String, effect: Effect, failures: &mut Failures) -> Option<ClientError> {
    match effect {
        Effect::Read => failures.tried.push(reason),
        Effect::Write => return Some(ClientError::Unknown { reason }),
        Effect::Numbered => failures.doubt = Some(reason),
    }
    None
}

fn millis(duration: Duration) -> u64 {
    // Rounded: a deadline is a few microseconds less away than it was set.
    u64::try_from((duration + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX)
}

fn request(endpoint: &Authority, call: &Call) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let uri = Uri::builder().scheme("http").authority(endpoint.clone()).path_and_query(&call.path_and_query).build()?;
    let request = Builder::new().method(call.method.clone()).uri(uri);
    let request = call.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    request.body(Full::new(call.body.clone()))
}

/// `host:port`, with or without `http://` before it.
fn authority(endpoint: &str) -> Result<Authority, ClientError> {
    let refused = |reason: String| ClientError::Endpoint { endpoint: endpoint.to_owned(), reason };
    let bare = endpoint.trim().trim_start_matches("http://").trim_end_matches('/');
    let authority: Authority = bare.parse().map_err(|_| refused("it is not host:port".into()))?;
    match authority.port_u16() {
        Some(_) if !authority.as_str().contains('@') => Ok(authority),
        _ => Err(refused("it has no port, or more than host and port".into())),
    }
}

/// What lies at the bottom of an error: "connection refused", beneath three layers of "client error".
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_host_and_port() {
        for good in ["127.0.0.1:8001", "http://localhost:8001/", "[::1]:8001", " node-1:80 "] {
            assert!(authority(good).is_ok(), "{good} was refused");
        }
        for bad in ["", "localhost", "https://localhost:8001", "user@localhost:8001", "localhost:8001/path", "a b:1"] {
            assert!(matches!(authority(bad), Err(ClientError::Endpoint { .. })), "{bad} was taken");
        }
    }

    #[test]
    fn no_endpoints_are_an_error() {
        assert!(matches!(Endpoints::new([] as [&str; 0]), Err(ClientError::Endpoint { .. })));
    }
}
