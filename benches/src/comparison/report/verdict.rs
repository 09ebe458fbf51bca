//! The answer in a paragraph, made of the figures and of nothing else, and how far it can be believed.

use std::collections::BTreeMap;

use super::data::{Data, Group, Kind, p50_us, p99_us, served_us};
use super::element::Element;
use super::repeated;
use super::stats::{Judged, Spread, Verdict};
use super::subjects::Shown;
use super::table::Table;
use super::units::{Unit, percent, ratio, several, whole};
use crate::comparison::results::{History, Point};

/// How many differences are named before the rest is counted.
const NAMED: usize = 2;

/// How settings of one kind came out.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) ties: usize,
    /// Settings that differ, in words.
    pub(super) differences: Vec<String>,
    /// Settings with too few valid rounds, by name.
    too_few: Vec<String>,
    /// Settings that say nothing of the protocols: the processor was the limit, or the rate was not reached.
    bound: usize,
    /// All figures that were compared.
    figures: Judged,
}

/// A figure of both subjects, under its name.
type Compared<'n> = (&'n str, Option<Spread>, Option<Spread>);

impl Tally {
    pub(super) fn judged(&self) -> usize {
        self.ties + self.differences.len()
    }

    fn add(&mut self, figures: &[Compared<'_>], (first, other): (&Shown, &Shown), label: String) {
        let verdicts: Vec<_> = figures.iter().map(|(what, a, b)| (*what, self.figures.add(*a, *b))).collect();
        let differing: Vec<_> =
            verdicts.iter().filter_map(|(what, verdict)| named(what, *verdict, first, other)).collect();
        if verdicts.iter().any(|(_, verdict)| *verdict == Verdict::TooFew) {
            self.too_few.push(label);
        } else if differing.is_empty() {
            self.ties += 1;
        } else {
            self.differences.push(format!("{label}: {}", differing.join(", ")));
        }
    }

    /// `tie in 9 of 12 settings`, and where they differ.
    fn sentence(&self, of: &str) -> String {
        if let (1, [difference]) = (self.judged(), self.differences.as_slice()) {
            return format!("differ: {difference}.");
        }
        let mut text = format!("tie in {} of {} {of}", self.ties, self.judged());
        if !self.differences.is_empty() {
            let named: Vec<_> = self.differences.iter().take(NAMED).cloned().collect();
            text += &format!("; they differ in {}", named.join("; "));
            if self.differences.len() > NAMED {
                text += &format!("; and in {} more", self.differences.len() - NAMED);
            }
        }
        text + "."
    }

    /// Which settings nothing can be said of, if there are any.
    fn silence(&self) -> Option<String> {
        let count = self.too_few.len();
        let named = self.too_few.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let more = if count > NAMED { format!("; and {} more", count - NAMED) } else { String::new() };
        let settings = several(count, "setting");
        (count > 0).then(|| format!("In {settings} there are too few valid rounds to say anything ({named}{more})."))
    }
}

fn named(what: &str, verdict: Verdict, first: &Shown, other: &Shown) -> Option<String> {
    match verdict {
        Verdict::Differ { ratio: by } => Some(format!("{what} of {other} is {} that of {first}", ratio(by))),
        Verdict::Tie { .. } | Verdict::TooFew => None,
    }
}

/// Steady state, by p50 and p99 at the highest rate at which neither the processor nor a subject was the limit.
pub(super) fn steady(data: &Data<'_>, first: &Shown, other: &Shown) -> Tally {
    let mut tally = Tally::default();
    for sweep in data.sweeps() {
        let Some(group) = sweep.free(&data.subjects) else {
            tally.bound += 1;
            continue;
        };
        let figures = [("p50", p50_us as fn(&_) -> f64), ("p99", p99_us)]
            .map(|(what, of)| (what, group.load(first, of), group.load(other, of)));
        tally.add(&figures, (first, other), format!("{} ({})", sweep.experiment, group.label()));
    }
    let lost = data.lost(Kind::Curve);
    tally.too_few.extend(lost.map(|lost| format!("{} ({})", lost.experiment, lost.label())));
    tally
}

/// Events, by the first operation that was acknowledged.
fn served(data: &Data<'_>, partitions: bool, first: &Shown, other: &Shown) -> Tally {
    let mut tally = Tally::default();
    for group in data.events(partitions) {
        let figure = ("time to serve", group.event(first, served_us), group.event(other, served_us));
        tally.add(&[figure], (first, other), group.label());
    }
    let lost = data.lost(if partitions { Kind::Partition } else { Kind::Failover });
    tally.too_few.extend(lost.map(|lost| lost.label()));
    tally
}

/// The answer.
pub(super) fn sentences(data: &Data<'_>) -> Vec<String> {
    // Whoever reads one sentence is to read that answers were wrong.
    let mut sentences = violations(data);
    let Some((first, other)) = data.pair() else {
        sentences.push("There are no two subjects to compare.".to_owned());
        sentences.extend(undecided(data));
        return sentences;
    };
    let tally = steady(data, first, other);
    if tally.judged() > 0 {
        let sentence = tally.sentence("settings, by p50 and p99 at the highest rate that all subjects reached");
        sentences.push(format!("In steady state {first} and {other} {sentence}"));
    }
    if tally.bound > 0 {
        let settings = several(tally.bound, "setting");
        sentences.push(format!(
            "In {settings} every rate was bound by the processor or out of reach: these say nothing of the protocols."
        ));
    }
    sentences.extend(tally.silence());
    for (partitions, when) in [(false, "After the loss of a leader"), (true, "While links are cut")] {
        sentences.extend(events(data, partitions, when, first, other));
    }
    let changes = data.lost(Kind::Meanwhile).map(|lost| lost.label());
    sentences.extend(Tally { too_few: changes.collect(), ..Tally::default() }.silence());
    sentences.extend(undecided(data));
    sentences.push(noise(data, first, other));
    sentences
}

/// Whose answers were wrong, where, and how: a sentence each, up to [`NAMED`] of them.
fn violations(data: &Data<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    for point in &data.results.points {
        if let History::NotLinearizable { why } = &point.history {
            let (key, why) = (&point.key, one_line(why));
            let setting = super::data::label(&key.setting);
            sentences.push(format!(
                "Safety was violated: a history of {} in {} ({setting}), round {}, is not linearizable: {why}.",
                key.subject, key.experiment, key.round
            ));
        }
    }
    let more = sentences.len().saturating_sub(NAMED);
    sentences.truncate(NAMED);
    if more > 0 {
        sentences.push(format!("So it was in {more} more, which are listed below."));
    }
    sentences
}

/// How many histories nobody knows anything of.
fn undecided(data: &Data<'_>) -> Option<String> {
    let count = data.results.points.iter().filter(|point| matches!(point.history, History::Undecided { .. })).count();
    let are = if count == 1 { "1 history is".to_owned() } else { format!("{} histories are", whole(count as u64)) };
    (count > 0).then(|| format!("{are} undecided: the search for an order was given up."))
}

/// As part of a sentence.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

fn events(data: &Data<'_>, partitions: bool, when: &str, first: &Shown, other: &Shown) -> Option<String> {
    let groups = data.events(partitions);
    let tally = served(data, partitions, first, other);
    let settings = tally.judged() + tally.too_few.len();
    // In full of one setting, in sum of all.
    let of = |group: &Group<'_>| (group.event(first, served_us), group.event(other, served_us));
    let both = |group: &&&Group<'_>| matches!(of(group), (Some(_), Some(_)));
    let either = |group: &&&Group<'_>| matches!(of(group), (Some(_), _) | (_, Some(_)));
    let Some(group) = groups.iter().find(both).or_else(|| groups.iter().find(either)) else {
        return tally.silence().map(|silence| format!("{when} no write is known to be acknowledged. {silence}"));
    };
    let (a, b) = of(group);
    let example = if settings > 1 { format!(" ({})", group.label()) } else { String::new() };
    let times = match (a, b) {
        (Some(a), Some(b)) => format!("{} with {first} and {} with {other}", after(&a), after(&b)),
        (Some(a), None) => format!("{} with {first}; of {other} nothing valid was measured", after(&a)),
        (None, Some(b)) => format!("{} with {other}; of {first} nothing valid was measured", after(&b)),
        (None, None) => return None,
    };
    let verdict = match (tally.judged(), Verdict::of(a, b)) {
        (0, _) if settings == 1 => ". That is too few rounds for a verdict.".to_owned(),
        (0, _) => ".".to_owned(),
        (1, Verdict::Tie { .. }) if settings == 1 => ": a tie.".to_owned(),
        (1, Verdict::Differ { ratio: by }) if settings == 1 => format!(": they differ, {}.", ratio(by)),
        _ => format!("; in this the two {}", tally.sentence("settings")),
    };
    let silence = tally.silence().filter(|_| settings > 1).map_or(String::new(), |silence| format!(" {silence}"));
    Some(format!("{when}{example} the first new write is acknowledged {times}{verdict}{silence}"))
}

fn after(served: &Spread) -> String {
    let us = served.median;
    if us.is_finite() { format!("after {}", Unit::Time.show(us)) } else { "not in time".to_owned() }
}

fn noise(data: &Data<'_>, first: &Shown, other: &Shown) -> String {
    let pairs = repeated::pairs(data);
    let judged = repeated::judged(&pairs);
    let expected = |judged: Judged| judged.chance().map(percent);
    let Judged { count, apart, .. } = judged;
    match (count, apart) {
        (0, _) if !pairs.is_empty() => {
            "Of the subjects that differ only by name too few rounds are valid to know the noise.".to_owned()
        }
        (0, _) => {
            let compared =
                [steady(data, first, other), served(data, false, first, other), served(data, true, first, other)];
            let all = compared.iter().fold(Judged::default(), |all, tally| all.and(tally.figures));
            let chance = expected(all).map_or(String::new(), |expected| {
                format!("; equal subjects would differ by chance in {expected} of the figures")
            });
            format!("No subject was repeated under another name, so the noise is not known{chance}.")
        }
        (_, 0) => {
            let by = percent(repeated::farthest(&pairs) - 1.0);
            format!(
                "Subjects that differ only by name tie in all {count} figures, as they must; their medians are up \
                 to {by} apart."
            )
        }
        _ => format!(
            "Subjects that differ only by name come apart in {apart} of {count} figures, where chance makes it \
             {}: see below before believing small differences.",
            expected(judged).unwrap_or_default()
        ),
    }
}

/// The counts that tell how far to believe it.
pub(super) fn glance(data: &Data<'_>) -> Element {
    let points = &data.results.points;
    let count = |is: fn(&Point) -> bool| points.iter().filter(|point| is(point)).count();
    let linearizable = count(|point| matches!(point.history, History::Linearizable { .. }));
    let recorded = count(|point| !matches!(point.history, History::NotRecorded));
    let invalid = count(|point| !point.is_valid());
    let wrong = count(|point| matches!(point.history, History::NotLinearizable { .. }));
    let tile = |figure: String, what: &str, bad: bool| {
        let figure = Element::new("dd").text(figure);
        Element::of("div", if bad { "tile bad" } else { "tile" }).child(Element::new("dt").text(what)).child(figure)
    };
    let undecided = count(|point| matches!(point.history, History::Undecided { .. }));
    let undecided = (undecided > 0).then(|| tile(whole(undecided as u64), "histories undecided", true));
    let tiles = [
        tile(whole(points.len() as u64), "points measured", false),
        tile(whole(data.results.plan.rounds.into()), "rounds of each", false),
        tile(whole(invalid as u64), "invalid, left out", invalid > 0),
        tile(whole(count(Point::is_cpu_bound) as u64), "bound by the processor", false),
        tile(
            format!("{} of {}", whole(linearizable as u64), whole(recorded as u64)),
            "histories linearizable",
            wrong > 0,
        ),
    ];
    Element::of("dl", "glance").children(tiles).children(undecided)
}

/// Why points do not count, each reason once and with how many it concerns.
pub(super) fn reasons(data: &Data<'_>) -> Option<Element> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for why in data.results.points.iter().flat_map(|point| &point.invalid) {
        // What follows a colon is of this one point alone.
        *reasons.entry(why.split(':').next().unwrap_or(why)).or_default() += 1;
    }
    let reasons: Vec<_> = reasons.iter().map(|(why, count)| format!("{why} ({count})")).collect();
    let text = format!("Left out: {}. ", reasons.join("; "));
    let link = Element::new("a").with("href", "#invalid").text("Which ones");
    (!reasons.is_empty()).then(|| Element::of("p", "note").text(text).child(link))
}

/// All points that do not count, and why.
pub(super) fn invalid(data: &Data<'_>) -> Table {
    let mut table = Table::new("Points that do not count.", &["experiment", "setting", "subject", "round", "why"]);
    for point in data.results.points.iter().filter(|point| !point.is_valid()) {
        let key = &point.key;
        let setting = super::data::label(&key.setting);
        let why = point.invalid.join("; ");
        table.row([key.experiment.as_str(), &setting, &key.subject, &key.round.to_string(), &why].map(Into::into));
    }
    table
}

/// What the checks of histories came to.
pub(super) fn histories(data: &Data<'_>) -> String {
    let (mut keys, mut operations, mut wrong, mut undecided) = (0, 0, 0_u64, 0_u64);
    for point in &data.results.points {
        match &point.history {
            History::Linearizable { keys: k, operations: o } => (keys, operations) = (keys + k, operations + o),
            History::NotLinearizable { .. } => wrong += 1,
            History::Undecided { .. } => undecided += 1,
            History::NotRecorded => {}
        }
    }
    format!(
        "{} operations on {} watched keys are linearizable. Histories that are not: {}; undecided: {}.",
        whole(operations),
        whole(keys),
        whole(wrong),
        whole(undecided)
    )
}

/// Histories that are not known to be linearizable: the wrong ones first.
pub(super) fn doubtful(data: &Data<'_>) -> Table {
    let head = ["experiment", "setting", "subject", "round", "history", "why"];
    let mut table = Table::new("Histories that are not linearizable, and those of which that is not known.", &head);
    for is_wrong in [true, false] {
        for point in &data.results.points {
            let (word, why) = match &point.history {
                History::NotLinearizable { why } if is_wrong => ("not linearizable", why),
                History::Undecided { why } if !is_wrong => ("undecided", why),
                _ => continue,
            };
            let key = &point.key;
            let (setting, round, why) = (super::data::label(&key.setting), key.round.to_string(), one_line(why));
            table.row([key.experiment.as_str(), &setting, &key.subject, &round, word, &why].map(Into::into));
        }
    }
    table
}
