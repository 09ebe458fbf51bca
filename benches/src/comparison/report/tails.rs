//! Whole distributions of latency, stretched towards the slowest: each further nine takes as much room as the last.

use super::chart::{Axis, Chart};
use super::data::{Data, Group, mark, p50_us};
use super::element::Element;
use super::page;
use super::scale::Scale;
use super::stats::median;
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::Unit;
use crate::comparison::results::Load;

/// How many nines are shown.
const NINES: f64 = 4.0;

/// The section, if there was load.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let sweeps = data.sweeps();
    let mut panels = Vec::new();
    let head = ["setting", "subject", "p50", "p90", "p99", "p99.9", "slowest"];
    let caption = "Distributions at one rate per setting (* the lowest): medians and ranges of the rounds.";
    let mut table = Table::new(caption, &head);
    for sweep in &sweeps {
        let Some((group, free)) = sweep.representative(&data.subjects) else { continue };
        let title = format!("{} — {}{}", group.experiment, group.label(), mark(free));
        panels.push(panel(data, group, &title));
        rows(&mut table, data, group, &title);
    }
    if panels.is_empty() {
        return None;
    }
    let text = "Each at the highest rate that all subjects reached without the processor being the limit (* where there \
                is none: the lowest). To the right are the slowest: nine of ten operations lie left of 90 %, 999 of a thousand left of 99.9 %. The strong \
                line is the round with the median p50, the faint ones are the other rounds.";
    let section = page::section("distributions", "Distributions of latency").child(page::paragraph(text));
    let figure = page::figure("", "Latency by percentile; latency is logarithmic.", panels);
    Some(section.child(figure.child(table.details("Figures"))))
}

fn panel(data: &Data<'_>, group: &Group<'_>, title: &str) -> Element {
    let ticks = [(0.0, "0"), (0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")];
    let ticks = ticks.map(|(at, text)| (at, text.to_owned())).into();
    let x = Axis::with_ticks(Scale::exactly(0.0, NINES), "share of operations that were no slower", ticks);
    let loads = data.subjects.iter().flat_map(|subject| group.loads(subject));
    let times = loads.flat_map(curve).map(|(_, time)| time);
    let mut chart = Chart::new(title, x, Axis::new(Scale::log(times), "latency", Unit::Time)).sized(500.0, 280.0);
    for subject in &data.subjects {
        let shown = middle(group, subject);
        let other = |load: &&Load| shown.is_none_or(|shown| !std::ptr::eq(*load, shown));
        for load in group.loads(subject).filter(other) {
            chart.curve(subject, "faint", &curve(load));
        }
    }
    for subject in &data.subjects {
        if let Some(load) = middle(group, subject) {
            chart.curve(subject, "curve", &curve(load));
        }
    }
    chart.finish(&format!("Distribution of latency, {title}"))
}

/// The round with the median p50, or the one just above.
fn middle<'a>(group: &Group<'a>, subject: &Shown) -> Option<&'a Load> {
    let middle = median(group.loads(subject).map(p50_us))?;
    let above = group.loads(subject).filter(|load| p50_us(load) >= middle);
    above.min_by(|a, b| p50_us(a).total_cmp(&p50_us(b)))
}

/// Nines against time; the last point, at which nobody is slower, would be infinitely far.
fn curve(load: &Load) -> Vec<(f64, f64)> {
    let points = load.all.cdf.iter().filter(|(time, share)| *time > 0 && *share < 1.0);
    let points = points.map(|(time, share)| (-(1.0 - share).log10(), *time as f64));
    points.take_while(|(nines, _)| *nines <= NINES).collect()
}

fn rows(table: &mut Table, data: &Data<'_>, group: &Group<'_>, title: &str) {
    for subject in data.subjects.iter().filter(|subject| !group.points(subject).is_empty()) {
        let time = |of: fn(&Load) -> u64| Cell::spread(Unit::Time, group.load(subject, |load| of(load) as f64));
        table.row([
            title.into(),
            subject.into(),
            time(|load| load.all.p50_us),
            time(|load| load.all.p90_us),
            time(|load| load.all.p99_us),
            time(|load| load.all.p999_us),
            time(|load| load.all.max_us),
        ]);
    }
}
