//! The HTTP API: what may be asked for where.
//!
//! ```text
//!   connection ─▶ server ─▶ request id ─▶ routes ─▶ handler ─┬─ write: conditions, session, limits ─▶ log ─▶ reply
//!                                                            ├─ read: barrier, unless stale ─▶ tables
//!                                                            └─ watch: recent changes, as they come ─▶ events
//! ```
//!
//! **A key is the rest of the path**, slashes and all, with its percent-encoding taken off once; so `/v1/kv/a/b` names
//! the key `a/b`, and any bytes can be a key. Only `POST` looks for a verb behind the key: the last segment of its path
//! must be `append`, and the key is what precedes the last slash. A key that itself ends in `/append` is thus
//! appended to at `/v1/kv/…/append/append`, and nothing is ambiguous.
//!
//! What a request asks for and this build does not know (a parameter, a session's header where it means nothing) is
//! refused, never ignored: a misspelt condition that was ignored would be an unconditional write.
//!
//! A write may be repeated safely within a session ([`sessions`]); any node may be asked, unless the client would rather be
//! sent to the leader ([`redirect`]). The whole of it, for programs, is in [`openapi`]; for people in `docs/http.md`.

mod admin;
mod conditions;
mod context;
mod errors;
mod headers;
mod health;
mod kv;
mod members;
mod metrics;
mod openapi;
mod query;
mod redirect;
mod request_ids;
mod routes;
mod scan;
mod server;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;
mod txn;
mod watch;
mod wish;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{any, get};
use consensus_api::Tables;

use crate::service::Service;
use context::Context;
use errors::ApiError;

pub use server::{CONNECTIONS_MAX, HttpServer};

/// The routes of a node.
pub fn router<T: Tables>(service: Arc<Service<T>>) -> Router {
    routes::routes::<T>()
        .route("/v1/kv/", any(|| async { ApiError::from(kv_machine::KvError::EmptyKey) }))
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn(request_ids::name))
        .with_state(Arc::new(Context::new(service)))
}

/// What a node answers until it belongs to a cluster: that it lives, and what it waits for, as is said at the moment.
pub fn waiting_router(waiting_for: tokio::sync::watch::Receiver<String>) -> Router {
    let waiting = move || async move { ApiError::no_leader(waiting_for.borrow().clone()) };
    Router::new().route("/health/live", get(health::live)).fallback(waiting).layer(from_fn(request_ids::name))
}
