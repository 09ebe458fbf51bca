//! Whether a plan can be carried out: everything is looked at before anything is measured.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use super::courses::Experiment;
use super::faults::Loss;
use super::meanwhile::Change;
use super::plan::{Network, Plan};
use super::results::Setting;

/// The most nodes of a cluster.
const NODES_MAX: u64 = 9;
/// The most rounds.
const ROUNDS_MAX: u64 = 1_000;
/// The most watched keys.
const WATCHED_KEYS_MAX: u64 = 1_000;
/// The longest time of load, in seconds.
const SECONDS_MAX: u64 = 3_600;
/// The longest value, in bytes.
const VALUE_BYTES_MAX: u64 = 1 << 20;
/// The most keys before a change, in thousands.
const PRELOAD_THOUSANDS_MAX: u64 = 10_000;
/// The longest open tail.
const OPEN_TAIL_MAX: u64 = 4_096;
/// The highest rate, in operations a second.
const RATE_PER_S_MAX: u64 = 1_000_000;
/// How often something can be lost.
const TIMES_MAX: u64 = 10_000;
/// The mixes of operations that a curve can have.
const MIXES: [&str; 9] = ["puts", "reads", "mixed", "a", "b", "c", "d", "e", "f"];

/// Why a plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("{path}: {source}; give a plan, as one of benches/experiments/*.toml")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not of this form.
    #[error("{path}: {what}; see benches/experiments/quick.toml, and benches/src/comparison/plan.rs for all fields")]
    Form {
        /// Which file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Something in it makes no sense.
    #[error("{place}: {what}; {remedy}")]
    Sense {
        /// Where, in words.
        place: String,
        /// What is wrong.
        what: String,
        /// What to write instead.
        remedy: String,
    },
}

fn wrong(place: &str, what: impl Into<String>, remedy: impl Into<String>) -> PlanError {
    PlanError::Sense { place: place.to_owned(), what: what.into(), remedy: remedy.into() }
}

impl Plan {
    /// Reads a plan from its file. Whether it makes sense is for [`Plan::check`].
    ///
    /// # Errors
    /// [`PlanError::Read`] and [`PlanError::Form`] name the place that must be changed, and to what.
    pub fn read(path: &Path) -> Result<Plan, PlanError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| PlanError::Read { path: name.clone(), source })?;
        let mut plan: Plan = toml::from_str(&text)
            .map_err(|error| PlanError::Form { path: name, what: error.to_string().trim().replace('\n', " ") })?;
        if plan.question.is_empty() {
            let first = text.lines().next().unwrap_or_default();
            plan.question = first.strip_prefix('#').unwrap_or_default().trim().to_owned();
        }
        Ok(plan)
    }

    /// Whether it can be carried out by a program that has these engines; `None` where only the program itself knows.
    ///
    /// # Errors
    /// [`PlanError::Sense`].
    pub fn check(&self, engines: Option<&[&str]>) -> Result<(), PlanError> {
        if self.rounds == 0 {
            return Err(wrong("rounds", "there are none", "give at least 1; from 3 on there are spreads to compare"));
        }
        within("the plan", "rounds", u64::from(self.rounds), 1, ROUNDS_MAX)?;
        within("the plan", "watched_keys", self.watched_keys, 1, WATCHED_KEYS_MAX)?;
        self.check_subjects(engines)?;
        for network in &self.networks {
            check_network(network)?;
        }
        let mut names = BTreeSet::new();
        for experiment in self.experiments() {
            let name = experiment.name();
            if !names.insert(name) {
                let remedy = "points are told apart by it; give each experiment a name of its own";
                return Err(wrong(&format!("experiment \"{name}\""), "this name is there twice", remedy));
            }
            self.check_experiment(experiment)?;
        }
        if names.is_empty() {
            let remedy = "add a [[curve]], [[failover]], [[partition]] or [[meanwhile]]";
            return Err(wrong("the plan", "there is nothing to measure", remedy));
        }
        Ok(())
    }

    fn check_subjects(&self, engines: Option<&[&str]>) -> Result<(), PlanError> {
        if self.subjects.is_empty() {
            return Err(wrong("subject", "there are none", "leave them out to compare raft and paxos"));
        }
        let mut names = BTreeSet::new();
        for subject in &self.subjects {
            let place = format!("subject \"{}\"", subject.name);
            if let Some(known) = engines.filter(|known| !known.contains(&subject.engine.as_str())) {
                let what = format!("there is no engine \"{}\"", subject.engine);
                let remedy = format!("write {}, or name the program that has it with --program", known.join(" or "));
                return Err(wrong(&place, what, remedy));
            }
            if !names.insert(&subject.name) {
                return Err(wrong(&place, "this name is there twice", "give each subject a name of its own"));
            }
            let Some(name) = &subject.same_as else { continue };
            let Some(original) = self.subjects.iter().find(|other| other.name == *name && other.same_as.is_none())
            else {
                let what = format!("same_as names \"{name}\", which is no subject of its own");
                return Err(wrong(&place, what, "name one that stands in the plan, without same_as"));
            };
            if (&original.engine, &original.flags) != (&subject.engine, &subject.flags) {
                let what = format!("same_as names \"{name}\", which has another engine or other flags");
                return Err(wrong(&place, what, "give both the same engine and flags, or leave same_as out"));
            }
        }
        Ok(())
    }

    fn check_experiment(&self, experiment: Experiment<'_>) -> Result<(), PlanError> {
        let place = format!("experiment \"{}\"", experiment.name());
        // Before the product of the lists is made.
        check_lists(&place, experiment)?;
        check_bounds(&place, experiment)?;
        let settings = experiment.settings();
        if settings.is_empty() {
            return Err(wrong(&place, "one of its lists is empty", "leave the list out to have its default"));
        }
        for setting in &settings {
            let network = self.network(&setting.network).ok_or_else(|| {
                let known: Vec<String> = super::networks::built_in().into_iter().map(|network| network.name).collect();
                let remedy = format!("use {} or describe it in a [[network]]", known.join(", "));
                wrong(&place, format!("there is no network \"{}\"", setting.network), remedy)
            })?;
            if !(1..=NODES_MAX).contains(&setting.nodes) {
                let what = format!("a cluster of {} nodes", setting.nodes);
                return Err(wrong(&place, what, format!("give nodes from 1 to {NODES_MAX}")));
            }
            check_reach(&place, &network, setting.nodes)?;
            match experiment {
                Experiment::Curve(curve) => check_curve(&place, setting, &curve.rates_per_s)?,
                Experiment::Loss(loss) => {
                    let is_partition = self.partitions.iter().any(|other| std::ptr::eq(other, loss));
                    check_loss(&place, setting, &network, is_partition)?;
                    if loss.times < self.rounds {
                        let what = format!("times is {}, and there are {} rounds", loss.times, self.rounds);
                        return Err(wrong(&place, what, "give each round an event at least"));
                    }
                }
                Experiment::Meanwhile(_) => check_meanwhile(&place, setting, &network)?,
            }
        }
        Ok(())
    }
}

/// Refuses a figure outside its bounds, which the answer names.
fn within(place: &str, name: &str, value: u64, least: u64, most: u64) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(place, format!("{name} is {value}"), format!("give {name} from {least} to {most}")))
}

/// Whether no list has a value twice: its points could not be told apart.
fn check_lists(place: &str, experiment: Experiment<'_>) -> Result<(), PlanError> {
    match experiment {
        Experiment::Curve(curve) => {
            once(place, "networks", &curve.networks)?;
            once(place, "nodes", &curve.nodes)?;
            once(place, "sync", &curve.sync)?;
            once(place, "mixes", &curve.mixes)?;
            once(place, "value_bytes", &curve.value_bytes)?;
            once(place, "rates_per_s", &curve.rates_per_s)
        }
        Experiment::Loss(loss) => {
            once(place, "what", &loss.what)?;
            once(place, "networks", &loss.networks)?;
            once(place, "nodes", &loss.nodes)?;
            once(place, "open_tails", &loss.open_tails)?;
            once(place, "value_bytes", &loss.value_bytes)
        }
        Experiment::Meanwhile(meanwhile) => {
            once(place, "what", &meanwhile.what)?;
            once(place, "networks", &meanwhile.networks)?;
            once(place, "nodes", &meanwhile.nodes)?;
            once(place, "value_bytes", &meanwhile.value_bytes)
        }
    }
}

/// Refuses a list with a doubled value.
fn once<T: Ord + Display>(place: &str, list: &str, values: &[T]) -> Result<(), PlanError> {
    let mut known = BTreeSet::new();
    match values.iter().find(|value| !known.insert(*value)) {
        Some(value) => Err(wrong(place, format!("{list} has {value} twice"), "write each value once")),
        None => Ok(()),
    }
}

/// Whether every figure is one that a machine can bear.
fn check_bounds(place: &str, experiment: Experiment<'_>) -> Result<(), PlanError> {
    let all = |name: &str, values: &[u64], least: u64, most: u64| {
        values.iter().try_for_each(|value| within(place, name, *value, least, most))
    };
    match experiment {
        Experiment::Curve(curve) => {
            all("value_bytes", &curve.value_bytes, 0, VALUE_BYTES_MAX)?;
            // That there is one at all, and none is zero, is said where the curve is looked at.
            all("rates_per_s", &curve.rates_per_s, 0, RATE_PER_S_MAX)?;
            within(place, "warmup_seconds", u64::from(curve.warmup_seconds), 0, SECONDS_MAX)?;
            within(place, "seconds", u64::from(curve.seconds), 1, SECONDS_MAX)
        }
        Experiment::Loss(loss) => {
            all("value_bytes", &loss.value_bytes, 0, VALUE_BYTES_MAX)?;
            all("open_tails", &loss.open_tails, 0, OPEN_TAIL_MAX)?;
            within(place, "times", u64::from(loss.times), 1, TIMES_MAX)
        }
        Experiment::Meanwhile(meanwhile) => {
            all("value_bytes", &meanwhile.value_bytes, 0, VALUE_BYTES_MAX)?;
            within(place, "rate_per_s", meanwhile.rate_per_s, 1, RATE_PER_S_MAX)?;
            within(place, "preload_thousands", meanwhile.preload_thousands, 0, PRELOAD_THOUSANDS_MAX)?;
            within(place, "seconds", u64::from(meanwhile.seconds), 1, SECONDS_MAX)
        }
    }
}

fn check_network(network: &Network) -> Result<(), PlanError> {
    let place = format!("network \"{}\"", network.name);
    let times = [network.round_trip_ms, network.jitter_ms];
    if times.iter().any(|ms| !(0.0..=60_000.0).contains(ms)) {
        return Err(wrong(&place, "a time that cannot be", "give milliseconds from 0 to 60000"));
    }
    let is_faulty = times.iter().any(|ms| *ms > 0.0) || network.loss.is_some() || !network.links.is_empty();
    if is_faulty && !network.relay {
        return Err(wrong(&place, "links are slow or lossy without a relay", "write relay = true"));
    }
    if let Err(error) = network.patterns().and_then(|_| network.change()) {
        return Err(wrong(&place, error.to_string(), "links are written as \"1:2\" or \"3:all\", losses as \"1%\""));
    }
    Ok(())
}

/// Whether the nodes that the network names are there.
fn check_reach(place: &str, network: &Network, nodes: u64) -> Result<(), PlanError> {
    let patterns = network.patterns().unwrap_or_default();
    let named = patterns.iter().flat_map(|pattern| [pattern.from, pattern.to]).flatten().chain(network.log_delay_at);
    match named.max() {
        Some(id) if id > nodes => {
            let what = format!("network \"{}\" speaks of node {id}, and there are {nodes}", network.name);
            Err(wrong(place, what, "give it more nodes, or another network"))
        }
        _ if network.relay && nodes == 1 => {
            let what = format!("network \"{}\" goes through a relay, and a single node has no links", network.name);
            Err(wrong(place, what, "measure one node on loopback"))
        }
        _ => Ok(()),
    }
}

fn check_curve(place: &str, setting: &Setting, rates: &[u64]) -> Result<(), PlanError> {
    if !MIXES.contains(&setting.what.as_str()) {
        let what = format!("there is no mix \"{}\"", setting.what);
        return Err(wrong(place, what, format!("write one of {}", MIXES.join(", "))));
    }
    if rates.is_empty() || rates.contains(&0) {
        return Err(wrong(place, "a rate is zero, or there are none", "give rates_per_s from 1 on"));
    }
    Ok(())
}

fn check_loss(place: &str, setting: &Setting, network: &Network, is_partition: bool) -> Result<(), PlanError> {
    let known = if is_partition { Loss::PARTITIONS } else { Loss::OF_LEADER };
    let Some(loss) = Loss::parse(&setting.what).filter(|loss| known.contains(loss)) else {
        let names: Vec<&str> = known.iter().map(|loss| loss.name()).collect();
        let kind = if is_partition { "partition" } else { "failover" };
        let what = format!("there is no {kind} \"{}\"", setting.what);
        return Err(wrong(place, what, format!("write one of {}", names.join(", "))));
    };
    let nodes = loss.nodes();
    if !nodes.contains(&setting.nodes) {
        let (least, most) = (nodes.start(), nodes.end());
        let what = format!("\"{}\" with {} nodes", setting.what, setting.nodes);
        return Err(wrong(place, what, format!("give it nodes from {least} to {most}")));
    }
    if (loss.cuts_links() || setting.open_tail > 0) && !network.relay {
        let what = format!("\"{}\" must cut links, and network \"{}\" has no relay", setting.what, network.name);
        return Err(wrong(place, what, "name a network with a relay, for example \"relay\""));
    }
    if is_partition && setting.open_tail > 0 {
        return Err(wrong(place, "an open tail in a partition", "open_tails are for a [[failover]]"));
    }
    if setting.rate_per_s == 0 || setting.rate_per_s > 1000 {
        let remedy = "give from 1 to 1000: these puts only show when there is service";
        return Err(wrong(place, format!("rate_per_s is {}", setting.rate_per_s), remedy));
    }
    Ok(())
}

fn check_meanwhile(place: &str, setting: &Setting, network: &Network) -> Result<(), PlanError> {
    let Some(change) = Change::parse(&setting.what) else {
        let known: Vec<&str> = Change::ALL.iter().map(|change| change.name()).collect();
        let what = format!("there is nothing such as \"{}\" to do", setting.what);
        return Err(wrong(place, what, format!("write one of {}", known.join(", "))));
    };
    if change.brings_nodes() && network.relay {
        let what = format!("in \"{}\" a node joins, which does not go through the relay", setting.what);
        return Err(wrong(place, what, "measure it on loopback"));
    }
    if setting.nodes < 2 && !change.brings_nodes() {
        return Err(wrong(place, format!("\"{}\" with one node", setting.what), "give it at least 2, better 3"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
