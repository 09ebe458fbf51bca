//! Cuts off what a power failure left of the last step in RocksDB's manifest, the list of the files that are live.
//!
//! ```text
//!   MANIFEST   step · step · step · ✗        written and not synced yet, as far as can be told: it is cut off
//!              step · ✗ · step · step        a later one is sound: this is damage, and it is refused
//! ```
//!
//! RocksDB forgives a last record that is too short. A disk may also have noted the new length and not the bytes, which
//! leaves zeros; then it refuses to open. Its files go by the list without the last step: those of the step before are
//! removed only once the step is synced. The tables may so come back older than they were, never by more than their log
//! still has, which is checked when the log is read.
//!
//! **The assumption**: a damaged *last* step is taken as torn by the crash, although it might have been synced and
//! damaged since; the two look the same. The files of a step that counted may then be missing: of the log that is found
//! by the [chain](crate::chain) of its batches, of the tables when it is compared how far they have come with where the
//! log begins.
//!
//! The chain vouches for the entries only because a flush enters both column families of the log at once. When RocksDB
//! opens it, what was replayed is entered in two steps: without the second the marks would say that all batches are in
//! files, and the entries would be in none. These steps are synced before the manifest counts, and so cannot be torn; how
//! long it is then is [noted](note), and nothing of that is ever cut off.
//!
//! Damage with sound steps behind it is not left to RocksDB: where a header reads as zeros it takes the rest of the block
//! for padding, and goes on behind it as if nothing had been there.
//!
//! Format: RocksDB, `db/log_format.h`, as of its write-ahead log; checksums are CRC-32C, masked (`util/crc32c.h`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use bincode::{Decode, Encode};

use crate::error::StorageError;
use crate::files;
use crate::record::{decode, encode};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The kinds of parts that a record may begin with: all of it, and the first of several.
const BEGINNINGS: [u8; 2] = [1, 2];
/// Those that it may end with: all of it, and the last of several.
const ENDS: [u8; 2] = [1, 4];

/// How much of which manifest is known to be synced.
#[derive(Debug, Encode, Decode)]
struct Noted {
    name: String,
    bytes: u64,
}

/// Cuts off a torn last step of the database in `directory`, if there is one. Nobody may have it open.
///
/// # Errors
/// [`StorageError::DamagedManifest`] where a step is damaged that others follow.
pub(crate) fn cut_off(directory: &Path) -> Result<(), StorageError> {
    cut_off_behind(directory, |_| Some(0))
}

/// The same, but nothing of what was noted in the file `note`; nothing at all where nothing was.
///
/// # Errors
/// [`StorageError::DamagedManifest`] also where that is damaged.
pub(crate) fn cut_off_behind_note(directory: &Path, note: &Path) -> Result<(), StorageError> {
    let noted: Option<Noted> = match fs::read(note) {
        Ok(bytes) => Some(decode("the note of how long the log's manifest is", &bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StorageError::io("read", note)(error)),
    };
    cut_off_behind(directory, |name| Some(noted.filter(|noted| noted.name == name)?.bytes))
}

/// Notes durably in the file `note` how long the manifest of the database in `directory` is, which was just opened.
pub(crate) fn note(directory: &Path, note: &Path) -> Result<(), StorageError> {
    let Some(current) = if_there(directory, "CURRENT")? else { return Ok(()) };
    let name = String::from_utf8_lossy(&current).trim_end().to_owned();
    let path = directory.join(&name);
    let bytes = fs::metadata(&path).map_err(StorageError::io("look at", path))?.len();
    let mut encoded = Vec::new();
    encode(|| "the note of how long the log's manifest is".into(), &Noted { name, bytes }, &mut encoded)?;
    let temporary = note.with_extension("new");
    files::write_synced(&temporary, &encoded)?;
    fs::rename(&temporary, note).map_err(StorageError::io("rename", &temporary))?;
    files::sync_directory(note.parent().unwrap_or(note))
}

/// Cuts off a torn last step; `synced` says of a manifest how much of it cannot be torn, if it is known.
fn cut_off_behind(directory: &Path, synced: impl FnOnce(&str) -> Option<u64>) -> Result<(), StorageError> {
    let Some(current) = if_there(directory, "CURRENT")? else { return Ok(()) };
    let name = String::from_utf8_lossy(&current);
    let Some(manifest) = if_there(directory, name.trim_end())? else { return Ok(()) };
    let (whole, legible) = sound_bytes(&manifest);
    let path = directory.join(name.trim_end());
    let is_sound = whole == manifest.len();
    let synced = synced(name.trim_end()).unwrap_or(if is_sound { 0 } else { u64::MAX });
    if (whole as u64) < synced || has_beginning_in(&manifest[legible..]) {
        return Err(StorageError::DamagedManifest { path });
    }
    if is_sound {
        return Ok(());
    }
    if whole == 0 {
        // Without its first step it is the list of nothing, which RocksDB refuses.
        return Ok(());
    }
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

/// Whether a sound beginning of a record stands anywhere in these bytes, which do not begin with one. What may follow a
/// beginning does not count: where a torn record reaches into the next block its last part may have been saved, and not
/// its first.
fn has_beginning_in(bytes: &[u8]) -> bool {
    let begins = |at: usize| bytes.get(at + 6).is_some_and(|kind| BEGINNINGS.contains(kind));
    (1..bytes.len()).any(|at| begins(at) && part_at(&bytes[at..], BLOCK_BYTES).is_some())
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
        flushed(5, 1)
    }

    /// The same after so many flushes of a key so long. A step names the first and the last key of its file.
    fn flushed(times: u8, key_bytes: usize) -> (TempDir, PathBuf) {
        let directory = TempDir::new().unwrap();
        let db = DB::open_default(directory.path()).unwrap();
        for number in 0..times {
            db.put(vec![number; key_bytes], "value").unwrap();
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
    fn the_last_part_of_a_torn_step_that_was_saved_alone_is_cut_off_with_it() {
        let (directory, manifest) = flushed(3, 6000);
        let mut file = fs::read(&manifest).unwrap();
        // What follows the last flush names no file.
        file.truncate(last_record(&file));
        let start = last_record(&file);
        let boundary = start.next_multiple_of(BLOCK_BYTES);
        assert_eq!((file[start + 6], file[boundary + 6]), (2, 4), "it begins in one block and ends in the next");
        file[start..boundary].fill(0);
        fs::write(&manifest, &file).unwrap();
        assert!(!opens(&directory), "there would be nothing to do");
        cut_off(directory.path()).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), file[..start]);
        assert!(opens(&directory));
    }

    #[test]
    fn damage_that_sound_steps_follow_is_refused() {
        let (directory, manifest) = database();
        let sound = fs::read(&manifest).unwrap();
        let before = last_record(&sound[..last_record(&sound)]);
        let damages: [fn(&mut [u8]); 2] = [|step| step[HEADER_BYTES] ^= 1, |step| step[..HEADER_BYTES].fill(0)];
        for damage in damages {
            let mut file = sound.clone();
            damage(&mut file[before..]);
            fs::write(&manifest, &file).unwrap();
            let error = cut_off(directory.path()).unwrap_err();
            assert!(matches!(error, StorageError::DamagedManifest { .. }), "{error}");
            assert_eq!(fs::read(&manifest).unwrap(), file, "nothing is changed");
        }
        assert!(opens(&directory), "RocksDB passes over zeros, and over what they hide");
    }

    #[test]
    fn where_there_is_no_database_there_is_nothing_to_do() {
        cut_off(TempDir::new().unwrap().path()).unwrap();
    }
}
