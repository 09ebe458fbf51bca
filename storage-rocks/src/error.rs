//! Everything that can go wrong with a data directory, each with what to do about it.

use std::io;
use std::path::PathBuf;

use consensus_api::codec::CodecError;
use consensus_api::{ClusterId, EngineName, Era, GroupId, LogIndex, NodeId};

/// Why a store cannot be opened, read or written. Final: the replica above it stops. Only of a snapshot that cannot be
/// taken or received it is not, nor of one that is not installed, except for [`StorageError::PointerUnsure`] and
/// [`StorageError::Background`].
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error(
        "cannot {doing} {}: {source}; check that the disk has room and that the directory is yours to read and write",
        .path.display()
    )]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory is a file or something else.
    #[error(
        "{} is not a directory; name a directory, or one that does not exist yet",
        .path.display()
    )]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// The directory holds other things.
    #[error(
        "{} holds {found} and is no data directory; name an empty directory, or one that does not exist yet",
        .path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// Something is where a data directory is to be restored to.
    #[error(
        "{} is there already, and nothing is restored over it; name a directory that does not exist yet",
        .path.display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// What is there cannot give way to a restored directory.
    #[error("{} is {what}, which no restored directory can replace; name a subdirectory of it", .path.display())]
    Irreplaceable {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by another process; stop that one first, or name another data directory",
        .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A version of this program with another layout made it.
    #[error(
        "{} has data format {found}, but this build reads format {expected}; run the build that wrote it",
        .path.display()
    )]
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format of this build.
        expected: u32,
    },
    /// It belongs to another node.
    #[error(
        "{} belongs to node {found}, not to node {expected}; start node {found}, or name another data directory",
        .path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        expected: NodeId,
    },
    /// It was written under another engine.
    #[error(
        "{} was written by engine {found}, not {expected}; start with engine {found}, or name another data directory",
        .path.display()
    )]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine that wrote it.
        found: EngineName,
        /// The engine that was chosen.
        expected: EngineName,
    },
    /// It holds another log, or another stretch of it.
    #[error(
        "{} holds group {}, era {}, not group {}, era {}; name another data directory",
        .path.display(), .found.0.0, .found.1.0, .expected.0.0, .expected.1.0
    )]
    OtherLog {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        found: (GroupId, Era),
        /// What was asked for.
        expected: (GroupId, Era),
    },
    /// It belongs to another cluster.
    #[error(
        "{} belongs to cluster {found}, not {expected}; check the peers' addresses, or name another data directory",
        .path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should become.
        expected: ClusterId,
    },
    /// Batches that were synced are not there any more.
    #[error(
        "the log in {} has lost its batches {first} to {through}, which were synced: the disk is damaged; restore the directory from a backup",
        .path.display()
    )]
    Lost {
        /// The log's directory.
        path: PathBuf,
        /// The first batch that is missing.
        first: u64,
        /// The last batch that is known to have been synced.
        through: u64,
    },
    /// There are data, but not the file that says how they belong together.
    #[error(
        "{} holds data but no file CURRENT: the disk is damaged; restore the directory from a backup",
        .path.display()
    )]
    Headless {
        /// The database's directory.
        path: PathBuf,
    },
    /// The list of a database's files has a hole.
    #[error(
        "{} is damaged, and not only at its end: the disk is damaged; restore the data directory from a backup",
        .path.display()
    )]
    DamagedManifest {
        /// The list.
        path: PathBuf,
    },
    /// A record is not what was written.
    #[error("{what} is damaged ({source}); restore the data directory from a backup")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A record is intact, but was written for another place.
    #[error(
        "where {what} should stand is {found}: the disk mixed up its blocks, or files were copied; restore the data directory from a backup"
    )]
    Misplaced {
        /// What should stand there.
        what: String,
        /// What stands there.
        found: String,
    },
    /// A value cannot be stored.
    #[error("{what} cannot be stored ({source}); lower the limit of what a command may weigh")]
    Unstorable {
        /// Which value.
        what: String,
        /// Why.
        source: CodecError,
    },
    /// The tables are others than this build knows.
    #[error(
        "{} holds the table {found}, which this build does not know; run the build that wrote it",
        .path.display()
    )]
    UnknownTable {
        /// The tables' directory.
        path: PathBuf,
        /// A table.
        found: String,
    },
    /// RocksDB failed.
    #[error("cannot {doing}: {source}; check the disk for room and errors, then restart the node")]
    Rocks {
        /// What was being done.
        doing: &'static str,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// RocksDB failed in the background.
    #[error("{errors} background errors of RocksDB; its file LOG names them: check the disk, then restart the node")]
    Background {
        /// How many.
        errors: u64,
    },
    /// The directory of the live tables is not there, or not whole.
    #[error(
        "{} should hold the live tables and does not: the disk is damaged; restore the data directory from a backup",
        .path.display()
    )]
    NoTables {
        /// Where they should be.
        path: PathBuf,
    },
    /// It cannot be told whether the old or the new tables would come back. Final.
    #[error(
        "{} was replaced and the disk does not say whether durably ({source}); restart the node: it finds the old tables or the new ones",
        .path.display()
    )]
    PointerUnsure {
        /// The pointer to the tables.
        path: PathBuf,
        /// Why it is not sure.
        source: Box<StorageError>,
    },
    /// The tables name no members, and so nobody could go on from a snapshot of them.
    #[error("the tables name no members yet, so that nobody could go on from a snapshot; found the cluster first")]
    NotFounded,
    /// The tables do not say how far they have come.
    #[error("the tables of {what} do not say how far they have come ({source}); run the build that wrote them")]
    Unreadable {
        /// Whose tables.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A manifest is none that this build writes.
    #[error("the manifest of snapshot {id} is refused: {what}; run the same build on every node")]
    BadManifest {
        /// The snapshot that it names.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that the live tables and a snapshot share was damaged on the disk: a new snapshot would have it too.
    #[error(
        "the tables' own file {file} was damaged on the disk, so no snapshot is taken of them; \
         check the disk and replace this node"
    )]
    DamagedTables {
        /// Which one.
        file: String,
    },
    /// A snapshot is not what its manifest says.
    #[error("snapshot {id} is damaged: {what}; it is thrown away, and to be fetched or taken anew")]
    DamagedSnapshot {
        /// Which.
        id: String,
        /// Which file, and what is wrong with it.
        what: String,
    },
    /// A snapshot that is to be installed or exported is not there.
    #[error("of snapshot {id} {have} bytes are here; receive the rest of it first")]
    MissingSnapshot {
        /// Which.
        id: String,
        /// How many of its bytes are.
        have: u64,
    },
    /// A snapshot is older than the tables that it should replace.
    #[error("snapshot {id} ends at {index}, but the tables have applied {applied}; install a newer one, or none")]
    Outdated {
        /// Which.
        id: String,
        /// The last entry that it covers.
        index: LogIndex,
        /// The last entry that is applied.
        applied: LogIndex,
    },
    /// A file that should hold an exported snapshot does not, or not all of it.
    #[error("this is no whole snapshot file: {what}; use another copy of it, or save one anew")]
    BadExport {
        /// What is wrong with it.
        what: String,
    },
    /// Reading or writing an exported snapshot failed.
    #[error("cannot {doing} the snapshot file: {source}; check where it is stored")]
    ExportIo {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A write failed before, and so none is trusted again.
    #[error("an earlier write failed, and what it left behind is not trusted; restart the node")]
    Finished,
}

impl StorageError {
    /// For `map_err`: what RocksDB was asked to do when it failed.
    pub(crate) fn rocks(doing: &'static str) -> impl FnOnce(rocksdb::Error) -> StorageError {
        move |source| StorageError::Rocks { doing, source }
    }

    /// For `map_err`: what the system was asked to do when it refused.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Io { doing, path, source }
    }

    /// Whether the system refused something, which says nothing of what is stored. That a file is not there does.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        match self {
            StorageError::Io { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            StorageError::Rocks { source, .. } => source.kind() == rocksdb::ErrorKind::IOError,
            _ => false,
        }
    }
}
