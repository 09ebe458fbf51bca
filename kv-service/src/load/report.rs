//! What is printed in the end: a table for people, or one JSON object.

use std::fmt::Write;

use serde_json::{Value, json};

use super::BenchArgs;
use super::tally::{Latencies, Tally};
use crate::commands::output;
use crate::error::ServiceError;

/// What came of a run.
pub(super) struct Report<'a> {
    arguments: &'a BenchArgs,
    targets: &'a str,
    tally: &'a Tally,
}

impl<'a> Report<'a> {
    /// A report on what was tallied.
    pub(super) fn new(arguments: &'a BenchArgs, targets: &'a str, tally: &'a Tally) -> Report<'a> {
        Report { arguments, targets, tally }
    }

    /// Prints it, in the form that was asked for.
    pub(super) fn print(&self) -> Result<(), ServiceError> {
        if self.tally.puts.is_empty() && self.tally.gets.is_empty() {
            return Err(self.tally.nothing_succeeded());
        }
        let text = if self.arguments.json { format!("{}\n", self.json()) } else { self.table() };
        output::write(text.as_bytes())
    }

    fn per_second(&self, latencies: &Latencies) -> f64 {
        latencies.count() as f64 / f64::from(self.arguments.duration)
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &Latencies)> {
        [("puts", &self.tally.puts), ("gets", &self.tally.gets)].into_iter().filter(|(_, row)| !row.is_empty())
    }

    fn table(&self) -> String {
        let BenchArgs { clients, duration, value_bytes, keys, .. } = self.arguments;
        let mut text = format!(
            "{clients} clients for {duration} s against {}; {value_bytes} B values, {keys} keys\n\n{:<6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
            self.targets, "", "ops/s", "mean ms", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        );
        for (name, row) in self.rows() {
            // Writing to a string does not fail.
            let _ = write!(text, "{name:<6} {:>10.0} {:>9.3}", self.per_second(row), row.mean_ms());
            for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let _ = write!(text, " {:>9.3}", row.quantile_ms(quantile));
            }
            text.push('\n');
        }
        for (kind, count) in &self.tally.errors {
            let _ = writeln!(text, "errors {count:>10}  {kind}");
        }
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Latencies| {
            json!({
                "count": row.count(),
                "per_second": self.per_second(row),
                "mean_ms": row.mean_ms(),
                "p50_ms": row.quantile_ms(0.5),
                "p90_ms": row.quantile_ms(0.9),
                "p99_ms": row.quantile_ms(0.99),
                "p999_ms": row.quantile_ms(0.999),
                "max_ms": row.quantile_ms(1.0),
            })
        };
        let mut report = json!({
            "clients": self.arguments.clients,
            "seconds": self.arguments.duration,
            "value_bytes": self.arguments.value_bytes,
            "keys": self.arguments.keys,
            "reads_percent": self.arguments.reads,
            "consistency": self.arguments.consistency,
            "targets": self.targets,
            "errors": self.tally.errors,
        });
        for (name, latencies) in self.rows() {
            report[name] = row(latencies);
        }
        report
    }
}
