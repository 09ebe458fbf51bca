//! Logs: `tracing` events on standard error, for people or for machines. Standard output is for results.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::error::ServiceError;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, coloured on a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    level: String,
    format: LogFormat,
}

impl Telemetry {
    /// Checks the level: one word, or directives such as `info,replica=debug`.
    pub fn new(level: &str, format: LogFormat) -> Result<Telemetry, ServiceError> {
        // A filter would take a misspelt level for the name of a module, and log nothing at all.
        let known = level.split(',').all(|directive| {
            let word = directive.rsplit_once('=').map_or(directive, |(_, word)| word).trim();
            !word.is_empty() && word.parse::<LevelFilter>().is_ok()
        });
        if !known || EnvFilter::try_new(level).is_err() {
            return Err(ServiceError::BadWord {
                setting: "log-level",
                found: level.to_owned(),
                expected: "error, warn, info, debug or trace, or directives such as info,replica=debug",
            });
        }
        Ok(Telemetry { level: level.to_owned(), format })
    }

    /// Starts logging. The first call of a process wins.
    pub fn start(&self) {
        let colour = io::stderr().is_terminal() && !no_colour();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.level))
            .with_writer(io::stderr)
            .with_ansi(colour);
        let outcome = match self.format {
            LogFormat::Pretty => builder.try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        // Only a second start in one process fails, and then the first one's settings stand.
        drop(outcome);
    }
}

/// Whether the user wants no colours anywhere (see no-color.org).
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
