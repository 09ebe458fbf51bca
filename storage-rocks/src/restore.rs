//! From a snapshot file to a data directory of a new cluster, or to a look at what it holds.
//!
//! ```text
//!   FILE ─checked─▶ DIR.restoring: blank store ─▶ tables installed ─▶ disbanded ─▶ log begins there ─▶ stamped ─rename─▶ DIR
//!                   a crash or an error anywhere here leaves no DIR                                        the atomic step
//! ```
//!
//! The old cluster's members would refuse the new nodes, and its ballots say nothing here: the first go, and the log
//! begins at (index, ballot zero). So whatever engine wrote the snapshot, any can go on. The stamp keeps which snapshot
//! it was, and that becomes part of the cluster's id.

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use consensus_api::{Ballot, LogPosition, LogStore, SnapshotManifest, SnapshotStore, TableRead};

use crate::directory;
use crate::error::StorageError;
use crate::files;
use crate::generations::Generation;
use crate::snapshots::{ReadApplied, unpack};
use crate::stamp::Expected;
use crate::store::{Store, StoreOptions};
use crate::tables::RocksTables;

/// What the working directory's name ends in.
const SUFFIX: &str = ".restoring";

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
    /// Makes the data directory `target` of the snapshot file `input`. After an error or a crash it is not there.
    ///
    /// # Errors
    /// [`StorageError::Occupied`] where something is there already; as of [`check_export`](crate::check_export) where the
    /// file is damaged; [`StorageError::InUse`] where another process restores to the same place.
    ///
    /// # Panics
    /// If `disband` leaves members or a ballot behind.
    pub fn run(&self, input: impl Read, target: &Path) -> Result<SnapshotManifest, StorageError> {
        let target = &std::path::absolute(target).map_err(StorageError::io("look at", target))?;
        refuse_occupied(target)?;
        let work = &working_directory(target)?;
        let parent = work.parent().unwrap_or(work);
        fs::create_dir_all(parent).map_err(StorageError::io("make the directory", parent))?;
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

/// Reads and checks a whole snapshot file, and shows `read` its tables. They are unpacked for it, into the system's
/// directory for temporary files, and removed again.
///
/// # Errors
/// As of [`check_export`](crate::check_export), and where there is no room to unpack it.
pub fn read_export<R>(
    mut input: impl Read,
    tables: &[&str],
    read: impl FnOnce(&SnapshotManifest, &dyn TableRead<Error = StorageError>) -> R,
) -> Result<R, StorageError> {
    let unpacked = tempfile::Builder::new().prefix("quorate-snapshot-").tempdir();
    let unpacked = unpacked.map_err(StorageError::io("make a directory in", std::env::temp_dir()))?;
    let snapshot = unpack(&mut input, unpacked.path())?;
    let names = tables.iter().map(|name| (*name).to_owned()).collect();
    let tables = Generation::open_to_read(unpacked.path(), &names)?;
    Ok(read(&snapshot, &tables))
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

/// Beside the target, and so on the same file system.
fn working_directory(target: &Path) -> Result<PathBuf, StorageError> {
    let name = target.file_name().ok_or_else(|| StorageError::NotADirectory { path: target.to_owned() })?;
    let mut name = name.to_owned();
    name.push(SUFFIX);
    Ok(target.with_file_name(name))
}
