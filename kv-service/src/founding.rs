//! From a set of nodes that name each other to a cluster with an id.
//!
//! ```text
//!   blank directory ─▶ hello to every peer, with this node's store id
//!                          │ all have answered
//!                          ▼
//!       stamp: founders, addresses and stores, durably ─▶ cluster id ─▶ frames flow, the engine starts
//! ```
//!
//! A node stamps before its first vote and never again. So a node whose disk was wiped cannot slip back in: it has
//! another store id, and those who stamped the old one refuse it.

use std::collections::BTreeSet;

use consensus_api::{ClusterId, Member, Membership, NodeId};
use storage_rocks::{Stamp, Store, cluster_id};
use transport_quic::{Founder, HelloRefused, QuicTransport, RefusalCause};

use crate::config::NodeConfig;
use crate::error::ServiceError;

/// Who founded the cluster, as this node has stamped it; stamps it first if that is still to be done.
///
/// Waits as long as it takes for every peer to be heard of.
///
/// # Errors
/// [`ServiceError::Founding`] where the stamp or a peer says that this can never succeed.
pub async fn found(
    config: &NodeConfig,
    store: &Store,
    transport: &QuicTransport,
) -> Result<(ClusterId, Membership), ServiceError> {
    let stamp = store.stamp();
    if let Some(cluster) = stamp.cluster {
        return Ok((cluster, members(config, stamp.founders)?));
    }
    let founders = meet(config, &stamp, transport).await?;
    let cluster = cluster_id(&founders, stamp.restored_from);
    store.stamp_cluster(cluster, &founders)?;
    tracing::info!(%cluster, founders = founders.len(), "cluster founded");
    Ok((cluster, members(config, founders)?))
}

/// What a node says that is asked for something before its cluster is there.
pub fn waiting_for(config: &NodeConfig) -> String {
    match &config.join {
        None => format!("the cluster is being founded; start its other nodes ({})", list(config.peers.keys())),
        Some(join) => format!("this node asks for its place in the cluster, at {}", join.endpoints.join(", ")),
    }
}

/// Waits until every peer has told its store.
async fn meet(
    config: &NodeConfig,
    stamp: &Stamp,
    transport: &QuicTransport,
) -> Result<Vec<(NodeId, Member)>, ServiceError> {
    let mut heard = transport.founders();
    let mut refusals = transport.refusals();
    let mut told: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        // What cannot heal by waiting ends it: this node's place is taken by the store that it had before.
        for refusal in refusals.borrow_and_update().values() {
            if let RefusalCause::Hello(cause @ HelloRefused::DiskReplaced { .. }) = &refusal.cause
                && refusal.by_peer
            {
                return Err(ServiceError::Founding { reason: cause.to_string() });
            }
        }
        let founders = heard.borrow_and_update().clone();
        let missing: BTreeSet<NodeId> =
            config.peers.keys().filter(|peer| !founders.contains_key(peer)).copied().collect();
        if missing.is_empty() {
            let peer = |(node, founder): (&NodeId, &Founder)| {
                (*node, Member { address: founder.address.clone(), store: founder.store })
            };
            let mut all: Vec<(NodeId, Member)> =
                founders.iter().filter(|(node, _)| config.peers.contains_key(node)).map(peer).collect();
            all.push((config.node, Member { address: transport.address(), store: stamp.store }));
            all.sort_unstable();
            let clusters = founders.values().filter_map(|founder| founder.cluster);
            check_cluster(cluster_id(&all, stamp.restored_from), clusters)?;
            return Ok(all);
        }
        if missing != told {
            tracing::info!(missing = %list(&missing), "founding, waiting for peers");
            told = missing;
        }
        tokio::select! {
            Ok(()) = heard.changed() => {}
            Ok(()) = refusals.changed() => {}
            else => return Err(ServiceError::Founding { reason: "the transport has stopped".into() }),
        }
    }
}

/// A peer that was stamped before us must have stamped us.
fn check_cluster(ours: ClusterId, theirs: impl Iterator<Item = ClusterId>) -> Result<(), ServiceError> {
    for cluster in theirs {
        if cluster != ours {
            let reason = format!(
                "a peer belongs to cluster {cluster}, whose founders are not the nodes named here (they would be {ours}); give every node the same --peer list, restore all of them from the same snapshot file or none, let no node change its --listen while the cluster is founded, and never reuse a data directory"
            );
            return Err(ServiceError::Founding { reason });
        }
    }
    Ok(())
}

/// The founders as members, the same at every node: each of them has said itself where it is found.
fn members(config: &NodeConfig, founders: Vec<(NodeId, Member)>) -> Result<Membership, ServiceError> {
    let members = Membership::of_voters(founders);
    if let Some(stranger) = config.peers.keys().find(|peer| !members.contains(**peer)) {
        let reason = format!(
            "--peer names node {stranger}, but this cluster was founded by nodes {}; leave it out",
            list(&members.voters)
        );
        return Err(ServiceError::Founding { reason });
    }
    Ok(members)
}

fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}
