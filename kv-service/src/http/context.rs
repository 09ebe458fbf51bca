//! What the handlers share: the service, how to write through it and how to make a read as fresh as was asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use consensus_api::{NodeId, Tables};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderValue};
use kv_client::protocol::{CONSISTENCY_PARAMETER, Consistency, REDIRECT_PARAMETER};
use kv_machine::{Command, KvError, Reply, Request as KvRequest, SessionTag};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::errors::ApiError;
use super::query::Query;
use crate::service::Service;

/// How much of a refused body is read before the connection is given up.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How many snapshots are downloaded at a time: each keeps one from being removed.
const DOWNLOADS_MAX: usize = 2;

/// One node's service as the handlers see it.
pub(super) struct Context<T: Tables> {
    /// The service.
    pub(super) service: Arc<Service<T>>,
    /// What was committed when readiness was last asked for; see [`super::health`].
    pub(super) ready_from: AtomicU64,
    /// One permit for each snapshot that may be downloaded at a time.
    pub(super) downloads: Arc<Semaphore>,
}

impl<T: Tables> Context<T> {
    /// The context of a service.
    pub(super) fn new(service: Arc<Service<T>>) -> Context<T> {
        let downloads = Arc::new(Semaphore::new(DOWNLOADS_MAX));
        Context { service, ready_from: AtomicU64::new(u64::MAX), downloads }
    }

    /// Whom this node takes for the leader.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.service.log.status().engine.leader
    }

    /// Checks a command, has it chosen and applied, and returns what the machine said, where that is a success.
    pub(super) async fn write(&self, command: Command, session: Option<SessionTag>) -> Result<Reply, ApiError> {
        command.check(&self.service.limits)?;
        let requests = vec![KvRequest { session, command }];
        let replies = self.service.submit(requests, self.service.request_timeout).await;
        let reply = replies.and_then(|mut replies| replies.pop().ok_or_else(|| KvError::NotOneReply.into()));
        ApiError::unless_success(reply.map_err(|error| ApiError::of_write(error, self.leader()))?)
    }

    /// Waits until a read of the tables is as fresh as `?consistency=` asks for; linearizable by default.
    pub(super) async fn barrier(&self, query: &Query) -> Result<(), ApiError> {
        let consistency = match query.bytes(CONSISTENCY_PARAMETER).as_deref() {
            None | Some(b"linearizable") => Consistency::Linearizable,
            Some(b"lease") => Consistency::Lease,
            Some(b"stale") if query.flag(REDIRECT_PARAMETER)? => {
                let message = "consistency=stale is for the node that is asked; leave out it or redirect=1";
                return Err(ApiError::bad_input(message));
            }
            Some(b"stale") => Consistency::Stale,
            Some(_) => return Err(ApiError::bad_input("consistency must be linearizable, lease or stale")),
        };
        self.freshen(consistency).await
    }

    /// Waits until a read of the tables is as fresh as this.
    pub(super) async fn freshen(&self, consistency: Consistency) -> Result<(), ApiError> {
        let outcome = self.service.freshen(consistency, self.service.request_timeout).await;
        outcome.map_err(|error| ApiError::of_read(error, self.leader()))
    }

    /// The answer to a read that the tables failed. Where they are broken, the node stops.
    pub(super) fn failed_read(&self, error: KvError) -> ApiError {
        self.service.stop_if_broken(&error);
        ApiError::from(error)
    }

    /// Refuses a request whose body was not looked at, once the client can hear it; see [`Context::discard`].
    pub(super) async fn turn_away(&self, request: Request, error: ApiError) -> ApiError {
        if !request.headers().contains_key(EXPECT) {
            self.discard(request.into_body()).await;
        }
        error
    }

    /// The whole body, if it has no more than `bytes_max` and arrives in time.
    pub(super) async fn body(&self, request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
        let too_large =
            || ApiError::too_large(format!("the body is over the limit of {bytes_max} bytes; make it smaller"));
        let announced = hyper::body::Body::size_hint(request.body()).lower();
        let waits_for_leave = request.headers().contains_key(EXPECT);
        if announced > bytes_max as u64 {
            if !waits_for_leave {
                self.discard(request.into_body()).await;
            }
            return Err(too_large());
        }
        let mut body = request.into_body();
        let collect = Limited::new(&mut body, bytes_max).collect();
        match tokio::time::timeout(self.service.request_timeout, collect).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.discard(body).await;
                Err(too_large())
            }
            Ok(Err(error)) => Err(ApiError::bad_input(format!("the body did not arrive whole: {error}"))),
            Err(_) => Err(ApiError::bad_input("the body did not arrive in time; send it faster")),
        }
    }

    /// Reads the rest of a refused body, within bounds, and forgets it. A client that is still sending when the
    /// connection closes sees a broken pipe and never the refusal, and cannot tell whether its write took place.
    async fn discard(&self, body: Body) {
        let rest = async {
            let mut body = body;
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > DISCARDED_BYTES_MAX {
                    break;
                }
            }
        };
        // Late or not, what follows is the refusal.
        let _ = tokio::time::timeout(self.service.request_timeout, rest).await;
    }
}

/// A success with this JSON text.
pub(super) fn json(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A success with this value as JSON, in answer to a request that changes nothing.
pub(super) fn json_of(value: &impl Serialize) -> Result<Response, ApiError> {
    let text = serde_json::to_vec(value);
    text.map(json).map_err(|error| ApiError::internal(format!("the answer cannot be written as JSON: {error}")))
}

/// The same in answer to a request that was carried out: that its answer cannot be written takes nothing back.
pub(super) fn outcome_of(value: &impl Serialize) -> Result<Response, ApiError> {
    let text = serde_json::to_vec(value);
    text.map(json).map_err(|error| ApiError::unknown(format!("carried out; the answer cannot be written: {error}")))
}
