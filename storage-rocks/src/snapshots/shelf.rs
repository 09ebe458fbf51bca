//! The snapshots that are kept: one directory for each, named by its id, the newest two; and older ones for as long as
//! somebody [holds](Shelf::hold) them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus_api::{SnapshotId, SnapshotManifest};

use super::beside::NextCheck;
use super::damaged::DAMAGED;
use super::incoming::{INCOMING, Incoming};
use super::manifest;
use crate::error::StorageError;
use crate::files;

/// The directory of the snapshots in a data directory.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// How many are kept.
const KEPT_MAX: usize = 2;

/// The snapshots that are kept, and the one that is being received.
pub(crate) struct Shelf {
    path: PathBuf,
    // The newest first.
    kept: Mutex<Vec<Arc<SnapshotManifest>>>,
    // An id for each hold. Locked while `kept` is, never the other way round.
    held: Mutex<Vec<SnapshotId>>,
    pub(crate) incoming: Mutex<Incoming>,
    next_check: NextCheck,
}

/// Keeps a snapshot from being removed because there are newer ones; one that is damaged goes all the same.
pub(crate) struct Hold<'a> {
    shelf: &'a Shelf,
    pub(crate) snapshot: Arc<SnapshotManifest>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut kept = self.shelf.lock();
        let mut held = self.shelf.lock_held();
        if let Some(at) = held.iter().position(|id| *id == self.snapshot.id) {
            held.swap_remove(at);
        }
        drop(held);
        self.shelf.prune(&mut kept);
    }
}

impl Shelf {
    /// Finds what is kept in the data directory `root`, and removes what is not whole. What the disk does not show now is
    /// left for the next start.
    pub(crate) fn open(root: &Path) -> Result<Shelf, StorageError> {
        let path = root.join(SNAPSHOTS);
        let mut kept = Vec::new();
        for found in list(&path)? {
            match look_at(&found) {
                Ok(manifest) => kept.push(Arc::new(manifest)),
                Err(error) if is_named_as_one(&found) && error.is_of_the_disk() => {
                    tracing::warn!(%error, path = %found.display(), "a snapshot cannot be looked at; left alone");
                }
                Err(error) => {
                    tracing::warn!(%error, path = %found.display(), "no whole snapshot; removed");
                    files::discard(&found);
                }
            }
        }
        kept.sort_by_key(|manifest| std::cmp::Reverse((manifest.position.index, manifest.id)));
        let incoming = Mutex::new(Incoming::open(path.join(INCOMING)));
        let shelf =
            Shelf { path, kept: Mutex::new(kept), held: Mutex::default(), incoming, next_check: NextCheck::default() };
        shelf.prune(&mut shelf.lock());
        Ok(shelf)
    }

    /// Where snapshots stand, made if it is not there yet.
    pub(crate) fn directory(&self) -> Result<&Path, StorageError> {
        files::make_directory(&self.path)?;
        Ok(&self.path)
    }

    /// Where the files of one stand.
    pub(crate) fn place_of(&self, id: SnapshotId) -> PathBuf {
        self.path.join(manifest::name_of(id))
    }

    /// Those that are kept, the newest first.
    pub(crate) fn kept(&self) -> Vec<Arc<SnapshotManifest>> {
        self.lock().clone()
    }

    /// The one with this id, if it is kept.
    pub(crate) fn find(&self, id: SnapshotId) -> Option<Arc<SnapshotManifest>> {
        self.lock().iter().find(|manifest| manifest.id == id).cloned()
    }

    /// The one with this id, if it is kept, and for as long as the hold lives it stays so.
    pub(crate) fn hold(&self, id: SnapshotId) -> Option<Hold<'_>> {
        let kept = self.lock();
        let snapshot = kept.iter().find(|manifest| manifest.id == id)?.clone();
        self.lock_held().push(id);
        Some(Hold { shelf: self, snapshot })
    }

    /// Keeps the snapshot whose files, all of them synced, are in the directory `from`; that becomes its own.
    pub(crate) fn keep(&self, from: &Path, snapshot: SnapshotManifest) -> Result<Arc<SnapshotManifest>, StorageError> {
        let mut kept = self.lock();
        if let Some(present) = kept.iter().find(|present| present.id == snapshot.id) {
            files::discard(from);
            return Ok(present.clone());
        }
        manifest::save(from, &snapshot)?;
        let place = self.place_of(snapshot.id);
        files::remove(&place)?;
        fs::rename(from, &place).map_err(StorageError::io("rename", from))?;
        files::sync_directory(&self.path).inspect_err(|_| files::discard(&place))?;
        let snapshot = Arc::new(snapshot);
        let newer = kept.iter().take_while(|other| other.position.index > snapshot.position.index).count();
        kept.insert(newer, snapshot.clone());
        self.prune(&mut kept);
        Ok(snapshot)
    }

    /// Throws one away.
    pub(crate) fn discard(&self, id: SnapshotId) {
        let mut kept = self.lock();
        kept.retain(|manifest| manifest.id != id);
        files::discard(&self.place_of(id));
    }

    /// Bytes of the stream of one, at most `bytes_max`; `None` where it is not kept. A file is checked when its first byte
    /// is read: what has been damaged at rest is [`StorageError::DamagedSnapshot`] before it goes anywhere.
    pub(crate) fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let Some(snapshot) = self.find(id) else { return Ok(None) };
        match read(&self.next_check, &self.place_of(id), &snapshot, offset, bytes_max) {
            // Thrown away while it was read.
            Err(_) if self.find(id).is_none() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn prune(&self, kept: &mut Vec<Arc<SnapshotManifest>>) {
        let held = self.lock_held();
        let mut newer = 0;
        kept.retain(|snapshot| {
            newer += 1;
            let stays = newer <= KEPT_MAX || held.contains(&snapshot.id);
            if !stays {
                files::discard(&self.place_of(snapshot.id));
            }
            stays
        });
    }

    fn lock_held(&self) -> MutexGuard<'_, Vec<SnapshotId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<SnapshotManifest>>> {
        // The list changes in one step each time.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path ends in what could be the name of a snapshot.
pub(crate) fn is_named_as_one(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What stands in the directory of snapshots and is not being received, in order of name: snapshots, and what others that
/// were cut short have left.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let items = match fs::read_dir(path) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StorageError::io("list", path)(error)),
    };
    let mut found = Vec::new();
    for item in items {
        found.push(item.map_err(StorageError::io("list", path))?.path());
    }
    found.retain(|path| path.file_name().is_none_or(|name| name != INCOMING && name != DAMAGED));
    found.sort();
    Ok(found)
}

/// The manifest of the snapshot in a directory of its own, if its files are all there.
pub(crate) fn look_at(path: &Path) -> Result<SnapshotManifest, StorageError> {
    let snapshot = manifest::load(path)?;
    let name = manifest::name_of(snapshot.id);
    if path.file_name().is_none_or(|found| *found != *name) {
        let found = format!("snapshot {name}");
        return Err(StorageError::Misplaced { what: path.display().to_string(), found });
    }
    snapshot.files.iter().try_for_each(|file| manifest::check_length(path, snapshot.id, file))?;
    Ok(snapshot)
}

fn read(
    next_check: &NextCheck,
    place: &Path,
    snapshot: &SnapshotManifest,
    offset: u64,
    bytes_max: usize,
) -> Result<Bytes, StorageError> {
    let mut bytes = Vec::with_capacity(bytes_max.min(1 << 20));
    let mut start = 0;
    for (number, file) in snapshot.files.iter().enumerate() {
        let at = offset + bytes.len() as u64;
        let room = bytes_max - bytes.len();
        let end = start + file.bytes;
        if at < end && room > 0 {
            if at == start {
                next_check.check(place, snapshot, number)?;
            }
            let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(room);
            let from = bytes.len();
            bytes.resize(from + take, 0);
            let path = place.join(&file.name);
            let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes[from..], at - start));
            match read {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(manifest::damaged(snapshot.id, &file.name, "ends too early"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(manifest::damaged(snapshot.id, &file.name, "is not there"));
                }
                outcome => outcome.map_err(StorageError::io("read", path))?,
            }
        }
        start = end;
    }
    Ok(bytes.into())
}
