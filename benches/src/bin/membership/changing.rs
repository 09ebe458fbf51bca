//! What puts notice of members that come and go: a blank node joins as a learner, is promoted, and is removed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use benches::load::{Fared, Puts};
use benches::processes::Processes;
use benches::replicas::Failure;
use clap::Args;
use kv_client::protocol::MembersReply;

use crate::{ENGINES, median};

#[derive(Args)]
pub(crate) struct Changing {
    /// How many puts are in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: u64,
    /// The size of a value, in bytes.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How long puts are measured before and after, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    millis: u64,
    /// How often a node comes and goes in a round.
    #[arg(long, default_value_t = 3)]
    times: u64,
    /// How many nodes there are before.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
}

const KEYS: u64 = 10_000;
const PHASES: [&str; 3] = ["before", "during", "after"];

impl Changing {
    pub(crate) async fn run(self, rounds: u64, directory: &Path) -> Result<(), Failure> {
        let puts = Puts { keys: KEYS, value_bytes: self.value_bytes, in_flight: self.in_flight };
        let mut clusters = Vec::new();
        for engine in ENGINES {
            let cluster = Processes::found(engine, &directory.join(engine), self.nodes, &[]).await?;
            puts.fill(&cluster.clerk(512).await?, KEYS).await?;
            clusters.push(cluster);
        }
        println!(
            "{} processes of each engine, {KEYS} keys of {} B, one Clerk with {} puts in flight; before and after: {} ms each; during: {} times a blank process starts, joins as a learner, is promoted and removed; {rounds} rounds in turn; the median, or the greater of two (range)\n",
            self.nodes, self.value_bytes, self.in_flight, self.millis, self.times
        );
        let (mut found, mut took) = (BTreeMap::<_, Vec<Fared>>::new(), BTreeMap::<_, Vec<f64>>::new());
        for round in 0..rounds {
            for (engine, cluster) in ENGINES.into_iter().zip(&mut clusters) {
                let first = self.nodes + 1 + round * self.times;
                for (phase, fared) in PHASES.into_iter().zip(self.round(cluster, &puts, first).await?) {
                    if phase == "during" {
                        took.entry(engine).or_default().push(fared.took.as_secs_f64() / self.times as f64);
                    }
                    found.entry((phase, engine)).or_default().push(fared);
                }
            }
        }
        println!("| members | engine | puts/s | p50 ms | p99 ms | max ms |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for phase in PHASES {
            for engine in ENGINES {
                let rounds = found.remove(&(phase, engine)).unwrap_or_default();
                let of =
                    |figure: &dyn Fn(&Fared) -> f64, decimals| median(rounds.iter().map(figure).collect(), decimals);
                println!(
                    "| {phase} | {engine} | {} | {} | {} | {} |",
                    of(&|fared| fared.rate(), 0),
                    of(&|fared| fared.quantile_ms(0.5), 2),
                    of(&|fared| fared.quantile_ms(0.99), 2),
                    of(&|fared| fared.quantile_ms(1.0), 1)
                );
            }
        }
        for engine in ENGINES {
            let took = took.remove(engine).unwrap_or_default();
            println!("\n{engine}: once there and back in {} s", median(took, 2));
        }
        Ok(())
    }

    /// How puts fare in each phase; the nodes from `first` on come and go.
    async fn round(&self, cluster: &mut Processes, puts: &Puts, first: u64) -> Result<[Fared; 3], Failure> {
        let leader = cluster.settled().await?;
        let under_way = puts.begin(&cluster.clerk(self.in_flight as usize).await?);
        let span = Duration::from_millis(self.millis);
        // A fifth to warm up.
        tokio::time::sleep(span / 5).await;
        let before = Instant::now();
        tokio::time::sleep(span).await;
        let change = Instant::now();
        for id in first..first + self.times {
            come_and_go(cluster, leader, id).await?;
        }
        let changed = Instant::now();
        tokio::time::sleep(span).await;
        let after = Instant::now();
        let record = under_way.finish().await?;
        Ok([record.between(before, change)?, record.between(change, changed)?, record.between(changed, after)?])
    }
}

async fn come_and_go(cluster: &mut Processes, leader: u64, id: u64) -> Result<(), Failure> {
    let is_member = move |members: &MembersReply| members.members.iter().any(|member| member.id == id);
    cluster.join(id, true).await?;
    cluster.until_members(leader, |members| is_member(members) && !members.changing).await?;
    cluster.promote(id, leader).await?;
    cluster.remove(id, leader).await?;
    cluster.discard(id)
}
