//! A node's configuration, checked: whatever gets past here can be run with.
//!
//! The rules that no single setting shows: nobody has id zero; ids and addresses are unique; without `--tls-dir` a node
//! stays on loopback, because anyone on this machine's account can sign a development certificate; the two listeners
//! do not share a port; whoever joins a cluster founds none.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus_api::{EngineName, LeaseTiming, NodeId, ReadMode, Timing};
use kv_client::HttpClient;
use kv_machine::KvLimits;
use replica::SnapshotSettings;
use replica::transfer::TransferSettings;
use transport_quic::REPLICATION_STREAMS_MAX;

use crate::engines;
use crate::error::ServiceError;
use crate::settings::Settings;
use crate::telemetry::{LogFormat, Telemetry};

/// Node `n` listens here plus `n`, unless it is told otherwise.
pub const LISTEN_PORT_BASE: u16 = 7000;
/// Node `n` serves HTTP here plus `n`, unless it is told otherwise.
pub const HTTP_PORT_BASE: u16 = 8000;
/// Ids up to here have default ports.
const DEFAULT_PORT_IDS: u64 = 999;

/// Everything that a node needs to know before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The consensus engine.
    pub engine: EngineName,
    /// This node.
    pub node: NodeId,
    /// Where peers reach it.
    pub listen: SocketAddr,
    /// Where clients reach it.
    pub http: SocketAddr,
    /// Where its data are.
    pub data_dir: PathBuf,
    /// The other founders, `host:port` each.
    pub peers: BTreeMap<NodeId, String>,
    /// How this node comes into a cluster that is there already; `None` for a founder.
    pub join: Option<Join>,
    /// Certificates; development ones without it.
    pub tls_dir: Option<PathBuf>,
    /// How reads are made linearizable.
    pub reads: ReadMode,
    /// Whether a write waits for the disk.
    pub sync: bool,
    /// How much longer each write to the log takes than the disk does: for experiments, otherwise zero.
    pub log_delay: Duration,
    /// Over how many streams replication to each peer is spread.
    pub replication_streams: usize,
    /// What is logged.
    pub telemetry: Telemetry,
    /// The failure detector.
    pub timing: Timing,
    /// How long a client's request may wait.
    pub request_timeout: Duration,
    /// Bounds on keys, values and transactions.
    pub limits: KvLimits,
    /// When snapshots are taken, how much log stays behind them, how fast they are sent.
    pub snapshots: SnapshotSettings,
    /// Decides the random part of timeouts; drawn at each start without it.
    pub seed: Option<u64>,
    /// Stop as soon as standard input ends: whoever started this node holds the other end.
    pub exit_with_parent: bool,
}

/// How a node joins a running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Where its members serve HTTP, `host:port` each; at least one, and none of them this node's own.
    pub endpoints: Vec<String>,
    /// It stays without a vote.
    pub learner: bool,
}

impl NodeConfig {
    /// The configuration from what flags and environment say, and beneath that the file.
    pub fn load(given: Settings, file: Option<&Path>) -> Result<NodeConfig, ServiceError> {
        let lower = file.map(Settings::from_file).transpose()?.unwrap_or_default();
        NodeConfig::check(given.or(lower))
    }

    /// Fills in the defaults and checks every rule.
    pub fn check(settings: Settings) -> Result<NodeConfig, ServiceError> {
        let engine = match settings.engine.as_deref() {
            Some(name) => engines::parse(name)?,
            None => return Err(ServiceError::EngineMissing { known: engines::NAMES.join(", ") }),
        };
        let snapshots = snapshots(&settings)?;
        let reads = read_mode(settings.reads.as_deref().unwrap_or("index"), engine)?;
        let timing = timing(settings.election_timeout_ms, settings.heartbeat_interval_ms)?;
        let node = NodeId(in_range("id", settings.id.unwrap_or(1), 1, u64::MAX)?);
        let listen = address("listen", settings.listen, LISTEN_PORT_BASE, node)?;
        let http = address("http", settings.http, HTTP_PORT_BASE, node)?;
        check_listeners(listen, http, settings.tls_dir.is_some())?;
        let named = settings.peers.unwrap_or_default();
        Ok(NodeConfig {
            engine,
            node,
            listen,
            http,
            data_dir: settings.data_dir.unwrap_or_else(|| PathBuf::from("./quorate-data")),
            join: join(settings.join.as_deref(), settings.learner, &named, http)?,
            peers: peers(&named, node, listen)?,
            tls_dir: settings.tls_dir,
            reads,
            sync: !settings.no_sync.unwrap_or(false),
            log_delay: log_delay(settings.log_delay_ms)?,
            replication_streams: replication_streams(settings.replication_streams)?,
            telemetry: telemetry(settings.log_level, settings.log_format.as_deref())?,
            timing: Timing { lease: lease(reads, settings.clock_drift_ppm)?, ..timing },
            request_timeout: millis("request-timeout-ms", settings.request_timeout_ms.unwrap_or(5000))?,
            limits: limits(settings.key_bytes_max, settings.value_bytes_max)?,
            snapshots,
            seed: settings.seed,
            exit_with_parent: false,
        })
    }
}

fn in_range(setting: &'static str, found: u64, least: u64, most: u64) -> Result<u64, ServiceError> {
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    let range = if most == u64::MAX { format!("at least {least}") } else { format!("between {least} and {most}") };
    Err(ServiceError::OutOfRange { setting, found, range })
}

fn millis(setting: &'static str, found: u64) -> Result<Duration, ServiceError> {
    const HOUR_MS: u64 = 3_600_000;
    in_range(setting, found, 1, HOUR_MS).map(Duration::from_millis)
}

fn log_delay(log_delay_ms: Option<u64>) -> Result<Duration, ServiceError> {
    // Longer than that no cluster keeps a leader, whatever the timeouts.
    const DELAY_MS_MAX: u64 = 10_000;
    in_range("log-delay-ms", log_delay_ms.unwrap_or(0), 0, DELAY_MS_MAX).map(Duration::from_millis)
}

fn replication_streams(replication_streams: Option<u64>) -> Result<usize, ServiceError> {
    let found = replication_streams.unwrap_or(1);
    // The cast is exact: it is at most REPLICATION_STREAMS_MAX.
    in_range("replication-streams", found, 1, REPLICATION_STREAMS_MAX as u64).map(|streams| streams as usize)
}

fn timing(election_timeout_ms: Option<u64>, heartbeat_interval_ms: Option<u64>) -> Result<Timing, ServiceError> {
    let defaults = Timing::default();
    let election_timeout = match election_timeout_ms {
        Some(found) => millis("election-timeout-ms", found)?,
        None => defaults.election_timeout,
    };
    let heartbeat_interval = match heartbeat_interval_ms {
        Some(found) => millis("heartbeat-interval-ms", found)?,
        None => defaults.heartbeat_interval,
    };
    // One lost heartbeat must not look like a dead leader.
    if heartbeat_interval * 2 > election_timeout {
        return Err(ServiceError::OutOfRange {
            setting: "heartbeat-interval-ms",
            found: u64::try_from(heartbeat_interval.as_millis()).unwrap_or(u64::MAX),
            range: format!("at most half of --election-timeout-ms, which is {}", election_timeout.as_millis()),
        });
    }
    Ok(Timing { election_timeout, heartbeat_interval, ..defaults })
}

fn limits(key_bytes_max: Option<u64>, value_bytes_max: Option<u64>) -> Result<KvLimits, ServiceError> {
    // A node can only tighten what the machine itself applies.
    let applied = KvLimits::APPLIED;
    let tightened = |setting, found: Option<u64>, most: usize| match found {
        Some(found) => in_range(setting, found, 1, most as u64).map(|found| found as usize),
        None => Ok(most),
    };
    Ok(KvLimits {
        key_bytes_max: tightened("key-bytes-max", key_bytes_max, applied.key_bytes_max)?,
        value_bytes_max: tightened("value-bytes-max", value_bytes_max, applied.value_bytes_max)?,
        ..applied
    })
}

fn snapshots(settings: &Settings) -> Result<SnapshotSettings, ServiceError> {
    const BYTES_PER_SECOND_MIN: u64 = 1 << 20;
    let defaults = SnapshotSettings::default();
    let or_never = |found: Option<u64>, default| match found {
        Some(0) => u64::MAX,
        found => found.unwrap_or(default),
    };
    let rate = settings.snapshot_bytes_per_second.unwrap_or(defaults.transfer.bytes_per_second);
    let rate = in_range("snapshot-bytes-per-second", rate, BYTES_PER_SECOND_MIN, u64::MAX)?;
    Ok(SnapshotSettings {
        entries: or_never(settings.snapshot_entries, defaults.entries),
        bytes: or_never(settings.snapshot_bytes, defaults.bytes),
        tail_entries: settings.log_tail_entries.unwrap_or(defaults.tail_entries),
        transfer: TransferSettings { bytes_per_second: rate, ..defaults.transfer },
    })
}

fn read_mode(word: &str, engine: EngineName) -> Result<ReadMode, ServiceError> {
    let mode = match word {
        "index" => ReadMode::Index,
        "lease" => ReadMode::Lease,
        "log" => ReadMode::Log,
        "quorum" => ReadMode::Quorum,
        _ => {
            let expected = "index, lease, log or quorum";
            return Err(ServiceError::BadWord { setting: "reads", found: word.to_owned(), expected });
        }
    };
    if engines::reads(engine).contains(&mode) {
        Ok(mode)
    } else {
        let what = format!("--reads {word} with --engine {engine}");
        Err(ServiceError::Unsupported { what, instead: "--reads index" })
    }
}

/// Leases are held, and honoured, where they are what reads rest on.
fn lease(reads: ReadMode, clock_drift_ppm: Option<u64>) -> Result<Option<LeaseTiming>, ServiceError> {
    // Twice the bound is what a lease loses; half of the election timeout must be left of it.
    const PPM_MAX: u64 = 250_000;
    let found = clock_drift_ppm.unwrap_or(u64::from(LeaseTiming::default().clock_drift_ppm));
    let ppm = in_range("clock-drift-ppm", found, 0, PPM_MAX)?;
    let clock_drift_ppm = u32::try_from(ppm).unwrap_or(u32::MAX);
    Ok((reads == ReadMode::Lease).then_some(LeaseTiming { clock_drift_ppm }))
}

fn telemetry(level: Option<String>, format: Option<&str>) -> Result<Telemetry, ServiceError> {
    let format = match format.unwrap_or("pretty") {
        "pretty" => LogFormat::Pretty,
        "json" => LogFormat::Json,
        word => {
            let expected = "pretty or json";
            return Err(ServiceError::BadWord { setting: "log-format", found: word.to_owned(), expected });
        }
    };
    Telemetry::new(level.as_deref().unwrap_or("info"), format)
}

/// The address that was given, or loopback at the default port of the node.
fn address(
    setting: &'static str,
    given: Option<String>,
    port_base: u16,
    node: NodeId,
) -> Result<SocketAddr, ServiceError> {
    let wrong = |found: &str, reason: String| ServiceError::Address { setting, found: found.to_owned(), reason };
    let Some(given) = given else {
        if node.0 > DEFAULT_PORT_IDS {
            return Err(wrong("", format!("node {node} has no default port, only ids up to {DEFAULT_PORT_IDS} do")));
        }
        // The cast is exact: the id is at most DEFAULT_PORT_IDS.
        return Ok(SocketAddr::from(([127, 0, 0, 1], port_base + node.0 as u16)));
    };
    let mut found = given.to_socket_addrs().map_err(|error| wrong(&given, error.to_string()))?;
    found.next().ok_or_else(|| wrong(&given, "the name has no address".to_owned()))
}

fn check_listeners(listen: SocketAddr, http: SocketAddr, certified: bool) -> Result<(), ServiceError> {
    if listen.ip().is_unspecified() {
        return Err(ServiceError::Address {
            setting: "listen",
            found: listen.to_string(),
            reason: "peers are told this address, so it must name this machine".to_owned(),
        });
    }
    if !certified && !listen.ip().is_loopback() {
        return Err(ServiceError::Exposed { listen });
    }
    if listen == http && listen.port() != 0 {
        return Err(ServiceError::PortClash { address: listen });
    }
    Ok(())
}

/// The founders besides this node.
fn peers(given: &[String], me: NodeId, listen: SocketAddr) -> Result<BTreeMap<NodeId, String>, ServiceError> {
    let mut named: BTreeMap<NodeId, String> = BTreeMap::new();
    for text in given {
        let (node, address) = parse_peer(text)?;
        if let Some((first, _)) = named.iter().find(|(other, known)| **other != node && **known == address) {
            return Err(ServiceError::DuplicateAddress { first: *first, second: node, address });
        }
        if named.insert(node, address).is_some() {
            return Err(ServiceError::DuplicatePeer { node });
        }
    }
    // The same list may be given to every node, itself included.
    match named.remove(&me) {
        Some(named) if !is_at(&named, listen) => return Err(ServiceError::OwnAddress { node: me, named, listen }),
        _ => {}
    }
    match named.iter().find(|(_, address)| is_at(address, listen)) {
        Some((other, address)) => {
            Err(ServiceError::DuplicateAddress { first: me, second: *other, address: address.clone() })
        }
        None => Ok(named),
    }
}

/// Where to ask for a place in a running cluster. The same list may be given to every node, itself included.
fn join(
    given: Option<&[String]>,
    learner: Option<bool>,
    peers: &[String],
    http: SocketAddr,
) -> Result<Option<Join>, ServiceError> {
    let refused = |reason: String| Err(ServiceError::Join { reason });
    let learner = learner.unwrap_or(false);
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return match learner {
            true => refused("--learner is for a node that joins; add --join HOST:PORT, or leave it out".into()),
            false => Ok(None),
        };
    };
    if !peers.is_empty() {
        let reason = "--peer names those who found a cluster, and --join asks for a place in one that runs; leave out one \
                      of the two";
        return refused(reason.into());
    }
    if let Err(error) = HttpClient::new(given) {
        return refused(error.to_string());
    }
    let bare = |endpoint: &String| endpoint.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let endpoints: Vec<String> = given.iter().map(bare).filter(|endpoint| !is_at(endpoint, http)).collect();
    if endpoints.is_empty() {
        return refused(format!("{http} is where this node itself serves HTTP; name another member"));
    }
    Ok(Some(Join { endpoints, learner }))
}

/// Whether `named`, by number or by a name that is known now, is `address`.
fn is_at(named: &str, address: SocketAddr) -> bool {
    named == address.to_string() || named.to_socket_addrs().is_ok_and(|mut found| found.any(|found| found == address))
}

/// Reads `ID=HOST:PORT`.
fn parse_peer(text: &str) -> Result<(NodeId, String), ServiceError> {
    let wrong = |reason| ServiceError::MalformedPeer { found: text.to_owned(), reason };
    let (id, address) = text.split_once('=').ok_or_else(|| wrong("there is no '='"))?;
    let id: u64 = id.trim().parse().map_err(|_| wrong("what precedes the '=' is no number"))?;
    if id == 0 {
        return Err(wrong("ids begin at 1"));
    }
    let address = address.trim();
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("the address has no port"))?;
    if host.is_empty() {
        return Err(wrong("the address has no host"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((NodeId(id), address.to_owned())),
        _ => Err(wrong("the port is no number between 1 and 65535")),
    }
}

#[cfg(test)]
mod tests;
