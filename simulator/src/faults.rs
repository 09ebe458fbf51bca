//! What can go wrong, by hand: crashes with the loss of what was not synced, restarts, pauses, cuts, lost messages.

use consensus_api::{LogIndex, LogStore, NodeId, Write};

use crate::agenda::{Place, Task};
use crate::checks::Violation;
use crate::disk::Fate;
use crate::node::Node;
use crate::protocol::Protocol;
use crate::trace::{Happening, Lost, Parcel};
use crate::world::World;

/// What a power loss leaves of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survivors {
    /// How many of the log writes that were under way, the oldest first.
    pub writes: usize,
    /// How many of the tables' unflushed batches, the oldest first.
    pub batches: usize,
    /// Whether what was received of a snapshot is still there.
    pub incoming: bool,
}

/// Which messages on their way are meant; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Sent by this node.
    pub from: Option<NodeId>,
    /// Sent to this node.
    pub to: Option<NodeId>,
    /// Of this name.
    pub kind: Option<String>,
    /// Only the how-manyth of them, from 1, in the order of sending.
    pub nth: Option<usize>,
}

impl<P: Protocol> World<P> {
    /// A node's process dies, and what was not synced with it, except for the survivors.
    pub fn crash(&mut self, id: NodeId, survivors: Survivors) -> Result<(), Violation> {
        let fates = Fate::prefix(survivors.writes, self.at_stake(id).writes);
        self.crash_with(id, &fates, survivors)
    }

    /// A node's process dies. Each of its writes under way has its fate, the oldest first, and of its tables' unflushed
    /// batches, and of the snapshot that it receives, so much survives.
    pub fn crash_with(&mut self, id: NodeId, fates: &[Fate], survivors: Survivors) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(process) = node.process.take() else { return Ok(()) };
        node.tables.crash(survivors.batches);
        node.snapshots.crash(survivors.incoming);
        let base = node.disk.base().index;
        let mut writes = Vec::from(process.writes);
        writes.iter_mut().for_each(|write| write.skip_through(base));
        let records: Vec<&[Write]> = writes.iter().map(std::slice::from_ref).collect();
        let kept = node.disk.lose_power(&records, fates);
        let kept = kept.map_err(|error| Violation::Engine { node: id, what: error.to_string() })?;
        self.atlas.down(id);
        for task in &process.held {
            match task {
                Task::Deliver(it) => self.network.left(it.from, it.to, it.lane),
                Task::DeliverPiece(it) => self.network.left(it.from, it.to, it.lane),
                _ => {}
            }
        }
        self.check_written(id, &writes[..kept])?;
        self.note(Happening::Crashed { node: id, lost: writes.len() - kept, kept });
        if self.is_change_under_way_with(id) {
            self.note(Happening::ChangeInterrupted(id));
        }
        let found = fates.iter().filter(|fate| **fate != Fate::Missing).count();
        if found > kept {
            self.note(Happening::TailCut { node: id, found, kept });
        }
        Ok(())
    }

    /// How many log writes and table batches a crash of the node could lose now.
    pub fn at_stake(&self, id: NodeId) -> Survivors {
        let Some(node) = self.nodes.get(&id) else { return Survivors::default() };
        let writes = node.process.as_ref().map_or(0, |process| process.writes.len());
        Survivors { writes, batches: node.tables.unflushed(), incoming: true }
    }

    /// A node that is down runs again.
    pub fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id).filter(|node| node.process.is_none()) else { return Ok(()) };
        let boot = node.boot + 1;
        self.note(Happening::Restarted(id, boot));
        self.start(id)
    }

    /// A node stands still: what comes to it waits.
    pub fn pause(&mut self, id: NodeId) {
        if let Some(process) = self.process_mut(id) {
            process.paused = true;
            self.note(Happening::Paused(id));
        }
    }

    /// A paused node goes on, and what waited for it happens now.
    pub fn resume(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(process) = self.process_mut(id)
            && process.paused
        {
            process.paused = false;
            let held = std::mem::take(&mut process.held);
            for task in held {
                self.agenda.enter(now, task);
            }
            self.note(Happening::Resumed(id));
        }
    }

    /// Nothing gets from the one to the other any more, nor does what is on its way.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        if self.network.cut(from, to) {
            self.note(Happening::Cut(from, to));
        }
    }

    /// One cut of the link has ended; it is whole when all have.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        if self.network.mend(from, to) {
            self.note(Happening::Mended(from, to));
        }
    }

    /// One clog of the link has ended; when all have, what it kept arrives at once.
    pub(crate) fn unclog(&mut self, from: NodeId, to: NodeId) {
        if self.network.unclog(from, to) {
            self.agenda.release(self.now, from, to);
        }
    }

    /// All links are whole and free.
    pub fn heal(&mut self) {
        let was_whole = self.network.is_whole();
        self.network.heal();
        self.agenda.release_all(self.now);
        if !was_whole {
            self.note(Happening::Healed);
        }
    }

    /// Changes what links do from now on.
    pub fn set_links(&mut self, links: crate::world::LinkFaults) {
        self.network.set_faults(links);
    }

    /// Delivers messages that are on their way now, though not what is sent in answer.
    pub fn deliver_which(&mut self, which: &Which) -> Result<usize, Violation> {
        let parcels = self.take_parcels(which);
        let count = parcels.len();
        for parcel in parcels {
            self.deliver(parcel)?;
        }
        Ok(count)
    }

    /// Loses messages that are on their way.
    pub fn drop_which(&mut self, which: &Which) -> usize {
        let parcels = self.take_parcels(which);
        let count = parcels.len();
        for parcel in parcels {
            self.network.left(parcel.from, parcel.to, parcel.lane);
            self.note(Happening::NotDelivered(parcel, Lost::Dropped));
        }
        count
    }

    /// Doubles messages that are on their way.
    pub fn duplicate_which(&mut self, which: &Which) -> usize {
        let parcels = self.take_parcels(which);
        let count = parcels.len();
        for parcel in parcels {
            self.network.doubled(parcel.from, parcel.to, parcel.lane);
            for copy in [parcel.clone(), parcel.clone()] {
                self.agenda.enter(self.now, Task::Deliver(copy));
            }
            self.note(Happening::Doubled(parcel));
        }
        count
    }

    /// Keeps messages from arriving until they are handed in, however late that is.
    pub fn hold_which(&mut self, which: &Which) -> Vec<Parcel<P::Message>> {
        self.take_parcels(which)
    }

    /// A message that was held arrives now, though not what is sent in answer.
    pub fn hand_in(&mut self, parcel: Parcel<P::Message>) -> Result<(), Violation> {
        self.deliver(parcel)
    }

    /// How many of these messages are on their way; those that are held do not count.
    pub fn on_the_way(&self, which: &Which) -> usize {
        self.places(which).len()
    }

    fn places(&self, which: &Which) -> Vec<Place> {
        let is_meant = |parcel: &Parcel<P::Message>| {
            let of_kind = |kind: &String| P::name(&parcel.message) == *kind;
            which.from.is_none_or(|from| parcel.from == from)
                && which.to.is_none_or(|to| parcel.to == to)
                && which.kind.as_ref().is_none_or(of_kind)
        };
        let meant = self.agenda.parcels().into_iter().filter(|(_, parcel)| is_meant(parcel)).map(|(place, _)| place);
        match which.nth {
            Some(nth) => meant.skip(nth.saturating_sub(1)).take(1).collect(),
            None => meant.collect(),
        }
    }

    fn take_parcels(&mut self, which: &Which) -> Vec<Parcel<P::Message>> {
        let places = self.places(which);
        let taken = places.into_iter().filter_map(|place| self.agenda.take(place));
        taken.filter_map(|task| if let Task::Deliver(parcel) = task { Some(parcel) } else { None }).collect()
    }

    /// Lets a running node's tables reach its disk, as a store does in its own time. Where the disk fails that, the process
    /// ends.
    pub fn flush_tables(&mut self, id: NodeId) -> Result<(), Violation> {
        let waits = |node: &&Node<P>| node.process.is_some() && node.tables.unflushed() > 0;
        let Some(node) = self.nodes.get(&id).filter(waits) else { return Ok(()) };
        match node.disk.flush_tables() {
            Ok(()) => {
                node.tables.persist(usize::MAX);
                Ok(())
            }
            Err(error) => self.disk_failed(id, error),
        }
    }

    /// The last index that a node's tables hold durably.
    pub fn persisted(&self, id: NodeId) -> LogIndex {
        self.nodes.get(&id).map_or(LogIndex::ZERO, Node::persisted)
    }
}
