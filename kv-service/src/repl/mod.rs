//! `kv-service repl`: the commands of the command line at a prompt, or line by line out of a pipe.
//!
//! ```text
//!   terminal ─ editor ─┐
//!                      ├─ line ─▶ words ─▶ command ─▶ the functions of `commands`, at one desk
//!   pipe ─── lines ────┘
//! ```
//!
//! Writes are in a session, opened before the first of them and kept alive meanwhile: where the answer to one is lost, it is
//! sent again and carried out once. On a terminal Ctrl-C breaks off a command, and at the prompt the line; Ctrl-D leaves.
//! In a pipe a line that fails is reported with its number, the lines after it are carried out, and the exit status is 1.

mod command;
mod editor;
mod words;

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use futures_util::FutureExt;
use kv_client::ClientError;
use kv_client::protocol::StatusReply;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::commands::client::Connection;
use crate::commands::desk::Desk;
use crate::commands::nodes;
use crate::commands::output::coloured;
use crate::commands::table::Tone;
use crate::error::ServiceError;
use command::{ReplCommand, parse};
use editor::{LineEditor, Typed};

/// How long the prompt waits for the news that it shows.
const NEWS_TIMEOUT: Duration = Duration::from_millis(300);

/// Carries out what is typed until there is no more.
pub async fn run(connection: Connection) -> Result<(), ServiceError> {
    let desk = connection.desk()?.with_own_session();
    let outcome = if io::stdin().is_terminal() { at_a_terminal(&desk).await } else { from_a_pipe(&desk).await };
    desk.close().await;
    outcome
}

async fn at_a_terminal(desk: &Desk) -> Result<(), ServiceError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::io("cannot listen for Ctrl-C"))?;
    let colours = coloured();
    let mut editor = LineEditor::new(desk.client.clone(), colours)?;
    eprintln!("{}", banner(desk, desk.client.status(desk.timeout.min(Duration::from_secs(2))).await));
    loop {
        let prompt = prompt(desk.client.status(NEWS_TIMEOUT).await);
        let typed = tokio::task::block_in_place(|| editor.read(&prompt, &Tone::Strong.paint(&prompt, colours)))?;
        let outcome = match typed {
            Typed::Line(line) => match parse(&line) {
                Ok(Some(ReplCommand::Exit)) => break,
                Ok(Some(command)) => carry_out(command, desk, &mut interrupt).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            Typed::Nothing => Ok(()),
            Typed::End => break,
        };
        if let Err(error) = outcome {
            eprintln!("{} {error}", Tone::Bad.paint("✗", colours));
        }
    }
    if let Some(trouble) = editor.save() {
        eprintln!("kv-service: {trouble}");
    }
    Ok(())
}

/// Carries the command out, or breaks it off at Ctrl-C.
async fn carry_out(command: ReplCommand, desk: &Desk, interrupt: &mut Signal) -> Result<(), ServiceError> {
    forget_earlier(interrupt);
    let broken_off = command.broken_off();
    tokio::select! {
        outcome = command.run(desk) => outcome,
        _ = interrupt.recv() => {
            eprintln!();
            broken_off
        }
    }
}

/// A Ctrl-C that came when there was nothing to break off is not meant for the command that follows.
fn forget_earlier(interrupt: &mut Signal) {
    while let Some(Some(())) = interrupt.recv().now_or_never() {}
}

async fn from_a_pipe(desk: &Desk) -> Result<(), ServiceError> {
    let mut lines = lines_of_stdin();
    let (mut read, mut failed) = (0, 0);
    while let Some(line) = lines.recv().await {
        let line = line.map_err(ServiceError::io("cannot read the commands from standard input"))?;
        read += 1;
        let outcome = match parse(&line) {
            Ok(Some(ReplCommand::Exit)) => break,
            Ok(Some(command)) => command.run(desk).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            failed += 1;
            eprintln!("kv-service: line {read}: {error}");
        }
    }
    if failed == 0 { Ok(()) } else { Err(ServiceError::LinesFailed { failed, lines: read }) }
}

/// The lines of standard input, read by a thread of its own: whoever waits for a line must not hold up the session.
fn lines_of_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            // Nobody wants them after `exit`.
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn banner(desk: &Desk, status: Result<StatusReply, ClientError>) -> String {
    let said = match status {
        Ok(status) => format!(
            "{} cluster {} of {} members; node {} answers, a {}{}",
            status.engine,
            status.cluster_id,
            status.members.len(),
            status.node_id,
            nodes::role(status.role),
            status.leader_id.map_or_else(|| "; nobody leads".to_owned(), |leader| format!("; node {leader} leads")),
        ),
        Err(error) => format!("{} says nothing yet: {error}", desk.endpoints.join(", ")),
    };
    format!("{said}\n'help' lists the commands, Tab completes them, Ctrl-D leaves")
}

/// Who talks: the engine, the node that answers, and who leads.
fn prompt(status: Result<StatusReply, ClientError>) -> String {
    match status {
        Ok(status) => match status.leader_id {
            Some(leader) if leader == status.node_id => format!("{} node {leader}, leader> ", status.engine),
            Some(leader) => format!("{} node {}, leader {leader}> ", status.engine, status.node_id),
            None => format!("{} node {}, no leader> ", status.engine, status.node_id),
        },
        Err(_) => "no answer> ".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn an_interrupt_of_before_does_not_break_off_the_next_command() {
        let [mut interrupt, mut witness] = [(); 2].map(|()| signal(SignalKind::user_defined1()).unwrap());
        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-USR1", &own]).status().unwrap().success());
        witness.recv().await.unwrap();
        forget_earlier(&mut interrupt);
        assert!(interrupt.recv().now_or_never().is_none());
    }
}
