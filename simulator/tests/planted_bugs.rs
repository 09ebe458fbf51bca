//! Each planted bug is found: by the seeds that find nothing without it, or by its own story. A bug that is no longer found
//! means that the suite has gone blind to it. `simulator planted` prints the table that stands in the README.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::thread;

use consensus_api::planted::{Bug, is_planted, plant};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::planted::{Engine, Plant, SEEDS_MAX, Story, VISIBLE_SEEDS_MAX, find_all, plants, see_all};

#[test]
fn every_planted_bug_is_found() {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let outcomes = find_all(threads, |plant, found| println!("{plant:?}: {found:?}"));
    let missed: Vec<_> = outcomes.iter().filter(|(_, found)| found.is_none()).map(|(plant, _)| plant).collect();
    assert!(missed.is_empty(), "not found in {SEEDS_MAX} seeds: {missed:?}");
}

/// What clients alone would see, in the histories of a few seeds.
const VISIBLE: [(Bug, Engine); 20] = [
    (Bug::WatermarkOfOtherBallot, Engine::Paxos),
    (Bug::PromiseCountedEarly, Engine::Paxos),
    (Bug::AcceptedValuesIgnored, Engine::Paxos),
    (Bug::OpenEntriesRefused, Engine::Raft),
    (Bug::OpenEntriesRefused, Engine::Paxos),
    (Bug::CopiesAdmitted, Engine::Raft),
    (Bug::CopiesAdmitted, Engine::Paxos),
    (Bug::ReadBeforeOwnEpoch, Engine::Raft),
    (Bug::ReadBeforeOwnEpoch, Engine::Paxos),
    (Bug::ReadBeforeApplied, Engine::Raft),
    (Bug::ReadBeforeApplied, Engine::Paxos),
    (Bug::QuorumReadOfChosenOnly, Engine::Paxos),
    (Bug::AppliedIndexNotAtomic, Engine::Raft),
    (Bug::AppliedIndexNotAtomic, Engine::Paxos),
    (Bug::DedupLeftOutOfSnapshot, Engine::Raft),
    (Bug::DedupLeftOutOfSnapshot, Engine::Paxos),
    (Bug::ReplyCachedBeforeApply, Engine::Raft),
    (Bug::ReplyCachedBeforeApply, Engine::Paxos),
    (Bug::ExpiredSessionsRetryExecuted, Engine::Raft),
    (Bug::ExpiredSessionsRetryExecuted, Engine::Paxos),
];

#[test]
fn clients_alone_see_these_bugs_when_every_other_check_is_mute() {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let visible = VISIBLE.map(|(bug, engine)| Plant { bug, engine });
    let outcomes = see_all(&visible, VISIBLE_SEEDS_MAX, threads, |plant, seed| println!("{plant:?}: {seed:?}"));
    let missed: Vec<_> = outcomes.iter().filter(|(_, seed)| seed.is_none()).map(|(plant, _)| plant).collect();
    assert!(missed.is_empty(), "not seen in {VISIBLE_SEEDS_MAX} seeds: {missed:?}");
}

#[test]
fn a_story_breaks_nothing_without_its_bug() {
    let mut played = 0;
    for plant in plants() {
        let Some(story) = Story::of(plant.bug, plant.engine) else { continue };
        played += 1;
        let broken = match plant.engine {
            Engine::Raft => story.breaks::<Raft>(),
            Engine::Paxos => story.breaks::<MultiPaxos>(),
        };
        assert_eq!(broken, None, "{story:?} in {}", plant.engine);
    }
    assert!(played > 0, "no bug has a story");
}

#[test]
fn a_bug_is_planted_while_its_guard_lives_and_in_its_thread_alone() {
    let guard = plant(Bug::HolesSkipped);
    assert!(is_planted(Bug::HolesSkipped) && !is_planted(Bug::StaleVoteCounted));
    assert!(!thread::spawn(|| is_planted(Bug::HolesSkipped)).join().unwrap());
    {
        let _inner = plant(Bug::StaleVoteCounted);
        assert!(!is_planted(Bug::HolesSkipped));
    }
    assert!(is_planted(Bug::HolesSkipped), "the earlier one is back");
    drop(guard);
    assert!(Bug::ALL.iter().all(|bug| !is_planted(*bug)));
}

#[test]
fn the_readme_has_a_row_for_each() {
    let readme = include_str!("../README.md");
    for plant in plants() {
        let row = format!("| {} | {} |", plant.bug.description().trim_end_matches('.'), plant.engine);
        assert!(readme.contains(&row), "no row begins with {row}");
    }
}

#[test]
fn what_ships_refuses_them() {
    let service = include_str!("../../kv-service/src/lib.rs");
    assert!(service.contains("\nconsensus_api::refuse_planted_bugs!();\n"));
}
