//! `planted`: plants every bug in turn, and prints how each was found, or which of them clients alone would see.

use std::process::ExitCode;
use std::thread;

use crate::planted::{By, SEEDS_MAX, clients_table, find_all, plants, see_all, table};

/// Bugs planted on purpose, and what finds them.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many bugs are looked for at a time.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Mute all checks but the one of the clients' histories, and print what those show.
    #[arg(long)]
    clients_alone: bool,
    /// How many seeds the clients' histories are looked at for each bug.
    #[arg(long, default_value_t = SEEDS_MAX)]
    seeds: u64,
}

/// Looks for each, and prints the table. Fails where one is not found.
pub fn run(args: Args) -> ExitCode {
    // Most of them are found by assertions, whose messages stand in the table.
    std::panic::set_hook(Box::new(|_| {}));
    if args.clients_alone {
        let outcomes = see_all(&plants(), args.seeds, args.threads, |plant, seed| match seed {
            Some(seed) => eprintln!("{:?} in {}: {seed} seeds", plant.bug, plant.engine),
            None => eprintln!("{:?} in {}: not seen", plant.bug, plant.engine),
        });
        print!("{}", clients_table(&outcomes));
        return ExitCode::SUCCESS;
    }
    let outcomes = find_all(args.threads, |plant, found| match found {
        Some(found) => match found.by {
            By::Seeds(seeds) => eprintln!("{:?} in {}: {seeds} seeds: {}", plant.bug, plant.engine, found.what),
            By::Story(story) => eprintln!("{:?} in {}: {}: {}", plant.bug, plant.engine, story.name(), found.what),
        },
        None => eprintln!("{:?} in {}: NOT FOUND", plant.bug, plant.engine),
    });
    print!("{}", table(&outcomes));
    if outcomes.iter().all(|(_, found)| found.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
