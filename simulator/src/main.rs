//! `simulator`: both engines through random faults, and the tools around that. `simulator --help` lists them.

use std::process::ExitCode;

use clap::Parser;
use simulator::commands::{self, Command, seeds};

/// Runs consensus engines in a deterministic world of faults, or one of the commands.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seeds: seeds::Args,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(command) => commands::run(command),
        None => seeds::run(arguments.seeds),
    }
}
