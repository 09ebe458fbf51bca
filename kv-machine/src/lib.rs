//! The key-value state machine: one, deterministic, above any ordered tables and beneath either engine.
//!
//! ```text
//!   committed entries ──► KvMachine ──► Executor ──► Overlay ──► one TableBatch ──► Tables (RocksDB, or memory)
//!                            │             │ a command at a time,  what this slice has                 │
//!                            ▼             │ by the rules in       changed so far                      │
//!                         replies ◄────────┘ `execute`                                    KvReader ◄───┘
//! ```
//!
//! Keys and values are bytes. A key has a value, a `version` (how often it was written since it was created), a
//! `create_revision` and a `mod_revision`, as in etcd; the global revision grows by one with each command that changes
//! something. A batch carries all that the machine is at an index: data, progress, members. So whatever survives a
//! power loss, and whatever a checkpoint holds, is the machine at *some* index, and it goes on from there.
//!
//! A command that reaches the log is answered at every replica alike, whatever its bytes: what decides here is the
//! state, the command and constants, never a node's configuration, clock or chance.

mod command;
mod digest;
mod error;
mod execute;
mod item;
mod limits;
mod machine;
mod memory;
mod memory_snapshots;
mod overlay;
mod reader;
mod reply;
mod request;
mod scan;
pub mod schema;

pub use command::{Command, Compare, Expect, Operation, Relation, Target, Txn};
pub use digest::of as digest_of;
pub use error::KvError;
pub use item::Item;
pub use limits::{KvLimits, Quantity, TXN_RESULT_BYTES_MAX};
pub use machine::{KvMachine, applied_state, disband};
pub use memory::{MemoryTables, UNFLUSHED_BATCHES_MAX};
pub use memory_snapshots::{MemorySnapshotError, MemorySnapshots};
pub use reader::KvReader;
pub use reply::{OperationResult, Reply};
pub use request::{Batch, Replies, Request, SessionId, SessionTag};
pub use scan::{ScanItem, ScanLimits, ScanPage, ScanRange};
