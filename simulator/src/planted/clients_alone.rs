//! What clients alone would see. Most plants are found by a check that knows every disk, long before anybody is told
//! something wrong. So here those checks are mute, the run goes on with what is broken, and only its history speaks.
//!
//! ```text
//!   plant ──▶ seed 1, 2, 3, … ──▶ checks find it, and say nothing ──▶ the run goes on ──▶ is its history linearizable?
//! ```

use std::fmt::Write;

use consensus_api::planted::{Bug, plant};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use super::{Engine, Plant, on_threads};
use crate::protocol::Protocol;
use crate::schedule::{Case, seen_by_clients};

/// Within how many seeds the history of a run must show the plants that the tests name.
pub const VISIBLE_SEEDS_MAX: u64 = 200;

/// The seed whose history is the first to show the plant.
pub fn first_seen(plant: Plant, seeds_max: u64) -> Option<u64> {
    match plant.engine {
        Engine::Raft => first_seen_in::<Raft>(plant.bug, seeds_max),
        Engine::Paxos => first_seen_in::<MultiPaxos>(plant.bug, seeds_max),
    }
}

fn first_seen_in<P: Protocol>(bug: Bug, seeds_max: u64) -> Option<u64> {
    (1..=seeds_max).find(|seed| {
        let case = Case::of_seed(*seed);
        let planted = plant(bug);
        let seen = seen_by_clients::<P>(&case);
        drop(planted);
        // What clients see without the bug too proves nothing.
        seen.is_some() && seen_by_clients::<P>(&case).is_none()
    })
}

/// Looks for each of these, on this many threads, and tells each as it comes.
pub fn see_all(
    plants: &[Plant],
    seeds_max: u64,
    threads: usize,
    tell: impl Fn(Plant, Option<u64>) + Sync,
) -> Vec<(Plant, Option<u64>)> {
    on_threads(plants, threads, |plant| {
        let seen = first_seen(plant, seeds_max);
        tell(plant, seen);
        seen
    })
}

/// A row for each plant that was seen, in Markdown.
pub fn clients_table(outcomes: &[(Plant, Option<u64>)]) -> String {
    let mut text = String::from("| what is planted | engine | seeds |\n| --- | --- | --- |\n");
    for (plant, seed) in outcomes {
        if let Some(seed) = seed {
            let what = plant.bug.description().trim_end_matches('.');
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {what} | {} | {seed} |", plant.engine);
        }
    }
    text
}
