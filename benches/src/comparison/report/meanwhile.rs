//! What a cluster that works does while something is done to it: before against meanwhile.

use super::data::{Data, Group, p99_us};
use super::element::Element;
use super::page;
use super::scale::Scale;
use super::stats::{Spread, Verdict};
use super::strip::Strip;
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, whole};
use crate::comparison::results::Load;

const CAPTION: &str = "Before, and in the seconds from the beginning of what was done: medians and ranges of the rounds; \
                       errors are those of all valid rounds together.";

/// The section, if anything was done.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let groups = data.meanwhiles();
    if groups.is_empty() {
        return None;
    }
    let text = "Puts go on at a steady rate while the leader hands over, members change, a blank node is sent a \
                snapshot, or a node catches up.";
    let section = page::section("meanwhile", "Meanwhile").child(page::paragraph(text));
    let panels = groups.iter().map(|group| panel(data, group));
    let caption = "p99 before (hollow) and in the seconds from its beginning (full), medians of the rounds; the axis is \
                   logarithmic.";
    Some(section.child(page::figure("", caption, panels)).child(table(data).html()))
}

fn panel(data: &Data<'_>, group: &Group<'_>) -> Element {
    let loads = data.subjects.iter().flat_map(|subject| group.meanwhiles(subject));
    let scale = Scale::log(loads.flat_map(|(before, meanwhile, _)| [p99_us(before), p99_us(meanwhile)]));
    let title = format!("{} — {}", group.experiment, group.label());
    let mut strip = Strip::new(&title, scale, Unit::Time);
    for subject in &data.subjects {
        let before = Spread::of(group.meanwhiles(subject).map(|(before, _, _)| p99_us(before)));
        let after = Spread::of(group.meanwhiles(subject).map(|(_, meanwhile, _)| p99_us(meanwhile)));
        if let (Some(before), Some(after)) = (before, after) {
            strip.change(subject, before.median, after.median);
        }
    }
    strip.finish(&format!("p99 before and meanwhile, {title}"))
}

/// All figures, and how the subjects compare.
pub(super) fn table(data: &Data<'_>) -> Table {
    let head = [
        "setting",
        "subject",
        "rate before",
        "rate meanwhile",
        "p99 before",
        "p99 meanwhile",
        "errors, before / meanwhile",
        "lasted",
        "p99 meanwhile compared",
    ];
    let mut table = Table::new(CAPTION, &head);
    for group in data.meanwhiles() {
        let first = data.originals().find(|subject| group.meanwhiles(subject).next().is_some());
        for subject in data.subjects.iter().filter(|subject| group.meanwhiles(subject).next().is_some()) {
            let loads = || group.meanwhiles(subject);
            table.row([
                format!("{} — {}", group.experiment, group.label()).into(),
                subject.into(),
                Cell::spread(Unit::Rate, Spread::of(loads().map(|(before, _, _)| before.rate_per_s))),
                Cell::spread(Unit::Rate, Spread::of(loads().map(|(_, meanwhile, _)| meanwhile.rate_per_s))),
                Cell::spread(Unit::Time, Spread::of(loads().map(|(before, _, _)| p99_us(before)))),
                Cell::spread(Unit::Time, p99_meanwhile(group, subject)),
                errors(group, subject),
                Cell::spread(Unit::Time, Spread::of(loads().map(|(_, _, lasted_ms)| lasted_ms * 1e3))),
                match first {
                    Some(first) if first.place != subject.place && subject.same_as.is_none() => {
                        Verdict::of(p99_meanwhile(group, first), p99_meanwhile(group, subject)).into()
                    }
                    _ => "".into(),
                },
            ]);
        }
    }
    table
}

/// Operations that failed, in all rounds together.
fn errors(group: &Group<'_>, subject: &Shown) -> Cell {
    let all = |load: &Load| load.errors.values().sum::<u64>();
    let loads = group.meanwhiles(subject);
    let (before, after) = loads.fold((0, 0), |(before, after), (b, m, _)| (before + all(b), after + all(m)));
    Cell::figure(format!("{} / {}", whole(before), whole(after)))
}

fn p99_meanwhile(group: &Group<'_>, subject: &Shown) -> Option<Spread> {
    Spread::of(group.meanwhiles(subject).map(|(_, meanwhile, _)| p99_us(meanwhile)))
}
