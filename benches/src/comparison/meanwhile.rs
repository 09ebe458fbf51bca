//! Points of changes: the same load before something is done to the cluster, and while it is done.
//!
//! ```text
//!   load, measured              load, measured
//!   ──────────────              ──────────────────────────────
//!   nothing else                transfer   leadership goes round, once a second
//!                               membership a node joins as a learner, is promoted, is removed, again and again
//!                               snapshot   a blank node joins and is sent a snapshot
//!                               catch-up   a node comes back that has missed as long a load
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use kv_client::protocol::MembersReply;
use tokio::sync::watch;

use super::bench::Bench;
use super::load::{Measured, UnderWay, offence, under_load};
use super::plan::{Meanwhile, Plan};
use super::results::{Found, Setting};
use crate::load::Puts;
use crate::processes::Processes;
use crate::replicas::Failure;

/// How many puts of the preload are in flight.
const PRELOAD_IN_FLIGHT: u64 = 512;
/// From one transfer to the next.
const BETWEEN_TRANSFERS: Duration = Duration::from_secs(1);
/// How long the second load runs before it is measured. Then the change begins.
const WARMUP_S: u32 = 1;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The leader hands over.
    Transfer,
    /// A node comes and goes.
    Membership,
    /// A blank node is sent a snapshot.
    Snapshot,
    /// A node comes back.
    CatchUp,
}

impl Change {
    /// All there are.
    pub const ALL: [Change; 4] = [Change::Transfer, Change::Membership, Change::Snapshot, Change::CatchUp];

    /// The name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Change::Transfer => "transfer",
            Change::Membership => "membership",
            Change::Snapshot => "snapshot",
            Change::CatchUp => "catch-up",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Change> {
        Change::ALL.into_iter().find(|change| change.name() == name)
    }

    /// Whether nodes join that were not there before.
    pub fn brings_nodes(self) -> bool {
        matches!(self, Change::Membership | Change::Snapshot)
    }
}

/// Measures a load before and while.
pub async fn measure(
    plan: &Plan,
    meanwhile: &Meanwhile,
    change: Change,
    setting: &Setting,
    cluster: &mut Processes,
    directory: &Path,
) -> Result<Measured, Failure> {
    let bench = Bench {
        mix: "puts".to_owned(),
        rate_per_s: setting.rate_per_s,
        value_bytes: setting.value_bytes,
        warmup_s: WARMUP_S,
        seconds: meanwhile.seconds,
        seed: plan.seed,
        watched_keys: plan.watched_keys,
    };
    preload(cluster, meanwhile.preload_thousands * 1000, setting.value_bytes).await?;
    if change == Change::Snapshot {
        cluster.snapshot().await?;
    }
    let before = under_load(&bench, cluster, directory).await?;
    let away = if change == Change::CatchUp { Some(send_away(cluster, &bench, directory).await?) } else { None };

    let (ended, mut end) = watch::channel(false);
    let load = UnderWay::begin(&bench, cluster, directory)?;
    let (during, lasted) = tokio::join!(
        async {
            let loaded = load.finish().await;
            ended.send_replace(true);
            loaded
        },
        async {
            tokio::time::sleep(Duration::from_secs(u64::from(WARMUP_S))).await;
            perform(change, cluster, setting.nodes + 1, away, &mut end).await
        }
    );
    let (during, lasted_ms) = (during?, lasted?.as_secs_f64() * 1000.0);
    let mut invalid: Vec<String> = offence(&before.history).into_iter().chain(offence(&during.history)).collect();
    if !before.load.errors.is_empty() {
        invalid.push("errors before anything was done".to_owned());
    }
    let is_offence = offence(&before.history).is_some();
    Ok(Measured {
        found: Found::Meanwhile { before: before.load, meanwhile: during.load, lasted_ms },
        history: if is_offence { before.history } else { during.history },
        busy: during.busy,
        invalid,
        has_counters: before.has_counters && during.has_counters,
    })
}

/// Stops a follower, and puts the load on the others.
async fn send_away(cluster: &mut Processes, bench: &Bench, directory: &Path) -> Result<u64, Failure> {
    let leader = cluster.settled().await?;
    let id = cluster.running().filter(|id| *id != leader).last().ok_or("there is no follower")?;
    cluster.kill(id)?;
    under_load(bench, cluster, directory).await?;
    Ok(id)
}

async fn preload(cluster: &Processes, keys: u64, value_bytes: u64) -> Result<(), Failure> {
    if keys == 0 {
        return Ok(());
    }
    let puts = Puts { keys, value_bytes: value_bytes as usize, in_flight: PRELOAD_IN_FLIGHT };
    puts.fill(&cluster.clerk(PRELOAD_IN_FLIGHT as usize).await?, keys).await?;
    cluster.settled().await?;
    Ok(())
}

/// Does it, and returns how long it took; what is done again and again until the load ends: how long each time, on average.
async fn perform(
    change: Change,
    cluster: &mut Processes,
    spare: u64,
    away: Option<u64>,
    end: &mut watch::Receiver<bool>,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    match change {
        Change::Transfer => {
            let mut took = Vec::new();
            while !*end.borrow() {
                let leader = cluster.leader().await?;
                let next = cluster.running().find(|id| *id > leader).or_else(|| cluster.running().next());
                let since = Instant::now();
                cluster.transfer(leader, next.ok_or("nobody runs")?).await?;
                took.push(since.elapsed());
                // Either the load is over, or it is time for the next.
                let _ = tokio::time::timeout(BETWEEN_TRANSFERS, end.wait_for(|over| *over)).await;
            }
            Ok(mean(&took))
        }
        Change::Membership => {
            let mut took = Vec::new();
            for id in spare.. {
                let since = Instant::now();
                come_and_go(cluster, id).await?;
                took.push(since.elapsed());
                if *end.borrow() {
                    break;
                }
            }
            Ok(mean(&took))
        }
        Change::Snapshot => {
            let leader = cluster.leader().await?;
            cluster.join(spare, false).await?;
            cluster.until_members(leader, |members| !members.changing && votes(members, spare)).await?;
            Ok(began.elapsed())
        }
        Change::CatchUp => {
            let leader = cluster.leader().await?;
            let goal = cluster.status(leader).await.map_or(u64::MAX, |status| status.commit_index);
            let id = away.ok_or("nobody is away")?;
            cluster.start(id)?;
            cluster.until_applied(id, goal).await?;
            Ok(began.elapsed())
        }
    }
}

async fn come_and_go(cluster: &mut Processes, id: u64) -> Result<(), Failure> {
    let leader = cluster.leader().await?;
    let is_member = |members: &MembersReply| members.members.iter().any(|member| member.id == id);
    cluster.join(id, true).await?;
    cluster.until_members(leader, |members| is_member(members) && !members.changing).await?;
    cluster.promote(id, leader).await?;
    cluster.until_members(leader, |members| !members.changing && votes(members, id)).await?;
    cluster.remove(id, leader).await?;
    cluster.until_members(leader, |members| !members.changing && !is_member(members)).await?;
    cluster.discard(id)
}

fn votes(members: &MembersReply, id: u64) -> bool {
    members.members.iter().any(|member| member.id == id && member.voter)
}

fn mean(took: &[Duration]) -> Duration {
    took.iter().sum::<Duration>() / (took.len().max(1) as u32)
}
