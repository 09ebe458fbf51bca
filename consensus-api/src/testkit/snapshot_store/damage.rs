//! Claims about bits that flip: refused, named, thrown away, fetched again.

use crate::snapshot::{SnapshotManifest, SnapshotStore};

use super::{Alone, Life, PIECE_BYTES, SnapshotDisk, pair};

/// The name of the file that holds this byte of the stream.
fn file_at(manifest: &SnapshotManifest, offset: u64) -> &str {
    let mut end = 0;
    let file = manifest.files.iter().find(|file| {
        end += file.bytes;
        offset < end
    });
    &file.expect("the stream is longer").name
}

/// Bytes at the beginning, in the middle and at the end.
fn places(manifest: &SnapshotManifest) -> [u64; 3] {
    [0, manifest.bytes() / 2, manifest.bytes() - 1]
}

/// Receives a stream and installs it, or says what was refused.
fn try_install<D: SnapshotDisk>(target: &Life<D>, manifest: &SnapshotManifest, stream: &[u8]) -> Result<(), String> {
    let refused = |error: <D::Store as SnapshotStore>::Error| {
        assert!(!target.store.is_final(&error), "damage in a snapshot is not the end: {error}");
        error.to_string()
    };
    let mut offset = target.store.receive(manifest).map_err(refused)?;
    while offset < stream.len() as u64 {
        let from = usize::try_from(offset).expect("fits");
        let piece = &stream[from..stream.len().min(from + PIECE_BYTES)];
        offset = target.store.append(manifest.id, offset, piece).map_err(refused)?;
    }
    target.store.install(manifest.id).map_err(refused)
}

/// The tables stand, and after the refusal the same snapshot is received from its beginning.
pub fn a_bit_that_flips_in_transit_is_found_and_named<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 60);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    target.write(1..=8);
    for offset in places(&manifest) {
        let mut spoilt = stream.clone();
        spoilt[usize::try_from(offset).expect("fits")] ^= 0x10;
        let refusal = try_install(&target, &manifest, &spoilt).expect_err("a bit was flipped");
        let file = file_at(&manifest, offset);
        assert!(refusal.contains(file), "{refusal:?} does not name {file}");
        assert_eq!((target.batch(), target.kept().len()), (8, 0));
        assert_eq!(target.store.receive(&manifest).expect("receives"), 0, "it was thrown away");
    }
    target.install_from(&source, &manifest);
    assert_eq!(target.batch(), 60);
}

/// The same between reception and installation.
pub fn a_bit_that_flips_where_it_was_received_is_found_and_named<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 60);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    target.write(1..=8);
    for offset in places(&manifest) {
        target.receive_until(&manifest, &stream, stream.len());
        disk.spoil_received(&manifest, offset);
        let refusal = try_install(&target, &manifest, &stream).expect_err("a bit was flipped");
        let file = file_at(&manifest, offset);
        assert!(refusal.contains(file), "{refusal:?} does not name {file}");
        assert_eq!((target.batch(), target.kept().len()), (8, 0));
        assert_eq!(target.store.receive(&manifest).expect("receives"), 0, "it was thrown away");
    }
    target.install_from(&source, &manifest);
    assert_eq!(target.batch(), 60);
}

/// Either the sender finds it while it reads, or the receiver refuses it; and the next one that is taken is sound.
pub fn a_bit_that_flips_where_it_is_kept_goes_no_further<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let mut source_disk = blank();
    let source = source_disk.open();
    source.write(1..=60);
    let manifest = source.take();
    source_disk.spoil_kept(manifest.id, manifest.bytes() / 2);
    let mut stream = Vec::new();
    let found = loop {
        match source.store.read(manifest.id, stream.len() as u64, PIECE_BYTES) {
            Ok(Some(piece)) if piece.is_empty() => break None,
            Ok(piece) => stream.extend_from_slice(&piece.expect("is kept until it is found out")),
            Err(error) => break Some(error.to_string()),
        }
    };
    let target = Alone::on(blank());
    let refusal = found.unwrap_or_else(|| try_install(&target, &manifest, &stream).expect_err("a bit was flipped"));
    let file = file_at(&manifest, manifest.bytes() / 2);
    assert!(refusal.contains(file), "{refusal:?} does not name {file}");
    assert_eq!((target.batch(), target.kept().len()), (0, 0));
}

/// A manifest says what its name says, or nothing of it is used.
pub fn a_manifest_that_was_changed_is_refused<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 30);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let target = disk.open();
    let changes: [fn(&mut SnapshotManifest); 5] = [
        |manifest| manifest.position.index.0 += 1,
        |manifest| manifest.membership.voters.clear(),
        |manifest| manifest.files[0].name = "../../escaped".into(),
        |manifest| manifest.files[0].checksum[0] ^= 1,
        |manifest| manifest.id.0 ^= 1,
    ];
    for change in changes {
        let mut changed = (*manifest).clone();
        change(&mut changed);
        try_install(&target, &changed, &stream).expect_err("the manifest was changed");
        assert_eq!((target.batch(), target.kept().len()), (0, 0));
    }
    target.install_from(&source, &manifest);
    assert_eq!(target.batch(), 30);
}
