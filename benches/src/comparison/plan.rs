//! What a comparison is to measure, as it stands in a TOML file whose first line is its question.
//!
//! ```toml
//! # Do the two tie in steady state?
//! rounds = 5
//!
//! [[curve]]
//! name = "puts"
//! networks = ["loopback", "lan"]
//! rates_per_s = [1000, 4000]
//! ```
//!
//! Each experiment is the product of its lists. Within one setting the subjects take turns, round by round, each on a
//! fresh cluster.

use serde::{Deserialize, Serialize};

/// A plan. Everything but the experiments has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The first line of the file, without its `#`.
    #[serde(default)]
    pub question: String,
    /// How often each subject is measured in each setting; the first of them are as good as the last.
    #[serde(default = "five")]
    pub rounds: u32,
    /// Decides what is random: keys, fates of packets.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many keys are watched, every operation on them being checked.
    #[serde(default = "sixteen")]
    pub watched_keys: u64,
    /// Who is compared.
    #[serde(default = "both", rename = "subject")]
    pub subjects: Vec<Subject>,
    /// Networks besides the built-in ones.
    #[serde(default, rename = "network")]
    pub networks: Vec<Network>,
    /// Latency against throughput.
    #[serde(default, rename = "curve")]
    pub curves: Vec<Curve>,
    /// The leader is lost.
    #[serde(default, rename = "failover")]
    pub failovers: Vec<Failover>,
    /// Some links are lost.
    #[serde(default, rename = "partition")]
    pub partitions: Vec<Failover>,
    /// Something is done to a cluster that works.
    #[serde(default, rename = "meanwhile")]
    pub meanwhiles: Vec<Meanwhile>,
}

/// Who is compared: an engine, and how its nodes are started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// How it is called in the report.
    pub name: String,
    /// Its engine, as for `--engine`.
    pub engine: String,
    /// Further flags of each of its nodes.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The subject that this one is in all but name: what the two differ by is noise, and must come out as a tie.
    #[serde(default)]
    pub same_as: Option<String>,
}

/// What lies between the nodes, and beneath them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How it is called.
    pub name: String,
    /// Whether packets go through the relay; without it the rest of this is not possible.
    #[serde(default = "yes")]
    pub relay: bool,
    /// How long a packet and its answer take together, in milliseconds.
    #[serde(default)]
    pub round_trip_ms: f64,
    /// The mean of what is added to each way, in milliseconds.
    #[serde(default)]
    pub jitter_ms: f64,
    /// The share of packets that is lost, as `1%`.
    #[serde(default)]
    pub loss: Option<String>,
    /// Which links are like that, as the relay names them; all where none is named. Node 1 leads.
    #[serde(default)]
    pub links: Vec<String>,
    /// How much longer each write of the log takes, in milliseconds.
    #[serde(default)]
    pub log_delay_ms: u64,
    /// At which node; at all where none is named.
    #[serde(default)]
    pub log_delay_at: Option<u64>,
}

/// Latency against throughput, open loop: one point for each rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// How it is called.
    pub name: String,
    /// Networks, by name.
    #[serde(default = "loopback")]
    pub networks: Vec<String>,
    /// Sizes of the cluster.
    #[serde(default = "three")]
    pub nodes: Vec<u64>,
    /// Whether writes wait for the disk.
    #[serde(default = "synced")]
    pub sync: Vec<bool>,
    /// Mixes: `puts`, `reads`, `mixed`, or a workload of YCSB from `a` to `f`.
    #[serde(default = "puts")]
    pub mixes: Vec<String>,
    /// Sizes of values, in bytes.
    #[serde(default = "quarter_kib")]
    pub value_bytes: Vec<u64>,
    /// Operations offered in a second.
    pub rates_per_s: Vec<u64>,
    /// How long each point is measured, in seconds.
    #[serde(default = "five")]
    pub seconds: u32,
    /// How long each is run before that, in seconds.
    #[serde(default = "one_second")]
    pub warmup_seconds: u32,
    /// Further flags of each node.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// The leader, or links, are lost under load, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// How it is called.
    pub name: String,
    /// What happens. The leader: `kill`, `pause`, `cut`. Links: `chain`, `bridge`, `quorumless-leader`.
    pub what: Vec<String>,
    /// How often to each subject, over all rounds.
    pub times: u32,
    /// Networks, by name; without a relay nothing can be cut.
    #[serde(default = "relayed")]
    pub networks: Vec<String>,
    /// Sizes of the cluster.
    #[serde(default = "three")]
    pub nodes: Vec<u64>,
    /// How many puts followers have accepted at that moment without the leader's knowing, so that they are not chosen.
    #[serde(default = "none")]
    pub open_tails: Vec<u64>,
    /// Puts offered in a second.
    #[serde(default = "two_hundred")]
    pub rate_per_s: u64,
    /// Sizes of values, in bytes.
    #[serde(default = "quarter_kib")]
    pub value_bytes: Vec<u64>,
    /// Further flags of each node.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// Something is done to a cluster under load, and the load is compared with what it was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meanwhile {
    /// How it is called.
    pub name: String,
    /// What: `transfer`, `membership`, `snapshot` (a blank node is sent one), `catch-up` (a node comes back).
    pub what: Vec<String>,
    /// Networks, by name.
    #[serde(default = "loopback")]
    pub networks: Vec<String>,
    /// Sizes of the cluster.
    #[serde(default = "three")]
    pub nodes: Vec<u64>,
    /// Puts offered in a second.
    pub rate_per_s: u64,
    /// Sizes of values, in bytes.
    #[serde(default = "quarter_kib")]
    pub value_bytes: Vec<u64>,
    /// How many keys stand in the tables before, in thousands.
    #[serde(default = "one_hundred")]
    pub preload_thousands: u64,
    /// How long the load is measured before, in seconds.
    #[serde(default = "five")]
    pub seconds: u32,
}

fn one() -> u64 {
    1
}

fn one_second() -> u32 {
    1
}

fn five() -> u32 {
    5
}

fn sixteen() -> u64 {
    16
}

fn one_hundred() -> u64 {
    100
}

fn two_hundred() -> u64 {
    200
}

fn yes() -> bool {
    true
}

fn none() -> Vec<u64> {
    vec![0]
}

fn three() -> Vec<u64> {
    vec![3]
}

fn quarter_kib() -> Vec<u64> {
    vec![256]
}

fn synced() -> Vec<bool> {
    vec![true]
}

fn puts() -> Vec<String> {
    vec!["puts".to_owned()]
}

fn loopback() -> Vec<String> {
    vec!["loopback".to_owned()]
}

fn relayed() -> Vec<String> {
    vec!["relay".to_owned()]
}

fn both() -> Vec<Subject> {
    ["raft", "paxos"].map(Subject::of).into()
}

impl Plan {
    /// Whoever is named and does not stand in the plan is an engine as it is, and takes part from now on.
    pub fn admit(&mut self, names: &[String]) {
        for name in names {
            if !self.subjects.iter().any(|subject| subject.name == *name) {
                self.subjects.push(Subject::of(name));
            }
        }
    }
}

impl Subject {
    /// An engine as it is.
    pub fn of(engine: &str) -> Subject {
        Subject { name: engine.to_owned(), engine: engine.to_owned(), flags: Vec::new(), same_as: None }
    }
}
