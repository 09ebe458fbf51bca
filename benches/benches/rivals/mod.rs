//! The engines that are measured side by side: ours, and those of other people, each behind the same two traits.
//!
//! ```text
//!   bench ──▶ Subject::commit(512 × 256 B) ──▶ N replicas in this thread ──▶ applied at all of them
//!                                               messages handed over at once, as they are, unencoded
//!                                               "durable" at once: the log is a vector
//! ```
//!
//! The work is the same: every command is a buffer of its own, made by one copy of the bench's bytes; all of them are
//! proposed before the first message is delivered; and the call returns when each replica's state machine, which counts
//! bytes, has seen them. What differs is told in the benches' README.

// Each bench that includes this uses its part of it.
#![allow(dead_code)]

pub(crate) mod omnipaxos;
pub(crate) mod openraft;
pub(crate) mod ours;
pub(crate) mod raft_rs;

/// Replicas that commit commands.
pub(crate) trait Subject: Sized {
    /// The name in the figures.
    const NAME: &'static str;

    /// So many replicas, the first of which leads.
    fn elected(voters: u64) -> Self;

    /// Has `count` commands, each a copy of `data`, committed and applied by all replicas.
    fn commit(&mut self, count: u64, data: &[u8]);

    /// How many bytes of commands each replica has applied.
    fn applied_bytes(&self) -> Vec<u64>;
}

/// Three replicas whose leader, the first, is gone, and has left entries that the others accepted and nobody knows to be
/// committed.
pub(crate) trait Failover: Sized {
    /// The name in the figures.
    const NAME: &'static str;

    /// So many entries, each a copy of `data`.
    fn with_open_tail(entries: u64, data: &[u8]) -> Self;

    /// The second replica campaigns, until it leads.
    fn elect(&mut self);

    /// Goes on until the new leader has applied all that was open; returns how many bytes of commands these were.
    fn finish(&mut self) -> u64;
}
