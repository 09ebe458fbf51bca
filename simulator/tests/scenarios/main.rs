//! Stories that have broken real consensus systems, each told to both engines: what goes wrong is arranged by hand, in
//! virtual time, and what must hold is asserted, beside the properties that the world looks at after every event.
//!
//! ```text
//!   durability           votes, acknowledgements and epochs across crashes, before and after they are synced
//!   disks                torn, damaged, full and failing disks
//!   election             late votes, old entries, deadlocks of pre-vote, one-way links, duels
//!   reads_and_clients    reads of new leaders, retries, restarts that replay, clients that give up
//!   sessions             retries across whatever is lost, sessions that are over
//!   leases               reads by leases: clocks, pauses, forced elections, voters that restart
//!   membership           changes of members: too early, interrupted, void; learners; nodes that were removed
//!   flow                 commit indexes, followers that lag, logs without a quorum
//!   snapshots            older, doubled, damaged ones, crashes at every step of an installation
//!   compaction           logs trimmed past what somebody needs, under load and at a takeover
//!   stage                what a story is told with
//! ```
//!
//! A story that passes because nothing happened proves nothing. So each also asserts that its dangerous moment took
//! place: the crash lost a write, the late vote did arrive, the follower was in fact behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

/// A test for each story: of those told to both engines one in `raft` and one in `multi_paxos`.
macro_rules! stories {
    (both { $($both:ident),* $(,)? } raft { $($raft:ident),* $(,)? } multi_paxos { $($paxos:ident),* $(,)? }) => {
        mod raft {
            $(#[test] fn $both() { super::$both::<engine_raft::Raft>(); })*
            $(#[test] fn $raft() { super::$raft(); })*
        }
        mod multi_paxos {
            $(#[test] fn $both() { super::$both::<engine_multipaxos::MultiPaxos>(); })*
            $(#[test] fn $paxos() { super::$paxos(); })*
        }
    };
}

mod compaction;
mod disks;
mod durability;
mod election;
mod flow;
mod leases;
mod membership;
mod reads_and_clients;
mod sessions;
mod snapshots;
mod stage;
