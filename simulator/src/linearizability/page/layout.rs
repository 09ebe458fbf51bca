//! Where each bar of a page stands: columns are the distinct moments of the history, rows the lanes of its clients.

use std::collections::BTreeMap;

use super::super::{Operation, Outcome};

/// An operation's bar, in columns.
pub(super) struct Bar {
    pub(super) operation: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Bars of one client that do not overlap.
pub(super) struct Row {
    pub(super) client: u64,
    /// Whether it is the first of this client.
    pub(super) is_first: bool,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Layout {
    /// Every moment when something is called or returns. A moment takes two columns, so that a bar of one moment is
    /// still a bar, and two that touch at one moment are seen to overlap.
    moments: Vec<u64>,
    pub(super) columns: usize,
    pub(super) rows: Vec<Row>,
}

impl Layout {
    pub(super) fn of(history: &[Operation], drawn: &[usize]) -> Layout {
        let mut moments: Vec<u64> =
            drawn.iter().flat_map(|at| [Some(history[*at].call), end(&history[*at])]).flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        let columns = 2 * moments.len() + 1;
        let mut layout = Layout { moments, columns, rows: Vec::new() };
        let mut by_client: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for &at in drawn {
            by_client.entry(history[at].client).or_default().push(at);
        }
        for (client, mut operations) in by_client {
            operations.sort_by_key(|at| (history[*at].call, *at));
            layout.add_client(history, client, &operations);
        }
        layout
    }

    /// Where an operation's return stands, if it is drawn and returns.
    pub(super) fn column_of_return(&self, operation: &Operation) -> Option<usize> {
        self.moments.binary_search(&operation.returned?).ok().map(|at| 2 * at + 1)
    }

    /// A client whose operation never returned goes on in another row.
    fn add_client(&mut self, history: &[Operation], client: u64, operations: &[usize]) {
        let mut rows: Vec<Row> = Vec::new();
        for &operation in operations {
            let bar = self.bar(history, operation);
            let free = rows.iter_mut().find(|row| row.bars.last().is_none_or(|last| last.to <= bar.from));
            match free {
                Some(row) => row.bars.push(bar),
                None => rows.push(Row { client, is_first: rows.is_empty(), bars: vec![bar] }),
            }
        }
        self.rows.extend(rows);
    }

    fn bar(&self, history: &[Operation], operation: usize) -> Bar {
        let place = |moment: u64| self.moments.partition_point(|other| *other < moment);
        let to = end(&history[operation]).map_or(self.columns, |moment| 2 * place(moment) + 1);
        Bar { operation, from: 2 * place(history[operation].call), to }
    }
}

/// Until when it may have taken effect. A bar without an end goes on to the edge.
fn end(operation: &Operation) -> Option<u64> {
    if operation.outcome == Outcome::Unknown { None } else { operation.returned }
}
