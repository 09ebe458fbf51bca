//! Which tables the machine keeps, and what stands under which key.
//!
//! ```text
//!   data      key                →  item (see `item`)
//!   meta      "progress"         →  applied index, log time, revision
//!             "members"          →  membership
//!             "local/position"   →  index and ballot of the last applied entry
//!   sessions  session id         →  what exactly-once remembers of a client
//! ```
//!
//! Keys of `meta` that begin with `local/` differ between replicas and stay out of the digest: two Paxos replicas may
//! hold the same chosen value under different ballots.

use bincode::{Decode, Encode};
use consensus_api::{LogIndex, LogTime, Table};

/// The tables' names, each at its number's place: what a store is opened with.
pub const TABLES: [&str; 3] = ["data", "meta", "sessions"];
/// The keys and their items.
pub const DATA: Table = Table(0);
/// What the machine knows about itself.
pub const META: Table = Table(1);
/// What exactly-once remembers: part of the replicated state, and so of the digest.
pub const SESSIONS: Table = Table(2);

/// Holds a [`Progress`].
pub const PROGRESS_KEY: &[u8] = b"progress";
/// Holds a [`consensus_api::Membership`].
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
