//! A command in a process group of its own, so that a signal reaches all that it has started.
//!
//! ```text
//!   terminal ── Ctrl-C, SIGTERM, … ──▶ kv-service lock ── the same signal ──▶ group ┬ sh
//!                                         │                                         ├ backup
//!                                         └─ lost: SIGTERM, 2 s later SIGKILL ──▶   └ gzip
//! ```
//!
//! A group that is not the terminal's own must not read from it, the kernel stops it if it does: where standard input is a
//! terminal, the command's is empty. What has left the group (`setsid`) is not reached, and nothing is where this process
//! itself is killed by SIGKILL: to have the kernel pass that on would take unsafe code between fork and exec.

use std::io::{self, IsTerminal};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};

/// How long a group has to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// How often is looked whether it has: the kernel tells the end of a child, not that of a child's child.
const GLANCE: Duration = Duration::from_millis(20);

/// A command that runs, with all that it has started.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    id: Pid,
    ended: bool,
}

impl Group {
    /// Starts the command as the leader of a new group.
    pub(super) fn spawn(mut command: Command) -> io::Result<Group> {
        if io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        let leader = command.process_group(0).spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let id = id.ok_or_else(|| io::Error::other("the command has no process id"))?;
        Ok(Group { leader, id, ended: false })
    }

    /// Waits for the command itself; what it has started and left behind is its own affair.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.leader.wait().await?;
        self.ended = true;
        Ok(status)
    }

    /// Sends a signal to all of the group. That nobody is left to receive it is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process_group(self.id, signal) {
            Err(Errno::SRCH) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Ends all of the group: asks for it, and after [`GRACE`] does not ask.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let id = self.id;
        let gone = async {
            self.wait().await?;
            while test_kill_process_group(id).is_ok() {
                tokio::time::sleep(GLANCE).await;
            }
            Ok(())
        };
        match tokio::time::timeout(GRACE, gone).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.signal(Signal::KILL)?;
                self.wait().await.map(drop)
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where nobody waits for it any more, it must not run on.
        if !self.ended {
            let _ = self.signal(Signal::KILL);
        }
    }
}

/// The signals that ask a process to end, to be passed on.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    quit: unix::Signal,
    /// Ctrl-Z would stop the one who keeps the lock and not the command that runs under it: it is caught, and means nothing.
    _suspend: unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            _suspend: signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    use tokio::process::ChildStdout;

    use super::*;

    /// A group that has printed a line. Its output ends when nobody of it is left.
    async fn group(script: &str) -> (Group, BufReader<ChildStdout>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let mut group = Group::spawn(command).unwrap();
        let mut out = BufReader::new(group.leader.stdout.take().unwrap());
        out.read_line(&mut String::new()).await.unwrap();
        (group, out)
    }

    #[tokio::test]
    async fn what_the_command_has_started_is_stopped_with_it() {
        let (group, mut out) = group("sleep 1000 & echo; wait").await;
        group.stop().await.unwrap();
        out.read_to_end(&mut Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_end_when_asked_is_killed() {
        let (group, mut out) = group("trap '' TERM; echo; while :; do sleep 1; done").await;
        group.stop().await.unwrap();
        out.read_to_end(&mut Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn a_signal_is_passed_on_as_what_it_is() {
        let (mut group, _out) = group("trap 'exit 42' INT; echo; while :; do sleep 0.05; done").await;
        group.signal(Signal::INT).unwrap();
        assert_eq!(group.wait().await.unwrap().code(), Some(42));
    }
}
