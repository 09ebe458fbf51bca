//! From what the disk holds to an engine that may promise: the state is checked before anything is built on its ground.
//!
//! ```text
//!   hard state ──▶ the promise            base ≤ applied ≤ commit, no hole up to there (above it there may be),
//!   log        ──▶ ballots, recent entries   nothing accepted above the promise
//! ```
//!
//! Everything recovered is durable. The watermark that rode along may be lower than what was known before the stop: the
//! next leader tells it again. A node starts as a follower without a leader, whatever it was.

use consensus_api::delivery::Delivery;
use consensus_api::detector::FailureDetector;
use consensus_api::errands::Errands;
use consensus_api::lease::Pledge;
use consensus_api::membership_log::MembershipLog;
use consensus_api::timekeeper::Timekeeper;
use consensus_api::{
    Ballot, Effects, EngineConfig, EngineError, HardState, LogIndex, MonoTime, Recovered, RoleChange, WriteId,
};

use crate::MultiPaxos;
use crate::catch_up::ReadBacks;
use crate::log::Log;
use crate::membership::Electorate;
use crate::quorum_reads::QuorumReads;
use crate::role::{Allegiance, RoleState};

impl MultiPaxos {
    /// The engine as the disk knows it.
    pub(crate) fn from_recovered(
        config: EngineConfig,
        mut recovered: Recovered,
        now: MonoTime,
    ) -> Result<MultiPaxos, EngineError> {
        let HardState { ballot, pledge } = HardState::decode(recovered.log.hard_state.as_deref())?;
        let applied = recovered.applied.index;
        let chosen_through = recovered.log.commit.max(applied);
        // After a snapshot the slot at the base may still be known. It says nothing of the slots above it: every accept
        // there was promised to whoever proposed it, and stays.
        recovered.log.runs.trim(recovered.base.index);
        validate(&recovered, ballot, chosen_through).map_err(|reason| EngineError::Log { reason })?;
        let memberships = MembershipLog::recovered(recovered.membership, applied, &recovered.log);
        let log = Log::recovered(
            recovered.base,
            recovered.log.runs,
            recovered.log.tail,
            chosen_through,
            (memberships, config.limits.reconfiguration_window),
            recovered.log_time,
        );
        let followed = Electorate::of(&log);
        let alone = followed.reached(|node| node == config.node);
        let mut engine = MultiPaxos {
            now,
            contacts: followed.present.clone(),
            recorded: (followed.present.version, WriteId(0)),
            followed,
            retiring: Default::default(),
            ballot,
            ballot_write: WriteId(0),
            writes_durable: WriteId(0),
            round_seen: ballot.round.max(recovered.base.ballot.round),
            allegiance: Allegiance::default(),
            log,
            delivery: Delivery::after(applied),
            role: RoleState::Follower { leader: None },
            detector: FailureDetector::new(&config.timing, config.seed, now),
            pledge: Pledge::recovered(&config.timing, pledge, alone, now),
            owed_until: MonoTime::default(),
            timekeeper: Timekeeper::default(),
            admitted: (Ballot::ZERO, Default::default()),
            errands: Errands::default(),
            reads_asked_at: now,
            quorum_reads: QuorumReads::default(),
            learning: None,
            read_backs: ReadBacks::default(),
            snapshots_wanted: Default::default(),
            effects: Effects::default(),
            reported: None,
            config,
        };
        engine.refresh_contacts();
        engine.reported = Some(RoleChange { role: engine.role(), leader: None, ballot });
        Ok(engine)
    }
}

/// What Multi-Paxos itself can have left behind; the reason, if it cannot.
fn validate(recovered: &Recovered, ballot: Ballot, chosen_through: LogIndex) -> Result<(), String> {
    let (base, runs) = (recovered.base, &recovered.log.runs);
    let applied = recovered.applied.index;
    if applied < base.index {
        return Err(format!("trimmed through {}, but applied only through {applied}", base.index));
    }
    if runs.first().is_some_and(|first| first <= base.index) {
        return Err(format!("entries at or below {}, where the log was trimmed", base.index));
    }
    let hole = runs.first_hole(base.index.next());
    if hole <= chosen_through {
        return Err(format!("no entry at {hole}, but everything through {chosen_through} was committed or applied"));
    }
    if let Some(run) = runs.iter_from(base.index.next()).find(|run| run.ballot > ballot) {
        return Err(format!("{} accepted under {}, but the hard state says {ballot}", run.first, run.ballot));
    }
    Ok(())
}
