//! From what the disk holds to an engine that can go on.
//!
//! ```text
//!   tables: applied 70 ─────┐
//!   log: base 40, 41…90 ────┼──▶ Recovered ──▶ Engine::recover ──▶ replays 71… once they are known to be committed
//!   hard state ─────────────┘
//! ```

use std::sync::Arc;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    AppliedMembership, Engine, EngineConfig, Era, LogPosition, LogStore, Membership, MonoTime, Recovered, StateMachine,
};

use crate::core::Core;
use crate::error::ReplicaError;

/// Brings an engine back from a log and a state machine; `founders` are the members until the tables name others.
///
/// Entries are applied only once they are durable in the node's own log. So the log lacks the last applied entry, or has
/// another one there, in two cases only. A snapshot was `installed` above the log's base, and the node stopped before the
/// log was trimmed to it; or a power loss took writes that did not wait for the disk. Then the log's base moves up to
/// what the tables hold. Entries above it stay, for a promise may rest on them; the engine is told what the log had at
/// the base, which decides whether they may. In any other case the disk has lied.
pub fn recover<E: Engine, L: LogStore, S: StateMachine>(
    config: EngineConfig,
    founders: Membership,
    log: &L,
    machine: &S,
    installed: Option<LogPosition>,
    now: MonoTime,
) -> Result<Core<E>, ReplicaError> {
    let applied = machine.applied().map_err(|error| ReplicaError::Machine(error.into()))?;
    let log_error = |error: L::Error| ReplicaError::Log(error.into());
    let tail_bytes_max = config.limits.window_bytes_max;
    let mut recovered = log.recover(tail_bytes_max).map_err(log_error)?;
    let at = applied.position.index;
    let base = log.base().index;
    let is_installed = installed.is_some_and(|installed| base < installed.index && installed.index <= at);
    let own = recovered.runs.get(at);
    let is_other = at == base && log.base().ballot != applied.position.ballot;
    let behind = at < base || (at > base && own != Some(applied.position.ballot));
    if is_other || behind && (at < base || (log.is_synced() && !is_installed)) {
        let last = recovered.runs.last().unwrap_or(base);
        return Err(ReplicaError::LogBehindTables { applied: at, last, base });
    }
    if behind || is_installed {
        tracing::warn!(applied = at.0, base = base.0, "tables ahead of log, base moved");
        log.trim(applied.position).map_err(log_error)?;
        recovered = log.recover(tail_bytes_max).map_err(log_error)?;
        if let Some(own) = own {
            recovered.runs.set(at, own);
        }
    }
    let previous =
        LogPosition { index: at.previous(), ballot: recovered.runs.get(at.previous()).unwrap_or(log.base().ballot) };
    let engine = E::recover(
        config,
        Recovered {
            era: Era(0),
            base: log.base(),
            applied: if is_planted(Bug::AppliedAgainAfterRestart) { previous } else { applied.position },
            log_time: applied.log_time,
            membership: applied.membership.unwrap_or_else(|| AppliedMembership::founded(Arc::new(founders))),
            log: recovered,
        },
        now,
    )?;
    Ok(Core::new(engine, at))
}
