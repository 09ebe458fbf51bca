//! Snapshots: what stands for the log up to an index, in one piece that can be kept, sent and put in the place of a
//! state machine's tables.
//!
//! ```text
//!   tables ──take──▶ kept ──read──▶ chunks ── bulk lane ──▶ receive ──▶ received ──install──▶ the tables, all at once
//!                     │  the newest two; older ones go
//!                     └──▶ the log may be trimmed up to the older one's position
//! ```
//!
//! A snapshot is engine-neutral: it is the tables and nothing else, and the tables say themselves how far they have come
//! and who the members are. The ballot of its position is local metadata of whoever took it.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::engine::LogPosition;
use crate::membership::Membership;
use crate::time::LogTime;

/// Names a snapshot by its contents: equal names are equal bytes, so a transfer can be resumed from another sender's copy
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SnapshotId(pub u128);

/// One piece of a snapshot's stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotFile {
    /// Its name, of the store's own making; never a path.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 over it.
    pub checksum: [u8; 32],
}

/// What a snapshot covers, and of what it consists. The stream is its files, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotManifest {
    /// Its name: a hash over everything below.
    pub id: SnapshotId,
    /// The last entry that the tables have applied.
    pub position: LogPosition,
    /// The highest log time up to there.
    pub log_time: LogTime,
    /// The members as of that entry.
    pub membership: Membership,
    /// In the order of the stream.
    pub files: Vec<SnapshotFile>,
}

impl SnapshotManifest {
    /// How long the stream is.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Where snapshots are taken, kept, received and installed. Any thread may take, read and receive; only the thread that
/// owns the state machine installs, while nobody writes to the tables.
///
/// A failure to take, receive or install one is not final, unless [`SnapshotStore::is_final`] says so: the tables are as
/// they were.
pub trait SnapshotStore: Send + Sync + 'static {
    /// Why it failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes one of the tables as they are at some moment during the call, while they go on being written, makes it
    /// durable and keeps it. The two newest are kept; older ones are removed.
    fn take(&self) -> Result<Arc<SnapshotManifest>, Self::Error>;

    /// Those that are kept, the newest first.
    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, Self::Error>;

    /// Bytes of the stream of one that is kept, from `offset`, at most `bytes_max`; empty at its end. `None` where it is
    /// kept no longer.
    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, Self::Error>;

    /// Begins to receive, or goes on; returns from which offset. At most one is being received: another one that was
    /// begun before is given up.
    fn receive(&self, manifest: &SnapshotManifest) -> Result<u64, Self::Error>;

    /// The next bytes of the one that is being received. Returns the offset after them; bytes at another offset than
    /// the next are ignored.
    fn append(&self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, Self::Error>;

    /// Throws away what is being received, if anything is. Where that fails nothing is lost but room.
    fn give_up(&self);

    /// Checks the received snapshot against its manifest, and puts it in the place of the tables, atomically: a crash
    /// leaves the old tables or the new ones. It is kept as one of the newest from then on. What fails its check is
    /// thrown away, to be received anew.
    fn install(&self, id: SnapshotId) -> Result<(), Self::Error>;

    /// Whether the replica cannot go on after this error: tables that may be neither the old nor the new ones, or that
    /// failed while a snapshot was taken of them.
    fn is_final(&self, error: &Self::Error) -> bool;

    /// Where the tables were last installed, if they ever were and nothing was trimmed past it since. A crash between the
    /// installation and the trimming of the log leaves a log that ends below its tables: then, and only then, that is
    /// no damage.
    fn installed(&self) -> Result<Option<LogPosition>, Self::Error>;
}
