//! The suite for log stores passes a right store and finds out wrong ones.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consensus_api::testkit::log_store::{LogStoreFactory, Reached, run_all};
use consensus_api::{LogIndex, LogPosition, LogStore, Payload, RecoveredLog, SharedEntry, Write};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    ForgetsHardStateOnRestart,
    KeepsTheHigherBallot,
    RemovesAfterPutting,
    ReadsPastItsBytes,
    ReadsNothingLarge,
    StopsAtHoles,
    TearsWrites,
    LosesTheLastWrite,
    MovesTheBaseBack,
    RefusesOldWriteNumbers,
    ForgetsCommit,
}

const BUGS: [Bug; 11] = [
    Bug::ForgetsHardStateOnRestart,
    Bug::KeepsTheHigherBallot,
    Bug::RemovesAfterPutting,
    Bug::ReadsPastItsBytes,
    Bug::ReadsNothingLarge,
    Bug::StopsAtHoles,
    Bug::TearsWrites,
    Bug::LosesTheLastWrite,
    Bug::MovesTheBaseBack,
    Bug::RefusesOldWriteNumbers,
    Bug::ForgetsCommit,
];

#[derive(Clone, Debug, Default)]
struct Content {
    base: LogPosition,
    hard_state: Option<Bytes>,
    commit: LogIndex,
    entries: BTreeMap<LogIndex, SharedEntry>,
    last_write: u64,
}

impl Content {
    fn write(&mut self, write: &Write, bug: Bug) {
        if bug == Bug::RefusesOldWriteNumbers && write.id.0 <= self.last_write {
            return;
        }
        self.last_write = write.id.0;
        if write.hard_state.is_some() {
            self.hard_state.clone_from(&write.hard_state);
        }
        if bug != Bug::RemovesAfterPutting {
            self.remove(write.remove_from);
        }
        for entry in &write.entries {
            let held = self.entries.get(&entry.index);
            if bug != Bug::KeepsTheHigherBallot || held.is_none_or(|held| held.ballot <= entry.ballot) {
                self.entries.insert(entry.index, entry.clone());
            }
        }
        if bug == Bug::RemovesAfterPutting {
            self.remove(write.remove_from);
        }
        if let Some(commit) = write.commit.filter(|_| bug != Bug::ForgetsCommit) {
            self.commit = commit;
        }
    }

    fn remove(&mut self, from: Option<LogIndex>) {
        if let Some(from) = from {
            self.entries.split_off(&from);
        }
    }
}

struct Store {
    content: Mutex<Content>,
    disk: Arc<Mutex<Content>>,
    bug: Bug,
}

impl Store {
    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut content = self.content.lock().unwrap();
        if self.bug == Bug::LosesTheLastWrite {
            self.disk.lock().unwrap().clone_from(&content);
        }
        change(&mut content);
        if self.bug != Bug::LosesTheLastWrite {
            self.disk.lock().unwrap().clone_from(&content);
        }
    }
}

impl LogStore for Store {
    type Error = Infallible;

    fn base(&self) -> LogPosition {
        self.content.lock().unwrap().base
    }

    fn recover(&self, tail_bytes_max: usize) -> Result<RecoveredLog, Infallible> {
        let content = self.content.lock().unwrap();
        let hard_state = content.hard_state.clone();
        let mut log = RecoveredLog { hard_state, commit: content.commit, ..RecoveredLog::default() };
        for entry in content.entries.values() {
            log.runs.set(entry.index, entry.ballot);
            if let Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } = &entry.payload {
                log.memberships.push((entry.index, membership.clone()));
            }
        }
        let mut bytes = 0;
        for entry in content.entries.values().rev() {
            bytes += entry.size_bytes();
            if bytes > tail_bytes_max && !log.tail.is_empty() {
                break;
            }
            log.tail.insert(0, entry.clone());
        }
        Ok(log)
    }

    fn write(&self, writes: &[Write]) -> Result<(), Infallible> {
        self.change(|content| writes.iter().for_each(|write| content.write(write, self.bug)));
        Ok(())
    }

    fn read(&self, range: RangeInclusive<LogIndex>, bytes_max: usize) -> Result<Vec<SharedEntry>, Infallible> {
        let content = self.content.lock().unwrap();
        let mut found: Vec<SharedEntry> = Vec::new();
        let mut bytes = 0;
        if range.is_empty() {
            return Ok(found);
        }
        for (index, entry) in content.entries.range(range) {
            bytes += entry.size_bytes();
            let first = found.is_empty() && self.bug != Bug::ReadsNothingLarge;
            let gap = found.last().is_some_and(|last| last.index.next() != *index) && self.bug == Bug::StopsAtHoles;
            if gap || (bytes > bytes_max && !first && self.bug != Bug::ReadsPastItsBytes) {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn trim(&self, base: LogPosition) -> Result<(), Infallible> {
        if base.index > self.base().index || self.bug == Bug::MovesTheBaseBack {
            self.change(|content| {
                content.base = base;
                content.entries = content.entries.split_off(&base.index.next());
            });
        }
        Ok(())
    }

    fn restart_at(&self, base: LogPosition) -> Result<(), Infallible> {
        self.change(|content| {
            content.base = base;
            content.entries.clear();
            if self.bug == Bug::ForgetsHardStateOnRestart {
                content.hard_state = None;
            }
        });
        Ok(())
    }
}

struct Disk {
    content: Arc<Mutex<Content>>,
    bug: Bug,
}

impl Disk {
    fn blank(bug: Bug) -> Disk {
        Disk { content: Arc::default(), bug }
    }
}

impl LogStoreFactory for Disk {
    type Store = Store;

    fn open(&mut self) -> Result<Store, Infallible> {
        let content = Mutex::new(self.content.lock().unwrap().clone());
        Ok(Store { content, disk: self.content.clone(), bug: self.bug })
    }

    fn crash(&mut self, store: Store) {
        drop(store);
    }

    fn crash_during(&mut self, store: Store, writes: &[Write], reached: Reached) {
        let count = match reached {
            Reached::Everything => writes.len(),
            _ if self.bug == Bug::TearsWrites => writes.len().div_ceil(2),
            _ => 0,
        };
        store.write(&writes[..count]).unwrap();
    }
}

#[test]
fn a_right_store_passes() {
    run_all(|| Disk::blank(Bug::None));
}

#[test]
fn every_planted_bug_is_found() {
    for bug in BUGS {
        let outcome = catch_unwind(AssertUnwindSafe(|| run_all(|| Disk::blank(bug))));
        assert!(outcome.is_err(), "{bug:?} was not found");
    }
}
