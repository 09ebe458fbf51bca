//! Whether the process lives, and whether it should be sent requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::Response;
use consensus_api::Tables;
use hyper::StatusCode;
use serde_json::json;

use super::context::{Context, json};
use crate::belonging;

/// `GET /health/live`: whoever can answer lives.
pub(super) async fn live() -> Response {
    json("{\"live\":true}")
}

/// `GET /health/ready`: this node is a member, a leader is known, and everything is applied that was committed when this
/// was last asked (or now, if less is asked for then). Held against the present commit index alone, a node under load would
/// hardly ever be ready: something is always committed and not applied yet.
pub(super) async fn ready<T: Tables>(State(context): State<Arc<Context<T>>>) -> Response {
    let status = context.service.log.status();
    let committed = status.engine.commit_index.0;
    let goal = context.ready_from.swap(committed, Ordering::Relaxed).min(committed);
    let member = context.service.identity.is_in(&status.engine.membership);
    let leader_known = status.engine.leader.is_some();
    let ready = member && leader_known && status.applied_index.0 >= goal;
    let mut answer = json!({
        "ready": ready,
        "member": member,
        "leader_known": leader_known,
        "commit_index": committed,
        "applied_index": status.applied_index.0,
    });
    if !member {
        answer["message"] = json!(belonging::NO_MEMBER);
    }
    let mut response = json(answer.to_string());
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
