//! `planted`: plants every bug in turn, and prints how each was found.

use std::process::ExitCode;
use std::thread;

use crate::planted::{By, find_all, table};

/// Bugs planted on purpose, and what finds them.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many bugs are looked for at a time.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

/// Looks for each, and prints the table. Fails where one is not found.
pub fn run(args: Args) -> ExitCode {
    // Most of them are found by assertions, whose messages stand in the table.
    std::panic::set_hook(Box::new(|_| {}));
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
