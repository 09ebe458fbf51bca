//! How the node stands, and what an operator may ask of it besides other [members](super::members).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use consensus_api::{ReplicaStatus, Role, Tables};
use kv_client::protocol::{BallotReply, DigestReply, REDIRECT_PARAMETER, RoleReply, StatusReply, TransferReply};
use serde_json::json;

use super::context::{Context, json_of, outcome_of};
use super::errors::ApiError;
use super::members::{member_id, members_of};
use super::query::Query;
use super::redirect;

/// `GET /v1/status`.
pub(super) async fn status<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let identity = context.service.identity;
    let ReplicaStatus { engine, applied_index, snapshot_index, .. } = context.service.log.status();
    json_of(&StatusReply {
        engine: identity.engine.to_string(),
        node_id: identity.node.0,
        cluster_id: identity.cluster_id.to_string(),
        role: role(engine.role),
        leader_id: engine.leader.map(|node| node.0),
        ballot: BallotReply { round: engine.ballot.round, node: engine.ballot.node.0 },
        commit_index: engine.commit_index.0,
        applied_index: applied_index.0,
        last_index: engine.last_index.0,
        snapshot_index: snapshot_index.0,
        members_version: engine.membership.version,
        members_changing: engine.is_changing,
        members: members_of(&identity, &engine),
    })
}

/// `GET /v1/digest`.
pub(super) async fn digest<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let (index, digest) = context.service.log.digest().await.map_err(|error| ApiError::of_read(error, None))?;
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    json_of(&DigestReply { index: index.0, digest })
}

/// `POST /v1/leader/transfer`, to `?to=ID` or to the most advanced voter.
pub(super) async fn transfer<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &["to", REDIRECT_PARAMETER])?;
    redirect::unless_leader(&context, request.uri(), &query)?;
    let to = query.number("to")?.map(member_id).transpose()?;
    let outcome = context.service.log.transfer_leadership(to, context.service.request_timeout).await;
    outcome.map_err(|error| ApiError::of_write(error, context.leader()))?;
    outcome_of(&TransferReply { leader_id: context.leader().map(|node| node.0) })
}

/// `POST /v1/leader/campaign`: has this node try to lead, whoever leads now.
pub(super) async fn campaign<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let outcome = context.service.log.campaign().await;
    outcome.map_err(|error| ApiError::of_write(error, context.leader()))?;
    outcome_of(&json!({ "node_id": context.service.identity.node.0 }))
}

fn role(role: Role) -> RoleReply {
    match role {
        Role::Leader => RoleReply::Leader,
        Role::Follower => RoleReply::Follower,
        Role::Candidate => RoleReply::Candidate,
        Role::Learner => RoleReply::Learner,
    }
}
