//! The room on disk while a few keys are overwritten again and again: it must have a bound.

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
}

impl Disk {
    pub(crate) async fn run(self, engine: &str, directory: &Path) -> Result<(), Failure> {
        let group = Replicas::found(Settings::of(engine)?, directory, self.nodes).await?;
        let leader = group.leader().await?;
        let log: Arc<dyn ReplicatedLog> = group.nodes()[&leader].replica.clone();
        let puts = Puts { keys: self.keys, value_bytes: self.value_bytes, in_flight: 512 };
        println!(
            "{engine}, {} nodes, {} puts of {} B to {} keys, default policy; room of the largest data directory",
            self.nodes, self.puts, self.value_bytes, self.keys
        );
        println!("{:>12} {:>12} {:>10} {:>10}", "puts", "puts/s", "MiB", "snapshot");
        let (steps, mut most) = (20, 0);
        for step in 1..=steps {
            let fared = puts.write(&log, self.puts / steps).await?;
            let rooms: Result<Vec<u64>, Failure> =
                (1..=self.nodes).map(|node| room(&group.path(NodeId(node)))).collect();
            let now = rooms?.into_iter().max().unwrap_or_default();
            most = most.max(now);
            let snapshot = log.status().snapshot_index.0;
            println!("{:>12} {:>12.0} {:>10.1} {snapshot:>10}", self.puts / steps * step, fared.rate(), mib(now));
        }
        println!("most at one of these moments: {:.1} MiB", mib(most));
        Ok(())
    }
}
