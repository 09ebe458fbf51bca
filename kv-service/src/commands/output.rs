//! Where results go: to standard output; notes go to standard error.
//!
//! On a terminal there are colours, unless `NO_COLOR` is set; in a pipe or a file there is the text alone.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::error::ServiceError;
use crate::telemetry::no_colour;

/// Writes a result. A reader that has seen enough and left (`| head`) is no error.
pub fn write(bytes: &[u8]) -> Result<(), ServiceError> {
    write_all(bytes).map(drop)
}

/// Writes a line of a result.
pub fn line(text: &str) -> Result<(), ServiceError> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a line of results that go on; returns whether anybody reads them still.
pub fn stream_line(text: &str) -> Result<bool, ServiceError> {
    write_all(format!("{text}\n").as_bytes())
}

fn write_all(bytes: &[u8]) -> Result<bool, ServiceError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true).map_err(ServiceError::io("cannot write the result")),
    }
}

/// Whether a person looks at the results.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether results are coloured.
pub fn coloured() -> bool {
    is_terminal() && !no_colour()
}
