//! What is noticed when leadership is moved on purpose, when the leader is killed, and when nothing happens at all: by a
//! Clerk, which may have to find out that its node is gone, and by those who ask another node from then on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::processes::Processes;
use benches::replicas::Failure;
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use kv_client::protocol::Consistency;
use kv_client::{Clerk, HttpClient, WriteOptions};
use tokio::task::JoinSet;

use crate::ENGINES;

#[derive(Args)]
pub(crate) struct Leading {
    /// How many puts are in flight.
    #[arg(long, default_value_t = 16)]
    in_flight: u64,
    /// The size of a value, in bytes.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many transfers, and how many kills, in a round.
    #[arg(long, default_value_t = 8)]
    times: usize,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
}

const KEYS: u64 = 10_000;
/// How long after a transfer was answered puts still count as disturbed by it.
const ECHO: Duration = Duration::from_millis(100);
/// How long there is quiet between two events.
const REST: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: [&str; 3] = ["nothing", "transfer", "kill -9"];

/// What the events of one kind did.
struct Found {
    /// The longest pause of each event, in microseconds.
    pauses_us: Histogram<u64>,
    /// All puts that were under way meanwhile, in microseconds.
    puts_us: Histogram<u64>,
    /// How long after an event began the first put was acknowledged that began after it, in microseconds.
    back_us: Histogram<u64>,
    /// How long the operator waited for the answer, in microseconds.
    answers_us: Histogram<u64>,
}

impl Leading {
    pub(crate) async fn run(self, rounds: u64, directory: &Path) -> Result<(), Failure> {
        let puts = Puts { keys: KEYS, value_bytes: self.value_bytes, in_flight: self.in_flight };
        let fsync = fsync(directory)?;
        let mut clusters = Vec::new();
        for engine in ENGINES {
            let cluster = Processes::found(engine, &directory.join(engine), self.nodes, &[]).await?;
            puts.fill(&cluster.clerk(512).await?, KEYS).await?;
            clusters.push(cluster);
        }
        let round_trip = round_trip(&clusters[0].clerk(1).await?).await?;
        println!(
            "{} processes of each engine, {KEYS} keys of {} B, one Clerk with {} puts in flight; {rounds} rounds in turn, {} events of each kind in each; pause: the longest time without an acknowledged put of the Clerk, of each event; puts: the Clerk's that were under way between an event and {} ms after it was over; back: until a put by HTTP at another node, begun after the event, was acknowledged",
            self.nodes,
            self.value_bytes,
            self.in_flight,
            self.times,
            ECHO.as_millis()
        );
        println!(
            "an fsync of 4 KiB takes {fsync:?}, a client's round trip without any work {round_trip:?} (medians): three of each are {:?}\n",
            3 * (fsync + round_trip)
        );
        let mut found = BTreeMap::new();
        for event in EVENTS {
            for engine in ENGINES {
                found.insert((event, engine), Found::new()?);
            }
        }
        for _ in 0..rounds {
            for (engine, cluster) in ENGINES.into_iter().zip(&mut clusters) {
                for event in EVENTS {
                    if let Some(found) = found.get_mut(&(event, engine)) {
                        self.round(cluster, &puts, event, found).await?;
                    }
                }
            }
        }
        println!(
            "| event | engine | n | pause p50 ms | p99 ms | max ms | puts p50 ms | p99 ms | back p50 ms | p99 ms | max ms | answered p50 ms | p99 ms |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for event in EVENTS {
            for engine in ENGINES {
                if let Some(found) = found.get(&(event, engine)) {
                    println!("| {event} | {engine} | {} |", found.row());
                }
            }
        }
        Ok(())
    }

    /// Events of one kind, while puts go on.
    async fn round(&self, cluster: &mut Processes, puts: &Puts, event: &str, found: &mut Found) -> Result<(), Failure> {
        cluster.settled().await?;
        let clerk = cluster.clerk(self.in_flight as usize).await?;
        let under_way = puts.begin(&clerk);
        tokio::time::sleep(REST).await;
        let mut spans = Vec::new();
        for _ in 0..self.times {
            let leader = cluster.settled().await?;
            tokio::time::sleep(REST).await;
            let others = cluster.others(leader)?;
            let from = Instant::now();
            let back = match event {
                "transfer" => {
                    let transfer = async {
                        cluster.transfer(leader, leader % self.nodes + 1).await?;
                        Ok(from.elapsed())
                    };
                    let (answered, back) = tokio::join!(transfer, back(&others));
                    found.answers_us.record(Result::<_, Failure>::map(answered, |took| took.as_micros() as u64)?)?;
                    back?
                }
                "kill -9" => {
                    cluster.kill(leader)?;
                    back(&others).await?
                }
                _ => back(&others).await?,
            };
            found.back_us.record(back.as_micros() as u64)?;
            let over = Instant::now();
            // The Clerk has found the way again, too.
            clerk.put("found", "").await?;
            tokio::time::sleep(REST).await;
            spans.push((from, over));
            if event == "kill -9" {
                cluster.start(leader)?;
            }
        }
        let record = under_way.finish().await?;
        for (from, over) in spans {
            // A pause that begins in the span counts to its end.
            found.pauses_us.record(record.longest_pause(from, over + ECHO).as_micros() as u64)?;
            found.puts_us.add(record.between(from, over + ECHO)?.latency_us)?;
        }
        Ok(())
    }
}

impl Found {
    fn new() -> Result<Found, Failure> {
        let histogram = || Histogram::<u64>::new(3);
        let (pauses_us, puts_us) = (histogram()?, histogram()?);
        Ok(Found { pauses_us, puts_us, back_us: histogram()?, answers_us: histogram()? })
    }

    fn row(&self) -> String {
        let at = |histogram: &Histogram<u64>, quantile| match histogram.len() {
            0 => "–".to_owned(),
            _ => format!("{:.2}", histogram.value_at_quantile(quantile) as f64 / 1000.0),
        };
        let Found { pauses_us, puts_us, back_us, answers_us } = self;
        let cells = [
            pauses_us.len().to_string(),
            at(pauses_us, 0.5),
            at(pauses_us, 0.99),
            at(pauses_us, 1.0),
            at(puts_us, 0.5),
            at(puts_us, 0.99),
            at(back_us, 0.5),
            at(back_us, 0.99),
            at(back_us, 1.0),
            at(answers_us, 0.5),
            at(answers_us, 0.99),
        ];
        cells.join(" | ")
    }
}

/// How long it takes until a put is acknowledged that begins now. One begins every few milliseconds: the first ones may
/// be lost with a leader that is gone, and be waited for in vain.
async fn back(client: &HttpClient) -> Result<Duration, Failure> {
    const BETWEEN: Duration = Duration::from_millis(5);
    let (since, mut puts) = (Instant::now(), JoinSet::new());
    while since.elapsed() < PATIENCE {
        let client = client.clone();
        puts.spawn(async move { client.put(b"back", Bytes::new(), WriteOptions::default()).await });
        let again = Instant::now() + BETWEEN;
        while let Ok(Some(put)) = tokio::time::timeout_at(again.into(), puts.join_next()).await {
            if put?.is_ok() {
                return Ok(since.elapsed());
            }
        }
        tokio::time::sleep_until(again.into()).await;
    }
    Err("no put is acknowledged any more".into())
}

/// The median of an fsync of 4 KiB in this directory.
fn fsync(directory: &Path) -> Result<Duration, Failure> {
    let mut file = File::create(directory.join("fsync"))?;
    let mut took = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4096])?;
        let since = Instant::now();
        file.sync_data()?;
        took.push(since.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// The median of a stale read's time.
async fn round_trip(clerk: &Clerk) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for _ in 0..500 {
        let since = Instant::now();
        clerk.get_as("key000000000000", Consistency::Stale).await?;
        took.push(since.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}
