//! Server-sent events (HTML standard §9.2.6), out of bytes that arrive in any pieces.
//!
//! ```text
//!   id: 7                     ┐
//!   event: put                │ one event, ended by an empty line
//!   data: {"revision":7,…}    │ several data lines are joined by line feeds
//!                             ┘
//!   : still here                a comment, which only shows that the connection lives
//! ```

/// The longest event that is taken, in bytes.
const EVENT_BYTES_MAX: usize = 32 << 20;

/// One event; what stood on its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// The event is too long, or not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event has more than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("an event is not UTF-8")]
    NotText,
}

/// What has arrived and is not a whole event yet.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    bytes: Vec<u8>,
    /// Lines begin from here on.
    line: usize,
    /// No line ends before here.
    searched: usize,
    /// The last line ended with a carriage return: a line feed that follows belongs to that end.
    after_return: bool,
    event: SseEvent,
    has_data: bool,
}

impl SseParser {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.line);
        self.searched -= self.line;
        self.line = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole event; `None` until more bytes come.
    pub(crate) fn next(&mut self) -> Result<Option<SseEvent>, SseError> {
        while let Some(end) = self.line_end() {
            let line = std::str::from_utf8(&self.bytes[self.line..end]).map_err(|_| SseError::NotText)?.to_owned();
            self.after_return = self.bytes[end] == b'\r';
            self.line = end + 1;
            self.searched = self.line;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        if self.bytes.len() - self.line > EVENT_BYTES_MAX { Err(SseError::TooLong) } else { Ok(None) }
    }

    /// Where the next line ends.
    fn line_end(&mut self) -> Option<usize> {
        if self.after_return && self.line < self.bytes.len() {
            self.after_return = false;
            if self.bytes[self.line] == b'\n' {
                self.line += 1;
                self.searched = self.line;
            }
        }
        let found = self.bytes[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let end = found.map(|at| self.searched + at);
        self.searched = end.unwrap_or(self.bytes.len());
        end
    }

    fn field(&mut self, line: &str) -> Result<(), SseError> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments have no name; the id is in the data too, and how long to wait is for the client to say.
            _ => {}
        }
        if self.event.data.len() > EVENT_BYTES_MAX { Err(SseError::TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(parser: &mut SseParser) -> Vec<(String, String)> {
        std::iter::from_fn(|| parser.next().unwrap()).map(|event| (event.name, event.data)).collect()
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    const STREAM: &str = "id: 7\nevent: put\ndata: {\"a\":1}\n\n: still here\n\nevent:delete\r\ndata:x\r\ndata: y\r\n\r\n\
                          event: put\rdata: Grüße\r\rdata\n\n";

    fn expected() -> Vec<(String, String)> {
        vec![event("put", "{\"a\":1}"), event("delete", "x\ny"), event("put", "Grüße"), event("", "")]
    }

    #[test]
    fn events_are_found_whatever_ends_their_lines() {
        let mut parser = SseParser::default();
        parser.push(STREAM.as_bytes());
        assert_eq!(all(&mut parser), expected());
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = SseParser::default();
            let mut events = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                parser.push(piece);
                events.extend(all(&mut parser));
            }
            assert_eq!(events, expected(), "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_that_was_cut_off_is_none() {
        let mut parser = SseParser::default();
        parser.push(b"event: put\ndata: {}\n");
        assert_eq!(parser.next(), Ok(None));
    }

    #[test]
    fn what_is_too_long_or_no_text_is_an_error_and_not_kept() {
        let mut parser = SseParser::default();
        parser.push(&vec![b'a'; EVENT_BYTES_MAX + 1]);
        assert_eq!(parser.next(), Err(SseError::TooLong));
        let mut parser = SseParser::default();
        parser.push(b"data: \xff\n\n");
        assert_eq!(parser.next(), Err(SseError::NotText));
    }
}
