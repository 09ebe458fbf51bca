//! How a run ended, in values and in words.

use std::fmt;
use std::time::Duration;

use consensus_api::EngineName;

use crate::schedule::Knobs;
use crate::trace::Counts;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which engine.
    pub engine: EngineName,
    /// Which seed.
    pub seed: u64,
    /// How much of everything happened.
    pub counts: Counts,
    /// How long the repaired cluster took to acknowledge a proposal.
    pub recovered_in: Duration,
    /// Equal for equal histories.
    pub fingerprint: u64,
}

/// A run that found something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which engine.
    pub engine: EngineName,
    /// Which seed.
    pub seed: u64,
    /// What was found.
    pub what: String,
    /// The knobs of the run.
    pub knobs: Box<Knobs>,
    /// The last things that happened.
    pub history: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.history {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{:#?}", self.knobs)?;
        writeln!(f, "{} seed {}: {}", self.engine, self.seed, self.what)?;
        let (first, last) = (self.seed, self.seed + 1);
        write!(
            f,
            "to see it again: cargo run -p simulator --release -- --engine {} --seeds {first}..{last}",
            self.engine
        )
    }
}

impl std::error::Error for Failure {}
