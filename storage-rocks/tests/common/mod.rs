//! A disk for tests: a data directory that can be closed, copied in the middle of things, and spoilt.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

pub mod snapshots;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus_api::testkit::log_store::{LogStoreFactory, Reached};
use consensus_api::{EngineName, Era, GroupId, LogStore, NodeId, Write};
use storage_rocks::{Expected, RocksLog, StorageError, Store, StoreOptions};
use tempfile::TempDir;

pub const EXPECTED: Expected =
    Expected { node: NodeId(1), engine: EngineName::new("one"), group: GroupId(0), era: Era(0) };
pub const OPTIONS: StoreOptions<'_> = StoreOptions { sync: true, tables: &["data", "meta"] };

/// A data directory. After a crash it is another one: a copy of what the disk held, so that what the dying process
/// still writes is not in it.
pub struct Disk {
    root: TempDir,
    lives: u32,
    sync: bool,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { root: TempDir::new().unwrap(), lives: 0, sync: true }
    }
}

impl Disk {
    /// A disk whose log does not wait for it.
    pub fn without_sync() -> Disk {
        Disk { sync: false, ..Disk::default() }
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    pub fn log_path(&self) -> PathBuf {
        self.path().join("log")
    }

    pub fn open_store(&self) -> Result<Store, StorageError> {
        Store::open(&self.path(), EXPECTED, StoreOptions { sync: self.sync, ..OPTIONS })
    }

    pub fn open_log(&self) -> Result<RocksLog, StorageError> {
        self.open_store().map(only_the_log)
    }

    /// Makes the disk what it is at this moment, whatever else the running store still does to the old one.
    pub fn freeze(&mut self) {
        let from = self.path();
        self.lives += 1;
        copy(&from, &self.path());
    }

    /// The write-ahead log's file that is written to.
    pub fn wal(&self) -> PathBuf {
        files_of(&self.log_path(), "log").pop().expect("a write-ahead log")
    }
}

/// The files with this extension, in order of their numbers.
pub fn files_of(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|item| item.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

pub fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Makes the file end at `at`.
pub fn truncate(path: &Path, at: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(at).unwrap();
}

/// Inverts the bytes from `from` to before `to`.
pub fn invert(path: &Path, from: u64, to: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    file.read_exact_at(&mut bytes, from).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, from).unwrap();
}

fn only_the_log(store: Store) -> RocksLog {
    let log = store.log.clone();
    drop(store);
    Arc::into_inner(log).expect("nobody else holds it")
}

/// Every file below `directory`, by its path within it, with its length.
fn listing(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for path in fs::read_dir(next).unwrap().map(|item| item.unwrap().path()) {
            match fs::metadata(&path) {
                Ok(item) if item.is_dir() => waiting.push(path),
                Ok(item) => drop(found.insert(path.strip_prefix(directory).unwrap().to_owned(), item.len())),
                // Deleted since it was listed.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
        }
    }
    found
}

/// Copies a directory as it is at one moment: RocksDB deletes and makes files in the background, and so the copy is
/// made again until nothing has changed meanwhile.
pub fn copy(from: &Path, to: &Path) {
    loop {
        let before = listing(from);
        let whole = before.keys().all(|path| {
            fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
            fs::copy(from.join(path), to.join(path)).is_ok()
        });
        if whole && listing(from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

impl LogStoreFactory for Disk {
    type Store = RocksLog;

    fn open(&mut self) -> Result<RocksLog, StorageError> {
        self.open_log()
    }

    fn crash(&mut self, store: RocksLog) {
        self.freeze();
        drop(store);
    }

    fn crash_during(&mut self, store: RocksLog, writes: &[Write], reached: Reached) {
        let wal = self.wal();
        let before = length(&wal);
        store.write(writes).expect("writes");
        assert_eq!(self.wal(), wal, "the write is all in one file");
        self.freeze();
        drop(store);

        let wal = self.wal();
        let after = length(&wal);
        let middle = before.midpoint(after);
        match reached {
            Reached::Nothing => truncate(&wal, before),
            Reached::FirstHalf => truncate(&wal, middle),
            Reached::Garbled => invert(&wal, middle, after),
            Reached::Everything => {}
        }
    }
}

impl Disk {
    /// Goes on from what another disk holds.
    pub fn replace_by(&mut self, other: &Path) {
        self.lives += 1;
        if other.exists() {
            copy(other, &self.path());
        }
    }
}
