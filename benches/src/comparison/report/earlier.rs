//! This run against an earlier one, figure by figure, where both have measured the same.

use std::collections::BTreeSet;

use super::data::{Data, Group, p50_us, p99_us, served_us};
use super::element::Element;
use super::page;
use super::stats::{Spread, Verdict};
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, several};
use crate::comparison::plan::Plan;
use crate::comparison::results::Results;

/// The section, if there is an earlier run.
pub(super) fn section(data: &Data<'_>, earlier: Option<&Results>) -> Option<Element> {
    let earlier = Data::of(earlier?);
    let Compared { all, changes, left_out } = compared(data, &earlier);
    let then = &earlier.results.conditions;
    let text = format!(
        "Against the run of {} at commit {}: {} in common, {} of them changed.",
        then.began,
        then.commit,
        several(all.len(), "figure"),
        changes.len()
    );
    let section = page::section("earlier", "Against an earlier run").child(page::paragraph(&text));
    let section = if left_out.is_empty() {
        section
    } else {
        let names = left_out.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("Left out, because the two plans define them differently: {names}.");
        section.child(Element::of("p", "note").text(text))
    };
    let section = if changes.is_empty() { section } else { section.child(changes.html()) };
    Some(section.child(all.folded()))
}

/// Then and now.
struct Compared {
    /// All figures that both have.
    all: Table,
    /// Those that have changed.
    changes: Table,
    /// What has the same name in both and is not the same.
    left_out: BTreeSet<String>,
}

/// What the two plans mean by the same names; what stands in neither is built in.
struct Plans<'p>(&'p Plan, &'p Plan);

impl Plans<'_> {
    fn agree<T: PartialEq>(&self, of: impl Fn(&Plan) -> T) -> bool {
        of(self.0) == of(self.1)
    }

    /// An experiment as it would be left out, if it must be.
    fn other_experiment(&self, name: &str) -> Option<String> {
        let Plans(then, now) = self;
        let agree = then.curves.iter().filter(|e| e.name == name).eq(now.curves.iter().filter(|e| e.name == name))
            && then.failovers.iter().filter(|e| e.name == name).eq(now.failovers.iter().filter(|e| e.name == name))
            && then.partitions.iter().filter(|e| e.name == name).eq(now.partitions.iter().filter(|e| e.name == name))
            && then.meanwhiles.iter().filter(|e| e.name == name).eq(now.meanwhiles.iter().filter(|e| e.name == name));
        (!agree).then(|| format!("experiment \"{name}\""))
    }

    fn other_network(&self, name: &str) -> Option<String> {
        (!self.agree(|plan| plan.network(name))).then(|| format!("network \"{name}\""))
    }

    fn other_subject(&self, name: &str) -> Option<String> {
        let subject = |plan: &Plan| plan.subjects.iter().find(|subject| subject.name == name).cloned();
        (!self.agree(subject)).then(|| format!("subject \"{name}\""))
    }
}

fn compared(data: &Data<'_>, earlier: &Data<'_>) -> Compared {
    let plans = Plans(&earlier.results.plan, &data.results.plan);
    let mut left_out = BTreeSet::new();
    let head = ["experiment", "setting", "subject", "figure", "earlier", "now", "compared"];
    let mut all = Table::new("Medians and ranges of the rounds, then and now; the ratio is now to then.", &head);
    let mut changes = Table::new("Those that changed.", &head);
    for group in &data.groups {
        let same = |then: &&Group<'_>| then.experiment == group.experiment && then.setting == group.setting;
        let Some(then) = earlier.groups.iter().find(same) else { continue };
        let others = [plans.other_experiment(group.experiment), plans.other_network(&group.setting.network)];
        if others.iter().any(Option::is_some) {
            left_out.extend(others.into_iter().flatten());
            continue;
        }
        for subject in &data.subjects {
            let Some(before) = earlier.subjects.iter().find(|known| known.name == subject.name) else { continue };
            if let Some(other) = plans.other_subject(&subject.name) {
                left_out.insert(other);
                continue;
            }
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
    Compared { all, changes, left_out }
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
