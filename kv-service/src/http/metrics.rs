//! `GET /metrics`: what this node has counted, for Prometheus. Any node answers for itself, whoever leads.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use consensus_api::Tables;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::context::Context;
use super::errors::ApiError;
use super::query::Query;
use crate::metrics;

/// Answers with the counters.
pub(super) async fn metrics<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let text = (context.service.counts)().to_text();
    let text = text.map_err(|error| ApiError::internal(format!("the counters cannot be written: {error}")))?;
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}
