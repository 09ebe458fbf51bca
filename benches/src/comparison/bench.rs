//! The load generator as a child process, `kv-service bench`, so that its processor time is its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tokio::process::{Child, Command};

use super::results::{Latency, Load};
use crate::processes::Processes;
use crate::replicas::Failure;

/// How much longer than its measured time a load generator may take: it writes keys before, and waits for answers after.
const PATIENCE: Duration = Duration::from_secs(120);

/// A load, as `kv-service bench` takes it.
#[derive(Clone, Debug)]
pub struct Bench {
    /// What is done: `puts`, `reads`, `mixed`, or a workload of YCSB.
    pub mix: String,
    /// How many operations are begun in a second.
    pub rate_per_s: u64,
    /// The size of a value, in bytes.
    pub value_bytes: u64,
    /// How long it runs before it is measured, in seconds.
    pub warmup_s: u32,
    /// How long it is measured, in seconds.
    pub seconds: u32,
    /// Decides about keys and order.
    pub seed: u64,
    /// How many keys are watched.
    pub watched_keys: u64,
}

/// What came of a load, and when it was measured.
pub struct Benched {
    /// Without what it cost the nodes.
    pub load: Load,
    /// When the measured time began.
    pub from: Instant,
    /// When it ended.
    pub to: Instant,
    /// The file with every operation on the watched keys.
    pub history: PathBuf,
}

/// A load generator at work. It ends with this.
pub struct Running {
    child: Child,
    limit: Duration,
    history: PathBuf,
}

#[derive(Deserialize)]
struct Report {
    seconds: f64,
    rate_per_s: f64,
    #[serde(default)]
    errors: BTreeMap<String, u64>,
    cpu_s: f64,
    #[serde(default)]
    lag_us_max: f64,
    #[serde(default)]
    not_started: u64,
    completed: u64,
    #[serde(default)]
    measured_from_unix_us: Option<u64>,
    kinds: BTreeMap<String, Times>,
    all: Times,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Times {
    count: u64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    cdf: Vec<(f64, f64)>,
}

impl Bench {
    /// Begins to put the load on the nodes that run now. Every operation on the watched keys goes into `history`.
    pub fn start(&self, cluster: &Processes, history: &Path) -> Result<Running, Failure> {
        let mut command = Command::from(cluster.command());
        let endpoints: Vec<String> = cluster.running().map(|id| cluster.http(id)).collect();
        command.args(["bench", "--json", "--endpoints", &endpoints.join(",")]).args(self.flags());
        command.arg("--history").arg(history);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let limit = Duration::from_secs(u64::from(self.warmup_s + self.seconds)) + PATIENCE;
        Ok(Running { child: command.spawn()?, limit, history: history.to_owned() })
    }

    fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = match self.mix.as_str() {
            "puts" => vec!["--reads".into(), "0".into()],
            "reads" => vec!["--reads".into(), "100".into()],
            "mixed" => vec!["--reads".into(), "50".into()],
            workload => vec!["--workload".into(), workload.into()],
        };
        for (flag, number) in [
            ("--rate", self.rate_per_s),
            ("--value-bytes", self.value_bytes),
            ("--warmup", self.warmup_s.into()),
            ("--duration", self.seconds.into()),
            ("--seed", self.seed),
            ("--history-keys", self.watched_keys),
        ] {
            flags.extend([flag.to_owned(), number.to_string()]);
        }
        flags
    }
}

impl Running {
    /// Waits until it has ended.
    pub async fn finish(self) -> Result<Benched, Failure> {
        let output = tokio::time::timeout(self.limit, self.child.wait_with_output()).await;
        let output = output.map_err(|_| "the load generator does not end")??;
        let ended = (Instant::now(), SystemTime::now());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the load generator failed: {}", said.trim()).into());
        }
        let report: Report = serde_json::from_slice(&output.stdout)?;
        let span = Duration::from_secs_f64(report.seconds.max(0.0));
        let from = report.began(ended, span);
        Ok(Benched { load: report.into(), from, to: from + span, history: self.history })
    }
}

impl Report {
    /// When the measured time began: as the generator says, or so long before its end.
    fn began(&self, ended: (Instant, SystemTime), span: Duration) -> Instant {
        let (ended, wall) = ended;
        let said = self.measured_from_unix_us.map(|us| UNIX_EPOCH + Duration::from_micros(us));
        let ago = said.and_then(|from| wall.duration_since(from).ok()).unwrap_or(span);
        ended.checked_sub(ago).unwrap_or(ended)
    }
}

impl From<Report> for Load {
    fn from(report: Report) -> Load {
        Load {
            seconds: report.seconds,
            operations: report.completed,
            not_started: report.not_started,
            rate_per_s: report.rate_per_s,
            errors: report.errors,
            all: report.all.into(),
            kinds: report.kinds.into_iter().map(|(kind, times)| (kind, times.into())).collect(),
            generator_cpu_s: report.cpu_s,
            generator_lag_us: report.lag_us_max.round() as u64,
            ..Load::default()
        }
    }
}

impl From<Times> for Latency {
    fn from(times: Times) -> Latency {
        let whole = |us: f64| us.round() as u64;
        Latency {
            count: times.count,
            mean_us: times.mean_us,
            p50_us: whole(times.p50_us),
            p90_us: whole(times.p90_us),
            p99_us: whole(times.p99_us),
            p999_us: whole(times.p999_us),
            max_us: whole(times.max_us),
            cdf: times.cdf.into_iter().map(|(us, share)| (whole(us), share)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_generators_report_becomes_a_load() {
        let report: Report = serde_json::from_str(
            r#"{"engine":"raft","protocol":"quic","loop":"open","rate_target_per_s":4000,"clients":64,"window":1,
            "seconds":5.0,"operations":125,"completed":123,"rate_per_s":24.6,"not_started":2,"errors":{"504 unknown":2},"errors_total":2,"cpu_s":0.41,
            "lag_us_max":17,"kinds":{"put":{"count":123,"rate_per_s":24.6,"mean_us":210.5,"p50_us":200,"p90_us":300,
            "p99_us":900,"p999_us":1000,"max_us":1100,"cdf":[[200,0.5],[1100,1.0]]}},
            "all":{"count":123,"mean_us":210.5,"p50_us":200},"history":null}"#,
        )
        .unwrap();
        let load = Load::from(report);
        assert_eq!((load.operations, load.generator_lag_us, load.errors["504 unknown"]), (123, 17, 2));
        assert_eq!(load.not_started, 2);
        assert_eq!(load.kinds["put"].cdf, [(200, 0.5), (1100, 1.0)]);
        assert_eq!(load.all.p50_us, 200);
    }

    #[test]
    fn each_mix_has_its_flags() {
        let bench = |mix: &str| Bench {
            mix: mix.to_owned(),
            rate_per_s: 100,
            value_bytes: 16,
            warmup_s: 1,
            seconds: 2,
            seed: 3,
            watched_keys: 4,
        };
        assert!(bench("reads").flags().join(" ").starts_with("--reads 100 --rate 100"));
        assert!(bench("a").flags().join(" ").starts_with("--workload a --rate 100"));
    }
}
