//! Random histories of both engines: nothing that must hold ever breaks, and what is repaired works again.
//! `make sim` runs more of them, `QUORATE_SEEDS=A..B` runs others here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::Range;
use std::thread;

use consensus_api::ReadMode;
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::plan::{FaultPlan, Kind};
use simulator::schedule::{Knobs, replay};
use simulator::trace::Counts;
use simulator::{Case, Profile, Protocol, Report, run_case};

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("QUORATE_SEEDS") else { return 1..501 };
    let (first, end) = text.split_once("..").expect("QUORATE_SEEDS is FIRST..END");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Half of the seeds in each of two threads.
fn run_all<P: Protocol>() -> Vec<Report> {
    let run = |seed| run_case::<P>(&Case::of_seed(seed));
    let work = |half: u64| move || seeds().filter(|seed| seed / 8 % 2 == half).map(run).collect::<Vec<_>>();
    let halves = [thread::spawn(work(0)), thread::spawn(work(1))];
    let outcomes = halves.into_iter().flat_map(|half| half.join().expect("a run ends in a report or a failure"));
    let (reports, failures): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
    if let Some(Err(failure)) = failures.first() {
        panic!("{failure}\n{} of {} seeds failed", failures.len(), failures.len() + reports.len());
    }
    reports.into_iter().flatten().collect()
}

fn every_history_holds<P: Protocol>() {
    let reports = run_all::<P>();
    let runs = reports.len() as u64;
    let mut counts = Counts::default();
    reports.iter().for_each(|report| counts.add(&report.counts));
    println!("{runs} runs: {counts:?}");
    // What no single run promises, all of them together do.
    for kind in Kind::ALL {
        assert!(counts.of(kind) > 0, "no run had a {kind}");
    }
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let enough = [
        (counts.lossy_crashes, runs / 2, "a crash has lost a write"),
        (counts.tails_cut, runs / 20, "a log was cut at its torn end"),
        (counts.disk_failures, runs / 4, "a disk has failed"),
        (counts.starts_refused, runs / 100, "a start was refused for a damaged disk"),
        (counts.strangers_refused, runs / 10, "a wiped node was refused"),
        (counts.overflows, 0, "a link was full"),
        (counts.read_backs, runs, "an entry was read back"),
        (counts.trims, 10 * runs, "a log was trimmed"),
        (counts.entries_trimmed, 200 * runs, "an entry was trimmed"),
        (counts.snapshots_taken, 10 * runs, "a snapshot was taken"),
        (counts.snapshots_without_room, runs / 5, "a snapshot found no room"),
        (counts.transfers, runs / 4, "a snapshot was sent"),
        (counts.snapshots_installed, runs / 4, "a snapshot was installed"),
        (counts.chunks_garbled, runs / 50, "a chunk was damaged on its way"),
        (counts.lease_reads, 5 * runs, "a read was served by a lease"),
        (counts.log_reads, 5 * runs, "a read was served through the log"),
        (counts.sessions_opened, runs, "a session was opened"),
        (counts.sessions_expired, runs / 2, "a session has expired"),
        (counts.duplicates, 5 * runs, "a duplicate was answered from the table"),
        (counts.forgotten, 0, "a late copy was refused as forgotten"),
        (counts.members_changed, 3 * runs, "the members were changed"),
        (counts.learners_promoted, runs, "a learner was promoted"),
        (counts.changes_interrupted, runs / 5, "a crash came in the middle of a change"),
        (counts.changes_moved, runs / 2, "a change was too late"),
        (counts.transfers_done, runs, "leadership was handed over"),
        (counts.transfers_failed, runs / 10, "a transfer has failed"),
        (counts.ticks, 2 * runs, "a leader has told the time"),
        (total(|report| report.operations.done), 200 * runs, "an operation was done"),
        (total(|report| report.operations.unknown), 5 * runs, "an operation stayed unknown"),
    ];
    if P::ROUND_IS_EPOCH {
        assert!(counts.members_joint > runs / 5, "hardly ever joint: {} times in {runs} runs", counts.members_joint);
    }
    let by_quorums = (counts.quorum_reads, 5 * runs, "a read was served without a leader");
    let by_quorums = P::READS.contains(&ReadMode::Quorum).then_some(by_quorums);
    for (count, least, what) in enough.into_iter().chain(by_quorums) {
        assert!(count > least, "hardly ever {what}: {count} times in {runs} runs");
    }
    let undecided = total(|report| u64::from(report.undecided));
    assert!(undecided <= runs / 50, "the search for an order was given up in {undecided} of {runs} runs");
}

#[test]
fn raft_survives_every_history() {
    every_history_holds::<Raft>();
}

#[test]
fn multi_paxos_survives_every_history() {
    every_history_holds::<MultiPaxos>();
}

/// Twice with everything that happens, line by line, under every profile.
fn replays<P: Protocol>() {
    for (seed, profile) in (1..).zip(Profile::ALL) {
        let case = Case { seed, profile, nodes: Some(3) };
        let [first, second] = [replay::<P>(&case), replay::<P>(&case)];
        assert_eq!(first.0.map_err(|failure| failure.what), second.0.map_err(|failure| failure.what));
        assert!(first.1.len() > 1000, "{case}: only {} lines", first.1.len());
        assert!(first.1 == second.1, "{case} is told in other words the second time");
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

#[test]
fn both_engines_meet_the_same_trouble() {
    for seed in 1..9 {
        let case = Case::of_seed(seed);
        let (raft, paxos) = (run_case::<Raft>(&case).unwrap(), run_case::<MultiPaxos>(&case).unwrap());
        let planned = FaultPlan::draw(seed, case.profile, Knobs::draw(&case).nodes).faults;
        for kind in Kind::ALL {
            let most = planned.iter().filter(|planned| planned.fault.kind() == kind).count() as u64;
            assert!(raft.counts.of(kind) <= most, "{case}: {kind} under Raft");
            assert!(paxos.counts.of(kind) <= most, "{case}: {kind} under Multi-Paxos");
        }
    }
}
