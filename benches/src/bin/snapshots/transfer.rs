//! How fast a snapshot is sent, against plain copies over the same kind of connection; and what puts notice of it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::load::Puts;
use benches::replicas::{Failure, Node, Replicas, Settings};
use bytes::Bytes;
use clap::Args;
use consensus_api::{Lane, NodeId, ReplicatedLog, SnapshotStore, Transport};
use kv_machine::applied_state;
use replica::SnapshotSettings;
use replica::transfer::TransferSettings;
use transport_quic::QuicTransport;

use crate::mib;

#[derive(Args)]
pub(crate) struct Transfer {
    /// The size of the tables, in MiB.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// How often.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Puts in flight while the snapshot is sent at the default rate; 0 to send it at any rate and without load.
    #[arg(long, default_value_t = 0)]
    in_flight: u64,
}

const LATE: NodeId = NodeId(3);
const VALUE_BYTES: usize = 1024;
const GLANCE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(300);

impl Transfer {
    pub(crate) async fn run(self, engine: &str, directory: &Path) -> Result<(), Failure> {
        let defaults = TransferSettings::default();
        let rate = if self.in_flight == 0 { u64::MAX } else { defaults.bytes_per_second };
        // And nobody keeps the log for whom it was sent the last one.
        let transfer = TransferSettings { bytes_per_second: rate, keep_log_for: Duration::ZERO, ..defaults };
        // A tail of nothing: whoever was away needs the snapshot.
        let snapshots = SnapshotSettings { tail_entries: 0, transfer, ..SnapshotSettings::on_demand() };
        let mut group = Replicas::found(Settings { snapshots, ..Settings::of(engine)? }, directory, 3).await?;
        let keys = (self.mib << 20) / VALUE_BYTES as u64;
        println!("{engine}, 3 nodes, {} MiB of tables in values of {VALUE_BYTES} B", self.mib);
        for _ in 0..self.rounds {
            group.stop(LATE).await?;
            let leader = group.leader().await?;
            let log: Arc<dyn ReplicatedLog> = group.nodes()[&leader].replica.clone();
            Puts { keys, value_bytes: VALUE_BYTES, in_flight: 512 }.write(&log, keys).await?;
            for node in group.nodes().values() {
                node.replica.snapshot().await?;
            }
            self.round(&mut group, &log, keys).await?;
        }
        Ok(())
    }

    async fn round(&self, group: &mut Replicas, log: &Arc<dyn ReplicatedLog>, keys: u64) -> Result<(), Failure> {
        let puts = Puts { keys, value_bytes: VALUE_BYTES, in_flight: self.in_flight.max(1) };
        if self.in_flight > 0 {
            let fared = puts.write_for(log, Duration::from_secs(10)).await?;
            println!("puts/s without a transfer: {:.0}, p99 {:.2} ms", fared.rate(), fared.quantile_ms(0.99));
        } else {
            let rate = copy(group, self.mib << 20).await?;
            println!("plain copy, memory to memory: {rate:.0} MiB/s");
            let leader = group.leader().await?;
            let rate = copy_files(group, &group.path(leader).join("snapshots"), &group.path(LATE)).await?;
            println!("plain copy, files to a synced file, unchecked: {rate:.0} MiB/s");
        }
        let target = log.status().snapshot_index;
        let leader = group.leader().await?;
        let bytes = newest_bytes(&group.nodes()[&leader])?;
        let late = group.start(LATE).await?;
        let since = Instant::now();
        let arrived = arrival(late, target.0);
        let took = if self.in_flight > 0 {
            let done = Arc::new(AtomicBool::new(false));
            let (fared, took) = tokio::join!(puts.write_until(log, done.clone()), async {
                let arrived = arrived.await;
                done.store(true, Ordering::Relaxed);
                arrived.map(|()| since.elapsed())
            });
            let fared = fared?;
            println!("puts/s during a transfer: {:.0}, p99 {:.2} ms", fared.rate(), fared.quantile_ms(0.99));
            took?
        } else {
            arrived.await?;
            since.elapsed()
        };
        let rate = mib(bytes) / took.as_secs_f64();
        println!(
            "snapshot of {:.0} MiB, from the start of the node to its installation: {:.2} s, {rate:.0} MiB/s",
            mib(bytes),
            took.as_secs_f64()
        );
        Ok(())
    }
}

/// How long the stream of a node's newest snapshot is.
fn newest_bytes(node: &Node) -> Result<u64, Failure> {
    let snapshots = node.store.snapshots(|tables| applied_state(tables).map_err(Into::into));
    Ok(snapshots.kept()?.first().ok_or("there is no snapshot")?.bytes())
}

/// Returns when the node has applied `index`.
async fn arrival(node: &Node, index: u64) -> Result<(), Failure> {
    let since = Instant::now();
    while node.replica.status().applied_index.0 < index {
        if since.elapsed() > PATIENCE {
            return Err("the snapshot has not arrived".into());
        }
        tokio::time::sleep(GLANCE).await;
    }
    Ok(())
}

/// Bytes over the bulk lane between two transports that do nothing else, from memory to memory.
async fn copy(group: &Replicas, bytes: u64) -> Result<f64, Failure> {
    let (from, to) = group.pair().await?;
    let piece = Bytes::from(vec![7; 256 << 10]);
    let (mut sent, mut batch, mut received) = (0, Vec::new(), 0);
    let since = Instant::now();
    while received < bytes {
        // As much as a transfer has under way.
        while sent < bytes && sent - received < TransferSettings::default().window_bytes {
            from.send(NodeId(2), Lane::Bulk, piece.clone());
            sent += piece.len() as u64;
        }
        to.receive(&mut batch).await;
        received += batch.drain(..).map(|incoming| incoming.payload.len() as u64).sum::<u64>();
    }
    let rate = mib(bytes) / since.elapsed().as_secs_f64();
    tokio::join!(from.close(), to.close());
    Ok(rate)
}

/// The files of the newest snapshot in `place` over the bulk lane into one file beside `target`, which is synced at the end.
async fn copy_files(group: &Replicas, place: &Path, target: &Path) -> Result<f64, Failure> {
    let (from, to) = group.pair().await?;
    let mut snapshots: Vec<_> = std::fs::read_dir(place)?.collect::<Result<_, _>>()?;
    snapshots.sort_by_key(|snapshot| snapshot.metadata().and_then(|found| found.modified()).ok());
    let newest = snapshots.pop().ok_or("there is no snapshot")?.path();
    let files: Vec<_> =
        std::fs::read_dir(newest)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    let bytes: u64 = files.iter().map(|file| file.metadata().map(|found| found.len())).sum::<Result<_, _>>()?;
    let received = Arc::new(AtomicU64::new(0));
    let since = Instant::now();
    let sender = std::thread::spawn({
        let received = received.clone();
        move || -> std::io::Result<QuicTransport> {
            let mut sent = 0;
            for file in files {
                let mut file = File::open(file)?;
                loop {
                    let mut piece = vec![0; 256 << 10];
                    let length = file.read(&mut piece)?;
                    if length == 0 {
                        break;
                    }
                    piece.truncate(length);
                    while sent - received.load(Ordering::Acquire) >= TransferSettings::default().window_bytes {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                    sent += length as u64;
                    from.send(NodeId(2), Lane::Bulk, piece.into());
                }
            }
            Ok(from)
        }
    });
    let path = target.with_extension("copy");
    let mut out = File::create(&path)?;
    let mut batch = Vec::new();
    while received.load(Ordering::Acquire) < bytes {
        to.receive(&mut batch).await;
        for incoming in batch.drain(..) {
            out.write_all(&incoming.payload)?;
            received.fetch_add(incoming.payload.len() as u64, Ordering::Release);
            sender.thread().unpark();
        }
    }
    out.sync_all()?;
    let rate = mib(bytes) / since.elapsed().as_secs_f64();
    let from = sender.join().map_err(|_| "the sender has panicked")??;
    tokio::join!(from.close(), to.close());
    std::fs::remove_file(path)?;
    Ok(rate)
}
