//! `kv-service snapshot save | status | restore`: backups of a cluster, and new clusters from them.
//!
//! ```text
//!   save     cluster ──POST──▶ taken ──GET──▶ FILE.….partial ─checked, synced, linked─▶ FILE      whole or not there
//!   status   FILE ─checked, unpacked aside─▶ what it holds
//!   restore  FILE ─▶ DIR, the data directory of one node of a new cluster; under either engine
//! ```

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use consensus_api::{AppliedState, Era, GroupId, Member, NodeId, SnapshotManifest, TableRead};
use kv_client::HttpClient;
use kv_client::protocol::{Consistency, SnapshotReply};
use kv_machine::schema;
use serde_json::json;
use storage_rocks::{Expected, Restore, StorageError, check_export, read_export, snapshot_name};

use super::client::Connection;
use super::desk;
use crate::engines;
use crate::error::ServiceError;

/// How long the next piece of a download is waited for.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// What can be done with backups.
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Have the cluster take a snapshot, and save it into a file
    Save(SaveArgs),
    /// Check such a file, and show what it holds
    Status {
        /// The file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a node's data directory from such a file, to found a new cluster with
    Restore(RestoreArgs),
}

/// What is saved, from where, into which file.
#[derive(Args, Clone, Debug)]
pub struct SaveArgs {
    /// The file; it must not exist yet
    file: PathBuf,
    /// HTTP addresses of the nodes; the first that answers takes the snapshot
    #[arg(
        long,
        env = "QUORATE_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:8001"
    )]
    endpoints: Vec<String>,
    /// Save what that node happens to know: works without a quorum, and may lack the last writes
    #[arg(long)]
    stale: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How long the snapshot may take to be taken, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    timeout_ms: u64,
}

/// Which file becomes whose data directory.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The file
    file: PathBuf,
    /// The data directory; it must not exist yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The consensus engine of the new cluster: raft or paxos
    #[arg(long, value_name = "ENGINE")]
    engine: String,
    /// The node whose directory it becomes
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
}

/// Does what is asked for, and prints what came of it.
pub async fn run(command: SnapshotCommand) -> Result<(), ServiceError> {
    match command {
        SnapshotCommand::Save(arguments) => save(arguments).await,
        SnapshotCommand::Status { file, json } => status(&file, json),
        SnapshotCommand::Restore(arguments) => restore(&arguments),
    }
}

async fn save(arguments: SaveArgs) -> Result<(), ServiceError> {
    let SaveArgs { file, endpoints, stale, json, timeout_ms } = arguments;
    let desk = Connection { endpoints, json, timeout_ms }.desk()?;
    refuse_existing(&file)?;
    let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
    let taken = desk.client.take_snapshot(consistency, desk.timeout).await?;
    let partial = partial(&file);
    let saved = fetch(&desk.client, &taken, &partial).await.and_then(|()| put_in_place(&partial, &file));
    // Where it cannot be removed, its name says what it is.
    let _ = fs::remove_file(&partial);
    saved?;
    let SnapshotReply { snapshot_index, bytes, id } = &taken;
    desk.print(&taken, || format!("{}: index {snapshot_index}, {bytes} bytes, id {id}", file.display()))
}

/// Downloads the snapshot, makes it durable and checks it.
async fn fetch(client: &HttpClient, taken: &SnapshotReply, partial: &Path) -> Result<(), ServiceError> {
    let cannot = |what: &str| ServiceError::io(format!("cannot {what} {}", partial.display()));
    let mut out = File::create(partial).map_err(cannot("make"))?;
    let mut download = client.download_snapshot(&taken.id, PIECE_TIMEOUT).await?;
    while let Some(piece) = download.next().await? {
        out.write_all(&piece).map_err(cannot("write"))?;
    }
    out.sync_all().map_err(cannot("write"))?;
    let found = snapshot_name(in_file(partial, check_export)?.id);
    if found != taken.id {
        return Err(ServiceError::OtherSnapshot { found, expected: taken.id.clone() });
    }
    Ok(())
}

/// Gives the whole file its name as well. A link, because that fails where somebody has made such a file meanwhile.
fn put_in_place(partial: &Path, file: &Path) -> Result<(), ServiceError> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::hard_link(partial, file).and_then(|()| File::open(directory)?.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ServiceError::SnapshotExists { path: file.to_owned() })
        }
        linked => linked.map_err(ServiceError::io(format!("cannot put {} in place", file.display()))),
    }
}

fn refuse_existing(file: &Path) -> Result<(), ServiceError> {
    match fs::symlink_metadata(file) {
        Ok(_) => Err(ServiceError::SnapshotExists { path: file.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ServiceError::io(format!("cannot look at {}", file.display()))(error)),
    }
}

/// Where a file is until it is whole: beside its place, under a name that no other process uses.
fn partial(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(format!(".{}.partial", std::process::id()));
    name.into()
}

fn status(file: &Path, json: bool) -> Result<(), ServiceError> {
    let found = in_file(file, |input| {
        read_export(input, &schema::TABLES, applied, |snapshot, tables| {
            let keys = count_keys(tables)?;
            Ok((snapshot.clone(), keys, super::text::hex(&kv_machine::digest_of(tables)?)))
        })
    })?;
    let (snapshot, keys, digest) =
        found.map_err(|source| ServiceError::SnapshotFile { path: file.to_owned(), source })?;
    let member = |(node, member): (&NodeId, &Member)| json!({"id": node.0, "address": member.address});
    let object = json!({
        "snapshot_index": snapshot.position.index.0,
        "id": snapshot_name(snapshot.id),
        "log_time_ms": snapshot.log_time.millis,
        "keys": keys,
        "bytes": snapshot.bytes(),
        "digest": digest,
        "members": snapshot.membership.members.iter().map(member).collect::<Vec<_>>(),
    });
    desk::print(json, &object, || text(&snapshot, keys, &digest))
}

fn text(snapshot: &SnapshotManifest, keys: u64, digest: &str) -> String {
    let member = |(node, member): (&NodeId, &Member)| format!("{node} ({})", member.address);
    let members: Vec<String> = snapshot.membership.members.iter().map(member).collect();
    let lines = [
        ("id", snapshot_name(snapshot.id)),
        ("index", snapshot.position.index.to_string()),
        ("log time", format!("{} ms", snapshot.log_time.millis)),
        ("keys", keys.to_string()),
        ("bytes", format!("{} in {} files, all checked", snapshot.bytes(), snapshot.files.len())),
        ("digest", digest.to_owned()),
        ("members", members.join(", ")),
    ];
    lines.map(|(name, text)| format!("{name:<10}{text}")).join("\n")
}

fn count_keys(tables: &dyn TableRead<Error = StorageError>) -> Result<u64, StorageError> {
    let mut keys = 0;
    tables.scan(schema::DATA, &[], None, &mut |_, _| {
        keys += 1;
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

fn restore(arguments: &RestoreArgs) -> Result<(), ServiceError> {
    let RestoreArgs { file, data_dir, engine, id } = arguments;
    let engine = engines::parse(engine)?;
    let restore = Restore {
        expected: Expected { node: NodeId(*id), engine, group: GroupId(0), era: Era(0) },
        tables: &schema::TABLES,
        applied,
        disband: |tables| Ok(kv_machine::disband(tables)?),
    };
    let snapshot = in_file(file, |input| restore.run(input, data_dir))?;
    let (dir, index) = (data_dir.display(), snapshot.position.index);
    let text = format!(
        "{dir}: node {id} of a new cluster under {engine}, from index {index}, id {}\n\
         next: restore the other nodes from the same file, each with its own --id and --data-dir; then start each with\n  \
         kv-service --engine {engine} --id {id} --data-dir {dir} --listen HOST:PORT --peer ID=HOST:PORT for each other one",
        snapshot_name(snapshot.id)
    );
    super::output::line(&text)
}

/// How far the tables have come.
fn applied(tables: &dyn TableRead<Error = StorageError>) -> Result<AppliedState, Box<dyn Error + Send + Sync>> {
    Ok(kv_machine::applied_state(tables)?)
}

/// Reads a snapshot file; what is wrong with it names it.
fn in_file<R>(file: &Path, read: impl FnOnce(BufReader<File>) -> Result<R, StorageError>) -> Result<R, ServiceError> {
    let opened = File::open(file).map_err(ServiceError::io(format!("cannot open {}", file.display())))?;
    read(BufReader::new(opened)).map_err(|source| match source {
        StorageError::BadExport { .. } | StorageError::BadManifest { .. } | StorageError::ExportIo { .. } => {
            ServiceError::SnapshotFile { path: file.to_owned(), source }
        }
        other => other.into(),
    })
}
