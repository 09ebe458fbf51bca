//! How long a start takes by the length of the log: with snapshots it must not grow.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::replicas::{Failure, Replicas, Settings};
use clap::Args;
use consensus_api::{NodeId, ReadMode, ReplicatedLog, Timing};
use replica::SnapshotSettings;

use crate::{mib, room};

#[derive(Args)]
pub(crate) struct Restart {
    /// The lengths of the log, in entries.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    entries: Vec<u64>,
    /// How often each start is measured.
    #[arg(long, default_value_t = 5)]
    starts: usize,
}

const ONLY: NodeId = NodeId(1);

impl Restart {
    pub(crate) async fn run(self, engine: &str, directory: &Path) -> Result<(), Failure> {
        println!("{engine}, one node, puts of 256 B to 10000 keys, stopped in order; median of {} starts", self.starts);
        println!("{:>10} {:>10} {:>12} {:>10}", "entries", "snapshots", "start ms", "MiB");
        for &entries in &self.entries {
            for (name, snapshots) in
                [("never", SnapshotSettings::on_demand()), ("default", SnapshotSettings::default())]
            {
                let directory = directory.join(format!("{name}{entries}"));
                let mut group = self.filled(engine, &directory, snapshots, entries).await?;
                let took = self.start_again(&mut group).await?;
                let room = room(&group.path(ONLY))?;
                println!("{entries:>10} {name:>10} {:>12.1} {:>10.1}", took.as_secs_f64() * 1000.0, mib(room));
                group.stop(ONLY).await?;
                std::fs::remove_dir_all(&directory)?;
            }
        }
        Ok(())
    }

    async fn filled(
        &self,
        engine: &str,
        directory: &Path,
        snapshots: SnapshotSettings,
        entries: u64,
    ) -> Result<Replicas, Failure> {
        // What is measured is what the disk makes of it, and not how long a lone voter waits for itself.
        let election_timeout = Duration::from_millis(2);
        let timing = Timing { election_timeout, heartbeat_interval: election_timeout / 2, ..Timing::default() };
        let group = Replicas::found(Settings { snapshots, timing, ..Settings::of(engine)? }, directory, 1).await?;
        let log: Arc<dyn ReplicatedLog> = group.nodes()[&ONLY].replica.clone();
        Puts { keys: 10_000, value_bytes: 256, in_flight: 1024 }.write(&log, entries).await?;
        Ok(group)
    }

    /// From opening the data directory to the first linearizable read.
    async fn start_again(&self, group: &mut Replicas) -> Result<Duration, Failure> {
        let mut took = Vec::new();
        for _ in 0..self.starts {
            group.stop(ONLY).await?;
            let since = Instant::now();
            let node = group.start(ONLY).await?;
            node.replica.read_barrier(ReadMode::Index, Duration::from_secs(60)).await?;
            took.push(since.elapsed());
        }
        took.sort_unstable();
        Ok(took[took.len() / 2])
    }
}
