//! What a node has counted, as Prometheus reads it.
//!
//! ```text
//!   log, tables ── transport ── replica        each counts for itself and knows no Prometheus
//!         ╰───────────┼────────────╯
//!                  Counts ──▶ text             only when somebody asks
//! ```
//!
//! All are counters since the start of the process. They are read one after another while the node works on, so two of
//! them may be some requests apart.

use std::fmt;

use consensus_api::Lane;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use replica::ReplicaCounts;
use storage_rocks::LogCounts;
use transport_quic::{LaneCounts, TransportCounts};

/// What the text is, for the header of an answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the rooms of a node have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The log.
    pub log: LogCounts,
    /// Batches that were written to the tables.
    pub table_writes: u64,
    /// The links to the peers.
    pub transport: TransportCounts,
    /// The replica.
    pub replica: ReplicaCounts,
}

impl Counts {
    /// All of them in the text format of Prometheus.
    ///
    /// # Errors
    /// Where a name is not one that Prometheus allows.
    pub fn to_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Those that are one number each: name, without the `_total` that is added to it, what it is, how it stands.
    fn plain(&self) -> [(&'static str, &'static str, u64); 13] {
        let Counts { log, transport, replica, .. } = self;
        let wire = &transport.wire;
        [
            ("quorate_log_syncs", "Waits for the disk, by the log", log.syncs),
            ("quorate_log_writes", "Batches written to the log", log.writes),
            ("quorate_log_entries", "Entries written to the log", log.entries),
            ("quorate_log_bytes", "Payload bytes of the entries written to the log", log.bytes),
            (
                "quorate_log_rewritten_entries",
                "Entries written to the log where one had been written before",
                log.rewritten_entries,
            ),
            ("quorate_log_rewritten_bytes", "Payload bytes of these", log.rewritten_bytes),
            ("quorate_tables_writes", "Batches written to the state machine's tables", self.table_writes),
            ("quorate_wire_sent_bytes", "Bytes of UDP datagrams sent to peers", wire.sent_bytes),
            ("quorate_wire_sent_datagrams", "UDP datagrams sent to peers", wire.sent_datagrams),
            ("quorate_wire_lost_packets", "Packets to peers that QUIC took for lost", wire.lost_packets),
            ("quorate_applied_entries", "Entries applied by the state machine", replica.applied_entries),
            ("quorate_elections_started", "Times this node became a candidate", replica.elections_started),
            ("quorate_leaderships", "Times this node became the leader", replica.leaderships),
        ]
    }
}

/// Name, what it is, and which number of a lane.
type OfLane = (&'static str, &'static str, fn(&LaneCounts) -> u64);

/// Those that are one number for each lane.
const OF_LANES: [OfLane; 5] = [
    ("quorate_sent_messages", "Messages given to the connections with peers", |lane| lane.sent_messages),
    ("quorate_sent_bytes", "Bytes of these messages, without frames", |lane| lane.sent_bytes),
    ("quorate_received_messages", "Messages from peers", |lane| lane.received_messages),
    ("quorate_received_bytes", "Bytes of these messages, without frames", |lane| lane.received_bytes),
    (
        "quorate_dropped_messages",
        "Messages to connected peers that were too large, or for which there was no room",
        |lane| lane.dropped_messages,
    ),
];

fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control",
        Lane::Replication => "replication",
        Lane::Requests => "requests",
        Lane::Bulk => "bulk",
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in self.plain() {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        for (metric, help, number) in OF_LANES {
            let mut family = encoder.encode_descriptor(metric, help, None, MetricType::Counter)?;
            for (lane, counts) in Lane::ALL.into_iter().zip(&self.transport.lanes) {
                let labels = [("lane", name(lane))];
                ConstCounter::new(number(counts)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_counter_is_one_line_under_its_name_and_each_lane_has_its_own() {
        let mut counts = Counts { table_writes: 4, ..Counts::default() };
        counts.log.rewritten_bytes = 7;
        counts.replica.elections_started = 2;
        counts.transport.wire.lost_packets = 5;
        counts.transport.lanes[Lane::Replication as usize].sent_bytes = 9;
        let text = counts.to_text().unwrap();
        for line in [
            "quorate_log_rewritten_bytes_total 7",
            "quorate_tables_writes_total 4",
            "quorate_elections_started_total 2",
            "quorate_wire_lost_packets_total 5",
            "quorate_sent_bytes_total{lane=\"replication\"} 9",
            "quorate_sent_bytes_total{lane=\"bulk\"} 0",
            "quorate_leaderships_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let numbers = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(numbers, counts.plain().len() + OF_LANES.len() * Lane::ALL.len());
    }
}
