//! A node's data directory, open.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use consensus_api::{ClusterId, Member, NodeId, SnapshotId};

use crate::database::{Database, Durability};
use crate::directory;
use crate::error::StorageError;
use crate::generations::Generations;
use crate::log::RocksLog;
use crate::peek::Peek;
use crate::record::STAMP_KEY;
use crate::snapshots::{DamagedFiles, Parts, ReadApplied, RocksSnapshots, SNAPSHOTS, Shelf};
use crate::stamp::{Expected, Stamp};
use crate::tables::RocksTables;
use crate::torn_manifest;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions<'a> {
    /// Whether a write to the log waits for the disk. Without it a power failure takes the last writes, and with them
    /// what this node has promised.
    pub sync: bool,
    /// The names of the tables; [`Table`](consensus_api::Table) counts them from zero.
    pub tables: &'a [&'a str],
}

/// An open data directory. Nobody else can open it until all parts are dropped.
pub struct Store {
    /// The log and the hard state.
    pub log: Arc<RocksLog>,
    /// The state machine's tables.
    pub tables: Arc<RocksTables>,
    snapshots: Arc<Parts>,
    stamp: Mutex<Stamp>,
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the data directory `path` for this node, engine and log, and counts the boot; makes it if it is blank.
    ///
    /// # Errors
    /// One for each reason: not a directory, not readable or writable, not ours, in use, of another format, node,
    /// engine or log, damaged. Until all of that is ruled out nothing in the directory is changed, but for one thing: what
    /// a power failure has left of the last step in the manifest of the log's RocksDB is cut off before it is known whose
    /// directory it is, because with it that cannot be read.
    pub fn open(path: &Path, expected: Expected, options: StoreOptions<'_>) -> Result<Store, StorageError> {
        let lock = directory::claim(path)?;
        let log_path = path.join(directory::LOG);
        let note = path.join(directory::LOG_NOTE);
        torn_manifest::cut_off_behind_note(&log_path, &note)?;
        let (stamp, last_batch) = match Peek::open(&log_path)? {
            Some(peek) => examine(path, &peek, expected)?,
            None => (None, 0),
        };
        let (generations, tables) = Generations::open(path, options.tables)?;
        if stamp.is_none() && !tables.is_blank()? {
            return Err(StorageError::NotOurs { path: path.to_owned(), found: "tables without their log".into() });
        }
        let mut stamp = stamp.map_or_else(|| Stamp::blank(expected), Ok)?;
        let database = Database::open(&log_path, options.sync, last_batch)?;
        directory::settle(path)?;
        torn_manifest::note(&log_path, &note)?;
        stamp.boots += 1;
        write_stamp(&database, &stamp)?;
        let log = RocksLog::open(database, stamp.place())?;
        let (log, tables) = (Arc::new(log), Arc::new(RocksTables::new(tables)));
        generations.remove_strays()?;
        let damaged = DamagedFiles::load(&path.join(SNAPSHOTS), tables.live().path())?;
        let shelf = Shelf::open(path)?;
        tracing::info!(path = %path.display(), store = %stamp.store, boots = stamp.boots, "store opened");
        Ok(Store {
            snapshots: Arc::new(Parts {
                generations,
                shelf,
                damaged,
                tables: tables.clone(),
                log: log.clone(),
                taking: Mutex::new(()),
            }),
            log,
            tables,
            stamp: Mutex::new(stamp),
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The snapshots of the tables. `applied` reads from the tables how far they have come.
    pub fn snapshots(&self, applied: ReadApplied) -> RocksSnapshots {
        RocksSnapshots::new(self.snapshots.clone(), applied)
    }

    /// What the directory says of itself.
    pub fn stamp(&self) -> Stamp {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes durably that the directory was made from a snapshot.
    pub(crate) fn stamp_restored(&self, from: SnapshotId) -> Result<(), StorageError> {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let stamped = Stamp { restored_from: Some(from), ..stamp.clone() };
        write_stamp(self.log.database(), &stamped)?;
        *stamp = stamped;
        Ok(())
    }

    /// Writes durably which cluster this is, and who founded it. Does nothing if the same stands there already.
    ///
    /// # Errors
    /// [`StorageError::OtherCluster`] where another one does: a directory never changes its cluster.
    pub fn stamp_cluster(&self, cluster: ClusterId, founders: &[(NodeId, Member)]) -> Result<(), StorageError> {
        self.stamp_joined(cluster, founders, self.stamp().restored_from)
    }

    /// The same for a node that was not there when the cluster was founded: it also notes from which snapshot that was
    /// done, for that is part of the cluster's id, and the next one that joins may ask this node.
    ///
    /// # Errors
    /// As [`Store::stamp_cluster`].
    pub fn stamp_joined(
        &self,
        cluster: ClusterId,
        founders: &[(NodeId, Member)],
        restored_from: Option<SnapshotId>,
    ) -> Result<(), StorageError> {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        match stamp.cluster {
            Some(found) if found == cluster => return Ok(()),
            Some(found) => {
                return Err(StorageError::OtherCluster { path: self.path.clone(), found, expected: cluster });
            }
            None => {}
        }
        let mut founders = founders.to_vec();
        founders.sort_unstable();
        let stamped = Stamp { cluster: Some(cluster), founders, restored_from, ..stamp.clone() };
        write_stamp(self.log.database(), &stamped)?;
        *stamp = stamped;
        Ok(())
    }
}

/// Whose directory it is, and the last batch of its log; refuses what must not be opened.
fn examine(path: &Path, peek: &Peek, expected: Expected) -> Result<(Option<Stamp>, u64), StorageError> {
    let stamp = peek.get(STAMP_KEY, |bytes| Stamp::from_stored(path, bytes))?;
    if let Some(stamp) = &stamp {
        stamp.check(path, expected)?;
    }
    let torn = peek.check()?;
    if torn > 0 {
        tracing::warn!(path = %path.display(), batches = torn, "torn tail cut off");
    }
    let last_batch = peek.mark()?.number;
    if stamp.is_none() && last_batch > 0 {
        return Err(StorageError::NotOurs { path: path.to_owned(), found: "a log without a stamp".into() });
    }
    Ok((stamp, last_batch))
}

fn write_stamp(database: &Database, stamp: &Stamp) -> Result<(), StorageError> {
    let stored = stamp.to_stored()?;
    database.commit(stored.1.0.len(), None, Durability::Synced, |batch| batch.put(STAMP_KEY, &stored))
}
