//! From a snapshot file to a data directory of a new cluster, or to a look at what it holds.
//!
//! ```text
//!   FILE ─checked─▶ DIR.restoring: blank store ─▶ tables installed ─▶ disbanded ─▶ log begins there ─▶ stamped ─rename─▶ DIR
//!                   a crash or an error anywhere here leaves no DIR                                        the atomic step
//! ```
//!
//! `DIR.restoring.lock` is held meanwhile: two that restore to one place would write into each other's work.
//!
//! The old cluster's members would refuse the new nodes, and its ballots say nothing here: the first go, and the log
//! begins at (index, ballot zero). So whatever engine wrote the snapshot, any can go on. The stamp keeps which snapshot
//! it was, and that becomes part of the cluster's id.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use consensus_api::{Ballot, LogPosition, LogStore, SnapshotManifest, SnapshotStore, TableRead};

use crate::directory;
use crate::error::StorageError;
use crate::files;
use crate::generations::Generation;
use crate::snapshots::{ReadApplied, check_applied, unpack};
use crate::stamp::Expected;
use crate::store::{Store, StoreOptions};
use crate::tables::RocksTables;

/// What the working directory's name ends in.
const SUFFIX: &str = ".restoring";
/// What the name of the lock ends in.
const LOCK_SUFFIX: &str = ".restoring.lock";

/// How a data directory is made from a snapshot file.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// Whose it becomes.
    pub expected: Expected,
    /// The names of the tables, as for [`StoreOptions`].
    pub tables: &'a [&'a str],
    /// Reads from the tables how far they have come.
    pub applied: ReadApplied,
    /// Takes from the tables, durably, the members and the ballot of the last entry.
    pub disband: fn(&RocksTables) -> Result<(), Box<dyn Error + Send + Sync>>,
}

impl Restore<'_> {
    /// Makes the data directory `target` of the snapshot file `input`. After an error or a crash it is not there; only
    /// where the last step fails, which makes its name durable, it is there whole, and a power failure may take it back.
    ///
    /// # Errors
    /// [`StorageError::Occupied`] where something is there already; [`StorageError::Irreplaceable`] where that is a
    /// symbolic link or a mount point; as of [`check_export`](crate::check_export) where the file is damaged;
    /// [`StorageError::InUse`] where another process restores to the same place.
    ///
    /// # Panics
    /// If `disband` leaves members or a ballot behind.
    pub fn run(&self, input: impl Read, target: &Path) -> Result<SnapshotManifest, StorageError> {
        let target = std::path::absolute(target).map_err(StorageError::io("look at", target))?;
        // Without a slash at its end, by which a link would be followed.
        let target = &target.components().collect::<PathBuf>();
        refuse_irreplaceable(target)?;
        refuse_occupied(target)?;
        let work = &beside(target, SUFFIX)?;
        let parent = work.parent().unwrap_or(work);
        fs::create_dir_all(parent).map_err(StorageError::io("make the directory", parent))?;
        let _lock = Lock::hold(target)?;
        // Whoever held it before may have put a directory there.
        refuse_occupied(target)?;
        directory::refuse_running(work)?;
        files::remove(work)?;
        let restored = self.fill(input, work).and_then(|snapshot| {
            // An empty directory gives way to the new one; anything else that came there meanwhile does not.
            fs::rename(work, target).map_err(StorageError::io("put the restored directory at", target))?;
            Ok(snapshot)
        });
        let snapshot = restored.inspect_err(|error| {
            if !matches!(error, StorageError::InUse { .. }) {
                files::discard(work);
            }
        })?;
        files::sync_directory(parent)?;
        Ok(snapshot)
    }

    /// Makes a whole data directory, all of it durable, and closes it.
    fn fill(&self, input: impl Read, work: &Path) -> Result<SnapshotManifest, StorageError> {
        let store = Store::open(work, self.expected, StoreOptions { sync: true, tables: self.tables })?;
        let snapshots = store.snapshots(self.applied);
        let snapshot = snapshots.import(input)?;
        snapshots.install(snapshot.id)?;
        // What follows changes the tables: no snapshot of them as they were is to be sent to anybody.
        snapshots.discard_all();
        let unreadable = |source| StorageError::Unreadable { what: "the snapshot".into(), source };
        (self.disband)(&store.tables).map_err(unreadable)?;
        let applied = (self.applied)(&*store.tables.live()).map_err(unreadable)?;
        let base = LogPosition { index: snapshot.position.index, ballot: Ballot::ZERO };
        assert_eq!((applied.position, applied.membership), (base, None), "the tables still belong to the old cluster");
        store.log.restart_at(base)?;
        store.stamp_restored(snapshot.id)?;
        Ok(snapshot)
    }
}

/// The lock beside the target, held; removed when it is dropped.
struct Lock {
    path: PathBuf,
    // Closed, and so given back, after the name is gone.
    _file: File,
}

impl Lock {
    fn hold(target: &Path) -> Result<Lock, StorageError> {
        let path = beside(target, LOCK_SUFFIX)?;
        let file = directory::hold(&path, target)?;
        Ok(Lock { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        files::discard(&self.path);
    }
}

/// Reads and checks a whole snapshot file, and shows `read` its tables. They are unpacked for it, into the system's
/// directory for temporary files, and removed again. `applied` reads from them how far they have come, which must be
/// what the file says.
///
/// # Errors
/// As of [`check_export`](crate::check_export), and where there is no room to unpack it.
pub fn read_export<R>(
    mut input: impl Read,
    tables: &[&str],
    applied: ReadApplied,
    read: impl FnOnce(&SnapshotManifest, &dyn TableRead<Error = StorageError>) -> R,
) -> Result<R, StorageError> {
    let unpacked = tempfile::Builder::new().prefix("quorate-snapshot-").tempdir();
    let unpacked = unpacked.map_err(StorageError::io("make a directory in", std::env::temp_dir()))?;
    let snapshot = unpack(&mut input, unpacked.path())?;
    let names = tables.iter().map(|name| (*name).to_owned()).collect();
    let tables = Generation::open_to_read(unpacked.path(), &names)?;
    let unreadable = |source| StorageError::Unreadable { what: "the snapshot file".into(), source };
    let found = applied(&tables).map_err(unreadable)?;
    check_applied(&snapshot, &found).map_err(|what| StorageError::BadExport { what })?;
    Ok(read(&snapshot, &tables))
}

/// A directory takes the place of another only where that is an empty one of the same file system.
fn refuse_irreplaceable(target: &Path) -> Result<(), StorageError> {
    let refuse = |what| Err(StorageError::Irreplaceable { path: target.to_owned(), what });
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(StorageError::io("look at", path));
    match (fs::symlink_metadata(target), target.parent()) {
        (Ok(found), _) if found.is_symlink() => refuse("a symbolic link"),
        (Ok(found), Some(parent)) if found.is_dir() && found.dev() != device(parent)? => refuse("a mount point"),
        // Of anything else it is said elsewhere what it is.
        _ => Ok(()),
    }
}

fn refuse_occupied(target: &Path) -> Result<(), StorageError> {
    match fs::read_dir(target) {
        Ok(mut items) => match items.next() {
            Some(_) => Err(StorageError::Occupied { path: target.to_owned() }),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(StorageError::NotADirectory { path: target.to_owned() })
        }
        Err(error) => Err(StorageError::io("list", target)(error)),
    }
}

/// A name beside the target, and so on the same file system.
fn beside(target: &Path, suffix: &str) -> Result<PathBuf, StorageError> {
    let name = target.file_name().ok_or_else(|| StorageError::NotADirectory { path: target.to_owned() })?;
    let name: OsString = [name, suffix.as_ref()].into_iter().collect();
    Ok(target.with_file_name(name))
}
