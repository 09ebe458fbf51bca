//! What happened: how long each answer took, and how many requests failed in which way.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::workload::Kind;
use crate::error::ServiceError;

/// Latencies of one kind of request, in microseconds, to three digits.
#[derive(Default)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// Longer ones count as this long: one hour.
    const MICROS_MAX: u64 = 3_600_000_000;

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(Self::MICROS_MAX);
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, Self::MICROS_MAX, 3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The latency that this share of the requests did not exceed, in milliseconds.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.value_at_quantile(quantile) as f64 / 1000.0)
    }

    /// The mean, in milliseconds.
    pub(super) fn mean_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.mean() / 1000.0)
    }
}

/// Everything that was measured.
#[derive(Default)]
pub(super) struct Tally {
    /// Puts that succeeded.
    pub(super) puts: Latencies,
    /// Gets that succeeded.
    pub(super) gets: Latencies,
    /// How many requests failed, by kind of failure.
    pub(super) errors: BTreeMap<String, u64>,
    last_error: Option<String>,
}

impl Tally {
    /// Notes an answer.
    pub(super) fn succeeded(&mut self, kind: Kind, latency: Duration) {
        match kind {
            Kind::Put => self.puts.record(latency),
            Kind::Get => self.gets.record(latency),
        }
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, kind: String) {
        *self.errors.entry(kind.clone()).or_default() += 1;
        self.last_error = Some(kind);
    }

    /// The error of a run in which nothing succeeded.
    pub(super) fn nothing_succeeded(&self) -> ServiceError {
        let last = self.last_error.clone().unwrap_or_else(|| "none was sent".to_owned());
        ServiceError::NothingMeasured { errors: self.errors.values().sum(), last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::default();
        for millis in 1..=1000 {
            tally.succeeded(Kind::Put, Duration::from_millis(millis));
        }
        assert_eq!(tally.puts.count(), 1000);
        assert!(tally.gets.is_empty());
        assert!((tally.puts.quantile_ms(0.5) - 500.0).abs() < 1.0);
        assert!((tally.puts.quantile_ms(0.99) - 990.0).abs() < 2.0);
        assert!((tally.puts.mean_ms() - 500.5).abs() < 1.0);
    }

    #[test]
    fn failures_are_counted_by_kind_and_the_last_is_named() {
        let mut tally = Tally::default();
        for kind in ["timeout", "503 no_leader", "timeout"] {
            tally.failed(kind.to_owned());
        }
        assert_eq!(tally.errors["timeout"], 2);
        let message = tally.nothing_succeeded().to_string();
        assert!(message.contains("3 failed") && message.contains("timeout"), "{message}");
    }
}
