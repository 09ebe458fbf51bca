//! What has been written about the two protocols, and whether it was seen here.
//!
//! Each row is computed: a prediction that the plan did not put to the test is called *not measured*, never seen.

use super::costs::{Role, per_operation};
use super::data::{Data, Group, p50_us, p99_us, tail_reached};
use super::element::Element;
use super::page;
use super::stats::{Spread, Verdict};
use super::subjects::Shown;
use super::table::{Cell, Table};
use super::units::{Unit, ratio};
use super::verdict;
use crate::comparison::results::Event;

/// The flag that gives the replication lane more streams than one.
const STREAMS: &str = "replication-streams";
/// Up to which share of its events a split vote counts as rare.
const RARE: f64 = 0.1;
/// With fewer events of a subject than this nothing is said of how often something happens.
const FEWEST_EVENTS: usize = 10;
/// Up to which share of the longer one two open tails count as equally long.
const TAILS_APART: f64 = 0.25;
/// Up to how many round trips a commit counts as one round trip.
const ONE_ROUND_TRIP: f64 = 1.5;

/// Whether something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Yes,
    InPart,
    No,
    NotMeasured,
}

/// What came of a prediction, and on which figures that rests.
type Outcome = (Seen, String);

/// A figure of both engines where the most was open when the leader was lost.
struct At {
    verdict: Verdict,
    raft: Spread,
    paxos: Spread,
    words: String,
}

/// What the predictions are checked on.
struct Bench<'a, 'b> {
    data: &'b Data<'a>,
    raft: &'b Shown,
    paxos: &'b Shown,
}

/// The section, if both engines were measured.
pub(super) fn section(data: &Data<'_>) -> Option<Element> {
    let table = table(data);
    if table.is_empty() {
        return None;
    }
    let text = "Predictions of the literature, and what these figures say of them. A prediction that this plan \
                does not test is called not measured.";
    Some(page::section("literature", "What the literature predicts").child(page::paragraph(text)).child(table.html()))
}

/// A row for each prediction.
pub(super) fn table(data: &Data<'_>) -> Table {
    let mut table = Table::new("Predictions and what was seen.", &["source", "prediction", "seen", "figures"]);
    let engine = |name: &str| data.originals().find(|subject| subject.engine == name);
    let (Some(raft), Some(paxos)) = (engine("raft"), engine("paxos")) else { return table };
    let bench = Bench { data, raft, paxos };
    let mut row = |source: &str, prediction: &str, (seen, figures): Outcome| {
        let (word, class) = match seen {
            Seen::Yes => ("seen", "tie"),
            Seen::InPart => ("in part", "few"),
            Seen::No => ("not seen", "differ"),
            Seen::NotMeasured => ("not measured", "few"),
        };
        table.row([source.into(), prediction.into(), Cell::from(word).class(class), figures.into()]);
    };
    row("Howard & Mortier 2020", "In steady state the two do the same and take as long.", bench.steady_state());
    row(
        "Howard & Mortier 2020",
        "A Multi-Paxos election moves accepted values; a Raft election moves none.",
        bench.values_move(),
    );
    row(
        "Howard & Mortier 2020",
        "So Raft elects faster where much is open: nothing is fetched before it leads.",
        bench.faster_election(),
    );
    row(
        "Ongaro 2014, §3.6; Paxos Made Simple, §3",
        "Multi-Paxos writes open entries again under the new ballot; Raft keeps them under their term.",
        bench.written_again(),
    );
    row(
        "Ongaro 2014, §3.4",
        "Random timeouts make split votes rare in Raft; ballots that belong to a node cannot be split.",
        bench.split_votes(),
    );
    row(
        "Paxos Made Simple, §3",
        "Under a stable leader a command takes one round trip, under either protocol.",
        bench.one_round_trip(),
    );
    row(
        "Santos & Schiper 2012",
        "Batching carries throughput: messages an operation fall as the load grows.",
        bench.batching(),
    );
    row(
        "Paxos Made Simple, §3",
        "Slots do not wait for each other: under loss independent streams help Multi-Paxos, and not Raft.",
        bench.independent_slots(),
    );
    table
}

fn not_measured(why: &str) -> Outcome {
    (Seen::NotMeasured, why.to_owned())
}

fn seen(seen: bool) -> Seen {
    if seen { Seen::Yes } else { Seen::No }
}

fn share(good: usize, all: usize) -> Seen {
    match good {
        _ if all == 0 => Seen::NotMeasured,
        0 => Seen::No,
        _ if good == all => Seen::Yes,
        _ => Seen::InPart,
    }
}

impl<'a> Bench<'a, '_> {
    fn steady_state(&self) -> Outcome {
        let tally = verdict::steady(self.data, self.raft, self.paxos);
        if tally.judged() == 0 {
            return not_measured("no setting below the limits of the processor with enough rounds");
        }
        (share(tally.ties, tally.judged()), format!("{} of {} settings tie in p50 and p99", tally.ties, tally.judged()))
    }

    /// Where the most was open when the leader was lost.
    fn longest_tail(&self) -> Option<&Group<'a>> {
        let groups = self.data.events(false).into_iter();
        let both = |group: &&Group<'_>| [self.raft, self.paxos].iter().all(|s| group.events(s).next().is_some());
        groups.filter(|group| group.setting.open_tail > 0).filter(both).max_by_key(|group| group.setting.open_tail)
    }

    /// A figure of both where the most was open, in words, and how they compare; else why they cannot be compared.
    fn at_tail(&self, unit: Unit, of: fn(&Event) -> Option<f64>) -> Result<At, Outcome> {
        let both = |group: &Group<'_>, of: fn(&Event) -> Option<f64>| {
            group.event(self.raft, of).zip(group.event(self.paxos, of))
        };
        let none = || not_measured("no leader was lost with an open tail");
        let group = self.longest_tail().ok_or_else(none)?;
        let tails = both(group, tail_reached).ok_or_else(none)?;
        let (raft, paxos) = (tails.0.median, tails.1.median);
        let reached = format!("{} {}, {} {}", self.raft, Unit::Count.show(raft), self.paxos, Unit::Count.show(paxos));
        if (raft - paxos).abs() > TAILS_APART * raft.max(paxos) {
            return Err((Seen::NotMeasured, format!("the tails reached differ: {reached}")));
        }
        if raft.max(paxos) == 0.0 {
            return Err(not_measured("a tail was asked for, and none was open"));
        }
        let (raft, paxos) = both(group, of).ok_or_else(|| not_measured("the figure is not known of both"))?;
        let figures = format!("{} {}, {} {}", self.raft, unit.spread(&raft), self.paxos, unit.spread(&paxos));
        let words = format!("{} (reached: {reached}): {figures}", group.label());
        let verdict = Verdict::of(Some(raft), Some(paxos));
        if verdict == Verdict::TooFew {
            return Err((Seen::NotMeasured, format!("too few rounds; {words}")));
        }
        Ok(At { verdict, raft, paxos, words })
    }

    /// A figure of which Multi-Paxos is to have more.
    fn more_in_paxos(&self, unit: Unit, of: fn(&Event) -> Option<f64>) -> Outcome {
        let At { verdict, words, .. } = match self.at_tail(unit, of) {
            Ok(at) => at,
            Err(outcome) => return outcome,
        };
        match verdict {
            Verdict::Differ { ratio: by } => (seen(by > 1.0), format!("{words}; {}", ratio(by))),
            Verdict::Tie { ratio: by } => (Seen::No, format!("{words}; a tie, {}", ratio(by))),
            Verdict::TooFew => (Seen::NotMeasured, words),
        }
    }

    fn values_move(&self) -> Outcome {
        self.more_in_paxos(Unit::Bytes, |event| Some(event.moved_bytes as f64))
    }

    fn faster_election(&self) -> Outcome {
        self.more_in_paxos(Unit::Time, |event| Some((event.elected_ms? - event.detected_ms?) * 1e3))
    }

    fn written_again(&self) -> Outcome {
        match self.at_tail(Unit::Count, |event| Some(event.rewritten_entries as f64)) {
            Ok(at) => (seen(at.verdict.differs() && at.raft.median == 0.0 && at.paxos.median > 0.0), at.words),
            Err(outcome) => outcome,
        }
    }

    fn split_votes(&self) -> Outcome {
        let count = |subject: &Shown| {
            let events = self.data.events(false).into_iter().flat_map(move |group| group.events(subject));
            events
                .filter(|event| event.campaigns > 0)
                .fold((0, 0_usize), |(again, all), event| (again + usize::from(event.campaigns > 1), all + 1))
        };
        let ((raft, raft_all), (paxos, paxos_all)) = (count(self.raft), count(self.paxos));
        if raft_all.min(paxos_all) < FEWEST_EVENTS {
            let why = format!("campaigns were counted in fewer than {FEWEST_EVENTS} events of one of them");
            return (Seen::NotMeasured, why);
        }
        let words = format!(
            "more than one campaign, for whatever reason: {} in {raft} of {raft_all} events, {} in {paxos} of \
             {paxos_all}",
            self.raft, self.paxos
        );
        let (raft, paxos) = (raft as f64 / raft_all as f64, paxos as f64 / paxos_all as f64);
        (seen(raft <= RARE && paxos <= RARE), words)
    }

    fn one_round_trip(&self) -> Outcome {
        let (mut good, mut all, mut words) = (0, 0, Vec::new());
        for sweep in self.data.sweeps().iter().filter(|sweep| sweep.setting.what == "puts") {
            let Some(round_trip_us) = self.round_trip_us(&sweep.setting.network) else { continue };
            let Some(group) = sweep.rates.first() else { continue };
            if group.compare(self.raft, self.paxos, p50_us) == Verdict::TooFew {
                continue;
            }
            for subject in [self.raft, self.paxos] {
                let Some(p50) = group.load(subject, p50_us) else { continue };
                let trips = p50.median / round_trip_us;
                all += 1;
                good += usize::from(trips < ONE_ROUND_TRIP);
                words.push(format!("{} {subject} {trips:.2} round trips", sweep.setting.network));
            }
        }
        if all == 0 {
            let why = "no network with a round trip of 5 ms or more, beside which the disk is small, and enough rounds";
            return not_measured(why);
        }
        (share(good, all), format!("p50 at the lowest rate: {}", words.join(", ")))
    }

    /// Only where it is long beside a write to the disk; of the built-in networks that is said by the name.
    fn round_trip_us(&self, network: &str) -> Option<f64> {
        let given = self.data.results.plan.networks.iter().find(|given| given.name == network);
        let built_in = || network.strip_prefix("wan")?.parse().ok();
        given.map(|given| given.round_trip_ms).or_else(built_in).filter(|ms| *ms >= 5.0).map(|ms| ms * 1e3)
    }

    fn batching(&self) -> Outcome {
        let (mut good, mut all, mut words) = (0, 0, Vec::new());
        for sweep in self.data.sweeps().iter().filter(|sweep| sweep.setting.what == "puts") {
            for subject in [self.raft, self.paxos] {
                let messages = |group: &&Group<'_>| {
                    let of = |load| per_operation(load, Role::Leader, |cost| cost.messages as f64);
                    Spread::of(group.loads(subject).filter_map(of)).filter(|spread| spread.median > 0.0)
                };
                let ends = sweep.rates.first().and_then(messages).zip(sweep.rates.last().and_then(messages));
                let Some((low, high)) = ends.filter(|_| sweep.rates.len() > 1) else { continue };
                let fell = match Verdict::of(Some(low), Some(high)) {
                    Verdict::TooFew => continue,
                    Verdict::Tie { .. } => false,
                    Verdict::Differ { ratio } => ratio < 1.0,
                };
                all += 1;
                good += usize::from(fell);
                let (low, high) = (Unit::Count.show(low.median), Unit::Count.show(high.median));
                words.push(format!("{} {subject} {low} → {high}", sweep.setting.network));
            }
        }
        if all == 0 {
            return not_measured("messages were not counted at two rates of puts in enough rounds");
        }
        (share(good, all), format!("messages of the leader an operation, lowest to highest rate: {}", words.join(", ")))
    }

    fn independent_slots(&self) -> Outcome {
        let with_streams = |engine: &Shown| {
            let of = self.data.originals().filter(|subject| subject.engine == engine.engine);
            let mut others = of.filter(|subject| subject.place != engine.place);
            others.find(|subject| subject.flags.iter().any(|flag| flag.contains(STREAMS)))
        };
        let Some((raft, paxos)) = with_streams(self.raft).zip(with_streams(self.paxos)) else {
            return not_measured("not both engines were measured with independent streams");
        };
        let (mut good, mut all, mut words) = (0, 0, Vec::new());
        for sweep in self.data.sweeps().iter().filter(|sweep| self.loses(&sweep.setting.network)) {
            let Some((group, _)) = sweep.representative(&self.data.subjects) else { continue };
            let of_raft = group.compare(self.raft, raft, p99_us);
            let of_paxos = group.compare(self.paxos, paxos, p99_us);
            // One half alone is no answer.
            if [of_raft, of_paxos].contains(&Verdict::TooFew) {
                continue;
            }
            let helped = |verdict: Verdict| matches!(verdict, Verdict::Differ { ratio } if ratio < 1.0);
            all += 1;
            good += usize::from(helped(of_paxos) && !helped(of_raft));
            words.push(format!(
                "{}: {} {}, {} {}",
                sweep.setting.network,
                self.paxos,
                super::units::verdict(of_paxos),
                self.raft,
                super::units::verdict(of_raft)
            ));
        }
        if all == 0 {
            return not_measured("no network that loses packets with enough rounds");
        }
        (share(good, all), format!("p99 with independent streams against one stream: {}", words.join("; ")))
    }

    fn loses(&self, network: &str) -> bool {
        let given = self.data.results.plan.networks.iter().find(|given| given.name == network);
        given.map_or(network.starts_with("loss"), |given| given.loss.is_some())
    }
}
