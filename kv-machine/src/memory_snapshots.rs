//! Snapshots of tables in memory, with a disk that can be pulled: for the simulator and for tests.
//!
//! ```text
//!   MemoryTables ──take──▶ kept, the newest two ──read──▶ pieces ──append──▶ incoming ──install──▶ MemoryTables
//!                             survive a crash                       survives it, or not: a switch
//! ```
//!
//! The files are small, so that even a few keys travel in many pieces.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus_api::codec::{self, CodecError};
use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    LogIndex, LogPosition, SnapshotFile, SnapshotId, SnapshotManifest, SnapshotStore, Table, TableBatch, TableRead,
    Tables,
};
use sha2::{Digest, Sha256};

use crate::error::KvError;
use crate::machine::applied_state;
use crate::memory::{Contents, MemoryTables};
use crate::schema::{DATA, MEMBERS_KEY, META, SESSIONS, TABLES};

/// A file ends with the key that brings it to this.
const FILE_BYTES: usize = 512;
/// How many snapshots are kept.
const KEPT_MAX: usize = 2;

/// What a file holds: keys of tables, in order.
type Rows = Vec<(u8, Vec<u8>, Vec<u8>)>;

/// Why a snapshot was not taken, received or installed. The tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum MemorySnapshotError {
    /// The disk takes nothing more.
    #[error("no room for the snapshot; make some, and it is tried again")]
    Full,
    /// It is not what its manifest says.
    #[error("the snapshot's file {file} is damaged: {reason}; it was thrown away, have it sent again")]
    Damaged {
        /// Which file, or the manifest.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not the one that is being received, or not all of it is here.
    #[error("snapshot {id:032x} was not received whole; have it sent again", id = .id.0)]
    NotReceived {
        /// Which one.
        id: SnapshotId,
    },
    /// The tables are ahead of it.
    #[error("the snapshot covers {snapshot}, the tables have come to {tables}; there is nothing to install")]
    Older {
        /// What the snapshot covers.
        snapshot: LogIndex,
        /// What the tables have applied.
        tables: LogIndex,
    },
    /// The tables do not say what they have applied.
    #[error(transparent)]
    Tables(#[from] KvError),
    /// A key or a value is too large.
    #[error("the tables cannot be written as a snapshot: {0}")]
    Codec(#[from] CodecError),
}

/// A snapshot and its bytes.
#[derive(Debug)]
struct Kept {
    manifest: Arc<SnapshotManifest>,
    stream: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    // The newest first.
    kept: Vec<Kept>,
    incoming: Option<Kept>,
    installed: Option<LogPosition>,
    full: bool,
    turned_away: u64,
}

impl State {
    fn keep(&mut self, snapshot: Kept) {
        self.kept.retain(|other| other.manifest.id != snapshot.manifest.id);
        self.kept.insert(0, snapshot);
        self.kept.truncate(KEPT_MAX);
    }

    fn find_room(&mut self) -> Result<(), MemorySnapshotError> {
        self.turned_away += u64::from(self.full);
        if self.full { Err(MemorySnapshotError::Full) } else { Ok(()) }
    }
}

/// Snapshots of [`MemoryTables`].
#[derive(Debug)]
pub struct MemorySnapshots {
    tables: Arc<MemoryTables>,
    state: Mutex<State>,
}

impl MemorySnapshots {
    /// None of these tables yet.
    pub fn new(tables: Arc<MemoryTables>) -> MemorySnapshots {
        MemorySnapshots { tables, state: Mutex::default() }
    }

    /// The power fails: what is kept and what is installed survives; what is being received survives as far as it has
    /// come, or is lost. The tables crash by themselves.
    pub fn crash(&self, incoming_survives: bool) {
        let mut state = self.state();
        if !incoming_survives {
            state.incoming = None;
        }
    }

    /// From now on the disk is full, or is no longer.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// How often the disk was too full for what was to be taken or received.
    pub fn turned_away(&self) -> u64 {
        self.state().turned_away
    }

    /// What a bit can flip in: what is being received and what is kept, the newest first, each with its length.
    pub fn at_rest(&self) -> Vec<(SnapshotId, u64)> {
        let state = self.state();
        let all = state.incoming.iter().chain(&state.kept);
        all.filter(|it| !it.stream.is_empty()).map(|it| (it.manifest.id, it.stream.len() as u64)).collect()
    }

    /// Flips a bit of a snapshot that is kept or being received, at rest; false where there is no such byte.
    pub fn spoil(&self, id: SnapshotId, offset: u64) -> bool {
        let state = &mut *self.state();
        let all = state.incoming.iter_mut().chain(&mut state.kept);
        let snapshot = all.into_iter().find(|snapshot| snapshot.manifest.id == id);
        let byte = snapshot.and_then(|snapshot| snapshot.stream.get_mut(usize::try_from(offset).ok()?));
        byte.map(|byte| *byte ^= 1).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SnapshotStore for MemorySnapshots {
    type Error = MemorySnapshotError;

    fn take(&self) -> Result<Arc<SnapshotManifest>, MemorySnapshotError> {
        self.state().find_room()?;
        let snapshot = written(&self.tables.contents())?;
        let manifest = snapshot.manifest.clone();
        self.state().keep(snapshot);
        Ok(manifest)
    }

    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, MemorySnapshotError> {
        Ok(self.state().kept.iter().map(|snapshot| snapshot.manifest.clone()).collect())
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, MemorySnapshotError> {
        let state = self.state();
        let Some(snapshot) = state.kept.iter().find(|snapshot| snapshot.manifest.id == id) else { return Ok(None) };
        let rest = usize::try_from(offset).ok().and_then(|offset| snapshot.stream.get(offset..)).unwrap_or_default();
        Ok(Some(Bytes::copy_from_slice(&rest[..rest.len().min(bytes_max)])))
    }

    fn receive(&self, manifest: &SnapshotManifest) -> Result<u64, MemorySnapshotError> {
        let mut state = self.state();
        state.find_room()?;
        match &state.incoming {
            Some(incoming) if incoming.manifest.id == manifest.id => Ok(incoming.stream.len() as u64),
            _ => {
                state.incoming = Some(Kept { manifest: Arc::new(manifest.clone()), stream: Vec::new() });
                Ok(0)
            }
        }
    }

    fn append(&self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, MemorySnapshotError> {
        let mut state = self.state();
        state.find_room()?;
        let incoming = state.incoming.as_mut().filter(|incoming| incoming.manifest.id == id);
        let incoming = incoming.ok_or(MemorySnapshotError::NotReceived { id })?;
        if offset == incoming.stream.len() as u64 {
            incoming.stream.extend_from_slice(bytes);
        }
        Ok(incoming.stream.len() as u64)
    }

    fn give_up(&self) {
        self.state().incoming = None;
    }

    fn install(&self, id: SnapshotId) -> Result<(), MemorySnapshotError> {
        let mut state = self.state();
        let incoming = state.incoming.take_if(|incoming| incoming.manifest.id == id);
        let incoming = incoming.ok_or(MemorySnapshotError::NotReceived { id })?;
        let snapshot = incoming.manifest.position.index;
        let tables = applied_state(&*self.tables)?.position.index;
        if snapshot < tables {
            return Err(MemorySnapshotError::Older { snapshot, tables });
        }
        let contents = checked(&incoming)?;
        if is_planted(Bug::InstallationNotAtomic) {
            copy_key_by_key(&contents, &self.tables);
        } else {
            self.tables.exchange(contents);
        }
        state.installed = Some(incoming.manifest.position);
        state.keep(incoming);
        Ok(())
    }

    fn is_final(&self, _: &MemorySnapshotError) -> bool {
        false
    }

    fn installed(&self) -> Result<Option<LogPosition>, MemorySnapshotError> {
        Ok(self.state().installed)
    }
}

/// A snapshot of these contents.
fn written(contents: &Contents) -> Result<Kept, MemorySnapshotError> {
    let applied = applied_state(contents)?;
    let mut stream = Vec::new();
    let mut files = Vec::new();
    for rows in rows(contents) {
        let from = stream.len();
        codec::encode_into(&rows, &mut stream)?;
        let file = &stream[from..];
        let name = format!("{:06}", files.len());
        files.push(SnapshotFile { name, bytes: file.len() as u64, checksum: Sha256::digest(file).into() });
    }
    let membership = applied
        .membership
        .as_ref()
        .map(|applied| &*applied.latest)
        .filter(|_| !is_planted(Bug::SnapshotLacksMembership));
    let membership = membership.cloned().unwrap_or_default();
    let (position, log_time) = (applied.position, applied.log_time);
    let mut manifest = SnapshotManifest { id: SnapshotId(0), position, log_time, membership, files };
    manifest.id = named(&manifest)?;
    Ok(Kept { manifest: Arc::new(manifest), stream })
}

/// The name of a snapshot with this manifest: a hash over all of it but the name.
fn named(manifest: &SnapshotManifest) -> Result<SnapshotId, CodecError> {
    let content = (manifest.position, manifest.log_time, &manifest.membership, &manifest.files);
    let hash: [u8; 32] = Sha256::digest(codec::encode(&content)?).into();
    let (name, _) = hash.split_at(16);
    Ok(SnapshotId(name.iter().fold(0, |id, byte| id << 8 | u128::from(*byte))))
}

fn rows(contents: &Contents) -> Vec<Rows> {
    let mut files = vec![Rows::new()];
    let mut bytes = 0;
    for table in (0..=u8::MAX).take(TABLES.len()) {
        let Ok(()) = contents.scan(Table(table), &[], None, &mut |key, value| {
            let lacks_members = key == MEMBERS_KEY && is_planted(Bug::SnapshotLacksMembership);
            if lacks_members || (Table(table) == SESSIONS && is_planted(Bug::DedupLeftOutOfSnapshot)) {
                return ControlFlow::Continue(());
            }
            if bytes >= FILE_BYTES {
                files.push(Rows::new());
                bytes = 0;
            }
            bytes += key.len() + value.len();
            if let Some(file) = files.last_mut() {
                file.push((table, key.to_vec(), value.to_vec()));
            }
            ControlFlow::Continue(())
        });
    }
    files
}

/// What an installation must not do ([`Bug::InstallationNotAtomic`]): the keys go in beside the old ones, and how far they
/// lead goes in apart from them.
fn copy_key_by_key(contents: &Contents, tables: &MemoryTables) {
    for table in [DATA, META] {
        let mut batch = TableBatch::default();
        let Ok(()) = contents.scan(table, &[], None, &mut |key, value| {
            batch.put(table, key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        });
        let Ok(()) = tables.write(batch);
    }
}

/// The contents of a snapshot that was received, if it is what its manifest says.
fn checked(snapshot: &Kept) -> Result<Contents, MemorySnapshotError> {
    let Kept { manifest, stream } = snapshot;
    let damaged = |file: &str, reason: &str| MemorySnapshotError::Damaged { file: file.into(), reason: reason.into() };
    if named(manifest)? != manifest.id {
        return Err(damaged("manifest", "its name is not the hash of what it says"));
    }
    let mut contents = Contents::default();
    let mut rest = &stream[..];
    for file in &manifest.files {
        let bytes = usize::try_from(file.bytes).unwrap_or(usize::MAX);
        let (read, after) = rest.split_at_checked(bytes).ok_or_else(|| damaged(&file.name, "it ends early"))?;
        rest = after;
        if <[u8; 32]>::from(Sha256::digest(read)) != file.checksum {
            return Err(damaged(&file.name, "its checksum is another one"));
        }
        let rows: Rows = codec::decode(read).map_err(|error| damaged(&file.name, &error.to_string()))?;
        for (table, key, value) in rows {
            if !contents.put(table, key, value) {
                return Err(damaged(&file.name, "it names a table that does not exist"));
            }
        }
    }
    if !rest.is_empty() {
        return Err(damaged("stream", "it goes on after its last file"));
    }
    if applied_state(&contents)?.position != manifest.position {
        return Err(damaged("manifest", "the tables have come to another position"));
    }
    Ok(contents)
}
