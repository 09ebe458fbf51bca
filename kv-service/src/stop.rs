//! When to stop: on Ctrl-C, on SIGTERM, or when whoever started this process is gone.
//!
//! A supervisor holds the other end of its child's standard input. When the supervisor ends, however violently, the
//! kernel closes that end and the child reads the end of its input: no signal to miss, no parent id to race with.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::error::ServiceError;

/// Why a process is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// Standard input has ended.
    ParentGone,
}

/// Waits for whatever asks this process to stop.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// Until it has ended, or where it does not count.
    parent: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. With `exit_with_parent`, the end of standard input asks for it too.
    ///
    /// # Errors
    /// Where the system lets nobody listen.
    pub fn listen(exit_with_parent: bool) -> Result<Stop, ServiceError> {
        let interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::io("cannot listen for Ctrl-C"))?;
        let terminate = signal(SignalKind::terminate()).map_err(ServiceError::io("cannot listen for SIGTERM"))?;
        Ok(Stop { interrupt, terminate, parent: exit_with_parent.then(end_of_input) })
    }

    /// Returns when this process is asked to stop; called again, when it is asked again. A call that is dropped before it
    /// returns loses nothing.
    pub async fn requested(&mut self) -> StopReason {
        let Stop { interrupt, terminate, parent } = self;
        let parent_gone = async {
            match parent {
                // Its sender ends only by sending.
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            _ = interrupt.recv() => StopReason::Interrupt,
            _ = terminate.recv() => StopReason::Terminate,
            () = parent_gone => StopReason::ParentGone,
        };
        if reason == StopReason::ParentGone {
            self.parent = None;
        }
        reason
    }
}

/// Returns when this process is asked to stop; for whoever does not ask twice.
///
/// # Errors
/// As [`Stop::listen`].
pub async fn requested() -> Result<StopReason, ServiceError> {
    Ok(Stop::listen(false)?.requested().await)
}

fn end_of_input() -> oneshot::Receiver<()> {
    let (sender, ended) = oneshot::channel();
    // A thread of its own: a blocking read on the runtime would hold up the runtime's end.
    std::thread::spawn(move || {
        // Nothing is ever sent; the copy ends when the input does, or when it cannot be read any more.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Nobody waits any more if the process is stopping for another reason.
        let _ = sender.send(());
    });
    ended
}
