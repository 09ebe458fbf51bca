//! What was found, as the table that stands in the README.

use std::fmt::Write;

use super::{By, Found, Plant};

/// A row for each bug and engine, in Markdown.
pub fn table(outcomes: &[(Plant, Option<Found>)]) -> String {
    let mut text = String::from("| what is planted | engine | what catches it | seeds |\n| --- | --- | --- | --- |\n");
    for (plant, found) in outcomes {
        let (property, seeds) = match found {
            Some(found) => (property(&found.what), seeds(found.by)),
            None => ("**nothing**", "—".to_owned()),
        };
        let what = plant.bug.description().trim_end_matches('.');
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {what} | {} | {property} | {seeds} |", plant.engine);
    }
    text
}

fn seeds(by: By) -> String {
    match by {
        By::Seeds(needed) => needed.to_string(),
        By::Story(story) => format!("story: {}", story.name()),
    }
}

/// The property that broke, which is what a violation's words begin with.
fn property(what: &str) -> &str {
    match what.split(':').next().unwrap_or(what) {
        "assertion" => "an assertion of the code's own",
        words if words.starts_with("engine of node") && what.contains(": liveness:") => "liveness",
        words if words.starts_with("engine of node") && what.contains("does not start") => "recovery refuses the disk",
        words if words.starts_with("engine of node") => "the engine stops",
        words => words,
    }
}
