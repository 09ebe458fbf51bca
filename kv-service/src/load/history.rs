//! What clients saw of a few keys, in the form that `simulator check` reads: one JSON object a line.
//!
//! ```text
//!   write of a sampled key: a value that nobody else writes ──▶ cluster ──▶ read: which write it saw
//!        │                                                                      │
//!        └──▶ {"client":3,"op":"put","key":…,"value":"1f3c.2a.256","call":…,"return":…,"outcome":"ok"} ◀──┘
//! ```
//!
//! A value begins with the run's number, the write's number and its own size, and the rest are dots; the history has it
//! without these dots. A value that is not of this form stands there as it was read, and so is one that nobody wrote.
//!
//! The history has no more operations than the checker takes. When it is full nothing that begins is recorded any more,
//! and neither is a read that ends later: it might see a write that is not recorded. Everything that is recorded happened,
//! and no read that is recorded saw anything else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::keys::write_name;
use super::link::Failure;
use crate::error::ServiceError;

/// As many operations as a history may have to be read.
const OPERATIONS_MAX: u64 = 1_000_000;

/// An operation as it is written.
#[derive(Serialize)]
struct Line<'a> {
    client: u64,
    op: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    call: u64,
    #[serde(rename = "return")]
    returned: Option<u64>,
    outcome: &'static str,
}

/// What a client did. Values are as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action<'a> {
    /// It read this.
    Get(Option<&'a [u8]>),
    /// It wrote this.
    Put(&'a [u8]),
    /// It wrote `to` if `from` was there still.
    Cas { from: Option<&'a [u8]>, to: &'a [u8] },
}

/// The call of an operation that is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    key: u64,
    client: u64,
    at: Instant,
}

/// A history that is being written.
pub(super) struct History {
    path: PathBuf,
    writer: BufWriter<File>,
    began: Instant,
    run: u32,
    sampled: BTreeSet<u64>,
    stamps: u64,
    begun: u64,
    written: u64,
    operations_max: u64,
    /// What went wrong first; nothing is written after that.
    failure: Option<io::Error>,
}

impl History {
    /// Makes the file for the history of these keys; one that is there is replaced. `run` tells this run's values from
    /// those of others.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn create(path: &Path, sampled: BTreeSet<u64>, run: u32) -> Result<History, ServiceError> {
        let file = File::create(path).map_err(failed(path))?;
        Ok(History {
            path: path.to_owned(),
            writer: BufWriter::with_capacity(256 << 10, file),
            began: Instant::now(),
            run,
            sampled,
            stamps: 0,
            begun: 0,
            written: 0,
            operations_max: OPERATIONS_MAX,
            failure: None,
        })
    }

    /// How many operations are written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether operations on this key are recorded.
    pub(super) fn samples(&self, key: u64) -> bool {
        self.sampled.contains(&key)
    }

    /// A value that nobody else writes, of this size or a little more where it would not fit.
    pub(super) fn stamp(&mut self, size: usize) -> Bytes {
        self.stamps += 1;
        let mut value = format!("{:08x}.{:x}.", self.run, self.stamps).into_bytes();
        let size = size.max(value.len() + 8);
        value.extend_from_slice(size.to_string().as_bytes());
        value.resize(size, b'.');
        value.into()
    }

    /// An operation is about to be sent; `None` where it is not recorded.
    pub(super) fn call(&mut self, key: u64, client: u64) -> Option<Call> {
        if self.is_full() || !self.samples(key) {
            return None;
        }
        self.begun += 1;
        Some(Call { key, client, at: Instant::now() })
    }

    /// What came of it.
    pub(super) fn end(&mut self, call: Call, action: Action<'_>, failure: Option<&Failure>) {
        if self.is_full() && matches!(action, Action::Get(_)) {
            return;
        }
        let mut key = String::new();
        write_name(&mut key, call.key);
        let (op, value, from, to) = match &action {
            Action::Get(value) => ("get", Some(value.map(text)), None, None),
            Action::Put(value) => ("put", Some(Some(text(value))), None, None),
            Action::Cas { from, to } => ("cas", None, Some(from.map(text)), Some(text(to))),
        };
        let outcome = match (failure, &action) {
            (None, _) => "ok",
            // A read changes nothing, whatever became of it.
            (Some(Failure::Unknown(_)), Action::Put(_) | Action::Cas { .. }) => "unknown",
            (Some(_), _) => "fail",
        };
        let since = |at: Instant| u64::try_from(at.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let returned = (outcome != "unknown").then(|| since(Instant::now()));
        let line = Line {
            client: call.client,
            op,
            key: &key,
            value: value.as_ref().map(|value| value.as_deref()),
            from: from.as_ref().map(|from| from.as_deref()),
            to: to.as_deref(),
            call: since(call.at),
            returned,
            outcome,
        };
        if self.failure.is_none() {
            let written = serde_json::to_writer(&mut self.writer, &line).map_err(io::Error::from);
            self.failure = written.and_then(|()| self.writer.write_all(b"\n")).err();
            self.written += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.begun >= self.operations_max
    }

    /// Writes what is left in memory.
    ///
    /// # Errors
    /// Where anything could not be written.
    pub(super) fn finish(&mut self) -> Result<(), ServiceError> {
        self.failure.take().map_or_else(|| self.writer.flush(), Err).map_err(failed(&self.path))
    }
}

/// A value as the history has it.
fn text(value: &[u8]) -> String {
    let Ok(whole) = str::from_utf8(value) else {
        return format!("not text: {}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    };
    let short = whole.trim_end_matches('.');
    let is_ours =
        short.split('.').count() == 3 && short.rsplit('.').next().and_then(|it| it.parse().ok()) == Some(value.len());
    if is_ours { short } else { whole }.to_owned()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ServiceError {
    ServiceError::io(format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::borrow::Cow;
    use std::io::BufReader;

    use simulator::linearizability::{Action as Seen, Limits, Model, Outcome, Verdict, check, read_history};

    use super::*;

    fn recorded(record: impl FnOnce(&mut History)) -> Vec<simulator::linearizability::Operation> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let mut history = History::create(&path, [4, 7].into(), 0x1f3c).unwrap();
        record(&mut history);
        history.finish().unwrap();
        read_history(BufReader::new(File::open(&path).unwrap())).unwrap()
    }

    fn verdict(history: &[simulator::linearizability::Operation]) -> Verdict {
        check(history, Model::Kv, &Limits::default())
    }

    #[test]
    fn every_kind_of_line_is_read_back_and_judged_by_the_checker() {
        let operations = recorded(|history| {
            let (first, second, third) = (history.stamp(256), history.stamp(0), history.stamp(64));
            assert_eq!(first.len(), 256);
            let maybe = Failure::Unknown(Cow::Borrowed("unknown"));
            let put = history.call(4, 0).unwrap();
            history.end(put, Action::Put(&first), None);
            let get = history.call(4, 1).unwrap();
            history.end(get, Action::Get(Some(&first)), None);
            let cas = history.call(4, 2).unwrap();
            history.end(cas, Action::Cas { from: Some(&first), to: &second }, Some(&maybe));
            let cas = history.call(4, 3).unwrap();
            history.end(cas, Action::Cas { from: None, to: &third }, Some(&Failure::Mismatch));
            let get = history.call(4, 1).unwrap();
            history.end(get, Action::Get(Some(&second)), None);
            let get = history.call(7, 1).unwrap();
            history.end(get, Action::Get(None), None);
            let lost = history.call(7, 1).unwrap();
            history.end(lost, Action::Get(None), Some(&maybe));
            assert!(history.call(5, 1).is_none(), "not sampled");
        });
        assert_eq!(operations.len(), 7);
        assert!(
            matches!(&operations[0].action, Seen::Put { key, value } if key == "bench-00000004" && value == "00001f3c.1.256")
        );
        let outcomes: Vec<_> = operations.iter().map(|operation| operation.outcome).collect();
        use Outcome::{Fail, Ok, Unknown};
        assert_eq!(outcomes, [Ok, Ok, Unknown, Fail, Ok, Ok, Fail]);
        assert!(operations[2].returned.is_none());
        assert_eq!(verdict(&operations), Verdict::Linearizable);
    }

    #[test]
    fn a_read_of_what_nobody_wrote_is_found() {
        let seen = |read: &[u8]| {
            verdict(&recorded(|history| {
                let put = history.call(4, 0).unwrap();
                let value = history.stamp(32);
                history.end(put, Action::Put(&value), None);
                let get = history.call(4, 1).unwrap();
                history.end(get, Action::Get(Some(read)), None);
            }))
        };
        let written = format!("{:.<32}", "00001f3c.1.32").into_bytes();
        assert_eq!(seen(&written), Verdict::Linearizable);
        // Damaged copies of it: too short, too long, with something else behind.
        let damaged = [written[..31].to_vec(), [&written[..], b"."].concat(), [&written[..31], b"x"].concat()];
        for read in damaged.into_iter().chain([b"other".to_vec(), b"\xff".to_vec()]) {
            assert!(matches!(seen(&read), Verdict::NotLinearizable(_)), "{read:?}");
        }
    }

    #[test]
    fn a_full_history_claims_nothing_that_it_cannot_explain() {
        let operations = recorded(|history| {
            history.operations_max = 3;
            let (first, second) = (history.stamp(32), history.stamp(32));
            let put = history.call(4, 0).unwrap();
            history.end(put, Action::Put(&first), None);
            let get = history.call(4, 1).unwrap();
            let late = history.call(4, 2).unwrap();
            assert!(history.call(4, 0).is_none(), "the write of the second value is not recorded");
            history.end(get, Action::Get(Some(&second)), None);
            history.end(late, Action::Put(b"late"), None);
        });
        assert_eq!(operations.len(), 2);
        assert_eq!(verdict(&operations), Verdict::Linearizable);
    }
}
