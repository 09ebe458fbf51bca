//! The report: what was measured, as a page, as a summary and as data.
//!
//! ```text
//!   Results ──▶ data: settings, subjects, rounds ──▶ stats: median, range, tie ──▶ sections ──▶ page ──▶ index.html
//!                                                                                     ├─ tables ─▶ summary.md
//!                                                                                     └─ charts: scale, axis, marks
//! ```
//!
//! Nothing is concluded that the figures do not say: every sentence on the page is made of them.

mod chart;
mod conditions;
mod costs;
mod curves;
mod data;
mod earlier;
mod element;
mod events;
mod literature;
mod meanwhile;
mod page;
mod repeated;
mod scale;
mod stats;
mod strip;
mod subjects;
mod summary;
mod table;
mod tails;
mod units;
mod verdict;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::results::{FORMAT, Results};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The results, or the earlier ones, are of another version.
    #[error(
        "these results have format {found}, and this program reads format {FORMAT}: measure again, or use the \
         program that wrote them"
    )]
    Format {
        /// Their version.
        found: u32,
    },
    /// A file could not be written.
    #[error("cannot write {}: {why}; make room or name another directory with --out", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// The results could not be put into JSON.
    #[error("the results hold a figure that JSON cannot: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Writes `index.html`, `summary.md` and `results.json` into the directory, which is made if need be. Each file appears
/// whole or not at all. With results of an earlier run the page compares the two.
pub fn write(results: &Results, earlier: Option<&Results>, dir: &Path) -> Result<(), Failure> {
    for found in [Some(results), earlier].into_iter().flatten().map(|results| results.format) {
        if found != FORMAT {
            return Err(Failure::Format { found });
        }
    }
    let data = data::Data::of(results);
    let json = serde_json::to_string_pretty(results)?;
    fs::create_dir_all(dir).map_err(|why| Failure::Write { path: dir.to_owned(), why })?;
    // The data first: whatever fails later can be made from it.
    for (name, text) in
        [("results.json", json), ("summary.md", summary::summary(&data)), ("index.html", page::page(&data, earlier))]
    {
        let path = dir.join(name);
        replace(&path, &text).map_err(|why| Failure::Write { path, why })?;
    }
    Ok(())
}

/// Puts the text where the path leads, in one step.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
