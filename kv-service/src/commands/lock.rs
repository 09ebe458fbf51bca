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
//! Where the lock is lost, the command is stopped with all that it has started (see `group`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};

use bytes::Bytes;
use clap::Args;
use kv_client::http::{Change, WatchRequest};
use kv_client::protocol::Consistency;
use kv_client::{HttpSession, ScanRequest, WriteOptions};
use tokio::process::Command;

use super::desk::Desk;
use super::group::{Group, Signals};
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
    let outcome = hold(&arguments, &prefix, &session, desk).await.map_err(|ended| match ended {
        Ended::Lost(reason) => ServiceError::LockLost { name: arguments.name.to_string_lossy().into_owned(), reason },
        Ended::Failed(error) => error,
    });
    // Releases the lock. Where this fails, the session ends by itself.
    let _ = session.close(desk.timeout).await;
    outcome
}

/// Why there is no exit status.
enum Ended {
    /// The lock is lost, or the place in its queue.
    Lost(String),
    /// Anything else.
    Failed(ServiceError),
}

impl<E: Into<ServiceError>> From<E> for Ended {
    fn from(error: E) -> Ended {
        Ended::Failed(error.into())
    }
}

async fn hold(arguments: &LockArgs, prefix: &Bytes, session: &HttpSession, desk: &Desk) -> Result<ExitCode, Ended> {
    let mut signals = Signals::catch().map_err(ServiceError::io("cannot listen for signals"))?;
    let mut lost = pin!(session.keep());
    let revision = tokio::select! {
        biased;
        reason = &mut lost => return Err(Ended::Lost(reason.to_string())),
        signal = signals.next() => return Ok(ended_by(signal.as_raw())),
        turn = turn(prefix, session, desk) => turn?,
    };
    let [program, rest @ ..] = &arguments.command[..] else {
        return Err(ServiceError::Usage("there is no command; name one after '--'".to_owned()).into());
    };
    let mut command = Command::new(program);
    command.args(rest).env("QUORATE_LOCK_REVISION", revision.to_string());
    let group = Group::spawn(command);
    let mut group = group.map_err(|source| ServiceError::NoSuchCommand { command: program.clone(), source })?;
    loop {
        tokio::select! {
            status = group.wait() => return Ok(exit_code(status.map_err(ServiceError::io("cannot wait for the command"))?)),
            signal = signals.next() => group.signal(signal).map_err(ServiceError::io("cannot signal the command"))?,
            reason = &mut lost => {
                group.stop().await.map_err(ServiceError::io("the lock is lost, and the command cannot be stopped"))?;
                return Err(Ended::Lost(reason.to_string()));
            }
        }
    }
}

/// Waits for its turn; returns the revision at which its key was created.
async fn turn(prefix: &Bytes, session: &HttpSession, desk: &Desk) -> Result<u64, Ended> {
    let key: Bytes = [prefix, session.id().as_bytes()].concat().into();
    let options = WriteOptions { ephemeral: true, timeout: desk.timeout, ..WriteOptions::default() };
    let own = session.put(&key, holder().into(), options).await?.revision;
    let request = ScanRequest { prefix: Some(prefix.clone()), ..ScanRequest::default() };
    let mut scan = desk.client.scan_all(request, desk.read(Consistency::Linearizable));
    let mut queue = Queue { own: key.clone(), before: BTreeSet::new() };
    // From the first page on, so that what vanishes between two pages is seen to vanish.
    let mut seen_at = None;
    while let Some(item) = scan.next().await? {
        seen_at = seen_at.or(Some(scan.revision()));
        if item.create_revision < own {
            queue.before.insert(item.key.0);
        }
    }
    if !queue.before.is_empty() {
        eprintln!("kv-service: waiting for the lock; {} before", queue.before.len());
        let from_revision = seen_at.map(|revision| revision + 1);
        let request = WatchRequest { prefix: prefix.clone(), from_revision, timeout: desk.timeout };
        let mut watch = desk.client.watch(request).await?;
        while !queue.before.is_empty() {
            queue.follow(&watch.next().await?)?;
        }
    }
    // Whoever slept meanwhile for longer than the time to live has lost its place, whatever it has seen: the last word before
    // the command starts is the cluster's, of now.
    let found = desk.client.get(&key, desk.read(Consistency::Linearizable)).await?;
    if found.is_some_and(|found| found.mod_revision == own) { Ok(own) } else { Err(place_lost()) }
}

/// Who stands before whom.
#[derive(Debug)]
struct Queue {
    own: Bytes,
    before: BTreeSet<Bytes>,
}

impl Queue {
    /// Takes a change in; an error where the own place is gone.
    fn follow(&mut self, change: &Change) -> Result<(), Ended> {
        let Change::Delete(deleted) = change else { return Ok(()) };
        self.before.remove(&deleted.key.0);
        if deleted.key.0 == self.own { Err(place_lost()) } else { Ok(()) }
    }
}

fn place_lost() -> Ended {
    Ended::Lost("its place in the queue was gone before its turn, so the command was not started".to_owned())
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

    use kv_client::protocol::DeleteEvent;

    use super::*;

    #[test]
    fn whoever_sees_its_own_key_vanish_has_lost_its_place_though_nobody_stands_before_it() {
        let delete = |key: &'static str| Change::Delete(DeleteEvent { revision: 9, key: key.into() });
        let mut queue = Queue { own: "locks/n/b".into(), before: [Bytes::from("locks/n/a")].into() };
        assert!(queue.follow(&delete("locks/n/c")).is_ok());
        assert!(queue.follow(&delete("locks/n/a")).is_ok() && queue.before.is_empty());
        assert!(matches!(queue.follow(&delete("locks/n/b")), Err(Ended::Lost(_))));
    }

    #[test]
    fn the_queue_of_a_lock_has_no_name_in_common_with_another() {
        assert_eq!(prefix_of(&"a".into()).unwrap(), "locks/a/");
        assert!(prefix_of(&"a/b".into()).is_err() && prefix_of(&"".into()).is_err());
    }
}
