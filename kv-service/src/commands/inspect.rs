//! `kv-service inspect DIR`: what the data directory of a stopped node holds. Changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use consensus_api::ballot_runs::Run;
use consensus_api::{AppliedMembership, Ballot, LogIndex, Member, Membership, NodeId};
use kv_machine::schema;
use serde_json::{Value, json};
use storage_rocks::{InspectedSnapshot, Inspection, ReadApplied, Stamp};

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
    let applied: ReadApplied = |tables| Ok(kv_machine::applied_state(tables)?);
    let found = storage_rocks::inspect(&arguments.dir, &schema::TABLES, applied)?;
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
    lines.push(("applied", format!("through {}", found.applied)));
    match &found.members {
        Some(members) => applied_members(members, &mut lines),
        None => lines.push(("members", "none: no founding was applied".into())),
    }
    let named = found.named.iter().filter(|(index, _)| *index > found.applied);
    lines.extend(named.map(|(index, members)| ("  not applied", format!("{} by entry {index}", of(members)))));
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

/// The members that the tables tell of, and those before them, who may decide a little longer.
fn applied_members(told: &AppliedMembership, lines: &mut Vec<(&'static str, String)>) {
    let since = match told.since {
        LogIndex::ZERO => "from the founding on".into(),
        since => format!("by entry {since}"),
    };
    lines.push(("members", format!("{} {since}", of(&told.latest))));
    let member = |(node, member): (&NodeId, &Member)| {
        let part = if told.latest.is_voter(*node) { "votes" } else { "learns" };
        ("  member", format!("node {node} {part}, {}, store {}", member.address, member.store))
    };
    lines.extend(told.latest.members.iter().map(member));
    lines.extend(told.previous.iter().map(|previous| ("  before", of(previous))));
}

/// The version and who has which part in it.
fn of(members: &Membership) -> String {
    let list = |nodes: &BTreeSet<NodeId>| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("version {}: voters {}", members.version, list(&members.voters));
    if members.is_joint() {
        text += &format!(", in place of {}", list(&members.outgoing));
    }
    if !members.learners.is_empty() {
        text += &format!(", learners {}", list(&members.learners));
    }
    text
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
    let nodes = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let membership = |members: &Membership| {
        let place = |(node, member): (&NodeId, &Member)| json!({"node": node.0, "address": member.address, "store": member.store.to_string()});
        json!({
            "version": members.version,
            "voters": nodes(&members.voters),
            "outgoing": nodes(&members.outgoing),
            "learners": nodes(&members.learners),
            "members": members.members.iter().map(place).collect::<Vec<_>>(),
        })
    };
    let members = found.members.as_ref().map(|told| {
        json!({
            "latest": membership(&told.latest),
            "since": told.since.0,
            "previous": told.previous.as_deref().map(membership),
        })
    });
    let named =
        |(index, members): &(LogIndex, Arc<Membership>)| json!({"index": index.0, "members": membership(members)});
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
        "applied_index": found.applied.0,
        "members": members,
        "named_in_log": found.named.iter().map(named).collect::<Vec<_>>(),
        "installed_index": found.installed.map(|installed| installed.index.0),
        "snapshots": found.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "damage": found.damage,
    })
}
