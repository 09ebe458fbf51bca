//! From what the disk holds to an engine that can go on.
//!
//! ```text
//!   tables: applied 70 ─────┐
//!   log: base 40, 41…90 ────┼──▶ Recovered ──▶ Engine::recover ──▶ replays 71… once they are known to be committed
//!   hard state ─────────────┘
//! ```

use std::sync::Arc;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Engine, EngineConfig, Era, LogStore, Membership, MonoTime, Recovered, StateMachine};

use crate::core::Core;
use crate::error::ReplicaError;

/// Brings an engine back from a log and a state machine; `founders` are the members until the tables name others.
///
/// Entries are applied only once they are durable in the node's own log, so the tables are ahead of it only where a
/// power loss took writes that did not wait for the disk. Then the log's base moves up to what the tables hold, as after
/// a snapshot; entries above it stay, for a promise may rest on them. Where writes do wait, the disk has lied.
pub fn recover<E: Engine, L: LogStore, S: StateMachine>(
    config: EngineConfig,
    founders: Membership,
    log: &L,
    machine: &S,
    now: MonoTime,
) -> Result<Core<E>, ReplicaError> {
    let applied = machine.applied().map_err(|error| ReplicaError::Machine(error.into()))?;
    let log_error = |error: L::Error| ReplicaError::Log(error.into());
    let tail_bytes_max = config.limits.window_bytes_max;
    let mut recovered = log.recover(tail_bytes_max).map_err(log_error)?;
    let at = applied.position.index;
    let behind = at < log.base().index || (at > log.base().index && recovered.runs.get(at).is_none());
    if behind && (log.is_synced() || at < log.base().index) {
        let last = recovered.runs.last().unwrap_or(log.base().index);
        return Err(ReplicaError::LogBehindTables { applied: at, last, base: log.base().index });
    }
    if behind {
        tracing::warn!(applied = at.0, base = log.base().index.0, "tables ahead of log, base moved");
        log.trim(applied.position).map_err(log_error)?;
        recovered = log.recover(tail_bytes_max).map_err(log_error)?;
    }
    let engine = E::recover(
        config,
        Recovered {
            era: Era(0),
            base: log.base(),
            applied: if is_planted(Bug::AppliedAgainAfterRestart) { at.previous() } else { at },
            log_time: applied.log_time,
            membership: applied.membership.unwrap_or_else(|| Arc::new(founders)),
            log: recovered,
        },
        now,
    )?;
    Ok(Core::new(engine, at))
}
