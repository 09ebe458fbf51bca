//! Snapshots of the tables: checkpoints of their RocksDB, taken, kept, received and installed.
//!
//! ```text
//!   tables ─checkpoint─▶ taking/ ─checksums, manifest─▶ ID/ ─read─▶ stream ─append─▶ incoming/ ─checked─▶ ID/
//!      ▲                                                                                                   │
//!      └───────── exchanged ◀─ pointer switched ◀─ opened ◀─ next generation, of hard links ◀───────────────┘
//! ```
//!
//! A checkpoint flushes first, all column families together, and names the files that were live at one moment; a flush
//! enters them for all column families in one step. So it holds every table as of one batch, whatever is written
//! meanwhile. What is damaged, half done or left behind is thrown away; only the switch of the pointer is a step after
//! which there is no way back.

mod archive;
mod beside;
mod damaged;
mod incoming;
mod manifest;
mod shelf;

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus_api::{
    AppliedState, LogIndex, LogPosition, LogStore, Membership, SnapshotId, SnapshotManifest, SnapshotStore, TableRead,
    Tables,
};
use rocksdb::checkpoint::Checkpoint;

pub use archive::check_export;
pub(crate) use archive::unpack;
pub(crate) use damaged::DamagedFiles;
pub use manifest::name_of as snapshot_name;
pub(crate) use manifest::{check_applied, check_files};
pub(crate) use shelf::{SNAPSHOTS, Shelf, is_named_as_one, list, look_at};

use crate::error::StorageError;
use crate::files;
use crate::generations::{Generation, Generations};
use crate::log::RocksLog;
use crate::tables::RocksTables;
use incoming::Incoming;

/// Where one that is being taken stands, within the directory of snapshots. RocksDB puts it together beside that, in
/// `taking.tmp`. What a crash leaves of either has no name of a snapshot, and is removed at the next start.
const TAKING: &str = "taking";
/// Room that must be there besides what a flush will write.
const ROOM_BYTES: u64 = 4 << 20;
const EXPORT_BYTES: usize = 1 << 20;
/// How often it is tried to read between two batches.
const READS_MAX: usize = 100;

/// Reads from tables how far they have come and who their members are. The store knows nothing of what stands in them.
pub type ReadApplied = fn(&dyn TableRead<Error = StorageError>) -> Result<AppliedState, Box<dyn Error + Send + Sync>>;

/// What the snapshots of a data directory are made of.
pub(crate) struct Parts {
    pub(crate) generations: Generations,
    pub(crate) shelf: Shelf,
    pub(crate) damaged: DamagedFiles,
    pub(crate) tables: Arc<RocksTables>,
    pub(crate) log: Arc<RocksLog>,
    pub(crate) taking: Mutex<()>,
}

/// A [`SnapshotStore`] on RocksDB. Made by [`Store::snapshots`](crate::Store::snapshots).
#[derive(Clone)]
pub struct RocksSnapshots {
    parts: Arc<Parts>,
    applied: ReadApplied,
}

impl RocksSnapshots {
    pub(crate) fn new(parts: Arc<Parts>, applied: ReadApplied) -> RocksSnapshots {
        RocksSnapshots { parts, applied }
    }

    /// Writes one that is kept to `out`, as one file. It is checked while it is read, and kept for as long as that lasts.
    ///
    /// # Errors
    /// [`StorageError::MissingSnapshot`] where it is not kept, or not any more; otherwise what reading and writing say.
    pub fn export(&self, id: SnapshotId, out: &mut impl Write) -> Result<(), StorageError> {
        let missing = || StorageError::MissingSnapshot { id: manifest::name_of(id), have: 0 };
        let held = self.parts.shelf.hold(id).ok_or_else(missing)?;
        archive::write_head(&held.snapshot, out)?;
        let mut offset = 0;
        while offset < held.snapshot.bytes() {
            let bytes = self.read(id, offset, EXPORT_BYTES)?.ok_or_else(missing)?;
            archive::write(out, &bytes)?;
            offset += bytes.len() as u64;
        }
        out.flush().map_err(|source| StorageError::ExportIo { doing: "write", source })
    }

    /// Receives one from a file that [`export`](RocksSnapshots::export) wrote: it can be installed then.
    ///
    /// # Errors
    /// As of [`check_export`]; nothing of it stays behind then.
    pub fn import(&self, mut input: impl Read) -> Result<SnapshotManifest, StorageError> {
        let snapshot = archive::read_head(&mut input)?;
        let begun = self.receive(&snapshot)?;
        let read = archive::read_files(&snapshot, &mut input, &mut |offset, bytes| {
            // What is here already is read from the file all the same, for its check.
            let skip = usize::try_from(begun.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
            if skip < bytes.len() {
                self.append(snapshot.id, offset + skip as u64, &bytes[skip..])?;
            }
            Ok(())
        });
        read.inspect_err(|_| self.incoming().give_up())?;
        Ok(snapshot)
    }

    /// Throws away a kept one that is damaged. Which of its files the tables have too is noted before: where that cannot
    /// be done it stays, to be refused again, because its checksums are all that tells.
    fn discard_damaged(&self, snapshot: &SnapshotManifest) {
        let Parts { shelf, damaged, tables, .. } = &*self.parts;
        let place = shelf.place_of(snapshot.id);
        match damaged.remember(&place, snapshot, &[tables.live().path(), &place.with_file_name(TAKING)]) {
            Ok(()) => shelf.discard(snapshot.id),
            Err(error) => tracing::error!(%error, "damaged files not noted; the damaged snapshot stays"),
        }
    }

    /// Throws away all that are kept.
    pub(crate) fn discard_all(&self) {
        self.parts.shelf.kept().iter().for_each(|snapshot| self.parts.shelf.discard(snapshot.id));
    }

    fn applied_in(
        &self,
        tables: &dyn TableRead<Error = StorageError>,
        what: &str,
    ) -> Result<AppliedState, StorageError> {
        (self.applied)(tables).map_err(|source| StorageError::Unreadable { what: what.to_owned(), source })
    }

    /// How far this node's tables have come, as of one moment: what says so is more than one record, and a batch may be
    /// written between the reading of two. A view would do at once, but with the end of one the database begins to
    /// rewrite old files: they would no longer be shared with the last snapshot.
    fn applied_here(&self) -> Result<AppliedState, StorageError> {
        let live = self.parts.tables.live();
        for _ in 0..READS_MAX {
            let before = live.db.latest_sequence_number();
            let applied = self.applied_in(&*live, "this node");
            if live.db.latest_sequence_number() == before {
                return applied;
            }
        }
        self.applied_in(&*self.parts.tables.view(), "this node")
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.parts.shelf.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of `live` in the directory `taking`.
    fn take_in(&self, taking: &Path, live: &Generation) -> Result<SnapshotManifest, StorageError> {
        // A flush that fails would be the end of the tables; this fails alone.
        files::ask_for_room(taking.parent().unwrap_or(taking), live.unflushed_bytes()? + ROOM_BYTES)?;
        let checkpoint = Checkpoint::new(&live.db).map_err(StorageError::rocks("make ready for a snapshot"))?;
        if let Err(source) = checkpoint.create_checkpoint(taking) {
            // It flushes first, and tables that could not be flushed are at their end.
            live.check_background()?;
            return Err(StorageError::rocks("take a snapshot of the tables")(source));
        }
        let applied = self.applied_in(&Generation::open_to_read(taking, &live.names)?, "the snapshot")?;
        let membership = Membership::clone(&applied.membership.as_ref().ok_or(StorageError::NotFounded)?.latest);
        let newest = self.parts.shelf.kept().into_iter().next();
        let known = newest.as_ref().map(|newest| (self.parts.shelf.place_of(newest.id), newest));
        let known = known.as_ref().map(|(place, newest)| (place.as_path(), &***newest));
        let files = manifest::survey(taking, known)?;
        if let Some(file) = self.parts.damaged.find(taking, &files) {
            return Err(StorageError::DamagedTables { file });
        }
        manifest::of(applied.position, applied.log_time, membership, files)
    }

    /// The files of the snapshot that is to be installed, checked and kept; an error where it must not be.
    fn ready(
        &self,
        incoming: &mut Incoming,
        id: SnapshotId,
        applied: LogIndex,
    ) -> Result<Arc<SnapshotManifest>, StorageError> {
        let shelf = &self.parts.shelf;
        let newer = |snapshot: &SnapshotManifest| match snapshot.position.index {
            index if index < applied => Err(StorageError::Outdated { id: manifest::name_of(id), index, applied }),
            _ => Ok(()),
        };
        if let Some(kept) = shelf.find(id) {
            newer(&kept)?;
            check_files(&shelf.place_of(id), &kept).inspect_err(|error| {
                if !error.is_of_the_disk() {
                    self.discard_damaged(&kept);
                }
            })?;
            return Ok(kept);
        }
        let received = incoming.whole(id)?.clone();
        newer(&received).inspect_err(|_| incoming.give_up())?;
        incoming.check(&received).inspect_err(|error| {
            if !error.is_of_the_disk() {
                incoming.give_up();
            }
        })?;
        // Where this fails nobody knows any more where it stands.
        let kept = shelf.keep(incoming.path(), received).inspect_err(|_| incoming.give_up())?;
        incoming.moved_away();
        Ok(kept)
    }

    /// Opens the files of a snapshot as the next generation; refuses tables that are not what the manifest says.
    fn prepare(&self, snapshot: &SnapshotManifest) -> Result<Generation, StorageError> {
        let place = self.parts.shelf.place_of(snapshot.id);
        let next = self.parts.generations.prepare(&place, &snapshot.files)?;
        let what = format!("snapshot {}", manifest::name_of(snapshot.id));
        let found = self.applied_in(&next, &what)?;
        check_applied(snapshot, &found)
            .map_err(|what| StorageError::DamagedSnapshot { id: manifest::name_of(snapshot.id), what })?;
        Ok(next)
    }
}

impl SnapshotStore for RocksSnapshots {
    type Error = StorageError;

    fn take(&self) -> Result<Arc<SnapshotManifest>, StorageError> {
        let _alone = self.parts.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = &self.parts.shelf;
        let live = self.parts.tables.live();
        let applied = self.applied_here()?;
        if applied.membership.is_none() {
            return Err(StorageError::NotFounded);
        }
        if let Some(newest) = shelf.kept().into_iter().next().filter(|newest| newest.position == applied.position) {
            return Ok(newest);
        }
        let taking = shelf.directory()?.join(TAKING);
        files::remove(&taking)?;
        let taken = self.take_in(&taking, &live).and_then(|manifest| shelf.keep(&taking, manifest));
        taken.inspect_err(|_| files::discard(&taking))
    }

    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, StorageError> {
        Ok(self.parts.shelf.kept())
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        self.parts.shelf.read(id, offset, bytes_max).inspect_err(|error| {
            let kept = self.parts.shelf.find(id).filter(|_| matches!(error, StorageError::DamagedSnapshot { .. }));
            if let Some(kept) = kept {
                tracing::error!(%error, "a snapshot was damaged on the disk");
                self.discard_damaged(&kept);
            }
        })
    }

    fn receive(&self, manifest: &SnapshotManifest) -> Result<u64, StorageError> {
        if let Some(kept) = self.parts.shelf.find(manifest.id) {
            return Ok(kept.bytes());
        }
        self.parts.shelf.directory()?;
        self.incoming().receive(manifest)
    }

    fn append(&self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, StorageError> {
        if let Some(kept) = self.parts.shelf.find(id) {
            return Ok(kept.bytes());
        }
        self.incoming().append(id, offset, bytes)
    }

    fn install(&self, id: SnapshotId) -> Result<(), StorageError> {
        let mut incoming = self.incoming();
        let applied = self.applied_here()?.position.index;
        let snapshot = self.ready(&mut incoming, id, applied)?;
        if snapshot.position.index == applied {
            return Ok(());
        }
        let next = self.prepare(&snapshot).inspect_err(|error| {
            if !error.is_of_the_disk() {
                self.parts.shelf.discard(id);
            }
        })?;
        self.parts.generations.switch(&next, snapshot.position)?;
        let old = self.parts.tables.exchange(next);
        self.parts.damaged.keep_those_of(self.parts.tables.live().path());
        self.parts.generations.retire(&old);
        Ok(())
    }

    fn give_up(&self) {
        self.incoming().give_up();
    }

    fn is_final(&self, error: &StorageError) -> bool {
        use StorageError::{Background, Finished, PointerUnsure};
        matches!(error, PointerUnsure { .. } | Background { .. } | Finished)
    }

    fn installed(&self) -> Result<Option<LogPosition>, StorageError> {
        let installed = self.parts.generations.live().installed;
        Ok(installed.filter(|installed| installed.index > self.parts.log.base().index))
    }
}
