//! The command line of the load generator, and what follows from it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kv_client::protocol::Consistency;

use super::keys::Distribution;
use super::pace::Measured;
use super::schedule::Arrivals;
use super::values::Sizes;
use super::workload::{Mix, Ycsb};
use crate::error::ServiceError;

/// The highest rate, in operations a second.
const RATE_MAX: f64 = 10_000_000.0;
/// How many operations of an open loop are under way at the most, unless it is said otherwise.
const IN_FLIGHT: u32 = 1024;
/// The most that may be under way, in either loop.
const IN_FLIGHT_MAX: u32 = 65_536;

/// By what the cluster is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Clerks: many operations on one connection, each write exactly once.
    Quic,
    /// HTTP with kept connections.
    Http,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Quic => "quic",
            Protocol::Http => "http",
        })
    }
}

/// Load for a running cluster, and how it copes
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// HTTP addresses of the nodes
    #[arg(
        long,
        env = "QUORATE_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:8001"
    )]
    pub endpoints: Vec<String>,
    /// By what the nodes are asked
    #[arg(long, value_enum, default_value = "quic")]
    pub protocol: Protocol,
    /// Where ca.pem, client.pem and client.key are, for quic; without it: development certificates
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Closed loop: how many clients, each of which starts its next operation when one has ended
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// Closed loop: how many operations each client has under way
    #[arg(long, value_name = "OPERATIONS", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub window: Option<u32>,
    /// Open loop: so many operations a second in all, each with an intended start that its latency counts from
    #[arg(long, value_name = "PER_SECOND", allow_hyphen_values = true, value_parser = rate)]
    pub rate: Option<f64>,
    /// Open loop: how the operations follow each other
    #[arg(long, value_enum, requires = "rate", default_value = "even")]
    pub arrivals: Arrivals,
    /// Open loop: how many operations are under way at the most; further ones start late, which counts [default: 1024]
    #[arg(long, value_name = "OPERATIONS", requires = "rate", value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)))]
    pub in_flight_max: Option<u32>,
    /// How many connections [default: http as many as operations under way, quic 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,
    /// Spread the connections over all endpoints instead of asking the leader only; http
    #[arg(long)]
    pub spread: bool,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// How often which key: uniform, zipfian[:theta], sequential, hot[:percent:percent] or latest [default: uniform, or the workload's]
    #[arg(long)]
    pub distribution: Option<Distribution>,
    /// The size of a value: 256, 64..1024 or zipfian:64..4096
    #[arg(long, value_name = "BYTES", default_value = "256", allow_hyphen_values = true)]
    pub value_bytes: Sizes,
    /// How many operations in a hundred are gets; the others are puts [default: 0]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: Option<u8>,
    /// The mix and the keys of a YCSB workload instead
    #[arg(long, value_enum, conflicts_with = "reads")]
    pub workload: Option<Ycsb>,
    /// How fresh a get must be
    #[arg(long, default_value = "linearizable", value_parser = ["linearizable", "lease", "stale"])]
    pub consistency: String,
    /// How many seconds the load takes to its full strength: the rate grows, or clients start one after another
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub ramp_up: u32,
    /// How many seconds are run after that, and before what is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub warmup: u32,
    /// How many seconds are measured [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub duration: Option<u32>,
    /// How many operations are measured, instead of a time
    #[arg(long, value_name = "OPERATIONS", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub count: Option<u64>,
    /// How long a request may take before it counts as an error
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
    /// Decides which keys are used in which order
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Tell how it goes, each second, also where no terminal is
    #[arg(long)]
    pub progress: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write a histogram for each second and kind of operation to this file (HdrHistogram log, microseconds)
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Write what was done to some of the keys to this file, as 'simulator check' reads it
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// How many keys those are
    #[arg(long, value_name = "KEYS", requires = "history", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub history_keys: u32,
}

/// What follows from the arguments.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// `None`: a closed loop.
    pub(super) rate_per_s: Option<f64>,
    pub(super) window: u32,
    /// How many operations are under way at the most.
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    pub(super) mix: Mix,
    pub(super) distribution: Distribution,
    pub(super) consistency: Consistency,
    pub(super) ramp_up: Duration,
    pub(super) warmup: Duration,
    pub(super) measured: Measured,
    /// How long a request may take.
    pub(super) timeout: Duration,
}

impl Plan {
    /// What these arguments mean together.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] where they contradict each other.
    pub(super) fn of(arguments: &BenchArgs) -> Result<Plan, ServiceError> {
        let is_http = arguments.protocol == Protocol::Http;
        let (mix, usual) = match arguments.workload {
            Some(workload) => Mix::of(workload),
            None => (Mix::of_gets(arguments.reads.unwrap_or(0)), Distribution::Uniform),
        };
        let consistency = match arguments.consistency.as_str() {
            "stale" => Consistency::Stale,
            "lease" => Consistency::Lease,
            _ => Consistency::Linearizable,
        };
        let window = arguments.window.unwrap_or(1);
        let in_flight = match arguments.rate {
            Some(_) => arguments.in_flight_max.unwrap_or(IN_FLIGHT),
            None => arguments.clients * window,
        };
        let contradictions = [
            (is_http && arguments.tls_dir.is_some(), "--tls-dir is for --protocol quic; leave one of them out"),
            (!is_http && arguments.spread, "--spread needs --protocol http; a Clerk always goes to the leader"),
            (
                arguments.history.is_some() && consistency == Consistency::Stale,
                "stale reads are not linearizable, so there is nothing to check; leave out --history or --consistency stale",
            ),
            (
                !is_http && mix.scans > 0 && consistency != Consistency::Linearizable,
                "scans by quic are linearizable; leave out --consistency, or add --protocol http",
            ),
            (
                in_flight > IN_FLIGHT_MAX,
                "--clients times --window is more than 65536 operations under way; lower one of them",
            ),
        ];
        if let Some((_, message)) = contradictions.iter().find(|(found, _)| *found) {
            return Err(ServiceError::Usage(format!("{message}; see 'kv-service bench --help'")));
        }
        let in_flight = in_flight as usize;
        let usual_connections = if is_http { in_flight } else { 1 };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Ok(Plan {
            rate_per_s: arguments.rate,
            window,
            in_flight,
            connections: arguments.connections.map_or(usual_connections, |given| given as usize).min(in_flight),
            mix,
            distribution: arguments.distribution.unwrap_or(usual),
            consistency,
            ramp_up: seconds(arguments.ramp_up),
            warmup: seconds(arguments.warmup),
            measured: match arguments.count {
                Some(count) => Measured::Count(count),
                None => Measured::For(seconds(arguments.duration.unwrap_or(10))),
            },
            timeout: Duration::from_millis(arguments.timeout_ms),
        })
    }
}

/// A rate that can be kept to.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| format!("'{text}' is no rate; give operations a second, above 0, up to {RATE_MAX}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(line: &str) -> Result<Plan, String> {
        let words = ["kv-service", "bench"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Some(Command::Bench(arguments)) => Plan::of(&arguments).map_err(|error| {
                assert_eq!(error.exit_status(), 2);
                error.to_string()
            }),
            other => panic!("not a bench: {other:?}"),
        }
    }

    #[test]
    fn without_flags_it_is_a_closed_loop_of_clients_on_one_connection() {
        let plan = plan("").unwrap();
        assert_eq!((plan.rate_per_s, plan.in_flight, plan.connections), (None, 64, 1));
        assert_eq!((plan.mix.reads(), plan.distribution), (false, Distribution::Uniform));
        assert_eq!(plan.measured, Measured::For(Duration::from_secs(10)));
    }

    #[test]
    fn http_has_a_connection_for_each_operation_under_way() {
        let connections = |line| plan(line).unwrap().connections;
        assert_eq!(connections("--protocol http"), 64);
        assert_eq!(connections("--protocol http --clients 4 --window 3"), 12);
        assert_eq!(connections("--protocol http --clients 4 --connections 2"), 2);
        assert_eq!(connections("--protocol http --rate 100 --in-flight-max 7"), 7);
    }

    #[test]
    fn a_workload_brings_its_keys_unless_others_are_asked_for() {
        assert_eq!(plan("--workload d").unwrap().distribution, Distribution::Latest);
        assert_eq!(plan("--workload a --distribution hot").unwrap().distribution, Distribution::Hot(20, 80));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, expected) in [
            ("--rate 0", "--rate"),
            ("--rate fast", "operations a second"),
            ("--rate -5", "'-5'"),
            ("--rate NaN", "no rate"),
            ("--rate 100 --window 2", "--window"),
            ("--arrivals poisson", "--rate"),
            ("--in-flight-max 5", "--rate"),
            ("--duration 5 --count 5", "--count"),
            ("--count 0", "--count"),
            ("--distribution normal", "zipfian"),
            ("--value-bytes 9..3", "64..1024"),
            ("--workload g", "--workload"),
            ("--workload a --reads 5", "--reads"),
            ("--reads 101", "--reads"),
            ("--history-keys 4", "--history"),
            ("--history h --consistency stale", "not linearizable"),
            ("--spread", "--protocol http"),
            ("--protocol http --tls-dir d", "--protocol quic"),
            ("--workload e --consistency stale", "scans"),
            ("--clients 10000 --window 100", "65536"),
        ] {
            let message = plan(line).expect_err(line);
            assert!(message.contains(expected), "{line}: {message}");
        }
    }
}
