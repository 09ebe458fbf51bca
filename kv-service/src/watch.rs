//! Watches: every change of a range of keys in order of revisions, none lost and none twice, as the machine applies them.
//!
//! ```text
//!   machine ── announces a revision ──▶ Watches ──┬─▶ Watcher ─ reads on from its own revision ─▶ page, page, …
//!                                                 └─▶ Watcher ─ …
//! ```
//!
//! Nothing is queued for a watcher: what wakes it is the number of the newest revision, and what it gets it reads from
//! the machine's table of recent changes, from where it stood. So one that is slow costs nothing but its place, and one
//! that is too slow finds its revision compacted, and is told so.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::Tables;
use kv_machine::{Change, ChangeLimits, Changes, KvError, KvReader, ScanRange};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// The most watchers of a node at a time, over all its servers.
pub const WATCHERS_MAX: usize = 1024;
/// How much a page holds: little, because every watcher whose client is slow holds one. The changes of one revision always
/// come together, whatever they are.
const PAGE: ChangeLimits = ChangeLimits { changes_max: 1000, bytes_max: 128 << 10 };
/// A watcher begins two reads no closer than this: under load it then finds many revisions at once, where it would
/// otherwise read for every one of them.
const REST: Duration = Duration::from_millis(5);

/// Why there is no watcher, or no further page.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There are as many watchers as there may be.
    #[error("this node has {WATCHERS_MAX} watchers already; end some, or watch at another node")]
    TooMany,
    /// The changes of the revision at which the watcher stands are not all there any more.
    #[error(
        "the changes before revision {first_revision} are not kept any more; read the keys, then watch from there on"
    )]
    Compacted {
        /// The first revision whose changes are there.
        first_revision: u64,
    },
    /// The node is stopping.
    #[error("the node is stopping; watch at another one, from the revision that was reached")]
    Stopping,
    /// The tables cannot be read; the node must stop.
    #[error(transparent)]
    Tables(#[from] KvError),
}

/// What wakes the watchers.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// The newest revision that was announced; zero before the first.
    revision: u64,
    stopping: bool,
}

/// Where revisions are announced and watchers begin.
#[derive(Debug)]
pub struct Watches {
    news: watch::Sender<News>,
    slots: Arc<Semaphore>,
}

impl Default for Watches {
    fn default() -> Watches {
        Watches { news: watch::Sender::default(), slots: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

impl Watches {
    /// What the machine must call with each new revision, once that can be read.
    pub fn announcer(&self) -> impl Fn(u64) + Send + 'static {
        let news = self.news.clone();
        move |revision| news.send_modify(|news| news.revision = revision)
    }

    /// Ends all watchers, now and for ever.
    pub fn stop(&self) {
        self.news.send_modify(|news| news.stopping = true);
    }

    /// A watcher of the keys in `range`, from `from_revision` on; that may be a revision to come, and 0 is as good as 1.
    ///
    /// # Errors
    /// [`WatchError`]; that the revision is compacted is found out here already.
    pub async fn watch<T: Tables>(
        &self,
        kv: &KvReader<T>,
        range: ScanRange,
        from_revision: u64,
    ) -> Result<Watcher<T>, WatchError> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| WatchError::TooMany)?;
        let news = self.news.subscribe();
        let mut watcher = Watcher {
            kv: kv.clone(),
            range,
            next: from_revision.max(1),
            first: None,
            news,
            read_at: None,
            _slot: slot,
        };
        watcher.first = watcher.read().await?;
        Ok(watcher)
    }
}

/// What a watcher got at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPage {
    /// In order of revisions, and of their making within one; whole revisions only. Empty where others changed nothing of
    /// the range.
    pub changes: Vec<Change>,
    /// Up to here everything has been told: the next page begins behind it.
    pub reached: u64,
}

/// One watch. Dropping it makes room for another.
#[derive(Debug)]
pub struct Watcher<T> {
    kv: KvReader<T>,
    range: ScanRange,
    /// The first revision that was not told yet.
    next: u64,
    /// Read before anyone asked.
    first: Option<WatchPage>,
    news: watch::Receiver<News>,
    read_at: Option<Instant>,
    _slot: OwnedSemaphorePermit,
}

impl<T: Tables> Watcher<T> {
    /// Up to here everything has been told.
    pub fn reached(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The next page; waits for one as long as it takes. May be cancelled without a loss.
    ///
    /// # Errors
    /// [`WatchError::Compacted`], [`WatchError::Stopping`] or [`WatchError::Tables`]; there will be no further page.
    pub async fn next_page(&mut self) -> Result<WatchPage, WatchError> {
        loop {
            if self.news.borrow().stopping {
                return Err(WatchError::Stopping);
            }
            let read = match self.first.take() {
                Some(first) => Some(first),
                None => self.read().await?,
            };
            if let Some(page) = read {
                self.next = page.reached + 1;
                return Ok(page);
            }
            // What was announced since the read wakes it at once.
            let next = self.next;
            let news = self.news.wait_for(|news| news.stopping || news.revision >= next).await;
            news.map_err(|_| WatchError::Stopping)?;
        }
    }

    /// What there is from where the watcher stands; `None` where it has seen everything.
    async fn read(&mut self) -> Result<Option<WatchPage>, WatchError> {
        if let Some(read_at) = self.read_at {
            tokio::time::sleep_until(read_at + REST).await;
        }
        self.read_at = Some(Instant::now());
        let (kv, range, next) = (self.kv.clone(), self.range.clone(), self.next);
        // A page may take milliseconds, too long for a thread that others wait for.
        let read = tokio::task::spawn_blocking(move || kv.changes(&range, next, PAGE)).await;
        // It fails only where the runtime ends.
        match read.map_err(|_| WatchError::Stopping)?? {
            Changes::Compacted { first_revision } => Err(WatchError::Compacted { first_revision }),
            Changes::Page { next_revision, .. } if next_revision <= self.next => Ok(None),
            Changes::Page { changes, next_revision } => Ok(Some(WatchPage { changes, reached: next_revision - 1 })),
        }
    }
}
