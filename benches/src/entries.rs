//! Entries to write, to send, to apply.

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Ballot, Blob, Entry, LogIndex, LogTime, NodeId, Payload, RequestId, SharedEntry};

/// An entry with this command, as the leader of the third ballot appends it.
pub fn command(index: u64, data: Bytes) -> SharedEntry {
    Arc::new(Entry {
        index: LogIndex(index),
        ballot: Ballot::new(3, NodeId(1)),
        log_time: LogTime { millis: 12_345 + index },
        payload: Payload::Command { id: RequestId { origin: NodeId(1), boot: 2, sequence: index }, data: Blob(data) },
    })
}

/// `count` entries from this index on, whose commands have `value_bytes` bytes.
pub fn commands(first: u64, count: u64, value_bytes: usize) -> Vec<SharedEntry> {
    (first..first + count).map(|index| command(index, vec![7; value_bytes].into())).collect()
}
