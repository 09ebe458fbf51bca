//! When to stop: on Ctrl-C, on SIGTERM, or when whoever started this process is gone.
//!
//! A supervisor holds the other end of its child's standard input. When the supervisor ends, however violently, the
//! kernel closes that end and the child reads the end of its input: no signal to miss, no parent id to race with.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
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

/// Returns when this process is asked to stop. With `exit_with_parent`, the end of standard input asks for it too.
pub async fn requested(exit_with_parent: bool) -> Result<StopReason, ServiceError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::io("cannot listen for Ctrl-C"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::io("cannot listen for SIGTERM"))?;
    let (sender, parent_gone) = oneshot::channel();
    if exit_with_parent {
        // A thread of its own: a blocking read on the runtime would hold up the runtime's end.
        std::thread::spawn(move || {
            // Nothing is ever sent; the copy ends when the input does, or when it cannot be read any more.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            // Nobody waits any more if the process is stopping for another reason.
            let _ = sender.send(());
        });
    }
    tokio::select! {
        _ = interrupt.recv() => Ok(StopReason::Interrupt),
        _ = terminate.recv() => Ok(StopReason::Terminate),
        Ok(()) = parent_gone, if exit_with_parent => Ok(StopReason::ParentGone),
    }
}
