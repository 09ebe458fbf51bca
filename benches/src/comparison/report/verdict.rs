//! The answer in a paragraph, made of the figures and of nothing else, and how far it can be believed.

use std::collections::BTreeMap;

use super::data::{Data, Group, p50_us, p99_us, served_us};
use super::element::Element;
use super::repeated;
use super::stats::{Verdict, chance};
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
    /// Settings with too few rounds.
    pub(super) too_few: usize,
    /// Settings that say nothing of the protocols: the processor was the limit, or the rate was not reached.
    pub(super) bound: usize,
}

impl Tally {
    pub(super) fn judged(&self) -> usize {
        self.ties + self.differences.len()
    }

    fn add(&mut self, verdicts: &[(&str, Verdict)], (first, other): (&Shown, &Shown), label: String) {
        let differing: Vec<_> =
            verdicts.iter().filter_map(|(what, verdict)| named(what, *verdict, first, other)).collect();
        if verdicts.iter().any(|(_, verdict)| *verdict == Verdict::TooFew) {
            self.too_few += 1;
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
        let verdicts = [("p50", group.compare(first, other, p50_us)), ("p99", group.compare(first, other, p99_us))];
        tally.add(&verdicts, (first, other), format!("{} ({})", sweep.experiment, group.label()));
    }
    tally
}

/// Events, by the first operation that was acknowledged.
pub(super) fn served(groups: &[&Group<'_>], first: &Shown, other: &Shown) -> Tally {
    let mut tally = Tally::default();
    for group in groups {
        let verdict = Verdict::of(group.event(first, served_us), group.event(other, served_us));
        tally.add(&[("time to serve", verdict)], (first, other), group.label());
    }
    tally
}

/// The answer.
pub(super) fn sentences(data: &Data<'_>) -> Vec<String> {
    let Some((first, other)) = data.pair() else { return vec!["There are no two subjects to compare.".to_owned()] };
    let mut sentences = Vec::new();
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
    if tally.too_few > 0 {
        sentences
            .push(format!("In {} there are too few valid rounds to say anything.", several(tally.too_few, "setting")));
    }
    for (partitions, when) in [(false, "After the loss of a leader"), (true, "While links are cut")] {
        let groups = data.events(partitions);
        sentences.extend(events(&groups, when, first, other));
    }
    sentences.push(noise(data));
    sentences
}

fn events(groups: &[&Group<'_>], when: &str, first: &Shown, other: &Shown) -> Option<String> {
    // In full of the first setting, in sum of all.
    let group = groups.first()?;
    let (a, b) = (group.event(first, served_us)?, group.event(other, served_us)?);
    let example = if groups.len() > 1 { format!(" ({})", group.label()) } else { String::new() };
    let after =
        |us: f64| if us.is_finite() { format!("after {}", Unit::Time.show(us)) } else { "not in time".to_owned() };
    let times = format!("{} with {first} and {} with {other}", after(a.median), after(b.median));
    let tally = served(groups, first, other);
    let verdict = match (tally.judged(), Verdict::of(Some(a), Some(b))) {
        (0, _) => ". That is too few rounds for a verdict.".to_owned(),
        (1, Verdict::Tie { .. }) if groups.len() == 1 => ": a tie.".to_owned(),
        (1, Verdict::Differ { ratio: by }) if groups.len() == 1 => format!(": they differ, {}.", ratio(by)),
        _ => format!("; in this the two {}", tally.sentence("settings")),
    };
    Some(format!("{when}{example} the first new write is acknowledged {times}{verdict}"))
}

fn noise(data: &Data<'_>) -> String {
    let pairs = repeated::pairs(data);
    let judged = pairs.iter().filter(|pair| pair.verdict != Verdict::TooFew).count();
    let apart = pairs.iter().filter(|pair| pair.verdict.differs()).count();
    let rounds = data.results.plan.rounds as usize;
    let expected = percent(chance(rounds, rounds));
    match (judged, apart) {
        (0, _) if !pairs.is_empty() => {
            "Of the subjects that differ only by name too few rounds are valid to know the noise.".to_owned()
        }
        (0, _) => format!(
            "No subject was repeated under another name, so the noise is not known; equal subjects would differ by \
             chance in {expected} of the figures."
        ),
        (_, 0) => {
            let by = percent(repeated::farthest(&pairs) - 1.0);
            format!(
                "Subjects that differ only by name tie in all {judged} figures, as they must; their medians are up \
                 to {by} apart."
            )
        }
        _ => format!(
            "Subjects that differ only by name come apart in {apart} of {judged} figures, where chance makes it \
             {expected}: see below before believing small differences."
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
    Element::of("dl", "glance").children([
        tile(whole(points.len() as u64), "points measured", false),
        tile(whole(data.results.plan.rounds.into()), "rounds of each", false),
        tile(whole(invalid as u64), "invalid, left out", invalid > 0),
        tile(whole(count(Point::is_cpu_bound) as u64), "bound by the processor", false),
        tile(
            format!("{} of {}", whole(linearizable as u64), whole(recorded as u64)),
            "histories linearizable",
            wrong > 0,
        ),
    ])
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

/// What the checks of histories came to, where it is not simply yes.
pub(super) fn histories(data: &Data<'_>) -> String {
    let (mut keys, mut operations, mut undecided) = (0, 0, Vec::new());
    for point in &data.results.points {
        match &point.history {
            History::Linearizable { keys: k, operations: o } => (keys, operations) = (keys + k, operations + o),
            History::NotLinearizable { why } => undecided.push(format!("not linearizable: {why}")),
            History::Undecided { why } => undecided.push(format!("undecided: {why}")),
            History::NotRecorded => {}
        }
    }
    let checked = format!("{} operations on {} watched keys were checked.", whole(operations), whole(keys));
    undecided.sort();
    undecided.dedup();
    if undecided.is_empty() { checked } else { format!("{checked} Besides, {}.", undecided.join("; ")) }
}
