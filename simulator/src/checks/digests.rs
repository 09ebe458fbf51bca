//! Replicas are replicas: tables that have applied the same entries hash to the same.

use std::collections::BTreeMap;

use consensus_api::{LogIndex, NodeId};

use super::Violation;

/// What tables hashed to, and whose they were.
#[derive(Debug, Default)]
pub(super) struct Digests {
    seen: BTreeMap<LogIndex, (NodeId, [u8; 32])>,
}

impl Digests {
    pub(super) fn seen(&mut self, node: NodeId, index: LogIndex, digest: [u8; 32]) -> Result<(), Violation> {
        let (other, expected) = *self.seen.entry(index).or_insert((node, digest));
        if expected == digest { Ok(()) } else { Err(Violation::Digests { node, other, index }) }
    }
}
