//! The figures of reads: how many in a second, how long each takes, and what it costs on the wire; by mode, by the
//! number of clients, at the leader and at a follower, under both engines.
//!
//! ```text
//!   client × n ──read_barrier(mode)──▶ replica ──▶ KvReader::get        in a closed loop, no HTTP between
//! ```
//!
//! Both groups run the whole time, one of them idle while the other is measured, and take turns round by round: what
//! slows the machine down for a while slows down both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::replicas::{Failure, Replicas, Settings};
use clap::Parser;
use consensus_api::random::SeededRandom;
use consensus_api::{LeaseTiming, ReadMode, ReplicatedLog, Timing};
use hdrhistogram::Histogram;
use kv_machine::KvReader;
use replica::Replica;
use storage_rocks::RocksTables;
use tempfile::TempDir;
use tokio::task::JoinSet;

const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads per second, latency and messages, by mode.
#[derive(Parser)]
struct Arguments {
    /// How many clients read at a time, one row each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    clients: Vec<usize>,
    /// How many rounds; each engine has its turn in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a measurement takes, in milliseconds, after a fifth of that to warm up.
    #[arg(long, default_value_t = 1500)]
    millis: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Where the data directories are made, and removed again [default: the system's place for such].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// How a read is made: by a barrier in this mode, or by none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    Stale,
    Barrier(ReadMode),
}

const MEANS: [(&str, Means); 5] = [
    ("index", Means::Barrier(ReadMode::Index)),
    ("lease", Means::Barrier(ReadMode::Lease)),
    ("log", Means::Barrier(ReadMode::Log)),
    ("quorum", Means::Barrier(ReadMode::Quorum)),
    ("stale", Means::Stale),
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Leader,
    Follower,
}

/// What one measurement found.
struct Round {
    rate: f64,
    p50_us: u64,
    p99_us: u64,
    messages: f64,
    bytes: f64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let directory = match &arguments.dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    };
    let mut groups = Vec::new();
    for name in ["raft", "paxos"] {
        let timing = Timing { lease: Some(LeaseTiming::default()), ..Timing::default() };
        let settings = Settings { timing, ..Settings::of(name)? };
        let modes = kv_service::engines::reads(settings.engine);
        let group = Replicas::found(settings, &directory.path().join(name), arguments.nodes).await?;
        let leader = group.leader().await?;
        let log: Arc<dyn ReplicatedLog> = group.nodes()[&leader].replica.clone();
        Puts { keys: KEYS, value_bytes: VALUE_BYTES, in_flight: 64 }.write(&log, KEYS).await?;
        groups.push((name, modes, group));
    }
    let Arguments { rounds, millis, nodes, .. } = arguments;
    println!(
        "{nodes} nodes of each engine in this process, {KEYS} keys of {VALUE_BYTES} B, nobody writes; {rounds} rounds of {millis} ms in turn; the median, or the better of two (range)"
    );
    println!("messages and bytes: sent by all nodes for each read, heartbeats included, framing not\n");
    println!("| clients | at | mode | engine | reads/s | p50 µs | p99 µs | messages | bytes |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for clients in arguments.clients {
        for (place_name, place) in [("leader", Place::Leader), ("follower", Place::Follower)] {
            for (means_name, means) in MEANS {
                let mut found: BTreeMap<&str, Vec<Round>> = BTreeMap::new();
                for _ in 0..rounds {
                    for (name, modes, group) in &groups {
                        if matches!(means, Means::Barrier(mode) if !modes.contains(&mode)) {
                            continue;
                        }
                        let span = Duration::from_millis(millis);
                        measure(group, place, means, clients, span / 5).await?;
                        found.entry(name).or_default().push(measure(group, place, means, clients, span).await?);
                    }
                }
                for (name, _, _) in &groups {
                    if let Some(rounds) = found.remove(name) {
                        println!("| {clients} | {place_name} | {means_name} | {name} | {}", row(&rounds));
                    }
                }
            }
        }
    }
    Ok(())
}

fn row(rounds: &[Round]) -> String {
    let median = |figure: fn(&Round) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
    };
    let (rate, least, most) = median(|round| round.rate);
    let (p50, ..) = median(|round| round.p50_us as f64);
    let (p99, ..) = median(|round| round.p99_us as f64);
    let (messages, ..) = median(|round| round.messages);
    let (bytes, ..) = median(|round| round.bytes);
    format!("{rate:.0} ({least:.0}–{most:.0}) | {p50:.0} | {p99:.0} | {messages:.3} | {bytes:.1} |")
}

/// Reads for so long, all clients at the same node.
async fn measure(
    group: &Replicas,
    place: Place,
    means: Means,
    clients: usize,
    span: Duration,
) -> Result<Round, Failure> {
    let leader = group.leader().await?;
    let elsewhere = || group.nodes().keys().copied().find(|node| *node != leader);
    let node = if place == Place::Leader { leader } else { elsewhere().unwrap_or(leader) };
    let asked = &group.nodes()[&node];
    let kv = KvReader::new(asked.store.tables.clone());
    let before = group.sent().so_far();
    let since = Instant::now();
    let mut readers = JoinSet::new();
    for client in 0..clients {
        readers.spawn(read(asked.replica.clone(), kv.clone(), means, client as u64, since + span));
    }
    let mut latency_us = Histogram::<u64>::new(3)?;
    while let Some(reader) = readers.join_next().await {
        latency_us.add(reader??)?;
    }
    let (took, after) = (since.elapsed(), group.sent().so_far());
    let reads = latency_us.len().max(1) as f64;
    Ok(Round {
        rate: reads / took.as_secs_f64(),
        p50_us: latency_us.value_at_quantile(0.5),
        p99_us: latency_us.value_at_quantile(0.99),
        messages: (after.0 - before.0) as f64 / reads,
        bytes: (after.1 - before.1) as f64 / reads,
    })
}

async fn read(
    replica: Arc<Replica>,
    kv: KvReader<RocksTables>,
    means: Means,
    seed: u64,
    until: Instant,
) -> Result<Histogram<u64>, Failure> {
    let mut random = SeededRandom::new(seed);
    let mut latency_us = Histogram::<u64>::new(3)?;
    loop {
        let since = Instant::now();
        if since >= until {
            return Ok(latency_us);
        }
        match means {
            Means::Barrier(mode) => {
                replica.read_barrier(mode, TIMEOUT).await?;
            }
            // Nothing is waited for; let the others have their turn all the same.
            Means::Stale => tokio::task::yield_now().await,
        }
        let key = format!("key{:012}", random.below(KEYS));
        if kv.get(key.as_bytes())?.is_none() {
            return Err(format!("{key} was written, and is not there").into());
        }
        latency_us.record(since.elapsed().as_micros() as u64)?;
    }
}
