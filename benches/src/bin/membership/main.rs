//! The figures of members that change: how long a newcomer takes until it votes, what writers notice of a change, and of
//! leadership that is moved on purpose against leadership that is lost.
//!
//! ```text
//!   Clerk ─ put, n in flight ─▶ three kv-service processes of each engine ◀─ add, promote, remove, transfer, kill -9
//! ```
//!
//! Real processes on real disks, found beside this program. Both clusters run the whole time, one of them idle while the
//! other is measured, and take turns round by round: what slows the machine down for a while slows down both. Every figure
//! prints its conditions and ends in a table.

mod changing;
mod joining;
mod leading;

use std::path::PathBuf;

use benches::replicas::Failure;
use clap::{Parser, Subcommand};
use tempfile::TempDir;

/// The engines, in the order of their turns.
const ENGINES: [&str; 2] = ["raft", "paxos"];

/// What members that change cost.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
    /// Where the data directories are made, and removed again [default: the system's place for such].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// How many rounds; each engine has its turn in each.
    #[arg(long, global = true, default_value_t = 3)]
    rounds: u64,
}

#[derive(Subcommand)]
enum Figure {
    /// How long a blank node takes from its start until it votes, by the size of the state.
    Joining(joining::Joining),
    /// Puts before, during and after changes of members.
    Changing(changing::Changing),
    /// The pause of a planned transfer against that of a killed leader.
    Leading(leading::Leading),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Arguments { figure, dir, rounds } = Arguments::parse();
    let directory = match dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    };
    match figure {
        Figure::Joining(figure) => figure.run(rounds, directory.path()).await,
        Figure::Changing(figure) => figure.run(rounds, directory.path()).await,
        Figure::Leading(figure) => figure.run(rounds, directory.path()).await,
    }
}

/// The median of these, or the greater of two, with the range.
fn median(mut figures: Vec<f64>, decimals: usize) -> String {
    figures.sort_by(f64::total_cmp);
    match (figures.first(), figures.get(figures.len() / 2), figures.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{median:.decimals$} ({least:.decimals$}–{most:.decimals$})")
        }
        _ => "none".to_owned(),
    }
}
