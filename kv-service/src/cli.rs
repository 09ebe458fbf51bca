//! The command line: what can be typed, and what each of it leads to.
//!
//! ```text
//!   kv-service --engine …                      a node              → node::run
//!   kv-service cluster | bench                 local cluster, load → cluster, load
//!   kv-service relay                           its faults          → link_relay
//!   kv-service put | get | append | … members  a client            → commands::client
//!   kv-service repl                            the same at a prompt  → repl
//!   kv-service snapshot save|status|restore    backups             → commands::snapshot
//!   kv-service cert | inspect                  files               → commands
//! ```
//!
//! Exit status: 0 done, 1 failed, 2 wrong usage. An error is one line on standard error.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use consensus_api::Engine;
use link_relay::cli::ControlCommand;
use tokio::runtime;

use crate::cluster::{self, ClusterArgs};
use crate::commands::cert::{self, CertCommand};
use crate::commands::client::{self, ClientCommand, Connection};
use crate::commands::inspect::{self, InspectArgs};
use crate::commands::output;
use crate::commands::snapshot::{self, SnapshotCommand};
use crate::commands::typo::nearest;
use crate::config::NodeConfig;
use crate::engines;
use crate::error::ServiceError;
use crate::load::{self, BenchArgs};
use crate::node;
use crate::repl;
use crate::settings::Settings;

/// A replicated key-value store on a log whose consensus engine is chosen at startup.
///
/// Without a command, runs one node: kv-service --engine raft
#[derive(Debug, Parser)]
#[command(name = "kv-service", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Something else than running a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What flags and environment say about the node.
    #[command(flatten)]
    pub settings: Settings,
    /// A TOML file with the same settings, under the same names with underscores; flags and QUORATE_* win over it
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE", help_heading = "Node")]
    pub config: Option<PathBuf>,
    /// Stop when standard input ends; for whoever supervises this process
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// Everything but running a node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a local cluster in the foreground, until Ctrl-C
    Cluster(ClusterArgs),
    /// Talk to a cluster.
    #[command(flatten)]
    Client(ClientCommand),
    /// Talk to a cluster at a prompt, or read commands from a pipe
    Repl(Connection),
    /// Give the relay of a cluster an order: slow links down, make them lose packets, cut them
    #[command(subcommand, arg_required_else_help = false)]
    Relay(ControlCommand),
    /// Back a cluster up into a file, look at such a file, or found a new cluster from it
    #[command(subcommand, arg_required_else_help = false)]
    Snapshot(SnapshotCommand),
    /// Put load on a running cluster, and show how it copes
    Bench(BenchArgs),
    /// Make a certificate authority, or a node's certificate
    #[command(subcommand, arg_required_else_help = false)]
    Cert(CertCommand),
    /// Look into the data directory of a stopped node
    Inspect(InspectArgs),
}

/// The same with one more engine to choose, for a program of its own.
pub fn run_with<E: Engine>(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    engines::add::<E>();
    run(arguments)
}

/// Does what the arguments say. The first one is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => execute(cli),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            output::write(error.render().to_string().as_bytes()).map(|()| ExitCode::SUCCESS)
        }
        Err(error) => Err(ServiceError::Usage(one_line(&error, &Cli::command(), "kv-service --help"))),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => {
            eprintln!("kv-service: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn execute(cli: Cli) -> Result<ExitCode, ServiceError> {
    match cli.command {
        None => {
            let mut config = NodeConfig::load(cli.settings, cli.config.as_deref())?;
            config.exit_with_parent = cli.exit_with_parent;
            config.telemetry.start();
            on_threads(node::run(config))
        }
        // More than one thread: a relay must not wait for a terminal that is slow to take what the nodes say.
        Some(Command::Cluster(arguments)) => on_threads(cluster::run(arguments)),
        // Nor may a session wait for who sits at the prompt.
        Some(Command::Repl(connection)) => on_threads(repl::run(connection)),
        Some(Command::Relay(command)) => on_one_thread(async { Ok(link_relay::cli::control(command).await?) }),
        Some(Command::Client(command)) => {
            return block_on(&mut runtime::Builder::new_current_thread(), client::run(command));
        }
        Some(Command::Snapshot(command)) => on_one_thread(snapshot::run(command)),
        Some(Command::Bench(arguments)) => on_one_thread(load::run(arguments)),
        Some(Command::Cert(command)) => cert::run(command),
        Some(Command::Inspect(arguments)) => inspect::run(&arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn on_one_thread(task: impl Future<Output = Result<(), ServiceError>>) -> Result<(), ServiceError> {
    block_on(&mut runtime::Builder::new_current_thread(), task)
}

fn on_threads(task: impl Future<Output = Result<(), ServiceError>>) -> Result<(), ServiceError> {
    block_on(&mut runtime::Builder::new_multi_thread(), task)
}

fn block_on<R>(
    builder: &mut runtime::Builder,
    task: impl Future<Output = Result<R, ServiceError>>,
) -> Result<R, ServiceError> {
    let runtime = builder.enable_all().build().map_err(ServiceError::io("cannot start the runtime"))?;
    runtime.block_on(task)
}

/// What the parser of `command` has to say, as one line: what is wrong, what may have been meant, where to read on.
pub(crate) fn one_line(error: &clap::Error, command: &clap::Command, see: &str) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<String> = text
        .split("\n\n")
        .filter(|part| !part.trim_start().starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|part| !part.is_empty())
        .collect();
    // The parser's own idea of likeness misses two letters that are exchanged in a short word.
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        let asked = asked_of(&text, command);
        let names = || asked.get_subcommands().map(clap::Command::get_name);
        if let Some(name) = nearest(word, names()) {
            parts.push(format!("tip: a similar subcommand exists: '{name}'"));
        } else if asked.get_name() != command.get_name() {
            parts.push(format!("'{}' has {}", asked.get_name(), names().collect::<Vec<_>>().join(", ")));
        }
    }
    parts.push(format!("see '{see}'"));
    let line = parts.join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The command whose usage an error tells: the last one that is named there.
fn asked_of<'a>(error: &str, command: &'a clap::Command) -> &'a clap::Command {
    let usage = error.lines().find_map(|line| line.trim_start().strip_prefix("Usage:")).unwrap_or_default();
    usage.split_whitespace().fold(command, |asked, word| asked.find_subcommand(word).unwrap_or(asked))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn usage(line: &[&str]) -> String {
        let error = Cli::try_parse_from(["kv-service"].iter().chain(line)).expect_err("this must be refused");
        let line = one_line(&error, &Cli::command(), "kv-service --help");
        assert!(!line.contains('\n') && line.contains("--help"), "{line}");
        line
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_flags_are_a_nodes() {
        let line =
            ["kv-service", "--engine", "raft", "--peer", "2=h:1", "--peer", "3=h:1", "--no-sync", "--data-dir=d"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.settings.engine.as_deref(), Some("raft"));
        assert_eq!(cli.settings.peers.unwrap(), ["2=h:1", "3=h:1"]);
        assert_eq!(cli.settings.no_sync, Some(true));
        assert_eq!(cli.settings.data_dir, Some("d".into()));
    }

    #[test]
    fn a_misspelt_flag_is_answered_with_the_right_one() {
        assert!(usage(&["--engin", "raft"]).contains("--engine"));
    }

    #[test]
    fn a_misspelt_command_is_answered_with_the_right_one() {
        assert!(usage(&["stauts"]).contains("status"));
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let line = usage(&["--engine", "raft", "--id", "one"]);
        assert!(line.contains("--id") && line.contains("one"), "{line}");
    }

    #[test]
    fn a_missing_argument_is_named() {
        let line = usage(&["get"]);
        assert!(line.contains("KEY"), "{line}");
    }

    #[test]
    fn a_missing_subcommand_is_answered_with_those_there_are() {
        let line = usage(&["cert"]);
        assert!(line.contains("ca, node"), "{line}");
    }

    #[test]
    fn flags_of_a_node_do_not_go_with_a_command() {
        usage(&["--engine", "raft", "status"]);
    }
}
