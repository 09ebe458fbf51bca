//! What puts notice of a large snapshot that is taken beside them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::replicas::{Failure, Replicas, Settings};
use clap::Args;
use consensus_api::{NodeId, ReplicatedLog};
use replica::SnapshotSettings;

use crate::{mib, room};

#[derive(Args)]
pub(crate) struct Pause {
    /// The size of the tables, in MiB.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// How many puts are in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// How often puts are measured without and with a snapshot.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Long enough for quantiles.
const WITHOUT: Duration = Duration::from_secs(5);

impl Pause {
    pub(crate) async fn run(self, engine: &str, directory: &Path) -> Result<(), Failure> {
        let settings = Settings { snapshots: SnapshotSettings::on_demand(), ..Settings::of(engine)? };
        let group = Replicas::found(settings, directory, self.nodes).await?;
        let leader = group.leader().await?;
        let log: Arc<dyn ReplicatedLog> = group.nodes()[&leader].replica.clone();
        let value_bytes = 1024;
        let keys = (self.mib << 20) / value_bytes as u64;
        Puts { keys, value_bytes, in_flight: 512 }.write(&log, keys).await?;
        println!(
            "{engine}, {} nodes, {} MiB of tables in values of {value_bytes} B, {} puts in flight to random keys; the leader takes the snapshot",
            self.nodes, self.mib, self.in_flight
        );
        println!("{:>10} {:>8} {:>10} {:>9} {:>9} {:>9}", "snapshot", "s", "puts/s", "p50 ms", "p99 ms", "max ms");
        let puts = Puts { keys, value_bytes, in_flight: self.in_flight };
        for _ in 0..self.rounds {
            let fared = puts.write_for(&log, WITHOUT).await?;
            show("none", fared.took, &fared);
            let done = Arc::new(AtomicBool::new(false));
            let taking = async {
                let since = Instant::now();
                let taken = log.snapshot().await;
                done.store(true, Ordering::Relaxed);
                taken.map(|_| since.elapsed())
            };
            let (fared, took) = tokio::join!(puts.write_until(&log, done.clone()), taking);
            show("taken", took?, &fared?);
        }
        let room = room(&group.path(NodeId(1)))?;
        println!("the data directory of node 1 takes {:.0} MiB", mib(room));
        Ok(())
    }
}

fn show(name: &str, took: Duration, fared: &benches::load::Fared) {
    let (p50, p99, most) = (fared.quantile_ms(0.5), fared.quantile_ms(0.99), fared.quantile_ms(1.0));
    println!("{name:>10} {:>8.2} {:>10.0} {p50:>9.2} {p99:>9.2} {most:>9.2}", took.as_secs_f64(), fared.rate());
}
