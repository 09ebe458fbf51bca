//! Linearizable reads (Raft thesis §6.4): a read sees everything that any client could know of when it was asked, be it
//! by an acknowledged command or by an earlier read.

use std::collections::BTreeMap;

use consensus_api::{LogIndex, RequestId};

use super::Violation;

/// What reads must see.
#[derive(Debug, Default)]
pub(super) struct Reads {
    visible: LogIndex,
    floors: BTreeMap<RequestId, LogIndex>,
}

impl Reads {
    /// A client has learnt that everything up to `index` has happened.
    pub(super) fn visible(&mut self, index: LogIndex) {
        self.visible = self.visible.max(index);
    }

    pub(super) fn asked(&mut self, id: RequestId) {
        self.floors.insert(id, self.visible);
    }

    pub(super) fn refused(&mut self, id: RequestId) {
        self.floors.remove(&id);
    }

    pub(super) fn served(&mut self, id: RequestId, served: LogIndex) -> Result<(), Violation> {
        let Some(floor) = self.floors.remove(&id) else {
            return Err(Violation::Request { id, what: "is served, but nobody waits for it".into() });
        };
        self.visible(served);
        if served >= floor { Ok(()) } else { Err(Violation::StaleRead { id, served, floor }) }
    }
}
