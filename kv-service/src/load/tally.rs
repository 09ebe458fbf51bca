//! What happened: how long operations took, by kind and by second, and how many failed in which way.
//!
//! ```text
//!   operation ──▶ histograms of this second ──┬─ at its end ──▶ histograms of the run
//!                                             ├──────────────▶ a row for the second
//!                                             └──────────────▶ the interval log (hdr)
//! ```
//!
//! Its size doesn't depend on how many operations there are: a few histograms of a fixed size, a short row for each second,
//! a count for each kind of error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::hdr::IntervalLog;
use super::workload::Kind;
use crate::error::ServiceError;

/// Seconds that are kept. What comes later belongs to the last.
const SECONDS_MAX: usize = 100_000;
/// Kinds of errors that are told apart. There are no more of them but from something that is no node.
const ERRORS_MAX: usize = 100;

/// Times, in microseconds, to three digits.
#[derive(Clone, Default)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// Longer ones count as this long: one hour.
    const MICROS_MAX: u64 = 3_600_000_000;

    fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(Self::MICROS_MAX);
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, Self::MICROS_MAX, 3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    /// Adds what another one holds.
    pub(super) fn add(&mut self, other: &Latencies) {
        let Some(others) = &other.0 else { return };
        match &mut self.0 {
            // All have the same bounds, so this does not fail.
            Some(histogram) => _ = histogram.add(others),
            None => self.0 = Some(others.clone()),
        }
    }

    fn reset(&mut self) {
        if let Some(histogram) = self.0.as_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The time that this share of them did not exceed, in microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile).min(histogram.max()))
    }

    /// The mean, in microseconds.
    pub(super) fn mean_us(&self) -> f64 {
        self.0.as_ref().map_or(0.0, Histogram::mean)
    }

    /// The histogram, where anything is in it.
    pub(super) fn histogram(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref().filter(|histogram| !histogram.is_empty())
    }
}

/// What came to its end within one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) operations: u64,
    pub(super) p99_us: u64,
    pub(super) errors: u64,
}

/// An operation that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) kind: Kind,
    /// From its intended start.
    pub(super) latency: Duration,
    /// From when it was sent.
    pub(super) service: Duration,
    /// When it ended.
    pub(super) at: Instant,
}

/// Everything that was measured.
pub(super) struct Tally {
    from: Instant,
    /// By kind, as [`Kind::ALL`] has them: those of this second, and those of all before.
    current: [Latencies; 4],
    total: [Latencies; 4],
    /// From when an operation was sent, of all kinds.
    pub(super) service: Latencies,
    /// Of operations that failed.
    pub(super) failed: Latencies,
    /// How many operations failed, by kind of failure.
    pub(super) errors: BTreeMap<Cow<'static, str>, u64>,
    pub(super) seconds: Vec<Second>,
    errors_current: u64,
    last_error: Option<Cow<'static, str>>,
    /// The most that the generator was late by itself.
    pub(super) lag_max: Duration,
    /// Operations that were carried out within the measured time, whenever they began: what the rate is taken of.
    pub(super) completed: u64,
    /// When the last operation ended.
    pub(super) last: Option<Instant>,
    log: Option<IntervalLog>,
}

impl Tally {
    /// An empty one, whose first second begins at `from`.
    pub(super) fn new(from: Instant, log: Option<IntervalLog>) -> Tally {
        Tally {
            from,
            current: Default::default(),
            total: Default::default(),
            service: Latencies::default(),
            failed: Latencies::default(),
            errors: BTreeMap::new(),
            seconds: Vec::new(),
            errors_current: 0,
            last_error: None,
            lag_max: Duration::ZERO,
            completed: 0,
            last: None,
            log,
        }
    }

    /// Notes an operation that succeeded.
    pub(super) fn succeeded(&mut self, ended: Ended) {
        self.turn(ended.at);
        self.current[ended.kind as usize].record(ended.latency);
        self.service.record(ended.service);
        self.last = Some(ended.at);
    }

    /// Notes one that failed.
    pub(super) fn failed(&mut self, ended: Ended, why: Cow<'static, str>) {
        self.turn(ended.at);
        self.failed.record(ended.latency);
        self.errors_current += 1;
        self.last = Some(ended.at);
        let is_known = self.errors.contains_key(&why) || self.errors.len() < ERRORS_MAX;
        *self.errors.entry(if is_known { why.clone() } else { Cow::Borrowed("others") }).or_default() += 1;
        self.last_error = Some(why);
    }

    /// Closes the seconds that are over.
    pub(super) fn turn(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.from).as_secs().min(SECONDS_MAX as u64);
        while (self.seconds.len() as u64) < past {
            self.close_second();
        }
    }

    /// Closes the last second, which may not be full.
    ///
    /// # Errors
    /// Where the interval log could not be written.
    pub(super) fn finish(&mut self) -> Result<(), ServiceError> {
        if self.errors_current > 0 || self.current.iter().any(|latencies| latencies.count() > 0) {
            self.close_second();
        }
        self.log.take().map_or(Ok(()), IntervalLog::finish)
    }

    fn close_second(&mut self) {
        let mut all = Latencies::default();
        for (kind, (current, total)) in Kind::ALL.into_iter().zip(self.current.iter_mut().zip(&mut self.total)) {
            if let (Some(log), Some(histogram)) = (&mut self.log, current.histogram()) {
                log.write(kind.name(), histogram, self.seconds.len() as u64);
            }
            if current.count() > 0 {
                all.add(current);
                total.add(current);
                current.reset();
            }
        }
        let errors = std::mem::take(&mut self.errors_current);
        self.seconds.push(Second { operations: all.count(), p99_us: all.quantile_us(0.99), errors });
    }

    /// The times of one kind, up to the last second that was closed.
    pub(super) fn of(&self, kind: Kind) -> &Latencies {
        &self.total[kind as usize]
    }

    /// Those of all kinds.
    pub(super) fn all(&self) -> Latencies {
        let mut all = Latencies::default();
        self.total.iter().for_each(|total| all.add(total));
        all
    }

    /// How many operations failed.
    pub(super) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The error of a run in which nothing succeeded.
    pub(super) fn nothing_succeeded(&self) -> ServiceError {
        let last = self.last_error.clone().unwrap_or(Cow::Borrowed("none was sent")).into_owned();
        ServiceError::NothingMeasured { errors: self.errors_total(), last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(from: Instant, at_ms: u64, latency_ms: u64) -> Ended {
        let latency = Duration::from_millis(latency_ms);
        Ended { kind: Kind::Put, latency, service: latency / 2, at: from + Duration::from_millis(at_ms) }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let from = Instant::now();
        let mut tally = Tally::new(from, None);
        (1..=1000).for_each(|millis| tally.succeeded(ended(from, millis, millis)));
        assert!(tally.finish().is_ok());
        let puts = tally.of(Kind::Put);
        assert_eq!((puts.count(), tally.of(Kind::Get).count(), tally.all().count()), (1000, 0, 1000));
        assert!(puts.quantile_us(0.5).abs_diff(500_000) < 1000);
        assert!(puts.quantile_us(0.99).abs_diff(990_000) < 1000);
        assert!((puts.mean_us() - 500_500.0).abs() < 1000.0);
        assert!(tally.service.quantile_us(1.0).abs_diff(500_000) < 1000, "the service time is another");
    }

    #[test]
    fn each_second_has_a_row_also_one_in_which_nothing_ended() {
        let from = Instant::now();
        let mut tally = Tally::new(from, None);
        tally.succeeded(ended(from, 100, 5));
        tally.succeeded(ended(from, 900, 5));
        tally.succeeded(ended(from, 2500, 1500));
        tally.failed(ended(from, 2600, 9), Cow::Borrowed("504 unknown"));
        assert!(tally.finish().is_ok());
        let rows: Vec<_> = tally.seconds.iter().map(|second| (second.operations, second.errors)).collect();
        assert_eq!(rows, [(2, 0), (0, 0), (1, 1)]);
        assert!(tally.seconds[2].p99_us.abs_diff(1_500_000) < 2000);
    }

    #[test]
    fn failures_are_counted_by_kind_and_the_last_is_named() {
        let from = Instant::now();
        let mut tally = Tally::new(from, None);
        for kind in ["timeout", "503 no_leader", "timeout"] {
            tally.failed(ended(from, 1, 1), Cow::Borrowed(kind));
        }
        assert_eq!(tally.errors["timeout"], 2);
        assert_eq!(tally.failed.count(), 3);
        let message = tally.nothing_succeeded().to_string();
        assert!(message.contains("3 failed") && message.contains("timeout"), "{message}");
    }

    #[test]
    fn it_does_not_grow_with_what_is_no_node() {
        let from = Instant::now();
        let mut tally = Tally::new(from, None);
        (0..1000).for_each(|code| tally.failed(ended(from, 1, 1), Cow::Owned(format!("{code}"))));
        assert_eq!((tally.errors.len(), tally.errors_total()), (ERRORS_MAX + 1, 1000));
    }
}
