//! Tables with colours: columns as wide as their cells, and what a cell is meant to say.

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
