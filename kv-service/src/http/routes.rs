//! Which method of which path is answered by what: the one table, which the router is made from and which the OpenAPI
//! document is held against.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use consensus_api::Tables;

use super::context::Context;
use super::{admin, health, kv, members, metrics, openapi, scan, sessions, snapshot, txn, watch};

/// A method of a path. `HEAD` is answered wherever `GET` is.
pub(super) struct Operation<T: Tables> {
    #[cfg(test)]
    pub(super) method: Method,
    /// As the document has it.
    pub(super) path: &'static str,
    handler: MethodRouter<Arc<Context<T>>>,
}

/// The methods that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Put => MethodFilter::PUT,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
        }
    }
}

fn operation<T, H, A>(method: Method, path: &'static str, handler: H) -> Operation<T>
where
    T: Tables,
    H: Handler<A, Arc<Context<T>>>,
    A: 'static,
{
    Operation {
        #[cfg(test)]
        method,
        path,
        handler: on(method.filter(), handler),
    }
}

/// Every method of every path.
pub(super) fn operations<T: Tables>() -> Vec<Operation<T>> {
    use Method::{Delete, Get, Post, Put};
    vec![
        operation(Get, "/v1/kv/{key}", kv::get::<T>),
        operation(Put, "/v1/kv/{key}", kv::put::<T>),
        operation(Delete, "/v1/kv/{key}", kv::delete::<T>),
        operation(Post, "/v1/kv/{key}/append", kv::append::<T>),
        operation(Get, "/v1/kv", scan::scan::<T>),
        operation(Post, "/v1/txn", txn::txn::<T>),
        operation(Get, "/v1/watch", watch::watch::<T>),
        operation(Post, "/v1/sessions", sessions::open::<T>),
        operation(Delete, "/v1/sessions/{id}", sessions::end::<T>),
        operation(Get, "/v1/status", admin::status::<T>),
        operation(Get, "/v1/digest", admin::digest::<T>),
        operation(Get, "/v1/members", members::members::<T>),
        operation(Post, "/v1/members", members::add::<T>),
        operation(Delete, "/v1/members/{id}", members::remove::<T>),
        operation(Post, "/v1/leader/transfer", admin::transfer::<T>),
        operation(Post, "/v1/leader/campaign", admin::campaign::<T>),
        operation(Get, "/v1/snapshot", snapshot::download::<T>),
        operation(Post, "/v1/snapshot", snapshot::take::<T>),
        operation(Get, "/v1/openapi.json", openapi::document),
        operation(Get, "/metrics", metrics::metrics::<T>),
        operation(Get, "/health/live", health::live),
        operation(Get, "/health/ready", health::ready::<T>),
    ]
}

/// The routes of these operations.
pub(super) fn routes<T: Tables>() -> Router<Arc<Context<T>>> {
    let add = |router: Router<_>, operation: Operation<T>| router.route(pattern(operation.path), operation.handler);
    operations().into_iter().fold(Router::new(), add)
}

/// A key is all that follows, slashes and all, up to the verb of a `POST`, which its handler takes off.
fn pattern(path: &'static str) -> &'static str {
    if path.starts_with("/v1/kv/{key}") { "/v1/kv/{*key}" } else { path }
}
