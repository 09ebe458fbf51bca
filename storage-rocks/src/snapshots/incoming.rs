//! The snapshot that is being received.
//!
//! ```text
//!   receive ──▶ incoming/manifest          begins, or goes on with the same one
//!   append ───▶ incoming/000012.sst …      one after another; a file is synced when it is whole, beside the next ones
//!   all here ─▶ checked, renamed to its id
//! ```
//!
//! In a new life only files count that are whole and pass their check: what a power failure leaves of the last one may
//! have its length and not its bytes.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use consensus_api::{SnapshotFile, SnapshotId, SnapshotManifest};

use super::beside::Syncs;
use super::manifest::{self, name_of};
use crate::error::StorageError;
use crate::files;

/// The directory of the one that is being received.
pub(crate) const INCOMING: &str = "incoming";

/// What is being received, if anything is.
pub(crate) struct Incoming {
    path: PathBuf,
    reception: Option<Reception>,
}

struct Reception {
    manifest: SnapshotManifest,
    offset: u64,
    syncs: Syncs,
}

impl Incoming {
    /// Goes on with what an earlier life has left in `path`, if it is known what that is; otherwise it is removed.
    pub(crate) fn open(path: PathBuf) -> Incoming {
        if manifest::load(&path).is_err_and(|error| !error.is_of_the_disk()) {
            files::discard(&path);
        }
        Incoming { path, reception: None }
    }

    /// Where its files stand.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to receive, or goes on; returns from which offset.
    pub(crate) fn receive(&mut self, manifest: &SnapshotManifest) -> Result<u64, StorageError> {
        manifest::check(manifest)?;
        if let Some(reception) = self.reception.as_ref().filter(|reception| reception.manifest.id == manifest.id) {
            return Ok(reception.offset);
        }
        self.reception = None;
        let offset = match manifest::load(&self.path) {
            Ok(present) if present == *manifest => self.resume(manifest)?,
            _ => {
                self.begin(manifest).inspect_err(|_| files::discard(&self.path))?;
                0
            }
        };
        self.reception = Some(Reception { manifest: manifest.clone(), offset, syncs: Syncs::default() });
        Ok(offset)
    }

    fn begin(&self, manifest: &SnapshotManifest) -> Result<(), StorageError> {
        files::remove(&self.path)?;
        files::make_directory(&self.path)?;
        manifest::save(&self.path, manifest)
    }

    /// What an earlier life received: the first files that are whole.
    fn resume(&self, manifest: &SnapshotManifest) -> Result<u64, StorageError> {
        let whole = |file: &&SnapshotFile| {
            file.bytes == 0
                || manifest::check_length(&self.path, manifest.id, file).is_ok()
                    && manifest::check_file(&self.path, manifest.id, file)
                        .inspect_err(|error| tracing::warn!(%error, "received before, to be received again"))
                        .is_ok()
        };
        let kept = manifest.files.iter().take_while(whole).count();
        for file in &manifest.files[kept..] {
            files::remove(&self.path.join(&file.name))?;
        }
        Ok(manifest.files[..kept].iter().map(|file| file.bytes).sum())
    }

    /// The next bytes. Where the disk refuses them, all of it is given up, so that the room is there for what matters more.
    pub(crate) fn append(&mut self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, StorageError> {
        let reception = self.reception.as_mut().filter(|reception| reception.manifest.id == id);
        let reception = reception.ok_or_else(|| StorageError::MissingSnapshot { id: name_of(id), have: 0 })?;
        if offset != reception.offset {
            return Ok(reception.offset);
        }
        match reception.append(&self.path, bytes) {
            Ok(()) => Ok(reception.offset),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// The manifest of the one that is wanted, if all of its bytes are here.
    pub(crate) fn whole(&self, id: SnapshotId) -> Result<&SnapshotManifest, StorageError> {
        let reception = self.reception.as_ref().filter(|reception| reception.manifest.id == id);
        match reception {
            Some(reception) if reception.offset == reception.manifest.bytes() => Ok(&reception.manifest),
            _ => Err(StorageError::MissingSnapshot {
                id: name_of(id),
                have: reception.map_or(0, |reception| reception.offset),
            }),
        }
    }

    /// Waits until the whole one is durable, and checks it against its manifest.
    pub(crate) fn check(&mut self, manifest: &SnapshotManifest) -> Result<(), StorageError> {
        // Nothing is ever appended to those without a byte.
        for file in manifest.files.iter().filter(|file| file.bytes == 0) {
            files::write_synced(&self.path.join(&file.name), &[])?;
        }
        if let Some(reception) = &mut self.reception {
            reception.syncs.finish()?;
        }
        manifest::check_files(&self.path, manifest)
    }

    /// Throws away what is here of any.
    pub(crate) fn give_up(&mut self) {
        self.reception = None;
        files::discard(&self.path);
    }

    /// What was received is kept now, and no longer here.
    pub(crate) fn moved_away(&mut self) {
        self.reception = None;
    }
}

impl Reception {
    fn append(&mut self, directory: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut rest = bytes;
        let mut start = 0;
        for file in &self.manifest.files {
            let end = start + file.bytes;
            if self.offset < end && !rest.is_empty() {
                let room = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
                let (now, later) = rest.split_at(rest.len().min(room));
                let path = directory.join(&file.name);
                write_at(&path, self.offset - start, now).map_err(StorageError::io("write", &path))?;
                self.offset += now.len() as u64;
                rest = later;
                if self.offset == end {
                    self.syncs.begin(path)?;
                }
            }
            start = end;
        }
        Ok(())
    }
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let file = match offset {
        // Not what an earlier life may have left under this name.
        0 => OpenOptions::new().write(true).create(true).truncate(true).open(path)?,
        _ => fs::OpenOptions::new().write(true).open(path)?,
    };
    file.write_all_at(bytes, offset)
}
