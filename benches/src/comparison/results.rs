//! What a comparison has measured: what the runner writes and the report reads.
//!
//! ```text
//!   runner ──▶ points.jsonl, one Point a line ──▶ results.json = Results ──▶ report: page.html, summary.md
//!              (an interrupted run goes on here)                              and a later run, which compares itself
//! ```
//!
//! A [`Point`] is one measured run of one subject in one round. All that is derived from several of them (medians, spreads,
//! ties) is the report's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// The version of this format. A file of another one is refused.
pub const FORMAT: u32 = 1;

/// All of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// What was asked for.
    pub plan: Plan,
    /// Where and with what it was measured.
    pub conditions: Conditions,
    /// What was measured, in the order of time.
    pub points: Vec<Point>,
}

/// What must be known to believe a figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// When it began, as RFC 3339 in UTC.
    pub began: String,
    /// When the last point was measured.
    pub ended: String,
    /// The commit that was built, with `+` where the tree had changes; `unknown` outside a checkout.
    pub commit: String,
    /// The program that was measured, and its version.
    pub program: String,
    /// The SHA-256 of its file, in hexadecimal.
    #[serde(default)]
    pub program_digest: String,
    /// The processor's name.
    pub processor: String,
    /// How many of it.
    pub cores: u64,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// The kernel.
    pub kernel: String,
    /// What the data directories lie on: file system and device.
    pub disk: String,
    /// The median of an fsync of 4 KiB there before the first point, in microseconds.
    pub fsync_us: u64,
    /// How links between nodes were emulated: by the relay, in user space.
    pub emulation: String,
    /// Further facts, each under its name: versions of libraries, limits of sockets.
    pub further: BTreeMap<String, String>,
}

/// One measured run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What distinguishes it from all others.
    pub key: PointKey,
    /// When it began, as RFC 3339 in UTC.
    pub began: String,
    /// How busy the machine was just before, all of its cores 1.0.
    pub busy_before: f64,
    /// How busy it was meanwhile.
    pub busy: f64,
    /// Why this point does not count; empty where it does.
    pub invalid: Vec<String>,
    /// The verdict on the recorded part of the history.
    pub history: History,
    /// What was found.
    pub found: Found,
}

/// How the reason begins why a point does not count whose course broke down.
pub const BROKE_DOWN: &str = "the course broke down";
/// How it begins where the machine was not quiet.
pub const WAS_BUSY: &str = "the machine was busy beforehand";

impl Point {
    /// Whether it says nothing about who was measured, only that it was not possible then.
    pub fn wants_another_try(&self) -> bool {
        self.invalid.iter().any(|why| why.starts_with(BROKE_DOWN) || why.starts_with(WAS_BUSY))
    }

    /// At which share of the machine's processor time a point is called bound by it.
    pub const CPU_BOUND: f64 = 0.8;

    /// Whether the processor was the limit.
    pub fn is_cpu_bound(&self) -> bool {
        self.busy > Point::CPU_BOUND
    }

    /// Whether it counts.
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }
}

/// What distinguishes a point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PointKey {
    /// The experiment of the plan, by its name.
    pub experiment: String,
    /// What was varied in it besides subject and round, in the order of the plan: network, nodes, mix, rate, …
    /// Points that differ only in subject and round are compared with each other.
    pub setting: Setting,
    /// Who was measured, by its name in the plan.
    pub subject: String,
    /// Which round, from 1.
    pub round: u32,
}

/// One combination of what an experiment varies.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// The network between the nodes, by its name in the plan.
    pub network: String,
    /// How many nodes.
    pub nodes: u64,
    /// Whether writes wait for the disk.
    pub sync: bool,
    /// The mix of operations; for events, what happens: `kill`, `transfer`, `chain`, …
    pub what: String,
    /// The size of a value, in bytes.
    pub value_bytes: u64,
    /// Operations offered a second, open loop.
    pub rate_per_s: u64,
    /// How many puts were to be accepted by followers and not chosen when the leader was lost.
    pub open_tail: u64,
}

/// What became of the recorded operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum History {
    /// An order explains them all.
    Linearizable {
        /// How many keys were watched.
        keys: u64,
        /// How many operations on those.
        operations: u64,
    },
    /// None does: the point is invalid.
    NotLinearizable {
        /// The smallest part without an order, in words.
        why: String,
    },
    /// The search had to be given up.
    Undecided {
        /// At which bound.
        why: String,
    },
    /// Nothing was recorded.
    NotRecorded,
}

/// What a point has found.
#[allow(clippy::large_enum_variant, reason = "a comparison has hundreds of them, not millions")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "found")]
pub enum Found {
    /// Load at one rate.
    Load(Load),
    /// Something happened to the cluster under load: each event by itself.
    Events {
        /// The events, in order.
        events: Vec<Event>,
    },
    /// Load before something was done, and in as many seconds from its beginning.
    Meanwhile {
        /// Before.
        before: Load,
        /// In as many seconds from its beginning: longer than it lasted, or shorter.
        meanwhile: Load,
        /// How long it lasted, in milliseconds; what was done again and again, each time on average.
        lasted_ms: f64,
    },
}

/// What a load came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// Operations that were carried out within the measured time.
    pub operations: u64,
    /// Those in a second.
    pub rate_per_s: f64,
    /// Operations that were due within the measured time and had not begun when it ended. No latency counts them.
    #[serde(default)]
    pub not_started: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Latency from the intended start, of all operations that began within the measured time.
    pub all: Latency,
    /// The same by kind of operation.
    pub kinds: BTreeMap<String, Latency>,
    /// What it cost each node, by its id.
    #[serde(deserialize_with = "by_id")]
    pub costs: BTreeMap<u64, Cost>,
    /// Who led, if the same node did before and after.
    pub leader: Option<u64>,
    /// Processor time of the load generator, in seconds.
    pub generator_cpu_s: f64,
    /// Processor time of the relay and the runner, in seconds.
    pub relay_cpu_s: f64,
    /// How late the generator itself was at worst in starting an operation, in microseconds.
    pub generator_lag_us: u64,
}

/// Reads numbers as keys: behind an inner tag, as [`Found`] has one, serde hands them over as text.
fn by_id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<u64, Cost>, D::Error> {
    let named = BTreeMap::<String, Cost>::deserialize(from)?;
    let number = |id: String| id.parse::<u64>().map_err(serde::de::Error::custom);
    named.into_iter().map(|(id, cost)| Ok((number(id)?, cost))).collect()
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Of how many.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The 99.9th percentile.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Points of the distribution: microseconds, and the share that was no slower. At most 200.
    pub cdf: Vec<(u64, f64)>,
}

/// What a node spent, within the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Resident memory at the end, in bytes.
    pub memory_bytes: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Bytes of entries written to the log.
    pub log_bytes: u64,
    /// Messages sent to peers, of all lanes.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes on the wire, with QUIC's own.
    pub wire_bytes: u64,
}

/// Something that happened under load, and how the cluster came through it. Times count from its beginning, in
/// milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When a node first suspected the leader: its campaign began.
    pub detected_ms: Option<f64>,
    /// When another node led.
    pub elected_ms: Option<f64>,
    /// When the first operation was acknowledged that began after the event; `None` where none was in time.
    pub served_ms: Option<f64>,
    /// The longest time without an acknowledged operation, from the event to the end of what was watched.
    pub silence_ms: f64,
    /// How many puts of such a tail the followers had accepted in truth: those that were in the tables afterwards.
    pub open_tail: u64,
    /// Bytes that the nodes sent each other from the event until the first operation was acknowledged.
    pub moved_bytes: u64,
    /// Entries written where one stood already, until the tail was chosen.
    pub rewritten_entries: u64,
    /// Their bytes.
    pub rewritten_bytes: u64,
    /// How many campaigns it took, over all nodes.
    pub campaigns: u64,
    /// Acknowledged operations in slices of [`Event::SLICE_MS`], the first [`Event::BEFORE_MS`] before the event.
    pub timeline: Vec<u32>,
}

impl Event {
    /// How long a slice of the timeline is, in milliseconds.
    pub const SLICE_MS: u64 = 20;
    /// How long before the event the timeline begins, in milliseconds.
    pub const BEFORE_MS: u64 = 400;
    /// How long after it the timeline ends, in milliseconds.
    pub const AFTER_MS: u64 = 3_000;
}
