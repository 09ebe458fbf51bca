//! When a snapshot is due, in the time that it is told, and what may go once it is taken. Service and simulation decide
//! by this same code.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, MonoTime, SharedEntry, SnapshotManifest};

use crate::transfer::{Held, TransferSettings};

/// The first pause after a snapshot could not be taken; doubled each time, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When snapshots are taken, how much log is kept behind them, and how they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// One is taken after so many entries.
    pub entries: u64,
    /// Or after so many bytes of entries.
    pub bytes: u64,
    /// How many entries up to a snapshot the log keeps, for peers that are only a little behind; but none that the snapshot
    /// before it covers, so that large entries do not make it long.
    pub tail_entries: u64,
    /// How they are sent.
    pub transfer: TransferSettings,
}

impl Default for SnapshotSettings {
    fn default() -> SnapshotSettings {
        SnapshotSettings {
            entries: 100_000,
            bytes: 256 << 20,
            tail_entries: 50_000,
            transfer: TransferSettings::default(),
        }
    }
}

impl SnapshotSettings {
    /// None but those that are asked for.
    pub fn on_demand() -> SnapshotSettings {
        SnapshotSettings { entries: u64::MAX, bytes: u64::MAX, ..SnapshotSettings::default() }
    }
}

/// How far the log may be trimmed: behind the newest snapshot by the tail, which does not reach behind the older one that
/// is kept; never past what the tables would keep through a power loss, and not past what peers go on from that are
/// being sent a snapshot.
pub fn trim_target(
    newest: LogIndex,
    older: Option<LogIndex>,
    tail_entries: u64,
    persisted: LogIndex,
    held: &Held,
) -> LogIndex {
    let behind = LogIndex(newest.0.saturating_sub(tail_entries)).max(older.unwrap_or_default()).min(newest);
    let persisted = if is_planted(Bug::TrimmedPastPersisted) { behind } else { persisted };
    let target = behind.min(persisted).min(held.log_from.unwrap_or(behind));
    if is_planted(Bug::CompactedTooFar) { target.next() } else { target }
}

/// Whether one more would remove one of those `kept`, the newest first, that is being sent. A peer that is slower than
/// snapshots are taken would never get one whole. So taking waits for sending, which ends: with the snapshot, or with a
/// peer that is given up.
pub fn would_remove_what_is_sent(kept: &[Arc<SnapshotManifest>], held: &Held) -> bool {
    kept.iter().skip(1).any(|manifest| held.sending.contains(&manifest.id))
}

/// Counts what has come since the last snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    entries_max: u64,
    bytes_max: u64,
    last: LogIndex,
    through: LogIndex,
    bytes: u64,
    /// How many of the bytes the snapshot under way covers, about.
    under_way: Option<u64>,
    failures: u32,
    not_before: MonoTime,
}

impl Policy {
    /// The tables have applied `applied`, and the newest snapshot covers `last`.
    pub fn new(settings: &SnapshotSettings, last: LogIndex, applied: LogIndex) -> Policy {
        Policy {
            entries_max: settings.entries,
            bytes_max: settings.bytes,
            last,
            through: applied,
            bytes: 0,
            under_way: None,
            failures: 0,
            not_before: MonoTime::default(),
        }
    }

    /// What the newest snapshot covers.
    pub fn last(&self) -> LogIndex {
        self.last
    }

    /// These go to the state machine.
    pub fn count(&mut self, entries: &[SharedEntry]) {
        self.bytes += entries.iter().map(|entry| entry.size_bytes() as u64).sum::<u64>();
        self.through = entries.last().map_or(self.through, |entry| entry.index);
    }

    /// Whether one is to be taken now that the tables have applied `applied`; it is then taken for under way. What was handed
    /// out and is not applied yet would not be in it, and make the next one due at once.
    pub fn is_due(&mut self, now: MonoTime, applied: LogIndex) -> bool {
        let entries = self.through.min(applied).0.saturating_sub(self.last.0);
        let is_due = self.under_way.is_none()
            && now >= self.not_before
            && entries > 0
            && (entries >= self.entries_max || self.bytes >= self.bytes_max);
        if is_due {
            self.under_way = Some(self.bytes);
        }
        is_due
    }

    /// One was taken, or installed, that covers everything up to `index`.
    pub fn taken(&mut self, index: LogIndex) {
        self.last = self.last.max(index);
        self.through = self.through.max(index);
        self.bytes -= self.under_way.take().unwrap_or(self.bytes);
        self.failures = 0;
    }

    /// None was taken yet, since the one that it would remove is on its way to a peer.
    pub fn postponed(&mut self, now: MonoTime) {
        self.under_way = None;
        self.not_before = now + PAUSE;
    }

    /// None was taken; the next attempt comes after a pause that grows.
    pub fn failed(&mut self, now: MonoTime) {
        self.under_way = None;
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use consensus_api::{Ballot, Blob, Entry, LogTime, Payload, RequestId};

    use super::*;

    fn entry(index: u64, bytes: usize) -> SharedEntry {
        let payload = Payload::Command { id: RequestId::default(), data: Blob::from(vec![0; bytes]) };
        Arc::new(Entry { index: LogIndex(index), ballot: Ballot::ZERO, log_time: LogTime::default(), payload })
    }

    fn policy(entries: u64, bytes: u64) -> Policy {
        let settings = SnapshotSettings { entries, bytes, ..SnapshotSettings::default() };
        Policy::new(&settings, LogIndex(10), LogIndex(12))
    }

    const NOW: MonoTime = MonoTime::from_micros(1);

    #[test]
    fn a_snapshot_is_due_after_so_many_entries_since_the_last_one_those_before_the_start_included() {
        let mut policy = policy(4, u64::MAX);
        policy.count(&[entry(13, 1)]);
        assert!(!policy.is_due(NOW, LogIndex(13)));
        policy.count(&[entry(14, 1)]);
        assert!(!policy.is_due(NOW, LogIndex(13)), "it would cover what is applied and no more");
        assert!(policy.is_due(NOW, LogIndex(14)));
        assert!(!policy.is_due(NOW, LogIndex(14)), "one at a time");
        policy.taken(LogIndex(14));
        assert!(!policy.is_due(NOW, LogIndex(14)));
        assert_eq!(policy.last(), LogIndex(14));
    }

    #[test]
    fn a_snapshot_is_due_after_so_many_bytes_and_what_comes_while_it_is_taken_counts_for_the_next() {
        let mut policy = policy(u64::MAX, 1000);
        policy.count(&[entry(13, 1000)]);
        assert!(policy.is_due(NOW, LogIndex(14)));
        policy.count(&[entry(14, 1000)]);
        policy.taken(LogIndex(13));
        assert!(policy.is_due(NOW, LogIndex(14)));
    }

    #[test]
    fn after_failures_the_pause_grows_and_has_an_end() {
        let mut policy = policy(1, u64::MAX);
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(policy.is_due(now, LogIndex(12)));
            policy.failed(now);
            assert!(
                !policy.is_due(now + Duration::from_millis(1000 * seconds - 1), LogIndex(12)),
                "within {seconds} s"
            );
            now = now + Duration::from_secs(seconds);
        }
        assert!(policy.is_due(now, LogIndex(12)));
    }

    #[test]
    fn what_is_being_sent_puts_a_snapshot_off_for_a_moment_however_often() {
        let mut policy = policy(1, u64::MAX);
        let mut now = NOW;
        for _ in 0..10 {
            assert!(policy.is_due(now, LogIndex(12)));
            policy.postponed(now);
            now = now + PAUSE;
        }
    }

    #[test]
    fn the_log_keeps_a_tail_that_is_no_longer_than_the_tables_and_the_older_snapshot_allow() {
        let free = Held::default();
        let target = |newest, older, tail, persisted, held: &Held| {
            trim_target(LogIndex(newest), older, tail, LogIndex(persisted), held).0
        };
        assert_eq!(target(100, None, 30, 200, &free), 70);
        assert_eq!(target(100, Some(LogIndex(90)), 30, 200, &free), 90, "no further back than the one before");
        assert_eq!(target(100, Some(LogIndex(20)), 30, 200, &free), 70);
        assert_eq!(target(100, None, 30, 60, &free), 60, "the tables would replay from there");
        let held = Held { log_from: Some(LogIndex(50)), sending: Vec::new() };
        assert_eq!(target(100, None, 30, 200, &held), 50, "a peer goes on from there");
        assert_eq!(target(20, None, 30, 200, &free), 0);
    }
}
