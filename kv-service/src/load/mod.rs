//! `kv-service bench`: a load generator for any running cluster.
//!
//! ```text
//!   client 1 ─┐  each: one kept connection, one request at a time        ┌─ histogram of puts
//!   client 2 ─┼─────────▶ the leader, or all endpoints in turn ─────────▶ ├─ histogram of gets
//!   client N ─┘                                                          └─ errors by kind
//! ```
//!
//! It is a *closed loop*: a client sends its next request when the last one was answered. So a cluster that stalls is
//! asked less meanwhile, and the slowest percentiles flatter it; more clients make more load, not a given rate.
//! One thread does everything, because the cluster usually shares the machine.

mod client;
mod connection;
mod report;
mod tally;
mod targets;
mod workload;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use crate::error::ServiceError;
use client::{Client, Window};
use report::Report;
use tally::Tally;
use targets::Targets;
use workload::Workload;

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
    /// How many clients, each with a connection of its own and one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// How many seconds are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub duration: u32,
    /// How many seconds are run before that
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub warmup: u32,
    /// The size of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub value_bytes: u32,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// How many requests in a hundred are gets; the others are puts
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: u8,
    /// How fresh a get must be: linearizable or stale
    #[arg(long, default_value = "linearizable", value_parser = ["linearizable", "stale"])]
    pub consistency: String,
    /// Spread the clients over all endpoints instead of asking the leader only
    #[arg(long)]
    pub spread: bool,
    /// How long a request may take before it counts as an error
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
    /// Decides which keys are used in which order
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Runs the load and prints what came of it.
pub async fn run(arguments: BenchArgs) -> Result<(), ServiceError> {
    LocalSet::new().run_until(drive(arguments)).await
}

async fn drive(arguments: BenchArgs) -> Result<(), ServiceError> {
    let timeout = Duration::from_millis(arguments.timeout_ms);
    let targets = Rc::new(Targets::find(&arguments.endpoints, arguments.spread, timeout).await?);
    let workload = Rc::new(Workload::new(&arguments)?);
    if arguments.reads > 0 {
        preload(&arguments, &targets, &workload, timeout).await?;
    }

    let window = Window::starting_in(
        Instant::now(),
        Duration::from_secs(arguments.warmup.into()),
        Duration::from_secs(arguments.duration.into()),
    );
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients {
        let client = Client::new(number, targets.clone(), workload.clone(), tally.clone(), timeout);
        clients.spawn_local(client.run(window));
    }
    clients.join_all().await;
    let tally = tally.borrow();
    Report::new(&arguments, targets.description(), &tally).print()
}

/// Writes every key once, so that gets find what they ask for.
async fn preload(
    arguments: &BenchArgs,
    targets: &Rc<Targets>,
    workload: &Rc<Workload>,
    timeout: Duration,
) -> Result<(), ServiceError> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let next = Rc::new(RefCell::new(0..arguments.keys));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients {
        let client = Client::new(number, targets.clone(), workload.clone(), tally.clone(), timeout);
        clients.spawn_local(client.write_each(next.clone()));
    }
    clients.join_all().await;
    let tally = tally.borrow();
    if tally.puts.is_empty() { Err(tally.nothing_succeeded()) } else { Ok(()) }
}
