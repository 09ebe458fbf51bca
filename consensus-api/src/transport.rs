//! How peers reach each other.
//!
//! A send never blocks and may be dropped; what arrives may be late, doubled or out of order. Engines live with all of
//! that, and so a transport never needs to try harder than it sensibly can.

use async_trait::async_trait;
use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::ids::NodeId;
use crate::membership::Membership;

/// Streams of messages that do not hold each other up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Lane {
    /// Votes, heartbeats, confirmations of reads: small and urgent.
    Control,
    /// Entries and their acknowledgements.
    Replication,
    /// Forwarded requests.
    Requests,
    /// Snapshots.
    Bulk,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Lane; 4] = [Lane::Control, Lane::Replication, Lane::Requests, Lane::Bulk];
}

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Who sent it; the transport has made sure.
    pub from: NodeId,
    /// On which lane.
    pub lane: Lane,
    /// One payload, as it was given to `send`.
    pub payload: Bytes,
}

/// Authenticated links to the peers.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Queues `payload` for `to`. Never blocks; drops it where the peer is unknown, unreachable or too slow.
    fn send(&self, to: NodeId, lane: Lane, payload: Bytes);

    /// Waits until something has arrived and appends it, and what else is there, to `batch`. False once the transport
    /// is closed. Only one task receives. A call that is dropped before it returns loses nothing.
    async fn receive(&self, batch: &mut Vec<Incoming>) -> bool;

    /// Whom to talk to from now on: dials newcomers, drops those who are gone.
    fn set_membership(&self, membership: &Membership);

    /// Stops: closes the links and ends `receive`.
    async fn close(&self);
}
