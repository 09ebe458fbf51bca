//! Reads RocksDB's write-ahead log as bytes, for the marks of the batches in it.
//!
//! RocksDB's own replay says nothing of what stands behind a damaged place. Here it is looked for: that a batch 8 is
//! legible which says that 7 was synced is the proof that 7 existed.
//!
//! ```text
//!   file     blocks of 32 KiB, each beginning with a header
//!   block    crc u32 · length u16 · type u8 · bytes    crc · length · type · bytes    …
//!   type     1 a whole record · 2, 3, 4 the first, a middle, the last part of one
//!   record   sequence u64 · count u32 · tag u8 · key · value · …       tag 1: put into the default column family
//!
//!   replayed: 41 42 43 │ ✗ 45       up to the last batch that was replayed all headers are sound: they are followed
//!             followed │ searched   behind it nothing is: every byte may be the beginning of a mark
//! ```
//!
//! Format: RocksDB, `db/log_format.h` and `db/write_batch.cc`. A mark is believed by its own checksum. A client could
//! put bytes into a value that look like one; that is found only in a batch that is torn, and then the node does not
//! start. The opposite mistake, to overlook what was synced, would be worse.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use consensus_api::codec;

use crate::record::{BATCH_KEY, BatchMark};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// More than the mark and everything before it take.
const HEAD_BYTES_MAX: usize = 256;
const BATCH_HEADER_BYTES: usize = 12;
const TAG_PUT: u8 = 1;

/// The marks that are legible in a write-ahead log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The numbers of the batches, ascending, each once.
    pub(crate) numbers: Vec<u64>,
    /// The highest batch that one of them says was synced.
    pub(crate) promised: u64,
}

impl Survey {
    fn note(&mut self, mark: BatchMark) {
        self.numbers.push(mark.number);
        self.promised = self.promised.max(mark.synced);
    }
}

/// Reads every write-ahead log file in `directory`, of which replay gave the batches up to `recovered`.
pub(crate) fn survey(directory: &Path, recovered: u64) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let files = files(directory)?;
    // The file and the place in it behind the last batch that was replayed.
    let mut sound = (0, 0);
    for (number, file) in files.iter().enumerate() {
        for (mark, end) in follow(&fs::read(file)?, recovered) {
            survey.note(mark);
            sound = (number, end);
        }
    }
    for (number, file) in files.iter().enumerate().skip(sound.0) {
        let from = if number == sound.0 { sound.1 } else { 0 };
        search(&payload(&fs::read(file)?, from), &mut survey);
    }
    // The same number twice: a torn batch was cut off, its file is not deleted yet, and the next batch took its number.
    survey.numbers.sort_unstable();
    survey.numbers.dedup();
    Ok(survey)
}

/// The write-ahead log's files, the oldest first.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for item in fs::read_dir(directory)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Follows the headers of a file from its beginning to batch `last` at most; gives each mark with its record's end.
fn follow(file: &[u8], last: u64) -> Vec<(BatchMark, usize)> {
    let mut marks = Vec::new();
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    for (number, block) in file.chunks(BLOCK_BYTES).enumerate() {
        let mut at = 0;
        while let Some(header) = block.get(at..at + HEADER_BYTES) {
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let kind = header[6];
            let Some(part) = block.get(at + HEADER_BYTES..at + HEADER_BYTES + length) else { break };
            at += HEADER_BYTES + length;
            if kind == 1 || kind == 2 {
                head.clear();
            }
            let room = HEAD_BYTES_MAX - head.len();
            head.extend_from_slice(&part[..part.len().min(room)]);
            if kind != 1 && kind != 4 {
                continue;
            }
            let mark = head.get(BATCH_HEADER_BYTES..).and_then(parse_mark);
            marks.extend(mark.filter(|mark| mark.number <= last).map(|mark| (mark, number * BLOCK_BYTES + at)));
            if mark.is_some_and(|mark| mark.number >= last) {
                return marks;
            }
        }
    }
    marks
}

/// The bytes of a file from `from` on without the header that begins each block, so that what reaches over the edge of
/// a block is in one piece.
fn payload(file: &[u8], from: usize) -> Vec<u8> {
    let blocks = file.chunks(BLOCK_BYTES).enumerate();
    let parts = blocks.filter_map(|(number, block)| {
        let start = from.saturating_sub(number * BLOCK_BYTES).max(HEADER_BYTES);
        block.get(start..)
    });
    parts.collect::<Vec<_>>().concat()
}

/// Finds every mark in `bytes`, whatever stands between.
fn search(bytes: &[u8], survey: &mut Survey) {
    for at in 0..bytes.len() {
        if bytes[at] == TAG_PUT
            && let Some(mark) = parse_mark(&bytes[at..])
        {
            survey.note(mark);
        }
    }
}

/// The mark that `bytes` put, if they do.
fn parse_mark(bytes: &[u8]) -> Option<BatchMark> {
    let (tag, rest) = bytes.split_first()?;
    let (key, rest) = split_sized(rest)?;
    if *tag != TAG_PUT || key != BATCH_KEY {
        return None;
    }
    let (value, _) = split_sized(rest)?;
    codec::decode(value).ok()
}

/// Splits off bytes that have their length before them, in groups of seven bits; neither key nor mark needs a third.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (low, rest) = bytes.split_first()?;
    if low & 0x80 == 0 {
        return rest.split_at_checked(usize::from(*low));
    }
    let (high, rest) = rest.split_first()?;
    rest.split_at_checked(usize::from(low & 0x7f) | usize::from(*high) << 7)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use consensus_api::LogIndex;

    use super::*;

    /// A record as RocksDB writes one: a batch's header, its mark, then `filler` bytes.
    fn record(number: u64, filler: usize) -> Vec<u8> {
        let mark = BatchMark { number, synced: number - 1, commit: LogIndex(1_000_000) };
        let value = codec::encode(&mark).unwrap();
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        bytes.extend([TAG_PUT, 5]);
        bytes.extend(BATCH_KEY);
        bytes.push(u8::try_from(value.len()).unwrap());
        bytes.extend(value);
        bytes.resize(bytes.len() + filler, 1);
        bytes
    }

    /// Adds a record to a file, in as many parts as the edges of blocks make of it; returns the end.
    fn append(file: &mut Vec<u8>, record: &[u8]) -> usize {
        let mut rest = record;
        let mut first = true;
        while first || !rest.is_empty() {
            let left = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                file.resize(file.len() + left, 0);
                continue;
            }
            let (part, after) = rest.split_at(rest.len().min(left - HEADER_BYTES));
            let kind = match (first, after.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            file.extend([0; 4]);
            file.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
            file.push(kind);
            file.extend(part);
            (rest, first) = (after, false);
        }
        file.len()
    }

    fn numbers(marks: &[(BatchMark, usize)]) -> Vec<u64> {
        marks.iter().map(|(mark, _)| mark.number).collect()
    }

    #[test]
    fn headers_are_followed_over_the_edges_of_blocks() {
        for filler in [0, 100, BLOCK_BYTES - 80, BLOCK_BYTES, 3 * BLOCK_BYTES] {
            let mut file = Vec::new();
            let ends: Vec<usize> = (1..=9).map(|number| append(&mut file, &record(number, filler))).collect();
            let marks = follow(&file, 7);
            assert_eq!(numbers(&marks), [1, 2, 3, 4, 5, 6, 7], "filler {filler}");
            assert_eq!(marks[6].1, ends[6]);
        }
    }

    #[test]
    fn a_mark_is_found_wherever_the_edge_of_a_block_cuts_it() {
        for before in BLOCK_BYTES - 200..BLOCK_BYTES {
            let mut file = Vec::new();
            append(&mut file, &vec![9; before - HEADER_BYTES]);
            append(&mut file, &record(5, 300));
            let mut survey = Survey::default();
            search(&payload(&file, 10), &mut survey);
            assert_eq!(survey, Survey { numbers: vec![5], promised: 4 }, "{before} bytes before it");
        }
    }
}
