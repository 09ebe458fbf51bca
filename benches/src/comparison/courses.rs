//! What is run in which order: each experiment as the product of its lists, and its subjects in turn.
//!
//! ```text
//!   experiment ▶ setting ▶ round 1: A B C    round 2: B C A    round 3: C A B …     whatever drifts meets all of them
//!                          a course each: one subject on one fresh cluster, with all rates of its curve, rising
//! ```

use super::plan::{Curve, Failover, Meanwhile, Plan, Subject};
use super::results::{PointKey, Setting};

/// What a course belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Experiment<'p> {
    /// Load at rates.
    Curve(&'p Curve),
    /// Something is lost.
    Loss(&'p Failover),
    /// Something is done.
    Meanwhile(&'p Meanwhile),
}

/// What is run on one fresh cluster.
#[derive(Clone, Debug)]
pub struct Course<'p> {
    /// Its experiment.
    pub experiment: Experiment<'p>,
    /// Its setting; of a curve, without a rate.
    pub setting: Setting,
    /// Who is measured.
    pub subject: &'p Subject,
    /// Which round, from 1.
    pub round: u32,
}

impl<'p> Experiment<'p> {
    /// Its name.
    pub fn name(&self) -> &'p str {
        match self {
            Experiment::Curve(curve) => &curve.name,
            Experiment::Loss(loss) => &loss.name,
            Experiment::Meanwhile(meanwhile) => &meanwhile.name,
        }
    }

    /// Its settings; those of a curve without a rate, which one cluster goes through.
    pub fn settings(&self) -> Vec<Setting> {
        match self {
            Experiment::Curve(curve) => settings_of_curve(curve),
            Experiment::Loss(loss) => settings_of_loss(loss),
            Experiment::Meanwhile(meanwhile) => settings_of_meanwhile(meanwhile),
        }
    }

    /// Further flags of each node.
    pub fn flags(&self) -> &'p [String] {
        match self {
            Experiment::Curve(curve) => &curve.flags,
            Experiment::Loss(loss) => &loss.flags,
            Experiment::Meanwhile(_) => &[],
        }
    }
}

impl Plan {
    /// Its experiments, in the order of the file's kinds.
    pub fn experiments(&self) -> Vec<Experiment<'_>> {
        let losses = self.failovers.iter().chain(&self.partitions).map(Experiment::Loss);
        let curves = self.curves.iter().map(Experiment::Curve);
        curves.chain(losses).chain(self.meanwhiles.iter().map(Experiment::Meanwhile)).collect()
    }

    /// All courses, in order.
    pub fn courses(&self) -> Vec<Course<'_>> {
        let mut courses = Vec::new();
        for experiment in self.experiments() {
            for setting in experiment.settings() {
                for round in 1..=self.rounds {
                    let turns = turns(&self.subjects, round);
                    courses.extend(turns.map(|subject| Course {
                        experiment,
                        setting: setting.clone(),
                        subject,
                        round,
                    }));
                }
            }
        }
        courses
    }
}

/// Everybody, beginning with another one in each round.
fn turns(subjects: &[Subject], round: u32) -> impl Iterator<Item = &Subject> {
    let first = (round.max(1) - 1) as usize % subjects.len().max(1);
    subjects.iter().cycle().skip(first).take(subjects.len())
}

impl Course<'_> {
    /// What it measures: a point for each rate, rising, or a single one.
    pub fn points(&self) -> Vec<PointKey> {
        let key = |setting: Setting| PointKey {
            experiment: self.experiment.name().to_owned(),
            setting,
            subject: self.subject.name.clone(),
            round: self.round,
        };
        match self.experiment {
            Experiment::Curve(curve) => {
                let mut rates = curve.rates_per_s.clone();
                rates.sort_unstable();
                rates.dedup();
                rates.into_iter().map(|rate_per_s| key(Setting { rate_per_s, ..self.setting.clone() })).collect()
            }
            Experiment::Loss(_) | Experiment::Meanwhile(_) => vec![key(self.setting.clone())],
        }
    }

    /// How many of an experiment's events happen in this round: all rounds together have them all.
    pub fn times(&self, all: u32, rounds: u32) -> u32 {
        let rounds = rounds.max(1);
        all / rounds + u32::from(self.round <= all % rounds)
    }
}

fn settings_of_curve(curve: &Curve) -> Vec<Setting> {
    let settings = vec![Setting::default()];
    let settings = vary(settings, &curve.networks, |setting, network| setting.network.clone_from(network));
    let settings = vary(settings, &curve.nodes, |setting, nodes| setting.nodes = *nodes);
    let settings = vary(settings, &curve.sync, |setting, sync| setting.sync = *sync);
    let settings = vary(settings, &curve.mixes, |setting, mix| setting.what.clone_from(mix));
    vary(settings, &curve.value_bytes, |setting, bytes| setting.value_bytes = *bytes)
}

fn settings_of_loss(loss: &Failover) -> Vec<Setting> {
    let settings = vec![Setting { sync: true, rate_per_s: loss.rate_per_s, ..Setting::default() }];
    let settings = vary(settings, &loss.networks, |setting, network| setting.network.clone_from(network));
    let settings = vary(settings, &loss.nodes, |setting, nodes| setting.nodes = *nodes);
    let settings = vary(settings, &loss.what, |setting, what| setting.what.clone_from(what));
    let settings = vary(settings, &loss.value_bytes, |setting, bytes| setting.value_bytes = *bytes);
    vary(settings, &loss.open_tails, |setting, tail| setting.open_tail = *tail)
}

fn settings_of_meanwhile(meanwhile: &Meanwhile) -> Vec<Setting> {
    let settings = vec![Setting { sync: true, rate_per_s: meanwhile.rate_per_s, ..Setting::default() }];
    let settings = vary(settings, &meanwhile.networks, |setting, network| setting.network.clone_from(network));
    let settings = vary(settings, &meanwhile.nodes, |setting, nodes| setting.nodes = *nodes);
    let settings = vary(settings, &meanwhile.what, |setting, what| setting.what.clone_from(what));
    vary(settings, &meanwhile.value_bytes, |setting, bytes| setting.value_bytes = *bytes)
}

/// Each setting with each value.
fn vary<T>(settings: Vec<Setting>, values: &[T], set: impl Fn(&mut Setting, &T)) -> Vec<Setting> {
    let mut varied = Vec::with_capacity(settings.len() * values.len());
    for setting in settings {
        for value in values {
            let mut setting = setting.clone();
            set(&mut setting, value);
            varied.push(setting);
        }
    }
    varied
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn plan(text: &str) -> Plan {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn subjects_take_turns_and_each_round_begins_with_another() {
        let plan = plan("rounds = 3\n[[curve]]\nname = \"puts\"\nrates_per_s = [10]\n");
        let turns: Vec<String> =
            plan.courses().iter().map(|course| format!("{}{}", course.subject.name, course.round)).collect();
        assert_eq!(turns, ["raft1", "paxos1", "paxos2", "raft2", "raft3", "paxos3"]);
    }

    #[test]
    fn an_experiment_is_the_product_of_its_lists_and_a_cluster_goes_through_all_rates_rising() {
        let plan = plan(
            "rounds = 1\n[[curve]]\nname = \"puts\"\nnetworks = [\"loopback\", \"lan\"]\nnodes = [3, 5]\n\
             sync = [true, false]\nmixes = [\"puts\", \"a\"]\nvalue_bytes = [16, 256]\nrates_per_s = [400, 100, 200]\n",
        );
        let courses = plan.courses();
        assert_eq!(courses.len(), 2 * 2 * 2 * 2 * 2 * 2);
        let rates: Vec<u64> = courses[0].points().iter().map(|key| key.setting.rate_per_s).collect();
        assert_eq!(rates, [100, 200, 400]);
        let mut keys: Vec<PointKey> = courses.iter().flat_map(Course::points).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "no two points have the same key");
    }

    #[test]
    fn all_rounds_together_have_all_events() {
        let plan = plan("rounds = 4\n[[failover]]\nname = \"f\"\nwhat = [\"kill\"]\ntimes = 10\n");
        let times: Vec<u32> = plan.courses().iter().step_by(2).map(|course| course.times(10, plan.rounds)).collect();
        assert_eq!(times, [3, 3, 2, 2]);
    }
}
