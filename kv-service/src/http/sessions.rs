//! Exactly-once over HTTP: a write names its session and its number there, and may be repeated until it is answered.
//!
//! ```text
//!   POST /v1/sessions {"session": "32 hex digits"}          opens it; the same again keeps it alive
//!   PUT  /v1/kv/k   Quorate-Session: …  Quorate-Request: 1  ─✗ no answer
//!   PUT  /v1/kv/k   Quorate-Session: …  Quorate-Request: 1  ─▶ the first answer; carried out once
//!   DELETE /v1/sessions/…                                   ends it, with its ephemeral keys
//! ```

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use consensus_api::Tables;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};
use kv_client::protocol::{
    ACKED_BELOW_HEADER, REDIRECT_PARAMETER, REQUEST_HEADER, SESSION_HEADER, SessionEndReply, SessionReply,
    SessionRequest,
};
use kv_machine::{Command, KvError, Reply, SESSION_TTL_MS_DEFAULT, SessionId, SessionTag};

use super::context::{Context, outcome_of};
use super::errors::ApiError;
use super::headers::{number, single};
use super::query::Query;
use super::redirect;
use crate::chance;

/// The longest body.
const BODY_BYTES_MAX: usize = 4 << 10;

/// A write's place in its session, if it has one.
pub(super) fn tag(headers: &HeaderMap) -> Result<Option<SessionTag>, ApiError> {
    let session = single(headers, SESSION_HEADER)?;
    let request = number(headers, REQUEST_HEADER)?;
    let acked_below = number(headers, ACKED_BELOW_HEADER)?;
    let (session, request) = match (session, request) {
        (Some(session), Some(request)) => (session, request),
        (None, None) if acked_below.is_none() => return Ok(None),
        _ => {
            let message = "Quorate-Session and Quorate-Request go together, Quorate-Acked-Below only with both";
            return Err(ApiError::bad_input(message));
        }
    };
    let session: SessionId = session.parse()?;
    let acked_below = acked_below.unwrap_or(request);
    if request == 0 || acked_below == 0 || acked_below > request {
        let message = "Quorate-Request counts from 1, and Quorate-Acked-Below from 1 to Quorate-Request";
        return Err(ApiError::bad_input(message));
    }
    Ok(Some(SessionTag { session, number: request, acked_below }))
}

/// A read needs no session: to repeat it harms nobody. Ignored, the headers would promise something.
pub(super) fn none_for_a_read(headers: &HeaderMap) -> Result<(), ApiError> {
    let given =
        [SESSION_HEADER, REQUEST_HEADER, ACKED_BELOW_HEADER].into_iter().find(|name| headers.contains_key(*name));
    match given {
        Some(name) => Err(ApiError::bad_input(format!("the header {name} belongs to writes; leave it out of a read"))),
        None => Ok(()),
    }
}

/// `POST /v1/sessions`: opens a session, or carries the life of an open one forward.
pub(super) async fn open<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let checked = Query::parse(request.uri(), &[REDIRECT_PARAMETER])
        .and_then(|query| redirect::unless_leader(&context, request.uri(), &query));
    if let Err(error) = checked {
        return Err(context.turn_away(request, error).await);
    }
    let body = context.body(request, BODY_BYTES_MAX).await?;
    let wanted = if body.is_empty() { Ok(SessionRequest::default()) } else { serde_json::from_slice(&body) };
    let wanted = wanted.map_err(|error| ApiError::bad_input(format!("no session: {error}")))?;
    if wanted.ttl_ms == Some(0) {
        return Err(ApiError::bad_input("ttl_ms must be at least 1; what is out of bounds is brought within them"));
    }
    let named = wanted.session.as_deref().map(str::parse::<SessionId>).transpose()?;
    let session = named.unwrap_or_else(draw);
    let ttl_ms = wanted.ttl_ms.unwrap_or(SESSION_TTL_MS_DEFAULT);
    match context.write(Command::OpenSession { session, ttl_ms }, None).await? {
        Reply::SessionOpened { ttl_ms } => {
            let mut response = outcome_of(&SessionReply { session: session.to_string(), ttl_ms })?;
            if named.is_none() {
                *response.status_mut() = StatusCode::CREATED;
                if let Ok(location) = HeaderValue::try_from(format!("/v1/sessions/{session}")) {
                    response.headers_mut().insert(LOCATION, location);
                }
            }
            Ok(response)
        }
        other => Err(ApiError::out_of_place(&other, None)),
    }
}

/// `DELETE /v1/sessions/{id}`: ends a session. To end one that is not open changes nothing.
pub(super) async fn end<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[REDIRECT_PARAMETER])?;
    redirect::unless_leader(&context, request.uri(), &query)?;
    let session = id.parse().map_err(|error: KvError| ApiError::from(error))?;
    match context.write(Command::CloseSession { session }, None).await? {
        Reply::SessionClosed { existed, revision } => outcome_of(&SessionEndReply { ended: existed, revision }),
        other => Err(ApiError::out_of_place(&other, None)),
    }
}

/// A session's id of 128 bits of chance.
fn draw() -> SessionId {
    let half = || u128::from(chance::number());
    SessionId(half() << 64 | half())
}
