//! Carries a plan out: course by course, each on a fresh cluster, each point recorded as soon as it is measured.
//!
//! ```text
//!   course ──▶ found cluster ──▶ links as the network wants ──▶ node 1 leads ──▶ quiet? ──▶ measure ──▶ record
//!     ▲                                                                                                  │
//!     └────────────────────────────── the next subject, round, setting ◀─────────────────────────────────┘
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::conditions::now;
use super::courses::{Course, Experiment};
use super::estimate::{Progress, in_words};
use super::faults::Loss;
use super::load::{self, Measured};
use super::machine::MachineTime;
use super::meanwhile::{self, Change};
use super::plan::{Network, Plan};
use super::record::Record;
use super::results::{BROKE_DOWN, Conditions, History, Point, PointKey, Results, WAS_BUSY};
use super::{check::PlanError, events};
use crate::processes::{Founding, Processes};
use crate::replicas::Failure;

/// Over how long it is looked whether the machine is quiet.
const QUIET_SPAN: Duration = Duration::from_millis(300);
/// How long it is waited for that.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(20);
/// After so many courses in a row that broke down, the rest would too.
const BROKEN_MAX: u32 = 3;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The plan, which has been checked.
    pub plan: Plan,
    /// The file that it stands in.
    pub source: PathBuf,
    /// Where the results go. What is there of the same plan is not measured again.
    pub out: PathBuf,
    /// Forget what is there.
    pub fresh: bool,
    /// The `kv-service` that is measured.
    pub program: PathBuf,
    /// Only these subjects; all where none is named.
    pub subjects: Vec<String>,
    /// Only this experiment.
    pub only: Option<String>,
    /// How busy the machine may be before a cluster is measured, all cores 1.0.
    pub busy_max: f64,
}

impl Options {
    /// What is to be run, in order.
    ///
    /// # Errors
    /// [`PlanError::Sense`] where an experiment is named that the plan does not have.
    pub fn courses(&self) -> Result<Vec<Course<'_>>, PlanError> {
        let experiments: Vec<&str> = self.plan.experiments().iter().map(Experiment::name).collect();
        if let Some(only) = self.only.as_deref().filter(|only| !experiments.contains(only)) {
            return Err(PlanError::Sense {
                place: "--only".to_owned(),
                what: format!("the plan has no \"{only}\""),
                remedy: format!("name one of {}", experiments.join(", ")),
            });
        }
        let mut courses = self.plan.courses();
        courses.retain(|course| {
            self.only.as_deref().is_none_or(|only| only == course.experiment.name())
                && (self.subjects.is_empty() || self.subjects.contains(&course.subject.name))
        });
        Ok(courses)
    }

    /// How many points are to be measured, and how long that will take.
    pub fn estimate(&self) -> Result<(usize, Duration), PlanError> {
        let courses = self.courses()?;
        let seconds = courses.iter().map(|course| course.estimate_s(&self.plan)).sum();
        Ok((courses.iter().map(|course| course.points().len()).sum(), Duration::from_secs_f64(seconds)))
    }
}

/// Carries out what is not done yet. Each point is told on standard error.
pub async fn run(options: &Options) -> Result<Results, Failure> {
    std::fs::create_dir_all(&options.out)?;
    if !options.program.exists() {
        let program = options.program.display();
        return Err(format!("{program} is not there; build it: cargo build --release --package kv-service").into());
    }
    let conditions = Conditions::find(&options.program, &options.out)?;
    let mut record = Record::open(&options.out, &options.plan, options.fresh, conditions)?;
    record.note("plan", &options.source.display().to_string())?;
    let done = record.keys();
    let mut left: Vec<(Course<'_>, Vec<PointKey>)> = Vec::new();
    for course in options.courses()? {
        let points: Vec<PointKey> = course.points().into_iter().filter(|key| !done.contains(key)).collect();
        if !points.is_empty() {
            left.push((course, points));
        }
    }
    let mut progress =
        Progress { done_s: 0.0, left_s: left.iter().map(|(course, _)| course.estimate_s(&options.plan)).sum() };
    let (began, mut broken, count) = (Instant::now(), 0, left.len());
    for (number, (course, points)) in left.into_iter().enumerate() {
        let expected = course.estimate_s(&options.plan);
        let measured = Session { options, course: &course }.run(&points, &mut record).await;
        progress = Progress { done_s: progress.done_s + expected, left_s: progress.left_s - expected };
        broken = match measured {
            Ok(()) => 0,
            Err(error) if broken + 1 == BROKEN_MAX => {
                return Err(format!("{BROKEN_MAX} courses in a row broke down, the last with: {error}").into());
            }
            Err(_) => broken + 1,
        };
        let (elapsed, remaining) = (in_words(began.elapsed()), in_words(progress.remaining(began.elapsed())));
        eprintln!("  {} of {count} clusters, {elapsed} so far, {remaining} left", number + 1);
    }
    record.finish(now())
}

/// One course at work.
struct Session<'a> {
    options: &'a Options,
    course: &'a Course<'a>,
}

impl Session<'_> {
    /// Measures these points, and records each. Where it breaks down, those that are missing are recorded as invalid.
    async fn run(&self, points: &[PointKey], record: &mut Record) -> Result<(), Failure> {
        let outcome = self.measure_all(points, record).await;
        if let Err(error) = &outcome {
            let done = record.keys();
            for key in points.iter().filter(|key| !done.contains(key)) {
                let why = format!("{BROKE_DOWN}: {error}");
                self.record(key, now(), 0.0, Measured::broken(why), record)?;
            }
        }
        outcome
    }

    async fn measure_all(&self, points: &[PointKey], record: &mut Record) -> Result<(), Failure> {
        let directory = TempDir::with_prefix_in("cluster-", &self.options.out)?;
        let outcome = self.measure_in(&directory, points, record).await;
        if !matches!(outcome, Ok(false)) {
            eprintln!("  logs, histories and data stay in {}", directory.keep().display());
        }
        outcome.map(drop)
    }

    /// Measures in this directory; whether something was found there that somebody will want to look at.
    async fn measure_in(&self, directory: &TempDir, points: &[PointKey], record: &mut Record) -> Result<bool, Failure> {
        let mut has_offended = false;
        let name = &self.course.setting.network;
        let network = self.options.plan.network(name).ok_or_else(|| format!("there is no network \"{name}\""))?;
        let mut cluster = Processes::found_as(self.founding(&network), directory.path()).await?;
        if let Some(links) = cluster.links() {
            network.apply(links)?;
        }
        cluster.lead_from(1).await?;
        for key in points {
            let busy_before = self.quiet().await?;
            let began = now();
            let measured = self.measure(key, &network, &mut cluster, directory).await?;
            has_offended |= matches!(measured.history, History::NotLinearizable { .. });
            self.record(key, began, busy_before, measured, record)?;
        }
        Ok(has_offended)
    }

    fn founding(&self, network: &Network) -> Founding {
        let Course { experiment, setting, subject, round } = self.course;
        let mut flags = vec!["--log-format".to_owned(), "json".to_owned()];
        if !setting.sync {
            flags.push("--no-sync".to_owned());
        }
        flags.extend(experiment.flags().iter().chain(&subject.flags).cloned());
        Founding {
            program: self.options.program.clone(),
            engine: subject.engine.clone(),
            count: setting.nodes,
            flags,
            own_flags: network.flags(setting.nodes),
            relay: network.relay.then(|| self.options.plan.seed.wrapping_mul(1000) + u64::from(*round)),
        }
    }

    async fn measure(
        &self,
        key: &PointKey,
        network: &Network,
        cluster: &mut Processes,
        directory: &TempDir,
    ) -> Result<Measured, Failure> {
        let (plan, course, setting) = (&self.options.plan, self.course, &key.setting);
        let unknown = || format!("\"{}\" is not known", setting.what);
        match course.experiment {
            Experiment::Curve(curve) => {
                load::measure(plan, course, curve, key, network, cluster, directory.path()).await
            }
            Experiment::Loss(loss) => {
                let what = Loss::parse(&setting.what).ok_or_else(unknown)?;
                events::measure(what, course.times(loss.times, plan.rounds), setting, cluster).await
            }
            Experiment::Meanwhile(meanwhile) => {
                let change = Change::parse(&setting.what).ok_or_else(unknown)?;
                meanwhile::measure(plan, meanwhile, change, setting, cluster, directory.path()).await
            }
        }
    }

    /// Waits a while for a quiet machine; how busy it was in the end.
    async fn quiet(&self) -> Result<f64, Failure> {
        let since = Instant::now();
        loop {
            let busy = MachineTime::share_over(QUIET_SPAN).await?;
            if busy <= self.options.busy_max || since.elapsed() > QUIET_WAIT_MAX {
                return Ok(busy);
            }
        }
    }

    fn record(
        &self,
        key: &PointKey,
        began: String,
        busy_before: f64,
        measured: Measured,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let Measured { found, history, busy, mut invalid, has_counters } = measured;
        if busy_before > self.options.busy_max {
            invalid.push(format!("{WAS_BUSY}: {:.0} %", busy_before * 100.0));
        }
        if !has_counters {
            record
                .note("counters of nodes", "some were not told in time, or there are none; those costs are too low")?;
        }
        let point = Point { key: key.clone(), began, busy_before, busy, invalid, history, found };
        eprintln!("{}", super::told::line(&point));
        record.add(point)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn options(only: Option<&str>, subjects: &[&str]) -> Options {
        let text = "rounds = 2\n[[curve]]\nname = \"c\"\nrates_per_s = [1, 2]\n\
            [[failover]]\nname = \"f\"\nwhat = [\"kill\"]\ntimes = 4\n";
        Options {
            plan: toml::from_str(text).unwrap(),
            source: PathBuf::new(),
            out: PathBuf::new(),
            fresh: false,
            program: PathBuf::new(),
            subjects: subjects.iter().map(|name| (*name).to_owned()).collect(),
            only: only.map(str::to_owned),
            busy_max: 0.15,
        }
    }

    #[test]
    fn a_part_of_a_plan_can_be_run_by_itself() {
        assert_eq!(options(None, &[]).estimate().unwrap().0, 2 * 2 * 2 + 2 * 2);
        assert_eq!(options(Some("f"), &[]).estimate().unwrap().0, 2 * 2);
        assert_eq!(options(Some("c"), &["paxos"]).estimate().unwrap().0, 2 * 2);
    }

    #[test]
    fn an_engine_that_the_plan_does_not_have_can_take_part() {
        let mut options = options(Some("c"), &["paxos", "fixed"]);
        options.plan.admit(&options.subjects);
        options.plan.admit(&options.subjects);
        let subjects: Vec<&str> =
            options.courses().unwrap().iter().map(|course| course.subject.engine.as_str()).collect();
        assert_eq!(subjects, ["paxos", "fixed", "paxos", "fixed"]);
    }

    #[test]
    fn what_the_plan_does_not_have_is_answered_with_what_it_has() {
        let error = options(Some("x"), &[]).courses().unwrap_err().to_string();
        assert!(error.contains("--only") && error.contains("c, f"), "{error}");
    }
}
