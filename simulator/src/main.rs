//! Runs random schedules from the command line: `simulator --engine both --seeds 1..10000`.

use std::ops::Range;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::{Failure, Report, run_seed};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Raft,
    Paxos,
    Both,
}

/// Deterministic random schedules against the consensus engines.
#[derive(Parser)]
struct Arguments {
    /// Which engine.
    #[arg(long, value_enum, default_value = "both")]
    engine: Engine,
    /// Which seeds, as FIRST..END.
    #[arg(long, default_value = "1..1001", value_parser = seeds)]
    seeds: Range<u64>,
    /// Tells how each run went.
    #[arg(long)]
    verbose: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let usage = || format!("\"{text}\" is no range of seeds; write it as 1..1001");
    let (first, end) = text.split_once("..").ok_or_else(usage)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| usage());
    let range = number(first)?..number(end)?;
    if range.is_empty() { Err(usage()) } else { Ok(range) }
}

#[derive(Default)]
struct Totals {
    runs: u64,
    failures: u64,
    happenings: u64,
    elections: u64,
    crashes: u64,
    acknowledged: u64,
    reads_served: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Result<Report, Failure>, verbose: bool) {
        self.runs += 1;
        match outcome {
            Ok(report) => {
                self.happenings += report.counts.happenings;
                self.elections += report.counts.elections;
                self.crashes += report.counts.crashes;
                self.acknowledged += report.counts.acknowledged;
                self.reads_served += report.counts.reads_served;
                if verbose {
                    let recovered_ms = report.recovered_in.as_millis();
                    println!(
                        "{} seed {}: back after {recovered_ms} ms; {:?}",
                        report.engine, report.seed, report.counts
                    );
                }
            }
            Err(failure) => {
                self.failures += 1;
                eprintln!("{failure}\n");
            }
        }
    }

    fn print(&self) {
        println!(
            "{} runs, {} failures: {} happenings, {} elections, {} crashes, {} proposals acknowledged, {} reads served",
            self.runs,
            self.failures,
            self.happenings,
            self.elections,
            self.crashes,
            self.acknowledged,
            self.reads_served
        );
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut totals = Totals::default();
    for seed in arguments.seeds {
        if arguments.engine != Engine::Paxos {
            totals.add(&run_seed::<Raft>(seed), arguments.verbose);
        }
        if arguments.engine != Engine::Raft {
            totals.add(&run_seed::<MultiPaxos>(seed), arguments.verbose);
        }
    }
    totals.print();
    if totals.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
