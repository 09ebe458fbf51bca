//! The interval log: for each second and kind of operation a whole histogram, in the format of HdrHistogram's own tools.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};
use hdrhistogram::serialization::{V2DeflateSerializeError, V2DeflateSerializer};

use crate::error::ServiceError;

/// A log that is being written.
pub(super) struct IntervalLog {
    path: PathBuf,
    writer: BufWriter<File>,
    serializer: V2DeflateSerializer,
    /// What went wrong first; nothing is written after that.
    failure: Option<io::Error>,
}

impl IntervalLog {
    /// Makes the file; one that is there is replaced.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn create(path: &Path) -> Result<IntervalLog, ServiceError> {
        let file = File::create(path).map_err(failed(path))?;
        let (writer, serializer) = (BufWriter::new(file), V2DeflateSerializer::new());
        Ok(IntervalLog { path: path.to_owned(), writer, serializer, failure: None })
    }

    /// Writes from when on the seconds count. Values are in microseconds.
    pub(super) fn begin(&mut self, at: SystemTime) {
        let header = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("[values in microseconds]")
            .with_start_time(at)
            .with_base_time(at)
            .begin_log_with(&mut self.writer, &mut self.serializer)
            .map(drop);
        self.failure = header.err();
    }

    /// Writes what ended in a second, counted from the begin of the measured time.
    pub(super) fn write(&mut self, tag: &str, histogram: &Histogram<u64>, second: u64) {
        if self.failure.is_some() {
            return;
        }
        // Without a header; so a writer can be had for each line.
        let log = IntervalLogWriterBuilder::new().begin_log_with(&mut self.writer, &mut self.serializer);
        let start = Duration::from_secs(second);
        let written = log
            .map_err(IntervalLogWriterError::IoError)
            .and_then(|mut log| log.write_histogram(histogram, start, Duration::from_secs(1), Tag::new(tag)));
        self.failure = written.err().map(io_error);
    }

    /// Writes what is left in memory.
    ///
    /// # Errors
    /// Where anything could not be written.
    pub(super) fn finish(mut self) -> Result<(), ServiceError> {
        self.failure.take().map_or_else(|| self.writer.flush(), Err).map_err(failed(&self.path))
    }
}

fn io_error(error: IntervalLogWriterError<V2DeflateSerializeError>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ServiceError {
    ServiceError::io(format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_by_seconds_and_kinds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.hlog");
        let mut log = IntervalLog::create(&path).unwrap();
        log.begin(SystemTime::now());
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        histogram.record_n(250, 40).unwrap();
        log.write("put", &histogram, 0);
        histogram.record(9000).unwrap();
        log.write("get", &histogram, 1);
        log.finish().unwrap();

        let text = std::fs::read(&path).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                let tag = interval.tag().unwrap().as_str().to_owned();
                found.push((
                    tag,
                    interval.start_timestamp().as_secs(),
                    histogram.len(),
                    histogram.value_at_quantile(0.5),
                ));
            }
        }
        assert_eq!(found, [("put".to_owned(), 0, 40, 250), ("get".to_owned(), 1, 41, 250)]);
    }

    fn base64(text: &str) -> Vec<u8> {
        serde_json::from_value::<kv_client::Base64>(serde_json::Value::from(text)).unwrap().0.to_vec()
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = IntervalLog::create(Path::new("/nowhere/run.hlog")).err().unwrap();
        assert!(error.to_string().contains("/nowhere/run.hlog"), "{error}");
    }
}
