//! What is due, and when: a queue in order of virtual time, and within an instant in the order of entry.

use std::collections::BTreeMap;

use consensus_api::{MonoTime, NodeId};

use crate::trace::Parcel;

/// Something that will happen unless a fault prevents it.
#[derive(Clone, Debug)]
pub(crate) enum Task<M> {
    /// A message arrives.
    Deliver(Parcel<M>),
    /// A group of a node's writes reaches the disk.
    Sync { node: NodeId, boot: u64 },
    /// A node's state machine applies what waits.
    Apply { node: NodeId, boot: u64 },
    /// A node's reader fetches what its engine asked for.
    ReadBack { node: NodeId, boot: u64 },
    /// A node hands out the effects of the steps so far.
    Settle { node: NodeId, boot: u64 },
}

impl<M> Task<M> {
    /// To whom it happens.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Task::Deliver(parcel) => parcel.to,
            Task::Sync { node, .. }
            | Task::Apply { node, .. }
            | Task::ReadBack { node, .. }
            | Task::Settle { node, .. } => *node,
        }
    }

    /// Whether it happens within a node, without its links and its log's disk.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Task::Apply { .. } | Task::ReadBack { .. } | Task::Settle { .. })
    }
}

/// A task's place: when it is due, and the how-manyth it was entered.
pub(crate) type Place = (MonoTime, u64);

/// Everything that is due.
#[derive(Clone, Debug)]
pub(crate) struct Agenda<M> {
    tasks: BTreeMap<Place, Task<M>>,
    entered: u64,
}

impl<M> Agenda<M> {
    pub(crate) fn new() -> Agenda<M> {
        Agenda { tasks: BTreeMap::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, due: MonoTime, task: Task<M>) {
        self.entered += 1;
        self.tasks.insert((due, self.entered), task);
    }

    /// The earliest task among those that `wanted` names.
    pub(crate) fn first(&self, mut wanted: impl FnMut(&Task<M>) -> bool) -> Option<Place> {
        self.tasks.iter().find(|(_, task)| wanted(task)).map(|(place, _)| *place)
    }

    pub(crate) fn take(&mut self, place: Place) -> Option<Task<M>> {
        self.tasks.remove(&place)
    }

    /// The messages on their way, in order of entry.
    pub(crate) fn parcels(&self) -> Vec<(Place, &Parcel<M>)> {
        let mut parcels: Vec<_> = self
            .tasks
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
