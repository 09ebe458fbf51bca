//! The only place where an engine is chosen. A third one is one more crate and one more line, at the end of this file.
//!
//! ```text
//!   --engine raft ──parse──▶ EngineName ──start_node──▶ one of the list at the end of this file
//!                                                  └──▶ or the one that another program has added
//! ```
//!
//! A program of its own, as `examples/src/bin/kv-fixed.rs`, [adds](add) an engine without a change here.

use std::sync::OnceLock;

use consensus_api::{Engine, EngineName, LogStore, ReadMode, SnapshotStore, StateMachine, Transport};
use kv_machine::KvMachine;
use replica::{Parts, Replica, ReplicaConfig, ReplicaError};
use storage_rocks::{RocksLog, RocksSnapshots, RocksTables};
use transport_quic::QuicTransport;

use crate::error::ServiceError;

macro_rules! engines {
    ($($engine:ty),* $(,)?) => {
        /// The engines that are built in, as they are typed.
        pub const NAMES: &[&str] = &[$(<$engine as Engine>::NAME.as_str()),*];

        /// By which means the reads of the engine of this name, which [`parse`] has returned, can be linearizable.
        pub fn reads(name: EngineName) -> &'static [ReadMode] {
            $(if name == <$engine as Engine>::NAME {
                return <$engine as Engine>::READS;
            })*
            added(name).map_or(&[], |added| added.reads)
        }

        /// Starts a replica of any parts with a built-in engine, one of [`NAMES`].
        ///
        /// # Errors
        /// [`ReplicaError`] where the disk holds what the engine cannot go on from.
        pub fn start<L, T, S, N>(
            name: EngineName,
            config: ReplicaConfig,
            parts: Parts<L, T, S, N>,
        ) -> Result<Replica, ReplicaError>
        where
            L: LogStore,
            T: Transport,
            S: StateMachine,
            N: SnapshotStore,
        {
            $(if name == <$engine as Engine>::NAME {
                return replica::start::<$engine, L, T, S, N>(config, parts);
            })*
            unreachable!("{name} is one of {NAMES:?}")
        }
    };
}

/// What a node's replica is made of.
pub type NodeParts = Parts<RocksLog, QuicTransport, KvMachine<RocksTables>, RocksSnapshots>;

/// An engine of another program than `kv-service`.
struct Added {
    name: EngineName,
    reads: &'static [ReadMode],
    start: fn(ReplicaConfig, NodeParts) -> Result<Replica, ReplicaError>,
}

static ADDED: OnceLock<Added> = OnceLock::new();

/// Lets this process run one more engine. Once, before anything else; what was added first stays.
///
/// # Panics
/// Where it has the name of one that is built in.
pub fn add<E: Engine>() {
    assert!(!NAMES.contains(&E::NAME.as_str()), "{} is built in; give the engine a name of its own", E::NAME);
    ADDED.get_or_init(|| Added { name: E::NAME, reads: E::READS, start: replica::start::<E, _, _, _, _> });
}

fn added(name: EngineName) -> Option<&'static Added> {
    ADDED.get().filter(|added| added.name == name)
}

/// Those that can be typed.
fn typed() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().chain(ADDED.get().map(|added| added.name.as_str()))
}

/// Those that can be typed, for an error.
pub fn known() -> String {
    typed().collect::<Vec<_>>().join(", ")
}

/// The engine that is typed so.
///
/// # Errors
/// [`ServiceError::UnknownEngine`], with the names of those that exist.
pub fn parse(name: &str) -> Result<EngineName, ServiceError> {
    typed()
        .find(|known| *known == name)
        .map(EngineName::new)
        .ok_or_else(|| ServiceError::UnknownEngine { found: name.to_owned(), known: known() })
}

/// Starts a node's replica with the engine of this name, which [`parse`] has returned.
///
/// # Errors
/// [`ReplicaError`] where the disk holds what the engine cannot go on from.
pub fn start_node(name: EngineName, config: ReplicaConfig, parts: NodeParts) -> Result<Replica, ReplicaError> {
    match added(name) {
        Some(added) => (added.start)(config, parts),
        None => start(name, config, parts),
    }
}

engines! {
    engine_raft::Raft,
    engine_multipaxos::MultiPaxos,
}
