//! Points of steady load: one rate after the other on the same cluster, rising, each with what it cost.

use std::path::Path;

use super::bench::{Bench, Benched, Running};
use super::courses::Course;
use super::plan::{Curve, Network, Plan};
use super::results::{Found, History, Load, PointKey};
use super::sampling::Sampling;
use super::verdict;
use crate::processes::Processes;
use crate::replicas::Failure;

/// A point without the time and the machine's state around it.
pub struct Measured {
    /// What was found.
    pub found: Found,
    /// The verdict on its history.
    pub history: History,
    /// How busy the machine was meanwhile.
    pub busy: f64,
    /// Why it does not count.
    pub invalid: Vec<String>,
    /// Whether the nodes told their counters.
    pub has_counters: bool,
}

impl Measured {
    /// A point whose course broke down.
    pub fn broken(why: String) -> Measured {
        let found = Found::Load(Load::default());
        Measured { found, history: History::NotRecorded, busy: 0.0, invalid: vec![why], has_counters: true }
    }
}

/// A load with what it cost.
pub struct Loaded {
    /// The load.
    pub load: Load,
    /// How busy the machine was.
    pub busy: f64,
    /// The verdict on its history.
    pub history: History,
    /// Whether the nodes told their counters.
    pub has_counters: bool,
}

/// Measures the cluster at one rate.
pub async fn measure(
    plan: &Plan,
    course: &Course<'_>,
    curve: &Curve,
    key: &PointKey,
    network: &Network,
    cluster: &Processes,
    directory: &Path,
) -> Result<Measured, Failure> {
    let bench = Bench {
        mix: key.setting.what.clone(),
        rate_per_s: key.setting.rate_per_s,
        value_bytes: key.setting.value_bytes,
        warmup_s: curve.warmup_seconds,
        seconds: curve.seconds,
        // Each round meets other keys, and all subjects of a round the same ones.
        seed: plan.seed.wrapping_mul(1000) + u64::from(course.round),
        watched_keys: plan.watched_keys,
    };
    let Loaded { load, busy, history, has_counters } = under_load(&bench, cluster, directory).await?;
    let mut invalid = Vec::new();
    if !load.errors.is_empty() {
        let kinds: Vec<String> = load.errors.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
        invalid.push(format!("errors in steady state: {}", kinds.join(", ")));
    }
    if network.is_uneven() && load.leader != Some(1) {
        invalid.push("node 1 did not lead throughout, as this network wants".to_owned());
    }
    invalid.extend(offence(&history));
    Ok(Measured { found: Found::Load(load), history, busy, invalid, has_counters })
}

/// Why a point with this history does not count, if it does not.
pub fn offence(history: &History) -> Option<String> {
    matches!(history, History::NotLinearizable { .. }).then(|| "the history is not linearizable".to_owned())
}

/// Puts a load on a cluster, and counts what that costs within its measured time.
pub async fn under_load(bench: &Bench, cluster: &Processes, directory: &Path) -> Result<Loaded, Failure> {
    let leader = cluster.leader().await?;
    let mut loaded = UnderWay::begin(bench, cluster, directory)?.finish().await?;
    loaded.load.leader = (cluster.leader().await? == leader).then_some(leader);
    Ok(loaded)
}

/// A load under way. It needs the cluster no more: that may be changed meanwhile.
pub struct UnderWay {
    sampling: Sampling,
    running: Running,
}

impl UnderWay {
    /// Begins to put the load on the nodes that run now, and to count what that costs them.
    pub fn begin(bench: &Bench, cluster: &Processes, directory: &Path) -> Result<UnderWay, Failure> {
        let running = bench.start(cluster, &directory.join("history.jsonl"))?;
        Ok(UnderWay { sampling: Sampling::begin(cluster), running })
    }

    /// Waits until it is over.
    pub async fn finish(self) -> Result<Loaded, Failure> {
        let benched = self.running.finish().await;
        let readings = self.sampling.finish().await?;
        let Benched { mut load, from, to, history } = benched?;
        load.costs = readings.costs(from, to);
        load.relay_cpu_s = readings.runner_cpu_s(from, to);
        // A search takes a processor for a while, and nothing else is measured meanwhile.
        let history = tokio::task::spawn_blocking(move || verdict::of_file(&history)).await??;
        Ok(Loaded { load, busy: readings.busy(from, to), history, has_counters: readings.has_counters() })
    }
}
