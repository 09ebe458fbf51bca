//! From what the disk holds to an engine that may vote: the state is checked before anything is promised on its ground.
//!
//! ```text
//!   hard state ──▶ term and vote          base ≤ applied ≤ commit ≤ last, no holes,
//!   log        ──▶ ballots, recent entries   terms never decrease and never exceed the term,
//!                  entries that name members   each follows the one before
//! ```
//!
//! Everything recovered is durable. The commit index that rode along may be lower than what was known before the stop:
//! the next leader tells it again. A node starts as a follower without a leader, whatever it was, among the last members
//! that its log names, or that the tables do.

use consensus_api::ballot_runs::BallotRuns;
use consensus_api::delivery::Delivery;
use consensus_api::detector::FailureDetector;
use consensus_api::errands::Errands;
use consensus_api::lease::Pledge;
use consensus_api::membership_log::MembershipLog;
use consensus_api::timekeeper::Timekeeper;
use consensus_api::{
    Ballot, Effects, EngineConfig, EngineError, HardState, LogIndex, MonoTime, NodeId, Recovered, RoleChange, WriteId,
};

use crate::Raft;
use crate::catch_up::ReadBacks;
use crate::log::Log;
use crate::role::{Allegiance, RoleState};

impl Raft {
    /// The engine as the disk knows it.
    pub(crate) fn from_recovered(
        config: EngineConfig,
        mut recovered: Recovered,
        now: MonoTime,
    ) -> Result<Raft, EngineError> {
        let HardState { ballot, pledge } = HardState::decode(recovered.log.hard_state.as_deref())?;
        let applied = recovered.applied.index;
        let contradicted = suffix_contradicts(&recovered);
        if contradicted {
            // Committed is what the snapshot says, and nothing else of this log.
            recovered.base = recovered.applied;
            recovered.log.commit = applied;
            recovered.log.runs = BallotRuns::default();
            recovered.log.tail.clear();
            recovered.log.memberships.clear();
        }
        recovered.log.runs.trim(recovered.base.index);
        let commit = recovered.log.commit.max(applied);
        validate(&recovered, ballot, commit).map_err(|reason| EngineError::Log { reason })?;
        let base = recovered.base;
        let members = MembershipLog::recovered(recovered.membership, applied, &recovered.log);
        let mut log = Log::new(base, recovered.log.runs, recovered.log.tail, commit, recovered.log_time, members);
        let ballot = if base.ballot.round > ballot.round {
            // A snapshot was installed, and the term of its last entry not yet written.
            Ballot::new(base.ballot.round, NodeId::NONE)
        } else if contradicted {
            // What goes may have been acknowledged to the leader of this term, whose term is over.
            Ballot::new(ballot.round + 1, NodeId::NONE)
        } else {
            ballot
        };
        if contradicted {
            log.writer.remove_from(base.index.next());
            log.writer.set_hard_state(HardState { ballot, pledge }.encode());
        }
        let ballot_write = log.dependency();
        let alone = has_always_decided_alone(config.node, &log);
        let membership = log.members().latest().1.clone();
        let mut raft = Raft {
            now,
            contacts: membership.clone(),
            contacts_due: true,
            membership,
            ballot,
            ballot_write,
            writes_durable: WriteId(0),
            allegiance: Allegiance { verified: commit, ..Allegiance::default() },
            log,
            delivery: Delivery::after(applied),
            role: RoleState::Follower { leader: None },
            detector: FailureDetector::new(&config.timing, config.seed, now),
            pledge: Pledge::recovered(&config.timing, pledge, alone, now),
            timekeeper: Timekeeper::default(),
            admitted: (Ballot::ZERO, Default::default()),
            errands: Errands::default(),
            reads_asked_at: now,
            read_backs: ReadBacks::default(),
            effects: Effects::default(),
            reported: None,
            config,
        };
        raft.reported = Some(RoleChange { role: raft.role(), leader: None, ballot });
        Ok(raft)
    }
}

/// Whether nobody else can lead, or have led lately, as far as this log tells: then nothing is owed to anybody. A leader
/// that has just left this node alone may still hold a lease by it.
fn has_always_decided_alone(me: NodeId, log: &Log) -> bool {
    let previous = log.members().settled().previous.iter();
    log.members().iter().chain(previous).all(|membership| membership.quorums().reached(|node| node == me))
}

/// Whether a snapshot was installed, and the node stopped before it had removed what followed another entry than the
/// snapshot's last.
///
/// The terms tell where they go down: say the snapshot ends in 19 at term 3, and the log goes on with 20 at term 2. No
/// log does that, so this log's 19 was another one.
///
/// Where the log's own entry at the applied position is still known, it tells by itself. It no longer is where the crash
/// came after the log had been trimmed, and there the terms do not tell it of every log (Raft, figure 8). S1 writes 19 at term 3 to itself alone; S5 leads in term 5 and
/// writes 19 and 20; S1 comes back in term 7, and by committing its 20 commits 19 at term 3. S5 installs a snapshot that
/// ends there, and stops before the removal: its 20 of term 5 stays, behind a 19 of term 3. That does no harm. Leaders
/// from the committing term on have the snapshot's 19 (Leader Completeness), so the terms of such a suffix lie below it,
/// and so does the last term of this log: by the suffix it wins no election, for every quorum has a voter of the
/// committing term or a later one. The first Append that reaches here removes it.
fn suffix_contradicts(recovered: &Recovered) -> bool {
    let (applied, runs) = (recovered.applied, &recovered.log.runs);
    match runs.get(applied.index) {
        Some(own) => own.round != applied.ballot.round,
        None => runs.get(applied.index.next()).is_some_and(|next| next.round < applied.ballot.round),
    }
}

/// What Raft itself can have left behind; the reason, if it cannot.
fn validate(recovered: &Recovered, ballot: Ballot, commit: LogIndex) -> Result<(), String> {
    let (base, runs) = (recovered.base, &recovered.log.runs);
    let last = runs.last().unwrap_or(base.index);
    let applied = recovered.applied.index;
    if applied < base.index {
        return Err(format!("trimmed through {}, but applied only through {applied}", base.index));
    }
    if commit > last {
        return Err(format!("committed or applied through {commit}, but the log ends at {last}"));
    }
    if runs.first().is_some_and(|first| first <= base.index) {
        return Err(format!("entries at or below {}, where the log was trimmed", base.index));
    }
    let hole = runs.first_hole(base.index.next());
    if hole <= last {
        return Err(format!("no entry at {hole}, but the log ends at {last}"));
    }
    let mut term = base.ballot.round;
    for run in runs.iter_from(base.index.next()) {
        if run.ballot.round < term {
            return Err(format!("term {} after term {term} at {}", run.ballot.round, run.first));
        }
        term = run.ballot.round;
    }
    let mut version = recovered.membership.latest.version;
    for (index, membership) in recovered.log.memberships.iter().filter(|(index, _)| *index > applied) {
        if membership.version != version + 1 {
            return Err(format!("members of version {} after version {version} at {index}", membership.version));
        }
        version = membership.version;
    }
    if term > ballot.round.max(base.ballot.round) {
        return Err(format!("an entry of term {term}, but the hard state says term {}", ballot.round));
    }
    Ok(())
}
