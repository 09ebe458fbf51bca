//! The Clerk: every request of a program, exactly once, over one connection.
//!
//! ```text
//!   put, get, txn … ──▶ window ──▶ driver: ledger ──▶ link ═══ QUIC ═══▶ the leader
//!                                    │  session, numbers, retries
//!   watch ── a stream of its own ────┴──────────────── QUIC ═══▶ any node
//! ```

mod builder;
mod clock;
mod driver;
mod error;
mod ledger;
mod link;
mod scan;
mod session;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::Blob;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as seen};

use crate::http::Expect;
use crate::protocol::Consistency;
use crate::wire::{
    Answer, Command, Compare, FRAME_BYTES_MAX, Item, Operation, OperationResult, Request, SessionId, TXN_ITEMS_MAX, Txn,
};
use driver::{Caller, Standing, Submission};
use ledger::Ask;

pub use builder::ClerkBuilder;
pub use error::ClerkError;
pub use scan::Scan;
pub use watch::Watch;

/// A put, append or delete that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The key's version, from 1.
    pub version: u64,
    /// The revision of the change: the key's `mod_revision`.
    pub revision: u64,
}

/// A delete that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether the key existed.
    pub deleted: bool,
    /// The revision of the change; if there was none, the revision as it stands.
    pub revision: u64,
}

/// A transaction that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnDone {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The revision of the changes; if there were none, the revision as it stands.
    pub revision: u64,
    /// One for each operation of the branch that was taken.
    pub results: Vec<OperationResult>,
}

/// Which keys a scan reads or a watch watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key; empty: the first of all.
    pub start: Bytes,
    /// The key before which the range ends; without it, behind the last.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// The keys from `start` to before `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: start.into(), end: Some(end.into()) }
    }

    /// The keys that begin with `prefix`; all keys where it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start: Bytes = prefix.into();
        // The least key above all with the prefix: its last byte that can be raised, raised, and nothing behind it.
        let end = start.iter().rposition(|byte| *byte != 0xff).map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        KeyRange { start, end }
    }
}

struct Inner {
    submissions: mpsc::UnboundedSender<Submission>,
    standing: seen::Receiver<Standing>,
    window: Arc<Semaphore>,
    request_timeout: Duration,
}

/// A client of a cluster. Cheap to clone; clones share connection, window and session. When the last one and its watches
/// are dropped the connection closes, and the session ends by itself when its time to live is over; [`Clerk::close`] ends
/// it at once.
///
/// Every write has a number in the Clerk's session, and the cluster carries out each number once. So the Clerk repeats a
/// write, at whichever node leads, until it has an answer or the request's time is over. Dropping the future of a request
/// gives up the answer and nothing else: a write that was sent may take place.
///
/// Requests that are under way together have no order; await one before the next where the order matters.
#[derive(Clone)]
pub struct Clerk {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").field("session", &self.session_id()).finish_non_exhaustive()
    }
}

impl Clerk {
    /// Makes one: [`ClerkBuilder`].
    pub fn builder() -> ClerkBuilder {
        ClerkBuilder::new()
    }

    /// Reads a key; `None` where it does not exist. Linearizable.
    ///
    /// # Errors
    /// [`ClerkError::NoAnswer`], [`ClerkError::BadInput`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Item>, ClerkError> {
        self.get_as(key, Consistency::Linearizable).await
    }

    /// Reads a key, as fresh as is asked for.
    ///
    /// # Errors
    /// As [`Clerk::get`].
    pub async fn get_as(&self, key: impl Into<Bytes>, consistency: Consistency) -> Result<Option<Item>, ClerkError> {
        match self.ask(Ask::Read(Request::Get { key: Blob(key.into()), consistency })).await? {
            Answer::Got { item } => Ok(item),
            other => Err(misplaced_read(&other)),
        }
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// Any but [`ClerkError::VersionMismatch`] and those of reads.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Written, ClerkError> {
        self.put_if(key, value, Expect::Any).await
    }

    /// Sets a key's value on a condition.
    ///
    /// # Errors
    /// [`ClerkError::VersionMismatch`] where it does not hold; else as [`Clerk::put`].
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Written, ClerkError> {
        self.write(Command::Put { key: Blob(key.into()), value: Blob(value.into()), expect }).await
    }

    /// Sets a key's value if it has this version; zero: if it does not exist.
    ///
    /// # Errors
    /// As [`Clerk::put_if`].
    pub async fn put_if_version(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        version: u64,
    ) -> Result<Written, ClerkError> {
        self.put_if(key, value, Expect::Version(version)).await
    }

    /// Sets a key's value for as long as the Clerk's session lives: if the Clerk closes, or is not heard of for the
    /// session's time to live, the key vanishes.
    ///
    /// # Errors
    /// As [`Clerk::put_if`].
    pub async fn put_ephemeral(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Written, ClerkError> {
        self.write(Command::PutEphemeral { key: Blob(key.into()), value: Blob(value.into()), expect }).await
    }

    /// Appends to a key's value; a key that does not exist is created.
    ///
    /// # Errors
    /// As [`Clerk::put`].
    pub async fn append(&self, key: impl Into<Bytes>, suffix: impl Into<Bytes>) -> Result<Written, ClerkError> {
        self.append_if(key, suffix, Expect::Any).await
    }

    /// Appends to a key's value on a condition.
    ///
    /// # Errors
    /// As [`Clerk::put_if`].
    pub async fn append_if(
        &self,
        key: impl Into<Bytes>,
        suffix: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Written, ClerkError> {
        self.write(Command::Append { key: Blob(key.into()), suffix: Blob(suffix.into()), expect }).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Clerk::put`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Deleted, ClerkError> {
        self.delete_if(key, Expect::Any).await
    }

    /// Removes a key on a condition.
    ///
    /// # Errors
    /// As [`Clerk::put_if`].
    pub async fn delete_if(&self, key: impl Into<Bytes>, expect: Expect) -> Result<Deleted, ClerkError> {
        match self.command(Command::Delete { key: Blob(key.into()), expect }).await? {
            Answer::Deleted { deleted, revision } => Ok(Deleted { deleted, revision }),
            other => Err(misplaced_write(&other)),
        }
    }

    /// Sets a key's value if it has this one now; whether it had.
    ///
    /// # Errors
    /// As [`Clerk::put`].
    pub async fn cas(
        &self,
        key: impl Into<Bytes>,
        old: impl Into<Bytes>,
        new: impl Into<Bytes>,
    ) -> Result<bool, ClerkError> {
        let key: Bytes = key.into();
        let txn = Txn::new().when(Compare::value(key.clone(), old)).then(Operation::put(key, new));
        Ok(self.txn(txn).await?.succeeded)
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// As [`Clerk::put`].
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, ClerkError> {
        let items = txn.items();
        if items > TXN_ITEMS_MAX {
            let message =
                format!("a transaction of {items} comparisons or operations, over the limit of {TXN_ITEMS_MAX}");
            return Err(ClerkError::TooLarge { message });
        }
        match self.command(Command::Txn(txn)).await? {
            Answer::Txn { succeeded, revision, results } => Ok(TxnDone { succeeded, revision, results }),
            other => Err(misplaced_write(&other)),
        }
    }

    /// The keys of a range, in order: a [`Stream`](futures_core::Stream) of items that reads a page at a time.
    ///
    /// Each page is linearizable by itself and of one revision. Between two pages the world goes on: a key that is
    /// written behind the scan is not seen again, one that is written before it is seen as it is then.
    pub fn scan(&self, range: KeyRange) -> Scan {
        Scan::new(self.clone(), range)
    }

    /// The changes of the keys with this prefix from a revision on; `None`: from now on. A
    /// [`Stream`](futures_core::Stream) without end that survives the loss of nodes: see [`Watch`].
    ///
    /// The watch has begun when this returns: what is written from then on, by whomever, is seen, and with `None` nothing is
    /// that was acknowledged before the call.
    ///
    /// # Errors
    /// [`ClerkError::Compacted`] where the changes from the revision on are not kept any more;
    /// [`ClerkError::TooManyWatches`], [`ClerkError::TooLarge`], [`ClerkError::NoAnswer`].
    pub async fn watch(&self, prefix: impl Into<Bytes>, from_revision: Option<u64>) -> Result<Watch, ClerkError> {
        self.watch_range(KeyRange::prefix(prefix), from_revision).await
    }

    /// The same for any range of keys.
    ///
    /// # Errors
    /// As [`Clerk::watch`].
    pub async fn watch_range(&self, range: KeyRange, from_revision: Option<u64>) -> Result<Watch, ClerkError> {
        Watch::begin(self.clone(), range, from_revision).await
    }

    /// The session that is open now. One opens with the first write, and another after that has ended.
    pub fn session_id(&self) -> Option<SessionId> {
        self.inner.standing.borrow().session
    }

    /// Returns when this session is known to have ended, or the Clerk was closed: what it held is lost. A session may have
    /// ended earlier than its Clerk hears of it, where the Clerk is cut off.
    pub async fn session_ended(&self, session: SessionId) {
        let mut standing = self.inner.standing.clone();
        // A driver that is gone has no session.
        let _ = standing.wait_for(|standing| standing.session != Some(session)).await;
    }

    /// Ends the session, and with it its ephemeral keys. Requests that other clones have under way are given up.
    ///
    /// # Errors
    /// [`ClerkError::NoAnswer`] where the cluster has not confirmed it in time; the session then ends by itself.
    pub async fn close(self) -> Result<(), ClerkError> {
        let closed = if self.session_id().is_some() { self.ask(Ask::Close).await.map(drop) } else { Ok(()) };
        self.inner.window.close();
        // The driver ends with the last sender; clones that are left have one each, so it is told.
        let (answer, _) = oneshot::channel();
        let _ = self.inner.submissions.send(Submission {
            ask: Ask::End,
            deadline: Instant::now(),
            caller: Caller { answer, _place: None },
        });
        let mut standing = self.inner.standing.clone();
        while standing.changed().await.is_ok() {}
        closed
    }

    async fn write(&self, command: Command) -> Result<Written, ClerkError> {
        match self.command(command).await? {
            Answer::Written { version, revision } => Ok(Written { version, revision }),
            other => Err(misplaced_write(&other)),
        }
    }

    /// Has a write carried out; what did not take place is an error.
    async fn command(&self, command: Command) -> Result<Answer, ClerkError> {
        match self.ask(Ask::Write(command)).await? {
            Answer::Mismatch { version, mod_revision } => Err(ClerkError::VersionMismatch { version, mod_revision }),
            Answer::TooLarge { message } => Err(ClerkError::TooLarge { message }),
            answer => Ok(answer),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ClerkError> {
        // With room for what surrounds a request in its frame.
        const LIMIT: usize = FRAME_BYTES_MAX - (64 << 10);
        let found = ask.bytes();
        if found > LIMIT {
            let message = format!("the request has {found} bytes, over the limit of {LIMIT}; split it");
            return Err(ClerkError::TooLarge { message });
        }
        let deadline = Instant::now() + self.inner.request_timeout;
        let unsent = |reason: &str| match ask {
            Ask::Write(_) => ClerkError::NotApplied { reason: reason.to_owned() },
            _ => ClerkError::NoAnswer { reason: reason.to_owned() },
        };
        let window = &self.inner.window;
        // A timer costs more than a place; so one is set only by those who have to wait.
        let place = match window.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => match tokio::time::timeout_at(deadline.into(), window.clone().acquire_owned()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) => return Err(unsent("the clerk was closed")),
                Err(_) => return Err(unsent("no place in the window within the request's time")),
            },
        };
        let is_write = matches!(ask, Ask::Write(_));
        let (answer, answered) = oneshot::channel();
        let caller = Caller { answer, _place: Some(place) };
        if let Err(unsent_submission) = self.inner.submissions.send(Submission { ask, deadline, caller }) {
            let is_write = matches!(unsent_submission.0.ask, Ask::Write(_));
            return Err(gone(is_write, true));
        }
        answered.await.unwrap_or_else(|_| Err(gone(is_write, false)))
    }
}

/// The driver is gone.
fn gone(is_write: bool, is_unsent: bool) -> ClerkError {
    let reason = "the clerk was closed".to_owned();
    match (is_write, is_unsent) {
        (true, true) => ClerkError::NotApplied { reason },
        (true, false) => ClerkError::Maybe { reason },
        (false, _) => ClerkError::NoAnswer { reason },
    }
}

/// The node answered another kind of request than was sent. What became of the write nobody can tell.
fn misplaced_write(answer: &Answer) -> ClerkError {
    ClerkError::Maybe { reason: format!("the node's answer does not fit the request: {answer:?}") }
}

fn misplaced_read(answer: &Answer) -> ClerkError {
    ClerkError::NoAnswer { reason: format!("the node's answer does not fit the request: {answer:?}") }
}
