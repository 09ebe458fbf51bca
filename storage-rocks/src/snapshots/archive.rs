//! A snapshot as one file: for backups, and for founding a cluster from one.
//!
//! ```text
//!   "quorate\0" · version u32 · length u32 · manifest, framed · the files, one after another      numbers little endian
//! ```
//!
//! Nothing follows the last file. The manifest's frame has a checksum and its files have one each, so every byte is
//! vouched for by one.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use consensus_api::{SnapshotFile, SnapshotManifest, codec};
use sha2::{Digest, Sha256};

use super::manifest;
use crate::error::StorageError;

const MAGIC: &[u8; 8] = b"quorate\0";
const VERSION: u32 = 3;
const PIECE_BYTES: usize = 1 << 20;

/// Takes pieces of a stream, each with its offset.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), StorageError>;

/// Writes what stands before the files.
pub(crate) fn write_head(snapshot: &SnapshotManifest, out: &mut impl Write) -> Result<(), StorageError> {
    let unstorable = |source| StorageError::Unstorable { what: "the manifest of a snapshot".into(), source };
    let encoded = codec::encode(snapshot).map_err(unstorable)?;
    // The cast is exact: an encoded value has a limit far below.
    let length = encoded.len() as u32;
    let head = [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &encoded].concat();
    write(out, &head)
}

/// Writes a piece of the files.
pub(crate) fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), StorageError> {
    out.write_all(bytes).map_err(|source| StorageError::ExportIo { doing: "write", source })
}

/// Reads what stands before the files.
pub(crate) fn read_head(input: &mut impl Read) -> Result<SnapshotManifest, StorageError> {
    let mut head = [0; 16];
    fill(input, &mut head, "its head")?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..8] != *MAGIC {
        return bad("it does not begin like one");
    }
    if number(8) != VERSION {
        return bad(&format!("it has version {}, but this build reads version {VERSION}", number(8)));
    }
    let length = usize::try_from(number(12)).unwrap_or(usize::MAX);
    if length > codec::VALUE_BYTES_MAX + codec::HEADER_BYTES {
        return bad(&format!("its manifest would have {length} bytes"));
    }
    let mut encoded = vec![0; length];
    fill(input, &mut encoded, "its manifest")?;
    let snapshot = codec::decode(&encoded);
    let snapshot = snapshot.or_else(|error| bad(&format!("its manifest is damaged ({error})")))?;
    manifest::check(&snapshot)?;
    Ok(snapshot)
}

/// Reads and checks the files, and that nothing follows.
pub(crate) fn read_files(
    snapshot: &SnapshotManifest,
    input: &mut impl Read,
    sink: Sink<'_>,
) -> Result<(), StorageError> {
    let mut offset = 0;
    for file in &snapshot.files {
        read_file(file, offset, input, sink)?;
        offset += file.bytes;
    }
    expect_end(input)
}

fn expect_end(input: &mut impl Read) -> Result<(), StorageError> {
    loop {
        match input.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => return bad("something follows its last file"),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(StorageError::ExportIo { doing: "read", source }),
        }
    }
}

/// Reads and checks a whole file, and puts what it holds into the empty directory `into`, where nothing is synced.
pub(crate) fn unpack(input: &mut impl Read, into: &Path) -> Result<SnapshotManifest, StorageError> {
    let snapshot = read_head(input)?;
    for file in &snapshot.files {
        let path = into.join(&file.name);
        let mut out = File::create(&path).map_err(StorageError::io("make", &path))?;
        read_file(file, 0, input, &mut |_, bytes| out.write_all(bytes).map_err(StorageError::io("write", &path)))?;
    }
    expect_end(input)?;
    Ok(snapshot)
}

fn read_file(file: &SnapshotFile, mut offset: u64, input: &mut impl Read, sink: Sink<'_>) -> Result<(), StorageError> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut hash = Sha256::new();
    let mut left = file.bytes;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = &mut buffer[..piece];
        fill(input, piece, &file.name)?;
        hash.update(&*piece);
        sink(offset, piece)?;
        offset += piece.len() as u64;
        left -= piece.len() as u64;
    }
    if <[u8; 32]>::from(hash.finalize()) != file.checksum {
        return bad(&format!("{} has another checksum", file.name));
    }
    Ok(())
}

/// Reads a whole file without keeping it: whether it could be imported.
///
/// # Errors
/// [`StorageError::BadExport`] with what is wrong with it, [`StorageError::BadManifest`], or that it cannot be read.
pub fn check_export(mut input: impl Read) -> Result<SnapshotManifest, StorageError> {
    let snapshot = read_head(&mut input)?;
    read_files(&snapshot, &mut input, &mut |_, _| Ok(()))?;
    Ok(snapshot)
}

fn fill(input: &mut impl Read, buffer: &mut [u8], what: &str) -> Result<(), StorageError> {
    input.read_exact(buffer).or_else(|source| match source.kind() {
        ErrorKind::UnexpectedEof => bad(&format!("it ends within {what}")),
        _ => Err(StorageError::ExportIo { doing: "read", source }),
    })
}

fn bad<T>(what: &str) -> Result<T, StorageError> {
    Err(StorageError::BadExport { what: what.to_owned() })
}
