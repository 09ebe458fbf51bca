//! Which files were found damaged in a snapshot, remembered for as long as the tables have them.
//!
//! ```text
//!   tables/000012.sst ──same file── ID/000012.sst ✗ found damaged ──▶ snapshots/damaged ──▶ ID/ thrown away
//!        ╰──────────── the next snapshot would have it too, with a checksum that agrees with the damage: not taken
//! ```
//!
//! It is written before the snapshot goes, whose checksums alone could tell; and so no restart forgets it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bincode::{Decode, Encode};
use consensus_api::{SnapshotFile, SnapshotManifest};

use super::manifest;
use crate::error::StorageError;
use crate::files;
use crate::record::{decode, encode};

/// Where it stands, within the directory of snapshots.
pub(crate) const DAMAGED: &str = "damaged";
const NEXT_DAMAGED: &str = "damaged.new";
/// How many files are remembered: one is enough to refuse the next snapshot.
const FILES_MAX: usize = 1024;

/// The files that are remembered.
pub(crate) struct DamagedFiles {
    directory: PathBuf,
    files: Mutex<Vec<DamagedFile>>,
}

/// A file under whatever name of a directory: RocksDB gives the name to no other file of the same tables, and the inode
/// stays its own while the file has a name. Both stand on one file system, whose number may change with a restart.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct DamagedFile {
    name: String,
    inode: u64,
}

impl DamagedFile {
    fn of(place: &Path, name: &str) -> Option<DamagedFile> {
        let found = fs::metadata(place.join(name)).ok()?;
        Some(DamagedFile { name: name.to_owned(), inode: found.ino() })
    }

    fn is_in(&self, place: &Path) -> bool {
        DamagedFile::of(place, &self.name).as_ref() == Some(self)
    }
}

impl DamagedFiles {
    /// What earlier lives found in the snapshots in `directory`, of the files that the tables in `live` still have.
    pub(crate) fn load(directory: &Path, live: &Path) -> Result<DamagedFiles, StorageError> {
        let path = directory.join(DAMAGED);
        let files = match fs::read(&path) {
            Ok(bytes) => decode("the list of damaged files", &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StorageError::io("read", path)(error)),
        };
        let damaged = DamagedFiles { directory: directory.to_owned(), files: Mutex::new(files) };
        damaged.keep_those_of(live);
        Ok(damaged)
    }

    /// Remembers, durably, which files of a snapshot in `place` are damaged, of those that one of `holders` has as well:
    /// the tables, or what is being taken of them.
    pub(crate) fn remember(
        &self,
        place: &Path,
        snapshot: &SnapshotManifest,
        holders: &[&Path],
    ) -> Result<(), StorageError> {
        let is_damaged = |file: &&SnapshotFile| {
            manifest::check_file(place, snapshot.id, file).is_err_and(|error| !error.is_of_the_disk())
        };
        let is_shared = |file: &DamagedFile| holders.iter().any(|holder| file.is_in(holder));
        let found = snapshot.files.iter().filter(is_damaged).filter_map(|file| DamagedFile::of(place, &file.name));
        let mut next: Vec<DamagedFile> = found.filter(is_shared).collect();
        if next.is_empty() {
            return Ok(());
        }
        let mut files = self.lock();
        files.retain(|file| !next.contains(file));
        next.append(&mut files);
        next.truncate(FILES_MAX);
        // What cannot be written counts all the same for as long as this life lasts.
        *files = next;
        self.save(&files)
    }

    /// Forgets the files that the tables in `live` do not have: nothing keeps their names and inodes from being used anew.
    pub(crate) fn keep_those_of(&self, live: &Path) {
        let mut files = self.lock();
        let before = files.len();
        files.retain(|file| file.is_in(live));
        if files.len() == before {
            return;
        }
        if let Err(error) = self.save(&files) {
            tracing::warn!(%error, "damaged files that are gone not forgotten; the next start tries again");
        }
    }

    /// The first of these files, in the directory `place`, that was found damaged under another name.
    pub(crate) fn find(&self, place: &Path, files: &[SnapshotFile]) -> Option<String> {
        let damaged = self.lock();
        let is_damaged = |file: &&SnapshotFile| {
            !damaged.is_empty() && DamagedFile::of(place, &file.name).is_some_and(|found| damaged.contains(&found))
        };
        files.iter().find(is_damaged).map(|file| file.name.clone())
    }

    fn save(&self, files: &[DamagedFile]) -> Result<(), StorageError> {
        let (temporary, path) = (self.directory.join(NEXT_DAMAGED), self.directory.join(DAMAGED));
        if files.is_empty() {
            return files::remove(&path);
        }
        let mut bytes = Vec::new();
        encode(|| "the list of damaged files".into(), &files, &mut bytes)?;
        files::write_synced(&temporary, &bytes).inspect_err(|_| files::discard(&temporary))?;
        fs::rename(&temporary, &path).map_err(StorageError::io("rename", &temporary))?;
        files::sync_directory(&self.directory)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DamagedFile>> {
        // The list changes in one step each time.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
