//! How long it will take, before it begins and while it runs.

use std::time::Duration;

use super::courses::{Course, Experiment};
use super::plan::Plan;
use super::results::Event;

/// A cluster is founded, is found quiet, and its end is awaited.
const FOUNDING_S: f64 = 3.5;
/// A load generator is started, ends, and its history is checked.
const AROUND_LOAD_S: f64 = 1.0;
/// An event is prepared, and the cluster made whole again.
const AROUND_EVENT_S: f64 = 2.0;
/// How many thousands of keys are written in a second before a measurement.
const PRELOAD_THOUSANDS_PER_S: f64 = 15.0;

impl Course<'_> {
    /// How long it will take, in seconds, as far as one can know.
    pub fn estimate_s(&self, plan: &Plan) -> f64 {
        FOUNDING_S
            + match self.experiment {
                Experiment::Curve(curve) => {
                    let each = f64::from(curve.seconds + curve.warmup_seconds) + AROUND_LOAD_S;
                    self.points().len() as f64 * each
                }
                Experiment::Loss(loss) => {
                    let watched = (Event::BEFORE_MS + Event::AFTER_MS) as f64 / 1000.0;
                    f64::from(self.times(loss.times, plan.rounds)) * (watched + AROUND_EVENT_S)
                }
                Experiment::Meanwhile(meanwhile) => {
                    let preload = meanwhile.preload_thousands as f64 / PRELOAD_THOUSANDS_PER_S;
                    // Before and while; a node that is to catch up is away for as long again.
                    let loads = if self.setting.what == "catch-up" { 3.0 } else { 2.0 };
                    preload + loads * (f64::from(meanwhile.seconds) + 1.0 + AROUND_LOAD_S)
                }
            }
    }
}

/// What is done and what is left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// What was expected of the courses that are over, in seconds.
    pub done_s: f64,
    /// What is expected of those that are left, in seconds.
    pub left_s: f64,
}

impl Progress {
    /// How long the rest takes, if it errs as what is done has erred.
    pub fn remaining(&self, elapsed: Duration) -> Duration {
        let factor = if self.done_s > 0.0 { elapsed.as_secs_f64() / self.done_s } else { 1.0 };
        Duration::from_secs_f64((self.left_s * factor).max(0.0))
    }
}

/// A duration as people say it: `45 s`, `12 min`, `3 h 05 min`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_estimate_is_the_sum_of_what_is_measured_and_what_surrounds_it() {
        let plan: Plan = toml::from_str(
            "rounds = 2\n[[curve]]\nname = \"c\"\nrates_per_s = [1, 2]\nseconds = 3\nwarmup_seconds = 1\n\
             [[failover]]\nname = \"f\"\nwhat = [\"kill\"]\ntimes = 4\n",
        )
        .unwrap();
        let courses = plan.courses();
        assert_eq!(courses[0].estimate_s(&plan), FOUNDING_S + 2.0 * (4.0 + AROUND_LOAD_S));
        let event = (Event::BEFORE_MS + Event::AFTER_MS) as f64 / 1000.0 + AROUND_EVENT_S;
        assert_eq!(courses[4].estimate_s(&plan), FOUNDING_S + 2.0 * event);
    }

    #[test]
    fn what_is_left_takes_longer_where_what_is_done_did() {
        let progress = Progress { done_s: 10.0, left_s: 30.0 };
        assert_eq!(progress.remaining(Duration::from_secs(20)), Duration::from_secs(60));
        // What is left of a sum of fractions may be a little less than nothing.
        assert_eq!(Progress { done_s: 10.0, left_s: -1e-15 }.remaining(Duration::from_secs(20)), Duration::ZERO);
        assert_eq!(Progress { done_s: 0.0, left_s: 30.0 }.remaining(Duration::ZERO), Duration::from_secs(30));
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, words) in [(45, "45 s"), (750, "13 min"), (11_100, "3 h 05 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
