//! The subcommands of `simulator`. Each has its arguments and a `run` that ends in the process's exit code.

pub mod check;
pub mod model;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod seeds;
mod totals;

use std::process::ExitCode;

use clap::Subcommand;

/// What the program does besides running seeds.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check whether a recorded history is linearizable
    Check(check::Args),
    /// Explore every order of events of a small cluster
    Model(model::Args),
    /// Plant bugs on purpose, and look for each
    #[cfg(feature = "planted-bugs")]
    Planted(planted::Args),
}

/// Does it.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Check(args) => check::run(args),
        Command::Model(args) => model::run(args),
        #[cfg(feature = "planted-bugs")]
        Command::Planted(args) => planted::run(args),
    }
}
