//! What is due, and when: a queue in order of virtual time, and within an instant in the order of entry. What a clogged
//! link keeps stands aside until the link is free.

use std::collections::BTreeMap;

use consensus_api::{MonoTime, NodeId};
use replica::transfer::TransferMessage;

use crate::trace::Parcel;

/// Something that will happen unless a fault prevents it.
#[derive(Clone, Debug)]
pub(crate) enum Task<M> {
    /// A message arrives.
    Deliver(Parcel<M>),
    /// A message of a transfer arrives.
    DeliverPiece(Parcel<TransferMessage>),
    /// A group of a node's writes reaches the disk, or its log is trimmed.
    Sync { node: NodeId, boot: u64 },
    /// A node's applier does its next job.
    Apply { node: NodeId, boot: u64 },
    /// A node's reader fetches what its engine asked for.
    ReadBack { node: NodeId, boot: u64 },
    /// A node hands out the effects of the steps so far.
    Settle { node: NodeId, boot: u64 },
    /// A node takes a snapshot of its tables.
    Take { node: NodeId, boot: u64 },
    /// A node's driver hears what became of a snapshot.
    Report { node: NodeId, boot: u64 },
}

impl<M> Task<M> {
    /// To whom it happens.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Task::Deliver(parcel) => parcel.to,
            Task::DeliverPiece(parcel) => parcel.to,
            Task::Sync { node, .. }
            | Task::Apply { node, .. }
            | Task::ReadBack { node, .. }
            | Task::Settle { node, .. }
            | Task::Take { node, .. }
            | Task::Report { node, .. } => *node,
        }
    }

    /// Whether it happens within a node, without its links and its log's disk.
    fn is_internal(&self) -> bool {
        !matches!(self, Task::Deliver(_) | Task::DeliverPiece(_) | Task::Sync { .. })
    }
}

/// Which tasks are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    Everything,
    /// Those that happen within a node, without its links and its log's disk.
    Internal,
}

/// A task's place: when it is due, and the how-manyth it was entered.
pub(crate) type Place = (MonoTime, u64);

/// Everything that is due.
#[derive(Clone, Debug)]
pub(crate) struct Agenda<M> {
    internal: BTreeMap<Place, Task<M>>,
    external: BTreeMap<Place, Task<M>>,
    kept: BTreeMap<(NodeId, NodeId), Vec<Task<M>>>,
    entered: u64,
}

impl<M> Agenda<M> {
    pub(crate) fn new() -> Agenda<M> {
        Agenda { internal: BTreeMap::new(), external: BTreeMap::new(), kept: BTreeMap::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, due: MonoTime, task: Task<M>) {
        self.entered += 1;
        let queue = if task.is_internal() { &mut self.internal } else { &mut self.external };
        queue.insert((due, self.entered), task);
    }

    /// The earliest of these tasks.
    pub(crate) fn first(&self, scope: Scope) -> Option<Place> {
        let internal = self.internal.first_key_value().map(|(place, _)| *place);
        let external = self.external.first_key_value().map(|(place, _)| *place);
        match (scope, internal, external) {
            (Scope::Internal, internal, _) => internal,
            (Scope::Everything, Some(internal), Some(external)) => Some(internal.min(external)),
            (Scope::Everything, internal, external) => internal.or(external),
        }
    }

    pub(crate) fn take(&mut self, place: Place) -> Option<Task<M>> {
        self.internal.remove(&place).or_else(|| self.external.remove(&place))
    }

    /// A clogged link keeps a message that would arrive.
    pub(crate) fn keep(&mut self, link: (NodeId, NodeId), arrival: Task<M>) {
        self.kept.entry(link).or_default().push(arrival);
    }

    /// The link is free: all that it kept arrives at once.
    pub(crate) fn release(&mut self, now: MonoTime, from: NodeId, to: NodeId) {
        for arrival in self.kept.remove(&(from, to)).unwrap_or_default() {
            self.enter(now, arrival);
        }
    }

    /// All links are free.
    pub(crate) fn release_all(&mut self, now: MonoTime) {
        while let Some(((from, to), _)) = self.kept.first_key_value() {
            let (from, to) = (*from, *to);
            self.release(now, from, to);
        }
    }

    /// The messages on their way, in order of entry.
    pub(crate) fn parcels(&self) -> Vec<(Place, &Parcel<M>)> {
        let mut parcels: Vec<_> = self
            .external
            .iter()
            .filter_map(|(place, task)| match task {
                Task::Deliver(parcel) => Some((*place, parcel)),
                _ => None,
            })
            .collect();
        parcels.sort_by_key(|((_, entered), _)| *entered);
        parcels
    }
}
