//! The line that is being typed: editing, history, completion, hints.
//!
//! ```text
//!   raft node 1, leader 2> put config/ti▁meout VALUE
//!                              ├───────┤└ Tab: keys that begin so, as the node knows them
//!                                             └ in the background: what is still to come
//! ```

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use kv_client::protocol::{Consistency, MemberReply};
use kv_client::{HttpClient, ReadOptions, ScanRequest};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::runtime::Handle;

use super::command::usages;
use super::words::{quoted, words};
use crate::error::ServiceError;

/// How many lines are remembered.
const HISTORY_LINES_MAX: usize = 1000;
/// How many keys are offered.
const KEYS_MAX: u32 = 50;
/// Who presses Tab does not want to wait.
const KEYS_TIMEOUT: Duration = Duration::from_millis(300);
/// Half of it is for the leader.
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(600);

/// The commands whose first word is a key, or the beginning of one.
const KEY_COMMANDS: [&str; 8] = ["put", "get", "append", "delete", "cas", "scan", "kv", "watch"];

/// Reads lines from a terminal.
pub(super) struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

/// What came of it.
pub(super) enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C: never mind.
    Nothing,
    /// Ctrl-D.
    End,
}

impl LineEditor {
    /// An editor; keys are completed by asking this client.
    pub(super) fn new(client: HttpClient, coloured: bool) -> Result<LineEditor, ServiceError> {
        let failed = |error| terminal_failed(error);
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            // A line that begins with a space is not remembered, as in a shell.
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant { client, runtime: Handle::current(), usages: usages(), coloured }));
        let history = history_file();
        if let Some(history) = &history {
            // There is none the first time.
            let _ = editor.load_history(history);
        }
        Ok(LineEditor { editor, history })
    }

    /// Waits for the next line.
    pub(super) fn read(&mut self, plain: &str, coloured: &str) -> Result<Typed, ServiceError> {
        match self.editor.readline(&(plain, coloured)) {
            Ok(line) => {
                // Without memory of it the line is still a line.
                let _ = self.editor.add_history_entry(line.as_str());
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(terminal_failed(error)),
        }
    }

    /// Keeps the history for next time; returns why that cannot be.
    pub(super) fn save(&mut self) -> Option<String> {
        let history = self.history.as_ref()?;
        // The editor makes the file for its owner alone (0600).
        let saved = self.editor.append_history(history);
        saved.err().map(|error| format!("the history cannot be kept in {}: {error}", history.display()))
    }
}

fn terminal_failed(error: ReadlineError) -> ServiceError {
    ServiceError::io("cannot use the terminal")(std::io::Error::other(error))
}

/// `history` in the user's state directory, which is made if it is missing.
fn history_file() -> Option<PathBuf> {
    let dir = transport_quic::dev_certs::default_dir().ok()?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    Some(dir.join("history"))
}

/// Completes and hints.
struct Assistant {
    client: HttpClient,
    runtime: Handle,
    usages: Vec<(String, String)>,
    coloured: bool,
}

impl Assistant {
    /// The keys that begin so, as the node that is asked happens to know them; none where it does not answer at once.
    fn keys(&self, prefix: Vec<u8>) -> Vec<Vec<u8>> {
        let request = ScanRequest { prefix: Some(prefix.into()), limit: Some(KEYS_MAX), ..ScanRequest::default() };
        let options = ReadOptions { consistency: Consistency::Stale, timeout: KEYS_TIMEOUT };
        let page = self.runtime.block_on(self.client.scan(&request, options));
        page.map_or_else(|_| Vec::new(), |page| page.items.into_iter().map(|item| item.key.0.to_vec()).collect())
    }

    /// The members that the command may mean, those of them that begin so.
    fn members(&self, may_mean: fn(&MemberReply) -> bool, typed: &str) -> Vec<String> {
        let members = self.runtime.block_on(self.client.members(MEMBERS_TIMEOUT));
        let members = members.map_or_else(|_| Vec::new(), |reply| reply.members);
        let ids = members.iter().filter(|member| may_mean(member)).map(|member| member.id.to_string());
        ids.filter(|id| id.starts_with(typed)).map(|id| id + " ").collect()
    }

    /// The names of the commands that begin so; behind a command of commands, those of its own.
    fn names(&self, before: &str, typed: &str) -> Vec<String> {
        let within = before.strip_prefix("help").unwrap_or(before).trim();
        let own = self.usages.iter().filter_map(|(name, _)| match within {
            "" => Some(name.as_str()).filter(|name| !name.contains(' ')),
            within => name.strip_prefix(within)?.strip_prefix(' '),
        });
        own.filter(|name| name.starts_with(typed)).map(|name| format!("{name} ")).collect()
    }
}

/// Which members the next word may mean, behind these words; `None` where it means none.
fn members_meant(before: &str) -> Option<fn(&MemberReply) -> bool> {
    let words: Vec<&str> = before.split_whitespace().collect();
    match words[..] {
        ["transfer"] | ["members", "demote"] => Some(|member| member.voter),
        ["members", "promote"] | ["members", "replace", _] => Some(|member| !member.voter && !member.outgoing),
        ["prepare"] | ["members", "remove" | "replace"] => Some(|_| true),
        _ => None,
    }
}

/// Where the word that is being typed begins, and what of a line stands before it.
fn current(line: &str, at: usize) -> (usize, &str) {
    let typed = &line[..at];
    let start = typed.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    (start, typed[..start].trim())
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, before) = current(line, at);
        let typed = &line[start..at];
        let found: Vec<String> = match members_meant(before) {
            Some(may_mean) => self.members(may_mean, typed),
            None if KEY_COMMANDS.contains(&before) => match words(typed) {
                Ok(words) => self.keys(words.concat()).iter().map(|key| quoted(key)).collect(),
                Err(_) => Vec::new(),
            },
            None => self.names(before, typed),
        };
        Ok((start, found.into_iter().map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        if at < line.len() {
            return None;
        }
        // Of `members` and `members add` the longer one is meant.
        let known =
            self.usages.iter().filter_map(|(name, usage)| Some((line.strip_prefix(name)?.strip_prefix(' ')?, usage)));
        let (rest, usage) = known.min_by_key(|(rest, _)| rest.len())?;
        // The words that are still to come; the one that is being typed is not.
        let typed = rest.split_whitespace().count();
        let ended = rest.is_empty() || rest.ends_with(' ');
        let to_come: Vec<&str> = usage.split(' ').skip(typed).collect();
        let hint = to_come.join(" ");
        (!hint.is_empty()).then(|| if ended { hint } else { format!(" {hint}") })
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.coloured { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn assistant(runtime: &tokio::runtime::Runtime) -> Assistant {
        let client = HttpClient::new(["127.0.0.1:1"]).unwrap();
        Assistant { client, runtime: runtime.handle().clone(), usages: usages(), coloured: false }
    }

    #[test]
    fn commands_are_completed_and_behind_members_its_own() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let assistant = assistant(&runtime);
        assert_eq!(assistant.names("", "mem"), ["members "]);
        assert_eq!(assistant.names("members", "re"), ["remove ", "replace "]);
        assert_eq!(assistant.names("help members", "ad"), ["add "]);
        assert!(assistant.names("help", "").contains(&"put ".to_owned()));
        assert!(assistant.names("put", "").is_empty());
    }

    #[test]
    fn the_words_to_come_are_those_of_the_longest_command_that_was_typed() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (assistant, history) = (assistant(&runtime), FileHistory::new());
        let hint = |line: &str| assistant.hint(line, line.len(), &Context::new(&history));
        assert_eq!(hint("put "), Some("KEY VALUE".to_owned()));
        assert_eq!(hint("members "), Some("[COMMAND]".to_owned()));
        assert_eq!(hint("members add "), Some("ID ADDRESS".to_owned()));
        assert_eq!(hint("members add 4"), Some(" ADDRESS".to_owned()));
        assert_eq!(hint("members replace 2 "), Some("NEW".to_owned()));
    }

    #[test]
    fn behind_a_command_about_members_those_are_offered_that_it_may_mean() {
        for line in ["transfer", "prepare", "members promote", "members remove", "members replace 2"] {
            assert!(members_meant(line).is_some(), "{line}");
        }
        for line in ["", "put", "members", "members add", "members promote 4", "members replace 2 4"] {
            assert!(members_meant(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_word_at_the_cursor_is_found_with_what_stands_before_it() {
        assert_eq!(current("pu", 2), (0, ""));
        assert_eq!(current("put a", 5), (4, "put"));
        assert_eq!(current("put ", 4), (4, "put"));
        assert_eq!(current("put a b", 5), (4, "put"));
    }
}
