//! What is printed in the end: a table for people, or one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::args::{BenchArgs, Plan};
use super::tally::{Latencies, Tally};
use super::workload::Kind;
use crate::commands::output;
use crate::error::ServiceError;

/// Points of a distribution that are given at the most.
const POINTS_MAX: usize = 200;

/// What came of a run, but for what was tallied.
pub(super) struct Facts<'a> {
    pub(super) engine: &'a str,
    /// Who was asked.
    pub(super) targets: String,
    /// When that began which was measured, in microseconds since 1970: what else was measured meanwhile can be cut to it.
    pub(super) measured_from_unix_us: u64,
    /// How long was measured.
    pub(super) seconds: f64,
    /// What this process took of the processors in that time, in seconds.
    pub(super) cpu_s: f64,
    /// Operations that were due and had not started in the end.
    pub(super) not_started: u64,
    /// How often something came between a read and its write.
    pub(super) conflicts: u64,
    /// How many keys and operations the history has.
    pub(super) history: Option<(usize, u64, &'a Path)>,
}

/// Prints what came of it, in the form that was asked for.
///
/// # Errors
/// Where nothing succeeded.
pub(super) fn print(arguments: &BenchArgs, plan: &Plan, facts: &Facts<'_>, tally: &Tally) -> Result<(), ServiceError> {
    let all = tally.all();
    if all.count() == 0 {
        return Err(tally.nothing_succeeded());
    }
    let text = if arguments.json {
        let report = report(arguments, plan, facts, tally, &all);
        let text =
            serde_json::to_string(&report).map_err(|error| ServiceError::io("cannot write JSON")(error.into()))?;
        format!("{text}\n")
    } else {
        table(arguments, plan, facts, tally, &all)
    };
    output::write(text.as_bytes())
}

fn table(arguments: &BenchArgs, plan: &Plan, facts: &Facts<'_>, tally: &Tally, all: &Latencies) -> String {
    let load = match plan.rate_per_s {
        Some(rate) => format!("open loop, {rate} operations/s"),
        None => format!("closed loop, {} clients × {}", arguments.clients, plan.window),
    };
    let mut text = format!(
        "{load}, over {} for {:.1} s against {} ({}); {} B values, {} keys, {}\n\n{:<8} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        arguments.protocol,
        facts.seconds,
        facts.targets,
        facts.engine,
        arguments.value_bytes,
        arguments.keys,
        plan.distribution,
        "",
        "ops/s",
        "mean ms",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms"
    );
    let kinds = Kind::ALL.map(|kind| (kind.name(), tally.of(kind)));
    let is_mixed = kinds.iter().filter(|(_, row)| row.count() > 0).count() > 1;
    let all = [("all", all)].into_iter().filter(|_| is_mixed);
    // In a closed loop it differs only by what is waited for a connection.
    let service = [("service", &tally.service)].into_iter().filter(|_| plan.rate_per_s.is_some());
    for (name, row) in kinds.into_iter().chain(all).chain(service).filter(|(_, row)| row.count() > 0) {
        // Writing to a string does not fail.
        let _ = write!(text, "{name:<8} {:>10.0} {:>9.3}", row.count() as f64 / facts.seconds, row.mean_us() / 1000.0);
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let _ = write!(text, " {:>9.3}", row.quantile_us(quantile) as f64 / 1000.0);
        }
        text.push('\n');
    }
    for (kind, count) in &tally.errors {
        let _ = writeln!(text, "errors   {count:>10}  {kind}");
    }
    for (count, what) in [
        (facts.not_started, "due, and not started in time"),
        (facts.conflicts, "times something came between a read and its write"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count:>19}  {what}");
        }
    }
    if let Some((keys, operations, path)) = facts.history {
        let _ = writeln!(text, "history  {operations:>10}  operations on {keys} keys in {}", path.display());
    }
    text
}

/// As `--json` shows it. The names are part of the interface.
#[derive(Serialize)]
struct Report<'a> {
    engine: &'a str,
    protocol: String,
    r#loop: &'static str,
    rate_target_per_s: Option<f64>,
    clients: u32,
    window: u32,
    connections: usize,
    in_flight_max: usize,
    targets: &'a str,
    keys: u64,
    distribution: String,
    value_bytes: String,
    consistency: &'static str,
    measured_from_unix_us: u64,
    seconds: f64,
    /// Those that began within the measured time: what the latencies are of.
    operations: u64,
    /// Those that ended within it: what the rate is of.
    completed: u64,
    rate_per_s: f64,
    errors: BTreeMap<&'a str, u64>,
    errors_total: u64,
    cpu_s: f64,
    lag_us_max: u64,
    not_started: u64,
    conflicts: u64,
    kinds: BTreeMap<&'static str, Row>,
    all: Row,
    service: Row,
    failed: Row,
    per_second: Vec<SecondRow>,
    history: Option<HistoryRow>,
}

#[derive(Serialize)]
struct Row {
    count: u64,
    rate_per_s: f64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    /// Microseconds, and the share of operations that took no longer.
    cdf: Vec<(u64, f64)>,
}

#[derive(Serialize)]
struct SecondRow {
    second: usize,
    operations: u64,
    p99_us: u64,
    errors: u64,
}

#[derive(Serialize)]
struct HistoryRow {
    keys: usize,
    operations: u64,
    file: String,
}

fn report<'a>(
    arguments: &BenchArgs,
    plan: &Plan,
    facts: &'a Facts<'_>,
    tally: &'a Tally,
    all: &Latencies,
) -> Report<'a> {
    let row = |latencies: &Latencies| Row::of(latencies, facts.seconds);
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.name(), tally.of(kind)));
    let seconds = tally.seconds.iter().enumerate();
    Report {
        engine: facts.engine,
        protocol: arguments.protocol.to_string(),
        r#loop: if plan.rate_per_s.is_some() { "open" } else { "closed" },
        rate_target_per_s: plan.rate_per_s,
        clients: arguments.clients,
        window: plan.window,
        connections: plan.connections,
        in_flight_max: plan.in_flight,
        targets: &facts.targets,
        keys: arguments.keys.into(),
        distribution: plan.distribution.to_string(),
        value_bytes: arguments.value_bytes.to_string(),
        consistency: plan.consistency.as_str(),
        measured_from_unix_us: facts.measured_from_unix_us,
        seconds: facts.seconds,
        operations: all.count(),
        completed: tally.completed,
        rate_per_s: tally.completed as f64 / facts.seconds,
        errors: tally.errors.iter().map(|(kind, count)| (&**kind, *count)).collect(),
        errors_total: tally.errors_total(),
        cpu_s: facts.cpu_s,
        lag_us_max: u64::try_from(tally.lag_max.as_micros()).unwrap_or(u64::MAX),
        not_started: facts.not_started,
        conflicts: facts.conflicts,
        kinds: kinds.filter(|(_, of)| of.count() > 0).map(|(name, of)| (name, row(of))).collect(),
        all: row(all),
        service: row(&tally.service),
        failed: row(&tally.failed),
        per_second: seconds
            .map(|(second, of)| SecondRow { second, operations: of.operations, p99_us: of.p99_us, errors: of.errors })
            .collect(),
        history: facts.history.map(|(keys, operations, path)| HistoryRow {
            keys,
            operations,
            file: path.display().to_string(),
        }),
    }
}

impl Row {
    fn of(latencies: &Latencies, seconds: f64) -> Row {
        Row {
            count: latencies.count(),
            rate_per_s: latencies.count() as f64 / seconds,
            mean_us: latencies.mean_us(),
            p50_us: latencies.quantile_us(0.5),
            p90_us: latencies.quantile_us(0.9),
            p99_us: latencies.quantile_us(0.99),
            p999_us: latencies.quantile_us(0.999),
            max_us: latencies.quantile_us(1.0),
            cdf: cdf(latencies),
        }
    }
}

/// Denser towards the tail: each halving of what is left has some points.
fn cdf(latencies: &Latencies) -> Vec<(u64, f64)> {
    const POINTS_PER_HALVING: u32 = 5;
    let Some(histogram) = latencies.histogram() else { return Vec::new() };
    let points = histogram.iter_quantiles(POINTS_PER_HALVING);
    points.map(|point| (point.value_iterated_to().min(histogram.max()), point.quantile())).take(POINTS_MAX).collect()
}
