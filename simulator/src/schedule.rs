//! Histories that a seed decides: clients go on while everything around them breaks; then a majority is repaired, and
//! must come back, and then all the rest that can be.
//!
//! ```text
//!   calm ──▶ the plan's faults ──▶ a majority is repaired ──▶ everything is repaired ──▶ every key is read at every node
//!   clients go on ────────────────────────────────────────▶│   what is left applies        │
//!            checks after every event                     new commands commit              ▼
//!                                                          within a bound         is the history linearizable?
//! ```
//!
//! The seed draws the knobs of the world ([`Knobs`]) and what breaks when ([`FaultPlan`]), neither of which knows the
//! engine: the same seed is the same trouble for both. A run in which nothing happened proves nothing, and fails as
//! vacuous.

mod knobs;
mod life;
mod outcome;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use consensus_api::EngineName;

use crate::plan::FaultPlan;
use crate::profile::Profile;
use crate::protocol::Protocol;
use crate::transcript;

pub use knobs::Knobs;
pub use outcome::{Failure, Operations, Report};

#[cfg(feature = "planted-bugs")]
use life::Broken;
use life::Life;

/// How much of what happened a failure shows.
const EVENTS_MAX: usize = 400;
/// How much of it a replay keeps.
const REPLAYED_EVENTS_MAX: usize = 5_000_000;

/// One run, before it is known how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What kind of trouble it is about.
    pub profile: Profile,
    /// How many nodes; drawn from the seed where nothing is said.
    pub nodes: Option<u64>,
}

impl Case {
    /// This seed with the profile whose turn it is.
    pub fn of_seed(seed: u64) -> Case {
        // Some draw from everything; the special ones share the rest.
        const TURNS: [Profile; 8] = [
            Profile::Swarm,
            Profile::Disk,
            Profile::Swarm,
            Profile::Partition,
            Profile::Lease,
            Profile::Clock,
            Profile::Members,
            Profile::Calm,
        ];
        Case { seed, profile: TURNS[(seed % 8) as usize], nodes: None }
    }

    /// What a user types to get this run.
    pub fn flags(&self) -> String {
        let nodes = self.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
        format!("--profile {} --seed {}{nodes}", self.profile, self.seed)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} ({})", self.seed, self.profile)
    }
}

/// Runs one case to its end.
pub fn run_case<P: Protocol>(case: &Case) -> Result<Report, Box<Failure>> {
    play::<P>(case, EVENTS_MAX).0
}

/// Runs it with all checks muted, and looks at nothing but what its clients saw until it ended, well or not: tells what no
/// order of their operations explains.
#[cfg(feature = "planted-bugs")]
pub fn seen_by_clients<P: Protocol>(case: &Case) -> Option<String> {
    let knobs = Knobs::draw(case);
    let plan = FaultPlan::draw(case.seed, case.profile, knobs.nodes + knobs.blank);
    let mut life = Life::<P>::new(case, &knobs, &plan, EVENTS_MAX).ok()?;
    life.world.checks.mute();
    // It may stop early, by an assertion of the engine's or without progress.
    match catch_unwind(AssertUnwindSafe(|| life.live())) {
        Ok(Ok(_)) => None,
        Ok(Err(Broken::NotLinearizable(offence))) => Some(offence),
        _ => life.check_history().err().map(|broken| broken.to_string()),
    }
}

/// Runs it again, and keeps all that happens.
pub fn replay<P: Protocol>(case: &Case) -> (Result<Report, Box<Failure>>, Vec<String>) {
    let (outcome, events) = play::<P>(case, REPLAYED_EVENTS_MAX);
    let events = match &outcome {
        Ok(_) => events,
        Err(failure) => failure.events.clone(),
    };
    (outcome, events)
}

fn play<P: Protocol>(case: &Case, events_max: usize) -> (Result<Report, Box<Failure>>, Vec<String>) {
    let knobs = Knobs::draw(case);
    let plan = FaultPlan::draw(case.seed, case.profile, knobs.nodes + knobs.blank);
    let engine: EngineName = P::NAME;
    let failure = |what, events, history| {
        Box::new(Failure {
            engine,
            case: case.clone(),
            what,
            knobs: Box::new(knobs.clone()),
            plan: plan.clone(),
            events,
            history,
        })
    };
    let mut life = match Life::<P>::new(case, &knobs, &plan, events_max) {
        Ok(life) => life,
        Err(violation) => return (Err(failure(violation.to_string(), Vec::new(), Vec::new())), Vec::new()),
    };
    // A broken `assert!` of an engine is a finding like any other.
    let what = match catch_unwind(AssertUnwindSafe(|| life.live())) {
        Ok(Ok(ending)) => {
            let report = life.report(case, ending);
            return (Ok(report), transcript::timed_lines::<P>(&life.world.trace().take()));
        }
        Ok(Err(broken)) => broken.to_string(),
        Err(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => format!("assertion: {text}"),
            (_, Some(text)) => format!("assertion: {text}"),
            _ => "assertion: a panic without words".into(),
        },
    };
    let events = transcript::timed_lines::<P>(&life.world.trace().take());
    (Err(failure(what, events, life.clients.history().to_vec())), Vec::new())
}
