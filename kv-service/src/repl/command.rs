//! What can be typed at the prompt.
//!
//! The parser is that of the command line: the same flags, the same help, the same "did you mean".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use kv_client::ClientError;

use super::words::words;
use crate::cli::one_line;
use crate::commands::client::Nothing;
use crate::commands::desk::Desk;
use crate::commands::keys::{self, CasArgs, DeleteArgs, GetArgs, ScanArgs, WriteArgs};
use crate::commands::members::{self, MembersArgs, MembersError};
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
    /// List the members of the cluster; add, promote, demote, remove, replace one
    Members(MembersArgs<Nothing>),
    /// Show how long every endpoint takes to answer
    Ping,
    /// Have a node start an election
    Prepare(NodeArgs),
    /// Hand leadership over
    Transfer(NodeArgs),
    /// Show what can be typed, or how a command is used
    Help {
        /// The command
        command: Vec<String>,
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
    /// What is to be said where it is broken off: whether it may have changed something.
    pub(super) fn broken_off(&self) -> Result<(), ServiceError> {
        use ReplCommand::{Append, Cas, Delete, Members, Prepare, Put, Transfer};
        match self {
            Members(arguments) if arguments.changes() => Err(MembersError::BrokenOff.into()),
            Put(_) | Append(_) | Delete(_) | Cas(_) | Prepare(_) | Transfer(_) => {
                Err(ClientError::Unknown { reason: "broken off".to_owned() }.into())
            }
            _ => Ok(()),
        }
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
            ReplCommand::Members(arguments) => members::run(arguments.split()?.0, desk).await,
            ReplCommand::Ping => nodes::ping(desk).await,
            ReplCommand::Prepare(arguments) => nodes::prepare(arguments, desk).await,
            ReplCommand::Transfer(arguments) => nodes::transfer(arguments, desk).await,
            ReplCommand::Help { command } => help(&command),
            ReplCommand::Exit => Ok(()),
        }
    }
}

/// The names of all commands, with what stands behind each: `("put", "<KEY> <VALUE>")`; those of a command of commands, as
/// `members add`, with both words.
pub(super) fn usages() -> Vec<(String, String)> {
    every_command().into_iter().map(|(name, command)| (name, usage(&command))).collect()
}

/// Every command, and behind it those that it has itself.
fn every_command() -> Vec<(String, clap::Command)> {
    let nested = |command: &clap::Command| {
        let name = command.get_name().to_owned();
        let inner = command.get_subcommands().map(|inner| (format!("{name} {}", inner.get_name()), inner.clone()));
        std::iter::once((name.clone(), command.clone())).chain(inner).collect::<Vec<_>>()
    };
    Line::command().get_subcommands().flat_map(nested).collect()
}

fn usage(command: &clap::Command) -> String {
    let words = command.get_positionals().map(|argument| {
        let name = argument.get_id().as_str().to_uppercase();
        if argument.is_required_set() { name } else { format!("[{name}]") }
    });
    let words: Vec<String> = words.chain(command.has_subcommands().then(|| "[COMMAND]".to_owned())).collect();
    words.join(" ")
}

fn help(of: &[String]) -> Result<(), ServiceError> {
    if !of.is_empty() {
        // The parser knows what a typo may have meant.
        return parse(&format!("{} --help", of.join(" "))).map(drop);
    }
    let mut table = Table::new(["command", "", ""]);
    for (name, command) in every_command() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        table.row([Cell::toned(name, Tone::Strong), usage(&command).into(), about.into()]);
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
        assert!(help(&["stauts".to_owned()]).unwrap_err().to_string().contains("'status'"));
    }

    #[test]
    fn a_typo_behind_members_is_answered_with_what_was_meant_there() {
        for (typo, meant) in
            [("ad", "'add'"), ("rmeove 2", "'remove'"), ("repalce 2 4", "'replace'"), ("gte", "promote")]
        {
            let line = refused(&format!("members {typo}"));
            assert!(line.contains(meant) && !line.contains("'get'"), "{line}");
        }
    }

    #[test]
    fn the_members_are_listed_or_changed() {
        let changes = |line: &str| match parse(line).unwrap() {
            Some(ReplCommand::Members(arguments)) => arguments.changes(),
            other => panic!("{other:?}"),
        };
        assert!(!changes("members"));
        let store = "5e1f20c8a94b4c0f8d7e6a5b4c3d2e1f";
        for line in [
            &format!("members add 4 127.0.0.1:7004 --store {store}")[..],
            "members add 4 127.0.0.1:7004 --store 5e --learner --timeout 60",
            "members promote 4",
            "members demote 4",
            "members remove 4",
            "members replace 2 4",
            "members replace 2 4 --address h:1 --store 5e",
        ] {
            assert!(changes(line), "{line}");
        }
        for (line, names) in [
            ("members add 4", "ADDRESS"),
            ("members add 4 h:1 --store xyz", "inspect"),
            ("members remove", "ID"),
            ("members remove four", "four"),
            ("members replace 2 4 --address h:1", "--store"),
            ("members promote 4 --timeout 0", "timeout"),
        ] {
            assert!(refused(line).contains(names), "{}", refused(line));
        }
        for line in ["members add 4 7004 --store 5e", "members replace 2 4 --address h:0 --store 5e"] {
            let Some(ReplCommand::Members(arguments)) = parse(line).unwrap() else { panic!("{line}") };
            let refused = arguments.split().map(drop).unwrap_err().to_string();
            assert!(refused.contains("host:port"), "{refused}");
        }
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
        assert!(usages.contains(&("members add".to_owned(), "ID ADDRESS".to_owned())), "{usages:?}");
    }
}
