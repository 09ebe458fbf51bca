//! What the clients of a run are like.

use std::time::Duration;

use consensus_api::ReadMode;

/// What the clients of a run are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habits {
    /// How many there are.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long they think between two operations, on average.
    pub think: Duration,
    /// How long they wait for an answer.
    pub patience: Duration,
    /// Reads, of a hundred operations.
    pub reads_percent: u64,
    /// Whether keys are deleted.
    pub deletes: bool,
    /// How long a value can be.
    pub value_bytes_max: u64,
    /// By which means they read, each by one of these in turn. What an engine does not offer is a read by a round.
    pub reads: Vec<ReadMode>,
    /// Reads that are content with whatever the node has, of a thousand. They promise nothing and are no part of the
    /// history.
    pub stale_permille: u64,
    /// What their sessions are like, if they have any.
    pub sessions: Option<SessionHabits>,
}

impl Habits {
    /// Whether any of them reads by these means.
    pub fn read_by(&self, mode: ReadMode) -> bool {
        self.reads_percent > 0 && self.reads.iter().zip(0..self.clients).any(|(reads, _)| *reads == mode)
    }
}

/// What the sessions of a run are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHabits {
    /// How many clients share a session: so many of its requests are in flight at most.
    pub window: u64,
    /// How long a session lives without a sign of its clients.
    pub ttl: Duration,
    /// How often a write that is not answered is asked again before it is given up.
    pub retries_max: u32,
    /// Writes that are sent to a second node at once, of a thousand: whichever comes later is a duplicate.
    pub doubled_permille: u64,
    /// How many of a thousand operations are followed by a nap, in which all clients of the session hear and do nothing
    /// until it has expired, if time goes on meanwhile.
    pub naps_permille: u64,
}
