//! `simulator --engine both --seeds 1..10000`: many runs on all cores, or one of them event by event.
//!
//! ```text
//!   seeds ──▶ next seed ──▶ worker, one per core ──▶ totals, progress bar
//!                                   └─ failure ──▶ words on the screen · trace, history and its page in a folder
//! ```

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::ValueEnum;
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use indicatif::{ProgressBar, ProgressStyle};

use super::totals::Totals;
use crate::linearizability::{self, Limits, Model, page, write_history};
use crate::profile::Profile;
use crate::schedule::{Case, Failure, Report, replay, run_case};

/// How many failures are told in full; the others are counted.
const FAILURES_TOLD_MAX: u64 = 5;

/// Which runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which engine
    #[arg(long, value_enum, default_value = "both")]
    engine: Engine,
    /// Which seeds, the last one excluded
    #[arg(long, value_name = "FIRST..END", default_value = "1..1001", value_parser = seeds)]
    seeds: Range<u64>,
    /// This seed alone
    #[arg(long, value_name = "SEED", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// What kind of trouble: calm, swarm, disk, partition, clock, lease or members; without it, each seed has its own
    #[arg(long)]
    profile: Option<Profile>,
    /// How many nodes found the cluster; without it, the seed decides
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,
    /// Prints everything that happens in the run of --seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Where the trace, the history and its page of a failed run are written
    #[arg(long, value_name = "FOLDER", default_value = "simulator-failures")]
    failures: PathBuf,
    /// How many runs at a time; as many as there are cores if nothing is said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    Raft,
    Paxos,
    Both,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let usage = || format!("\"{text}\" is no range of seeds; write it as 1..1001");
    let (first, end) = text.split_once("..").ok_or_else(usage)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| usage());
    let range = number(first)?..number(end)?;
    if range.is_empty() { Err(usage()) } else { Ok(range) }
}

impl Args {
    fn case(&self, seed: u64) -> Case {
        let drawn = Case::of_seed(seed);
        Case { seed, profile: self.profile.unwrap_or(drawn.profile), nodes: self.nodes }
    }

    /// What the runner does for each seed: one function for each engine that was asked for.
    fn engines(&self) -> Vec<EngineRuns> {
        let raft = EngineRuns { run: run_case::<Raft>, replay: replay::<Raft> };
        let paxos = EngineRuns { run: run_case::<MultiPaxos>, replay: replay::<MultiPaxos> };
        match self.engine {
            Engine::Raft => vec![raft],
            Engine::Paxos => vec![paxos],
            Engine::Both => vec![raft, paxos],
        }
    }
}

type Outcome = Result<Report, Box<Failure>>;

#[derive(Clone, Copy)]
struct EngineRuns {
    run: fn(&Case) -> Outcome,
    replay: fn(&Case) -> (Outcome, Vec<String>),
}

/// Runs them all. Fails if any run does.
pub fn run(args: Args) -> ExitCode {
    // An assertion that breaks is told as a failure of its run, not in the middle of the screen.
    std::panic::set_hook(Box::new(|_| {}));
    if args.trace { trace(&args) } else { run_all(&args) }
}

fn trace(args: &Args) -> ExitCode {
    let case = args.case(args.seed.unwrap_or_default());
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    for engine in args.engines() {
        let (outcome, events) = (engine.replay)(&case);
        // A closed pipe ends the listing, not the run.
        let _ = events.iter().try_for_each(|event| writeln!(out, "{event}"));
        let _ = match outcome {
            Ok(report) => writeln!(out, "{} {case}: fingerprint {:016x}", report.engine, report.fingerprint),
            Err(failure) => {
                code = ExitCode::FAILURE;
                writeln!(out, "{} {case}: {}", failure.engine, failure.what)
            }
        };
    }
    code
}

fn run_all(args: &Args) -> ExitCode {
    let range = args.seed.map_or_else(|| args.seeds.clone(), |seed| seed..seed.saturating_add(1));
    let engines = args.engines();
    let bar = ProgressBar::new((range.end - range.start) * engines.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {per_sec}, {eta} left  {msg}") {
        bar.set_style(style);
    }
    let (next, totals, began) = (AtomicU64::new(range.start), Mutex::new(Totals::default()), Instant::now());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= range.end {
                return;
            }
            for engine in &engines {
                let outcome = (engine.run)(&args.case(seed));
                let failures = {
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.add(&outcome);
                    totals.failures
                };
                bar.inc(1);
                if let Err(failure) = outcome {
                    bar.set_message(format!("{failures} failed"));
                    if failures <= FAILURES_TOLD_MAX {
                        bar.suspend(|| tell(&failure, engine, &args.failures));
                    }
                }
            }
        }
    };
    let threads = args.threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(io::stdout(), "{}", totals.describe(began.elapsed()));
    if totals.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(failure: &Failure, engine: &EngineRuns, folder: &Path) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{failure}");
    match write_files(failure, engine, folder) {
        Ok(path) => drop(writeln!(err, "trace, history and page: {}.*\n", path.display())),
        Err(error) => drop(writeln!(
            err,
            "the trace cannot be written to {}: {error}; name another folder with --failures\n",
            folder.display()
        )),
    }
}

/// The whole trace (of a second run of the same seed), the history, and the history's page.
fn write_files(failure: &Failure, engine: &EngineRuns, folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let name = format!("{}-{}-{}", failure.engine, failure.case.profile, failure.case.seed);
    let path = folder.join(&name);
    let (_, events) = (engine.replay)(&failure.case);
    let mut trace = io::BufWriter::new(fs::File::create(path.with_extension("trace"))?);
    for event in events {
        writeln!(trace, "{event}")?;
    }
    writeln!(trace, "{}", failure.what)?;
    trace.flush()?;
    let mut jsonl = io::BufWriter::new(fs::File::create(path.with_extension("jsonl"))?);
    write_history(&mut jsonl, &failure.history)?;
    jsonl.flush()?;
    let limits = Limits { states_max: 1_000_000, time_max: None };
    let verdict = linearizability::check(&failure.history, Model::Kv, &limits);
    fs::write(path.with_extension("html"), page(&failure.history, &verdict, &name))?;
    Ok(path)
}
