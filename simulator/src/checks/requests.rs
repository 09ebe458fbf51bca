//! What clients are told about their proposals is true: an id is committed at one index at most, never if it was
//! refused, and an acknowledged one stands where its client was told, for good.

use std::collections::BTreeMap;

use consensus_api::{Entry, LogIndex, Refusal, RequestId};

use super::Violation;

/// The fate of each proposal.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    committed: BTreeMap<RequestId, LogIndex>,
    refused: BTreeMap<RequestId, Refusal>,
    acknowledged: BTreeMap<RequestId, LogIndex>,
}

impl Requests {
    pub(super) fn committed(&mut self, entry: &Entry) -> Result<(), Violation> {
        let Some(id) = entry.payload.request_id() else { return Ok(()) };
        if let Some(reason) = self.refused.get(&id) {
            let what = format!("is committed at {}, but its client was told: {reason}", entry.index);
            return Err(Violation::Request { id, what });
        }
        match self.committed.insert(id, entry.index) {
            None => Ok(()),
            Some(other) => {
                let what = format!("is committed twice, at {other} and at {}", entry.index);
                Err(Violation::Request { id, what })
            }
        }
    }

    pub(super) fn acknowledged(&mut self, id: RequestId, index: LogIndex) -> Result<(), Violation> {
        self.acknowledged.insert(id, index);
        if self.committed.get(&id) == Some(&index) {
            return Ok(());
        }
        Err(Violation::Request { id, what: format!("is acknowledged at {index}, where it is not committed") })
    }

    pub(super) fn refused(&mut self, id: RequestId, reason: &Refusal) -> Result<(), Violation> {
        self.refused.insert(id, reason.clone());
        match self.committed.get(&id) {
            None => Ok(()),
            Some(index) => {
                Err(Violation::Request { id, what: format!("is refused, but it is committed at {index}: {reason}") })
            }
        }
    }

    /// Where an acknowledged request stands.
    pub(crate) fn acknowledged_at(&self, id: RequestId) -> Option<LogIndex> {
        self.acknowledged.get(&id).copied()
    }

    /// Whether the request was refused.
    pub(crate) fn is_refused(&self, id: RequestId) -> bool {
        self.refused.contains_key(&id)
    }

    /// The last index of which a client knows.
    pub(crate) fn last_acknowledged(&self) -> LogIndex {
        self.acknowledged.values().copied().max().unwrap_or_default()
    }
}
