//! Files and directories whose names are durable when a call returns.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::error::StorageError;

const PIECE_BYTES: usize = 1 << 20;

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(StorageError::io("sync the directory", path))
}

/// Makes the bytes of a file durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), StorageError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(StorageError::io("sync", path))
}

/// Writes a file that does not count before it has its name: to be renamed by the caller.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(StorageError::io("write", path))
}

/// Makes a directory, and its name durable. It may be there already.
pub(crate) fn make_directory(path: &Path) -> Result<(), StorageError> {
    match fs::create_dir(path) {
        Ok(()) => sync_directory(path.parent().unwrap_or(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StorageError::io("make the directory", path)(error)),
    }
}

/// Removes a file, or a directory with everything in it, if it is there; its name does not come back.
pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(StorageError::io("remove", path))?;
    sync_directory(path.parent().unwrap_or(path))
}

/// Removes what nobody needs any more. Where that fails nothing is lost but room, until the next start tries again.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(%error, path = %path.display(), "not removed; the next start tries again");
    }
}

/// Makes sure that the disk has room for so many bytes, by writing and removing them: only the disk itself knows of
/// quotas and of what is set aside.
pub(crate) fn ask_for_room(directory: &Path, bytes: u64) -> Result<(), StorageError> {
    let path = directory.join("room");
    let zeros = vec![0; PIECE_BYTES];
    let fill = || {
        let mut file = File::create(&path)?;
        let mut left = bytes;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
        }
        Ok(())
    };
    let filled: io::Result<()> = fill();
    let removed = fs::remove_file(&path);
    filled.and(removed).map_err(StorageError::io("make sure that there is room in", directory))
}
