//! One peer: dialed until it answers, written to while it is connected, and dialed again.
//!
//! ```text
//!        ┌──────────── back off: 20 ms … 500 ms, with jitter ◀─────────────┐
//!        ▼                                                                 │
//!     dial ──▶ TLS ──▶ hello ──▶ write the lanes ──▶ the connection ends ──┤
//!        ▲                                                                 │
//!        └────────────── at once, when the peer has dialed us ─────────────┘
//! ```
//!
//! A peer that starts again dials us first, and its hello shows a new life: so a link to its earlier life is given up
//! long before it would time out, and a back-off is cut short.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;
use quinn::{Connection, ConnectionError};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::context::SharedContext;
use crate::hello::{self, HelloRefused};
use crate::lanes::{self, Lanes};
use crate::link::{CLOSE_DONE, Link, LinkError, close_refused};
use crate::locks::write;
use crate::name::CertificateName;

/// A link that lived for so long was a good one, and the next attempt may come soon.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// A peer, whether it is connected or not. Dropping it ends its task, and with it the connection that we dialed.
#[derive(Debug)]
pub(crate) struct Peer {
    node: NodeId,
    address: String,
    lanes: Arc<Lanes>,
    /// The life in the last hello with which it dialed us.
    heard: watch::Sender<u64>,
    task: AbortHandle,
    incoming: Option<Link>,
    outgoing: Option<Link>,
}

impl Peer {
    pub(crate) fn start(context: &SharedContext, node: NodeId, address: String) -> Peer {
        let lanes = Arc::new(Lanes::new(node, &context.limits, &context.counters));
        let heard = watch::Sender::new(0);
        let task = dialer(context, node, address.clone(), &lanes, &heard);
        Peer { node, address, lanes, heard, task, incoming: None, outgoing: None }
    }

    /// Dials another address from now on.
    pub(crate) fn move_to(&mut self, context: &SharedContext, address: String) {
        self.task.abort();
        self.lanes.shut();
        self.lanes = Arc::new(Lanes::new(self.node, &context.limits, &context.counters));
        self.outgoing = None;
        self.task = dialer(context, self.node, address.clone(), &self.lanes, &self.heard);
        self.address = address;
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn incoming(&self) -> Option<&Link> {
        self.incoming.as_ref()
    }

    pub(crate) fn outgoing(&self) -> Option<&Link> {
        self.outgoing.as_ref()
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.incoming.iter().chain(&self.outgoing)
    }

    /// The peer has dialed us; returns the connection that this one supersedes.
    pub(crate) fn set_incoming(&mut self, link: Link) -> Option<Link> {
        self.heard.send_replace(link.hello.life);
        self.incoming.replace(link)
    }

    /// False if another connection has superseded this one already.
    pub(crate) fn end_incoming(&mut self, link: &Link) -> bool {
        let current = self.incoming.as_ref().is_some_and(|incoming| incoming.is(link));
        if current {
            self.incoming = None;
        }
        current
    }

    pub(crate) fn set_outgoing(&mut self, link: Option<Link>) {
        self.outgoing = link;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
        self.lanes.shut();
    }
}

fn dialer(
    context: &SharedContext,
    node: NodeId,
    address: String,
    lanes: &Arc<Lanes>,
    heard: &watch::Sender<u64>,
) -> AbortHandle {
    let dialer = Dialer { context: context.clone(), node, address, lanes: lanes.clone(), heard: heard.subscribe() };
    tokio::spawn(dialer.run()).abort_handle()
}

/// The task of a peer.
struct Dialer {
    context: SharedContext,
    node: NodeId,
    address: String,
    lanes: Arc<Lanes>,
    heard: watch::Receiver<u64>,
}

impl Dialer {
    async fn run(mut self) {
        let mut backoff = Backoff::new(&self.context, self.node);
        loop {
            // Whatever the peer said before, it is dialed now.
            self.heard.mark_unchanged();
            let error = match self.dial().await {
                Ok(link) => {
                    let since = Instant::now();
                    let error = self.serve(&link).await;
                    if since.elapsed() >= STABLE_AFTER {
                        backoff.reset();
                    }
                    error
                }
                Err(error) => error,
            };
            debug!(peer = self.node.0, address = self.address, %error, "not connected");
            if let Some(refusal) = error.refusal() {
                self.context.refusals.note(Some(self.node), &refusal);
            }
            if !matches!(error, LinkError::PeerIsBack) {
                tokio::select! {
                    () = sleep(backoff.next()) => {}
                    Ok(()) = self.heard.changed() => {}
                }
            }
        }
    }

    /// Connects and exchanges hellos.
    async fn dial(&mut self) -> Result<Link, LinkError> {
        let name = CertificateName::node(self.node, &self.context.cluster_name)
            .map_err(|error| LinkError::Address { address: self.address.clone(), reason: error.to_string() })?;
        let address = self.resolve().await?;
        let client = self.context.client.clone();
        let connecting = self
            .context
            .endpoint
            .connect_with(client, address, &name.to_string())
            .map_err(|error| LinkError::Dial { address, reason: error.to_string() })?;
        let limit = self.context.timing.handshake_timeout;
        let connection = tokio::select! {
            connected = timeout(limit, connecting) => connected.map_err(|_| LinkError::TimedOut)??,
            // Only until the peer has answered: a hello that is broken off would make the peer, which is dialing us as
            // well, break off its own, and so on for ever.
            Ok(()) = self.heard.changed() => return Err(LinkError::PeerIsBack),
        };
        let greeted = timeout(limit, self.greet(&connection)).await.map_err(|_| LinkError::TimedOut).flatten();
        if let Err(LinkError::Refused(reason)) = &greeted {
            close_refused(&connection, reason);
        }
        greeted
    }

    async fn greet(&self, connection: &Connection) -> Result<Link, LinkError> {
        let hello = hello::offer(connection, &self.context.hello()).await?;
        if hello.node != self.node {
            let certificate = format!("node {}", self.node);
            return Err(HelloRefused::NotTheCertificates { claimed: hello.node, certificate }.into());
        }
        let link = Link { connection: connection.clone(), hello };
        self.context.attach(&link)?;
        Ok(link)
    }

    /// The first address of a family that our socket can reach.
    async fn resolve(&self) -> Result<SocketAddr, LinkError> {
        let failed = |reason: String| LinkError::Address { address: self.address.clone(), reason };
        let local = self.context.endpoint.local_addr().map_err(|error| failed(error.to_string()))?;
        let found = tokio::net::lookup_host(&self.address).await.map_err(|error| failed(error.to_string()))?;
        let mut usable = found.filter(|address| local.is_ipv6() || address.is_ipv4());
        usable.next().ok_or_else(|| failed("no address of the family of the listening socket".to_owned()))
    }

    /// Writes what is to be sent until the connection ends; returns why it did.
    async fn serve(&mut self, link: &Link) -> LinkError {
        debug!(peer = self.node.0, address = %link.connection.remote_address(), "connected");
        let _metered = self.context.counters.meter(&link.connection);
        let life = link.hello.life;
        let restarted = self.heard.wait_for(|heard| *heard != 0 && *heard != life);
        let back = tokio::select! {
            Ok(_) = restarted => true,
            () = lanes::write_all(&self.context, &link.connection, &self.lanes) => false,
        };
        self.lanes.shut();
        write(&self.context.roster).detach(link);
        let reason = link.connection.close_reason();
        link.connection.close(CLOSE_DONE, b"no longer of use");
        if back { LinkError::PeerIsBack } else { reason.unwrap_or(ConnectionError::LocallyClosed).into() }
    }
}

/// Exponential, with half of it left to chance, so that nodes that failed together do not return together.
struct Backoff {
    random: SeededRandom,
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(context: &SharedContext, node: NodeId) -> Backoff {
        let (min, max) = (context.timing.redial_min, context.timing.redial_max);
        Backoff { random: SeededRandom::new(context.hello().life ^ node.0), min, max, next: min }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.max);
        let jitter = self.random.below(u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX));
        full - Duration::from_micros(jitter)
    }
}
