//! The same against the same: subjects that differ from another one only by name must tie with it. Where they do not,
//! the method is at fault, not the protocols.

use super::data::{Data, p50_us, p99_us, served_us};
use super::element::Element;
use super::page;
use super::stats::{Judged, Spread, Verdict, at_least};
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, percent, several};
use crate::comparison::results::Found;

/// What comes by chance less often than this is called more than chance.
const RARE: f64 = 0.05;

/// One figure of a subject and of its repetition.
pub(super) struct Pair<'a> {
    pub(super) original: &'a Shown,
    pub(super) repetition: &'a Shown,
    what: String,
    spreads: (Option<Spread>, Option<Spread>),
    pub(super) verdict: Verdict,
}

/// Every figure of every repetition that a verdict may rest on.
pub(super) fn pairs<'a>(data: &'a Data<'_>) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    for repetition in &data.subjects {
        let Some(original) = repetition.same_as.and_then(|place| data.subjects.get(place)) else { continue };
        let mut pair = |what: String, spread: &dyn Fn(&Shown) -> Option<Spread>| {
            let spreads = (spread(original), spread(repetition));
            // Who was not measured in this setting has not failed in it.
            if spreads.0.is_some() || spreads.1.is_some() {
                pairs.push(Pair { original, repetition, what, spreads, verdict: Verdict::of(spreads.0, spreads.1) });
            }
        };
        for group in data.sweeps().iter().filter_map(|sweep| sweep.free(&data.subjects)) {
            let label = format!("{} — {}", group.experiment, group.label());
            pair(format!("p50, {label}"), &|subject| group.load(subject, p50_us));
            pair(format!("p99, {label}"), &|subject| group.load(subject, p99_us));
        }
        for group in &data.groups {
            let of_events =
                |subject: &Shown| group.points(subject).iter().any(|p| matches!(p.found, Found::Events { .. }));
            if of_events(original) || of_events(repetition) {
                let label = format!("{} — {}", group.experiment, group.label());
                pair(format!("time to serve, {label}"), &|subject| group.event(subject, served_us));
            }
        }
    }
    pairs
}

/// How many of them could be judged, and what came of it.
pub(super) fn judged(pairs: &[Pair<'_>]) -> Judged {
    Judged::of(pairs.iter().map(|pair| pair.spreads))
}

/// How far apart the medians of two equal subjects were at most, as a ratio of 1 or more: the grain of these figures.
pub(super) fn farthest(pairs: &[Pair<'_>]) -> f64 {
    let ratios = pairs.iter().filter_map(|pair| match pair.verdict {
        Verdict::Tie { ratio } | Verdict::Differ { ratio } => Some(ratio.max(1.0 / ratio)),
        Verdict::TooFew => None,
    });
    ratios.fold(1.0, f64::max)
}

/// The table of them.
pub(super) fn table(data: &Data<'_>, only_apart: bool) -> Table {
    let head = ["figure", "subject", "repeated as", "its median", "repeated", "verdict"];
    let mut table = Table::new("Each subject against itself under another name.", &head);
    for pair in pairs(data).into_iter().filter(|pair| !only_apart || pair.verdict.differs()) {
        table.row([
            pair.what.into(),
            pair.original.into(),
            pair.repetition.into(),
            Cell::spread(Unit::Time, pair.spreads.0),
            Cell::spread(Unit::Time, pair.spreads.1),
            pair.verdict.into(),
        ]);
    }
    table
}

/// The section, if any subject is repeated.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let pairs = pairs(data);
    if pairs.is_empty() {
        return None;
    }
    let judged = judged(&pairs);
    let text = "The same engine with the same flags, measured in turn with the others under a second name. All of \
                these must be ties.";
    let section = page::section("repeated", "The same against itself").child(page::paragraph(text));
    let section = if judged.count == 0 {
        section.child(Element::of("p", "note").text("Too few valid rounds to compare any of them."))
    } else if judged.apart == 0 {
        section.child(Element::of("p", "calm").text(format_args!(
            "{} compared, all of them ties; their medians are up to {} apart.",
            several(judged.count, "figure"),
            percent(farthest(&pairs) - 1.0)
        )))
    } else {
        section.child(Element::of("p", "alarm").with("role", "alert").text(alarm(judged)))
    };
    let apart = table(data, true);
    let section = if apart.is_empty() { section } else { section.child(apart.html()) };
    Some(section.child(table(data, false).folded()))
}

fn alarm(judged: Judged) -> String {
    let Judged { count, apart, .. } = judged;
    // Figures with fewer valid rounds come apart more easily: the mean of their chances stands for all.
    let likely = at_least(apart, count, judged.chance().unwrap_or(1.0));
    let opening = if likely < RARE { "The noise here is larger than the method assumes" } else { "Not all are ties" };
    format!(
        "{opening}: {apart} of {count} figures differ between a subject and itself. Were each round independent \
         of the others, that many or more would come apart in {} of such comparisons. Differences as small as these \
         mean nothing.",
        percent(likely)
    )
}
