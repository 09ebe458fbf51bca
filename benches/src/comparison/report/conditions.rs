//! Under what all of this was measured, and what the words mean.

use super::data::{Data, REACHED, p50_us, p99_us};
use super::element::Element;
use super::page;
use super::stats::{FEWEST_ROUNDS, Verdict};
use super::table::{Cell, Table};
use super::units::{Unit, percent, whole};
use super::verdict;
use crate::comparison::results::{Load, Point, Setting};

/// The section.
pub(super) fn section(data: &Data<'_>) -> Element {
    let section = page::section("conditions", "Conditions").child(facts(data));
    let relay = relay(data);
    let section = if relay.is_empty() { section } else { section.child(relay.html()) };
    let words = Element::of("dl", "words").children(
        words()
            .into_iter()
            .flat_map(|(word, meaning)| [Element::new("dt").text(word), Element::new("dd").text(meaning)]),
    );
    let section = section.child(Element::new("h3").text("What the words mean")).child(words);
    let invalid = verdict::invalid(data);
    let section = if invalid.is_empty() {
        section
    } else {
        section.child(Element::new("div").with("id", "invalid").child(invalid.html()))
    };
    let section = section.child(Element::new("p").text(verdict::histories(data)));
    let doubtful = verdict::doubtful(data);
    let section = if doubtful.is_empty() { section } else { section.child(doubtful.html()) };
    section.child(plan(data))
}

fn facts(data: &Data<'_>) -> Element {
    let of = &data.results.conditions;
    let mut facts = vec![
        ("measured", format!("{} to {}", of.began, of.ended)),
        ("commit", of.commit.clone()),
        ("program", of.program.clone()),
        ("processor", format!("{} × {}", whole(of.cores), of.processor)),
        ("memory", Unit::Bytes.show(of.memory_bytes as f64)),
        ("kernel", of.kernel.clone()),
        ("disk", of.disk.clone()),
        ("fsync of 4 KiB", format!("{} (median before the first point)", Unit::Time.show(of.fsync_us as f64))),
        ("links", of.emulation.clone()),
    ];
    facts.extend(of.further.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    Element::of("dl", "facts")
        .children(facts.flat_map(|(name, value)| [Element::new("dt").text(name), Element::new("dd").text(value)]))
}

/// What the relay adds by itself: the same setting through it and without it.
fn relay(data: &Data<'_>) -> Table {
    let head = [
        "experiment",
        "setting",
        "subject",
        "p50 without",
        "p50 through it",
        "CPU of relay and runner",
        "p50 compared",
        "p99 compared",
    ];
    let mut table =
        Table::new("The relay's own cost: links that it does nothing to, against loopback without it.", &head);
    let sweeps = data.sweeps();
    for through in sweeps.iter().filter(|sweep| sweep.setting.network == "relay") {
        let bare = Setting { network: "loopback".to_owned(), ..through.setting.clone() };
        let bare = sweeps.iter().find(|sweep| sweep.experiment == through.experiment && sweep.setting == bare);
        let Some((bare, group)) = bare.zip(through.free(&data.subjects)) else { continue };
        let Some(without) = bare.rates.iter().find(|g| g.setting.rate_per_s == group.setting.rate_per_s) else {
            continue;
        };
        for subject in data.originals() {
            let compared = |of: fn(&Load) -> f64| Verdict::of(without.load(subject, of), group.load(subject, of));
            table.row([
                through.experiment.into(),
                group.label().into(),
                subject.into(),
                Cell::spread(Unit::Time, without.load(subject, p50_us)),
                Cell::spread(Unit::Time, group.load(subject, p50_us)),
                Cell::spread(Unit::Time, group.load(subject, relay_cpu_us)),
                compared(p50_us).into(),
                compared(p99_us).into(),
            ]);
        }
    }
    table
}

/// Processor time of relay and runner for one operation, in microseconds.
fn relay_cpu_us(load: &Load) -> f64 {
    load.relay_cpu_s * 1e6 / load.operations.max(1) as f64
}

fn words() -> [(&'static str, String); 7] {
    [
        ("round", "each subject once, on a fresh cluster, the subjects in turn".to_owned()),
        (
            "median, range",
            "over the valid rounds of one subject in one setting; the range goes from the least to \
                           the greatest"
                .to_owned(),
        ),
        (
            "tie",
            format!(
                "the ranges overlap. Two subjects differ only where they do not, and then the ratio of their \
                 medians is told. With fewer than {FEWEST_ROUNDS} valid rounds nothing is said. Of two equal \
                 subjects one in 10 figures would differ by chance with three rounds of each, one in 126 with five"
            ),
        ),
        (
            "invalid",
            "the machine was busy beforehand, operations failed, or the history was not linearizable: left \
                     out of every statistic, and listed"
                .to_owned(),
        ),
        (
            "bound by the processor",
            format!(
                "more than {} of the machine's processor time was used: nodes, load generator and relay share it, \
                 so latency then says little of a protocol",
                percent(Point::CPU_BOUND)
            ),
        ),
        (
            "open loop",
            "operations begin when they are due, whether or not earlier ones are done, and latency counts from \
             when they were due"
                .to_owned(),
        ),
        ("reached", format!("at least {} of the offered rate was carried out", percent(REACHED))),
    ]
}

fn plan(data: &Data<'_>) -> Element {
    // The plan came from TOML; should it not go back there, JSON tells the same.
    let plan = &data.results.plan;
    let text = toml::to_string(plan).or_else(|_| serde_json::to_string_pretty(plan)).unwrap_or_default();
    let details = Element::new("details").child(Element::new("summary").text("The plan, with its defaults"));
    details.child(Element::new("pre").text(text))
}
