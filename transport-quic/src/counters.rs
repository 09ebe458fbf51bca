//! What a transport has done since it was bound: messages and their bytes per lane, and what that took on the wire.
//!
//! ```text
//!   message ─▶ queue ─▶ sent ══ datagrams, acknowledgements, what is sent again ══▶ received ─▶ inbox
//!                └─▶ dropped            (the connection counts these itself)
//! ```
//!
//! Lanes are counted once for each batch that is written or read. The wire is counted by QUIC for each connection, and
//! read off when somebody asks; a [`Metered`] keeps what a connection has counted once it is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consensus_api::Lane;
use quinn::Connection;

use crate::locks::lock;

/// What a transport has done since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounts {
    /// Per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneCounts; Lane::ALL.len()],
    /// On all connections with peers that there ever were.
    pub wire: WireCounts,
}

/// What has passed through one lane, to and from all peers. Bytes are those of the messages, without frame, encryption
/// or what is sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Messages that were given to a connection.
    pub sent_messages: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that have arrived.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages that were dropped because too much waited, or because they were too large. What is sent to a peer that
    /// is not connected is not counted anywhere.
    pub dropped_messages: u64,
}

/// What that took on the wire, at the level of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Bytes of datagrams, without UDP's and IP's own headers.
    pub sent_bytes: u64,
    /// Datagrams.
    pub sent_datagrams: u64,
    /// Packets that QUIC took for lost, and whose content it has sent again where it was still wanted.
    pub lost_packets: u64,
}

impl WireCounts {
    fn of(connection: &Connection) -> WireCounts {
        let stats = connection.stats();
        WireCounts {
            sent_bytes: stats.udp_tx.bytes,
            sent_datagrams: stats.udp_tx.datagrams,
            lost_packets: stats.path.lost_packets,
        }
    }

    fn add(&mut self, other: WireCounts) {
        self.sent_bytes += other.sent_bytes;
        self.sent_datagrams += other.sent_datagrams;
        self.lost_packets += other.lost_packets;
    }
}

/// The numbers themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [LaneCounters; Lane::ALL.len()],
    wire: Mutex<Wire>,
}

#[derive(Debug, Default)]
struct LaneCounters {
    sent: Traffic,
    received: Traffic,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    fn add(&self, payloads: impl Iterator<Item = usize>) {
        let (messages, bytes) = payloads.fold((0, 0), |(messages, bytes), len| (messages + 1, bytes + len as u64));
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Wire {
    /// Of the connections that are gone.
    ended: WireCounts,
    /// By their stable ids.
    live: BTreeMap<usize, Connection>,
}

impl Counters {
    /// These messages of a lane are given to a connection.
    pub(crate) fn sent(&self, lane: Lane, batch: &[Bytes]) {
        self.lanes[lane as usize].sent.add(batch.iter().map(Bytes::len));
    }

    /// Messages of a lane have arrived, with so many bytes each.
    pub(crate) fn received(&self, lane: Lane, payloads: impl Iterator<Item = usize>) {
        self.lanes[lane as usize].received.add(payloads);
    }

    /// A message of a lane was dropped.
    pub(crate) fn dropped(&self, lane: Lane) {
        self.lanes[lane as usize].dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what this connection sends, until the guard is dropped and ever after.
    pub(crate) fn meter(self: &Arc<Self>, connection: &Connection) -> Metered {
        lock(&self.wire).live.insert(connection.stable_id(), connection.clone());
        Metered { counters: Arc::clone(self), connection: connection.stable_id() }
    }

    /// How they stand.
    pub(crate) fn read(&self) -> TransportCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lanes = std::array::from_fn(|index| {
            let LaneCounters { sent, received, dropped } = &self.lanes[index];
            LaneCounts {
                sent_messages: read(&sent.messages),
                sent_bytes: read(&sent.bytes),
                received_messages: read(&received.messages),
                received_bytes: read(&received.bytes),
                dropped_messages: read(dropped),
            }
        });
        let wire = lock(&self.wire);
        let mut total = wire.ended;
        wire.live.values().map(WireCounts::of).for_each(|counts| total.add(counts));
        TransportCounts { lanes, wire: total }
    }
}

/// A connection whose traffic is counted. Whoever serves the connection holds this, and so the counters do not keep it
/// open beyond that.
#[derive(Debug)]
pub(crate) struct Metered {
    counters: Arc<Counters>,
    connection: usize,
}

impl Drop for Metered {
    fn drop(&mut self) {
        let mut wire = lock(&self.counters.wire);
        if let Some(connection) = wire.live.remove(&self.connection) {
            wire.ended.add(WireCounts::of(&connection));
        }
    }
}
