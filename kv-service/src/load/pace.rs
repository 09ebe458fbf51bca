//! When an operation may start, which of them count, and when it is over.
//!
//! ```text
//!   ramp-up ──▶ warm-up ──▶ measured: a time, or a number of operations ──▶ over
//!
//!   closed: whoever is free starts                    open: the next start of the schedule; whoever is free takes it
//! ```
//!
//! In an open loop an operation's latency counts from its intended start. Where nobody is free then, the schedule itself
//! falls behind and nothing is queued; so a stall shows in every operation that was meant to start during it
//! ("coordinated omission" is the name of the mistake that this avoids).

use std::cell::Cell;
use std::time::{Duration, Instant};

use link_relay::Alarm;
use tokio::sync::Mutex;

use super::schedule::Schedule;

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// What starts within this time.
    For(Duration),
    /// So many operations.
    Count(u64),
}

/// From when on operations count, and until when.
pub(super) struct Phases {
    /// When the load begins.
    pub(super) began: Instant,
    /// When the measured time begins.
    pub(super) measured_from: Instant,
    measured: Measured,
    left: Cell<u64>,
}

/// A start that was granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// When it was meant to be; latency counts from here.
    pub(super) intended: Instant,
    /// Whether it counts.
    pub(super) counts: bool,
    /// How late the generator itself was: without the time in which nobody was free.
    pub(super) lag: Duration,
}

/// Grants starts.
pub(super) struct Pace {
    pub(super) phases: Phases,
    /// `None` in a closed loop.
    schedule: Option<Mutex<(Schedule, Alarm)>>,
}

impl Phases {
    /// Phases that begin at `began`.
    pub(super) fn new(began: Instant, ramp_up: Duration, warmup: Duration, measured: Measured) -> Phases {
        let left = Cell::new(if let Measured::Count(count) = measured { count } else { 0 });
        Phases { began, measured_from: began + ramp_up + warmup, measured, left }
    }

    /// When no operation starts any more, where that is known before.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.measured {
            Measured::For(time) => Some(self.measured_from + time),
            Measured::Count(_) => None,
        }
    }

    /// Whether an operation that starts now counts; `None` where it is over.
    fn admit(&self, now: Instant) -> Option<bool> {
        if now < self.measured_from {
            return Some(false);
        }
        if self.is_over(now) {
            return None;
        }
        self.left.set(self.left.get().saturating_sub(1));
        Some(true)
    }

    /// Whether an operation that ends now was carried out within the measured time, whenever it began; `counts` says whether
    /// it began there.
    pub(super) fn covers_end(&self, now: Instant, counts: bool) -> bool {
        self.until().map_or(counts, |until| (self.measured_from..until).contains(&now))
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.until() {
            Some(until) => now >= until,
            None => self.left.get() == 0,
        }
    }
}

impl Pace {
    /// A closed loop.
    pub(super) fn closed(phases: Phases) -> Pace {
        Pace { phases, schedule: None }
    }

    /// An open loop. Within a runtime.
    pub(super) fn open(phases: Phases, schedule: Schedule) -> Pace {
        Pace { phases, schedule: Some(Mutex::new((schedule, Alarm::in_runtime()))) }
    }

    /// The next start for somebody who is free since `free`, which is now; `None` when it is over.
    pub(super) async fn next(&self, free: Instant) -> Option<Start> {
        let Some(schedule) = &self.schedule else {
            let counts = self.phases.admit(free);
            return counts.map(|counts| Start { intended: free, counts, lag: Duration::ZERO });
        };
        // One waits for the schedule's next start; the others who are free wait for him, first come, first served.
        let (schedule, alarm) = &mut *schedule.lock().await;
        let now = Instant::now();
        if now >= self.phases.measured_from && self.phases.is_over(now) {
            return None;
        }
        let intended = self.phases.began + schedule.next();
        if self.phases.until().is_some_and(|until| intended >= until) {
            return None;
        }
        alarm.ring(intended.into()).await;
        let started = Instant::now();
        let lag = started.saturating_duration_since(intended.max(free));
        self.phases.admit(started).map(|counts| Start { intended, counts, lag })
    }

    /// How many operations were due in the end, and had not started.
    pub(super) async fn owed(&self) -> u64 {
        match (&self.schedule, self.phases.until()) {
            (Some(schedule), Some(until)) => schedule.lock().await.0.owed(until - self.phases.began),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::dice::Dice;
    use super::super::schedule::Arrivals;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn phases(began: Instant, measured: Measured) -> Phases {
        Phases::new(began, Duration::ZERO, Duration::ZERO, measured)
    }

    fn at_rate(rate_per_s: f64) -> Schedule {
        Schedule::new(rate_per_s, Duration::ZERO, Arrivals::Even, Dice::new(1, 0))
    }

    #[tokio::test]
    async fn after_a_stall_every_operation_that_it_held_up_counts_from_its_intended_start() {
        // As if the only client had been held up until now by an operation that started ten seconds ago.
        let stalled = Instant::now().checked_sub(10 * SECOND).unwrap();
        let pace = Pace::open(phases(stalled, Measured::Count(10_000)), at_rate(100.0));
        let mut delays = Vec::new();
        for _ in 0..1000 {
            let free = Instant::now();
            let start = pace.next(free).await.unwrap();
            delays.push(free.saturating_duration_since(start.intended));
            assert!(start.lag < SECOND, "the wait for the client is not the generator's own");
        }
        assert!(delays[0] >= 10 * SECOND && delays[500] >= 5 * SECOND, "{:?}", delays[500]);
        assert!(delays.windows(2).all(|pair| pair[1] <= pair[0]), "it catches up");
    }

    #[tokio::test]
    async fn an_open_loop_starts_nothing_early() {
        let began = Instant::now();
        let pace = Pace::open(phases(began, Measured::Count(50)), at_rate(1000.0));
        for number in 0..50 {
            let start = pace.next(Instant::now()).await.unwrap();
            assert_eq!(start.intended, began + Duration::from_millis(number));
            assert!(Instant::now() >= start.intended);
        }
        assert!(pace.next(Instant::now()).await.is_none());
    }

    #[tokio::test]
    async fn what_starts_before_the_measured_time_does_not_count() {
        let began = Instant::now();
        let phases = Phases::new(began, SECOND, SECOND, Measured::For(SECOND));
        let pace = Pace::closed(phases);
        let at = async |millis| {
            let start = pace.next(began + Duration::from_millis(millis)).await;
            start.map(|start| start.counts)
        };
        assert_eq!(at(0).await, Some(false));
        assert_eq!(at(1999).await, Some(false));
        assert_eq!(at(2000).await, Some(true));
        assert_eq!(at(2999).await, Some(true));
        assert_eq!(at(3000).await, None);
    }

    #[tokio::test]
    async fn a_count_is_kept_to() {
        let pace = Pace::closed(phases(Instant::now(), Measured::Count(3)));
        let mut started = 0;
        while pace.next(Instant::now()).await.is_some() {
            started += 1;
        }
        assert_eq!(started, 3);
    }

    #[tokio::test]
    async fn what_was_due_and_did_not_start_is_owed() {
        let began = Instant::now().checked_sub(10 * SECOND).unwrap();
        let pace = Pace::open(phases(began, Measured::For(SECOND)), at_rate(100.0));
        assert!(pace.next(Instant::now()).await.is_none());
        assert_eq!(pace.owed().await, 100);
    }
}
