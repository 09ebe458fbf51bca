//! The only place where an engine is chosen. A third one is one more crate and one more line, at the end of this file.

use consensus_api::{Engine, EngineName, LogStore, ReadMode, SnapshotStore, StateMachine, Transport};
use replica::{Parts, Replica, ReplicaConfig, ReplicaError};

use crate::error::ServiceError;

macro_rules! engines {
    ($($engine:ty),* $(,)?) => {
        /// The engines that exist, as they are typed.
        pub const NAMES: &[&str] = &[$(<$engine as Engine>::NAME.as_str()),*];

        /// By which means the reads of the engine of this name, which [`parse`] has returned, can be linearizable.
        pub fn reads(name: EngineName) -> &'static [ReadMode] {
            $(if name == <$engine as Engine>::NAME {
                return <$engine as Engine>::READS;
            })*
            unreachable!("{name} was parsed, so it is one of {NAMES:?}")
        }

        /// Starts a replica with the engine of this name, which [`parse`] has returned.
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
            unreachable!("{name} was parsed, so it is one of {NAMES:?}")
        }
    };
}

/// The engine that is typed so.
///
/// # Errors
/// [`ServiceError::UnknownEngine`], with the names of those that exist.
pub fn parse(name: &str) -> Result<EngineName, ServiceError> {
    NAMES
        .iter()
        .find(|known| **known == name)
        .map(|known| EngineName::new(known))
        .ok_or_else(|| ServiceError::UnknownEngine { found: name.to_owned(), known: NAMES.join(", ") })
}

engines! {
    engine_raft::Raft,
    engine_multipaxos::MultiPaxos,
}
