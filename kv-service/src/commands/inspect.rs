//! `kv-service inspect DIR`: what the data directory of a stopped node holds. Changes nothing.

use std::path::PathBuf;

use clap::Args;
use consensus_api::ballot_runs::Run;
use consensus_api::{Ballot, Member, NodeId};
use serde_json::{Value, json};
use storage_rocks::{InspectedSnapshot, Inspection, Stamp};

use super::output;
use crate::error::ServiceError;

/// The most runs of one ballot that are listed; the latest ones.
const RUNS_MAX: usize = 20;

/// A look into a data directory
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The data directory
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks and prints; damage is part of the result, and of the exit status.
pub fn run(arguments: &InspectArgs) -> Result<(), ServiceError> {
    let found = storage_rocks::inspect(&arguments.dir)?;
    match arguments.json {
        true => output::line(&object(&found).to_string())?,
        false => output::write(text(&found).as_bytes())?,
    }
    if found.damage.is_empty() {
        return Ok(());
    }
    Err(ServiceError::Damaged { dir: arguments.dir.clone(), damages: found.damage.len() })
}

fn text(found: &Inspection) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    match &found.stamp {
        Some(stamp) => identity(stamp, &mut lines),
        None => lines.push(("identity", "none: the node was stopped before it had written one".into())),
    }
    lines.push(("hard state", hard_state(found)));
    lines.push(("log", log(found)));
    lines.push(("committed", format!("through {} as far as the log knows", found.commit)));
    for run in latest_runs(found) {
        lines.push(("  entries", format!("{} to {} under ballot {}", run.first, run.last, run.ballot)));
    }
    lines.push(("batches", batches(found)));
    lines.push(("tables", if found.tables.is_empty() { "none".into() } else { found.tables.join(", ") }));
    if let Some(installed) = found.installed {
        lines.push(("installed", format!("from a snapshot at {}, ballot {}", installed.index, installed.ballot)));
    }
    lines.extend(found.snapshots.iter().map(|snapshot| ("snapshot", describe(snapshot))));
    match found.damage.is_empty() {
        true => lines.push(("damage", "none".into())),
        false => lines.extend(found.damage.iter().map(|damage| ("damage", damage.clone()))),
    }
    lines.into_iter().map(|(name, text)| format!("{name:<12}{text}\n")).collect()
}

fn identity(stamp: &Stamp, lines: &mut Vec<(&'static str, String)>) {
    lines.push(("node", stamp.node.to_string()));
    lines.push(("engine", stamp.engine.to_string()));
    lines.push(("cluster", stamp.cluster.map_or_else(|| "not founded yet".into(), |cluster| cluster.to_string())));
    lines.push(("store", stamp.store.to_string()));
    lines.push(("group, era", format!("{}, {}", stamp.group, stamp.era)));
    lines.push(("starts", stamp.boots.to_string()));
    let founder = |(node, member): &(NodeId, Member)| {
        ("founder", format!("node {node}, {}, store {}", member.address, member.store))
    };
    lines.extend(stamp.founders.iter().map(founder));
}

fn hard_state(found: &Inspection) -> String {
    match (&found.hard_state, found.promised()) {
        (None, _) => "none: no vote and no promise was given".into(),
        (Some(_), Ok(ballot)) => format!("ballot {ballot}"),
        (Some(bytes), Err(error)) => format!("{} ({error})", hex(bytes)),
    }
}

fn log(found: &Inspection) -> String {
    let base = found.base;
    match (found.runs.first(), found.runs.last()) {
        (Some(first), Some(last)) => {
            format!("{} entries, {first} to {last}, above {} at ballot {}", found.entries, base.index, base.ballot)
        }
        _ => format!("no entries above {} at ballot {}", base.index, base.ballot),
    }
}

fn batches(found: &Inspection) -> String {
    match found.torn_batches {
        0 => format!("the last one is {}", found.last_batch),
        torn => format!(
            "the last one is {}; {torn} torn ones behind it will be cut off at the next start",
            found.last_batch
        ),
    }
}

fn describe(snapshot: &InspectedSnapshot) -> String {
    let InspectedSnapshot { id, position, bytes, sound } = snapshot;
    let checked = if *sound { "checked" } else { "damaged" };
    format!("{:032x} through {} at ballot {}, {bytes} bytes, {checked}", id.0, position.index, position.ballot)
}

fn latest_runs(found: &Inspection) -> Vec<Run> {
    let runs: Vec<_> = found.runs().collect();
    runs[runs.len().saturating_sub(RUNS_MAX)..].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn object(found: &Inspection) -> Value {
    let stamp = found.stamp.as_ref().map(|stamp| {
        let founder = |(node, member): &(NodeId, Member)| {
            json!({"node": node.0, "address": member.address, "store": member.store.to_string()})
        };
        json!({
            "node": stamp.node.0,
            "engine": stamp.engine.to_string(),
            "cluster": stamp.cluster.map(|cluster| cluster.to_string()),
            "store": stamp.store.to_string(),
            "group": stamp.group.0,
            "era": stamp.era.0,
            "boots": stamp.boots,
            "founders": stamp.founders.iter().map(founder).collect::<Vec<_>>(),
        })
    });
    let ballot = |ballot: Ballot| json!({"round": ballot.round, "node": ballot.node.0});
    let run = |run: &Run| json!({"first": run.first.0, "last": run.last.0, "ballot": ballot(run.ballot)});
    let snapshot = |snapshot: &InspectedSnapshot| {
        json!({
            "id": format!("{:032x}", snapshot.id.0),
            "index": snapshot.position.index.0,
            "ballot": ballot(snapshot.position.ballot),
            "bytes": snapshot.bytes,
            "sound": snapshot.sound,
        })
    };
    json!({
        "stamp": stamp,
        "hard_state": found.hard_state.as_ref().map(|bytes| hex(bytes)),
        "promised": found.promised().ok().map(ballot),
        "base": {"index": found.base.index.0, "ballot": ballot(found.base.ballot)},
        "commit_index": found.commit.0,
        "entries": found.entries,
        "latest_runs": latest_runs(found).iter().map(run).collect::<Vec<_>>(),
        "last_batch": found.last_batch,
        "torn_batches": found.torn_batches,
        "tables": found.tables,
        "installed_index": found.installed.map(|installed| installed.index.0),
        "snapshots": found.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "damage": found.damage,
    })
}
