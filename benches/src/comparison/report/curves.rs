//! Latency against throughput: for each setting one figure, p50 beside p99 on the same axes.

use super::chart::{Axis, Chart};
use super::data::{Data, Group, Kind, Sweep, mark, p50_us, p99_us};
use super::element::Element;
use super::page;
use super::scale::Scale;
use super::stats::{Judged, Verdict};
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, several};
use crate::comparison::results::Load;

/// A figure of a load, under its name.
type Figure = (&'static str, fn(&Load) -> f64);

const FIGURES: [Figure; 2] = [("p50", p50_us), ("p99", p99_us)];

/// The section, if there was load.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let sweeps = data.sweeps();
    if sweeps.is_empty() && data.lost(Kind::Curve).next().is_none() {
        return None;
    }
    let section = page::section("curves", "Latency against throughput").child(page::paragraph(
        "Open loop: operations begin when they are due, and latency counts from then, so a subject that falls behind \
         cannot hide it. A mark is the median of the rounds, a whisker their range. Hollow marks were bound by the \
         processor; a dotted line leads from the rate that was reached to the one that was offered.",
    ));
    let section = section.child(verdicts(data).html()).children(by_chance(data, &sweeps));
    let figures = sweeps.iter().map(|sweep| figure(data, sweep));
    Some(section.children(figures))
}

/// How many of the verdicts would be differences if nobody differed; nothing where there is no verdict.
fn by_chance(data: &Data<'_>, sweeps: &[Sweep<'_, '_>]) -> Option<Element> {
    let first = data.originals().next()?;
    let mut judged = Judged::default();
    for (group, _) in sweeps.iter().filter_map(|sweep| sweep.representative(&data.subjects)) {
        for subject in data.originals().filter(|subject| subject.place != first.place) {
            for (_, of) in FIGURES {
                judged.add(group.load(first, of), group.load(subject, of));
            }
        }
    }
    let note = format!(
        "{} judged: between equal subjects, with the valid rounds that each of them had, about {:.2} would come out \
         as differences by chance.",
        several(judged.count, "comparison"),
        judged.by_chance
    );
    (judged.count > 0).then(|| Element::of("p", "note").text(note))
}

fn figure(data: &Data<'_>, sweep: &Sweep<'_, '_>) -> Element {
    let (x, y) = (rates(data, sweep), latencies(data, sweep));
    let panels = FIGURES.map(|(name, of)| {
        let axes = (Axis::new(x, "operations carried out a second", Unit::Count), Axis::new(y, "latency", Unit::Time));
        let mut chart = Chart::new(name, axes.0, axes.1);
        if let Some(from) = bound_from(data, sweep) {
            chart.region(from, "bound by the processor");
        }
        for (place, subject) in data.subjects.iter().enumerate() {
            let aside = (place as f64 - (data.subjects.len() - 1) as f64 / 2.0) * 4.0;
            draw(&mut chart, sweep, subject, of, aside);
        }
        chart.finish(&format!("{name} of latency against throughput, {}", sweep.label()))
    });
    let title = format!("{} — {}", sweep.experiment, sweep.label());
    page::figure(&title, "Median and range of the rounds; both axes logarithmic.", panels)
        .child(table(data, sweep).details("Figures"))
}

fn draw(chart: &mut Chart, sweep: &Sweep<'_, '_>, subject: &Shown, of: fn(&Load) -> f64, aside: f64) {
    let mut line = Vec::new();
    let mut points = Vec::new();
    for group in &sweep.rates {
        let rate = group.load(subject, |load| load.rate_per_s);
        let (Some(rate), Some(latency)) = (rate, group.load(subject, of)) else { continue };
        if latency.median > 0.0 && rate.median > 0.0 {
            line.push((rate.median, latency.median));
            points.push((*group, rate, latency));
        }
    }
    chart.curve(subject, "curve", &line);
    for (group, rate, latency) in points {
        let offered = group.setting.rate_per_s as f64;
        if !group.is_reached(subject) {
            chart.shortfall(subject, rate.median, offered, latency.median);
        }
        let hollow = group.is_cpu_bound(subject);
        let bound = if hollow { ", bound by the processor" } else { "" };
        let title = format!(
            "{subject} at {} of {} offered: {} in {} rounds{bound}",
            Unit::Rate.show(rate.median),
            Unit::Rate.show(offered),
            Unit::Time.spread(&latency),
            latency.rounds
        );
        chart.point(subject, rate.median, &latency, aside, hollow, &title);
    }
}

fn rates(data: &Data<'_>, sweep: &Sweep<'_, '_>) -> Scale {
    let offered = sweep.rates.iter().map(|group| group.setting.rate_per_s as f64);
    let reached = sweep.rates.iter().flat_map(|group| {
        data.subjects.iter().filter_map(|subject| Some(group.load(subject, |load| load.rate_per_s)?.median))
    });
    Scale::log(offered.chain(reached))
}

fn latencies(data: &Data<'_>, sweep: &Sweep<'_, '_>) -> Scale {
    let loads = sweep.rates.iter().flat_map(|group| data.subjects.iter().flat_map(|subject| group.loads(subject)));
    Scale::log(loads.flat_map(|load| FIGURES.map(|(_, of)| of(load))))
}

/// Between which rates the processor becomes the limit of any subject.
fn bound_from(data: &Data<'_>, sweep: &Sweep<'_, '_>) -> Option<f64> {
    let is_bound = |group: &Group<'_>| data.subjects.iter().any(|subject| group.is_cpu_bound(subject));
    // Only where it stays so: one busy round in the middle is no region.
    let free = sweep.rates.iter().rposition(|group| !is_bound(group)).map_or(0, |last| last + 1);
    let rate = |group: &Group<'_>, of: fn(f64, f64) -> f64, start: f64| {
        let rates = data.subjects.iter().filter_map(|s| Some(group.load(s, |load| load.rate_per_s)?.median));
        rates.fold(start, of)
    };
    let least = sweep.rates[free..].iter().map(|group| rate(group, f64::min, f64::INFINITY)).reduce(f64::min)?;
    let most = sweep.rates[..free].last().map_or(0.0, |group| rate(group, f64::max, 0.0));
    Some(if most > 0.0 { (least * most).sqrt() } else { 0.0 })
}

fn table(data: &Data<'_>, sweep: &Sweep<'_, '_>) -> Table {
    let head = [
        "offered",
        "subject",
        "reached",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "machine busy",
        "generator's CPU",
        "generator late",
        "rounds",
    ];
    let caption = format!(
        "{} — {}. The generator's CPU is a share of the machine's; late is how long after its time it began an \
         operation at worst, in any round (! where that is more than the p50).",
        sweep.experiment,
        sweep.label()
    );
    let mut table = Table::new(caption, &head);
    for group in &sweep.rates {
        for subject in data.subjects.iter().filter(|subject| !group.points(subject).is_empty()) {
            let time = |of: fn(&Load) -> f64| Cell::spread(Unit::Time, group.load(subject, of));
            let busy = group.points(subject).iter().map(|point| point.busy);
            let busy = super::stats::median(busy).map_or("–".to_owned(), super::units::percent);
            table.row([
                Cell::figure(Unit::Rate.show(group.setting.rate_per_s as f64)),
                subject.into(),
                Cell::spread(Unit::Rate, group.load(subject, |load| load.rate_per_s)),
                time(p50_us),
                time(|load| load.all.p90_us as f64),
                time(p99_us),
                time(|load| load.all.p999_us as f64),
                Cell::figure(busy),
                generator_cpu(data, group, subject),
                generator_late(group, subject),
                Cell::figure(group.points(subject).len().to_string()),
            ]);
        }
    }
    table
}

/// The load generator's part of the machine's processor time.
fn generator_cpu(data: &Data<'_>, group: &Group<'_>, subject: &Shown) -> Cell {
    let cores = data.results.conditions.cores.max(1) as f64;
    let loads = group.loads(subject).filter(|load| load.seconds > 0.0);
    let share = super::stats::median(loads.map(|load| load.generator_cpu_s / (load.seconds * cores)));
    Cell::figure(share.map_or("–".to_owned(), super::units::percent))
}

/// How late the generator was at worst; marked where latencies can be its own.
fn generator_late(group: &Group<'_>, subject: &Shown) -> Cell {
    let Some(late) = group.load(subject, |load| load.generator_lag_us as f64) else { return Cell::figure("–") };
    let is_long = group.load(subject, p50_us).is_some_and(|p50| late.max > p50.median);
    let text = Unit::Time.show(late.max);
    if is_long { Cell::figure(format!("{text} !")).class("figure differ") } else { Cell::figure(text) }
}

/// Each subject against the first one, at one rate per setting. Repetitions stand elsewhere.
pub(super) fn verdicts(data: &Data<'_>) -> Table {
    let head = ["experiment", "setting", "rate", "subject", "p50", "p99", "p50 compared", "p99 compared"];
    let caption = "Each setting at the highest rate that all subjects reached without the processor being the \
                   limit (* where there is none: the lowest). Compared with the first subject; the ratio is that of \
                   the medians.";
    let mut table = Table::new(caption, &head);
    let Some(first) = data.originals().next() else { return table };
    for sweep in data.sweeps() {
        let Some((group, free)) = sweep.representative(&data.subjects) else { continue };
        for subject in data.originals().filter(|subject| !group.points(subject).is_empty()) {
            let compared = |of: fn(&Load) -> f64| -> Cell {
                if subject.place == first.place { "".into() } else { group.compare(first, subject, of).into() }
            };
            let rate = Unit::Rate.show(group.setting.rate_per_s as f64);
            let setting = sweep.label();
            table.row([
                sweep.experiment.into(),
                setting.into(),
                Cell::figure(format!("{rate}{}", mark(free))),
                subject.into(),
                Cell::spread(Unit::Time, group.load(subject, p50_us)),
                Cell::spread(Unit::Time, group.load(subject, p99_us)),
                compared(p50_us),
                compared(p99_us),
            ]);
        }
    }
    for lost in data.lost(Kind::Curve) {
        for subject in data.originals() {
            table.row([
                lost.experiment.into(),
                lost.label().into(),
                Cell::figure("–"),
                subject.into(),
                Cell::figure("–"),
                Cell::figure("–"),
                Verdict::TooFew.into(),
                Verdict::TooFew.into(),
            ]);
        }
    }
    table
}
