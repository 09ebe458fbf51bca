//! Random histories of both engines: nothing that must hold ever breaks, and what is repaired works again.
//! `cargo run -p simulator --release -- --seeds A..B` runs more of them, `QUORATE_SEEDS=A..B` runs others here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::Range;
use std::thread;

use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::{Failure, Protocol, Report, run_seed};

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("QUORATE_SEEDS") else { return 1..251 };
    let (first, end) = text.split_once("..").expect("QUORATE_SEEDS is FIRST..END");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Half of the seeds in each of two threads.
fn run_all<P: Protocol>() -> Vec<Report> {
    let work = |odd: u64| move || seeds().filter(|seed| seed % 2 == odd).map(run_seed::<P>).collect::<Vec<_>>();
    let halves = [thread::spawn(work(0)), thread::spawn(work(1))];
    let outcomes = halves.into_iter().flat_map(|half| half.join().expect("a run ends in a report or a failure"));
    let (reports, failures): (Vec<_>, Vec<Result<Report, Failure>>) = outcomes.partition(Result::is_ok);
    if let Some(Err(failure)) = failures.first() {
        panic!("{failure}\n{} of {} seeds failed", failures.len(), failures.len() + reports.len());
    }
    reports.into_iter().flatten().collect()
}

fn every_history_holds<P: Protocol>() {
    let reports = run_all::<P>();
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let runs = reports.len() as u64;
    println!(
        "{runs} runs: {} happenings, {} elections, {} crashes, {} with loss, {} acknowledged, {} reads",
        total(|report| report.counts.happenings),
        total(|report| report.counts.elections),
        total(|report| report.counts.crashes),
        total(|report| report.counts.lossy_crashes),
        total(|report| report.counts.acknowledged),
        total(|report| report.counts.reads_served),
    );
    // What not each run promises, all of them together do.
    assert!(total(|report| report.counts.lossy_crashes) > runs / 2, "hardly a crash has lost a write");
    assert!(total(|report| report.counts.cuts) > runs, "hardly a link was cut");
    assert!(total(|report| report.counts.pauses) > runs / 2, "hardly a node was paused");
    assert!(total(|report| report.counts.read_backs) > runs, "hardly an entry was read back");
    assert!(total(|report| report.counts.trims) > runs / 4, "hardly a log was trimmed");
    assert!(total(|report| report.counts.acknowledged) > 50 * runs, "hardly a proposal was acknowledged");
}

#[test]
fn raft_survives_every_history() {
    every_history_holds::<Raft>();
}

#[test]
fn multi_paxos_survives_every_history() {
    every_history_holds::<MultiPaxos>();
}

fn replays<P: Protocol>() {
    for seed in 1..6 {
        let again = [run_seed::<P>(seed), run_seed::<P>(seed)].map(|outcome| outcome.map_err(|failure| failure.what));
        assert!(again[0].is_ok(), "{again:?}");
        assert_eq!(again[0], again[1]);
    }
}

#[test]
fn a_seed_replays_to_the_byte_under_raft() {
    replays::<Raft>();
}

#[test]
fn a_seed_replays_to_the_byte_under_multi_paxos() {
    replays::<MultiPaxos>();
}
