//! The HTTP API: what may be asked for where.
//!
//! ```text
//!   connection ─▶ server ─▶ router ─▶ handler ─┬─ write: condition, limits ─▶ log.propose ─▶ reply
//!                                              └─ read: barrier, unless stale ─▶ tables
//! ```
//!
//! **A key is the rest of the path**, slashes and all, with its percent-encoding taken off once; so `/v1/kv/a/b` names
//! the key `a/b`, and any bytes can be a key. Only `POST` looks for a verb behind the key: the last segment of its path
//! must be `append`, and the key is what precedes the last slash. A key that itself ends in `/append` is thus
//! appended to at `/v1/kv/…/append/append`, and nothing is ambiguous.
//!
//! What a request asks for and this build does not know (a parameter, a header of an exactly-once session) is refused,
//! never ignored: a misspelt condition that was ignored would be an unconditional write.

mod admin;
mod conditions;
mod context;
mod errors;
mod health;
mod kv;
mod query;
mod scan;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;
mod txn;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, delete, get, post};
use consensus_api::{NodeId, Tables};

use crate::service::Service;
use context::Context;
use errors::ApiError;

pub use server::{CONNECTIONS_MAX, HttpServer};

/// The routes of a node.
pub fn router<T: Tables>(service: Arc<Service<T>>) -> Router {
    Router::new()
        .route("/v1/kv/{*key}", get(kv::get::<T>).put(kv::put::<T>).delete(kv::delete::<T>).post(kv::append::<T>))
        .route("/v1/kv/", any(|| async { ApiError::from(kv_machine::KvError::EmptyKey) }))
        .route("/v1/kv", get(scan::scan::<T>))
        .route("/v1/txn", post(txn::txn::<T>))
        .route("/v1/status", get(admin::status::<T>))
        .route("/v1/digest", get(admin::digest::<T>))
        .route("/v1/members", get(admin::members::<T>).post(admin::add_member::<T>))
        .route("/v1/members/{id}", delete(admin::remove_member::<T>))
        .route("/v1/leader/transfer", post(admin::transfer::<T>))
        .route("/v1/leader/campaign", post(admin::campaign::<T>))
        .route("/v1/snapshot", get(snapshot::download::<T>).post(snapshot::take::<T>))
        .route("/v1/sessions", any(sessions))
        .route("/v1/sessions/{id}", any(sessions))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready::<T>))
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .with_state(Arc::new(Context::new(service)))
}

/// What a node answers until its cluster is founded: that it lives, and whom it waits for.
pub fn founding_router(peers: impl IntoIterator<Item = NodeId>) -> Router {
    let peers: Vec<String> = peers.into_iter().map(|peer| peer.to_string()).collect();
    let message = format!("the cluster is being founded; start its other nodes ({})", peers.join(", "));
    let waiting = move || async move { ApiError::not_ready(message) };
    Router::new().route("/health/live", get(health::live)).fallback(waiting)
}

async fn sessions() -> ApiError {
    ApiError::unsupported("exactly-once sessions are")
}
