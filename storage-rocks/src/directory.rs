//! Takes a data directory: makes it if there is none, refuses what is not ours, and locks it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::StorageError;

pub(crate) const LOG: &str = "log";
pub(crate) const TABLES: &str = "tables";
/// How much of the manifest of the log's database cannot be torn.
pub(crate) const LOG_NOTE: &str = "log.manifest";
const LOCK: &str = "lock";

/// Makes sure that `path` is a data directory, or may become one, and holds it until the file is dropped.
pub(crate) fn claim(path: &Path) -> Result<File, StorageError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(StorageError::NotADirectory { path: path.to_owned() }),
        Ok(_) => refuse_strangers(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(StorageError::io("make the directory", path))?;
        }
        // One of the names on the way is a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StorageError::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(StorageError::io("look at", path)(error)),
    }
    let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path.join(LOCK));
    let lock = lock.map_err(StorageError::io("make the lock in", path))?;
    held(path, lock.try_lock())?;
    Ok(lock)
}

/// Makes the directory's own name durable, and the names in it. RocksDB syncs the names of its files, but not the names
/// of the directories that it makes: a power failure could take a whole log that was synced.
pub(crate) fn settle(path: &Path) -> Result<(), StorageError> {
    let absolute = path.canonicalize().map_err(StorageError::io("look at", path))?;
    for directory in absolute.ancestors().take(2) {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(StorageError::io("sync the directory", directory))?;
    }
    Ok(())
}

/// Holds a data directory for reading only: nobody may run on it meanwhile.
pub(crate) fn claim_to_read(path: &Path) -> Result<File, StorageError> {
    let found = fs::metadata(path).map_err(StorageError::io("look at", path))?;
    if !found.is_dir() {
        return Err(StorageError::NotADirectory { path: path.to_owned() });
    }
    refuse_strangers(path)?;
    match File::open(path.join(LOCK)) {
        Ok(lock) => {
            held(path, lock.try_lock_shared())?;
            Ok(lock)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StorageError::NotOurs { path: path.to_owned(), found: "no lock".into() })
        }
        Err(error) => Err(StorageError::io("open the lock in", path)(error)),
    }
}

/// Refuses a directory on which somebody runs; says nothing else about it.
pub(crate) fn refuse_running(path: &Path) -> Result<(), StorageError> {
    File::open(path.join(LOCK)).map_or(Ok(()), |lock| held(path, lock.try_lock()))
}

/// Holds the file `lock` on behalf of the directory `path` until it is dropped; makes the file, which the holder removes
/// in the end.
pub(crate) fn hold(lock: &Path, path: &Path) -> Result<File, StorageError> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(lock);
    let file = opened.map_err(StorageError::io("make the lock", lock))?;
    held(path, file.try_lock())?;
    // The holder before may have removed the file between the two: then the next one to come would make another.
    let inode = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    if inode(file.metadata()) != inode(fs::metadata(lock)) {
        return Err(StorageError::InUse { path: path.to_owned() });
    }
    Ok(file)
}

fn held(path: &Path, outcome: Result<(), TryLockError>) -> Result<(), StorageError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StorageError::io("lock", path)(error)),
    }
}

/// A directory with anything else in it is somebody's.
fn refuse_strangers(path: &Path) -> Result<(), StorageError> {
    if path.join(LOG).join("CURRENT").exists() {
        return Ok(());
    }
    for item in fs::read_dir(path).map_err(StorageError::io("list", path))? {
        let name = item.map_err(StorageError::io("list", path))?.file_name();
        if ![LOG, LOG_NOTE, TABLES, LOCK].iter().any(|ours| name == *ours) {
            let found = format!("'{}'", name.to_string_lossy());
            return Err(StorageError::NotOurs { path: path.to_owned(), found });
        }
    }
    Ok(())
}
