//! The suite proves itself: each bug of [`consensus_api::planted`] is planted in the engines that can have it, and the
//! same histories that pass without it must find it.
//!
//! ```text
//!   plant ──▶ seed 1, 2, 3, … ──▶ a property breaks ──▶ bug, engine, property, seeds needed
//!         └─▶ its own story, where chance is too slow ─┘
//!                    └──▶ nothing up to the bound ──▶ the suite is blind to it, and fails
//! ```
//!
//! Which engine can have which bug is said here. Everything else about a bug is where it is planted.

mod clients_alone;
mod stories;
mod table;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use consensus_api::planted::{Bug, plant};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use crate::protocol::Protocol;
use crate::schedule::{Case, run_case};

pub use clients_alone::{VISIBLE_SEEDS_MAX, clients_table, first_seen, see_all};
pub use stories::Story;
pub use table::table;

/// Within how many seeds a bug must be found that has no story of its own.
pub const SEEDS_MAX: u64 = 1000;

/// An engine that bugs are planted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// Raft.
    Raft,
    /// Multi-Paxos.
    Paxos,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Raft => "Raft",
            Engine::Paxos => "Multi-Paxos",
        })
    }
}

/// A bug in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plant {
    /// What is planted.
    pub bug: Bug,
    /// Where.
    pub engine: Engine,
}

/// How a bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By what.
    pub by: By,
    /// What broke.
    pub what: String,
}

/// What found a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// So many seeds, from 1 on, the last of which broke something.
    Seeds(u64),
    /// Its own schedule.
    Story(Story),
}

/// Every bug in every engine that can have it.
pub fn plants() -> Vec<Plant> {
    let in_engines = |bug: &'static Bug| engines(*bug).iter().map(|engine| Plant { bug: *bug, engine: *engine });
    Bug::ALL.iter().flat_map(in_engines).collect()
}

/// The engines that can have a bug: most are in what both share or do alike.
fn engines(bug: Bug) -> &'static [Engine] {
    match bug {
        Bug::VoteNotWritten
        | Bug::ElectionRestrictionDropped
        | Bug::OldEntriesCounted
        | Bug::ConflictSuffixKept
        | Bug::CommitBeyondVerified
        | Bug::RefusalTeachesNothing
        | Bug::InstallationKeepsSuffix
        | Bug::InstallationDropsSuffix => &[Engine::Raft],
        Bug::AcceptLeavesPromise
        | Bug::WatermarkOfOtherBallot
        | Bug::PromiseCountedEarly
        | Bug::LowestBallotReproposed
        | Bug::AcceptedValuesIgnored
        | Bug::HolesSkipped
        | Bug::LeadsBeforeCaughtUp
        | Bug::QuorumReadOfChosenOnly
        | Bug::InstallationDropsAccepts
        | Bug::InstallationForgetsAccepts
        | Bug::ReadCountedAmongOthers
        // A Raft leader's log names one change after the other: none is void.
        | Bug::VoidChangeTaken => &[Engine::Paxos],
        _ => &[Engine::Raft, Engine::Paxos],
    }
}

/// Plants a bug and looks for it.
pub fn find(plant: Plant) -> Option<Found> {
    match plant.engine {
        Engine::Raft => find_in::<Raft>(plant),
        Engine::Paxos => find_in::<MultiPaxos>(plant),
    }
}

fn find_in<P: Protocol>(Plant { bug, engine }: Plant) -> Option<Found> {
    if let Some(story) = Story::of(bug, engine) {
        let _planted = plant(bug);
        return Some(Found { by: By::Story(story), what: story.breaks::<P>()? });
    }
    (1..=SEEDS_MAX).find_map(|seed| {
        let planted = plant(bug);
        let what = broken_by::<P>(seed)?;
        drop(planted);
        // What breaks by itself proves nothing.
        broken_by::<P>(seed).is_none().then_some(Found { by: By::Seeds(seed), what })
    })
}

/// What breaks in the history of a seed. That nothing much happened in it breaks nothing.
fn broken_by<P: Protocol>(seed: u64) -> Option<String> {
    let failure = run_case::<P>(&Case::of_seed(seed)).err()?;
    (failure.property() != "vacuous").then_some(failure.what)
}

/// Looks for all of them, on this many threads, and tells each as it comes.
pub fn find_all(threads: usize, tell: impl Fn(Plant, Option<&Found>) + Sync) -> Vec<(Plant, Option<Found>)> {
    on_threads(&plants(), threads, |plant| {
        let found = find(plant);
        tell(plant, found.as_ref());
        found
    })
}

/// What comes of each plant; the threads take them in turn.
fn on_threads<T: Send>(
    plants: &[Plant],
    threads: usize,
    look: impl Fn(Plant) -> Option<T> + Sync,
) -> Vec<(Plant, Option<T>)> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<T>>> = plants.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((plant, outcome)) = take(&next, plants, &outcomes) {
                    let found = look(plant);
                    if let Ok(mut outcome) = outcome.lock() {
                        *outcome = found;
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_iter().map(|outcome| outcome.into_inner().unwrap_or_default());
    plants.iter().copied().zip(outcomes).collect()
}

fn take<'a, T>(
    next: &AtomicUsize,
    plants: &[Plant],
    outcomes: &'a [Mutex<Option<T>>],
) -> Option<(Plant, &'a Mutex<Option<T>>)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((*plants.get(at)?, outcomes.get(at)?))
}
