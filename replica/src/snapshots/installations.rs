//! Which installations the engine has yet to hear of, free of threads: service and simulation keep these same books.
//!
//! ```text
//!   tables swapped ──▶ log trimmed to them ──▶ SnapshotInstalled ──▶ engine        epoch + 1
//!        │                                                             │
//!        └─ entries of the epoch before are passed over ◀──────────────┘ hands out what follows the snapshot
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{AppliedMembership, AppliedState, Input, LogIndex, LogPosition, Membership};

/// The installations of one life of a replica, as whoever feeds the engine sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installations {
    /// The engine hears of each once the log is trimmed to it.
    waiting: VecDeque<AppliedState>,
    epoch: u64,
    applied: LogIndex,
}

impl Installations {
    /// None yet; the tables have applied `applied`.
    pub fn new(applied: LogIndex) -> Installations {
        Installations { waiting: VecDeque::new(), epoch: 0, applied }
    }

    /// How many installations the engine has heard of. What it hands out carries this number, and the applier passes
    /// over what carries another one than its own.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The applier says that it has applied everything up to here.
    pub fn applied(&mut self, through: LogIndex) {
        self.applied = through;
    }

    /// A snapshot has taken the place of the tables; the log is to be trimmed to it next.
    pub fn installed(&mut self, state: AppliedState) {
        self.applied = state.position.index;
        self.waiting.push_back(state);
    }

    /// Whether the log may be trimmed to a position that was found before the applier's last word: not while the tables
    /// are ahead of what the engine knows.
    pub fn may_trim(&self, position: LogPosition) -> bool {
        self.waiting.is_empty() && (position.index <= self.applied || is_planted(Bug::CompactedTooFar))
    }

    /// The log begins after `base`, by an installation or behind a snapshot that was taken here: what the engine is told.
    /// Tables that name no members are of a time when those `present` now were all there is.
    pub fn trimmed<M>(&mut self, base: LogPosition, present: impl FnOnce() -> Arc<Membership>) -> Input<M> {
        let is_next = self.waiting.front().is_some_and(|state| state.position == base);
        match is_next.then(|| self.waiting.pop_front()).flatten() {
            Some(AppliedState { log_time, membership, .. }) => {
                self.epoch += 1;
                let membership = membership.unwrap_or_else(|| AppliedMembership::founded(present()));
                Input::SnapshotInstalled { base, log_time, membership }
            }
            None => Input::Trimmed { base },
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus_api::Ballot;

    use super::*;

    fn at(index: u64) -> LogPosition {
        LogPosition { index: LogIndex(index), ballot: Ballot::ZERO }
    }

    #[test]
    fn the_log_is_not_trimmed_while_the_engine_has_not_heard_of_an_installation() {
        let mut installations = Installations::new(LogIndex(5));
        assert!(installations.may_trim(at(5)) && !installations.may_trim(at(6)));
        installations.installed(AppliedState { position: at(9), ..AppliedState::default() });
        assert!(!installations.may_trim(at(5)));
        assert!(matches!(installations.trimmed::<()>(at(9), Arc::default), Input::SnapshotInstalled { .. }));
        assert!(installations.may_trim(at(9)));
        assert_eq!(installations.epoch(), 1);
    }

    #[test]
    fn trimming_to_anywhere_else_is_no_installation() {
        let mut installations = Installations::new(LogIndex(5));
        installations.installed(AppliedState { position: at(9), ..AppliedState::default() });
        assert_eq!(installations.trimmed::<()>(at(4), Arc::default), Input::Trimmed { base: at(4) });
        assert_eq!(installations.epoch(), 0);
    }
}
