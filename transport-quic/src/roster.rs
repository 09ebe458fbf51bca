//! The peers that there are now, each with the connection it dialed, the connection we dialed, and what waits for it.
//!
//! Every change of the membership and every new link passes through here under one lock, so that a link is always
//! judged by the membership of the moment: none slips in beside a removal.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus_api::{ClusterId, Lane, Membership, NodeId};

use crate::context::SharedContext;
use crate::hello::HelloRefused;
use crate::link::{CLOSE_DONE, Link, close_refused};
use crate::peer::Peer;
use crate::standing::{Place, Standing};

/// The most peers that are served although our membership does not name them.
const GUESTS_MAX: usize = 16;

/// All peers.
#[derive(Debug)]
pub(crate) struct Roster {
    standing: Standing,
    peers: BTreeMap<NodeId, Peer>,
}

impl Roster {
    pub(crate) fn new(standing: Standing) -> Roster {
        Roster { standing, peers: BTreeMap::new() }
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(crate) fn peers(&self) -> &BTreeMap<NodeId, Peer> {
        &self.peers
    }

    /// Queues a message; drops it where the peer is unknown or not connected.
    pub(crate) fn send(&self, to: NodeId, lane: Lane, payload: Bytes) {
        if let Some(peer) = self.peers.get(&to) {
            peer.lanes().send(lane, payload);
        }
    }

    /// Starts to dial everyone who is known.
    pub(crate) fn dial_known(&mut self, context: &SharedContext) {
        let known: Vec<NodeId> = self.standing.known().keys().copied().collect();
        known.into_iter().for_each(|node| self.settle(context, node));
    }

    /// Changes the members, and the cluster where one is given; then looks at every link anew.
    pub(crate) fn set_members(&mut self, context: &SharedContext, cluster: Option<ClusterId>, membership: &Membership) {
        if let Some(cluster) = cluster {
            self.standing.set_cluster(cluster);
        }
        self.standing.set_members(membership);
        let everyone: BTreeSet<NodeId> = self.standing.known().keys().chain(self.peers.keys()).copied().collect();
        everyone.into_iter().for_each(|node| self.settle(context, node));
        for link in self.peers.values().flat_map(Peer::links) {
            if let Err(reason) = self.standing.check(&link.hello) {
                close_refused(&link.connection, &reason);
            }
        }
    }

    /// Dials a peer where it is to be dialed as things stand, or lets go of it.
    fn settle(&mut self, context: &SharedContext, node: NodeId) {
        let incoming = self.peers.get(&node).and_then(Peer::incoming);
        let address = match (self.standing.place_of(node, incoming.map(|link| &link.hello)), incoming) {
            (Place::Recorded(address), _) => address,
            // It dialed from the socket on which it listens.
            (Place::WhereItCameFrom, Some(link)) => link.connection.remote_address().to_string(),
            (Place::WhereItCameFrom, None) | (Place::Nowhere, _) => return self.let_go(context, node),
        };
        match self.peers.get_mut(&node) {
            Some(peer) if peer.address() == address => {}
            Some(peer) => peer.move_to(context, address),
            None => drop(self.peers.insert(node, Peer::start(context, node, address))),
        }
    }

    /// Tells it why, if it is no longer wanted; a guest that has left by itself is told nothing.
    fn let_go(&mut self, context: &SharedContext, node: NodeId) {
        let Some(peer) = self.peers.remove(&node) else { return };
        for link in peer.links() {
            if let Err(reason) = self.standing.check(&link.hello) {
                close_refused(&link.connection, &reason);
            }
        }
        context.refusals.clear(node);
    }

    /// A peer has dialed us and proven who it is.
    pub(crate) fn admit(&mut self, context: &SharedContext, link: &Link) -> Result<(), HelloRefused> {
        let node = link.hello.node;
        self.standing.check(&link.hello)?;
        if !self.peers.contains_key(&node) {
            let guests = self.peers.keys().filter(|node| !self.standing.known().contains_key(node)).count();
            if guests >= GUESTS_MAX {
                return Err(HelloRefused::UnknownNode { node });
            }
            let address = link.connection.remote_address().to_string();
            self.peers.insert(node, Peer::start(context, node, address));
        }
        let peer = self.peers.get_mut(&node).ok_or(HelloRefused::UnknownNode { node })?;
        if let Some(earlier) = peer.set_incoming(link.clone()) {
            earlier.connection.close(CLOSE_DONE, b"superseded");
        }
        self.settle(context, node);
        Ok(())
    }

    /// The connection that a peer had dialed is gone.
    pub(crate) fn depart(&mut self, context: &SharedContext, link: &Link) {
        let node = link.hello.node;
        if self.peers.get_mut(&node).is_some_and(|peer| peer.end_incoming(link)) {
            self.settle(context, node);
        }
    }

    /// We have dialed a peer and it has proven who it is.
    pub(crate) fn attach(&mut self, link: &Link) -> Result<(), HelloRefused> {
        self.standing.check(&link.hello)?;
        let node = link.hello.node;
        let peer = self.peers.get_mut(&node).ok_or(HelloRefused::UnknownNode { node })?;
        peer.set_outgoing(Some(link.clone()));
        Ok(())
    }

    /// The connection that we had dialed is gone.
    pub(crate) fn detach(&mut self, link: &Link) {
        if let Some(peer) = self.peers.get_mut(&link.hello.node)
            && peer.outgoing().is_some_and(|outgoing| outgoing.is(link))
        {
            peer.set_outgoing(None);
        }
    }

    /// Lets go of everyone.
    pub(crate) fn clear(&mut self) {
        self.peers.clear();
    }
}
