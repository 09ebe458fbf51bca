//! The side-by-side comparison: carries out a plan and writes its report, or writes the report again.
//!
//! ```text
//!   compare --plan benches/experiments/quick.toml          measures what is not measured yet, then the report
//!   compare report target/comparison/quick/results.json    the report alone
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use benches::comparison::estimate::in_words;
use benches::comparison::plan::Plan;
use benches::comparison::results::{History, Results};
use benches::comparison::{report, runner};
use benches::processes;
use benches::replicas::Failure;
use clap::{Parser, Subcommand};

/// Compares the engines side by side, by a plan.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Subcommand)]
enum Command {
    /// Write the report of results again
    Report {
        /// A results.json
        results: PathBuf,
        /// The results.json of an earlier run, to compare with
        #[arg(long)]
        against: Option<PathBuf>,
        /// Where the report goes [default: beside the results]
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Measuring {
    /// What to measure: a TOML file, as in benches/experiments
    #[arg(long, default_value = "benches/experiments/quick.toml")]
    plan: PathBuf,
    /// Where results go; what is there of the same plan is not measured again [default: target/comparison/<plan>]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on where an earlier run was interrupted; this is what happens anyway
    #[arg(long, conflicts_with = "fresh")]
    resume: bool,
    /// Begin anew: forget what is there
    #[arg(long)]
    fresh: bool,
    /// Only this subject of the plan, or this engine; may be given several times
    #[arg(long = "subject", value_name = "NAME")]
    subjects: Vec<String>,
    /// Only this experiment
    #[arg(long, value_name = "EXPERIMENT")]
    only: Option<String>,
    /// So many rounds instead of the plan's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// The kv-service that is measured [default: the one beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// The results.json of an earlier run, to compare with
    #[arg(long)]
    against: Option<PathBuf>,
    /// How busy the machine may be before a cluster is measured, of 1.0
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    busy_max: f64,
    /// Say what would be measured, and how long it would take
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Report { results, against, out }) => write_again(&results, against, out),
        None => measure(arguments.measuring),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_again(results: &std::path::Path, against: Option<PathBuf>, out: Option<PathBuf>) -> Result<(), Failure> {
    let directory = out.unwrap_or_else(|| results.parent().map(PathBuf::from).unwrap_or_default());
    let earlier = against.as_deref().map(Results::read).transpose()?;
    report::write(&Results::read(results)?, earlier.as_ref(), &directory)?;
    eprintln!("the report is in {}", directory.display());
    Ok(())
}

#[tokio::main]
async fn measure(measuring: Measuring) -> Result<(), Failure> {
    let mut plan = Plan::read(&measuring.plan)?;
    plan.rounds = measuring.rounds.unwrap_or(plan.rounds);
    plan.admit(&measuring.subjects);
    plan.check(measuring.program.is_none().then_some(kv_service::engines::NAMES))?;
    let earlier = measuring.against.as_deref().map(Results::read).transpose()?;
    let name = measuring.plan.file_stem().unwrap_or_default();
    let out = measuring.out.unwrap_or_else(|| PathBuf::from("target/comparison").join(name));
    let options = runner::Options {
        out,
        fresh: measuring.fresh,
        program: measuring.program.map_or_else(processes::program, Ok)?,
        source: measuring.plan,
        subjects: measuring.subjects,
        only: measuring.only,
        busy_max: measuring.busy_max,
        plan,
    };
    let (points, duration) = options.estimate()?;
    let out = options.out.display();
    eprintln!("{}\n{points} points, some {}; results go to {out}", options.plan.question, in_words(duration));
    if measuring.dry_run {
        return Ok(());
    }
    let results = tokio::select! {
        results = runner::run(&options) => results?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; the same command goes on from here".into()),
    };
    report::write(&results, earlier.as_ref(), &options.out)?;
    let invalid = results.points.iter().filter(|point| !point.is_valid()).count();
    eprintln!("{} points, {invalid} of them invalid; the report is in {out}", results.points.len());
    let offended = results.points.iter().find(|point| matches!(point.history, History::NotLinearizable { .. }));
    match offended {
        Some(point) => Err(format!("a history of {} is not linearizable: read the report", point.key.subject).into()),
        None => Ok(()),
    }
}
