//! What every task of a transport shares.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use consensus_api::{ClusterId, Membership, NodeId, StoreId};
use quinn::{ClientConfig, Endpoint};
use tokio::sync::watch;

use crate::clients::ClientDoor;
use crate::config::{LinkTiming, TransportLimits};
use crate::counters::Counters;
use crate::frame::Scope;
use crate::hello::{Hello, HelloRefused};
use crate::inbox::Inbox;
use crate::link::Link;
use crate::locks::{read, write};
use crate::refusals::Refusals;
use crate::roster::Roster;

/// What a peer last said of itself in a handshake that both sides were content with: what the founders of a cluster must know of each other before they
/// are stamped, and what a newcomer must know to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its store.
    pub store: StoreId,
    /// Where it says that it can be reached.
    pub address: String,
    /// The cluster that it is stamped with; `None` if it is forming one, too.
    pub cluster: Option<ClusterId>,
}

/// Shared by the transport's tasks.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) endpoint: Endpoint,
    /// TLS as a dialer.
    pub(crate) client: ClientConfig,
    /// The cluster's name in every certificate.
    pub(crate) cluster_name: String,
    pub(crate) limits: TransportLimits,
    pub(crate) timing: LinkTiming,
    pub(crate) roster: RwLock<Roster>,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Arc<Counters>,
    pub(crate) refusals: Refusals,
    pub(crate) clients: ClientDoor,
    pub(crate) founders: watch::Sender<BTreeMap<NodeId, Founder>>,
}

pub(crate) type SharedContext = Arc<Context>;

impl Context {
    /// What this node says of itself now.
    pub(crate) fn hello(&self) -> Hello {
        read(&self.roster).standing().hello().clone()
    }

    /// Where its frames belong; `None` until it is stamped.
    pub(crate) fn scope(&self) -> Option<Scope> {
        let roster = read(&self.roster);
        let Hello { group, era, engine, cluster, .. } = *roster.standing().hello();
        cluster.map(|cluster| Scope { group, era, engine, cluster })
    }

    /// Takes in a peer that has dialed us.
    pub(crate) fn admit(self: &Arc<Self>, link: &Link) -> Result<(), HelloRefused> {
        write(&self.roster).admit(self, link)
    }

    /// Takes in a peer that we have dialed. It has accepted our hello, and now we accept its own: so only here is it
    /// certain that the two want each other, and the peer counts as introduced.
    pub(crate) fn attach(&self, link: &Link) -> Result<(), HelloRefused> {
        write(&self.roster).attach(link)?;
        let Hello { node, store, cluster, address, .. } = link.hello.clone();
        let founder = Founder { store, address, cluster };
        self.founders.send_if_modified(|seen| seen.insert(node, founder.clone()) != Some(founder));
        self.refusals.clear(node);
        Ok(())
    }

    /// Changes the members, and the cluster where one is given.
    pub(crate) fn set_members(self: &Arc<Self>, cluster: Option<ClusterId>, membership: &Membership) {
        write(&self.roster).set_members(self, cluster, membership);
    }
}
