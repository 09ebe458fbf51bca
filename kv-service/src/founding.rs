//! From a set of nodes that name each other to a cluster with an id.
//!
//! ```text
//!   blank directory ─▶ hello to every peer, with this node's store id
//!                          │ all have answered
//!                          ▼
//!                 stamp: founders and their stores, durably ─▶ cluster id ─▶ frames flow, the engine starts
//! ```
//!
//! A node stamps before its first vote and never again. So a node whose disk was wiped cannot slip back in: it has
//! another store id, and those who stamped the old one refuse it.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::{ClusterId, Member, Membership, NodeId, StoreId};
use storage_rocks::{Stamp, Store, cluster_id};
use transport_quic::{HelloRefused, QuicTransport, RefusalCause};

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
        return Ok((cluster, members(config, &stamp.founders)?));
    }
    let founders = meet(config, &stamp, transport).await?;
    let cluster = cluster_id(&founders);
    store.stamp_cluster(cluster, &founders)?;
    tracing::info!(%cluster, founders = founders.len(), "cluster founded");
    Ok((cluster, members(config, &founders)?))
}

/// Waits until every peer has told its store.
async fn meet(
    config: &NodeConfig,
    stamp: &Stamp,
    transport: &QuicTransport,
) -> Result<Vec<(NodeId, StoreId)>, ServiceError> {
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
            let mut all: Vec<(NodeId, StoreId)> = vec![(config.node, stamp.store)];
            all.extend(config.peers.keys().map(|peer| (*peer, founders[peer].store)));
            all.sort_unstable();
            let clusters = founders.values().filter_map(|founder| founder.cluster);
            check_cluster(cluster_id(&all), clusters)?;
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
                "a peer belongs to cluster {cluster}, whose founders are not the nodes named here (they would be {ours}); give every node the same --peer list, and never reuse a data directory"
            );
            return Err(ServiceError::Founding { reason });
        }
    }
    Ok(())
}

/// The founders as members: their stores from the stamp, their addresses from the configuration.
fn members(config: &NodeConfig, founders: &[(NodeId, StoreId)]) -> Result<Membership, ServiceError> {
    let stores: BTreeMap<NodeId, StoreId> = founders.iter().copied().collect();
    if let Some(stranger) = config.peers.keys().find(|peer| !stores.contains_key(peer)) {
        let reason = format!(
            "--peer names node {stranger}, but this cluster was founded by nodes {}; leave it out",
            list(stores.keys())
        );
        return Err(ServiceError::Founding { reason });
    }
    let mut members = Vec::new();
    for (node, store) in stores {
        let address = if node == config.node {
            config.listen.to_string()
        } else {
            config.peers.get(&node).cloned().ok_or_else(|| ServiceError::Founding {
                reason: format!("this cluster was founded with node {node} too; add --peer {node}=HOST:PORT"),
            })?
        };
        members.push((node, Member { address, store }));
    }
    Ok(Membership::of_voters(members))
}

fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}
