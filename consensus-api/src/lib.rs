//! The vocabulary and the traits of a replicated log whose consensus engine can be swapped.
//!
//! ```text
//!                 ReplicatedLog            what a service stands on
//!                       │
//!                    replica               the driver: one task owns the engine
//!          ┌────────────┼────────────┬──────────────┐
//!       Engine       LogStore    Transport    StateMachine       the traits, here
//!       ╱     ╲          │            │              │
//!    Raft  Multi-Paxos  RocksDB     QUIC      the key-value machine
//! ```
//!
//! No I/O, no runtime and no protocol lives here. What does, besides the traits, is what both engines need and what
//! must therefore be the same under both: quorum arithmetic ([`quorum`]), the failure detector ([`detector`]), read
//! rounds ([`reads`]), leases ([`lease`]), ticks ([`timekeeper`]), forwarding ([`errands`]), who belongs to the cluster
//! ([`membership_log`], [`membership_change`]), handing over ([`hand_over`]), the hard state ([`hard_state`]), the pending
//! write ([`log_writer`]), the window of recent entries ([`window`]) and the hand-out of committed ones ([`delivery`]).

pub mod ballot_runs;
pub mod codec;
pub mod delivery;
pub mod detector;
pub mod engine;
pub mod entry;
pub mod errands;
pub mod flow;
pub mod hand_over;
pub mod hard_state;
pub mod ids;
pub mod lease;
pub mod log_store;
pub mod log_writer;
pub mod membership;
pub mod membership_change;
pub mod membership_log;
pub mod planted;
pub mod quorum;
pub mod random;
pub mod reads;
pub mod replicated_log;
pub mod snapshot;
pub mod state_machine;
pub mod tables;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod time;
pub mod timekeeper;
pub mod transport;
pub mod window;

pub use engine::{
    Effects, Engine, EngineConfig, EngineError, EngineStatus, Input, LeaseTiming, Limits, LogPosition, Outgoing,
    ReadBack, ReadReady, Recovered, Refusal, Refused, Role, RoleChange, SendSnapshot, Timing,
};
pub use entry::{Blob, Entry, Payload, SharedEntry};
pub use hard_state::HardState;
pub use ids::{Ballot, ClusterId, EngineName, Era, GroupId, LogIndex, NodeId, ReadBackId, RequestId, StoreId, WriteId};
pub use log_store::{LogStore, RecoveredLog, Write};
pub use membership::{AppliedMembership, Member, Membership};
pub use quorum::{Quorums, Tally, Verdict};
pub use reads::ReadMode;
pub use replicated_log::{Applied, Event, EventStream, ReplicaStatus, ReplicatedLog, RequestError};
pub use snapshot::{SnapshotFile, SnapshotId, SnapshotManifest, SnapshotStore};
pub use state_machine::{AppliedState, StateMachine};
pub use tables::{Table, TableBatch, TableRead, Tables};
pub use time::{LogClock, LogTime, MonoTime};
pub use transport::{Incoming, Lane, Transport};
