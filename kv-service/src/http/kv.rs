//! One key: read, write, append, delete. The hot path: bytes in, bytes out, small answers written by hand.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use consensus_api::{Blob, Tables};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode, Uri};
use kv_client::protocol::{CONSISTENCY_PARAMETER, EXPECT_VERSION_PARAMETER, REVISION_HEADER, VERSION_HEADER};
use kv_machine::{Command, Expect, Item, KvError, Reply};

use super::conditions;
use super::context::{Context, json};
use super::errors::ApiError;
use super::query::{Query, decode};

const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const REVISION: HeaderName = HeaderName::from_static(REVISION_HEADER);

const PREFIX: &str = "/v1/kv/";

/// `GET /v1/kv/{key}`.
pub(super) async fn get<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[CONSISTENCY_PARAMETER, "redirect"])?;
    context.refuse_unsupported(request.headers(), &query)?;
    let key = key(request.uri(), "")?;
    context.barrier(&query).await?;
    // A point read takes a few microseconds, less than handing it to another thread would.
    let kv = &context.service.kv;
    let read = kv.revision().and_then(|revision| Ok((revision, kv.get(&key)?)));
    let (revision, item) = read.map_err(|error| context.failed_read(error))?;
    let item = item.ok_or_else(ApiError::no_such_key)?;
    let unchanged = conditions::known_revision(request.headers()) == Some(item.mod_revision);
    Ok(found(item, revision, unchanged))
}

/// `PUT /v1/kv/{key}`.
pub(super) async fn put<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (key, expect) = target(&context, request.uri(), request.headers(), "")?;
    let value = Blob(context.body(request, context.service.limits.value_bytes_max).await?);
    context.write(&Command::Put { key, value, expect }).await.map(written)?
}

/// `POST /v1/kv/{key}/append`.
pub(super) async fn append<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (key, expect) = target(&context, request.uri(), request.headers(), "/append")?;
    let suffix = Blob(context.body(request, context.service.limits.value_bytes_max).await?);
    context.write(&Command::Append { key, suffix, expect }).await.map(written)?
}

/// `DELETE /v1/kv/{key}`.
pub(super) async fn delete<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (key, expect) = target(&context, request.uri(), request.headers(), "")?;
    match context.write(&Command::Delete { key, expect }).await? {
        Reply::Deleted { deleted, revision } => Ok(json(format!("{{\"deleted\":{deleted},\"revision\":{revision}}}"))),
        other => Err(out_of_place(&other)),
    }
}

/// What a write is about, and on which condition.
fn target<T: Tables>(
    context: &Context<T>,
    uri: &Uri,
    headers: &HeaderMap,
    verb: &str,
) -> Result<(Blob, Expect), ApiError> {
    let query = Query::parse(uri, &[EXPECT_VERSION_PARAMETER, "redirect"])?;
    context.refuse_unsupported(headers, &query)?;
    Ok((Blob(key(uri, verb)?), conditions::expect(headers, &query)?))
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

fn written(reply: Reply) -> Result<Response, ApiError> {
    match reply {
        Reply::Written { version, revision } => {
            let mut response = json(format!("{{\"version\":{version},\"revision\":{revision}}}"));
            response.headers_mut().insert(ETAG, etag(revision));
            Ok(response)
        }
        other => Err(out_of_place(&other)),
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

/// The machine answered another kind of command than was proposed.
pub(super) fn out_of_place(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "reply out of place");
    ApiError::internal("the machine's reply does not fit the command; run the same build on every node")
}
