//! `?redirect=1`: a client that would rather ask the leader itself than have its request forwarded is told where it is.
//!
//! Where a node serves HTTP is in no membership: each node tells it to its peers when they connect.

use std::sync::Arc;

use consensus_api::{Role, Tables};
use hyper::Uri;
use hyper::http::uri::Authority;
use kv_client::protocol::REDIRECT_PARAMETER;

use super::context::Context;
use super::errors::ApiError;
use super::query::Query;

/// Sends the client to the leader, if it asks for that and this node does not lead.
pub(super) fn unless_leader<T: Tables>(context: &Arc<Context<T>>, uri: &Uri, query: &Query) -> Result<(), ApiError> {
    if !query.flag(REDIRECT_PARAMETER)? {
        return Ok(());
    }
    let status = context.service.log.status().engine;
    if status.role == Role::Leader {
        return Ok(());
    }
    let Some(leader) = status.leader else {
        return Err(ApiError::no_leader("nobody leads, as far as this node knows; try again"));
    };
    // A peer's word; it must not become anything but a host and a port.
    let address: Option<Authority> = (context.service.http_address_of)(leader).and_then(|text| text.parse().ok());
    match address.filter(|address| address.port().is_some() && !address.as_str().contains('@')) {
        Some(address) => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            Err(ApiError::elsewhere(leader, format!("http://{address}{path}")))
        }
        None => {
            let message = format!("node {leader} leads and has not told where it serves HTTP; leave out redirect=1");
            Err(ApiError::no_leader(message).led_by(Some(leader)))
        }
    }
}
