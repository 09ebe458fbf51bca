//! The points in order: what belongs together, of which subject, in how many rounds.
//!
//! ```text
//!   points ──▶ invalid ones aside ──▶ Group: one setting, all subjects ──▶ Sweep: one setting but for the rate
//! ```

use super::stats::{Spread, Verdict, median};
use super::subjects::{self, Shown};
use super::units::{Unit, several, whole};
use crate::comparison::results::{Event, Found, Load, Point, Results, Setting};

/// At which share of the offered rate it counts as reached.
pub(super) const REACHED: f64 = 0.95;
/// Which share of it may be due and not have begun in the end: those would have been the slowest, and no percentile knows
/// them.
const NOT_STARTED_MAX: f64 = 0.01;

/// Results, sorted.
pub(super) struct Data<'a> {
    pub(super) results: &'a Results,
    pub(super) subjects: Vec<Shown>,
    pub(super) groups: Vec<Group<'a>>,
    /// Settings that were measured and have not one valid point.
    lost: Vec<Lost<'a>>,
}

/// What is done in an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Steady load.
    Curve,
    /// The leader is lost.
    Failover,
    /// Links are lost.
    Partition,
    /// Something is done meanwhile.
    Meanwhile,
}

/// A setting without a valid point; of a curve, without a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost<'a> {
    pub(super) experiment: &'a str,
    pub(super) setting: Setting,
    kind: Kind,
}

/// The valid points of one setting: what is compared with each other.
pub(super) struct Group<'a> {
    pub(super) experiment: &'a str,
    pub(super) setting: &'a Setting,
    /// By subject, in the order of rounds.
    points: Vec<Vec<&'a Point>>,
}

/// One setting at several rates, in ascending order.
pub(super) struct Sweep<'a, 'b> {
    pub(super) experiment: &'a str,
    /// The setting with no rate.
    pub(super) setting: Setting,
    pub(super) rates: Vec<&'b Group<'a>>,
}

impl<'a> Data<'a> {
    pub(super) fn of(results: &'a Results) -> Data<'a> {
        let subjects = subjects::all(results);
        let mut groups: Vec<Group<'a>> = Vec::new();
        for point in results.points.iter().filter(|point| point.is_valid()) {
            let (experiment, setting) = (point.key.experiment.as_str(), &point.key.setting);
            let known = groups.iter().position(|group| group.experiment == experiment && group.setting == setting);
            let place = known.unwrap_or_else(|| {
                groups.push(Group { experiment, setting, points: vec![Vec::new(); subjects.len()] });
                groups.len() - 1
            });
            if let Some(subject) = subjects.iter().position(|shown| shown.name == point.key.subject) {
                groups[place].points[subject].push(point);
            }
        }
        groups.iter_mut().flat_map(|group| &mut group.points).for_each(|points| {
            points.sort_by_key(|point| point.key.round);
        });
        let lost = lost(results, &groups);
        Data { results, subjects, groups, lost }
    }

    /// The settings of one kind that were measured and have not one valid point.
    pub(super) fn lost(&self, kind: Kind) -> impl Iterator<Item = &Lost<'a>> {
        self.lost.iter().filter(move |lost| lost.kind == kind)
    }

    /// Those who are somebody else than all before.
    pub(super) fn originals(&self) -> impl Iterator<Item = &Shown> {
        self.subjects.iter().filter(|subject| subject.same_as.is_none())
    }

    /// The two that the question is about: the first subject, and the first of another engine, else the second one.
    pub(super) fn pair(&self) -> Option<(&Shown, &Shown)> {
        let first = self.originals().next()?;
        let other = self.originals().find(|subject| subject.engine != first.engine);
        Some((first, other.or_else(|| self.originals().nth(1))?))
    }

    /// All settings of load, each over its rates.
    pub(super) fn sweeps<'b>(&'b self) -> Vec<Sweep<'a, 'b>> {
        let mut sweeps: Vec<Sweep<'a, 'b>> = Vec::new();
        for group in self.groups.iter().filter(|group| group.any(|found| matches!(found, Found::Load(_)))) {
            let setting = Setting { rate_per_s: 0, ..group.setting.clone() };
            match sweeps.iter_mut().find(|sweep| sweep.experiment == group.experiment && sweep.setting == setting) {
                Some(sweep) => sweep.rates.push(group),
                None => sweeps.push(Sweep { experiment: group.experiment, setting, rates: vec![group] }),
            }
        }
        sweeps.iter_mut().for_each(|sweep| sweep.rates.sort_by_key(|group| group.setting.rate_per_s));
        sweeps
    }

    /// The settings in which links were lost, or all others in which something happened.
    pub(super) fn events(&self, partitions: bool) -> Vec<&Group<'a>> {
        let of_links = |group: &Group<'_>| self.results.plan.partitions.iter().any(|p| p.name == group.experiment);
        let events = self.groups.iter().filter(|group| group.any(|found| matches!(found, Found::Events { .. })));
        events.filter(|group| of_links(group) == partitions).collect()
    }

    /// The settings in which something was done to a cluster that worked.
    pub(super) fn meanwhiles(&self) -> Vec<&Group<'a>> {
        self.groups.iter().filter(|group| group.any(|found| matches!(found, Found::Meanwhile { .. }))).collect()
    }
}

/// The settings of all points that no group has, in the order of time.
fn lost<'a>(results: &'a Results, groups: &[Group<'_>]) -> Vec<Lost<'a>> {
    let of = |kind: Kind, setting: &Setting| match kind {
        // A curve is judged at one rate, so it is lost only where all of them are.
        Kind::Curve => Setting { rate_per_s: 0, ..setting.clone() },
        _ => setting.clone(),
    };
    let mut lost: Vec<Lost<'a>> = Vec::new();
    for point in results.points.iter().filter(|point| !point.is_valid()) {
        let (experiment, kind) = (point.key.experiment.as_str(), kind(results, point));
        let setting = of(kind, &point.key.setting);
        let found = groups.iter().any(|group| group.experiment == experiment && of(kind, group.setting) == setting);
        let one = Lost { experiment, setting, kind };
        if !found && !lost.contains(&one) {
            lost.push(one);
        }
    }
    lost
}

/// By the plan first: a point whose course broke down holds an empty load, whatever it was to be.
fn kind(results: &Results, point: &Point) -> Kind {
    let (plan, name) = (&results.plan, point.key.experiment.as_str());
    if plan.curves.iter().any(|curve| curve.name == name) {
        return Kind::Curve;
    }
    if plan.partitions.iter().any(|partition| partition.name == name) {
        return Kind::Partition;
    }
    if plan.failovers.iter().any(|failover| failover.name == name) {
        return Kind::Failover;
    }
    if plan.meanwhiles.iter().any(|meanwhile| meanwhile.name == name) {
        return Kind::Meanwhile;
    }
    match point.found {
        Found::Load(_) => Kind::Curve,
        Found::Events { .. } => Kind::Failover,
        Found::Meanwhile { .. } => Kind::Meanwhile,
    }
}

impl Lost<'_> {
    pub(super) fn label(&self) -> String {
        label(&self.setting)
    }
}

impl<'a> Group<'a> {
    pub(super) fn points(&self, subject: &Shown) -> &[&'a Point] {
        self.points.get(subject.place).map_or(&[], Vec::as_slice)
    }

    fn any(&self, is: impl Fn(&Found) -> bool) -> bool {
        self.points.iter().flatten().any(|point| is(&point.found))
    }

    /// The subject's loads, round by round.
    pub(super) fn loads(&self, subject: &Shown) -> impl Iterator<Item = &'a Load> {
        self.points(subject).iter().filter_map(|point| match &point.found {
            Found::Load(load) => Some(load),
            _ => None,
        })
    }

    /// Loads before and meanwhile, and how many milliseconds it lasted.
    pub(super) fn meanwhiles(&self, subject: &Shown) -> impl Iterator<Item = (&'a Load, &'a Load, f64)> {
        self.points(subject).iter().filter_map(|point| match &point.found {
            Found::Meanwhile { before, meanwhile, lasted_ms } => Some((before, meanwhile, *lasted_ms)),
            _ => None,
        })
    }

    /// All of the subject's events.
    pub(super) fn events(&self, subject: &Shown) -> impl Iterator<Item = &'a Event> {
        self.rounds_of_events(subject).flatten()
    }

    fn rounds_of_events(&self, subject: &Shown) -> impl Iterator<Item = &'a [Event]> {
        self.points(subject).iter().filter_map(|point| match &point.found {
            Found::Events { events } => Some(events.as_slice()),
            _ => None,
        })
    }

    /// A figure of the load over the rounds.
    pub(super) fn load(&self, subject: &Shown, of: impl Fn(&Load) -> f64) -> Option<Spread> {
        Spread::of(self.loads(subject).map(of))
    }

    /// A figure of the events: the median of all of them, within the range of the rounds' medians.
    pub(super) fn event(&self, subject: &Shown, of: impl Fn(&Event) -> Option<f64>) -> Option<Spread> {
        let rounds = self.rounds_of_events(subject).filter_map(|events| median(events.iter().filter_map(&of)));
        let of_rounds = Spread::of(rounds)?;
        Some(Spread { median: median(self.events(subject).filter_map(&of))?, ..of_rounds })
    }

    /// How two subjects compare in a figure of the load.
    pub(super) fn compare(&self, first: &Shown, other: &Shown, of: impl Fn(&Load) -> f64) -> Verdict {
        Verdict::of(self.load(first, &of), self.load(other, &of))
    }

    /// Whether the processor was the limit in most rounds.
    pub(super) fn is_cpu_bound(&self, subject: &Shown) -> bool {
        let points = self.points(subject);
        2 * points.iter().filter(|point| point.is_cpu_bound()).count() > points.len()
    }

    /// Whether the offered rate was carried out, by the median of the rounds.
    pub(super) fn is_reached(&self, subject: &Shown) -> bool {
        let offered = self.setting.rate_per_s as f64;
        let has_begun = |load: &Load| load.not_started as f64 <= NOT_STARTED_MAX * offered * load.seconds;
        self.load(subject, |load| load.rate_per_s).is_some_and(|rate| rate.median >= offered * REACHED)
            && self.load(subject, |load| f64::from(u8::from(has_begun(load)))).is_some_and(|share| share.median > 0.5)
    }

    pub(super) fn label(&self) -> String {
        label(self.setting)
    }
}

impl<'a, 'b> Sweep<'a, 'b> {
    /// The highest rate that all subjects reached without the processor being the limit: where a figure says something
    /// of the protocols.
    pub(super) fn free(&self, subjects: &[Shown]) -> Option<&'b Group<'a>> {
        let measured = |group: &Group<'_>| subjects.iter().filter(|s| !group.points(s).is_empty()).count();
        let all = self.rates.iter().map(|group| measured(group)).max().unwrap_or(0);
        let free = |group: &&&'b Group<'a>| {
            let of = subjects.iter().filter(|subject| !group.points(subject).is_empty());
            measured(group) == all
                && of.clone().all(|subject| !group.is_cpu_bound(subject) && group.is_reached(subject))
        };
        self.rates.iter().rev().find(free).copied()
    }

    /// [`Sweep::free`], else the lowest rate; and whether it is the former.
    pub(super) fn representative(&self, subjects: &[Shown]) -> Option<(&'b Group<'a>, bool)> {
        let free = self.free(subjects).map(|group| (group, true));
        free.or_else(|| self.rates.first().map(|group| (*group, false)))
    }

    pub(super) fn label(&self) -> String {
        label(&self.setting)
    }
}

/// What stands behind a rate that is only the lowest one, because none was free.
pub(super) fn mark(free: bool) -> &'static str {
    if free { "" } else { " *" }
}

/// A setting in words; what is as usual goes without saying.
pub(super) fn label(setting: &Setting) -> String {
    let mut words = vec![setting.network.clone(), several(setting.nodes as usize, "node"), setting.what.clone()];
    if setting.value_bytes > 0 {
        words.push(Unit::Bytes.show(setting.value_bytes as f64));
    }
    if !setting.sync {
        words.push("no sync".to_owned());
    }
    if setting.rate_per_s > 0 {
        words.push(format!("{}/s", whole(setting.rate_per_s)));
    }
    if setting.open_tail > 0 {
        words.push(format!("open tail {}", whole(setting.open_tail)));
    }
    words.retain(|word| !word.is_empty());
    words.join(" · ")
}

pub(super) fn p50_us(load: &Load) -> f64 {
    load.all.p50_us as f64
}

pub(super) fn p99_us(load: &Load) -> f64 {
    load.all.p99_us as f64
}

/// When the first operation was acknowledged; later than all else where none was in time.
pub(super) fn served_us(event: &Event) -> Option<f64> {
    Some(event.served_ms.map_or(f64::INFINITY, |ms| ms * 1e3))
}

/// How many entries were open in truth.
pub(super) fn tail_reached(event: &Event) -> Option<f64> {
    Some(event.open_tail as f64)
}

pub(super) fn silence_us(event: &Event) -> Option<f64> {
    Some(event.silence_ms * 1e3)
}
