//! What a snapshot consists of: the manifest, its checks and its file.
//!
//! A manifest may come from anybody. Nothing in it is used before [`check`] has seen it, and a name in it is never a
//! path: it is joined to one only if it is a plain file name by a strict rule.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use consensus_api::{
    AppliedState, Blob, LogPosition, LogTime, Membership, SnapshotFile, SnapshotId, SnapshotManifest, codec,
};
use sha2::{Digest, Sha256};

use super::beside;
use crate::error::StorageError;
use crate::files;
use crate::record::{decode, encode};

/// Where the manifest stands among the files; none of them may have this name.
pub(crate) const MANIFEST_FILE: &str = "manifest";
const NEXT_MANIFEST_FILE: &str = "manifest.new";
/// The layout of the manifest's file.
const FORMAT: u32 = 2;
const NAME_BYTES_MAX: usize = 128;
const FILES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 256 << 10;

/// A snapshot's id as it is written, also as its directory's name: 32 hexadecimal digits.
pub fn name_of(id: SnapshotId) -> String {
    format!("{:032x}", id.0)
}

/// The manifest of these contents, under the name that they give it: the first half of the SHA-256 over the rest.
pub(crate) fn of(
    position: LogPosition,
    log_time: LogTime,
    membership: Membership,
    files: Vec<SnapshotFile>,
) -> Result<SnapshotManifest, StorageError> {
    let mut manifest = SnapshotManifest { id: SnapshotId(0), position, log_time, membership, files };
    manifest.id = id_of(&manifest)?;
    check(&manifest)?;
    Ok(manifest)
}

fn id_of(manifest: &SnapshotManifest) -> Result<SnapshotId, StorageError> {
    let contents = (manifest.position, manifest.log_time, &manifest.membership, &manifest.files);
    let encoded = codec::encode(&contents)
        .map_err(|source| StorageError::Unstorable { what: "the manifest of a snapshot".into(), source })?;
    let first_half = Sha256::digest(encoded).into_iter().take(16);
    Ok(SnapshotId(first_half.fold(0, |id, byte| id << 8 | u128::from(byte))))
}

/// Refuses a manifest that does not say what its name says, or whose files could not be kept.
pub(crate) fn check(manifest: &SnapshotManifest) -> Result<(), StorageError> {
    let refuse = |what: String| Err(StorageError::BadManifest { id: name_of(manifest.id), what });
    if manifest.files.len() > FILES_MAX {
        return refuse(format!("it names {} files, more than {FILES_MAX}", manifest.files.len()));
    }
    let mut names = BTreeSet::new();
    let mut bytes: u64 = 0;
    for file in &manifest.files {
        if !is_plain(&file.name) {
            return refuse(format!("{:?} is no plain name of a file", file.name));
        }
        if !names.insert(&file.name) {
            return refuse(format!("it names {:?} twice", file.name));
        }
        match bytes.checked_add(file.bytes) {
            Some(sum) => bytes = sum,
            None => return refuse("its files are longer than any disk".into()),
        }
    }
    if id_of(manifest)? != manifest.id {
        return refuse("its name is not the hash of what it says".into());
    }
    Ok(())
}

/// Whether it can be the name of a file and of nothing else.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let taken = [MANIFEST_FILE, NEXT_MANIFEST_FILE].iter().any(|taken| name.eq_ignore_ascii_case(taken));
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(allowed)
        && !name.starts_with('.')
        && !name.contains("..")
        && !taken
}

/// Writes the manifest beside its files, durably.
pub(crate) fn save(directory: &Path, manifest: &SnapshotManifest) -> Result<(), StorageError> {
    let what = || format!("the manifest of snapshot {}", name_of(manifest.id));
    let mut bytes = Vec::new();
    encode(what, manifest, &mut bytes)?;
    encode(what, &(FORMAT, Blob(std::mem::take(&mut bytes).into())), &mut bytes)?;
    let temporary = directory.join(NEXT_MANIFEST_FILE);
    files::write_synced(&temporary, &bytes)?;
    fs::rename(&temporary, directory.join(MANIFEST_FILE)).map_err(StorageError::io("rename", &temporary))?;
    files::sync_directory(directory)
}

/// The manifest of the files in `directory`, or why there is none that can be believed.
pub(crate) fn load(directory: &Path) -> Result<SnapshotManifest, StorageError> {
    let path = directory.join(MANIFEST_FILE);
    let bytes = fs::read(&path).map_err(StorageError::io("read", &path))?;
    let what = path.display().to_string();
    let (found, manifest): (u32, Blob) = decode(&what, &bytes)?;
    if found != FORMAT {
        return Err(StorageError::OtherFormat { path, found, expected: FORMAT });
    }
    let manifest = decode(&what, &manifest.0)?;
    check(&manifest)?;
    Ok(manifest)
}

/// Lists the files of a checkpoint, synced, in order of their names. The checksum of a file that is also one of `known`
/// (another name of the same bytes) is not computed again: that costs less, and what was damaged since then does not get
/// a checksum that vouches for the damage.
pub(crate) fn survey(
    directory: &Path,
    known: Option<(&Path, &SnapshotManifest)>,
) -> Result<Vec<SnapshotFile>, StorageError> {
    let mut files = Vec::new();
    for item in fs::read_dir(directory).map_err(StorageError::io("list", directory))? {
        let path = item.map_err(StorageError::io("list", directory))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files::sync_file(&path)?;
        let bytes = fs::metadata(&path).map_err(StorageError::io("look at", &path))?.len();
        let checksum = match known.and_then(|known| known_checksum(known, &name, &path)) {
            Some(checksum) => checksum,
            None => hash(&path).map_err(StorageError::io("read", &path))?,
        };
        files.push(SnapshotFile { name, bytes, checksum });
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn known_checksum((directory, manifest): (&Path, &SnapshotManifest), name: &str, path: &Path) -> Option<[u8; 32]> {
    let file = manifest.files.iter().find(|file| file.name == name)?;
    let (known, found) = (fs::metadata(directory.join(name)).ok()?, fs::metadata(path).ok()?);
    ((known.dev(), known.ino(), file.bytes) == (found.dev(), found.ino(), found.len())).then_some(file.checksum)
}

/// Makes sure that the tables in a snapshot have come to where the manifest says, or tells that they have not.
pub(crate) fn check_applied(manifest: &SnapshotManifest, found: &AppliedState) -> Result<(), String> {
    let says = (manifest.position, manifest.log_time, Some(&manifest.membership));
    if (found.position, found.log_time, found.membership.as_ref().map(|found| &*found.latest)) != says {
        return Err(format!("its tables have come to {}, its manifest says otherwise", found.position.index));
    }
    Ok(())
}

/// Makes sure that the files in `directory` are what the manifest says.
pub(crate) fn check_files(directory: &Path, manifest: &SnapshotManifest) -> Result<(), StorageError> {
    beside::check_all(directory, manifest.id, &manifest.files)
}

/// Makes sure that one of the files is what the manifest says.
pub(crate) fn check_file(directory: &Path, id: SnapshotId, file: &SnapshotFile) -> Result<(), StorageError> {
    check_length(directory, id, file)?;
    let path = directory.join(&file.name);
    if hash(&path).map_err(StorageError::io("read", &path))? != file.checksum {
        return Err(damaged(id, &file.name, "has another checksum"));
    }
    Ok(())
}

/// Makes sure that one of the files is as long as the manifest says, without reading it.
pub(crate) fn check_length(directory: &Path, id: SnapshotId, file: &SnapshotFile) -> Result<(), StorageError> {
    let path = directory.join(&file.name);
    match fs::metadata(&path) {
        Ok(found) if found.len() == file.bytes => Ok(()),
        Ok(found) => Err(damaged(id, &file.name, &format!("has {} bytes and should have {}", found.len(), file.bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged(id, &file.name, "is not there")),
        Err(error) => Err(StorageError::io("look at", path)(error)),
    }
}

/// Says of a snapshot's file what is wrong with it.
pub(crate) fn damaged(id: SnapshotId, file: &str, what: &str) -> StorageError {
    StorageError::DamagedSnapshot { id: name_of(id), what: format!("its file {file} {what}") }
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut hash = Sha256::new();
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn with_files(names: &[&str]) -> Result<SnapshotManifest, StorageError> {
        let file = |name: &&str| SnapshotFile { name: (*name).into(), bytes: 1, checksum: [0; 32] };
        of(LogPosition::default(), LogTime::default(), Membership::default(), names.iter().map(file).collect())
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        with_files(&["000012.sst", "MANIFEST-000005", "CURRENT", "OPTIONS-000007"]).unwrap();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let paths =
            ["", ".", "..", "a/b", "/etc/passwd", "..\\x", "a\0b", "x..y", ".hidden", "manifest", "Manifest", "ä"];
        for name in paths.into_iter().chain([long.as_str()]) {
            assert!(matches!(with_files(&[name]), Err(StorageError::BadManifest { .. })), "{name:?} was accepted");
        }
        assert!(matches!(with_files(&["a", "a"]), Err(StorageError::BadManifest { .. })));
    }

    #[test]
    fn a_manifest_that_was_changed_does_not_fit_its_name() {
        let manifest = with_files(&["a"]).unwrap();
        let mut longer = manifest.clone();
        longer.files[0].bytes += 1;
        assert!(matches!(check(&longer), Err(StorageError::BadManifest { .. })));
        let mut endless = manifest;
        endless.files.push(SnapshotFile { name: "b".into(), bytes: u64::MAX, checksum: [0; 32] });
        assert!(matches!(check(&endless), Err(StorageError::BadManifest { .. })));
    }
}
