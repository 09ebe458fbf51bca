//! Tables, written once and shown twice: on the page and in the summary.

use super::element::Element;
use super::stats::{Spread, Verdict};
use super::subjects::Shown;
use super::units::{self, Unit};

/// From how many rows on a table that only lists is folded away.
const LONG: usize = 30;

/// A table.
pub(super) struct Table {
    caption: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in one place of it.
pub(super) struct Cell {
    text: String,
    /// What stands behind it, smaller.
    note: String,
    class: &'static str,
    of: Option<Shown>,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, note: String::new(), class: "", of: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

impl From<&Shown> for Cell {
    fn from(subject: &Shown) -> Cell {
        Cell { of: Some(subject.clone()), class: "who", ..subject.name.clone().into() }
    }
}

impl From<Verdict> for Cell {
    fn from(verdict: Verdict) -> Cell {
        let class = match verdict {
            Verdict::Tie { .. } => "tie",
            Verdict::Differ { .. } => "differ",
            Verdict::TooFew => "few",
        };
        Cell { class, ..units::verdict(verdict).into() }
    }
}

impl Cell {
    /// A figure.
    pub(super) fn figure(text: impl Into<String>) -> Cell {
        Cell { class: "figure", ..text.into().into() }
    }

    /// A median with its range, or a dash.
    pub(super) fn spread(unit: Unit, spread: Option<Spread>) -> Cell {
        match spread {
            None => Cell::figure("–"),
            Some(spread) if unit.is_one(&spread) => Cell::figure(unit.show(spread.median)),
            Some(spread) => Cell { note: unit.range(&spread), ..Cell::figure(unit.show(spread.median)) },
        }
    }

    /// In the colours of a verdict.
    pub(super) fn class(mut self, class: &'static str) -> Cell {
        self.class = class;
        self
    }

    fn html(&self) -> Element {
        let cell = Element::new("td");
        let cell = if self.class.is_empty() { cell } else { cell.with("class", self.class) };
        let cell = match &self.of {
            Some(subject) => cell.child(subject.swatch()).text(" "),
            None => cell,
        };
        let cell = cell.text(&self.text);
        if self.note.is_empty() { cell } else { cell.text(" ").child(Element::new("small").text(&self.note)) }
    }

    fn markdown(&self) -> String {
        let text = if self.note.is_empty() { self.text.clone() } else { format!("{} ({})", self.text, self.note) };
        text.replace('|', "\\|").replace('\n', " ")
    }
}

impl Table {
    pub(super) fn new(caption: impl Into<String>, head: &[&'static str]) -> Table {
        Table { caption: caption.into(), head: head.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Without what was only repeated under another name.
    pub(super) fn originals(mut self) -> Table {
        let repeated = |cell: &Cell| cell.of.as_ref().is_some_and(|subject| subject.same_as.is_some());
        self.rows.retain(|row| !row.iter().any(repeated));
        self
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn html(&self) -> Element {
        let head = self.head.iter().map(|title| Element::new("th").with("scope", "col").text(title));
        let rows = (0..self.rows.len()).map(|row| Element::new("tr").children(self.cells(row)));
        let table = Element::new("table")
            .child(Element::new("caption").text(&self.caption))
            .child(Element::new("thead").child(Element::new("tr").children(head)))
            .child(Element::new("tbody").children(rows));
        Element::of("div", "table")
            .with("tabindex", "0")
            .with("role", "region")
            .with("aria-label", &self.caption)
            .child(table)
    }

    /// A row's cells. What stands at its beginning and is the same in rows below is said once, for all of them.
    fn cells(&self, row: usize) -> impl Iterator<Item = Element> {
        let cells = self.rows[row].iter().enumerate();
        cells.filter_map(move |(column, cell)| {
            if !self.is_shared(column) {
                return Some(cell.html());
            }
            let begins = row == 0 || !self.same(row - 1, row, column);
            let rows = (row..self.rows.len()).take_while(|other| self.same(row, *other, column)).count();
            begins.then(|| Element::new("th").with("scope", "rowgroup").with("rowspan", rows).text(&cell.text))
        })
    }

    /// Whether a column is among the plain ones at the beginning: those before the subject's.
    fn is_shared(&self, column: usize) -> bool {
        let who = self.rows.first().and_then(|row| row.iter().position(|cell| cell.of.is_some()));
        who.is_some_and(|who| column < who)
    }

    /// Whether two rows are the same up to a column.
    fn same(&self, row: usize, other: usize, column: usize) -> bool {
        (0..=column).all(|column| self.rows[row][column].text == self.rows[other][column].text)
    }

    /// Folded away where it is long.
    pub(super) fn folded(&self) -> Element {
        if self.rows.len() > LONG { self.details(&format!("All {} figures", self.rows.len())) } else { self.html() }
    }

    /// Folded away: what a figure shows, in figures.
    pub(super) fn details(&self, summary: &str) -> Element {
        Element::new("details").child(Element::new("summary").text(summary)).child(self.html())
    }

    pub(super) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = line(self.head.iter().map(|title| (*title).to_owned()).collect());
        let rule = line(vec!["---".to_owned(); self.head.len()]);
        let rows: String = self.rows.iter().map(|row| line(row.iter().map(Cell::markdown).collect())).collect();
        format!("{}\n\n{head}{rule}{rows}", self.caption)
    }
}
