//! Who refused whom, and why: the last refusal of each peer for the service to show, and a log that does not repeat
//! itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use consensus_api::NodeId;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::hello::HelloRefused;
use crate::locks::lock;

/// The same refusal of the same peer is logged once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The most kinds of refusals that are remembered; beyond that, memory starts anew.
const REMEMBERED_MAX: usize = 256;

/// Why a peer is not talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The peer refused us, and not we the peer.
    pub by_peer: bool,
    /// Why.
    pub cause: RefusalCause,
}

/// What was not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalCause {
    /// What the other side said of itself.
    #[error(transparent)]
    Hello(HelloRefused),
    /// Its certificate, or ours.
    #[error("TLS: {0}; both nodes need certificates of the same authority and cluster, for their own ids")]
    Tls(String),
    /// Something that it sent.
    #[error("{0}")]
    Frame(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.by_peer { "the peer refused this node" } else { "this node refused the peer" };
        write!(f, "{who}: {}", self.cause)
    }
}

/// The refusals of all peers.
#[derive(Debug)]
pub(crate) struct Refusals {
    last: watch::Sender<BTreeMap<NodeId, Refusal>>,
    logged: Mutex<BTreeMap<(Option<NodeId>, String), Instant>>,
}

impl Refusals {
    pub(crate) fn new() -> Refusals {
        Refusals { last: watch::Sender::new(BTreeMap::new()), logged: Mutex::default() }
    }

    /// The last refusal of each peer that is refused now.
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<NodeId, Refusal>> {
        self.last.subscribe()
    }

    /// Notes a refusal. `peer` is `None` where it is not known who it was.
    pub(crate) fn note(&self, peer: Option<NodeId>, refusal: &Refusal) {
        if self.is_news(peer, refusal) {
            warn!(peer = peer.map(|node| node.0), by_peer = refusal.by_peer, cause = %refusal.cause, "link refused");
        }
        let Some(peer) = peer else { return };
        self.last.send_if_modified(|last| {
            let room = last.len() < REMEMBERED_MAX || last.contains_key(&peer);
            room && last.insert(peer, refusal.clone()).as_ref() != Some(refusal)
        });
    }

    /// The peer is talked to after all.
    pub(crate) fn clear(&self, peer: NodeId) {
        if self.last.send_if_modified(|last| last.remove(&peer).is_some()) {
            info!(peer = peer.0, "link accepted");
        }
    }

    fn is_news(&self, peer: Option<NodeId>, refusal: &Refusal) -> bool {
        let now = Instant::now();
        let mut logged = lock(&self.logged);
        if logged.len() >= REMEMBERED_MAX {
            logged.clear();
        }
        match logged.insert((peer, refusal.to_string()), now) {
            // The insertion moved the time; put it back, or a steady stream of refusals would be silent for ever.
            Some(before) if now.duration_since(before) < LOG_INTERVAL => {
                logged.insert((peer, refusal.to_string()), before);
                false
            }
            _ => true,
        }
    }
}
