//! Results that could have been measured: two engines that tie, each of them twice, in five rounds; with a point that is
//! invalid, a rate that is not reached, and a processor that becomes the limit.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::comparison::plan::{Curve, Failover, Meanwhile, Plan, Subject};
use crate::comparison::results::{
    Conditions, Cost, Event, FORMAT, Found, History, Latency, Load, Point, PointKey, Results, Setting,
};

/// The same every time.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// Around 1, by so much at most.
    fn about(&mut self, spread: f64) -> f64 {
        1.0 + (self.next() * 2.0 - 1.0) * spread
    }
}

const RATES: [u64; 5] = [1_000, 4_000, 8_000, 16_000, 32_000];
const NETWORKS: [(&str, f64); 4] = [("loopback", 380.0), ("relay", 460.0), ("lan", 1_050.0), ("wan20", 20_900.0)];

/// All of them.
pub(super) fn results() -> Results {
    let mut chance = Chance::of(7);
    let plan = plan();
    let mut points = Vec::new();
    for round in 1..=plan.rounds {
        for subject in &plan.subjects {
            points.extend(curves(&mut chance, subject, round));
            points.extend(events(&mut chance, subject, round));
            points.push(meanwhile(&mut chance, subject, round));
        }
    }
    points[3].invalid.push("the machine was busy beforehand: 0.31".to_owned());
    Results { format: FORMAT, plan, conditions: conditions(), points }
}

fn plan() -> Plan {
    let again =
        |name: &str, of: &str| Subject { name: name.to_owned(), same_as: Some(of.to_owned()), ..Subject::of(of) };
    let parse = |text: &str| toml::from_str::<Plan>(text).unwrap();
    let mut plan = parse(
        "question = 'Do the two tie in steady state, and how long is a cluster without a leader when it loses one?'",
    );
    plan.subjects =
        vec![Subject::of("raft"), Subject::of("paxos"), again("raft again", "raft"), again("paxos again", "paxos")];
    let curve = "name = 'puts'\nnetworks = ['loopback', 'relay', 'lan', 'wan20']\nrates_per_s = [1000, 4000, 8000, 16000, 32000]";
    plan.curves = vec![toml::from_str::<Curve>(curve).unwrap()];
    let lost = "name = 'leader lost'\nwhat = ['kill']\ntimes = 25\nopen_tails = [0, 1000, 4000]";
    plan.failovers = vec![toml::from_str::<Failover>(lost).unwrap()];
    let cut = "name = 'links lost'\nwhat = ['chain']\ntimes = 25";
    plan.partitions = vec![toml::from_str::<Failover>(cut).unwrap()];
    let moved = "name = 'moved'\nwhat = ['transfer']\nrate_per_s = 2000";
    plan.meanwhiles = vec![toml::from_str::<Meanwhile>(moved).unwrap()];
    plan
}

fn conditions() -> Conditions {
    Conditions {
        began: "2026-11-28T09:00:00Z".to_owned(),
        ended: "2026-11-28T09:24:10Z".to_owned(),
        commit: "1325f50".to_owned(),
        program: "kv-service 0.1.0".to_owned(),
        program_digest: "5a".repeat(32),
        processor: "A <fast> & quiet processor".to_owned(),
        cores: 2,
        memory_bytes: 8 << 30,
        kernel: "Linux 6.8".to_owned(),
        disk: "ext4 on /dev/vda".to_owned(),
        fsync_us: 140,
        emulation: "a relay in user space for each directed link".to_owned(),
        further: BTreeMap::from([("plan".to_owned(), "benches/experiments/quick.toml".to_owned())]),
    }
}

fn setting(network: &str, what: &str) -> Setting {
    let (network, what) = (network.to_owned(), what.to_owned());
    Setting { network, nodes: 3, sync: true, what, value_bytes: 256, rate_per_s: 0, open_tail: 0 }
}

fn point(experiment: &str, setting: Setting, subject: &Subject, round: u32, busy: f64, found: Found) -> Point {
    let (experiment, subject) = (experiment.to_owned(), subject.name.clone());
    let history = match &found {
        Found::Load(load) => History::Linearizable { keys: 16, operations: load.operations / 100 },
        _ => History::NotRecorded,
    };
    let key = PointKey { experiment, setting, subject, round };
    Point {
        key,
        began: "2026-11-28T09:00:00Z".to_owned(),
        busy_before: 0.03,
        busy,
        invalid: Vec::new(),
        history,
        found,
    }
}

fn curves(chance: &mut Chance, subject: &Subject, round: u32) -> Vec<Point> {
    let mut points = Vec::new();
    for (network, base_us) in NETWORKS {
        for rate in RATES {
            let busy = (0.06 + rate as f64 / 30_000.0 * chance.about(0.05)).min(0.98);
            let reached = if busy > 0.9 { 24_500.0 * chance.about(0.08) } else { rate as f64 * chance.about(0.002) };
            let median = base_us * chance.about(0.05) * (1.0 + (busy / 0.7).powi(4));
            let setting = Setting { rate_per_s: rate, ..setting(network, "puts") };
            let found = Found::Load(load(chance, reached, median, busy));
            points.push(point("puts", setting, subject, round, busy, found));
        }
    }
    points
}

fn load(chance: &mut Chance, rate: f64, median_us: f64, busy: f64) -> Load {
    let operations = (rate * 3.0) as u64;
    let stretch = 0.5 + busy * 1.6;
    let at = |share: f64, chance: &mut Chance| -> u64 {
        let nines = -(1.0 - share).log10();
        (median_us * (1.0 + stretch * (nines - 0.301).max(-0.3) * chance.about(0.04))) as u64
    };
    let mut cdf: Vec<(u64, f64)> = Vec::new();
    for step in 0..120_u32 {
        let share = 1.0 - 10f64.powf(-f64::from(step) / 25.0);
        let time = at(share, chance).max(cdf.last().map_or(0, |(time, _)| *time));
        cdf.push((time, share));
    }
    cdf.push((at(0.999_95, chance), 1.0));
    let time = |share: f64| cdf.iter().find(|(_, known)| *known >= share).map_or(0, |(time, _)| *time);
    let all = Latency {
        count: operations,
        mean_us: median_us * 1.1,
        p50_us: time(0.5),
        p90_us: time(0.9),
        p99_us: time(0.99),
        p999_us: time(0.999),
        max_us: time(1.0),
        cdf: cdf.clone(),
    };
    let batch = 1.0 + rate / 4_000.0;
    let cost = |factor: f64| Cost {
        cpu_s: operations as f64 * 14e-6 * factor / batch.sqrt(),
        memory_bytes: 96 << 20,
        syncs: (operations as f64 / batch) as u64,
        log_bytes: operations * 310,
        messages: (operations as f64 * 2.0 * factor / batch) as u64,
        bytes: (operations as f64 * 560.0 * factor) as u64,
        wire_bytes: (operations as f64 * 640.0 * factor) as u64,
    };
    let costs = BTreeMap::from([
        (1, cost(2.0 * chance.about(0.04))),
        (2, cost(chance.about(0.04))),
        (3, cost(chance.about(0.04))),
    ]);
    let (seconds, rate_per_s, leader) = (3.0, rate, Some(1));
    let (generator_cpu_s, generator_lag_us) = (0.12, 90);
    Load { seconds, operations, rate_per_s, all, costs, leader, generator_cpu_s, generator_lag_us, ..Load::default() }
}

fn events(chance: &mut Chance, subject: &Subject, round: u32) -> Vec<Point> {
    let is_paxos = subject.engine == "paxos";
    let mut points = Vec::new();
    for open_tail in [0, 1_000, 4_000] {
        let setting = Setting { open_tail, rate_per_s: 200, ..setting("relay", "kill") };
        let events = (0..5).map(|_| event(chance, open_tail, is_paxos)).collect();
        points.push(point("leader lost", setting, subject, round, 0.2, Found::Events { events }));
    }
    let setting = Setting { rate_per_s: 200, ..setting("relay", "chain") };
    let mut events: Vec<Event> = (0..5).map(|_| event(chance, 0, is_paxos)).collect();
    if round == 2 && !is_paxos {
        events[0] = Event { served_ms: None, elected_ms: None, silence_ms: 3_000.0, ..events[0].clone() };
    }
    points.push(point("links lost", setting, subject, round, 0.2, Found::Events { events }));
    points
}

fn event(chance: &mut Chance, open_tail: u64, is_paxos: bool) -> Event {
    let detected = 520.0 + 300.0 * chance.next();
    let moved = if is_paxos { open_tail * 300 } else { 0 };
    let elected = detected + 3.0 + 4.0 * chance.next() + moved as f64 / 60_000.0;
    let served = elected + 4.0 + 30.0 * chance.next();
    let slices = (Event::BEFORE_MS + Event::AFTER_MS) / Event::SLICE_MS;
    let timeline = (0..slices).map(|slice| {
        let at = (slice * Event::SLICE_MS) as f64 - Event::BEFORE_MS as f64;
        if at < 0.0 || at > served { 3 + (chance.next() * 2.5) as u32 } else { 0 }
    });
    let timeline = timeline.collect();
    Event {
        detected_ms: Some(detected),
        elected_ms: Some(elected),
        served_ms: Some(served),
        silence_ms: served * chance.about(0.01),
        open_tail,
        moved_bytes: 4_000 + moved + (chance.next() * 900.0) as u64,
        rewritten_entries: if is_paxos { open_tail } else { 0 },
        rewritten_bytes: if is_paxos { open_tail * 300 } else { 0 },
        campaigns: if chance.next() > 0.95 { 2 } else { 1 },
        timeline,
    }
}

fn meanwhile(chance: &mut Chance, subject: &Subject, round: u32) -> Point {
    let before = load(chance, 2_000.0, 400.0, 0.2);
    let meanwhile = load(chance, 1_980.0, 620.0, 0.5);
    let setting = Setting { rate_per_s: 2_000, ..setting("loopback", "transfer") };
    let found = Found::Meanwhile { before, meanwhile, lasted_ms: 41.0 * chance.about(0.2) };
    point("moved", setting, subject, round, 0.3, found)
}
