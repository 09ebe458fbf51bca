//! Whether a history is linearizable: whether each operation can be given one moment between its call and its return, so
//! that all of them, one after the other in the order of these moments, do what the clients saw (Herlihy & Wing 1990).
//!
//! ```text
//!   history ──► partition by key ──► plan ──► search ──► an order, found and replayed: linearizable
//!   (history)                        (plan)  (search)    none: offence, the smallest part that has none
//!                 states: what can stand under a key       none yet, and a bound is reached: unknown
//!                                                             │
//!   page: the history, drawn ◄────────────────────────────────┘
//! ```
//!
//! A history is linearizable exactly if each key's part is (their locality theorem), so each is searched by itself. What
//! reaches over several keys (transactions, scans, revisions) is for [`whole_store`], which takes small histories only.
//!
//! - `ok`: the operation took effect between its call and its return. Two that touch at one nanosecond overlap.
//! - `unknown`, or without a return: it takes effect at any time after its call, or never. A get then claims nothing.
//! - `fail`: it had no effect. A get then claims nothing.

mod history;
mod offence;
mod page;
mod plan;
mod search;
mod states;
pub mod whole_store;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

pub use history::{HistoryError, OPERATIONS_MAX, read_history, read_history_for, write_history};
pub use offence::Offence;
pub use page::page;

use plan::steps_of;
use search::{Budget, Found, Spent};
use states::States;

/// What a client did, and what it saw of it. Times are in nanoseconds, of one clock for the whole history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client.
    pub client: u64,
    /// What it did.
    pub action: Action,
    /// When it called.
    pub call: u64,
    /// When it had the answer; `None` where it never came.
    pub returned: Option<u64>,
    /// What the answer says.
    pub outcome: Outcome,
}

/// What a client asked for. A key that does not exist has the value `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads a key.
    Get {
        /// Which key.
        key: String,
        /// What was read. Only an `ok` get claims it.
        value: Option<String>,
    },
    /// Sets a key's value.
    Put {
        /// Which key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Appends to a key's value; a key that does not exist is created.
    Append {
        /// Which key.
        key: String,
        /// What is appended.
        value: String,
    },
    /// Removes a key. To remove one that does not exist changes nothing.
    Delete {
        /// Which key.
        key: String,
    },
    /// Sets a key's value if it is the expected one. One that failed claims nothing: it may have been refused for
    /// another reason.
    Cas {
        /// Which key.
        key: String,
        /// The expected value.
        from: Option<String>,
        /// The new value.
        to: String,
    },
    /// A compare-and-set that failed, and told the value that it found in place of the expected one. It claims what a
    /// get would, if it returned; its outcome is [`Outcome::Fail`].
    CasRefused {
        /// Which key.
        key: String,
        /// The expected value.
        from: Option<String>,
        /// The new value.
        to: String,
        /// The value it found. If it is the expected one, no order explains it.
        found: String,
    },
}

/// What a client knows of an operation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Ok,
    /// It had no effect.
    Fail,
    /// It took effect, or will, or never does.
    Unknown,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// A value that is read, put, appended to, deleted, compared and set.
    Kv,
    /// A register: read, written, compared and set. There is no append and no delete.
    Register,
}

/// When the search gives up. A search by states alone is the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most pairs of (linearized set, state) that are visited for one key. Each takes some hundred bytes.
    pub states_max: usize,
    /// The longest that the whole check may take, in real time; without it, only the states are bounded.
    pub time_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { states_max: 2_000_000, time_max: None }
    }
}

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains what every client saw.
    Linearizable,
    /// There is none, and this part shows it.
    NotLinearizable(Offence),
    /// The search ended before it knew.
    Unknown(Doubt),
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The bound of states was reached.
    StatesMax {
        /// At which key.
        key: String,
        /// The bound.
        states: usize,
    },
    /// The bound of time was reached.
    TimeMax {
        /// At which key.
        key: String,
    },
    /// An operation is not one of the model's.
    NotInModel {
        /// Its place in the history, from 0.
        operation: usize,
    },
}

/// Whether the history is linearizable. Keys do not exist at its beginning.
///
/// The search is Wing & Gong's with Lowe's refinements ("Testing for linearizability", 2017): an operation is
/// linearized just in time for a return, and no pair of linearized set and state is visited twice. It is complete, so
/// it can take exponential time where many overlapping writes have the same effect; then the limits end it.
pub fn check(history: &[Operation], model: Model, limits: &Limits) -> Verdict {
    if let Some(operation) = history.iter().position(|operation| !model.has(&operation.action)) {
        return Verdict::Unknown(Doubt::NotInModel { operation });
    }
    let budget = Budget { states: limits.states_max, until: limits.time_max.map(|time| Instant::now() + time) };
    let mut doubt = None;
    for (key, indexes) in smallest_first(history) {
        let mut states = States::new();
        let steps = steps_of(history, &indexes, &mut states);
        match search::search(&steps, &mut states, budget) {
            Found::Order => {}
            Found::None => return Verdict::NotLinearizable(offence::find(key, steps, &mut states, budget)),
            Found::Spent(Spent::States) => {
                doubt = Some(Doubt::StatesMax { key: key.to_string(), states: limits.states_max });
            }
            Found::Spent(Spent::Time) => doubt = Some(Doubt::TimeMax { key: key.to_string() }),
        }
    }
    doubt.map_or(Verdict::Linearizable, Verdict::Unknown)
}

/// The keys and where their operations stand. The small ones come first, so that one that takes all the time does not
/// hide an offence of another.
fn smallest_first(history: &[Operation]) -> Vec<(&str, Vec<usize>)> {
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, operation) in history.iter().enumerate() {
        by_key.entry(operation.action.key()).or_default().push(index);
    }
    let mut keys: Vec<(&str, Vec<usize>)> = by_key.into_iter().collect();
    keys.sort_by_key(|(_, indexes)| indexes.len());
    keys
}

impl Model {
    /// Whether the model has such an action.
    pub fn has(self, action: &Action) -> bool {
        self == Model::Kv || !matches!(action, Action::Append { .. } | Action::Delete { .. })
    }
}

impl Operation {
    /// When it must have taken effect by, if it is known to have taken effect or to have read.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let settled = match self.action {
            Action::CasRefused { .. } => self.outcome == Outcome::Fail,
            _ => self.outcome == Outcome::Ok,
        };
        self.returned.filter(|_| settled)
    }

    /// What came of it, in words, with the times in nanoseconds.
    pub(crate) fn fate(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "failed",
            Outcome::Unknown => "unknown",
        };
        match self.returned {
            Some(returned) => format!("{outcome}, from {} to {returned} ns", self.call),
            None => format!("{outcome}, from {} ns, never returned", self.call),
        }
    }
}

impl Action {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Action::Get { key, .. }
            | Action::Put { key, .. }
            | Action::Append { key, .. }
            | Action::Delete { key }
            | Action::Cas { key, .. }
            | Action::CasRefused { key, .. } => key,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = quoted(Some(self.key()));
        match self {
            Action::Get { value, .. } => write!(f, "get {key} → {}", quoted(value.as_deref())),
            Action::Put { value, .. } => write!(f, "put {key} = {}", quoted(Some(value))),
            Action::Append { value, .. } => write!(f, "append {key} + {}", quoted(Some(value))),
            Action::Delete { .. } => write!(f, "delete {key}"),
            Action::Cas { from, to, .. } => {
                write!(f, "cas {key}: {} → {}", quoted(from.as_deref()), quoted(Some(to)))
            }
            Action::CasRefused { from, to, found, .. } => {
                let (from, to, found) = (quoted(from.as_deref()), quoted(Some(to)), quoted(Some(found)));
                write!(f, "cas {key}: {from} → {to}, found {found}")
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::StatesMax { key, states } => {
                let key = quoted(Some(key));
                write!(f, "no order of key {key} was found or ruled out within {states} states; raise the bound")
            }
            Doubt::TimeMax { key } => {
                let key = quoted(Some(key));
                write!(f, "no order of key {key} was found or ruled out in time; raise the time limit")
            }
            Doubt::NotInModel { operation } => {
                write!(f, "operation {operation} (from 0) is not one of a register; check the history as a kv one")
            }
        }
    }
}

/// A value as a person reads it: quoted, escaped, and no longer than a line can bear. The end of a long one is kept too,
/// because appends differ there.
fn quoted(value: Option<&str>) -> String {
    const SHOWN: usize = 60;
    let Some(text) = value else { return "absent".to_string() };
    let characters = text.chars().count();
    if characters <= SHOWN {
        return format!("{text:?}");
    }
    let front: String = text.chars().take(SHOWN / 2).collect();
    let back: String = text.chars().skip(characters - SHOWN / 2).collect();
    format!("{front:?}…{back:?} ({} bytes)", text.len())
}
