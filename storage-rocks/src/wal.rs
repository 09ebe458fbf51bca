//! Reads RocksDB's write-ahead log as bytes, for the marks of the batches in it.
//!
//! RocksDB's own replay says nothing of what stands behind a damaged place. Here every mark that is legible is found,
//! before and behind the damage: that a batch 8 is there which says that 7 was synced is the proof that 7 existed.
//!
//! ```text
//!   file     blocks of 32 KiB, each beginning with a header
//!   block    crc u32 · length u16 · type u8 · bytes    crc · length · type · bytes    …
//!   type     1 a whole record · 2, 3, 4 the first, a middle, the last part of one · 0 nothing more in this block
//!   record   sequence u64 · count u32 · tag u8 · key · value · …       tag 1: put into the default column family
//! ```
//!
//! Format: RocksDB, `db/log_format.h` and `db/write_batch.cc`. A mark is believed by its own checksum.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
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

/// Reads every write-ahead log file in `directory`.
pub(crate) fn survey(directory: &Path) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for file in files(directory)? {
        read_file(&file, &mut |mark| {
            survey.numbers.push(mark.number);
            survey.promised = survey.promised.max(mark.synced);
        })?;
    }
    // The same number twice: a torn batch was cut off, its file is not deleted yet, and the next batch took its number.
    survey.numbers.sort_unstable();
    survey.numbers.dedup();
    Ok(survey)
}

/// The write-ahead log's files.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
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

fn read_file(path: &Path, found: &mut impl FnMut(BatchMark)) -> io::Result<()> {
    let mut file = BufReader::with_capacity(BLOCK_BYTES, File::open(path)?);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        block.clear();
        if file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)? == 0 {
            report(&head, found);
            return Ok(());
        }
        read_block(&block, &mut head, found);
    }
}

/// Goes through one block; `head` is the beginning of the record that reaches into it, and of the one that reaches out.
fn read_block(block: &[u8], head: &mut Vec<u8>, found: &mut impl FnMut(BatchMark)) {
    let mut rest = block;
    while let Some((header, bytes)) = rest.split_at_checked(HEADER_BYTES) {
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let kind = header[6];
        if kind == 0 && length == 0 {
            return;
        }
        // A torn or damaged length: what is there is looked at all the same.
        let (part, after) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        if kind == 1 || kind == 2 {
            report(head, found);
            head.clear();
        }
        let room = HEAD_BYTES_MAX - head.len();
        head.extend_from_slice(&part[..part.len().min(room)]);
        if kind == 1 || kind == 4 {
            report(head, found);
            head.clear();
        }
        rest = after;
    }
}

fn report(head: &[u8], found: &mut impl FnMut(BatchMark)) {
    if let Some(mark) = parse_mark(head) {
        found(mark);
    }
}

/// The mark with which a record begins, if it is one of ours and legible that far.
fn parse_mark(record: &[u8]) -> Option<BatchMark> {
    let (tag, rest) = record.get(BATCH_HEADER_BYTES..)?.split_first()?;
    if *tag != TAG_PUT {
        return None;
    }
    let (key, rest) = split_sized(rest)?;
    let (value, _) = split_sized(rest)?;
    if key != BATCH_KEY {
        return None;
    }
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
