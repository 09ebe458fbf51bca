//! What can be said about a node, in whichever place it is said.
//!
//! ```text
//!   flags  >  QUORATE_* environment  >  --config FILE.toml  >  defaults
//!   ╰──────── clap ────────╯            ╰─ serde ─╯            ╰─ config.rs ─╯
//! ```
//!
//! One struct serves as the flags, the variables and the file, so that the three can never drift apart. Everything is
//! optional here; [`crate::config`] fills in the defaults and checks what came out.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Deserialize;

use crate::error::ServiceError;

/// The settings of a node as they were given, none of them checked.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Node")]
pub struct Settings {
    /// The consensus engine: raft or paxos
    #[arg(long, env = "QUORATE_ENGINE", value_name = "ENGINE")]
    pub engine: Option<String>,
    /// The id of this node, unique in its cluster [default: 1]
    #[arg(long, env = "QUORATE_ID", value_name = "ID")]
    pub id: Option<u64>,
    /// Where peers reach this node (QUIC) [default: 127.0.0.1, port 7000 + id]
    #[arg(long, env = "QUORATE_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where clients reach this node (HTTP) [default: 127.0.0.1, port 8000 + id]
    #[arg(long, env = "QUORATE_HTTP", value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Where this node keeps its data [default: ./quorate-data]
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Another founder of the cluster, and where this node dials it; once for each. Without any, a cluster of one
    #[arg(long = "peer", env = "QUORATE_PEERS", value_name = "ID=HOST:PORT", value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Join a running cluster: where its nodes serve HTTP, one or more of them. For a blank data directory
    #[arg(long, env = "QUORATE_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Option<Vec<String>>,
    /// With --join: stay a learner, which receives the log and has no vote
    #[arg(
        long,
        env = "QUORATE_LEARNER",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub learner: Option<bool>,
    /// ca.pem, node.pem and node.key [default: development certificates, on loopback only]
    #[arg(long, env = "QUORATE_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// How linearizable reads are made so: index (a round to a quorum), lease (at once, while clocks drift within a bound),
    /// log (an entry each), quorum (without the leader, paxos only) [default: index]
    #[arg(long, env = "QUORATE_READS", value_name = "HOW")]
    pub reads: Option<String>,
    /// With --reads lease: the most that a node's clock gains or loses on true time, in parts per million [default: 10000]
    #[arg(long, env = "QUORATE_CLOCK_DRIFT_PPM", value_name = "PPM")]
    pub clock_drift_ppm: Option<u64>,
    /// Do not wait for the disk. Fast, and a power loss loses what was acknowledged
    #[arg(
        long,
        env = "QUORATE_NO_SYNC",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub no_sync: Option<bool>,
    /// For experiments with a slow disk: each write to the log takes so much longer, in milliseconds [default: 0]
    #[arg(long, env = "QUORATE_LOG_DELAY_MS", value_name = "MS")]
    pub log_delay_ms: Option<u64>,
    /// Over how many streams replication to each peer is spread, 1 to 16: with more than one, messages overtake each other
    /// where a packet is lost, which Multi-Paxos can use [default: 1]
    #[arg(long, env = "QUORATE_REPLICATION_STREAMS", value_name = "STREAMS")]
    pub replication_streams: Option<u64>,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,replica=debug [default: info]
    #[arg(long, env = "QUORATE_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How it is logged: pretty or json [default: pretty]
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// The least time without a leader's word before a campaign, in milliseconds [default: 500]
    #[arg(long, env = "QUORATE_ELECTION_TIMEOUT_MS", value_name = "MS")]
    pub election_timeout_ms: Option<u64>,
    /// How often a leader reassures its followers, in milliseconds [default: 50]
    #[arg(long, env = "QUORATE_HEARTBEAT_INTERVAL_MS", value_name = "MS")]
    pub heartbeat_interval_ms: Option<u64>,
    /// How long a client's request may wait for its answer, in milliseconds [default: 5000]
    #[arg(long, env = "QUORATE_REQUEST_TIMEOUT_MS", value_name = "MS")]
    pub request_timeout_ms: Option<u64>,
    /// The longest key, in bytes [default: 4096]
    #[arg(long, env = "QUORATE_KEY_BYTES_MAX", value_name = "BYTES")]
    pub key_bytes_max: Option<u64>,
    /// The longest value, in bytes [default: 1048576]
    #[arg(long, env = "QUORATE_VALUE_BYTES_MAX", value_name = "BYTES")]
    pub value_bytes_max: Option<u64>,
    /// A snapshot is taken after so many entries; 0 for never because of their number [default: 100000]
    #[arg(long, env = "QUORATE_SNAPSHOT_ENTRIES", value_name = "ENTRIES")]
    pub snapshot_entries: Option<u64>,
    /// A snapshot is taken after so many bytes of entries; 0 for never because of their size [default: 268435456]
    #[arg(long, env = "QUORATE_SNAPSHOT_BYTES", value_name = "BYTES")]
    pub snapshot_bytes: Option<u64>,
    /// So many entries behind a snapshot stay in the log, for peers that are only a little behind [default: 50000]
    #[arg(long, env = "QUORATE_LOG_TAIL_ENTRIES", value_name = "ENTRIES")]
    pub log_tail_entries: Option<u64>,
    /// Snapshots are sent to peers at this rate at most, all together, in bytes a second [default: 67108864]
    #[arg(long, env = "QUORATE_SNAPSHOT_BYTES_PER_SECOND", value_name = "BYTES")]
    pub snapshot_bytes_per_second: Option<u64>,
    /// Decides the random part of timeouts [default: drawn at each start]
    #[arg(long, env = "QUORATE_SEED", value_name = "NUMBER")]
    pub seed: Option<u64>,
}

impl Settings {
    /// Reads a configuration file.
    pub fn from_file(path: &Path) -> Result<Settings, ServiceError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ServiceError::ConfigUnreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
            let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            ServiceError::ConfigInvalid { path: path.to_owned(), line, reason }
        })
    }

    /// These settings; where they say nothing, what `lower` says.
    pub fn or(self, lower: Settings) -> Settings {
        Settings {
            engine: self.engine.or(lower.engine),
            id: self.id.or(lower.id),
            listen: self.listen.or(lower.listen),
            http: self.http.or(lower.http),
            data_dir: self.data_dir.or(lower.data_dir),
            peers: self.peers.or(lower.peers),
            join: self.join.or(lower.join),
            learner: self.learner.or(lower.learner),
            tls_dir: self.tls_dir.or(lower.tls_dir),
            reads: self.reads.or(lower.reads),
            clock_drift_ppm: self.clock_drift_ppm.or(lower.clock_drift_ppm),
            no_sync: self.no_sync.or(lower.no_sync),
            log_delay_ms: self.log_delay_ms.or(lower.log_delay_ms),
            replication_streams: self.replication_streams.or(lower.replication_streams),
            log_level: self.log_level.or(lower.log_level),
            log_format: self.log_format.or(lower.log_format),
            election_timeout_ms: self.election_timeout_ms.or(lower.election_timeout_ms),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(lower.heartbeat_interval_ms),
            request_timeout_ms: self.request_timeout_ms.or(lower.request_timeout_ms),
            key_bytes_max: self.key_bytes_max.or(lower.key_bytes_max),
            value_bytes_max: self.value_bytes_max.or(lower.value_bytes_max),
            snapshot_entries: self.snapshot_entries.or(lower.snapshot_entries),
            snapshot_bytes: self.snapshot_bytes.or(lower.snapshot_bytes),
            log_tail_entries: self.log_tail_entries.or(lower.log_tail_entries),
            snapshot_bytes_per_second: self.snapshot_bytes_per_second.or(lower.snapshot_bytes_per_second),
            seed: self.seed.or(lower.seed),
        }
    }
}
