//! What a transport is told before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_api::{ClusterId, EngineName, Era, GroupId, Lane, NodeId, SnapshotId, StoreId};

use crate::tls::NodeTls;

/// Everything about one node's transport.
#[derive(Debug)]
pub struct TransportConfig {
    /// Who this is.
    pub node: NodeId,
    /// The store by which the members know this node.
    pub store: StoreId,
    /// The snapshot that its data directory was made from, if it was made from one: founders of a cluster must agree on
    /// that.
    pub restored_from: Option<SnapshotId>,
    /// The cluster this node is stamped with; `None` while the cluster is being formed, or joined.
    pub cluster: Option<ClusterId>,
    /// The log that the messages are about.
    pub group: GroupId,
    /// The era that it is in.
    pub era: Era,
    /// The engine that governs it.
    pub engine: EngineName,
    /// Where to dial whom, as `host:port`: the first contacts, until there are members. From then on a contact that the first
    /// of these have is still dialed where this says, whatever address they have for it, because from here it may be reached
    /// by another way than from elsewhere; but only while the members have it as those did. One that has moved, or came back
    /// with another disk, is dialed where the members have it; and one that is none of them is ignored.
    pub contacts: BTreeMap<NodeId, String>,
    /// Where to listen, as `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where this node serves others than its peers, in whatever form those understand. The transport only passes it on: see
    /// [`QuicTransport::service_address`](crate::QuicTransport::service_address). At most
    /// [`SERVICE_ADDRESS_BYTES_MAX`](crate::SERVICE_ADDRESS_BYTES_MAX).
    pub service_address: Option<String>,
    /// What clients of the service speak (their ALPN protocol), who come to the same port; `None`: none are taken.
    pub client_alpn: Option<&'static [u8]>,
    /// Certificate, key, and whom to trust.
    pub tls: NodeTls,
    /// Bounds.
    pub limits: TransportLimits,
    /// Times.
    pub timing: LinkTiming,
}

/// The most streams over which the replication lane may be spread; every node accepts as many, however many it uses
/// itself.
pub const REPLICATION_STREAMS_MAX: usize = 16;

/// The bounds of a transport, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// The largest message. The same on every node: a peer that sends more is cut off.
    pub frame_bytes_max: usize,
    /// What may wait for one peer on each of the lanes that carry commands: replication and requests.
    pub command_queue_bytes_max: usize,
    /// What may wait for one peer on each other lane.
    pub other_queue_bytes_max: usize,
    /// What may wait on one lane to be received; beyond that its senders are slowed down.
    pub inbox_bytes_max: usize,
    /// Over how many streams to each peer the messages of the replication lane are spread in turn; what is outside of
    /// 1 to [`REPLICATION_STREAMS_MAX`] is brought within. With one they arrive in order. With more, a lost packet holds up
    /// those on its own stream and not the others, which overtake: of use to an engine whose entries do not depend on
    /// each other.
    pub replication_streams: usize,
    /// What may be under way on one stream. Large enough for the bandwidth times the round trip.
    pub stream_window_bytes: u32,
    /// The most connections of clients at a time; further ones are closed. They take no place from the peers.
    pub clients_max: usize,
    /// The most streams that a client may have open.
    pub client_streams_max: u32,
    /// What may be under way from a client and not yet read, over all its streams; and to it, not yet acknowledged.
    pub client_window_bytes: u32,
    /// The kernel's buffer in each direction, as far as it allows. Small ones lose packets under load.
    pub socket_buffer_bytes: usize,
}

impl Default for TransportLimits {
    fn default() -> TransportLimits {
        TransportLimits {
            frame_bytes_max: 8 << 20,
            command_queue_bytes_max: 32 << 20,
            other_queue_bytes_max: 4 << 20,
            inbox_bytes_max: 16 << 20,
            replication_streams: 1,
            stream_window_bytes: 8 << 20,
            clients_max: 1024,
            client_streams_max: 64,
            client_window_bytes: 2 << 20,
            socket_buffer_bytes: 4 << 20,
        }
    }
}

impl TransportLimits {
    /// Over how many streams a lane is spread.
    pub(crate) fn streams(&self, lane: Lane) -> usize {
        match lane {
            Lane::Replication => self.replication_streams.clamp(1, REPLICATION_STREAMS_MAX),
            Lane::Control | Lane::Requests | Lane::Bulk => 1,
        }
    }

    pub(crate) fn queue_bytes_max(&self, lane: Lane) -> usize {
        match lane {
            Lane::Replication | Lane::Requests => self.command_queue_bytes_max,
            Lane::Control | Lane::Bulk => self.other_queue_bytes_max,
        }
    }
}

/// The times of a transport. Short ones, because a failover waits for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// How often an idle connection shows that it lives.
    pub keep_alive_interval: Duration,
    /// A connection that is silent for so long is given up.
    pub idle_timeout: Duration,
    /// The round trip that is assumed before one was measured; it decides when a lost first packet is sent again.
    pub initial_rtt: Duration,
    /// How long TLS and the hello may take together.
    pub handshake_timeout: Duration,
    /// How long after a failed attempt a peer is dialed again, the first time.
    pub redial_min: Duration,
    /// And the most, after many.
    pub redial_max: Duration,
}

impl Default for LinkTiming {
    fn default() -> LinkTiming {
        LinkTiming {
            keep_alive_interval: Duration::from_millis(150),
            idle_timeout: Duration::from_millis(1500),
            initial_rtt: Duration::from_millis(5),
            handshake_timeout: Duration::from_millis(1500),
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_millis(500),
        }
    }
}
