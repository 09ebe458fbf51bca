//! How results look: lines, tables, colours. Results go to standard output, notes to standard error.
//!
//! On a terminal there are colours, unless `NO_COLOR` is set; in a pipe or a file there is the text alone.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::error::ServiceError;
use crate::telemetry::no_colour;

/// The longest value that a table shows whole, in characters.
const SHOWN_MAX: usize = 60;

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

/// Bytes as a person can read them: text as it is, anything else escaped.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Bytes as pairs of hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as a table shows it: readable, and no longer than fits.
pub fn shown(bytes: &[u8]) -> String {
    let text = readable(&bytes[..bytes.len().min(SHOWN_MAX * 4)]);
    let short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() == text.len() && bytes.len() <= SHOWN_MAX * 4 {
        text
    } else {
        format!("{short}… ({} bytes)", bytes.len())
    }
}

/// What a piece of text is meant to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing but itself.
    #[default]
    Plain,
    /// Look here.
    Strong,
    /// It is well.
    Good,
    /// Something is wrong.
    Bad,
    /// In the background.
    Dim,
}

impl Tone {
    /// The text in the colour of the tone, if there are colours.
    pub fn paint(self, text: &str, coloured: bool) -> String {
        let code = match self {
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Plain => return text.to_owned(),
        };
        if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in this tone.
    pub fn toned(text: impl ToString, tone: Tone) -> Cell {
        Cell { text: text.to_string(), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

/// A table. A column whose name begins with `>` stands to the right. A row may end early; then its last cell may be as
/// long as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: impl Into<Vec<&'static str>>) -> Table {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// The table as text, a line for each row.
    pub fn render(&self, coloured: bool) -> String {
        let mut widths: Vec<usize> =
            self.columns.iter().map(|name| name.trim_start_matches('>').chars().count()).collect();
        for row in &self.rows {
            let whole = row.len() == self.columns.len();
            for (at, cell) in row.iter().enumerate().take(if whole { row.len() } else { row.len().saturating_sub(1) }) {
                widths[at] = widths[at].max(cell.text.chars().count());
            }
        }
        let head: Vec<Cell> =
            self.columns.iter().map(|name| Cell::toned(name.trim_start_matches('>'), Tone::Dim)).collect();
        let lines = std::iter::once(&head).chain(&self.rows);
        lines.map(|row| self.line(row, &widths, coloured).trim_end().to_owned() + "\n").collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], coloured: bool) -> String {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[at].saturating_sub(cell.text.chars().count()));
            let painted = cell.tone.paint(&cell.text, coloured);
            let gap = if at == 0 { "" } else { "  " };
            line += gap;
            // No spaces at the end of a line.
            let last = at + 1 == row.len();
            line += &match (self.columns[at].starts_with('>'), last) {
                (true, _) if row.len() == self.columns.len() || !last => space + &painted,
                (_, true) => painted,
                (_, false) => painted + &space,
            };
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_escaped() {
        assert_eq!(readable("Grüße".as_bytes()), "Grüße");
        assert_eq!(readable(b"a\xff\n"), "a\\xff\\n");
    }

    #[test]
    fn a_long_value_is_cut_and_says_how_long_it_is() {
        assert_eq!(shown(b"short"), "short");
        let cut = shown(&[b'a'; 1000]);
        assert!(cut.starts_with("aaa") && cut.ends_with("… (1000 bytes)") && cut.chars().count() < 90, "{cut}");
        assert_eq!(shown(&[b'a'; 61]).chars().filter(|char| *char == 'a').count(), 60);
    }

    #[test]
    fn columns_are_as_wide_as_their_cells_but_for_the_last_of_a_short_row() {
        let mut table = Table::new(["name", ">count", "note"]);
        table.row(["a".into(), 100_000.into(), "x".into()]);
        table.row(["longer".into(), "something happened here that is long".into()]);
        assert_eq!(
            table.render(false),
            "name     count  note\na       100000  x\nlonger  something happened here that is long\n"
        );
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(["a", "b"]);
        table.row([Cell::toned("x", Tone::Good), "y".into()]);
        assert_eq!(table.render(true), "\x1b[2ma\x1b[0m  \x1b[2mb\x1b[0m\n\x1b[32mx\x1b[0m  y\n");
    }
}
