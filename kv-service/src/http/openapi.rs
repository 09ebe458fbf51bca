//! `GET /v1/openapi.json`: the whole API for programs, as an OpenAPI 3.1 document. Its source is the file beside this one;
//! the tests hold it against the routes, the parameters and headers that the handlers take, and the error codes.

use axum::extract::Request;
use axum::response::Response;

use super::context::json;
use super::errors::ApiError;
use super::query::Query;

/// The document.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// Answers with the document.
pub(super) async fn document(request: Request) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    Ok(json(DOCUMENT))
}
