//! Results go to standard output, notes to standard error.

use std::io::{self, ErrorKind, Write};

use crate::error::ServiceError;

/// Writes a result. A reader that has seen enough and left (`| head`) is no error.
pub fn write(bytes: &[u8]) -> Result<(), ServiceError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(ServiceError::io("cannot write the result")),
    }
}

/// Writes a line of a result.
pub fn line(text: &str) -> Result<(), ServiceError> {
    write(format!("{text}\n").as_bytes())
}

/// Bytes as a person can read them: text as it is, anything else escaped.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_escaped() {
        assert_eq!(readable("Grüße".as_bytes()), "Grüße");
        assert_eq!(readable(b"a\xff\n"), "a\\xff\\n");
    }
}
