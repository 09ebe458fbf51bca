//! Linearizable reads (Raft thesis §6.4): a read sees everything that any client could know of when it was asked, be it
//! by an acknowledged command or by an earlier read.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::{LogIndex, RequestId};

use super::Violation;

/// What reads must see.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    visible: LogIndex,
    floors: BTreeMap<RequestId, LogIndex>,
    served: BTreeSet<RequestId>,
}

impl Reads {
    /// A client has learnt that everything up to `index` has happened.
    pub(super) fn visible(&mut self, index: LogIndex) {
        self.visible = self.visible.max(index);
    }

    pub(super) fn asked(&mut self, id: RequestId) {
        self.floors.insert(id, self.visible);
    }

    /// Whether the read's client was served.
    pub(crate) fn is_served(&self, id: RequestId) -> bool {
        self.served.contains(&id)
    }

    pub(super) fn refused(&mut self, id: RequestId) {
        self.floors.remove(&id);
    }

    pub(super) fn served(&mut self, id: RequestId, served: LogIndex) -> Result<(), Violation> {
        // The first answer is the client's. A second one may come, and nobody hears it: the network doubles a forwarded
        // read, and the leader refuses the one copy for want of room and answers the other.
        let Some(floor) = self.floors.remove(&id) else { return Ok(()) };
        self.visible(served);
        self.served.insert(id);
        if served >= floor { Ok(()) } else { Err(Violation::StaleRead { id, served, floor }) }
    }
}
