//! The entries of a log that name members: those that are settled, and those that may yet be replaced.
//!
//! ```text
//!      settled                      open
//!   ──────────────┬──────────────────────────────────
//!    v3 … v4      │      v5 · · · another v5 · ·
//!   ──────────────┴──────────────────────────────────
//!             committed, or chosen
//! ```
//!
//! What of this is in force, and where, is the protocol's: in Raft the last one of the log at once, open or settled
//! (thesis §4.1); in Multi-Paxos none but the settled ones, a window behind their slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Entry, Payload};
use crate::ids::LogIndex;
use crate::log_store::RecoveredLog;
use crate::membership::{AppliedMembership, Membership};

/// One node's view of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembershipLog {
    settled: AppliedMembership,
    through: LogIndex,
    // Above `through`.
    open: BTreeMap<LogIndex, Arc<Membership>>,
}

impl MembershipLog {
    /// As the tables tell it that have applied everything up to `applied`, and the log above.
    pub fn recovered(settled: AppliedMembership, applied: LogIndex, log: &RecoveredLog) -> MembershipLog {
        let open = log.memberships.iter().filter(|(index, _)| *index > applied).cloned().collect();
        MembershipLog { settled, through: applied, open }
    }

    /// Notes an entry that takes its place in the log, whatever stood there before.
    pub fn put(&mut self, entry: &Entry) {
        match &entry.payload {
            Payload::Membership { membership, .. } | Payload::StopSign { membership, .. }
                if entry.index > self.through =>
            {
                self.open.insert(entry.index, membership.clone());
            }
            // As a rule there is none, and nothing is looked for.
            _ if self.open.is_empty() => {}
            _ => {
                self.open.remove(&entry.index);
            }
        }
    }

    /// Forgets the open ones from `index` on: their entries were removed.
    pub fn remove_from(&mut self, index: LogIndex) {
        self.open.split_off(&index);
    }

    /// Everything up to `index` is committed, or chosen, as it stands here. True if that settles another membership.
    pub fn settle(&mut self, index: LogIndex) -> bool {
        if index <= self.through {
            return false;
        }
        self.through = index;
        let mut changed = false;
        while let Some(first) = self.open.first_entry()
            && *first.key() <= index
        {
            let (at, members) = first.remove_entry();
            changed |= self.settled.take(at, &members);
        }
        changed
    }

    /// A snapshot stands for everything up to `index`, and tells these.
    pub fn install(&mut self, settled: AppliedMembership, index: LogIndex) {
        if index >= self.through {
            self.settled = settled;
            self.through = index;
            self.open = self.open.split_off(&index.next());
        }
    }

    /// What is committed, or chosen.
    pub fn settled(&self) -> &AppliedMembership {
        &self.settled
    }

    /// The last ones of the log, settled or not, and where their entry stands.
    pub fn latest(&self) -> (LogIndex, &Arc<Membership>) {
        let open = self.open.last_key_value().map(|(index, members)| (*index, members));
        open.unwrap_or((self.settled.since, &self.settled.latest))
    }

    /// All that may come to be the last ones of the log, as some of its end is removed: the settled ones, and the open.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Membership>> + '_ {
        std::iter::once(&self.settled.latest).chain(self.open.values())
    }

    /// Where entries stand that name members and are not settled, in order.
    pub fn open(&self) -> impl Iterator<Item = LogIndex> + '_ {
        self.open.keys().copied()
    }

    /// Whether an entry names members that is not settled.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Ballot, RequestId};
    use crate::time::LogTime;

    fn entry(index: u64, payload: Payload) -> Entry {
        Entry { index: LogIndex(index), ballot: Ballot::ZERO, log_time: LogTime::default(), payload }
    }

    fn naming(index: u64, version: u64) -> Entry {
        let membership = Arc::new(Membership { version, ..Membership::default() });
        entry(index, Payload::Membership { id: RequestId::default(), membership })
    }

    fn log() -> MembershipLog {
        let founders = AppliedMembership::founded(Arc::default());
        MembershipLog::recovered(founders, LogIndex(3), &RecoveredLog::default())
    }

    #[test]
    fn the_latest_of_the_log_counts_until_it_is_removed_or_replaced() {
        let mut log = log();
        log.put(&naming(5, 1));
        log.put(&naming(7, 2));
        assert_eq!((log.latest().0, log.latest().1.version), (LogIndex(7), 2));
        log.remove_from(LogIndex(6));
        assert_eq!(log.latest().0, LogIndex(5));
        log.put(&entry(5, Payload::Noop));
        assert!(!log.has_open());
        assert_eq!((log.latest().0, log.latest().1.version), (LogIndex::ZERO, 0));
    }

    #[test]
    fn what_is_settled_stays_and_a_void_one_settles_nothing() {
        let mut log = log();
        log.put(&naming(5, 1));
        log.put(&naming(7, 1));
        assert!(!log.settle(LogIndex(4)));
        assert!(log.settle(LogIndex(5)));
        assert!(!log.settle(LogIndex(9)), "the second was meant for the founders");
        assert_eq!((log.settled().since, log.settled().latest.version), (LogIndex(5), 1));
        log.put(&naming(8, 9));
        assert!(!log.has_open(), "below what is settled nothing changes any more");
    }

    #[test]
    fn a_snapshot_replaces_what_it_covers() {
        let mut log = log();
        log.put(&naming(5, 1));
        log.put(&naming(9, 2));
        let mut told = AppliedMembership::founded(Arc::default());
        assert!(told.take(LogIndex(5), &Arc::new(Membership { version: 1, ..Membership::default() })));
        log.install(told.clone(), LogIndex(6));
        assert_eq!((log.settled(), log.latest().0), (&told, LogIndex(9)));
        assert!(log.settle(LogIndex(9)));
    }
}
