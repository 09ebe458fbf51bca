//! Who belongs to the cluster, and how that is changed.
//!
//! ```text
//!   POST, DELETE ─▶ barrier: the members, once settled ─▶ what is wanted ─▶ the log, step by step ─▶ the members now
//!                                                             └─ it is so already ─────────────────────▲
//! ```
//!
//! A request says what is to be so, not what is to be done: whoever got no answer asks again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use consensus_api::membership_change::check;
use consensus_api::{
    AppliedMembership, EngineStatus, LogIndex, Member, Membership, NodeId, Refusal, ReplicaStatus, RequestError, Tables,
};
use kv_client::protocol::{
    FounderReply, MemberAddedReply, MemberReply, MemberRequest, MembersReply, REDIRECT_PARAMETER, TIMEOUT_PARAMETER,
};
use tokio::time::Instant;

use super::context::{Context, json_of, outcome_of};
use super::errors::ApiError;
use super::query::Query;
use super::redirect;
use super::wish::Wish;
use crate::service::Identity;

/// The longest body of a request for a member.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The longest that a change may be given: a newcomer may have to be sent all there is.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Between two looks at what this node shows of itself: most often it is a moment behind what it has applied.
const GLANCE: Duration = Duration::from_millis(2);

/// `GET /v1/members`.
pub(super) async fn members<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &[REDIRECT_PARAMETER])?;
    redirect::unless_leader(&context, request.uri(), &query)?;
    json_of(&reply(&context))
}

/// `POST /v1/members`: adds a member, promotes a learner, or tells where a member has moved to.
pub(super) async fn add<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let deadline = match deadline(&context, &request) {
        Ok(deadline) => deadline,
        Err(error) => return Err(context.turn_away(request, error).await),
    };
    let body = context.body(request, BODY_BYTES_MAX).await?;
    let request: MemberRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_input(format!("no member: {error}")))?;
    check_engine(&context.service.identity, request.engine.as_deref())?;
    let (expect_version, wish) = (request.expect_version, Wish::of(request)?);
    change(&context, expect_version, deadline, |present, applied| wish.target(present, applied)).await?;
    let origin = &context.service.origin;
    let founder = |(node, member): &(NodeId, Member)| FounderReply {
        id: node.0,
        address: member.address.clone(),
        store: member.store.to_string(),
    };
    outcome_of(&MemberAddedReply {
        members: reply(&context),
        founders: origin.founders.iter().map(founder).collect(),
        restored_from: origin.restored_from.map(|id| format!("{:032x}", id.0)),
    })
}

/// `DELETE /v1/members/{id}`.
pub(super) async fn remove<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let deadline = deadline(&context, &request)?;
    let node = member_id(id.parse().unwrap_or(0))?;
    change(&context, None, deadline, |present, _| {
        let mut target = present.clone();
        if drop_member(&mut target, node) { Ok(target) } else { Err(ApiError::no_such_member(node)) }
    })
    .await?;
    outcome_of(&reply(&context))
}

/// A node's id, which is not zero.
pub(super) fn member_id(id: u64) -> Result<NodeId, ApiError> {
    if id == 0 { Err(ApiError::bad_input("a node's id is a whole number from 1 on")) } else { Ok(NodeId(id)) }
}

/// The members as this node knows them, and how far each is.
pub(super) fn members_of(identity: &Identity, status: &EngineStatus) -> Vec<MemberReply> {
    let EngineStatus { membership, progress, commit_index, last_index, .. } = status;
    let member = |(node, member): (&NodeId, &Member)| {
        let matched = if *node == identity.node { Some(last_index) } else { progress.get(node) };
        MemberReply {
            id: node.0,
            address: member.address.clone(),
            store: member.store.to_string(),
            voter: membership.voters.contains(node),
            outgoing: membership.outgoing.contains(node) && !membership.voters.contains(node),
            matched_index: matched.map(|index| index.0),
            behind: matched.map(|index| commit_index.0.saturating_sub(index.0)),
        }
    };
    membership.members.iter().map(member).collect()
}

fn reply<T: Tables>(context: &Context<T>) -> MembersReply {
    let identity = context.service.identity;
    let status = context.service.log.status().engine;
    MembersReply {
        version: status.membership.version,
        changing: status.is_changing,
        leader_id: status.leader.map(|node| node.0),
        cluster_id: identity.cluster_id.to_string(),
        members: members_of(&identity, &status),
    }
}

/// Until when a change may take, by what the request says.
fn deadline<T: Tables>(context: &Arc<Context<T>>, request: &Request) -> Result<Instant, ApiError> {
    let query = Query::parse(request.uri(), &[TIMEOUT_PARAMETER, REDIRECT_PARAMETER])?;
    redirect::unless_leader(context, request.uri(), &query)?;
    let timeout = match query.number(TIMEOUT_PARAMETER)? {
        None => context.service.request_timeout,
        Some(0) => return Err(ApiError::bad_input("timeout_ms must be at least 1")),
        Some(millis) => Duration::from_millis(millis).min(TIMEOUT_MAX),
    };
    Ok(Instant::now() + timeout)
}

/// Brings the members to what `wanted` makes of the present ones, and of what the tables tell of those before.
async fn change<T: Tables>(
    context: &Context<T>,
    expect_version: Option<u64>,
    deadline: Instant,
    wanted: impl FnOnce(&Membership, &AppliedMembership) -> Result<Membership, ApiError>,
) -> Result<(), ApiError> {
    let log = &context.service.log;
    let of_log = |error: RequestError| ApiError::of_write(error, context.leader());
    let left = || deadline.saturating_duration_since(Instant::now());
    // A node that lags would have the members changed as it remembers them. Nothing is changed until that is known.
    let read = log.read_barrier(context.service.reads, left().min(context.service.request_timeout)).await;
    let index = read.map_err(|error| ApiError::of_read(error, context.leader()))?;
    let (present, applied) = settled_at(context, index, deadline).await?;
    let target = wanted(&present, &applied)?;
    if target.names_the_same(&present) {
        return Ok(());
    }
    if let Some(asked) = expect_version.filter(|asked| *asked != present.version) {
        return Err(of_log(Refusal::MembershipMoved { asked, present: present.version }.into()));
    }
    check(&present, &target).map_err(|refusal| of_log(refusal.into()))?;
    let index = log.change_membership(Arc::new(target), left()).await.map_err(of_log)?;
    shown_at(context, index, deadline).await;
    Ok(())
}

/// The members once no change of them is under way, and what the tables tell of them and of all before. Nothing is said of
/// members that are so but not yet for good: a new leader may never have heard of them.
async fn settled_at<T: Tables>(
    context: &Context<T>,
    index: LogIndex,
    deadline: Instant,
) -> Result<(Arc<Membership>, AppliedMembership), ApiError> {
    loop {
        let ReplicaStatus { engine, applied_index, .. } = context.service.log.status();
        if applied_index >= index && !engine.is_changing {
            let applied = context.service.applied_members()?;
            if applied.latest.version >= engine.membership.version {
                return Ok((engine.membership, applied));
            }
        }
        if Instant::now() >= deadline {
            return Err(ApiError::of_write(RequestError::from(Refusal::ChangePending), context.leader()));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until the node shows that it has applied `index`, which it has; or until the time is up.
async fn shown_at<T: Tables>(context: &Context<T>, index: LogIndex, deadline: Instant) {
    while context.service.log.status().applied_index < index && Instant::now() < deadline {
        tokio::time::sleep(GLANCE).await;
    }
}

/// Whether it was there.
pub(super) fn drop_member(membership: &mut Membership, node: NodeId) -> bool {
    membership.voters.remove(&node);
    membership.learners.remove(&node);
    membership.members.remove(&node).is_some()
}

fn check_engine(identity: &Identity, engine: Option<&str>) -> Result<(), ApiError> {
    match engine {
        Some(other) if other != identity.engine.as_str() => {
            let message = format!(
                "this cluster runs the engine {}, and the node that is to join it {}; start that one with --engine {} \
                 and a blank data directory",
                identity.engine,
                other.escape_debug(),
                identity.engine
            );
            Err(ApiError::bad_input(message))
        }
        _ => Ok(()),
    }
}
