//! `lock NAME -- COMMAND`: runs a command while no other holds the lock of that name.
//!
//! ```text
//!   locks/NAME/1f…  created at revision 7    ◀─ holds it: nobody stands before it
//!   locks/NAME/a0…  created at revision 9    ◀─ waits until 7 is gone
//!   locks/NAME/33…  created at revision 12   ◀─ waits until 7 and 9 are gone
//! ```
//!
//! Whoever wants the lock puts an ephemeral key of its own and has its turn when those created before it are gone: released,
//! or ended with a session that nobody kept alive. So the lock is fair, and no crash leaves it held. It is a lease and not a
//! guarantee: a command that is paused for longer than the time to live runs on for a moment while the next one begins. What
//! must not happen twice takes `QUORATE_LOCK_REVISION` along, which grows from holder to holder, and refuses a smaller one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use bytes::Bytes;
use clap::Args;
use kv_client::http::{Change, WatchRequest};
use kv_client::protocol::Consistency;
use kv_client::{HttpSession, ScanRequest, WriteOptions};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::desk::Desk;
use super::session::Life;
use crate::error::ServiceError;

/// Which lock, and what is done under it.
#[derive(Args, Clone, Debug)]
pub struct LockArgs {
    /// The lock's name
    name: OsString,
    /// How soon others take the lock for free when this process is gone.
    #[command(flatten)]
    life: Life,
    /// The command, after '--'
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command under the lock, and returns its exit status.
pub async fn run(arguments: LockArgs, desk: &Desk) -> Result<ExitCode, ServiceError> {
    let prefix = prefix_of(&arguments.name)?;
    let session = desk.client.open_session(arguments.life.duration(), desk.timeout).await?;
    let outcome = tokio::select! {
        outcome = hold(&arguments, &prefix, &session, desk) => outcome,
        lost = session.keep() => Err(lost_lock(&arguments, &lost)),
    };
    // Releases the lock. Where this fails, the session ends by itself.
    let _ = session.close(desk.timeout).await;
    outcome
}

async fn hold(
    arguments: &LockArgs,
    prefix: &Bytes,
    session: &HttpSession,
    desk: &Desk,
) -> Result<ExitCode, ServiceError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::io("cannot listen for Ctrl-C"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::io("cannot listen for SIGTERM"))?;
    let revision = tokio::select! {
        turn = turn(prefix, session, desk) => turn?,
        _ = interrupt.recv() => return Ok(ended_by(SignalKind::interrupt().as_raw_value())),
        _ = terminate.recv() => return Ok(ended_by(SignalKind::terminate().as_raw_value())),
    };
    let [program, rest @ ..] = &arguments.command[..] else {
        return Err(ServiceError::Usage("there is no command; name one after '--'".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(rest).env("QUORATE_LOCK_REVISION", revision.to_string());
    // Where the lock is lost, this future is dropped, and the command must not run on.
    let spawned = command.kill_on_drop(true).spawn();
    let mut child = spawned.map_err(|source| ServiceError::NoSuchCommand { command: program.clone(), source })?;
    loop {
        // Ctrl-C reaches the command by itself, being of the same terminal; it ends when it likes.
        tokio::select! {
            status = child.wait() => {
                return status.map(exit_code).map_err(ServiceError::io("cannot wait for the command"));
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.start_kill().map_err(ServiceError::io("cannot stop the command"))?,
        }
    }
}

/// Waits for its turn; returns the revision at which its key was created.
async fn turn(prefix: &Bytes, session: &HttpSession, desk: &Desk) -> Result<u64, ServiceError> {
    let key = [prefix, session.id().as_bytes()].concat();
    let options = WriteOptions { ephemeral: true, timeout: desk.timeout, ..WriteOptions::default() };
    let own = session.put(&key, holder().into(), options).await?.revision;
    let request = ScanRequest { prefix: Some(prefix.clone()), ..ScanRequest::default() };
    let mut scan = desk.client.scan_all(request, desk.read(Consistency::Linearizable));
    let mut before = BTreeSet::new();
    // From the first page on, so that what vanishes between two pages is seen to vanish.
    let mut seen_at = None;
    while let Some(item) = scan.next().await? {
        seen_at = seen_at.or(Some(scan.revision()));
        if item.create_revision < own {
            before.insert(item.key.0);
        }
    }
    if before.is_empty() {
        return Ok(own);
    }
    eprintln!("kv-service: waiting for the lock; {} before", before.len());
    let from_revision = seen_at.map(|revision| revision + 1);
    let request = WatchRequest { prefix: prefix.clone(), from_revision, timeout: desk.timeout };
    let mut watch = desk.client.watch(request).await?;
    while !before.is_empty() {
        if let Change::Delete(deleted) = watch.next().await? {
            before.remove(&deleted.key.0);
        }
    }
    Ok(own)
}

/// `locks/NAME/`. A name with a slash could be another lock's queue.
fn prefix_of(name: &OsString) -> Result<Bytes, ServiceError> {
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return Err(ServiceError::Usage("a lock's name has at least one byte and no '/'; choose another".to_owned()));
    }
    Ok([b"locks/", &name.clone().into_vec()[..], b"/"].concat().into())
}

/// Who holds it, for people who list the keys.
fn holder() -> String {
    format!("process {}", std::process::id())
}

fn lost_lock(arguments: &LockArgs, reason: &impl ToString) -> ServiceError {
    ServiceError::LockLost { name: arguments.name.to_string_lossy().into_owned(), reason: reason.to_string() }
}

/// What a shell makes of an end: the command's own status, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        // The cast is exact: an exit status has eight bits.
        (Some(code), _) => ExitCode::from(code as u8),
        (None, Some(signal)) => ended_by(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

fn ended_by(signal: i32) -> ExitCode {
    // The cast is exact: there are 64 signals.
    ExitCode::from(128_u8.saturating_add(signal as u8))
}

/// A command that cannot be run, as a shell says it.
pub fn exit_status_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_queue_of_a_lock_has_no_name_in_common_with_another() {
        assert_eq!(prefix_of(&"a".into()).unwrap(), "locks/a/");
        assert!(prefix_of(&"a/b".into()).is_err() && prefix_of(&"".into()).is_err());
    }
}
