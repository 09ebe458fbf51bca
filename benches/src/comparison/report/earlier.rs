//! This run against an earlier one, figure by figure, where both have measured the same.

use super::data::{Data, Group, p50_us, p99_us, served_us};
use super::element::Element;
use super::page;
use super::stats::{Spread, Verdict};
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, several};
use crate::comparison::results::Results;

/// The section, if there is an earlier run.
pub(super) fn section(data: &Data<'_>, earlier: Option<&Results>) -> Option<Element> {
    let earlier = Data::of(earlier?);
    let (all, changes) = compared(data, &earlier);
    let then = &earlier.results.conditions;
    let text = format!(
        "Against the run of {} at commit {}: {} in common, {} of them changed.",
        then.began,
        then.commit,
        several(all.len(), "figure"),
        changes.len()
    );
    let section = page::section("earlier", "Against an earlier run").child(page::paragraph(&text));
    let section = if changes.is_empty() { section } else { section.child(changes.html()) };
    Some(section.child(all.folded()))
}

/// All figures that both have, and those that have changed.
fn compared(data: &Data<'_>, earlier: &Data<'_>) -> (Table, Table) {
    let head = ["experiment", "setting", "subject", "figure", "earlier", "now", "compared"];
    let mut all = Table::new("Medians and ranges of the rounds, then and now; the ratio is now to then.", &head);
    let mut changes = Table::new("Those that changed.", &head);
    for group in &data.groups {
        let same = |then: &&Group<'_>| then.experiment == group.experiment && then.setting == group.setting;
        let Some(then) = earlier.groups.iter().find(same) else { continue };
        for subject in &data.subjects {
            let Some(before) = earlier.subjects.iter().find(|known| known.name == subject.name) else { continue };
            for (name, was, is) in figures(then, before, group, subject) {
                let verdict = Verdict::of(Some(was), Some(is));
                let row = |table: &mut Table| {
                    table.row([
                        group.experiment.into(),
                        group.label().into(),
                        subject.into(),
                        name.into(),
                        Cell::spread(Unit::Time, Some(was)),
                        Cell::spread(Unit::Time, Some(is)),
                        verdict.into(),
                    ]);
                };
                row(&mut all);
                if verdict.differs() {
                    row(&mut changes);
                }
            }
        }
    }
    (all, changes)
}

/// All that both have.
fn figures(then: &Group<'_>, before: &Shown, now: &Group<'_>, subject: &Shown) -> Vec<(&'static str, Spread, Spread)> {
    let of_both = |was: Option<Spread>, is: Option<Spread>| was.zip(is);
    let load = [("p50", p50_us as fn(&_) -> f64), ("p99", p99_us)].map(|(name, of)| {
        let (was, is) = of_both(then.load(before, of), now.load(subject, of))?;
        Some((name, was, is))
    });
    let events = of_both(then.event(before, served_us), now.event(subject, served_us));
    let meanwhile =
        |group: &Group<'_>, subject: &Shown| Spread::of(group.meanwhiles(subject).map(|(_, load, _)| p99_us(load)));
    let meanwhile = of_both(meanwhile(then, before), meanwhile(now, subject));
    let events = events.map(|(was, is)| ("served", was, is));
    let meanwhile = meanwhile.map(|(was, is)| ("p99 meanwhile", was, is));
    load.into_iter().flatten().chain(events).chain(meanwhile).collect()
}
