//! One request, several nodes that could answer it: whom to ask, whom to ask next, and when to ask nobody else.
//!
//! ```text
//!   what happened                          a read            a write
//!   ─────────────────────────────────────────────────────────────────────────
//!   no connection                          ask the next      ask the next       nothing was sent
//!   503                                    ask the next      ask the next       nothing was done
//!   connection lost, time is up            ask the next      Unknown            perhaps it was done
//!   504                                    ask the next      Unknown            perhaps it was done
//!   any other answer                       that is it        that is it
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Builder;
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::ClientError;

/// The most bytes of an answer's body that are read.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most idle connections that are kept to one node.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Whether it matters that a request is carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
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
enum NoAnswer {
    NotSent(String),
    Lost(String),
}

/// What is known from the endpoints that were asked in vain.
#[derive(Default)]
struct Failures {
    tried: Vec<String>,
    refusal: Option<ClientError>,
}

impl Failures {
    /// A node's own word says more than that others could not be reached.
    fn into_error(self) -> ClientError {
        self.refusal.unwrap_or_else(|| ClientError::Unreachable { tried: self.tried.join("; ") })
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
        let waited_ms = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
        match (tokio::time::timeout(call.timeout, self.ask_in_turn(call)).await, call.effect) {
            (Ok(outcome), _) => outcome,
            (Err(_), Effect::Read) => Err(ClientError::Timeout { waited_ms }),
            // How far the request had come is not known here; so the worse is assumed.
            (Err(_), Effect::Write) => Err(ClientError::Unknown { reason: format!("no answer within {waited_ms} ms") }),
        }
    }

    /// Begins to read a long answer, of the endpoint that answered last and of nobody else: what was made there is there.
    pub(crate) async fn open(&self, call: &Call) -> Result<(String, Incoming), ClientError> {
        let endpoint = &self.endpoints[self.preferred.load(Ordering::Relaxed) % self.endpoints.len()];
        let unreachable = |reason: String| ClientError::Unreachable { tried: format!("{endpoint}: {reason}") };
        let asked = async {
            let request = request(endpoint, call).map_err(|error| unreachable(error.to_string()))?;
            let response = self.client.request(request).await.map_err(|error| unreachable(root_cause(&error)))?;
            let (head, body) = response.into_parts();
            if head.status.is_success() {
                return Ok((endpoint.to_string(), body));
            }
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| unreachable(root_cause(&*error)))?.to_bytes();
            Err(ClientError::from_answer(head.status.as_u16(), &body))
        };
        let waited_ms = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(call.timeout, asked).await.unwrap_or(Err(ClientError::Timeout { waited_ms }))
    }

    async fn ask_in_turn(&self, call: &Call) -> Result<Answer, ClientError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failures = Failures::default();
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            match self.ask(endpoint, call).await {
                Ok((status, answer)) if status.is_success() => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok((status, answer)) => {
                    let error = ClientError::from_answer(status.as_u16(), &answer.body);
                    match (status, call.effect) {
                        (StatusCode::SERVICE_UNAVAILABLE, _) | (StatusCode::GATEWAY_TIMEOUT, Effect::Read) => {
                            failures.refusal = Some(error);
                        }
                        (StatusCode::GATEWAY_TIMEOUT, Effect::Write) => {
                            return Err(ClientError::Unknown { reason: error.to_string() });
                        }
                        _ => {
                            self.preferred.store(at, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                }
                Err(NoAnswer::Lost(reason)) if call.effect == Effect::Write => {
                    return Err(ClientError::Unknown { reason: format!("{endpoint}: {reason}") });
                }
                Err(NoAnswer::NotSent(reason) | NoAnswer::Lost(reason)) => {
                    failures.tried.push(format!("{endpoint}: {reason}"));
                }
            }
        }
        Err(failures.into_error())
    }

    /// Sends the request to one endpoint and reads its answer to the end.
    async fn ask(&self, endpoint: &Authority, call: &Call) -> Result<(StatusCode, Answer), NoAnswer> {
        let request = request(endpoint, call).map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        // The pool repeats a request only where a kept connection proves closed before a byte of it was taken.
        let response = self.client.request(request).await.map_err(|error| {
            let reason = root_cause(&error);
            if error.is_connect() { NoAnswer::NotSent(reason) } else { NoAnswer::Lost(reason) }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer::Lost(root_cause(&*error)))?.to_bytes();
        Ok((head.status, Answer { endpoint: endpoint.to_string(), headers: head.headers, body }))
    }
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
