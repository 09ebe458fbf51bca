//! Linearizability of a whole store: what does not partition by key, such as scans, transactions and revisions.
//!
//! Without the partition every operation competes with every other, so this is for small histories: at most
//! [`STORE_OPERATIONS_MAX`]. The sequential store is [`Store`], written anew against the machine's own types: what the
//! machine does under the log is held against it, and not against itself. The search is the one for single keys without
//! its shortcuts: just in time, and with a memo of (linearized set, store).

mod store;

use std::collections::HashSet;
use std::time::Instant;

use bytes::Bytes;
use kv_machine::{Command, Item, Reply, ScanPage, ScanRange};

use super::Limits;
pub use store::Store;

/// The most operations of a history.
pub const STORE_OPERATIONS_MAX: usize = 64;

/// What a client asked of the store, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOperation {
    /// Which client.
    pub client: u64,
    /// What it asked.
    pub request: Request,
    /// What it was told, if it was: without an answer, the operation takes effect at any time after its call, or never.
    pub answer: Option<Answer>,
    /// When it called, in nanoseconds.
    pub call: u64,
    /// When the answer came, in nanoseconds; without it there was none.
    pub returned: Option<u64>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command of the log.
    Command(Command),
    /// A key's item.
    Get {
        /// Which key.
        key: Bytes,
    },
    /// The first items of a range.
    Scan {
        /// Which keys.
        range: ScanRange,
        /// The most items.
        items_max: usize,
    },
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a command.
    Reply(Reply),
    /// To a get.
    Item(Option<Item>),
    /// To a scan.
    Page(ScanPage),
    /// The request had no effect, certainly, and nothing was read.
    Refused,
}

/// What the check of a whole store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreVerdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    NotLinearizable {
        /// With whose return it breaks, as a place in the history: up to just before it, there is an order.
        breaks_at: usize,
    },
    /// A limit ended the search.
    Unknown,
}

/// The history is too long to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the history has {found} operations, and a whole store is checked up to {STORE_OPERATIONS_MAX}; record fewer, or check its single-key operations by key"
)]
pub struct TooManyOperations {
    /// How many there are.
    pub found: usize,
}

/// Whether the history of an empty store is linearizable.
///
/// # Errors
/// [`TooManyOperations`] beyond [`STORE_OPERATIONS_MAX`].
pub fn check_store(history: &[StoreOperation], limits: &Limits) -> Result<StoreVerdict, TooManyOperations> {
    if history.len() > STORE_OPERATIONS_MAX {
        return Err(TooManyOperations { found: history.len() });
    }
    let until = limits.time_max.map(|time| Instant::now() + time);
    let mut returns: Vec<(u64, usize)> = Vec::new();
    for (at, operation) in history.iter().enumerate() {
        returns.extend(operation.returned.filter(|_| operation.is_settled()).map(|returned| (returned, at)));
    }
    returns.sort_unstable();
    // What holds of a history holds of its beginnings, so the first that has no order is where it breaks.
    for end in 1..=returns.len() {
        let mut search = Search { history, returns: &returns[..end], visited: HashSet::new(), limits, until };
        match search.explains(0, 0, &Store::default()) {
            Some(true) => {}
            Some(false) => return Ok(StoreVerdict::NotLinearizable { breaks_at: returns[end - 1].1 }),
            None => return Ok(StoreVerdict::Unknown),
        }
    }
    Ok(StoreVerdict::Linearizable)
}

impl StoreOperation {
    /// Whether it must have taken effect.
    fn is_settled(&self) -> bool {
        self.returned.is_some() && !matches!(self.answer, None | Some(Answer::Refused))
    }

    /// Whether it need not have taken effect, but could have.
    fn is_open(&self) -> bool {
        let answered = self.returned.is_some() && self.answer.is_some();
        !answered && self.answer != Some(Answer::Refused) && matches!(self.request, Request::Command(_))
    }
}

struct Search<'a> {
    history: &'a [StoreOperation],
    /// When those that must take effect return, and where they stand; the earliest first.
    returns: &'a [(u64, usize)],
    /// Which are linearized, by bits, and the store they made.
    visited: HashSet<(u64, Store)>,
    limits: &'a Limits,
    until: Option<Instant>,
}

impl Search<'_> {
    /// Whether there is an order from here: `due` of the returns are satisfied. `None` where a limit ended the search.
    fn explains(&mut self, due: usize, linearized: u64, store: &Store) -> Option<bool> {
        let Some((deadline, at)) = self.returns.get(due).copied() else { return Some(true) };
        if linearized >> at & 1 == 1 {
            return self.explains(due + 1, linearized, store);
        }
        if !self.visited.insert((linearized, store.clone())) {
            return Some(false);
        }
        if self.visited.len() > self.limits.states_max || self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        for next in 0..self.history.len() {
            let operation = &self.history[next];
            if linearized >> next & 1 == 1 || operation.call > deadline {
                continue;
            }
            if let Some(after) = self.step(operation, store)
                && self.explains(due, linearized | 1 << next, &after)?
            {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The store after the operation, if it answers what the client was told.
    fn step(&self, operation: &StoreOperation, store: &Store) -> Option<Store> {
        let mut after = store.clone();
        if operation.is_open() {
            after.answer(&operation.request);
            return (after != *store).then_some(after);
        }
        let end = self.returns.last().map_or(0, |(end, _)| *end);
        // Beyond the beginning that is looked at, the answer is not known yet.
        let is_known = operation.returned.is_some_and(|returned| returned <= end);
        let answer = after.answer(&operation.request);
        let fits = operation.is_settled() && (!is_known || operation.answer.as_ref() == Some(&answer));
        fits.then_some(after)
    }
}
