//! The walls of the house: who may import whom. A difference between the engines is a difference of the protocols only
//! as long as these stand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};

/// Every crate of the house and which others of it it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("consensus-api", &[]),
    ("engine-raft", &["consensus-api"]),
    ("engine-multipaxos", &["consensus-api"]),
    ("engine-fixed", &["consensus-api"]),
    // The power only for its tests: see NEVER_BENEATH.
    ("storage-rocks", &["consensus-api", "power-loss"]),
    ("transport-quic", &["consensus-api"]),
    // The machine only for its tests: see NEVER_BENEATH.
    ("replica", &["consensus-api", "kv-machine"]),
    ("kv-machine", &["consensus-api"]),
    ("kv-client", &["consensus-api"]),
    ("link-relay", &[]),
    ("power-loss", &[]),
    ("simulator", &["consensus-api", "engine-raft", "engine-multipaxos", "kv-machine", "replica"]),
    (
        "kv-service",
        &[
            "consensus-api",
            "engine-raft",
            "engine-multipaxos",
            "storage-rocks",
            "transport-quic",
            "replica",
            "kv-machine",
            "kv-client",
            "link-relay",
            // For its tests only, the one to break disks and the other to check histories: see NEVER_BENEATH.
            "power-loss",
            "simulator",
        ],
    ),
];

/// What may not be anywhere beneath a crate.
const NEVER_BENEATH: &[(&str, &[&str])] = &[
    ("consensus-api", &["tokio", "rocksdb", "quinn", "rand"]),
    ("engine-raft", &["tokio", "rocksdb", "quinn", "rand"]),
    ("engine-multipaxos", &["tokio", "rocksdb", "quinn", "rand"]),
    ("engine-fixed", &["tokio", "rocksdb", "quinn", "rand"]),
    ("kv-machine", &["tokio", "rocksdb", "quinn"]),
    ("kv-client", &["rocksdb"]),
    ("link-relay", &["rocksdb", "quinn"]),
    ("replica", &["rocksdb", "quinn", "kv-machine"]),
    ("simulator", &["rocksdb", "quinn"]),
    ("power-loss", &["tokio", "rocksdb", "quinn"]),
    ("storage-rocks", &["power-loss"]),
    ("kv-service", &["power-loss", "simulator"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().expect("cargo metadata answers")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata.workspace_packages().into_iter().find(|package| package.name == name).expect("a crate of the house")
}

#[test]
fn no_crate_imports_what_its_wall_forbids() {
    let metadata = metadata();
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    for (name, allowed) in MAY_IMPORT {
        for dependency in &package(&metadata, name).dependencies {
            if ours.contains(&dependency.name) && dependency.name != *name {
                assert!(allowed.contains(&dependency.name.as_str()), "{name} imports {}", dependency.name);
            }
        }
    }
}

#[test]
fn no_crate_stands_on_a_runtime_disk_or_socket_that_is_none_of_its_business() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    for (name, forbidden) in NEVER_BENEATH {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![&package(&metadata, name).id];
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            assert!(!forbidden.contains(&metadata[id].name.as_str()), "{} is beneath {name}", metadata[id].name);
            for dependency in &nodes[id].deps {
                let linked =
                    dependency.dep_kinds.iter().any(|kind| kind.kind == cargo_metadata::DependencyKind::Normal);
                if linked {
                    waiting.push(&dependency.pkg);
                }
            }
        }
        assert!(seen.len() > 1, "{name} has dependencies, and they were looked at");
    }
}

#[test]
fn every_crate_of_the_house_is_behind_a_wall_or_on_the_top_floor() {
    let top_floor = ["benches", "examples"];
    for package in metadata().workspace_packages() {
        let known = MAY_IMPORT.iter().any(|(name, _)| package.name == *name);
        assert!(known || top_floor.contains(&package.name.as_str()), "{} has no wall", package.name);
    }
}

/// The source of a crate without its tests.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut waiting = vec![root().join(name).join("src")];
    while let Some(directory) = waiting.pop() {
        for item in std::fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                files.push((path, code));
            }
        }
    }
    assert!(!files.is_empty(), "{name} has no source");
    files
}

#[test]
fn the_shared_rooms_know_no_protocol() {
    for name in ["replica", "storage-rocks", "transport-quic"] {
        for (path, code) in sources(name) {
            let code = code.to_lowercase();
            for word in ["raft", "paxos"] {
                assert!(!code.contains(word), "{} says {word}", path.display());
            }
        }
    }
}

#[test]
fn the_engines_have_no_clock_disk_socket_or_chance_of_their_own() {
    let forbidden =
        ["std::time::Instant", "SystemTime", "std::fs", "std::net", "std::thread", "HashMap", "HashSet", "tokio::"];
    for name in ["engine-raft", "engine-multipaxos", "examples/engine-fixed"] {
        for (path, code) in sources(name) {
            for word in forbidden {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn an_engine_is_named_where_engines_are_chosen_and_nowhere_else_in_the_service() {
    for (path, code) in sources("kv-service") {
        if path.ends_with("engines.rs") {
            continue;
        }
        for word in ["engine_raft", "engine_multipaxos", "engine_fixed"] {
            assert!(!code.contains(word), "{} imports {word}", path.display());
        }
    }
}
