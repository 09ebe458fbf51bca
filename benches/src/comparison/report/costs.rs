//! What an operation costs the leader and a follower.

use super::data::{Data, Group, mark};
use super::element::Element;
use super::page;
use super::scale::Scale;
use super::stats::Spread;
use super::strip::Strip;
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::Unit;
use crate::comparison::results::{Cost, Load};

/// A node's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Leader,
    /// The mean of all who followed.
    Follower,
}

/// A cost of the whole load, under its name.
type Figure = (&'static str, Unit, fn(&Cost) -> f64);

const COSTS: &str = "Costs of one operation, and a node's resident memory: medians and ranges of the rounds \
                     (* at the lowest rate: at none was the processor not the limit, or some subject did not reach it).";

/// What is told for each operation.
const FIGURES: [Figure; 6] = [
    ("CPU", Unit::Time, |cost| cost.cpu_s * 1e6),
    ("syncs", Unit::Count, |cost| cost.syncs as f64),
    ("messages", Unit::Count, |cost| cost.messages as f64),
    ("message bytes", Unit::Bytes, |cost| cost.bytes as f64),
    ("wire bytes", Unit::Bytes, |cost| cost.wire_bytes as f64),
    ("log bytes", Unit::Bytes, |cost| cost.log_bytes as f64),
];

/// The section, if there was load.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let table = table(data);
    if table.is_empty() {
        return None;
    }
    let text = "At one rate per setting, the highest that all subjects reached without the processor being the \
                limit (* where there is none: the lowest). An idle moment between two operations makes them cost more, so only figures of one setting \
                compare. Messages and bytes are those sent.";
    let section = page::section("costs", "What an operation costs").child(page::paragraph(text));
    let panels = data
        .sweeps()
        .iter()
        .filter_map(|sweep| sweep.representative(&data.subjects))
        .map(|(group, free)| panel(data, group, free))
        .collect::<Vec<_>>();
    let caption =
        "Processor time of one operation at the leader and at a follower; each dot is a round, the line the median.";
    Some(section.child(page::figure("", caption, panels)).child(table.html()))
}

fn panel(data: &Data<'_>, group: &Group<'_>, free: bool) -> Element {
    let (_, unit, cpu) = FIGURES[0];
    let values = |subject: &Shown, role: Role| -> Vec<f64> {
        group.loads(subject).filter_map(|load| per_operation(load, role, cpu)).collect()
    };
    let roles = [(Role::Leader, "leader"), (Role::Follower, "follower")];
    let all = data.subjects.iter().flat_map(|subject| roles.map(|(role, _)| values(subject, role))).flatten();
    let title = title(group, free);
    let mut strip = Strip::new(&title, Scale::from_zero(all), unit);
    for (role, name) in roles {
        strip.heading(name);
        for subject in data.subjects.iter().filter(|subject| !values(subject, role).is_empty()) {
            strip.dots(subject, &values(subject, role));
        }
    }
    strip.finish(&format!("Processor time of an operation, {title}"))
}

fn title(group: &Group<'_>, free: bool) -> String {
    format!("{} — {}{}", group.experiment, group.label(), mark(free))
}

/// A cost of one operation in one round; `None` where no node led throughout, or nobody followed.
pub(super) fn per_operation(load: &Load, role: Role, of: fn(&Cost) -> f64) -> Option<f64> {
    (load.operations > 0).then_some(())?;
    Some(total(load, role, of)? / load.operations as f64)
}

fn total(load: &Load, role: Role, of: fn(&Cost) -> f64) -> Option<f64> {
    let leader = load.leader?;
    if role == Role::Leader {
        return load.costs.get(&leader).map(of);
    }
    let followers = load.costs.iter().filter(|(id, _)| **id != leader).map(|(_, cost)| of(cost));
    let (sum, count) = followers.fold((0.0, 0.0), |(sum, count), cost| (sum + cost, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// All costs, for each role.
pub(super) fn table(data: &Data<'_>) -> Table {
    let mut head = vec!["setting", "role", "subject"];
    head.extend(FIGURES.map(|(name, _, _)| name));
    head.push("memory");
    let mut table = Table::new(COSTS, &head);
    for sweep in data.sweeps() {
        let Some((group, free)) = sweep.representative(&data.subjects) else { continue };
        for (role, name) in [(Role::Leader, "leader"), (Role::Follower, "follower")] {
            for subject in data
                .subjects
                .iter()
                .filter(|subject| group.loads(subject).any(|load| total(load, role, |cost| cost.cpu_s).is_some()))
            {
                let mut row: Vec<Cell> = vec![title(group, free).into(), name.into(), subject.into()];
                row.extend(FIGURES.map(|(_, unit, of)| {
                    Cell::spread(
                        unit,
                        Spread::of(group.loads(subject).filter_map(|load| per_operation(load, role, of))),
                    )
                }));
                let memory = group.loads(subject).filter_map(|load| total(load, role, |cost| cost.memory_bytes as f64));
                row.push(Cell::spread(Unit::Bytes, Spread::of(memory)));
                table.row(row);
            }
        }
    }
    table
}
