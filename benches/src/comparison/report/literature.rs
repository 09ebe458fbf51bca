//! What has been written about the two protocols, and whether it was seen here.
//!
//! Each row is computed: a prediction that the plan did not put to the test is called *not measured*, never seen.

use super::costs::{Role, per_operation};
use super::data::{Data, Group, p50_us, p99_us};
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

    /// A figure of both where the most was open, in words, and how they compare.
    fn at_tail(&self, unit: Unit, of: fn(&Event) -> Option<f64>) -> Option<(Verdict, Spread, Spread, String)> {
        let group = self.longest_tail()?;
        let (raft, paxos) = (group.event(self.raft, of)?, group.event(self.paxos, of)?);
        let words =
            format!("{}: {} {}, {} {}", group.label(), self.raft, unit.spread(&raft), self.paxos, unit.spread(&paxos));
        Some((Verdict::of(Some(raft), Some(paxos)), raft, paxos, words))
    }

    /// A figure of which Multi-Paxos is to have more.
    fn more_in_paxos(&self, unit: Unit, of: fn(&Event) -> Option<f64>) -> Outcome {
        match self.at_tail(unit, of) {
            None => not_measured("no leader was lost with an open tail"),
            Some((Verdict::TooFew, _, _, words)) => (Seen::NotMeasured, format!("too few rounds; {words}")),
            Some((Verdict::Differ { ratio: by }, _, _, words)) => (seen(by > 1.0), format!("{words}; {}", ratio(by))),
            Some((Verdict::Tie { ratio: by }, _, _, words)) => (Seen::No, format!("{words}; a tie, {}", ratio(by))),
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
            None => not_measured("no leader was lost with an open tail"),
            Some((_, raft, paxos, words)) if raft.max == 0.0 && paxos.max == 0.0 => (Seen::No, words),
            Some((_, raft, paxos, words)) => (seen(raft.median == 0.0 && paxos.median > 0.0), words),
        }
    }

    fn split_votes(&self) -> Outcome {
        let count = |subject: &Shown| {
            let events = self.data.events(false).into_iter().flat_map(move |group| group.events(subject));
            events
                .filter(|event| event.campaigns > 0)
                .fold((0, 0), |(again, all), event| (again + usize::from(event.campaigns > 1), all + 1))
        };
        let ((raft, raft_all), (paxos, paxos_all)) = (count(self.raft), count(self.paxos));
        if raft_all == 0 || paxos_all == 0 {
            return not_measured("no leader was lost, or campaigns were not counted");
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
            for subject in [self.raft, self.paxos] {
                let Some(p50) = group.load(subject, p50_us) else { continue };
                let trips = p50.median / round_trip_us;
                all += 1;
                good += usize::from(trips < ONE_ROUND_TRIP);
                words.push(format!("{} {subject} {trips:.2} round trips", sweep.setting.network));
            }
        }
        if all == 0 {
            return not_measured("no network with a round trip of 5 ms or more, beside which the disk is small");
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
                all += 1;
                good += usize::from(high.median < low.median);
                let (low, high) = (Unit::Count.show(low.median), Unit::Count.show(high.median));
                words.push(format!("{} {subject} {low} → {high}", sweep.setting.network));
            }
        }
        if all == 0 {
            return not_measured("messages were not counted at more than one rate of puts");
        }
        (share(good, all), format!("messages of the leader an operation, lowest to highest rate: {}", words.join(", ")))
    }

    fn independent_slots(&self) -> Outcome {
        let with_streams = |engine: &Shown| {
            let of = self.data.originals().filter(|subject| subject.engine == engine.engine);
            of.into_iter().find(|subject| subject.flags.iter().any(|flag| flag.contains(STREAMS)))
        };
        let Some(paxos) = with_streams(self.paxos) else { return not_measured("no subject with independent streams") };
        let (mut good, mut all, mut words) = (0, 0, Vec::new());
        for sweep in self.data.sweeps().iter().filter(|sweep| self.loses(&sweep.setting.network)) {
            let Some((group, _)) = sweep.representative(&self.data.subjects) else { continue };
            let helped = group.compare(self.paxos, paxos, p99_us);
            let (Verdict::Tie { ratio: by } | Verdict::Differ { ratio: by }) = helped else { continue };
            let raft = with_streams(self.raft).map(|raft| group.compare(self.raft, raft, p99_us));
            all += 1;
            let raft_helped = raft.is_some_and(|raft| matches!(raft, Verdict::Differ { ratio } if ratio < 1.0));
            good += usize::from(helped.differs() && by < 1.0 && !raft_helped);
            let raft = raft.map_or(String::new(), |raft| format!(", {} {}", self.raft, super::units::verdict(raft)));
            words.push(format!("{}: {} {}{raft}", sweep.setting.network, self.paxos, super::units::verdict(helped)));
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
