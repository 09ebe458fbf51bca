//! Which tables the machine keeps, and what stands under which key.
//!
//! ```text
//!   data      key                →  item (see `item`)
//!   meta      "progress"         →  applied index, log time, revision
//!             "members"          →  membership
//!             "local/position"   →  index and ballot of the last applied entry
//!   sessions  kind, session, …   →  what exactly-once remembers of a client (see `session_store`)
//!   changes   revision           →  what a slice of entries changed up to it (see `history`)
//! ```
//!
//! Keys of `meta` that begin with `local/` differ between replicas and stay out of the digest: two Paxos replicas may
//! hold the same chosen value under different ballots. So do the changes: each node cuts the log into slices of its own.

use bincode::{Decode, Encode};
use consensus_api::{LogIndex, LogTime, Table};

/// The tables' names, each at its number's place: what a store is opened with.
pub const TABLES: [&str; 4] = ["data", "meta", "sessions", "changes"];
/// The keys and their items.
pub const DATA: Table = Table(0);
/// What the machine knows about itself.
pub const META: Table = Table(1);
/// What exactly-once remembers: part of the replicated state, and so of the digest.
pub const SESSIONS: Table = Table(2);
/// The recent changes: local, bounded in bytes.
pub const CHANGES: Table = Table(3);

/// Holds a [`Progress`].
pub const PROGRESS_KEY: &[u8] = b"progress";
/// Holds a [`consensus_api::AppliedMembership`].
pub const MEMBERS_KEY: &[u8] = b"members";
/// Holds a [`consensus_api::LogPosition`].
pub const POSITION_KEY: &[u8] = b"local/position";
/// What the keys of local metadata begin with.
pub const LOCAL_PREFIX: &[u8] = b"local/";

/// How far the machine has come; the same at every replica that has applied as much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The last applied index.
    pub index: LogIndex,
    /// The highest log time of the entries so far.
    pub log_time: LogTime,
    /// The global revision.
    pub revision: u64,
}
