//! One key: read, write, append, delete. The hot path: bytes in, bytes out, small answers written by hand.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use consensus_api::{Blob, Tables};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use kv_client::protocol::{
    CONSISTENCY_PARAMETER, EPHEMERAL_HEADER, EPHEMERAL_PARAMETER, EXPECT_VERSION_PARAMETER, REDIRECT_PARAMETER,
    REVISION_HEADER, VERSION_HEADER,
};
use kv_machine::{Command, Item, KvError, Operation, Reply, SessionTag};

use super::conditions::{Conditions, ReadConditions, Reading, settled};
use super::context::{Context, json};
use super::errors::ApiError;
use super::query::{Query, decode};
use super::{redirect, sessions};

const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const REVISION: HeaderName = HeaderName::from_static(REVISION_HEADER);
const EPHEMERAL: HeaderName = HeaderName::from_static(EPHEMERAL_HEADER);

const PREFIX: &str = "/v1/kv/";

/// `GET /v1/kv/{key}`.
pub(super) async fn get<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[CONSISTENCY_PARAMETER, REDIRECT_PARAMETER])?;
    sessions::none_for_a_read(request.headers())?;
    let conditions = ReadConditions::parse(request.headers())?;
    let key = key(request.uri(), "")?;
    redirect::unless_leader(&context, request.uri(), &query)?;
    context.barrier(&query).await?;
    // A point read takes a few microseconds, less than handing it to another thread would.
    let kv = &context.service.kv;
    let read = kv.revision().and_then(|revision| Ok((revision, kv.get(&key)?)));
    let (revision, item) = read.map_err(|error| context.failed_read(error))?;
    let item = item.ok_or_else(ApiError::no_such_key)?;
    match conditions.judge(item.mod_revision) {
        Reading::Refused => Err(ApiError::mismatch(item.version, item.mod_revision)),
        reading => Ok(found(item, revision, reading == Reading::Unchanged)),
    }
}

/// `PUT /v1/kv/{key}`.
pub(super) async fn put<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let parameters = [EXPECT_VERSION_PARAMETER, EPHEMERAL_PARAMETER, REDIRECT_PARAMETER];
    let (request, target, query) = target(&context, request, &parameters, "").await?;
    let ephemeral = query.flag(EPHEMERAL_PARAMETER)?;
    if ephemeral && target.session.is_none() {
        return Err(context.turn_away(request, ApiError::session_needed()).await);
    }
    let value = Blob(context.body(request, context.service.limits.value_bytes_max).await?);
    let Target { key, conditions, session } = target;
    let command = match (conditions.short(), ephemeral) {
        (Some(expect), false) => Command::Put { key, value, expect },
        (Some(expect), true) => Command::PutEphemeral { key, value, expect },
        (None, false) => conditions.guard(key.clone(), Operation::Put { key, value }),
        (None, true) => conditions.guard(key.clone(), Operation::PutEphemeral { key, value }),
    };
    written(context.write(command, session).await?, session)
}

/// `POST /v1/kv/{key}/append`.
pub(super) async fn append<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let parameters = [EXPECT_VERSION_PARAMETER, REDIRECT_PARAMETER];
    let (request, target, _) = target(&context, request, &parameters, "/append").await?;
    let suffix = Blob(context.body(request, context.service.limits.value_bytes_max).await?);
    let Target { key, conditions, session } = target;
    let command = match conditions.short() {
        Some(expect) => Command::Append { key, suffix, expect },
        None => conditions.guard(key.clone(), Operation::Append { key, suffix }),
    };
    written(context.write(command, session).await?, session)
}

/// `DELETE /v1/kv/{key}`.
pub(super) async fn delete<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let parameters = [EXPECT_VERSION_PARAMETER, REDIRECT_PARAMETER];
    let (_, Target { key, conditions, session }, _) = target(&context, request, &parameters, "").await?;
    let command = match conditions.short() {
        Some(expect) => Command::Delete { key, expect },
        None => conditions.guard(key.clone(), Operation::Delete { key }),
    };
    match settled(context.write(command, session).await?)? {
        Reply::Deleted { deleted, revision } => Ok(json(format!("{{\"deleted\":{deleted},\"revision\":{revision}}}"))),
        other => Err(ApiError::out_of_place(&other, session)),
    }
}

/// What a write is about, on which conditions, and its place in a session.
struct Target {
    key: Blob,
    conditions: Conditions,
    session: Option<SessionTag>,
}

/// The target of a write, and the request again for its body. One that is refused is refused so that the client hears it.
async fn target<T: Tables>(
    context: &Arc<Context<T>>,
    request: Request,
    parameters: &[&str],
    verb: &str,
) -> Result<(Request, Target, Query), ApiError> {
    match parsed(context, &request, parameters, verb) {
        Ok((target, query)) => Ok((request, target, query)),
        Err(error) => Err(context.turn_away(request, error).await),
    }
}

fn parsed<T: Tables>(
    context: &Arc<Context<T>>,
    request: &Request,
    parameters: &[&str],
    verb: &str,
) -> Result<(Target, Query), ApiError> {
    let query = Query::parse(request.uri(), parameters)?;
    let conditions = Conditions::of_write(request.headers(), &query)?;
    let session = sessions::tag(request.headers())?;
    let key = Blob(key(request.uri(), verb)?);
    redirect::unless_leader(context, request.uri(), &query)?;
    Ok((Target { key, conditions, session }, query))
}

/// The key in the path, before `verb`.
fn key(uri: &Uri, verb: &str) -> Result<Bytes, ApiError> {
    let rest = uri.path().strip_prefix(PREFIX).ok_or_else(ApiError::no_such_path)?;
    let text = rest.strip_suffix(verb).ok_or_else(|| {
        ApiError::bad_input("POST to a key needs a verb behind it: /v1/kv/KEY/append; to set a value, use PUT")
    })?;
    let key = decode(text)?;
    if key.is_empty() { Err(KvError::EmptyKey.into()) } else { Ok(key) }
}

fn written(reply: Reply, session: Option<SessionTag>) -> Result<Response, ApiError> {
    match settled(reply)? {
        Reply::Written { version, revision } => {
            let mut response = json(format!("{{\"version\":{version},\"revision\":{revision}}}"));
            response.headers_mut().insert(ETAG, etag(revision));
            Ok(response)
        }
        other => Err(ApiError::out_of_place(&other, session)),
    }
}

/// The value, with what is known of it in headers; the headers alone if the client has the value already.
fn found(item: Item, revision: u64, unchanged: bool) -> Response {
    let mut response = Response::new(Body::empty());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(item.value.0);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    let headers = response.headers_mut();
    headers.insert(ETAG, etag(item.mod_revision));
    if let Some(session) = item.session.and_then(|session| HeaderValue::try_from(session.to_string()).ok()) {
        headers.insert(EPHEMERAL, session);
    }
    headers.insert(VERSION, HeaderValue::from(item.version));
    // The revision was read before the item, which may have changed in between: then it is what stood at its own.
    headers.insert(REVISION, HeaderValue::from(revision.max(item.mod_revision)));
    response
}

/// The entity tag of a revision. A version would not do: it repeats after a delete and a new creation.
fn etag(revision: u64) -> HeaderValue {
    // Digits between quotes are a valid value.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
