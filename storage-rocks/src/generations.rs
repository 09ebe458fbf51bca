//! Which directory holds the tables: a new one with each installation, and a pointer that says which is live.
//!
//! ```text
//!   DIR/tables/           generation 0: the tables of a directory in which nothing was ever installed
//!   DIR/tables-000001/    generation 1, and so on; one is live, the others are what a crash left behind
//!   DIR/live              the pointer: number · position of the installation       none: generation 0
//!
//!   prepare ──▶ a whole new directory, synced, opened ──▶ switch: live.new ─rename─▶ live, synced ──▶ old one removed
//!               a crash leaves a stray                    the atomic step            when its last reader is done
//! ```
//!
//! Strays are removed after the live generation was opened, never before: a pointer that cannot be read must not cost
//! what it may point to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bincode::{Decode, Encode};
use consensus_api::{LogPosition, SnapshotFile};
use rocksdb::DB;

use crate::database::refused;
use crate::directory;
use crate::error::StorageError;
use crate::files;
use crate::record::{decode, encode};
use crate::settings::{self, DEFAULT};
use crate::torn_manifest;

const POINTER: &str = "live";
const NEXT_POINTER: &str = "live.new";
/// Files with this ending are never changed once they are written, so that a name more is as good as a copy.
const IMMUTABLE: &str = "sst";

/// What the pointer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Live {
    /// Which generation is live.
    pub(crate) number: u64,
    /// What it was installed at.
    pub(crate) installed: Option<LogPosition>,
}

/// One generation of the tables, open.
pub(crate) struct Generation {
    // Closed before what remains of it may be removed: fields are dropped in this order.
    pub(crate) db: DB,
    pub(crate) names: Arc<[String]>,
    number: u64,
    remains: Remains,
}

/// The directory of a generation, once that is closed.
struct Remains {
    path: PathBuf,
    doomed: AtomicBool,
}

impl Drop for Remains {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire) {
            files::discard(&self.path);
        }
    }
}

impl Generation {
    fn open(path: PathBuf, number: u64, names: &Arc<[String]>) -> Result<Generation, StorageError> {
        let options = settings::tables_open();
        if path.join("CURRENT").exists() {
            let known = |found: &String| found == DEFAULT || names.contains(found);
            if let Some(found) = list(&path)?.into_iter().find(|found| !known(found)) {
                return Err(StorageError::UnknownTable { path, found });
            }
        }
        let db = DB::open_cf_descriptors(&options, &path, settings::table_families(names))
            .map_err(|source| refused(&path, "open the tables", source))?;
        Ok(Generation { db, names: names.clone(), number, remains: Remains { path, doomed: AtomicBool::new(false) } })
    }

    /// Opens the tables in `path` for reading only, and changes nothing there.
    pub(crate) fn open_to_read(path: &Path, names: &Arc<[String]>) -> Result<Generation, StorageError> {
        let db =
            DB::open_cf_descriptors_read_only(&settings::tables_open(), path, settings::table_families(names), false)
                .map_err(StorageError::rocks("open the tables of a snapshot"))?;
        let remains = Remains { path: path.to_owned(), doomed: AtomicBool::new(false) };
        Ok(Generation { db, names: names.clone(), number: 0, remains })
    }

    /// Where its files stand.
    pub(crate) fn path(&self) -> &Path {
        &self.remains.path
    }

    fn set_doomed(&self, doomed: bool) {
        self.remains.doomed.store(doomed, Ordering::Release);
    }
}

/// The generations of a data directory.
pub(crate) struct Generations {
    root: PathBuf,
    names: Arc<[String]>,
    pointer: Mutex<Pointer>,
}

struct Pointer {
    live: Live,
    /// It may say either of two things: nobody may go on from here.
    unsure: bool,
}

impl Generations {
    /// Opens the live generation, and makes generation 0 in a blank directory.
    pub(crate) fn open(root: &Path, names: &[&str]) -> Result<(Generations, Generation), StorageError> {
        let names: Arc<[String]> = names.iter().map(|name| (*name).to_owned()).collect();
        let live = read_live(root)?;
        let path = live_path(root, live)?;
        torn_manifest::cut_off(&path)?;
        let generation = Generation::open(path, live.number, &names)?;
        let pointer = Mutex::new(Pointer { live, unsure: false });
        Ok((Generations { root: root.to_owned(), names, pointer }, generation))
    }

    /// What the pointer says.
    pub(crate) fn live(&self) -> Live {
        self.pointer.lock().unwrap_or_else(PoisonError::into_inner).live
    }

    /// Makes and opens the generation after the live one, of these files in `from`. Dropped before it is switched to, it
    /// leaves nothing behind.
    pub(crate) fn prepare(&self, from: &Path, manifest: &[SnapshotFile]) -> Result<Generation, StorageError> {
        let number = self.live().number + 1;
        let path = path_of(&self.root, number);
        let prepared = fill(&path, from, manifest).and_then(|()| Generation::open(path.clone(), number, &self.names));
        match prepared {
            Ok(generation) => {
                generation.set_doomed(true);
                files::sync_directory(&path)?;
                Ok(generation)
            }
            Err(error) => {
                files::discard(&path);
                Err(error)
            }
        }
    }

    /// Makes a prepared generation the live one. After an error that is [`StorageError::PointerUnsure`] it may be live or
    /// not; after any other it is not.
    pub(crate) fn switch(&self, next: &Generation, installed: LogPosition) -> Result<(), StorageError> {
        let mut pointer = self.pointer.lock().unwrap_or_else(PoisonError::into_inner);
        if pointer.unsure {
            return Err(StorageError::Finished);
        }
        assert_eq!(next.number, pointer.live.number + 1, "one installation at a time");
        let live = Live { number: next.number, installed: Some(installed) };
        let mut bytes = Vec::new();
        encode(|| "the pointer to the tables".into(), &live, &mut bytes)?;
        let (temporary, path) = (self.root.join(NEXT_POINTER), self.root.join(POINTER));
        files::write_synced(&temporary, &bytes).inspect_err(|_| files::discard(&temporary))?;
        fs::rename(&temporary, &path).map_err(StorageError::io("rename", &temporary))?;
        next.set_doomed(false);
        if let Err(source) = files::sync_directory(&self.root) {
            pointer.unsure = true;
            return Err(StorageError::PointerUnsure { path, source: Box::new(source) });
        }
        pointer.live = live;
        Ok(())
    }

    /// Removes the directory of a generation that is not live any more, as soon as nobody reads it.
    pub(crate) fn retire(&self, old: &Generation) {
        assert_ne!(old.number, self.live().number, "the live tables are not removed");
        old.set_doomed(true);
    }

    /// Removes what installations that were cut short left behind.
    pub(crate) fn remove_strays(&self) -> Result<(), StorageError> {
        let live = path_of(&self.root, self.live().number);
        for path in generations_in(&self.root)?.into_iter().filter(|path| *path != live) {
            tracing::info!(path = %path.display(), "tables that are not live removed");
            files::discard(&path);
        }
        files::discard(&self.root.join(NEXT_POINTER));
        Ok(())
    }
}

/// The tables that a database has, RocksDB's own among them.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, StorageError> {
    DB::list_cf(&settings::tables_open(), path).map_err(StorageError::rocks("list the tables"))
}

/// What the pointer says; generation 0 where there is none.
pub(crate) fn read_live(root: &Path) -> Result<Live, StorageError> {
    let path = root.join(POINTER);
    match fs::read(&path) {
        Ok(bytes) => decode("the pointer to the tables", &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Live::default()),
        Err(error) => Err(StorageError::io("read", path)(error)),
    }
}

/// Where the live tables are. Only where nothing was ever installed may they be missing: then they are blank.
pub(crate) fn live_path(root: &Path, live: Live) -> Result<PathBuf, StorageError> {
    let path = path_of(root, live.number);
    // Without a pointer and without generation 0 the others may be all there is: a blank one must not take their place.
    let orphaned = live.number == 0 && !path.exists() && !generations_in(root)?.is_empty();
    if orphaned || (live.number > 0 && !path.join("CURRENT").exists()) {
        return Err(StorageError::NoTables { path });
    }
    Ok(path)
}

fn path_of(root: &Path, number: u64) -> PathBuf {
    match number {
        0 => root.join(directory::TABLES),
        _ => root.join(format!("{}-{number:06}", directory::TABLES)),
    }
}

/// The directories of generations, live or not.
fn generations_in(root: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut found = Vec::new();
    for item in fs::read_dir(root).map_err(StorageError::io("list", root))? {
        let name = item.map_err(StorageError::io("list", root))?.file_name();
        if name.to_str().is_some_and(is_generation) {
            found.push(root.join(name));
        }
    }
    Ok(found)
}

fn is_generation(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(directory::TABLES) else { return false };
    let number = rest.strip_prefix('-');
    rest.is_empty() || number.is_some_and(|number| number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Makes the directory `path` of the files that a manifest names, durably.
fn fill(path: &Path, from: &Path, manifest: &[SnapshotFile]) -> Result<(), StorageError> {
    files::remove(path)?;
    files::make_directory(path)?;
    for file in manifest {
        let (source, target) = (from.join(&file.name), path.join(&file.name));
        let immutable = Path::new(&file.name).extension().is_some_and(|extension| extension == IMMUTABLE);
        if immutable && fs::hard_link(&source, &target).is_ok() {
            continue;
        }
        fs::copy(&source, &target).map_err(StorageError::io("copy", &source))?;
        files::sync_file(&target)?;
    }
    files::sync_directory(path)
}
