//! Reading while the machine goes on. What is read is what was applied; whether that is recent enough is for the caller
//! to see to, with [`consensus_api::ReplicatedLog::read_barrier`].

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{TableRead, Tables};

use crate::changes::{self, ChangeLimits, Changes};
use crate::error::KvError;
use crate::item::Item;
use crate::machine::decode_record;
use crate::scan::{PageBuilder, ScanLimits, ScanPage, ScanRange};
use crate::schema::{DATA, META, PROGRESS_KEY, Progress};

/// Reads the tables of a machine. Cheap to clone; every read is of one moment.
#[derive(Debug)]
pub struct KvReader<T> {
    tables: Arc<T>,
}

impl<T> Clone for KvReader<T> {
    fn clone(&self) -> KvReader<T> {
        KvReader { tables: self.tables.clone() }
    }
}

impl<T: Tables> KvReader<T> {
    /// Reads these tables.
    pub fn new(tables: Arc<T>) -> KvReader<T> {
        KvReader { tables }
    }

    /// What stands under `key`.
    ///
    /// # Errors
    /// [`KvError::Tables`] or [`KvError::Damaged`]: the replica cannot be trusted any more.
    pub fn get(&self, key: &[u8]) -> Result<Option<Item>, KvError> {
        let stored = self.tables.get(DATA, key).map_err(KvError::tables)?;
        stored.map(|stored| Item::from_stored(key, &stored)).transpose()
    }

    /// The first items of the range, all of them as of the page's revision.
    ///
    /// # Errors
    /// As [`KvReader::get`].
    pub fn scan(&self, range: &ScanRange, limits: ScanLimits) -> Result<ScanPage, KvError> {
        let view = self.tables.view();
        let revision = progress(&*view)?.revision;
        let mut page = PageBuilder::new(limits);
        let mut damage = None;
        let mut visit = |key: &[u8], stored: &[u8]| match Item::from_stored(key, &Bytes::copy_from_slice(stored)) {
            Ok(item) => page.offer(key, item),
            Err(error) => {
                damage = Some(error);
                ControlFlow::Break(())
            }
        };
        if !range.is_empty() {
            view.scan(DATA, &range.start, range.end.as_deref(), &mut visit).map_err(KvError::tables)?;
        }
        match damage {
            Some(damage) => Err(damage),
            None => Ok(ScanPage { items: page.items, more: page.more, revision }),
        }
    }

    /// The changes in the range from a revision on, in order; none lost, none twice, where each page is asked for from the
    /// `next_revision` of the one before. A page beyond the present revision is empty: the machine says when there is more
    /// ([`KvMachine::announce`](crate::KvMachine::announce)).
    ///
    /// # Errors
    /// As [`KvReader::get`].
    pub fn changes(&self, range: &ScanRange, from_revision: u64, limits: ChangeLimits) -> Result<Changes, KvError> {
        let view = self.tables.view();
        let present = progress(&*view)?.revision;
        changes::read(&*view, present, range, from_revision, limits)
    }

    /// The global revision. A `get` afterwards sees at least what there was at it.
    ///
    /// # Errors
    /// As [`KvReader::get`].
    pub fn revision(&self) -> Result<u64, KvError> {
        Ok(progress(&*self.tables)?.revision)
    }
}

fn progress<E>(tables: &dyn TableRead<Error = E>) -> Result<Progress, KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let record = tables.get(META, PROGRESS_KEY).map_err(KvError::tables)?;
    Ok(decode_record(PROGRESS_KEY, record)?.unwrap_or_default())
}
