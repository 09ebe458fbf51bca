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
use crate::checks::Violation;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// A process's side of it: dies with it.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) policy: Policy,
    pub(crate) installations: Installations,
    pub(crate) courier: Courier<MemorySnapshots>,
    /// Whether one is wanted that nobody has begun to take.
    ordered: bool,
    /// Whether one is being taken.
    is_taking: bool,
    reports: VecDeque<Report>,
}

/// What the threads beside the engine tell it of snapshots.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// One was taken that covers everything up to here; or none was.
    Taken(Option<LogIndex>),
    /// The log may be trimmed up to here, as far as tables and snapshots go.
    TrimWanted(LogPosition),
    /// One has taken the place of the tables.
    Installed(AppliedState),
}

impl Desk {
    pub(crate) fn new(settings: &SnapshotSettings, store: &Arc<MemorySnapshots>, applied: LogIndex) -> Desk {
        Desk {
            policy: Policy::new(settings, newest(store).unwrap_or_default(), applied),
            installations: Installations::new(applied),
            courier: Courier::new(store.clone(), settings.transfer.clone(), applied),
            ordered: false,
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

/// What the newest one covers.
fn newest(store: &MemorySnapshots) -> Option<LogIndex> {
    kept(store).first().map(|manifest| manifest.position.index)
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
            Some(Report::Taken(Some(index))) => desk.policy.taken(index),
            Some(Report::Taken(None)) => desk.policy.failed(local),
            Some(Report::TrimWanted(position)) if desk.installations.may_trim(position) => {
                self.queue_trim(id, position)
            }
            Some(Report::Installed(state)) => {
                desk.policy.taken(state.position.index);
                desk.installations.installed(state.clone());
                self.queue_trim(id, state.position);
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
