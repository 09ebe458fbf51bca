//! What shows of a node from outside: the lines that it logs, its memory, its data directory.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Cluster, PATIENCE, program, run_to_end};

/// Between two looks at a log: short against the steps that show there.
const BLINK: Duration = Duration::from_millis(1);

/// A place in a node's log. What is written behind it is new.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub id: u64,
    offset: u64,
}

impl Cluster {
    /// The end of a node's log as of now.
    pub fn mark(&self, id: u64) -> Mark {
        Mark { id, offset: fs::metadata(self.log_file(id)).map_or(0, |found| found.len()) }
    }

    /// What a node has logged since, in lines.
    pub fn lines_since(&self, mark: Mark) -> Vec<String> {
        let mut file = fs::File::open(self.log_file(mark.id)).unwrap();
        file.seek(SeekFrom::Start(mark.offset)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // The last piece may be half a line.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(str::to_owned).collect()
    }

    /// Waits for a line in one of these nodes' logs; `None` where `is_over` says first that none will come any more.
    pub async fn find_line(
        &self,
        marks: &[Mark],
        is_it: impl Fn(&str) -> bool,
        is_over: impl AsyncFn() -> bool,
    ) -> Option<(u64, String)> {
        let since = Instant::now();
        loop {
            let over = is_over().await;
            for mark in marks {
                if let Some(line) = self.lines_since(*mark).into_iter().find(|line| is_it(line)) {
                    return Some((mark.id, line));
                }
            }
            if over {
                return None;
            }
            assert!(since.elapsed() < PATIENCE, "the line does not come; {}", self.logs());
            tokio::time::sleep(BLINK).await;
        }
    }

    /// Waits for a line with these words.
    pub async fn line(&self, mark: Mark, words: &str) -> String {
        let found = self.find_line(&[mark], |line| line.contains(words), async || false).await;
        found.unwrap_or_else(|| panic!("'{words}' is not over")).1
    }

    /// Waits until a node has applied as much as this.
    pub async fn applied(&self, id: u64, index: u64) {
        let since = Instant::now();
        while self.status(id).await.is_none_or(|status| status.applied_index < index) {
            assert!(since.elapsed() < PATIENCE, "node {id} does not come to {index}; {}", self.logs());
            tokio::time::sleep(10 * BLINK).await;
        }
    }

    /// Sends a node's process a signal, `STOP` or `CONT`.
    pub fn signal(&self, id: u64, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.pid(id).to_string()]).status().unwrap();
        assert!(sent.success(), "no {signal} for node {id}");
    }

    /// How much memory a node's process occupies.
    pub fn resident_bytes(&self, id: u64) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(id))).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    }

    /// What `inspect` finds in the data directory of a node that does not run; no damage is part of it.
    pub fn inspect(&self, id: u64) -> Value {
        let mut command = program();
        command.arg("inspect").arg(self.data_dir(id)).arg("--json");
        let output = run_to_end(command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The number that a line of a log has in this field.
pub fn number_in(line: &str, field: &str) -> Option<u64> {
    let rest = line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='))?;
    rest.parse().ok()
}

/// The names in a directory, in order; none where it is not there.
pub fn names_in(directory: &Path) -> Vec<String> {
    let Ok(items) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The bytes of all files in a directory, each counted once whatever number of names it has.
pub fn bytes_in(directory: &Path) -> u64 {
    let output = Command::new("du").args(["--summarize", "--bytes"]).arg(directory).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// The files of tables beneath a directory, the largest first.
pub fn tables_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        match path.is_dir() {
            true => found.extend(tables_in(&path)),
            false if path.extension().is_some_and(|extension| extension == "sst") => found.push(path),
            false => {}
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse((fs::metadata(path).unwrap().len(), path.clone())));
    found
}
