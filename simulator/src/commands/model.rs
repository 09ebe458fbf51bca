//! `model`: searches every history within a small scope and tells how many states that were.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use consensus_api::EngineError;
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;

use crate::Protocol;
use crate::model::{Bug, Progress, Report, Scope, check};

/// Model checking of the engines: every history within a small scope.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which engine.
    #[arg(long, value_enum, default_value = "both")]
    engine: ModelEngine,
    /// Stop after this many states; each takes about 300 bytes, depth first 30.
    #[arg(long, default_value_t = 3_000_000)]
    max_states: usize,
    /// How many elections nodes 1 and 2 start between them.
    #[arg(long, default_value_t = 2)]
    campaigns: u8,
    /// How many commands leaders are given.
    #[arg(long, default_value_t = 2)]
    commands: u8,
    /// How many losses of power, at any node.
    #[arg(long, default_value_t = 1)]
    crashes: u8,
    /// How many nodes have a disk whose writes take their time: 3, then 1, then 2. Only these can lose writes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    slow_disks: u8,
    /// With heartbeats and refusals, which carry nothing but news.
    #[arg(long)]
    all_messages: bool,
    /// Search depth first: a tenth of the memory, longer paths.
    #[arg(long)]
    depth_first: bool,
    /// How many threads search.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Put this bug in.
    #[arg(long, value_enum)]
    bug: Option<ModelBug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModelEngine {
    Raft,
    Paxos,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModelBug {
    /// Messages leave before the write that they wait for is durable.
    SendsBeforeDurable,
    /// A loss of power takes the hard state.
    ForgetsHardState,
}

/// Searches, and prints what came of it. Fails where something is violated or something that should be seen is not.
pub fn run(args: Args) -> ExitCode {
    let mut is_good = true;
    if args.engine != ModelEngine::Paxos {
        is_good &= tell(search::<Raft>(&args));
    }
    if args.engine != ModelEngine::Raft {
        is_good &= tell(search::<MultiPaxos>(&args));
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn search<P: Protocol<Message: Sync> + Sync>(args: &Args) -> Result<Report, EngineError> {
    let bug = args.bug.map(|bug| match bug {
        ModelBug::SendsBeforeDurable => Bug::SendsBeforeDurable,
        ModelBug::ForgetsHardState => Bug::ForgetsHardState,
    });
    let scope = Scope {
        campaigns: args.campaigns,
        commands: args.commands,
        crashes: args.crashes,
        slow_disks: args.slow_disks,
        hurries: args.all_messages,
        states_max: args.max_states,
        depth_first: args.depth_first,
        threads: args.threads,
        bug,
        seek: None,
    };
    let report = check::<P>(scope, show);
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    report
}

/// Shows how far the search is, to somebody who waits.
fn show(progress: Progress) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let per_second = progress.states as f64 / progress.elapsed.as_secs_f64().max(f64::EPSILON);
        // Where nobody can be told, the search goes on all the same.
        let _ = write!(stderr, "\r{} states, {per_second:.0} states/s", progress.states);
    }
}

fn tell(outcome: Result<Report, EngineError>) -> bool {
    match outcome {
        Ok(report) => {
            print!("{report}");
            report.is_good()
        }
        Err(error) => {
            eprintln!("the engine does not start from a blank disk: {error}");
            false
        }
    }
}
