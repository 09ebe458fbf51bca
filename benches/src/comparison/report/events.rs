//! What happens to a cluster that loses its leader, or links, under load.
//!
//! ```text
//!   event ── detected ── elected ── served
//!     └───────────── silence ─────────┘      (and beside it: what moved, what was written again, how many campaigns)
//! ```

use super::chart::{Axis, Chart};
use super::data::{Data, Group, label, served_us, silence_us, tail_reached};
use super::element::Element;
use super::page;
use super::scale::Scale;
use super::stats::{Spread, Verdict, median, quantile};
use super::strip::Strip;
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, digits, whole};
use crate::comparison::results::{Event, Setting};

/// A figure of an event, under its name.
type Figure = (&'static str, fn(&Event) -> Option<f64>);

const MOMENTS: [Figure; 4] =
    [("detected", detected_us), ("elected", elected_us), ("served", served_us), ("silence", silence_us)];

fn detected_us(event: &Event) -> Option<f64> {
    event.detected_ms.map(|ms| ms * 1e3)
}

fn elected_us(event: &Event) -> Option<f64> {
    event.elected_ms.map(|ms| ms * 1e3)
}

/// The section on lost leaders, if there were any.
pub(super) fn failover(data: &Data<'_>) -> Option<Element> {
    let text = "From the loss of the leader: when a node first suspected it, when another one led, when the first \
                operation was acknowledged that began afterwards, and the longest silence. Each dot is one event, the \
                line is the median of all.";
    section(data, false, "failover", "When the leader is lost", text)
}

/// The section on lost links, if there were any.
pub(super) fn partitions(data: &Data<'_>) -> Option<Element> {
    let text = "From the moment in which the links were cut: when a node first suspected the leader, when another \
                one led, when the first operation was acknowledged that began afterwards, and the longest silence. \
                No new leader is needed where the old one keeps a quorum.";
    section(data, true, "partitions", "When links are lost", text)
}

fn section(data: &Data<'_>, partitions: bool, id: &'static str, title: &str, text: &str) -> Option<Element> {
    let groups = data.events(partitions);
    if groups.is_empty() {
        return None;
    }
    let section = page::section(id, title).child(page::paragraph(text)).child(times(data, partitions).html());
    let section = section.children(groups.iter().map(|group| figure(data, group)));
    Some(section.children(by_tail(data, &groups)).child(costs(data, partitions).html()))
}

fn figure(data: &Data<'_>, group: &Group<'_>) -> Element {
    let title = format!("{} — {}", group.experiment, group.label());
    let strips = strips(data, group);
    let lines = timelines(data, group);
    let caption = "Left: every event. Right: acknowledged operations in a second around the event; the line is the \
                   median of the events in each slice of 20 ms, the band their range, the dotted line the median \
                   time to serve.";
    let lines = Element::of("div", "stack").children(lines);
    page::figure(&title, caption, [strips, lines])
}

fn strips(data: &Data<'_>, group: &Group<'_>) -> Element {
    let events = || data.subjects.iter().flat_map(|subject| group.events(subject));
    let scale = Scale::from_zero(events().flat_map(|event| MOMENTS.map(|(_, of)| of(event).unwrap_or(0.0))));
    let mut strip = Strip::new("time since the event", scale, Unit::Time);
    for (name, of) in MOMENTS {
        if events().all(|event| of(event).is_none()) {
            continue;
        }
        strip.heading(name);
        for subject in data.subjects.iter().filter(|subject| group.events(subject).next().is_some()) {
            let values: Vec<_> = group.events(subject).filter_map(of).collect();
            strip.dots(subject, &values);
        }
    }
    strip.finish(&format!("Times after the event, {}", group.label()))
}

fn timelines(data: &Data<'_>, group: &Group<'_>) -> Vec<Element> {
    let slices: Vec<_> = data.subjects.iter().map(|subject| (subject, slices(group, subject))).collect();
    let most = Scale::from_zero(slices.iter().flat_map(|(_, slices)| slices.iter().map(|slice| slice.1.max)));
    let shown = slices.iter().filter(|(_, slices)| !slices.is_empty());
    shown.map(|(subject, slices)| timeline(group, subject, slices, most)).collect()
}

/// Acknowledged operations in a second over the events, and at which millisecond.
fn slices(group: &Group<'_>, subject: &Shown) -> Vec<(f64, Spread)> {
    let per_second = 1000.0 / Event::SLICE_MS as f64;
    let longest = group.events(subject).map(|event| event.timeline.len()).max().unwrap_or(0);
    let at = |slice: usize| (slice as f64 + 0.5) * Event::SLICE_MS as f64 - Event::BEFORE_MS as f64;
    let counts = |slice: usize| {
        let known = group.events(subject).filter_map(move |event| event.timeline.get(slice));
        Spread::of(known.map(|count| f64::from(*count) * per_second))
    };
    (0..longest).filter_map(|slice| Some((at(slice), counts(slice)?))).collect()
}

fn timeline(group: &Group<'_>, subject: &Shown, slices: &[(f64, Spread)], y: Scale) -> Element {
    let (from, to) = (-(Event::BEFORE_MS as f64), Event::AFTER_MS as f64);
    let end = slices.last().map_or(to, |(at, _)| at.max(1_000.0).min(to));
    let ticks = (0..=3)
        .map(|second| (f64::from(second) * 1e3, if second == 0 { "event".to_owned() } else { format!("{second} s") }));
    let x = Axis::with_ticks(Scale::exactly(from, to), "", ticks.filter(|(at, _)| *at <= end + 20.0).collect());
    let y = Axis::with_ticks(y, "acknowledged/s", [0.0, y.end()].map(|tick| (tick, digits(tick))).into());
    let mut chart = Chart::new(&subject.name, x, y).sized(500.0, 128.0);
    chart.moment(0.0, "event", "the event");
    let band: Vec<_> = slices.iter().map(|(at, slice)| (*at, slice.min, slice.max)).collect();
    let line: Vec<_> = slices.iter().map(|(at, slice)| (*at, slice.median)).collect();
    chart.band(subject, &band);
    chart.curve(subject, "curve fine", &line);
    if let Some(served) = median(group.events(subject).filter_map(served_us)).filter(|us| us.is_finite()) {
        chart.moment(served / 1e3, "served", &format!("served after {}", Unit::Time.show(served)));
    }
    chart.finish(&format!("Acknowledged operations around the event, {subject}, {}", group.label()))
}

/// What depends on how much was open when the leader was lost, where that was varied.
fn by_tail(data: &Data<'_>, groups: &[&Group<'_>]) -> Vec<Element> {
    let figures: [(Figure, Unit); 3] = [
        (("served", served_us), Unit::Time),
        // Not bytes, so that the axis has round figures.
        (("moved, KiB", |event| Some(event.moved_bytes as f64 / 1024.0)), Unit::Count),
        (("entries written again", |event| Some(event.rewritten_entries as f64)), Unit::Count),
    ];
    let mut families: Vec<(&str, Setting, Vec<&Group<'_>>)> = Vec::new();
    for group in groups {
        let setting = Setting { open_tail: 0, ..group.setting.clone() };
        match families.iter_mut().find(|family| family.0 == group.experiment && family.1 == setting) {
            Some(family) => family.2.push(group),
            None => families.push((group.experiment, setting, vec![group])),
        }
    }
    families.retain(|(_, _, groups)| groups.len() > 1);
    let families = families.iter_mut().map(|(experiment, setting, groups)| {
        groups.sort_by_key(|group| group.setting.open_tail);
        let panels = figures.map(|((name, of), unit)| tail_panel(data, groups, name, unit, of));
        let panels = [Element::of("div", "thirds").children(panels)];
        let title = format!("{experiment} — {}, by open tail", label(setting));
        page::figure(
            &title,
            "Over what was accepted and not yet chosen when the leader was lost. A mark stands at the median of the \
             tails that were found open, a tick at the tail that was asked for; medians of all events, whiskers from \
             the least to the greatest median of a round.",
            panels,
        )
    });
    families.collect()
}

fn tail_panel(
    data: &Data<'_>,
    groups: &[&Group<'_>],
    name: &str,
    unit: Unit,
    of: fn(&Event) -> Option<f64>,
) -> Element {
    // The tail that was asked for, the one that was reached, and the figure.
    let spreads = |subject: &Shown| -> Vec<(u64, f64, Spread)> {
        let spread = |group: &&Group<'_>| {
            let reached = group.event(subject, tail_reached)?.median;
            Some((group.setting.open_tail, reached, group.event(subject, of)?))
        };
        groups.iter().filter_map(spread).filter(|(_, _, spread)| spread.max.is_finite()).collect()
    };
    let all: Vec<_> = data.subjects.iter().flat_map(&spreads).collect();
    let most = all.iter().map(|(_, _, spread)| spread.max);
    let ticks = groups.iter().map(|group| group.setting.open_tail).map(|tail| (tail as f64, whole(tail))).collect();
    // A little air on both sides, so that no mark sits on the figures of the other axis.
    let asked = groups.last().map_or(1.0, |group| group.setting.open_tail as f64);
    let longest = all.iter().map(|(_, reached, _)| *reached).fold(asked, f64::max);
    let x = Axis::with_ticks(Scale::exactly(-0.06 * longest, 1.06 * longest), "open entries", ticks);
    let mut chart = Chart::new(name, x, Axis::new(Scale::from_zero(most), "", unit)).sized(360.0, 250.0);
    for (place, subject) in data.subjects.iter().enumerate() {
        let aside = (place as f64 - (data.subjects.len() - 1) as f64 / 2.0) * 3.0;
        let mut points = spreads(subject);
        points.sort_by(|a, b| a.1.total_cmp(&b.1));
        let line: Vec<_> = points.iter().map(|(_, reached, spread)| (*reached, spread.median)).collect();
        chart.curve(subject, "curve", &line);
        for (asked, reached, spread) in &points {
            let (asked, open) = (whole(*asked), digits(*reached));
            let title = format!("{subject}, {open} entries open of {asked} asked for: {}", unit.spread(spread));
            chart.point(subject, *reached, spread, aside, false, &title);
        }
    }
    chart.finish(&format!("{name} over the open tail"))
}

/// The times of all events, and how the subjects compare.
pub(super) fn times(data: &Data<'_>, partitions: bool) -> Table {
    let head = [
        "setting",
        "subject",
        "events",
        "detected",
        "elected",
        "served",
        "served p90",
        "served max",
        "silence",
        "served compared",
    ];
    let caption = "Medians over all events, of detected and elected over those in which it came to that; in brackets \
                   the range of the rounds' medians, by which they are compared with the first subject.";
    let mut table = Table::new(caption, &head);
    for group in data.events(partitions) {
        let first = data.originals().find(|subject| group.events(subject).next().is_some());
        for subject in data.subjects.iter().filter(|subject| group.events(subject).next().is_some()) {
            let served = || group.events(subject).filter_map(served_us);
            let time = |value: Option<f64>| Cell::figure(value.map_or("–".to_owned(), |us| Unit::Time.show(us)));
            let count = served().count();
            let lost = served().filter(|us| us.is_infinite()).count();
            let events = if lost == 0 { count.to_string() } else { format!("{count}, {lost} never served") };
            let [detected, elected, served_median, silence] =
                MOMENTS.map(|(_, of)| Cell::spread(Unit::Time, group.event(subject, of)));
            table.row([
                format!("{} — {}", group.experiment, group.label()).into(),
                subject.into(),
                Cell::figure(events),
                detected,
                elected,
                served_median,
                time(quantile(served(), 0.9)),
                time(quantile(served(), 1.0)),
                silence,
                compared(group, first, subject),
            ]);
        }
    }
    table
}

fn compared(group: &Group<'_>, first: Option<&Shown>, subject: &Shown) -> Cell {
    match first {
        Some(first) if first.place != subject.place && subject.same_as.is_none() => {
            Verdict::of(group.event(first, served_us), group.event(subject, served_us)).into()
        }
        _ => "".into(),
    }
}

/// What an event cost besides time.
pub(super) fn costs(data: &Data<'_>, partitions: bool) -> Table {
    let head = [
        "setting",
        "subject",
        "tail asked for",
        "tail found open",
        "bytes moved",
        "entries written again",
        "their bytes",
        "campaigns",
        "more than one campaign",
    ];
    let mut table =
        Table::new("What it took besides time, an event: medians of all, ranges of the rounds' medians.", &head);
    for group in data.events(partitions) {
        for subject in data.subjects.iter().filter(|subject| group.events(subject).next().is_some()) {
            let spread = |unit: Unit, of: fn(&Event) -> u64| {
                Cell::spread(unit, group.event(subject, |event| Some(of(event) as f64)))
            };
            let (all, again) = group
                .events(subject)
                .fold((0, 0), |(all, again), event| (all + 1, again + usize::from(event.campaigns > 1)));
            table.row([
                format!("{} — {}", group.experiment, group.label()).into(),
                subject.into(),
                Cell::figure(whole(group.setting.open_tail)),
                spread(Unit::Count, |event| event.open_tail),
                spread(Unit::Bytes, |event| event.moved_bytes),
                spread(Unit::Count, |event| event.rewritten_entries),
                spread(Unit::Bytes, |event| event.rewritten_bytes),
                spread(Unit::Count, |event| event.campaigns),
                Cell::figure(format!("{again} of {all}")),
            ]);
        }
    }
    table
}
