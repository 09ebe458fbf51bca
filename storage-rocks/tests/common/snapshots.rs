//! Snapshots on a disk for tests, and a process on it that the power can be taken from.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use consensus_api::testkit::snapshot_store::{Life, SnapshotDisk};
use consensus_api::{
    AppliedMembership, AppliedState, Ballot, LogIndex, LogPosition, Member, Membership, NodeId, SnapshotId,
    SnapshotManifest, SnapshotStore, StoreId, Table, TableBatch, TableRead, Tables, codec,
};
use power_loss::Remains;
use storage_rocks::{Inspection, RocksSnapshots, RocksTables, StorageError, Store};
use tempfile::TempDir;

use super::{Disk, copy};

pub const META: Table = Table(1);
const APPLIED: &[u8] = b"applied";
const DIRECTORY: &str = "SNAPSHOT_TEST_DIR";

/// What the test's tables say of themselves.
pub fn applied(
    tables: &dyn TableRead<Error = StorageError>,
) -> Result<AppliedState, Box<dyn std::error::Error + Send + Sync>> {
    let Some(bytes) = tables.get(META, APPLIED)? else { return Ok(AppliedState::default()) };
    let (position, log_time, membership) = codec::decode(&bytes)?;
    Ok(AppliedState { position, log_time, membership })
}

pub fn stamp(batch: &mut TableBatch, applied: &AppliedState) {
    let encoded = codec::encode(&(applied.position, applied.log_time, applied.membership.clone()));
    batch.put(META, APPLIED, encoded.unwrap());
}

/// A look into a data directory with such tables.
pub fn inspect(path: &Path) -> Result<Inspection, StorageError> {
    storage_rocks::inspect(path, super::OPTIONS.tables, applied)
}

pub fn name_of(id: SnapshotId) -> String {
    format!("{:032x}", id.0)
}

/// Flips a bit of a file of a snapshot, by the byte's offset in the stream.
pub fn spoil(directory: &Path, manifest: &SnapshotManifest, offset: u64) {
    let mut start = 0;
    for file in &manifest.files {
        if offset < start + file.bytes {
            let open = fs::OpenOptions::new().read(true).write(true).open(directory.join(&file.name)).unwrap();
            let mut byte = [0];
            open.read_exact_at(&mut byte, offset - start).unwrap();
            open.write_all_at(&[byte[0] ^ 0x10], offset - start).unwrap();
            return;
        }
        start += file.bytes;
    }
    panic!("the stream has no byte {offset}");
}

/// What a process does with a data directory that stands on a disk which forgets.
pub struct Child {
    pub disk: power_loss::Disk,
    _directory: TempDir,
}

impl Child {
    /// A disk with a copy of this data directory, all of it durable.
    pub fn on_a_copy_of(path: &Path) -> Child {
        let directory = TempDir::new().unwrap();
        copy(path, &directory.path().join("files/data"));
        Child { disk: power_loss::Disk::new(directory.path()).unwrap(), _directory: directory }
    }

    pub fn path(&self) -> PathBuf {
        self.disk.root().join("data")
    }

    /// The test `name` of this program, which finds the directory by [`directory_of_child`].
    pub fn command(&self, name: &str) -> Command {
        let program = std::env::current_exe().unwrap();
        let library = power_loss::library_beside(&program).unwrap();
        let mut command = Command::new(program);
        command.args([name, "--exact", "--nocapture", "--test-threads=1", "--ignored"]);
        command.env(DIRECTORY, self.path()).envs(self.disk.environment(&library));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, name: &str) -> ExitStatus {
        let output = self.command(name).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_none_or(|code| code == 0), "the process failed by itself: {text}");
        output.status
    }
}

/// The directory that a [`Child`] was started for; `None` in a process that is none.
pub fn directory_of_child() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// In a child: says that it has come so far, and waits until it may go on.
pub fn wait_for_parent(point: &str) {
    println!("\n{point}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// In the parent: waits until the child has come so far, does something, and lets it go on.
pub fn meet(child: &mut std::process::Child, point: &str, act: impl FnOnce()) {
    let mut said = BufReader::new(child.stdout.as_mut().unwrap());
    let mut line = String::new();
    while line.trim_end() != point {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the process ended before it came to '{point}'");
    }
    act();
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
}

/// Batch `number` of tables that know how far they have come.
pub fn numbered(number: u64) -> TableBatch {
    let mut batch = TableBatch::default();
    batch.put(Table(0), format!("key {number:05}"), vec![7; 500]);
    let member = Member { address: "host:1".into(), store: StoreId(1) };
    let state = AppliedState {
        position: LogPosition { index: LogIndex(number), ballot: Ballot::new(1, NodeId(1)) },
        membership: Some(AppliedMembership::founded(Arc::new(Membership::of_voters([(NodeId(1), member)])))),
        ..AppliedState::default()
    };
    stamp(&mut batch, &state);
    batch
}

pub fn write(store: &Store, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| store.tables.write(numbered(number)).unwrap());
}

/// A snapshot of so many batches, as one file.
pub fn exported(batches: u64) -> (SnapshotManifest, Vec<u8>) {
    let disk = Disk::default();
    let store = disk.open_store().unwrap();
    write(&store, 1..=batches);
    let manifest = store.snapshots(applied).take().unwrap();
    let mut file = Vec::new();
    store.snapshots(applied).export(manifest.id, &mut file).unwrap();
    ((*manifest).clone(), file)
}

/// What stands in a directory, in order.
pub fn names(path: &Path) -> Vec<String> {
    let items = fs::read_dir(path).unwrap();
    let mut names: Vec<String> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How far these tables have come.
pub fn index_of(tables: &RocksTables) -> u64 {
    applied(tables).unwrap().position.index.0
}

/// The file, beside the data directory, that tells a child what to install.
pub fn order(path: &Path) -> PathBuf {
    path.with_extension("order")
}

impl SnapshotDisk for Disk {
    type Tables = RocksTables;
    type Store = RocksSnapshots;

    fn open(&mut self) -> Life<Disk> {
        let store = self.open_store().unwrap();
        Life { tables: store.tables.clone(), store: Arc::new(store.snapshots(applied)) }
    }

    fn crash(&mut self, life: Life<Disk>) {
        self.freeze();
        drop(life);
    }

    fn stamp(batch: &mut TableBatch, applied: &AppliedState) {
        stamp(batch, applied);
    }

    fn crash_during_install(&mut self, manifest: &SnapshotManifest, point: u32) -> bool {
        let child = Child::on_a_copy_of(&self.path());
        fs::write(order(&child.path()), codec::encode(manifest).unwrap()).unwrap();
        child.disk.kill_at_sync(u64::from(point) + 1).unwrap();
        let survived = child.run("a_process_that_installs").success();
        child.disk.lose_power(Remains::Synced).unwrap();
        self.replace_by(&child.path());
        !survived
    }

    fn spoil_kept(&mut self, id: SnapshotId, offset: u64) {
        let path = self.path().join("snapshots").join(name_of(id));
        let store = codec::decode::<(u32, consensus_api::Blob)>(&fs::read(path.join("manifest")).unwrap()).unwrap();
        spoil(&path, &codec::decode(&store.1.0).unwrap(), offset);
    }

    fn spoil_received(&mut self, manifest: &SnapshotManifest, offset: u64) {
        spoil(&self.path().join("snapshots/incoming"), manifest, offset);
    }

    fn strays(&self) -> Vec<String> {
        let names = |path: PathBuf| -> Vec<String> {
            let Ok(items) = fs::read_dir(path) else { return Vec::new() };
            items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect()
        };
        let (tables, others): (Vec<_>, Vec<_>) =
            names(self.path()).into_iter().partition(|name| name.starts_with("tables"));
        let (kept, rest): (Vec<_>, Vec<_>) =
            names(self.path().join("snapshots")).into_iter().partition(|name| name.len() == 32);
        let mut strays: Vec<String> = Vec::new();
        let ours = ["lock", "log", "log.manifest", "live", "snapshots"];
        strays.extend(others.into_iter().filter(|name| !ours.contains(&name.as_str())));
        strays.extend(rest.into_iter().filter(|name| name != "incoming"));
        strays.extend(tables.into_iter().skip(1));
        strays.extend(kept.into_iter().skip(2));
        strays
    }
}
