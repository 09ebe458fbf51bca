//! A look at the log's database that changes nothing: what would come back if it were opened.
//!
//! Opening for real replays the write-ahead log, puts what it yields into files and deletes it, and with it the proof
//! that something was lost. So everything is checked here first.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{DB, Options};

use crate::chain::Chain;
use crate::error::StorageError;
use crate::record::{BATCH_KEY, BatchMark, decode};
use crate::settings;
use crate::wal;

/// The log's database as replay would give it, read only.
pub(crate) struct Peek {
    pub(crate) db: DB,
    path: PathBuf,
}

impl Peek {
    /// Looks at the database in `path`; `None` where there is none yet.
    pub(crate) fn open(path: &Path) -> Result<Option<Peek>, StorageError> {
        if !exists(path)? {
            return Ok(None);
        }
        let mut options = settings::log_peek();
        let families = DB::list_cf(&options, path).map_err(StorageError::rocks("look at the log"))?;
        options.set_max_open_files(64);
        let db = DB::open_cf_for_read_only(&options, path, &families, false)
            .map_err(StorageError::rocks("look at the log"))?;
        Ok(Some(Peek { db, path: path.to_owned() }))
    }

    /// The value under `key` among the marks, as `read` understands it.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        get(&self.db, key, read)
    }

    /// The last batch that came back.
    pub(crate) fn mark(&self) -> Result<BatchMark, StorageError> {
        last_mark(&self.db)
    }

    /// Makes sure that everything came back that was synced; returns how many torn batches would be cut off.
    pub(crate) fn check(&self) -> Result<u64, StorageError> {
        let recovered = self.mark()?.number;
        let chain = Chain {
            flushed: self.flushed()?,
            recovered,
            survey: wal::survey(&self.path, recovered)
                .map_err(StorageError::io("read the write-ahead log in", &self.path))?,
        };
        chain.check().map_err(|broken| StorageError::Lost {
            path: self.path.clone(),
            first: broken.first,
            through: broken.through,
        })
    }

    /// The last batch that is in files. Found by another look, at the database without its write-ahead log: as if that
    /// were in the directory above, where there is none.
    fn flushed(&self) -> Result<u64, StorageError> {
        let mut options: Options = settings::log_peek();
        options.set_wal_dir(self.path.parent().unwrap_or(&self.path));
        let db = DB::open_cf_for_read_only(&options, &self.path, [settings::DEFAULT], false)
            .map_err(StorageError::rocks("look at the log's files"))?;
        Ok(last_mark(&db)?.number)
    }
}

/// The last batch of a database; number zero where there is none.
pub(crate) fn last_mark(db: &DB) -> Result<BatchMark, StorageError> {
    Ok(get(db, BATCH_KEY, |bytes| decode("the mark of the last batch", bytes))?.unwrap_or_default())
}

/// The value under `key` among the marks, as `read` understands it.
pub(crate) fn get<T>(
    db: &DB,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, StorageError>,
) -> Result<Option<T>, StorageError> {
    let value = db.get_pinned(key).map_err(StorageError::rocks("read the log"))?;
    value.map(|bytes| read(&bytes)).transpose()
}

/// Whether there is a database. Files of one without the file that names them are none that may be made anew.
fn exists(path: &Path) -> Result<bool, StorageError> {
    if path.join("CURRENT").exists() {
        return Ok(true);
    }
    if !path.exists() {
        return Ok(false);
    }
    for item in fs::read_dir(path).map_err(StorageError::io("list", path))? {
        let file = item.map_err(StorageError::io("list", path))?;
        let data = file.path().extension().is_some_and(|extension| extension == "sst" || extension == "log");
        if data && file.metadata().map_err(StorageError::io("list", path))?.len() > 0 {
            return Err(StorageError::Headless { path: path.to_owned() });
        }
    }
    Ok(false)
}
