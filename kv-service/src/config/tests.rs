//! Every wrong configuration is refused with an error of its own, and what is right means what it says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

fn raft() -> Settings {
    Settings { engine: Some("raft".into()), ..Settings::default() }
}

fn with_peers(peers: &[&str]) -> Settings {
    Settings { peers: Some(peers.iter().map(|peer| (*peer).to_owned()).collect()), ..raft() }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn refusal(settings: Settings) -> ServiceError {
    let error = NodeConfig::check(settings).expect_err("this must be refused");
    assert_eq!(error.exit_status(), 2, "{error}");
    assert!(!error.to_string().contains('\n'), "more than one line: {error}");
    error
}

#[test]
fn an_engine_alone_makes_a_node_on_loopback() {
    let config = NodeConfig::check(raft()).unwrap();
    assert_eq!(config.node, NodeId(1));
    assert_eq!(config.listen, "127.0.0.1:7001".parse().unwrap());
    assert_eq!(config.http, "127.0.0.1:8001".parse().unwrap());
    assert_eq!(config.data_dir, PathBuf::from("./quorate-data"));
    assert!(config.peers.is_empty() && config.sync && config.tls_dir.is_none());
    assert_eq!(config.timing, Timing::default());
    assert_eq!(config.request_timeout, Duration::from_millis(5000));
    assert_eq!(config.limits, KvLimits::default());
}

#[test]
fn default_ports_follow_the_id() {
    let config = NodeConfig::check(Settings { id: Some(3), ..raft() }).unwrap();
    assert_eq!((config.listen.port(), config.http.port()), (7003, 8003));
    assert!(matches!(refusal(Settings { id: Some(5000), ..raft() }), ServiceError::Address { .. }));
}

#[test]
fn what_is_given_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file("engine = \"paxos\"\nid = 2\nno_sync = true\npeers = [\"1=127.0.0.1:7001\"]\n");
    let given = Settings { id: Some(3), ..Settings::default() };
    let config = NodeConfig::load(given, Some(file.path())).unwrap();
    assert_eq!(config.engine, engines::parse("paxos").unwrap());
    assert_eq!(config.node, NodeId(3));
    assert!(!config.sync);
    assert_eq!(config.peers, BTreeMap::from([(NodeId(1), "127.0.0.1:7001".to_owned())]));
    assert_eq!(config.http.port(), 8003);
}

#[test]
fn an_unknown_engine_is_refused_with_the_names_of_those_that_exist() {
    let error = refusal(Settings { engine: Some("zab".into()), ..Settings::default() });
    assert!(matches!(error, ServiceError::UnknownEngine { .. }));
    assert!(error.to_string().contains("raft") && error.to_string().contains("paxos"), "{error}");
}

#[test]
fn no_engine_is_refused_with_the_names_of_those_that_exist() {
    let error = refusal(Settings::default());
    assert!(matches!(error, ServiceError::EngineMissing { .. }));
    assert!(error.to_string().contains("raft") && error.to_string().contains("paxos"), "{error}");
}

#[test]
fn a_malformed_peer_is_refused_whatever_is_wrong_with_it() {
    for peer in ["", "2", "2:127.0.0.1:7002", "two=127.0.0.1:7002", "2=127.0.0.1", "2=:7002", "2=h:0", "2=h:70000"] {
        assert!(matches!(refusal(with_peers(&[peer])), ServiceError::MalformedPeer { .. }), "{peer}");
    }
}

#[test]
fn nobody_has_id_zero() {
    assert!(matches!(refusal(Settings { id: Some(0), ..raft() }), ServiceError::OutOfRange { setting: "id", .. }));
    assert!(matches!(refusal(with_peers(&["0=127.0.0.1:7002"])), ServiceError::MalformedPeer { .. }));
}

#[test]
fn an_id_is_given_to_one_peer_only() {
    let error = refusal(with_peers(&["2=127.0.0.1:7002", "2=127.0.0.1:7003"]));
    assert!(matches!(error, ServiceError::DuplicatePeer { node: NodeId(2) }));
}

#[test]
fn an_address_is_given_to_one_node_only() {
    let error = refusal(with_peers(&["2=127.0.0.1:7002", "3=127.0.0.1:7002"]));
    assert!(matches!(error, ServiceError::DuplicateAddress { first: NodeId(2), second: NodeId(3), .. }));
    let error = refusal(with_peers(&["2=127.0.0.1:7001"]));
    assert!(matches!(error, ServiceError::DuplicateAddress { first: NodeId(1), second: NodeId(2), .. }));
}

#[test]
fn a_node_may_be_among_its_own_peers_under_its_own_address_only() {
    let config = NodeConfig::check(with_peers(&["1=127.0.0.1:7001", "2=127.0.0.1:7002"])).unwrap();
    assert_eq!(config.peers.keys().copied().collect::<Vec<_>>(), [NodeId(2)]);
    let error = refusal(with_peers(&["1=127.0.0.1:7009"]));
    assert!(matches!(error, ServiceError::OwnAddress { node: NodeId(1), .. }));
}

fn joining(endpoints: &[&str]) -> Settings {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
    Settings { id: Some(4), join: Some(endpoints), ..raft() }
}

#[test]
fn a_node_joins_where_it_is_told_and_stays_a_learner_if_it_is_told() {
    let config = NodeConfig::check(joining(&["127.0.0.1:8001", "http://127.0.0.1:8002/"])).unwrap();
    let endpoints = vec!["127.0.0.1:8001".to_owned(), "127.0.0.1:8002".to_owned()];
    assert_eq!(config.join, Some(Join { endpoints: endpoints.clone(), learner: false }));
    assert!(config.peers.is_empty());
    let config = NodeConfig::check(Settings { learner: Some(true), ..joining(&["127.0.0.1:8001"]) }).unwrap();
    assert!(config.join.unwrap().learner);
    assert_eq!(NodeConfig::check(raft()).unwrap().join, None);
    let file = file("engine = \"raft\"\nid = 4\njoin = [\"127.0.0.1:8001\", \"127.0.0.1:8002\"]\nlearner = true\n");
    let config = NodeConfig::load(Settings::default(), Some(file.path())).unwrap();
    assert_eq!(config.join, Some(Join { endpoints, learner: true }));
}

#[test]
fn the_same_list_of_endpoints_may_be_given_to_every_node() {
    let config = NodeConfig::check(joining(&["127.0.0.1:8001", "127.0.0.1:8004"])).unwrap();
    assert_eq!(config.join.unwrap().endpoints, ["127.0.0.1:8001"], "it does not ask itself");
    let error = refusal(joining(&["127.0.0.1:8004"]));
    assert!(matches!(error, ServiceError::Join { .. }) && error.to_string().contains("another member"), "{error}");
}

#[test]
fn a_wish_to_join_that_makes_no_sense_is_refused_with_what_to_do() {
    let founder = Settings { peers: Some(vec!["2=127.0.0.1:7002".into()]), ..joining(&["127.0.0.1:8001"]) };
    for (settings, hint) in [
        (founder, "leave out one"),
        (Settings { learner: Some(true), ..raft() }, "--join"),
        (joining(&["127.0.0.1"]), "host:port"),
        (joining(&[""]), "host:port"),
        (joining(&["https://127.0.0.1:8001"]), "host:port"),
    ] {
        let error = refusal(settings);
        assert!(matches!(error, ServiceError::Join { .. }) && error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn without_certificates_a_node_stays_on_loopback() {
    let exposed = Settings { listen: Some("10.1.2.3:7001".into()), ..raft() };
    assert!(matches!(refusal(exposed.clone()), ServiceError::Exposed { .. }));
    let certified = Settings { tls_dir: Some("tls".into()), ..exposed };
    assert!(NodeConfig::check(certified).is_ok());
}

#[test]
fn an_address_that_peers_cannot_use_is_refused() {
    for listen in ["0.0.0.0:7001", "127.0.0.1", "127.0.0.1:seven", "", "127.0.0.1:70000"] {
        let error = refusal(Settings { listen: Some(listen.into()), ..raft() });
        assert!(matches!(error, ServiceError::Address { setting: "listen", .. }), "{listen}: {error}");
    }
}

#[test]
fn the_two_listeners_do_not_share_a_port() {
    let clash = Settings { listen: Some("127.0.0.1:9000".into()), http: Some("127.0.0.1:9000".into()), ..raft() };
    assert!(matches!(refusal(clash), ServiceError::PortClash { .. }));
}

#[test]
fn reads_are_made_linearizable_by_the_means_that_the_engine_has() {
    let with = |reads: &str| Settings { reads: Some(reads.into()), ..raft() };
    for (word, mode) in [("index", ReadMode::Index), ("lease", ReadMode::Lease), ("log", ReadMode::Log)] {
        let config = NodeConfig::check(with(word)).unwrap();
        assert_eq!((config.reads, config.timing.lease.is_some()), (mode, mode == ReadMode::Lease));
    }
    let error = refusal(with("quorum"));
    assert!(matches!(error, ServiceError::Unsupported { .. }) && error.to_string().contains("index"), "{error}");
    let paxos = Settings { engine: Some("paxos".into()), ..with("quorum") };
    assert_eq!(NodeConfig::check(paxos).unwrap().reads, ReadMode::Quorum);
    assert!(matches!(refusal(with("dirty")), ServiceError::BadWord { .. }));
    let drifting = Settings { clock_drift_ppm: Some(250_001), ..with("lease") };
    assert!(matches!(refusal(drifting), ServiceError::OutOfRange { setting: "clock-drift-ppm", .. }));
}

#[test]
fn a_misspelt_log_level_or_format_is_refused() {
    for level in ["inof", "replica=verbose", ""] {
        let error = refusal(Settings { log_level: Some(level.into()), ..raft() });
        assert!(matches!(error, ServiceError::BadWord { setting: "log-level", .. }), "{level}");
    }
    let error = refusal(Settings { log_format: Some("xml".into()), ..raft() });
    assert!(matches!(error, ServiceError::BadWord { setting: "log-format", .. }));
    assert!(NodeConfig::check(Settings { log_level: Some("warn,replica=debug".into()), ..raft() }).is_ok());
}

#[test]
fn a_disk_is_as_fast_as_it_is_unless_an_experiment_slows_it_down_within_bounds() {
    assert_eq!(NodeConfig::check(raft()).unwrap().log_delay, Duration::ZERO);
    let slow = NodeConfig::check(Settings { log_delay_ms: Some(20), ..raft() }).unwrap();
    assert_eq!(slow.log_delay, Duration::from_millis(20));
    let stuck = Settings { log_delay_ms: Some(10_001), ..raft() };
    assert!(matches!(refusal(stuck), ServiceError::OutOfRange { setting: "log-delay-ms", .. }));
}

#[test]
fn replication_takes_one_stream_unless_up_to_sixteen_are_wanted() {
    assert_eq!(NodeConfig::check(raft()).unwrap().replication_streams, 1);
    let with = |streams| Settings { replication_streams: Some(streams), ..raft() };
    assert_eq!(NodeConfig::check(with(16)).unwrap().replication_streams, 16);
    for streams in [0, 17] {
        assert!(matches!(refusal(with(streams)), ServiceError::OutOfRange { setting: "replication-streams", .. }));
    }
}

#[test]
fn timeouts_that_cannot_work_are_refused() {
    let cases = [
        Settings { election_timeout_ms: Some(0), ..raft() },
        Settings { heartbeat_interval_ms: Some(0), ..raft() },
        Settings { heartbeat_interval_ms: Some(300), ..raft() },
        Settings { request_timeout_ms: Some(0), ..raft() },
        Settings { key_bytes_max: Some(0), ..raft() },
        Settings { value_bytes_max: Some(u64::MAX), ..raft() },
    ];
    for settings in cases {
        assert!(matches!(refusal(settings), ServiceError::OutOfRange { .. }));
    }
}

#[test]
fn a_damaged_file_is_refused_with_its_line() {
    let file = file("engine = \"raft\"\nid = \"one\"\n");
    let error = NodeConfig::load(Settings::default(), Some(file.path())).unwrap_err();
    assert!(matches!(error, ServiceError::ConfigInvalid { line: 2, .. }), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_its_line() {
    let file = file("engine = \"raft\"\n\nelection_timeout = 500\n");
    let error = NodeConfig::load(Settings::default(), Some(file.path())).unwrap_err();
    assert!(matches!(error, ServiceError::ConfigInvalid { line: 3, .. }), "{error}");
    assert!(error.to_string().contains("election_timeout"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let error = NodeConfig::load(raft(), Some(Path::new("/nonexistent/quorate.toml"))).unwrap_err();
    assert!(matches!(error, ServiceError::ConfigUnreadable { .. }));
}
