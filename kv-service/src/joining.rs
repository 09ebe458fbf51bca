//! From a blank directory to a place in a cluster that runs.
//!
//! ```text
//!   blank directory ─▶ POST /v1/members {id, address, store, engine, learner} to one member after the other
//!                          │ 503, or nobody there: again      │ refused for good: this process ends, and says what to do
//!                          ▼
//!       the founders, whose hash is the cluster's id ─▶ stamp, durably ─▶ the leader feeds the log or a snapshot
//! ```
//!
//! A node that joins begins where the cluster began, with its founders for members, and learns from the log who they are
//! now; itself it finds among them as a learner. A crash on the way loses nothing: the same directory asks for the same
//! again. Once it is stamped it asks no more.

use std::time::Duration;

use consensus_api::{ClusterId, Member, Membership, NodeId, SnapshotId, StoreId};
use hyper::Method;
use kv_client::protocol::{ErrorCode, FounderReply, MemberAddedReply, MemberRequest};
use kv_client::{ClientError, HttpClient};
use storage_rocks::{Stamp, Store, cluster_id};
use tokio::sync::watch;
use transport_quic::QuicTransport;

use crate::config::{Join, NodeConfig};
use crate::error::ServiceError;
use crate::service::Origin;

/// How long one member is waited for before the next one is asked.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(500);
/// A little less than [`ATTEMPT`], so that a member that cannot do it in time can say so.
const PATH: &str = "/v1/members?timeout_ms=4500";

/// Asks for a place, for as long as it takes, and stamps what it is told. `waiting_for` is told what is being waited for.
///
/// # Errors
/// [`ServiceError::Joining`] where it can never succeed as things are.
pub async fn join(
    config: &NodeConfig,
    join: &Join,
    store: &Store,
    transport: &QuicTransport,
    waiting_for: &watch::Sender<String>,
) -> Result<(ClusterId, Membership), ServiceError> {
    let stamp = store.stamp();
    refuse_restored(&stamp)?;
    let request = request(config, &stamp, transport.address());
    let (endpoint, reply) = ask(join, &request, waiting_for).await?;
    let (cluster, origin) = origin_of(&reply).map_err(|reason| refused(&endpoint, &reason))?;
    store.stamp_joined(cluster, &origin.founders, origin.restored_from)?;
    tracing::info!(%cluster, members = reply.members.members.len(), version = reply.members.version, "joined");
    Ok((cluster, Membership::of_voters(origin.founders)))
}

/// What a node asks for that joins: a place without a vote, which no quorum waits for.
fn request(config: &NodeConfig, stamp: &Stamp, address: String) -> MemberRequest {
    MemberRequest {
        id: config.node.0,
        address: Some(address),
        store: Some(stamp.store.to_string()),
        learner: true,
        engine: Some(config.engine.to_string()),
        ..MemberRequest::default()
    }
}

/// Tables that came from somewhere else would never be those of the cluster.
fn refuse_restored(stamp: &Stamp) -> Result<(), ServiceError> {
    match stamp.restored_from {
        None => Ok(()),
        Some(snapshot) => {
            let reason = format!(
                "the data directory was made from snapshot {:032x}, and a node that joins gets its tables from the \
                 cluster; use a blank directory, or found a new cluster from this one with --peer",
                snapshot.0
            );
            Err(ServiceError::Joining { reason })
        }
    }
}

/// Asks one member after the other, round after round.
async fn ask(
    join: &Join,
    request: &MemberRequest,
    waiting_for: &watch::Sender<String>,
) -> Result<(String, MemberAddedReply), ServiceError> {
    // With the last word of each.
    let mut members = Vec::new();
    for endpoint in &join.endpoints {
        members.push((endpoint, HttpClient::new([endpoint])?, String::new()));
    }
    loop {
        for (endpoint, client, said) in &mut members {
            let error = match client.call(Method::POST, PATH, Some(request), ATTEMPT).await {
                Ok(reply) => return Ok(((*endpoint).clone(), reply)),
                Err(error) => error,
            };
            if is_final(&error) {
                return Err(refused(endpoint, &error.to_string()));
            }
            let error = error.to_string();
            if *said != error {
                tracing::info!(%endpoint, %error, "joining, not taken in yet");
                *said = error;
            }
        }
        let words = members.iter().map(|(endpoint, _, said)| format!("{endpoint}: {said}"));
        let words = words.collect::<Vec<_>>().join("; ");
        waiting_for.send_replace(format!("this node waits for its place in the cluster ({words})"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether asking again would be answered alike until somebody does something about it.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Api { code, status, .. } => match code {
            ErrorCode::BadInput
            | ErrorCode::NotFound
            | ErrorCode::IdInUse
            | ErrorCode::TooLarge
            | ErrorCode::Unsupported => true,
            // A later build's word, or that of something that is no node.
            ErrorCode::Other => *status < 500,
            _ => false,
        },
        ClientError::InvalidReply { .. } | ClientError::Endpoint { .. } => true,
        _ => false,
    }
}

fn refused(endpoint: &str, reason: &str) -> ServiceError {
    ServiceError::Joining { reason: format!("{endpoint} says: {reason}; then start this node again") }
}

/// What the cluster began with, which must be what its id is the hash of: a stamp is for ever.
fn origin_of(reply: &MemberAddedReply) -> Result<(ClusterId, Origin), String> {
    let number =
        |text: &str| u128::from_str_radix(text, 16).map_err(|_| format!("'{text}' is no id; run the same build"));
    let founder = |founder: &FounderReply| -> Result<(NodeId, Member), String> {
        let member = Member { address: founder.address.clone(), store: StoreId(number(&founder.store)?) };
        Ok((NodeId(founder.id), member))
    };
    let mut founders = reply.founders.iter().map(founder).collect::<Result<Vec<_>, _>>()?;
    founders.sort_unstable();
    let restored_from = reply.restored_from.as_deref().map(number).transpose()?.map(SnapshotId);
    let (said, found) = (ClusterId(number(&reply.members.cluster_id)?), cluster_id(&founders, restored_from));
    if said != found || founders.is_empty() {
        return Err(format!(
            "it is of cluster {said}, but the founders that it names are those of {found}; run the same build on every \
             node, and name a member of the cluster with --join"
        ));
    }
    Ok((said, Origin { founders, restored_from }))
}

#[cfg(test)]
mod tests;
