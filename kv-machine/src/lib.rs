//! The key-value state machine: one, deterministic, above any ordered tables and beneath either engine.
//!
//! ```text
//!   committed entries ──► KvMachine ──► Executor ──► Overlay ──► one TableBatch ──► Tables (RocksDB, or memory)
//!                            │           │ ▲ a command at a time,  what this slice has                 │
//!                            ▼           │ ▼ by the rules in       changed so far                      │
//!                         replies ◄──────┘ Sessions  `execute`                            KvReader ◄───┘
//! ```
//!
//! Keys and values are bytes. A key has a value, a `version` (how often it was written since it was created), a
//! `create_revision` and a `mod_revision`, as in etcd; the global revision grows by one with each command that changes
//! something. A batch carries all that the machine is at an index: data, sessions, progress, members. So whatever survives
//! a power loss, and whatever a checkpoint holds, is the machine at *some* index, and it goes on from there.
//!
//! Sessions give exactly-once: a request with a number in a session is carried out at most once, and every copy of it has
//! the first reply. A session ends when its client has given no sign for its time to live, by the log's own time; the keys
//! that it kept alive vanish with it. The recent changes are kept beside the data, in the order of their revisions
//! ([`KvReader::changes`]), so that a watch goes on after a restart and after a snapshot.
//!
//! A command that reaches the log is answered at every replica alike, whatever its bytes: what decides here is the
//! state, the command and constants, never a node's configuration, clock or chance.

mod changes;
mod command;
mod digest;
mod error;
mod execute;
mod expiry;
mod history;
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
mod session_store;
mod sessions;

pub use changes::{Change, ChangeLimits, Changes};
pub use command::{Command, Compare, Expect, Operation, Relation, Target, Txn};
pub use digest::of as digest_of;
pub use error::KvError;
pub use history::HISTORY_BYTES_DEFAULT;
pub use item::Item;
pub use limits::{BATCH_RESULT_BYTES_MAX, BATCH_WRITTEN_BYTES_MAX, KvLimits, Quantity, TXN_RESULT_BYTES_MAX};
pub use machine::{KvMachine, applied_state, disband};
pub use memory::{MemoryTables, UNFLUSHED_BATCHES_MAX};
pub use memory_snapshots::{MemorySnapshotError, MemorySnapshots};
pub use reader::KvReader;
pub use reply::{OperationResult, Reply};
pub use request::{Batch, Replies, Request, SessionId, SessionTag};
pub use scan::{ScanItem, ScanLimits, ScanPage, ScanRange};
pub use sessions::{
    SESSION_KEYS_MAX, SESSION_REPLIES_MAX, SESSION_REPLY_BYTES_MAX, SESSION_REPLY_BYTES_SHARE, SESSION_TTL_MS_DEFAULT,
    SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN, SESSIONS_MAX, SESSIONS_REPLY_BYTES_MAX,
};
