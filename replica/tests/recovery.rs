//! What an engine is told when the tables are ahead of the log.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Counter, MemoryLog};
use consensus_api::testkit::log_store::{entry, put};
use consensus_api::*;
use replica::ReplicaError;

/// Keeps what it was told.
#[derive(Clone, Debug)]
struct Told(Arc<Recovered>);

impl PartialEq for Told {
    fn eq(&self, _: &Told) -> bool {
        false
    }
}

impl Eq for Told {}

impl std::hash::Hash for Told {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Engine for Told {
    type Message = u8;
    const NAME: EngineName = EngineName::new("told");

    fn recover(_: EngineConfig, recovered: Recovered, _: MonoTime) -> Result<Told, EngineError> {
        Ok(Told(Arc::new(recovered)))
    }

    fn step(&mut self, _: MonoTime, _: Input<u8>) {}

    fn take_effects(&mut self) -> Effects<u8> {
        Effects::default()
    }

    fn deadline(&self) -> MonoTime {
        MonoTime::NEVER
    }

    fn status(&self) -> EngineStatus {
        unreachable!("nobody asks")
    }
}

fn position(index: u64, round: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), ballot: Ballot::new(round, NodeId(7)) }
}

/// Entries 1 to 9 of round 2.
fn log() -> MemoryLog {
    let log = MemoryLog::default();
    log.write(&[put(1, (1..=9).map(|index| entry(index, 2, "x")))]).unwrap();
    log
}

fn recover(
    log: &MemoryLog,
    applied: LogPosition,
    installed: Option<LogPosition>,
) -> Result<Arc<Recovered>, ReplicaError> {
    let mut machine = Counter::default();
    machine.applied.position = applied;
    let (timing, limits) = (Timing::default(), Limits::default());
    let config = EngineConfig { node: NodeId(1), store: None, boot: 1, seed: 1, timing, limits };
    let core =
        replica::recover::<Told, _, _>(config, Membership::default(), log, &machine, installed, MonoTime::default());
    core.map(|core| core.engine().0.clone())
}

#[test]
fn where_the_log_has_what_is_applied_it_stays_as_it_is() {
    let log = log();
    let told = recover(&log, position(6, 2), None).unwrap();
    assert_eq!((told.applied, told.base), (position(6, 2), LogPosition::default()));
    assert_eq!(log.base(), LogPosition::default());
}

#[test]
fn after_an_installation_beyond_the_log_the_log_begins_there() {
    let log = log();
    let told = recover(&log, position(20, 3), Some(position(20, 3))).unwrap();
    assert_eq!((told.applied, told.base, log.base()), (position(20, 3), position(20, 3), position(20, 3)));
    assert_eq!(told.log.runs.last(), None);
}

#[test]
fn after_an_installation_within_the_log_the_engine_is_told_what_stood_there_and_what_follows() {
    let log = log();
    let told = recover(&log, position(6, 3), Some(position(6, 3))).unwrap();
    assert_eq!((told.base, log.base()), (position(6, 3), position(6, 3)));
    let ballots = [6, 7, 9].map(|index| told.log.runs.get(LogIndex(index)).map(|ballot| ballot.round));
    assert_eq!(ballots, [Some(2); 3]);
    assert_eq!(told.log.runs.first(), Some(LogIndex(6)));
    assert_eq!(told.log.tail.first().map(|entry| entry.index), Some(LogIndex(7)));
}

#[test]
fn an_installation_that_the_log_was_trimmed_for_excuses_nothing_later() {
    let log = log();
    log.trim(position(6, 2)).unwrap();
    assert_eq!(recover(&log, position(8, 2), Some(position(6, 2))).unwrap().base, position(6, 2));
    let refused = recover(&log, position(12, 2), Some(position(6, 2)));
    assert!(matches!(refused, Err(ReplicaError::LogBehindTables { .. })));
}

#[test]
fn without_an_installation_a_log_with_another_entry_where_the_tables_are_is_refused() {
    for applied in [position(20, 2), position(6, 3)] {
        assert!(matches!(recover(&log(), applied, None), Err(ReplicaError::LogBehindTables { .. })));
    }
}
