//! The figures of snapshots: what they cost while they are taken and sent, and what they save.
//!
//! Not for a framework of micro-benchmarks: each figure is one long run of whole replicas on real disks. Every one
//! prints its conditions, and compares with and without in the same run, in turn.

mod disk;
mod pause;
mod restart;
mod transfer;

use std::path::{Path, PathBuf};

use benches::replicas::Failure;
use clap::{Parser, Subcommand};
use tempfile::TempDir;

/// What snapshots cost, and what they save.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
    /// The engine: raft or paxos.
    #[arg(long, global = true, default_value = "raft")]
    engine: String,
    /// Where the data directories are made, and removed again [default: the system's place for such].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Figure {
    /// The room on disk while a few keys are overwritten again and again.
    Disk(disk::Disk),
    /// How long a start takes, by the length of the log, without and with snapshots.
    Restart(restart::Restart),
    /// What puts notice of a snapshot that is taken.
    Pause(pause::Pause),
    /// How fast a snapshot is sent, and what puts notice of that.
    Transfer(transfer::Transfer),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Arguments { figure, engine, dir } = Arguments::parse();
    let directory = match dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    };
    let directory = directory.path();
    match figure {
        Figure::Disk(figure) => figure.run(&engine, directory).await,
        Figure::Restart(figure) => figure.run(&engine, directory).await,
        Figure::Pause(figure) => figure.run(&engine, directory).await,
        Figure::Transfer(figure) => figure.run(&engine, directory).await,
    }
}

/// The bytes of all files beneath; a file that several names lead to counts once.
fn room(directory: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let (mut seen, mut bytes) = (std::collections::BTreeSet::new(), 0);
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory)? {
            // What is removed meanwhile takes no room.
            let Ok((entry, found)) = entry.and_then(|entry| entry.metadata().map(|found| (entry, found))) else {
                continue;
            };
            if found.is_dir() {
                waiting.push(entry.path());
            } else if seen.insert(found.ino()) {
                bytes += found.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
