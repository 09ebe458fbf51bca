//! From the start of a blank node until it votes, by the size of the state that it has to be sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use benches::load::Puts;
use benches::processes::Processes;
use benches::replicas::Failure;
use clap::Args;
use kv_client::protocol::MembersReply;
use replica::transfer::TransferSettings;

use crate::{ENGINES, median};

#[derive(Args)]
pub(crate) struct Joining {
    /// The size of the state: the values of all keys together.
    #[arg(long, default_value_t = 1.0)]
    gigabytes: f64,
    /// The size of a value, in bytes.
    #[arg(long, default_value_t = 4096)]
    value_bytes: usize,
    /// How fast snapshots are sent, in MiB/s [default: the service's own].
    #[arg(long)]
    mib_per_second: Option<u64>,
    /// How many nodes there are before.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
}

/// What one newcomer took, in seconds.
struct Round {
    listed: f64,
    votes: f64,
}

impl Joining {
    pub(crate) async fn run(self, rounds: u64, directory: &Path) -> Result<(), Failure> {
        let bytes_per_second = match self.mib_per_second {
            Some(mib) => mib << 20,
            None => TransferSettings::default().bytes_per_second,
        };
        let flags = ["--snapshot-bytes-per-second".to_owned(), bytes_per_second.to_string()];
        let keys = (self.gigabytes * 1e9 / self.value_bytes as f64).ceil() as u64;
        let puts = Puts { keys, value_bytes: self.value_bytes, in_flight: 512 };
        let mut clusters = Vec::new();
        for engine in ENGINES {
            let cluster = Processes::found(engine, &directory.join(engine), self.nodes, &flags).await?;
            puts.fill(&cluster.clerk(512).await?, keys).await?;
            cluster.settled().await?;
            cluster.snapshot().await?;
            clusters.push(cluster);
        }
        let mib = bytes_per_second as f64 / f64::from(1 << 20);
        println!(
            "{} processes of each engine, {:.3} GB of state in {keys} values of {} B that cannot be compressed, a snapshot taken; a blank node starts and joins while nobody writes, snapshots at {mib:.0} MiB/s at most; {rounds} rounds in turn; the median, or the greater of two (range)\n",
            self.nodes, self.gigabytes, self.value_bytes
        );
        let mut found: BTreeMap<&str, Vec<Round>> = BTreeMap::new();
        for round in 0..rounds {
            for (engine, cluster) in ENGINES.into_iter().zip(&mut clusters) {
                found.entry(engine).or_default().push(join(cluster, self.nodes + 1 + round).await?);
            }
        }
        println!("| engine | start → learner s | learner → voter s | MB/s |");
        println!("| --- | --- | --- | --- |");
        for engine in ENGINES {
            let rounds = found.remove(engine).unwrap_or_default();
            let of = |figure: &dyn Fn(&Round) -> f64, decimals| median(rounds.iter().map(figure).collect(), decimals);
            println!(
                "| {engine} | {} | {} | {} |",
                of(&|round| round.listed, 3),
                of(&|round| round.votes, 3),
                of(&|round| self.gigabytes * 1e3 / round.votes, 0)
            );
        }
        Ok(())
    }
}

/// Adds a node, and removes it again.
async fn join(cluster: &mut Processes, id: u64) -> Result<Round, Failure> {
    let leader = cluster.settled().await?;
    let member = move |members: &MembersReply| members.members.iter().find(|member| member.id == id).cloned();
    let began = Instant::now();
    cluster.join(id, false).await?;
    cluster.until_members(leader, |members| member(members).is_some()).await?;
    let listed = began.elapsed().as_secs_f64();
    cluster
        .until_members(leader, |members| !members.changing && member(members).is_some_and(|found| found.voter))
        .await?;
    let votes = began.elapsed().as_secs_f64() - listed;
    cluster.remove(id, leader).await?;
    cluster.discard(id)?;
    Ok(Round { listed, votes })
}
