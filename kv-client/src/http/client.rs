//! The client: a method for each request, over kept connections to any number of nodes.
//!
//! Any node can be asked anything; it forwards what the leader must decide. So the client keeps to one node as long
//! as that answers, and goes to the next only where this cannot carry out a write twice (see `endpoints`).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ETAG, HeaderMap};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoints::{Answer, Call, Effect, Endpoints};
use crate::error::ClientError;
use crate::protocol::{
    ACKED_BELOW_HEADER, CONSISTENCY_PARAMETER, Consistency, DeleteReply, END_PARAMETER, EPHEMERAL_PARAMETER,
    EXPECT_VERSION_PARAMETER, ErrorCode, LIMIT_PARAMETER, PREFIX_PARAMETER, PutReply, REQUEST_HEADER, REVISION_HEADER,
    SESSION_HEADER, START_PARAMETER, ScanReply, StatusReply, VERSION_HEADER,
};
use crate::txn::{TxnReply, TxnRequest};

/// Everything but what RFC 3986 §2.3 leaves unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How long a request may take unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// On which condition a write takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Expect {
    /// On none.
    #[default]
    Any,
    /// The key has this version; zero: it does not exist.
    Version(u64),
    /// The key was last changed at this revision; zero: it does not exist.
    ModRevision(u64),
}

/// How a write is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// On which condition.
    pub expect: Expect,
    /// The key vanishes when the session that writes it ends. Only a put in a session can be so.
    pub ephemeral: bool,
    /// How long the answer is waited for; then the outcome is unknown.
    pub timeout: Duration,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions { expect: Expect::Any, ephemeral: false, timeout: TIMEOUT_DEFAULT }
    }
}

/// How a read is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// How fresh it must be.
    pub consistency: Consistency,
    /// How long the answer is waited for, over all endpoints.
    pub timeout: Duration,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { consistency: Consistency::default(), timeout: TIMEOUT_DEFAULT }
    }
}

/// Which keys a scan reads: those with the prefix, or those of a range. An empty request reads all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRequest {
    /// What the keys begin with.
    pub prefix: Option<Bytes>,
    /// The first key.
    pub start: Option<Bytes>,
    /// The key before which the range ends.
    pub end: Option<Bytes>,
    /// The most items; the node has a bound of its own.
    pub limit: Option<u32>,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub value: Bytes,
    /// How often the key was written since it was created.
    pub version: u64,
    /// The revision at which the key was last changed.
    pub mod_revision: u64,
    /// The store's revision when the read was served.
    pub revision: u64,
}

/// A client of a cluster, over HTTP. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pub(crate) endpoints: Endpoints,
}

impl HttpClient {
    /// A client that asks these nodes, each `host:port` of its HTTP address. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] where there is none, or one is not `host:port`.
    pub fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<HttpClient, ClientError> {
        Ok(HttpClient { endpoints: Endpoints::new(endpoints)? })
    }

    /// Reads a key; `None` where it does not exist.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`].
    pub async fn get(&self, key: &[u8], options: ReadOptions) -> Result<Option<Value>, ClientError> {
        let mut path_and_query = key_path(key)?;
        push_parameter(&mut path_and_query, CONSISTENCY_PARAMETER, options.consistency.as_str().as_bytes());
        match self.endpoints.send(&read(path_and_query, options.timeout)).await {
            Ok(answer) => value_of(answer).map(Some),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// Any but [`ClientError::Timeout`]; a condition that does not hold is [`ErrorCode::VersionMismatch`].
    pub async fn put(&self, key: &[u8], value: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        self.put_tagged(key, value, options, None).await
    }

    /// Appends to a key's value; a key that does not exist is created.
    ///
    /// # Errors
    /// As [`HttpClient::put`].
    pub async fn append(&self, key: &[u8], suffix: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        self.append_tagged(key, suffix, options, None).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`HttpClient::put`].
    pub async fn delete(&self, key: &[u8], options: WriteOptions) -> Result<DeleteReply, ClientError> {
        self.delete_tagged(key, options, None).await
    }

    /// Reads the keys of a range, a page of them.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`].
    pub async fn scan(&self, request: &ScanRequest, options: ReadOptions) -> Result<ScanReply, ClientError> {
        let mut path_and_query = String::from("/v1/kv");
        for (name, bytes) in
            [(PREFIX_PARAMETER, &request.prefix), (START_PARAMETER, &request.start), (END_PARAMETER, &request.end)]
        {
            if let Some(bytes) = bytes {
                push_parameter(&mut path_and_query, name, bytes);
            }
        }
        if let Some(limit) = request.limit {
            push_parameter(&mut path_and_query, LIMIT_PARAMETER, limit.to_string().as_bytes());
        }
        push_parameter(&mut path_and_query, CONSISTENCY_PARAMETER, options.consistency.as_str().as_bytes());
        json_of(&self.endpoints.send(&read(path_and_query, options.timeout)).await?)
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// As [`HttpClient::put`]. That its comparisons do not hold is no error.
    pub async fn txn(&self, request: &TxnRequest, timeout: Duration) -> Result<TxnReply, ClientError> {
        self.txn_tagged(request, timeout, None).await
    }

    /// How the first node that answers stands.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`].
    pub async fn status(&self, timeout: Duration) -> Result<StatusReply, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>, timeout).await
    }

    /// Any other request with a JSON answer, as for the members or a snapshot. What is no GET counts as a write.
    ///
    /// # Errors
    /// As [`HttpClient::put`]; for a GET, any but [`ClientError::Unknown`].
    pub async fn call<B: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<&B>,
        timeout: Duration,
    ) -> Result<R, ClientError> {
        let effect = if method == Method::GET { Effect::Read } else { Effect::Write };
        self.json(effect, method, path_and_query.into(), body, timeout, None).await
    }

    pub(crate) async fn put_tagged(
        &self,
        key: &[u8],
        value: Bytes,
        options: WriteOptions,
        tag: Option<&Tag>,
    ) -> Result<PutReply, ClientError> {
        self.write(Method::PUT, key_path(key)?, value, options, tag).await
    }

    pub(crate) async fn append_tagged(
        &self,
        key: &[u8],
        suffix: Bytes,
        options: WriteOptions,
        tag: Option<&Tag>,
    ) -> Result<PutReply, ClientError> {
        self.write(Method::POST, key_path(key)? + "/append", suffix, options, tag).await
    }

    pub(crate) async fn delete_tagged(
        &self,
        key: &[u8],
        options: WriteOptions,
        tag: Option<&Tag>,
    ) -> Result<DeleteReply, ClientError> {
        self.write(Method::DELETE, key_path(key)?, Bytes::new(), options, tag).await
    }

    pub(crate) async fn txn_tagged(
        &self,
        request: &TxnRequest,
        timeout: Duration,
        tag: Option<&Tag>,
    ) -> Result<TxnReply, ClientError> {
        self.json(effect_of(tag), Method::POST, "/v1/txn".into(), Some(request), timeout, tag).await
    }

    /// A request with a JSON body, or none, and a JSON answer.
    pub(crate) async fn json<B: Serialize, R: DeserializeOwned>(
        &self,
        effect: Effect,
        method: Method,
        path_and_query: String,
        body: Option<&B>,
        timeout: Duration,
        tag: Option<&Tag>,
    ) -> Result<R, ClientError> {
        let mut call = Call { effect, method, path_and_query, headers: headers_of(tag), body: Bytes::new(), timeout };
        if let Some(body) = body {
            let encoded = serde_json::to_vec(body).map_err(|error| ClientError::Api {
                status: ErrorCode::BadInput.status(),
                code: ErrorCode::BadInput,
                message: format!("the body cannot be written as JSON: {error}"),
                leader: None,
            })?;
            call.body = encoded.into();
            call.headers.push(("content-type", "application/json".into()));
        }
        json_of(&self.endpoints.send(&call).await?)
    }

    async fn write<R: DeserializeOwned>(
        &self,
        method: Method,
        mut path_and_query: String,
        body: Bytes,
        options: WriteOptions,
        tag: Option<&Tag>,
    ) -> Result<R, ClientError> {
        let mut headers = headers_of(tag);
        match options.expect {
            Expect::Any => {}
            Expect::Version(version) => {
                push_parameter(&mut path_and_query, EXPECT_VERSION_PARAMETER, version.to_string().as_bytes());
            }
            Expect::ModRevision(0) => headers.push(("if-none-match", "*".into())),
            Expect::ModRevision(revision) => headers.push(("if-match", format!("\"{revision}\""))),
        }
        if options.ephemeral {
            push_parameter(&mut path_and_query, EPHEMERAL_PARAMETER, b"1");
        }
        let call = Call { effect: effect_of(tag), method, path_and_query, headers, body, timeout: options.timeout };
        json_of(&self.endpoints.send(&call).await?)
    }
}

/// A write's place in its session.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) session: Arc<str>,
    pub(crate) number: u64,
    pub(crate) acked_below: u64,
}

fn effect_of(tag: Option<&Tag>) -> Effect {
    if tag.is_some() { Effect::Numbered } else { Effect::Write }
}

fn headers_of(tag: Option<&Tag>) -> Vec<(&'static str, String)> {
    tag.map_or_else(Vec::new, |tag| {
        vec![
            (SESSION_HEADER, tag.session.to_string()),
            (REQUEST_HEADER, tag.number.to_string()),
            (ACKED_BELOW_HEADER, tag.acked_below.to_string()),
        ]
    })
}

fn read(path_and_query: String, timeout: Duration) -> Call {
    let (effect, method) = (Effect::Read, Method::GET);
    Call { effect, method, path_and_query, headers: vec![], body: Bytes::new(), timeout }
}

fn key_path(key: &[u8]) -> Result<String, ClientError> {
    if key.is_empty() { Err(ClientError::EmptyKey) } else { Ok(format!("/v1/kv/{}", percent_encode(key, ENCODED))) }
}

pub(crate) fn push_parameter(path_and_query: &mut String, name: &str, value: &[u8]) {
    let separator = if path_and_query.contains('?') { '&' } else { '?' };
    // Writing to a string cannot fail.
    let _ok = write!(path_and_query, "{separator}{name}={}", percent_encode(value, ENCODED));
}

pub(crate) fn json_of<R: DeserializeOwned>(answer: &Answer) -> Result<R, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| invalid(answer, error.to_string()))
}

fn value_of(answer: Answer) -> Result<Value, ClientError> {
    let number = |name: &str| {
        number_in(&answer.headers, name).ok_or_else(|| invalid(&answer, format!("its header {name} is no number")))
    };
    let (version, mod_revision, revision) = (number(VERSION_HEADER)?, number(ETAG.as_str())?, number(REVISION_HEADER)?);
    Ok(Value { value: answer.body, version, mod_revision, revision })
}

/// The number in a header, quoted (as in an `ETag`) or not.
fn number_in(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim_matches('"').parse().ok()
}

fn invalid(answer: &Answer, reason: String) -> ClientError {
    ClientError::InvalidReply { endpoint: answer.endpoint.clone(), reason }
}
