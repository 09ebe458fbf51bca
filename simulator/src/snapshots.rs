//! Snapshots in the world: what the replica's two snapshot threads do in service, step by step in virtual time.
//!
//! ```text
//!            ┌── policy ──▶ Take ──▶ MemorySnapshots ──▶ Taken, TrimWanted ──▶ queue of the disk ──▶ Trimmed ──▶ engine
//!   node ────┤
//!            └── SendSnapshot ──▶ Courier ◀══ bulk lane of the faulty network ══▶ Courier ──▶ Install
//!   engine ◀── SnapshotInstalled ◀── log trimmed ◀── queue of the disk ◀── Installed ◀── tables swapped ◀──┘
//! ```
//!
//! When one is due, how far the log may be trimmed, how transfers go and what the engine hears when: all that is the
//! replica's own code. What a thread reports arrives a little later, in order, as over its channel in service.

mod installing;
mod moving;
mod taking;

use std::collections::VecDeque;
use std::sync::Arc;

use consensus_api::{AppliedState, LogIndex, LogPosition, NodeId, SnapshotManifest, SnapshotStore};
use kv_machine::MemorySnapshots;
use replica::transfer::Courier;
use replica::{Installations, Policy, SnapshotSettings};

use crate::agenda::Task;
use crate::checks::{Kept, Violation};
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// A process's side of it: dies with it.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) policy: Policy,
    pub(crate) installations: Installations,
    pub(crate) courier: Courier<MemorySnapshots>,
    /// Whether one is wanted that nobody has begun to take, and why.
    ordered: Option<Order>,
    /// Whether one is being taken.
    is_taking: bool,
    reports: VecDeque<Report>,
}

/// Why a snapshot is to be taken. Where there are several reasons the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// The policy says so, or a peer needs one.
    Due,
    /// Somebody has asked for it, who is not kept waiting for a peer.
    Demand,
}

/// Where a log is to be trimmed, and what stands for what goes: what is kept here, or an installation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedTrim {
    pub(crate) base: LogPosition,
    pub(crate) kept: Option<Kept>,
}

/// What the threads beside the engine tell it of snapshots.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// One was taken that covers everything up to here.
    Taken(LogIndex),
    /// None yet: it would remove one that is being sent.
    PutOff,
    /// There is none.
    NotTaken,
    /// The log may be trimmed, as far as tables and snapshots go.
    TrimWanted(WantedTrim),
    /// One has taken the place of the tables.
    Installed(AppliedState),
}

impl Desk {
    pub(crate) fn new(settings: &SnapshotSettings, store: &Arc<MemorySnapshots>, applied: LogIndex) -> Desk {
        // One that was received and not installed covers what this node has yet to apply.
        let covered = covered(store).into_iter().find(|index| *index <= applied);
        Desk {
            policy: Policy::new(settings, covered.unwrap_or_default(), applied),
            installations: Installations::new(applied),
            courier: Courier::new(store.clone(), settings.transfer.clone(), applied),
            ordered: None,
            is_taking: false,
            reports: VecDeque::new(),
        }
    }
}

/// Those that are kept, the newest first.
fn kept(store: &MemorySnapshots) -> Vec<Arc<SnapshotManifest>> {
    // To list what is in memory does not fail.
    store.kept().unwrap_or_default()
}

/// What each of them covers, the newest first.
fn covered(store: &MemorySnapshots) -> Vec<LogIndex> {
    kept(store).iter().map(|manifest| manifest.position.index).collect()
}

impl<P: Protocol> World<P> {
    /// The snapshots that a node keeps, the newest first.
    pub fn kept_snapshots(&self, id: NodeId) -> Vec<Arc<SnapshotManifest>> {
        self.nodes.get(&id).map(|node| kept(&node.snapshots)).unwrap_or_default()
    }

    /// Tells a node's engine, a little later, what a thread beside it has done.
    fn report(&mut self, id: NodeId, report: Report) {
        let due = self.now + self.work(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let boot = node.boot;
        let Some(process) = node.process.as_mut() else { return };
        process.desk.reports.push_back(report);
        self.agenda.enter(due, Task::Report { node: id, boot });
    }

    /// The driver's side hears the oldest report.
    pub(crate) fn hear_report(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let local = node.local(self.now);
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let desk = &mut process.desk;
        match desk.reports.pop_front() {
            Some(Report::Taken(index)) => desk.policy.taken(index),
            Some(Report::PutOff) => desk.policy.postponed(local),
            Some(Report::NotTaken) => desk.policy.failed(local),
            Some(Report::TrimWanted(wanted)) if desk.installations.may_trim(wanted.base) => {
                self.queue_trim(id, wanted);
            }
            Some(Report::Installed(state)) => {
                desk.policy.taken(state.position.index);
                desk.installations.installed(state.clone());
                self.queue_trim(id, WantedTrim { base: state.position, kept: None });
            }
            Some(Report::TrimWanted(_)) | None => {}
        }
        Ok(())
    }

    /// Where something was turned away since `before`, the fault that is to blame has struck.
    fn note_refusals(&mut self, id: NodeId, before: u64) -> Result<(), Violation> {
        if self.turned_away(id) == before {
            return Ok(());
        }
        self.note(Happening::NoRoom(id));
        self.no_room(id)
    }

    fn turned_away(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.snapshots.turned_away())
    }
}
