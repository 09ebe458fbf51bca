//! How far a command that takes a while has come: notes on standard error.
//!
//! ```text
//!   on a terminal             in a pipe
//!   ✓ node 4 is a learner     kv-service: node 4 is a learner
//!   … node 4 catches up, ▒    kv-service: node 4 catches up, 51234 entries behind       once, and again every ten seconds
//!   ✓ node 4 votes            kv-service: node 4 votes
//! ```
//!
//! On a terminal what is waited for is one line that is written over.

use std::io::{self, IsTerminal, Stderr, Write};
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use super::steps::Waits;

/// How often a pipe is told of something that goes on.
const REMINDER: Duration = Duration::from_secs(10);

/// A line that is written over must not be broken into two.
const LINE_CHARS_MAX: usize = 76;

/// Where a command's progress is told.
#[derive(Debug)]
pub(super) struct Progress<W: Write> {
    out: W,
    terminal: bool,
    /// What was told last to be waited for, and when.
    waits: Option<(Discriminant<Waits>, Instant)>,
}

impl Progress<Stderr> {
    /// On standard error.
    pub(super) fn on_stderr() -> Progress<Stderr> {
        Progress { out: io::stderr(), terminal: io::stderr().is_terminal(), waits: None }
    }
}

impl<W: Write> Progress<W> {
    /// A step is done.
    pub(super) fn done(&mut self, what: &str) {
        self.line("✓ ", what);
    }

    /// Something that should be known.
    pub(super) fn note(&mut self, what: &str) {
        self.line("! ", what);
    }

    /// Something is waited for.
    pub(super) fn waits(&mut self, waits: &Waits) {
        let (kind, now) = (discriminant(waits), Instant::now());
        if self.terminal {
            let text: String = waits.to_string().chars().take(LINE_CHARS_MAX).collect();
            self.write(&format!("\r\x1b[K… {text}"));
        } else if self.waits.is_none_or(|(told, at)| told != kind || now - at >= REMINDER) {
            self.write(&format!("kv-service: {waits}\n"));
        } else {
            return;
        }
        self.waits = Some((kind, now));
    }

    fn line(&mut self, mark: &str, text: &str) {
        self.clear();
        let mark = if self.terminal { mark } else { "kv-service: " };
        self.write(&format!("{mark}{text}\n"));
        self.waits = None;
    }

    /// Takes the line away that is written over.
    fn clear(&mut self) {
        if self.terminal && self.waits.is_some() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        // A note that nobody can read changes nothing.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut progress = Progress { out: &mut out, terminal, waits: None };
        progress.done("node 4 is a learner");
        for behind in [9000, 5000, 2000] {
            progress.waits(&Waits::Learner { id: 4, behind });
        }
        progress.waits(&Waits::Change);
        progress.done("node 4 votes");
        drop(progress);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_pipe_is_told_each_step_once() {
        assert_eq!(
            told(false),
            "kv-service: node 4 is a learner\n\
             kv-service: node 4 catches up, 9000 entries behind\n\
             kv-service: the change comes into force\n\
             kv-service: node 4 votes\n"
        );
    }

    #[test]
    fn a_terminal_sees_one_line_change_and_the_steps_stay() {
        let told = told(true);
        assert_eq!(told.matches('\n').count(), 2, "{told:?}");
        assert!(told.contains("\r\x1b[K… node 4 catches up, 2000 entries behind\r\x1b[K"), "{told:?}");
        assert!(told.ends_with("\r\x1b[K✓ node 4 votes\n"), "{told:?}");
    }
}
