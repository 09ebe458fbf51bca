//! How a run ended, in values and in words.

use std::fmt;
use std::time::Duration;

use consensus_api::EngineName;

use crate::linearizability::Operation;
use crate::plan::FaultPlan;
use crate::schedule::{Case, Knobs};
use crate::trace::Counts;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which engine.
    pub engine: EngineName,
    /// Which run.
    pub case: Case,
    /// How much of everything happened.
    pub counts: Counts,
    /// What clients asked for.
    pub operations: Operations,
    /// How long the repaired majority took to commit a new command; `None` where no quorum could be repaired.
    pub recovered_in: Option<Duration>,
    /// How long the run was, by the world's clock.
    pub lasted: Duration,
    /// Whether the search for an order of the history was given up.
    pub undecided: bool,
    /// Equal for equal histories.
    pub fingerprint: u64,
}

/// What clients asked for, by what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Reads that were answered, and writes that took place.
    pub done: u64,
    /// Refused, or their condition did not hold.
    pub failed: u64,
    /// Given up without an answer.
    pub unknown: u64,
}

/// A run that found something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which engine.
    pub engine: EngineName,
    /// Which run.
    pub case: Case,
    /// What was found; the property's name comes first, before a colon.
    pub what: String,
    /// The knobs of the run.
    pub knobs: Box<Knobs>,
    /// What was to go wrong in it.
    pub plan: FaultPlan,
    /// The last things that happened.
    pub events: Vec<String>,
    /// What the clients saw.
    pub history: Vec<Operation>,
}

impl Failure {
    /// The property that does not hold.
    pub fn property(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.events {
            writeln!(f, "{line}")?;
        }
        write!(f, "{:#?}\n{}\n{} {}: {}\nto see it again: ", self.knobs, self.plan, self.engine, self.case, self.what)?;
        write!(f, "cargo run --release -p simulator -- --engine {} {} --trace", self.engine, self.case.flags())
    }
}

impl std::error::Error for Failure {}
