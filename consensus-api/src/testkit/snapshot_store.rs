//! What every [`SnapshotStore`] must do with its [`Tables`], as tests that any pair of them can run.
//!
//! ```text
//!   source: written, taken from ──pieces──▶ target: receives, installs
//!                                  │            │
//!                       lost, doubled, spoilt   closed, crashed at every point, opened again
//! ```
//!
//! Batch `n` puts one key and says `n` in both tables, besides the position that the store itself reads: so that tables
//! are seen to be those of some batch, all of them alike. One function is one claim and panics where it fails;
//! [`run_all`] runs them all on blank disks.

pub mod crashes;
pub mod damage;
pub mod order;

use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::engine::LogPosition;
use crate::ids::{Ballot, LogIndex, NodeId, StoreId};
use crate::membership::{AppliedMembership, Member, Membership};
use crate::snapshot::{SnapshotId, SnapshotManifest, SnapshotStore};
use crate::state_machine::AppliedState;
use crate::tables::{Table, TableBatch, TableRead, Tables};
use crate::time::LogTime;

/// The first two tables are written; there may be more.
const DATA: Table = Table(0);
const META: Table = Table(1);
const LAST: &[u8] = b"testkit last batch";
/// Small, so that a transfer takes many.
const PIECE_BYTES: usize = 1000;

/// A disk that tables and their snapshots can be opened on, over and over. Blank when it is made.
pub trait SnapshotDisk: Sized {
    /// The tables.
    type Tables: Tables;
    /// What is tested.
    type Store: SnapshotStore;

    /// Opens both as their last life left the disk.
    fn open(&mut self) -> Life<Self>;

    /// Stops both in good order.
    fn close(&mut self, life: Life<Self>) {
        drop(life);
    }

    /// The power fails while nothing is under way.
    fn crash(&mut self, life: Life<Self>);

    /// Adds to a batch what the store reads from the tables: how far they have come.
    fn stamp(batch: &mut TableBatch, applied: &AppliedState);

    /// Opens the closed disk, begins to install the snapshot that was received whole, and takes the power at the `point`-th
    /// point at which that makes a difference, counted from zero. False where it was through before there was such a
    /// point.
    fn crash_during_install(&mut self, manifest: &SnapshotManifest, point: u32) -> bool;

    /// Flips a bit of this byte of the stream of a kept snapshot, while the store runs.
    fn spoil_kept(&mut self, id: SnapshotId, offset: u64);

    /// Flips a bit of this byte of the stream of the snapshot that is being received, while the store runs.
    fn spoil_received(&mut self, manifest: &SnapshotManifest, offset: u64);

    /// Everything on the disk that is neither live, nor kept, nor being received.
    fn strays(&self) -> Vec<String>;
}

/// Tables and their snapshots, open.
pub struct Life<D: SnapshotDisk> {
    /// The tables.
    pub tables: Arc<D::Tables>,
    /// Their snapshots.
    pub store: Arc<D::Store>,
}

/// Runs every claim on disks of its own.
pub fn run_all<D: SnapshotDisk>(mut blank: impl FnMut() -> D) {
    let claims: [fn(&mut dyn FnMut() -> D); 20] = [
        what_is_taken_while_it_is_written_is_the_state_after_one_batch,
        two_are_kept_the_newest_first,
        it_is_read_in_pieces_of_any_size,
        what_was_installed_is_kept_and_sent_on,
        views_go_on_seeing_the_old_tables,
        installed_tables_are_written_as_any,
        order::a_reception_goes_on_where_it_was_cut_off,
        order::a_reception_goes_on_in_the_next_life,
        order::bytes_at_another_offset_are_ignored,
        order::another_snapshot_replaces_the_one_that_is_being_received,
        order::a_reception_that_is_given_up_begins_anew,
        order::what_is_not_all_here_is_not_installed,
        order::an_older_snapshot_than_the_tables_is_refused,
        order::a_duplicate_changes_nothing,
        order::two_in_quick_succession_leave_the_second,
        damage::a_bit_that_flips_in_transit_is_found_and_named,
        damage::a_bit_that_flips_where_it_was_received_is_found_and_named,
        damage::a_bit_that_flips_where_it_is_kept_goes_no_further,
        damage::a_manifest_that_was_changed_is_refused,
        crashes::an_installation_is_survived_at_every_point,
    ];
    for claim in claims {
        claim(&mut blank);
    }
    crashes::what_was_installed_survives_a_crash(&mut blank);
}

/// What a store says that has come to batch `number`.
fn applied(number: u64) -> AppliedState {
    let member = Member { address: "host:1".into(), store: StoreId(1) };
    let members = [(NodeId(1), member.clone()), (NodeId(2 + number / 100), member)];
    AppliedState {
        position: LogPosition { index: LogIndex(number), ballot: Ballot::new(1 + number / 10, NodeId(1)) },
        log_time: LogTime { millis: 10 * number },
        membership: Some(AppliedMembership::founded(Arc::new(Membership::of_voters(members)))),
    }
}

fn batch<D: SnapshotDisk>(number: u64) -> TableBatch {
    let mut batch = TableBatch::default();
    // Bytes that do not compress to nothing.
    let value: Vec<u8> = (0..200_u64).map(|i| (((number * 1009 + i) * 0x9e37_79b9) >> 13) as u8).collect();
    batch.put(DATA, key(number), value);
    batch.put(DATA, LAST, number.to_string());
    batch.put(META, LAST, number.to_string());
    D::stamp(&mut batch, &applied(number));
    batch
}

fn key(number: u64) -> String {
    format!("batch {number:06}")
}

impl<D: SnapshotDisk> Life<D> {
    /// Performs these batches.
    fn write(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.tables.write(batch::<D>(number)).expect("writes");
        }
    }

    fn take(&self) -> Arc<SnapshotManifest> {
        self.store.take().expect("takes")
    }

    fn kept(&self) -> Vec<Arc<SnapshotManifest>> {
        self.store.kept().expect("lists")
    }

    /// The whole stream.
    fn stream(&self, manifest: &SnapshotManifest, piece_bytes: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        loop {
            let piece =
                self.store.read(manifest.id, stream.len() as u64, piece_bytes).expect("reads").expect("is kept");
            if piece.is_empty() {
                return stream;
            }
            assert!(piece.len() <= piece_bytes, "{} bytes where {piece_bytes} were asked for", piece.len());
            stream.extend_from_slice(&piece);
        }
    }

    /// Receives what is missing of a snapshot up to `end`.
    fn receive_until(&self, manifest: &SnapshotManifest, stream: &[u8], end: usize) {
        let mut offset = self.store.receive(manifest).expect("receives");
        while offset < end as u64 {
            let from = usize::try_from(offset).expect("fits");
            let piece = &stream[from..end.min(from + PIECE_BYTES)];
            offset = self.store.append(manifest.id, offset, piece).expect("appends");
            assert_eq!(offset, (from + piece.len()) as u64);
        }
    }

    /// Fetches a snapshot from another life, and installs it.
    fn install_from(&self, source: &Life<D>, manifest: &SnapshotManifest) {
        let stream = source.stream(manifest, PIECE_BYTES);
        self.receive_until(manifest, &stream, stream.len());
        self.store.install(manifest.id).expect("installs");
    }

    /// Which batch the tables are of; makes sure that they are of one.
    fn batch(&self) -> u64 {
        batch_of(&*self.tables)
    }
}

/// Which batch these tables are of; makes sure that they are of one, and hold all before it.
fn batch_of<T: TableRead + ?Sized>(tables: &T) -> u64 {
    let last = |table| {
        let value = tables.get(table, LAST).expect("reads");
        value.map_or(0, |value| std::str::from_utf8(&value).expect("text").parse::<u64>().expect("a number"))
    };
    let number = last(DATA);
    assert_eq!(number, last(META), "the tables are of different batches");
    let mut found = 0;
    let visit = &mut |seen: &[u8], _: &[u8]| {
        found += 1;
        assert_eq!(seen, key(found).as_bytes(), "a batch is missing");
        ControlFlow::Continue(())
    };
    tables.scan(DATA, b"batch ", Some(b"batch!"), visit).expect("scans");
    assert_eq!(found, number, "the table of data is of another batch");
    number
}

/// A life on a disk of its own, which ends with it.
struct Alone<D: SnapshotDisk> {
    // Dropped in this order.
    life: Life<D>,
    _disk: D,
}

impl<D: SnapshotDisk> Alone<D> {
    fn on(mut disk: D) -> Alone<D> {
        Alone { life: disk.open(), _disk: disk }
    }
}

impl<D: SnapshotDisk> Deref for Alone<D> {
    type Target = Life<D>;

    fn deref(&self) -> &Life<D> {
        &self.life
    }
}

/// A source that holds the snapshot of this many batches, and a blank target.
fn pair<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D, batches: u64) -> (Alone<D>, Arc<SnapshotManifest>, D) {
    let source = Alone::on(blank());
    source.write(1..=batches);
    let manifest = source.take();
    (source, manifest, blank())
}

/// Each snapshot is of one batch, all tables alike, and its manifest tells which.
pub fn what_is_taken_while_it_is_written_is_the_state_after_one_batch<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let source = Alone::on(blank());
    source.write(1..=10);
    let ended = AtomicBool::new(false);
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let tables = source.tables.clone();
        let writer = scope.spawn(|| {
            let tables = tables;
            let mut number = 10;
            while !ended.load(Ordering::Acquire) && number < 50_000 {
                number += 1;
                tables.write(batch::<D>(number)).expect("writes");
            }
            number
        });
        for _ in 0..4 {
            // In memory all four would be taken before the writer has begun.
            let last = || source.tables.get(META, LAST).expect("reads");
            let seen = last();
            while last() == seen && !writer.is_finished() {
                thread::yield_now();
            }
            let manifest = source.take();
            let target = Alone::on(blank());
            target.install_from(&source, &manifest);
            assert_eq!(target.batch(), manifest.position.index.0);
            taken.push(manifest);
        }
        ended.store(true, Ordering::Release);
        let written = writer.join().expect("the writer writes");
        assert_eq!(source.batch(), written, "nobody was held up for good");
    });
    for manifest in &taken {
        let expected = applied(manifest.position.index.0);
        assert_eq!((manifest.position, manifest.log_time), (expected.position, expected.log_time));
        assert_eq!(Some(&manifest.membership), expected.membership.as_ref().map(|applied| &*applied.latest));
    }
    assert!(taken.is_sorted_by_key(|manifest| manifest.position.index));
    assert!(taken[0].position.index < taken[3].position.index, "nothing was written meanwhile");
}

/// The newest two are kept, also in the next life; a third takes the place of the oldest.
pub fn two_are_kept_the_newest_first<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let mut disk = blank();
    let life = disk.open();
    assert_eq!(life.kept(), []);
    let mut taken = Vec::new();
    for number in 1..=4 {
        life.write([number]);
        taken.insert(0, life.take());
        taken.truncate(2);
        assert_eq!(life.kept(), taken);
    }
    life.tables.flush().expect("flushes");
    disk.crash(life);
    let life = disk.open();
    assert_eq!(life.kept(), taken);
    assert_eq!(disk.strays(), [""; 0]);
    assert_eq!(life.batch(), 4);
}

/// The stream is the same bytes however it is read; one that is not kept is none.
pub fn it_is_read_in_pieces_of_any_size<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, _) = pair(blank, 60);
    let whole = source.stream(&manifest, usize::MAX);
    assert_eq!(whole.len() as u64, manifest.bytes());
    for piece_bytes in [1 << 20, 4097, 333] {
        assert!(source.stream(&manifest, piece_bytes) == whole, "pieces of {piece_bytes} are another stream");
    }
    for offset in [manifest.bytes(), manifest.bytes() + 1, u64::MAX] {
        assert_eq!(source.store.read(manifest.id, offset, 100).expect("reads").expect("is kept").len(), 0);
    }
    assert_eq!(source.store.read(SnapshotId(manifest.id.0 ^ 1), 0, 100).expect("reads"), None);
}

/// A snapshot goes from node to node under one name and with the same bytes.
pub fn what_was_installed_is_kept_and_sent_on<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, second) = pair(blank, 40);
    let second = Alone::on(second);
    second.install_from(&source, &manifest);
    assert_eq!(second.kept(), std::slice::from_ref(&manifest));
    let third = Alone::on(blank());
    third.install_from(&second, &manifest);
    assert_eq!((third.batch(), third.kept()), (40, vec![manifest]));
}

/// Who reads while the tables are exchanged ends on the old ones, however long that takes.
pub fn views_go_on_seeing_the_old_tables<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 50);
    let target = disk.open();
    target.write(1..=20);
    let view = target.tables.view();
    target.write(21..=30);
    target.install_from(&source, &manifest);
    target.write(51..=60);
    target.tables.flush().expect("flushes");
    assert_eq!((batch_of(&*view), target.batch()), (20, 60));
    drop(view);
    assert_eq!(disk.strays(), [""; 0], "nobody reads the old tables any more");
}

/// Tables that were installed are durable at once, and what is written to them after a flush.
pub fn installed_tables_are_written_as_any<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, mut disk) = pair(blank, 30);
    let target = disk.open();
    target.write(1..=5);
    target.install_from(&source, &manifest);
    let persisted = target.tables.get_persisted(META, LAST).expect("reads");
    assert_eq!(persisted.as_deref(), Some(&b"30"[..]));
    target.write(31..=40);
    target.tables.flush().expect("flushes");
    disk.crash(target);
    let target = disk.open();
    assert_eq!(target.batch(), 40);
    target.write(41..=45);
    assert_eq!(target.take().position.index, LogIndex(45));
}
