//! The room on disk, and in memory, while a few keys are overwritten again and again: both must have a bound, also with a
//! follower that is down.

use std::path::Path;
use std::sync::Arc;

use benches::load::Puts;
use benches::replicas::{Failure, Replicas, Settings};
use clap::Args;
use consensus_api::{NodeId, ReplicatedLog};

use crate::{mib, room};

#[derive(Args)]
pub(crate) struct Disk {
    /// How many puts.
    #[arg(long, default_value_t = 5_000_000)]
    puts: u64,
    /// To how many keys.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// The size of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Stop a follower first, and leave it so.
    #[arg(long)]
    down: bool,
}

impl Disk {
    pub(crate) async fn run(self, engine: &str, directory: &Path) -> Result<(), Failure> {
        let mut group = Replicas::found(Settings::of(engine)?, directory, self.nodes).await?;
        let leader = group.leader().await?;
        if self.down {
            let follower = group.nodes().keys().find(|node| **node != leader).copied();
            group.stop(follower.ok_or("a lone node has no follower")?).await?;
        }
        let log: Arc<dyn ReplicatedLog> = group.nodes()[&leader].replica.clone();
        let puts = Puts { keys: self.keys, value_bytes: self.value_bytes, in_flight: 512 };
        println!(
            "{engine}, {} nodes, {} puts of {} B to {} keys, default policy{}; room of the largest data directory, memory of the process",
            self.nodes,
            self.puts,
            self.value_bytes,
            self.keys,
            if self.down { ", a follower down" } else { "" }
        );
        println!("{:>12} {:>12} {:>10} {:>10} {:>10}", "puts", "puts/s", "disk MiB", "RSS MiB", "snapshot");
        let (steps, mut most) = (20, 0);
        for step in 1..=steps {
            let fared = puts.write(&log, self.puts / steps).await?;
            let rooms: Result<Vec<u64>, Failure> =
                (1..=self.nodes).map(|node| room(&group.path(NodeId(node)))).collect();
            let now = rooms?.into_iter().max().unwrap_or_default();
            most = most.max(now);
            let snapshot = log.status().snapshot_index.0;
            println!(
                "{:>12} {:>12.0} {:>10.1} {:>10.1} {snapshot:>10}",
                self.puts / steps * step,
                fared.rate(),
                mib(now),
                mib(resident()?)
            );
        }
        println!("most at one of these moments: {:.1} MiB", mib(most));
        Ok(())
    }
}

/// The memory that this process, all nodes together, has in use.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the system does not tell")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? << 10)
}
