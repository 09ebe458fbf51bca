//! Cuts off what a power failure left of the last step in RocksDB's manifest, the list of the files that are live.
//!
//! ```text
//!   MANIFEST   step · step · step · ✗        written and not synced yet: nobody was told of it, it is cut off
//!              step · ✗ · step · step        a later one is sound: this is damage, and RocksDB refuses it by itself
//! ```
//!
//! RocksDB forgives a last record that is too short. A disk may also have noted the new length and not the bytes, which
//! leaves zeros; then it refuses to open. Its files go by the list without the last step: those of the step before are
//! removed only once the step is synced. The tables may so come back older than they were, never by more than their log
//! still has, which is checked when the log is read.
//!
//! Format: RocksDB, `db/log_format.h`, as of its write-ahead log; checksums are CRC-32C, masked (`util/crc32c.h`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::StorageError;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// A record that is whole, and the last part of one.
const ENDS: [u8; 2] = [1, 4];

/// Cuts off a torn last step of the database in `directory`, if there is one. Nobody may have it open.
pub(crate) fn cut_off(directory: &Path) -> Result<(), StorageError> {
    let Some(current) = if_there(directory, "CURRENT")? else { return Ok(()) };
    let name = String::from_utf8_lossy(&current);
    let Some(manifest) = if_there(directory, name.trim_end())? else { return Ok(()) };
    let (whole, legible) = sound_bytes(&manifest);
    if whole == manifest.len() || whole == 0 || has_part_in(&manifest[legible..]) {
        return Ok(());
    }
    let path = directory.join(name.trim_end());
    tracing::warn!(path = %path.display(), bytes = manifest.len() - whole, "torn last step of a manifest cut off");
    let cut = File::options().write(true).open(&path).and_then(|file| {
        file.set_len(whole as u64)?;
        file.sync_all()
    });
    cut.map_err(StorageError::io("cut off the torn end of", path))
}

fn if_there(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path)(error)),
    }
}

/// Up to where the file is made of whole records, and up to where of sound parts of them.
fn sound_bytes(file: &[u8]) -> (usize, usize) {
    let (mut whole, mut at) = (0, 0);
    while at < file.len() {
        let in_block = BLOCK_BYTES - at % BLOCK_BYTES;
        if in_block < HEADER_BYTES {
            // Too little for a header: the rest of a block is left empty.
            at += in_block;
            continue;
        }
        let Some(bytes) = part_at(&file[at..], in_block) else { break };
        let kind = file[at + 6];
        at += bytes;
        if ENDS.contains(&kind) {
            whole = at;
        }
    }
    (whole, at.min(file.len()))
}

/// How long the part of a record is that `bytes` begin with, if it is sound and within `most`.
fn part_at(bytes: &[u8], most: usize) -> Option<usize> {
    let header = bytes.get(..HEADER_BYTES)?;
    let end = HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    let checked = bytes.get(6..end).filter(|_| end <= most)?;
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let masked = crc32c::crc32c(checked).rotate_right(15).wrapping_add(0xa282_ead8);
    (stored == masked).then_some(end)
}

/// Whether a sound part of a record stands anywhere in these bytes, which do not begin with one.
fn has_part_in(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| part_at(&bytes[at..], BLOCK_BYTES).is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::PathBuf;

    use rocksdb::DB;
    use tempfile::TempDir;

    use super::*;

    /// A database with a few flushes behind it, closed; and its manifest.
    fn database() -> (TempDir, PathBuf) {
        let directory = TempDir::new().unwrap();
        let db = DB::open_default(directory.path()).unwrap();
        for number in 0..5_u8 {
            db.put([number], "value").unwrap();
            db.flush().unwrap();
        }
        drop(db);
        let current = fs::read_to_string(directory.path().join("CURRENT")).unwrap();
        let manifest = directory.path().join(current.trim_end());
        (directory, manifest)
    }

    fn opens(directory: &TempDir) -> bool {
        DB::open_default(directory.path()).is_ok()
    }

    /// Where the last record of a file begins.
    fn last_record(file: &[u8]) -> usize {
        (0..file.len()).rev().find(|at| sound_bytes(&file[..*at]).0 == *at).unwrap()
    }

    #[test]
    fn what_rocksdb_writes_is_sound_to_its_end_and_nothing_is_cut_off() {
        let (directory, manifest) = database();
        let before = fs::read(&manifest).unwrap();
        assert_eq!(sound_bytes(&before), (before.len(), before.len()));
        cut_off(directory.path()).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), before);
    }

    #[test]
    fn a_last_step_of_which_the_length_was_saved_and_not_the_bytes_is_cut_off() {
        let (directory, manifest) = database();
        let mut file = fs::read(&manifest).unwrap();
        let start = last_record(&file);
        file[start + HEADER_BYTES + 2..].fill(0);
        fs::write(&manifest, &file).unwrap();
        assert!(!opens(&directory), "there would be nothing to do");
        cut_off(directory.path()).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), file[..start]);
        assert!(opens(&directory));
    }

    #[test]
    fn damage_that_sound_steps_follow_is_left_for_rocksdb_to_refuse() {
        let (directory, manifest) = database();
        let mut file = fs::read(&manifest).unwrap();
        let before = last_record(&file[..last_record(&file)]);
        file[before + HEADER_BYTES] ^= 1;
        fs::write(&manifest, &file).unwrap();
        cut_off(directory.path()).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), file);
        assert!(!opens(&directory));
    }

    #[test]
    fn where_there_is_no_database_there_is_nothing_to_do() {
        cut_off(TempDir::new().unwrap().path()).unwrap();
    }
}
