//! `simulator check FILE.jsonl`: whether a recorded history is linearizable.
//!
//! ```text
//!   exit code  0 linearizable   1 not linearizable   2 wrong usage, or no history   3 unknown
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::linearizability::{HistoryError, Limits, Model, Operation, Verdict, check, page, read_history_for};

const NOT_LINEARIZABLE: u8 = 1;
const UNUSABLE: u8 = 2;
const UNKNOWN: u8 = 3;
/// With a limit of time, the bound of states is there for the memory alone.
const STATES_MAX: usize = 10_000_000;

/// What is checked, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The history, one JSON object a line:
    /// {"client":3,"op":"put|get|append|delete|cas","key":"k","value":"v","from":"v0","to":"v1","call":ns,"return":ns,"outcome":"ok|fail|unknown"}
    #[arg(value_name = "FILE.jsonl", verbatim_doc_comment)]
    file: PathBuf,
    /// What a key is
    #[arg(long, value_enum, default_value = "kv")]
    model: ModelName,
    /// Where to draw the history, as a page of HTML
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
    /// When to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_limit: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModelName {
    /// A value that is read, put, appended to, deleted, compared and set
    Kv,
    /// Read, put, compared and set
    Register,
}

impl From<ModelName> for Model {
    fn from(name: ModelName) -> Model {
        match name {
            ModelName::Kv => Model::Kv,
            ModelName::Register => Model::Register,
        }
    }
}

/// Checks the history and prints the verdict.
pub fn run(args: Args) -> ExitCode {
    match check_file(&args) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn check_file(args: &Args) -> Result<u8, String> {
    let model = args.model.into();
    let history = read(&args.file, model)?;
    let limits = Limits { states_max: STATES_MAX, time_max: Some(Duration::from_secs(args.time_limit)) };
    let start = Instant::now();
    let verdict = check(&history, model, &limits);
    let (code, words) = match &verdict {
        Verdict::Linearizable => (0, "linearizable".to_string()),
        Verdict::NotLinearizable(offence) => {
            (NOT_LINEARIZABLE, format!("not linearizable\n{}", offence.describe(&history)))
        }
        Verdict::Unknown(doubt) => (UNKNOWN, format!("unknown\n{doubt}")),
    };
    // A closed pipe takes the words, not the verdict.
    let _ = writeln!(io::stdout(), "{}: {words}\n{}", args.file.display(), summary(&history, start.elapsed()));
    if let Some(path) = &args.page {
        draw(path, &history, &verdict, &args.file)?;
    }
    Ok(code)
}

fn read(path: &Path, model: Model) -> Result<Vec<Operation>, String> {
    let shown = path.display();
    let file = File::open(path)
        .map_err(|error| format!("{shown} cannot be opened: {error}; name a history, one JSON object a line"))?;
    read_history_for(model, BufReader::new(file)).map_err(|error: HistoryError| format!("{shown}:{error}"))
}

fn draw(path: &Path, history: &[Operation], verdict: &Verdict, of: &Path) -> Result<(), String> {
    let shown = path.display();
    let title = format!("History {}", of.display());
    fs::write(path, page(history, verdict, &title))
        .map_err(|error| format!("the page {shown} cannot be written: {error}; name a file in a folder that exists"))?;
    let _ = writeln!(io::stdout(), "drawn in {shown}");
    Ok(())
}

fn summary(history: &[Operation], took: Duration) -> String {
    let clients = history.iter().map(|operation| operation.client).collect::<BTreeSet<_>>().len();
    let keys = history.iter().map(|operation| operation.action.key()).collect::<BTreeSet<_>>().len();
    format!("{} operations by {clients} clients on {keys} keys, in {} ms", history.len(), took.as_millis())
}
