//! Every request has a name, `X-Request-Id`: the client's, or one that is made here. It is in the answer and beside
//! everything that is logged on the way there.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use kv_client::protocol::REQUEST_ID_HEADER;
use tracing::Instrument;

use crate::chance;

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
/// A longer one is not taken over, but replaced.
const ID_BYTES_MAX: usize = 128;

/// Names the request, has it answered, and names the answer.
pub(super) async fn name(request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(made);
    let span = tracing::info_span!("http", request = id.to_str().unwrap_or_default());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answered = async {
        let response = next.run(request).await;
        tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), "answered");
        response
    };
    let mut response = answered.instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's name for it, if that is one that can be logged as it is.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let fits = (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    fits.then(|| id.clone())
}

/// A new name: this process's, and a number.
fn made() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(chance::number);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:016x}-{}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
    // Digits and a dash are a valid value.
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
