//! What is told while the load is on: a line each second on standard error.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at};

use super::pace::Pace;
use super::tally::{Second, Tally};

/// Whether progress is told unless that is said: where somebody looks.
pub(super) fn is_wanted() -> bool {
    std::io::stderr().is_terminal()
}

/// Tells each second that is over, for ever.
pub(super) async fn tell(pace: Rc<Pace>, tally: Rc<RefCell<Tally>>) {
    let phases = &pace.phases;
    // A little behind the second, so that it is over.
    let first = phases.began + Duration::from_millis(1020);
    let mut seconds = interval_at(first.into(), Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let now = seconds.tick().await.into_std();
        let mut tally = tally.borrow_mut();
        tally.turn(Instant::now());
        let left = phases.measured_from.saturating_duration_since(now);
        let line = match tally.seconds.last() {
            _ if !left.is_zero() => format!("measuring begins in {:.0} s", left.as_secs_f64().ceil()),
            Some(second) => line(tally.seconds.len(), second),
            // The first second isn't over.
            None => continue,
        };
        // Nobody is there to be told that nobody reads it.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn line(number: usize, second: &Second) -> String {
    let Second { operations, p99_us, errors } = second;
    format!("{number:>4} s {operations:>8} ops/s   p99 {:>9.3} ms   {errors} errors", *p99_us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_tail_and_errors() {
        let second = Second { operations: 4012, p99_us: 3210, errors: 2 };
        assert_eq!(line(12, &second), "  12 s     4012 ops/s   p99     3.210 ms   2 errors");
    }
}
