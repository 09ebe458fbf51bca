//! How the node stands, who belongs to the cluster, and what an operator may ask of it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use consensus_api::{Member, Membership, NodeId, ReplicaStatus, Role, StoreId, Tables};
use kv_client::protocol::{BallotReply, DigestReply, MemberReply, RoleReply, StatusReply};
use serde::Deserialize;
use serde_json::json;

use super::context::{Context, json_of, outcome_of};
use super::errors::ApiError;
use super::query::Query;

/// The longest body of a request to an operator's route.
const BODY_BYTES_MAX: usize = 64 << 10;

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
        members: members_of(&engine.membership),
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

/// `GET /v1/members`.
pub(super) async fn members<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let membership = context.service.log.status().engine.membership;
    json_of(&json!({ "members": members_of(&membership) }))
}

/// A node that is to become a member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMember {
    id: u64,
    address: String,
    /// The store id of its data directory, in hexadecimal.
    #[serde(default)]
    store: String,
    /// Receives the log without a vote.
    #[serde(default)]
    learner: bool,
}

/// `POST /v1/members`: `{"id":4,"address":"127.0.0.1:7004","store":"…","learner":true}`.
pub(super) async fn add_member<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let body = context.body(request, BODY_BYTES_MAX).await?;
    let new: NewMember =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_input(format!("no member: {error}")))?;
    let node = member_id(new.id)?;
    let store = match new.store.as_str() {
        "" => 0,
        hex => u128::from_str_radix(hex, 16).map_err(|_| {
            ApiError::bad_input("store must be a store id in hexadecimal; 'kv-service inspect' shows it")
        })?,
    };
    let mut target = Membership::clone(&context.service.log.status().engine.membership);
    target.members.insert(node, Member { address: new.address, store: StoreId(store) });
    let (joined, left) = if new.learner {
        (&mut target.learners, &mut target.voters)
    } else {
        (&mut target.voters, &mut target.learners)
    };
    joined.insert(node);
    left.remove(&node);
    change(&context, target).await
}

/// `DELETE /v1/members/{id}`.
pub(super) async fn remove_member<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    Query::parse(request.uri(), &[])?;
    let node = member_id(id.parse().unwrap_or(0))?;
    let mut target = Membership::clone(&context.service.log.status().engine.membership);
    if target.members.remove(&node).is_none() {
        return Err(ApiError::no_such_member(node));
    }
    target.voters.remove(&node);
    target.learners.remove(&node);
    if target.voters.is_empty() {
        return Err(ApiError::bad_input("the last voter cannot be removed; add another one first"));
    }
    change(&context, target).await
}

/// `POST /v1/leader/transfer`, to `?to=ID` or to the most advanced voter.
pub(super) async fn transfer<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let to = Query::parse(request.uri(), &["to"])?.number("to")?.map(member_id).transpose()?;
    let outcome = context.service.log.transfer_leadership(to, context.service.request_timeout).await;
    outcome.map_err(|error| ApiError::of_write(error, context.leader()))?;
    outcome_of(&json!({ "leader_id": context.leader().map(|node| node.0) }))
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

async fn change<T: Tables>(context: &Context<T>, mut target: Membership) -> Result<Response, ApiError> {
    // Who voted until now is for the engine to say.
    target.outgoing.clear();
    let outcome = context.service.log.change_membership(Arc::new(target), context.service.request_timeout).await;
    outcome.map_err(|error| ApiError::of_write(error, context.leader()))?;
    let membership = context.service.log.status().engine.membership;
    outcome_of(&json!({ "members": members_of(&membership) }))
}

fn member_id(id: u64) -> Result<NodeId, ApiError> {
    if id == 0 { Err(ApiError::bad_input("a node's id is a whole number from 1 on")) } else { Ok(NodeId(id)) }
}

fn members_of(membership: &Membership) -> Vec<MemberReply> {
    let member = |(node, member): (&NodeId, &Member)| MemberReply {
        id: node.0,
        address: member.address.clone(),
        voter: membership.is_voter(*node),
    };
    membership.members.iter().map(member).collect()
}

fn role(role: Role) -> RoleReply {
    match role {
        Role::Leader => RoleReply::Leader,
        Role::Follower => RoleReply::Follower,
        Role::Candidate => RoleReply::Candidate,
        Role::Learner => RoleReply::Learner,
    }
}
