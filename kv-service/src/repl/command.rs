//! What can be typed at the prompt.
//!
//! The parser is that of the command line: the same flags, the same help, the same "did you mean".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::words::words;
use crate::cli::one_line;
use crate::commands::desk::Desk;
use crate::commands::keys::{self, CasArgs, DeleteArgs, GetArgs, ScanArgs, WriteArgs};
use crate::commands::nodes::{self, NodeArgs};
use crate::commands::output;
use crate::commands::table::{Cell, Table, Tone};
use crate::commands::watch::{self, WatchArgs};
use crate::error::ServiceError;

/// A line.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true, disable_help_flag = false)]
struct Line {
    #[command(subcommand)]
    command: ReplCommand,
}

/// What a line can ask for.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ReplCommand {
    /// Set a key's value
    Put(WriteArgs),
    /// Print a key's value
    Get(GetArgs),
    /// Append to a key's value
    Append(WriteArgs),
    /// Remove a key
    Delete(DeleteArgs),
    /// Set a key's value if it has another one that you give
    Cas(CasArgs),
    /// List keys and values
    Scan(ScanArgs),
    /// List keys without values: how long they are, how often and when they were written
    Kv(ScanArgs),
    /// Print every change as it happens, until Ctrl-C
    Watch(WatchArgs),
    /// Show how every endpoint's node stands
    Status,
    /// Show what the log looks like at every endpoint's node
    Log,
    /// List the members of the cluster
    Members,
    /// Show how long every endpoint takes to answer
    Ping,
    /// Have a node start an election
    Prepare(NodeArgs),
    /// Hand leadership over
    Transfer(NodeArgs),
    /// Show what can be typed, or how a command is used
    Help {
        /// The command
        command: Option<String>,
    },
    /// Leave; so does Ctrl-D
    #[command(visible_alias = "quit")]
    Exit,
}

/// What a line says; `None` where it says nothing.
pub(super) fn parse(line: &str) -> Result<Option<ReplCommand>, ServiceError> {
    let words = words(line).map_err(|error| ServiceError::Usage(error.to_string()))?;
    if words.is_empty() {
        return Ok(None);
    }
    match Line::try_parse_from(words.into_iter().map(OsString::from_vec)) {
        Ok(line) => Ok(Some(line.command)),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            output::write(error.render().to_string().as_bytes()).map(|()| None)
        }
        Err(error) => Err(ServiceError::Usage(one_line(&error, &Line::command(), "help"))),
    }
}

impl ReplCommand {
    /// Whether it may have changed something when it is broken off.
    pub(super) fn writes(&self) -> bool {
        use ReplCommand::{Append, Cas, Delete, Prepare, Put, Transfer};
        matches!(self, Put(_) | Append(_) | Delete(_) | Cas(_) | Prepare(_) | Transfer(_))
    }

    /// Does it. (`exit` does nothing here.)
    pub(super) async fn run(self, desk: &Desk) -> Result<(), ServiceError> {
        match self {
            ReplCommand::Put(arguments) => keys::put(arguments, desk).await,
            ReplCommand::Get(arguments) => keys::get(arguments, desk).await,
            ReplCommand::Append(arguments) => keys::append(arguments, desk).await,
            ReplCommand::Delete(arguments) => keys::delete(arguments, desk).await,
            ReplCommand::Cas(arguments) => keys::cas(arguments, desk).await,
            ReplCommand::Scan(arguments) => keys::scan(arguments, desk).await,
            ReplCommand::Kv(arguments) => keys::kv(arguments, desk).await,
            ReplCommand::Watch(arguments) => watch::watch(arguments, desk).await,
            ReplCommand::Status => nodes::status(desk).await,
            ReplCommand::Log => nodes::log(desk).await,
            ReplCommand::Members => nodes::members(desk).await,
            ReplCommand::Ping => nodes::ping(desk).await,
            ReplCommand::Prepare(arguments) => nodes::prepare(arguments, desk).await,
            ReplCommand::Transfer(arguments) => nodes::transfer(arguments, desk).await,
            ReplCommand::Help { command } => help(command.as_deref()),
            ReplCommand::Exit => Ok(()),
        }
    }
}

/// The names of all commands, with what stands behind each: `("put", "<KEY> <VALUE>")`.
pub(super) fn usages() -> Vec<(String, String)> {
    let usage = |command: &clap::Command| {
        let name = command.get_name().to_owned();
        let words = command.get_positionals().map(|argument| {
            let name = argument.get_id().as_str().to_uppercase();
            if argument.is_required_set() { name } else { format!("[{name}]") }
        });
        (name, words.collect::<Vec<_>>().join(" "))
    };
    Line::command().get_subcommands().map(usage).collect()
}

fn help(of: Option<&str>) -> Result<(), ServiceError> {
    let mut line = Line::command();
    if let Some(name) = of {
        // The parser knows what a typo may have meant.
        return parse(&format!("{name} --help")).map(drop);
    }
    let mut table = Table::new(["command", "", ""]);
    for ((name, usage), command) in usages().into_iter().zip(line.get_subcommands_mut()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        table.row([Cell::toned(name, Tone::Strong), usage.into(), about.into()]);
    }
    output::write(table.render(output::coloured()).as_bytes())?;
    output::line(
        "\nWords are parted by spaces; \"…\" and '…' hold them together, \\xNN is any byte. 'help put' says more of put.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(line: &str) -> String {
        let error = parse(line).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn the_commands_contradict_themselves_nowhere() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_typo_is_answered_with_what_was_meant() {
        assert!(refused("gte a").contains("'get'"), "{}", refused("gte a"));
        assert!(refused("stauts").contains("'status'"));
        assert!(refused("put a b --if-absnt").contains("--if-absent"));
        assert!(help(Some("stauts")).unwrap_err().to_string().contains("'status'"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refused("put a").contains("VALUE"));
        assert!(refused("put \"a").contains("has no end"));
    }

    #[test]
    fn an_empty_line_and_a_comment_say_nothing() {
        assert!(parse("").unwrap().is_none() && parse("  # why").unwrap().is_none());
    }

    #[test]
    fn a_value_may_look_like_a_flag_or_be_any_bytes() {
        let Some(ReplCommand::Put(write)) = parse(r#"put \xff "-1""#).unwrap() else { panic!("no put") };
        assert_eq!((write.key.into_vec(), write.value.into_vec()), (vec![0xff], b"-1".to_vec()));
    }

    #[test]
    fn both_words_for_leaving_are_understood() {
        for word in ["exit", "quit"] {
            assert!(matches!(parse(word).unwrap(), Some(ReplCommand::Exit)));
        }
    }

    #[test]
    fn usages_say_what_stands_behind_a_command() {
        let usages = usages();
        assert!(usages.contains(&("put".to_owned(), "KEY VALUE".to_owned())), "{usages:?}");
        assert!(usages.contains(&("scan".to_owned(), "[PREFIX]".to_owned())), "{usages:?}");
    }
}
