//! What a node's inputs lead to: the world does here what the driver's threads do in service.
//!
//! ```text
//!   step ─▶ settle ─┬─▶ write ──▶ sync ──────▶ Persisted ─▶ step
//!                   ├─▶ message ─▶ link ──────▶ Message ──▶ step (of another node)
//!                   ├─▶ entries ─▶ applier ───▶ Applied ──▶ step
//!                   └─▶ read-back ─▶ log ─────▶ EntriesRead ─▶ step
//! ```

use std::sync::Arc;
use std::time::Duration;

use consensus_api::random::SeededRandom;
use consensus_api::{
    Input, LogStore, Membership, NodeId, Outgoing, ReadBack, Refused, RequestId, Role, RoleChange, SendSnapshot,
    SharedEntry, StateMachine, StoreId, Write, codec,
};
use replica::core::Outlet;

use crate::agenda::Task;
use crate::answers::Answer;
use crate::checks::Violation;
use crate::network::{Fate, SpanUs};
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::{Happening, Lost, Parcel};
use crate::world::{World, disks};

impl<P: Protocol> World<P> {
    /// Gives a running node an input, and hands its effects out, now or a little later with those of more inputs.
    pub(crate) fn input(
        &mut self,
        id: NodeId,
        cause: Happening<P::Message>,
        input: Input<P::Message>,
    ) -> Result<(), Violation> {
        match self.step(id, cause, input) {
            Some(boot) => self.settle_soon(id, boot),
            None => Ok(()),
        }
    }

    pub(crate) fn settle_soon(&mut self, id: NodeId, boot: u64) -> Result<(), Violation> {
        if self.random.below(1000) >= self.config.batching_permille {
            return self.settle(id);
        }
        let due = self.now + self.work(id);
        self.agenda.enter(due, Task::Settle { node: id, boot });
        Ok(())
    }

    /// Gives a running node an input and leaves the effects where they are; returns its boot number.
    pub(crate) fn step(&mut self, id: NodeId, cause: Happening<P::Message>, input: Input<P::Message>) -> Option<u64> {
        self.process(id).filter(|process| !process.paused)?;
        self.note(cause);
        self.feed(id, input)
    }

    /// As [`World::step`], where the cause is noted already.
    pub(crate) fn feed(&mut self, id: NodeId, input: Input<P::Message>) -> Option<u64> {
        let node = self.nodes.get_mut(&id)?;
        let local = node.local(self.now);
        let process = node.process.as_mut().filter(|process| !process.paused)?;
        process.core.step(local, input);
        process.is_unsettled = true;
        Some(node.boot)
    }

    /// The engine hears how often the machine wants the log's time to go forward, where that has changed.
    pub(crate) fn keep_time(&mut self, id: NodeId) {
        let Some(process) = self.process_mut(id) else { return };
        let every = process.machine.time_wanted();
        if every != std::mem::replace(&mut process.time_wanted, every) {
            self.feed(id, Input::KeepTime { every });
        }
    }

    /// Takes a node's effects and sees to each.
    pub(crate) fn settle(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(process) = self.process_mut(id) else { return Ok(()) };
        let actions = process.core.take();
        process.is_unsettled = false;
        match actions.hand_out(&mut Hands { world: self, id }) {
            Ok(()) => {
                self.look_at_policy(id);
                self.examine(id)
            }
            Err(Stop::Down) => Ok(()),
            Err(Stop::Violation(violation)) => Err(violation),
        }
    }

    fn examine(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(process) = self.process(id) else { return Ok(()) };
        let status = process.core.engine().status();
        if process.reported != (status.role, status.leader) {
            let what = format!("is {:?} of {:?}, but has not said so", status.role, status.leader);
            return Err(Violation::Engine { node: id, what });
        }
        self.checks.stepped(id, &status)?;
        self.note_settled();
        Ok(())
    }

    /// Tells of each change of members, once it is settled.
    fn note_settled(&mut self) {
        while let Some(pair) = self.checks.configurations().chain().get(self.settled_noted..self.settled_noted + 2) {
            let (before, after) = (&pair[0].1, pair[1].1.clone());
            let promoted = after.voters.intersection(&before.learners).count();
            self.settled_noted += 1;
            self.note(Happening::Settled(after, promoted));
        }
    }

    fn send(&mut self, from: NodeId, outgoing: Outgoing<P::Message>) -> Result<(), Violation> {
        let Outgoing { to, lane, message, .. } = outgoing;
        if let Some((node, status)) = self.nodes.get(&from).and_then(|node| Some((node, node.status()?))) {
            let (vouched, carried) = (P::vouched(&message), P::carried(&message));
            self.checks.sent((from, &node.disk), status.commit_index, &vouched, carried.as_ref())?;
            if P::is_vote(&message) {
                self.checks.voted((from, node.store))?;
            }
        }
        let fate = self.network.send((from, to, lane), self.now, &mut self.random);
        let parcel = Parcel { from, to, lane, stores: self.connected(from, to), message: Arc::new(message) };
        let happening = match fate {
            Fate::Lost => Happening::NotDelivered(parcel, Lost::OnTheWay),
            Fate::NoRoom => Happening::NotDelivered(parcel, Lost::NoRoom),
            Fate::Arrives(first, second) => {
                for due in [first].into_iter().chain(second) {
                    self.agenda.enter(due, Task::Deliver(parcel.clone()));
                }
                Happening::Sent(parcel)
            }
        };
        self.note(happening);
        Ok(())
    }

    pub(crate) fn deliver(&mut self, parcel: Parcel<P::Message>) -> Result<(), Violation> {
        let Parcel { from, to, lane, stores, .. } = parcel;
        if self.network.is_clogged(from, to) {
            self.agenda.keep((from, to), Task::Deliver(parcel));
            return Ok(());
        }
        self.network.left(from, to, lane);
        if let Some(why) = self.why_not_delivered((from, to), stores) {
            self.note(Happening::NotDelivered(parcel, why));
            return Ok(());
        }
        // Through the codec, as on a wire: what the engine hears is what was encoded.
        let over_the_wire = codec::encode(&*parcel.message).and_then(|bytes| codec::decode::<P::Message>(&bytes));
        match over_the_wire {
            Ok(message) if message == *parcel.message => {
                if let Some(process) = self.process_mut(to) {
                    process.heard += 1;
                }
                self.input(to, Happening::Received(parcel), Input::Message { from, message })
            }
            other => {
                let what = format!("sent {:?}, which the codec turns into {other:?}", parcel.message);
                Err(Violation::Engine { node: from, what })
            }
        }
    }

    pub(crate) fn why_not_delivered(&self, (from, to): (NodeId, NodeId), stores: (StoreId, StoreId)) -> Option<Lost> {
        if self.network.is_cut(from, to) {
            return Some(Lost::OnTheWay);
        }
        if self.stores(from, to) != stores || !self.admits(from, to) {
            return Some(Lost::Stranger);
        }
        self.process(to).is_none().then_some(Lost::NobodyThere)
    }

    /// How long a piece of the node's own work takes.
    pub(crate) fn work(&mut self, id: NodeId) -> Duration {
        let times = self.nodes.get(&id).map_or(1, |node| node.slowness.work);
        slowed(self.config.local, times, &mut self.random)
    }

    fn begin_write(&mut self, id: NodeId, write: Write) -> Result<(), Violation> {
        self.note(Happening::Wrote(id, write.clone()));
        self.checks.logs(self.identity(id), &write, &disks(&self.nodes))?;
        if let Some(process) = self.process_mut(id) {
            process.queue(write);
        }
        self.begin_sync(id);
        Ok(())
    }

    /// One sync is in progress at a time, for all the writes that wait when it begins.
    pub(crate) fn begin_sync(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let due = self.now + slowed(self.config.sync, node.slowness.sync, &mut self.random);
        let boot = node.boot;
        let Some(process) = node.process.as_mut() else { return };
        let waits = !process.writes.is_empty() || !process.trims.is_empty();
        if process.syncing.is_none() && waits {
            process.syncing = Some(process.writes.len());
            self.agenda.enter(due, Task::Sync { node: id, boot });
        }
    }

    pub(crate) fn finish_sync(&mut self, id: NodeId) -> Result<(), Violation> {
        let count = self.process_mut(id).and_then(|process| process.syncing.take());
        self.persist(id, count.unwrap_or(0))?;
        self.begin_sync(id);
        Ok(())
    }

    /// The oldest `count` of a node's pending writes are durable, the log is trimmed as far as that was to come before the
    /// next one, and the node hears of it.
    pub fn persist(&mut self, id: NodeId, count: usize) -> Result<(), Violation> {
        let mut rest = self.process(id).map_or(0, |process| process.writes.len().min(count));
        loop {
            self.trim_log(id)?;
            // A trim ends the group, as in the writer.
            let group = self.process(id).map_or(0, |process| process.group_len(rest));
            if group == 0 {
                return Ok(());
            }
            self.persist_group(id, group)?;
            rest -= group;
        }
    }

    fn persist_group(&mut self, id: NodeId, count: usize) -> Result<(), Violation> {
        let Some((mut group, last)) = self.process_mut(id).and_then(|process| process.take_writes(count)) else {
            return Ok(());
        };
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let base = node.disk.base().index;
        group.iter_mut().for_each(|write| write.skip_through(base));
        if let Err(error) = node.disk.write(&group) {
            if let Some(process) = &mut node.process {
                process.give_back(group);
            }
            return self.disk_failed(id, error);
        }
        self.check_written(id, &group)?;
        if self.moment(id, Moment::NextSyncDone)? {
            return Ok(());
        }
        self.input(id, Happening::Synced(id, last), Input::Persisted { write: last })
    }

    pub(crate) fn check_written(&mut self, id: NodeId, writes: &[Write]) -> Result<(), Violation> {
        self.checks.written(self.identity(id), writes, &disks(&self.nodes))
    }

    fn begin_read_back(&mut self, id: NodeId, wanted: ReadBack) {
        self.note(Happening::ReadBackWanted(id, wanted));
        let due = self.now + self.work(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(process) = node.process.as_mut() else { return };
        process.read_backs.push_back(wanted);
        self.agenda.enter(due, Task::ReadBack { node: id, boot: node.boot });
    }

    pub(crate) fn read_back(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let Some(wanted) = process.read_backs.pop_front() else { return Ok(()) };
        let entries = match node.disk.read(wanted.first..=wanted.last, wanted.bytes_max) {
            Ok(entries) => entries,
            Err(error) => return self.disk_failed(id, error),
        };
        let cause = Happening::EntriesRead(id, entries.len());
        self.input(id, cause, Input::EntriesRead { id: wanted.id, entries })
    }

    /// Compares a running node's tables with every other's that stood at the same index.
    pub fn compare_digest(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(process) = self.process(id) else { return Ok(()) };
        let (index, digest) =
            process.digest().map_err(|error| Violation::Engine { node: id, what: error.to_string() })?;
        self.checks.digest(id, index, digest)
    }
}

/// A node's hands: what its driver would see to, the world does.
struct Hands<'a, P: Protocol> {
    world: &'a mut World<P>,
    id: NodeId,
}

/// Why a node's effects are not seen to any further.
enum Stop {
    /// A crash was waiting for this moment.
    Down,
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Stop {
        Stop::Violation(violation)
    }
}

impl<P: Protocol> Hands<'_, P> {
    fn moment(&mut self, moment: Moment) -> Result<(), Stop> {
        if self.world.moment(self.id, moment)? { Err(Stop::Down) } else { Ok(()) }
    }
}

impl<P: Protocol> Outlet<P::Message> for Hands<'_, P> {
    type Stop = Stop;

    fn change_role(&mut self, change: RoleChange) -> Result<(), Stop> {
        if let Some(process) = self.world.process_mut(self.id) {
            process.reported = (change.role, change.leader);
        }
        self.world.note(Happening::Role(self.id, change));
        if change.role == Role::Leader { self.moment(Moment::NextElected) } else { Ok(()) }
    }

    fn change_contacts(&mut self, contacts: &Membership) -> Result<(), Stop> {
        if let Some(process) = self.world.process_mut(self.id) {
            process.standing.change(contacts);
        }
        self.world.note(Happening::Contacts(self.id, contacts.members.keys().copied().collect()));
        Ok(())
    }

    fn write(&mut self, write: Write) -> Result<(), Stop> {
        self.world.begin_write(self.id, write)?;
        self.moment(Moment::NextWriteBegun)
    }

    fn send(&mut self, messages: Vec<Outgoing<P::Message>>) -> Result<(), Stop> {
        for message in messages {
            self.world.send(self.id, message)?;
            self.moment(Moment::NextSend)?;
        }
        Ok(())
    }

    fn apply(&mut self, entries: Vec<SharedEntry>) -> Result<(), Stop> {
        Ok(self.world.hand_over(self.id, entries)?)
    }

    fn serve(&mut self, reads: Vec<RequestId>) -> Result<(), Stop> {
        Ok(reads.into_iter().try_for_each(|read| self.world.serve_read(self.id, read))?)
    }

    fn refuse(&mut self, refused: Vec<Refused>) -> Result<(), Stop> {
        for refused in refused {
            self.world.checks.refused(refused.id, &refused.reason)?;
            self.world.answer(Answer::Refused { id: refused.id, reason: refused.reason.clone() });
            self.world.note(Happening::Refused(refused));
        }
        Ok(())
    }

    fn read_back(&mut self, wanted: ReadBack) -> Result<(), Stop> {
        self.world.begin_read_back(self.id, wanted);
        Ok(())
    }

    fn send_snapshot(&mut self, wanted: SendSnapshot) -> Result<(), Stop> {
        self.world.send_snapshot(self.id, wanted)?;
        // A crash may have been waiting for a chunk.
        if self.world.process(self.id).is_none() { Err(Stop::Down) } else { Ok(()) }
    }
}

/// What is slowed down takes some time even where it takes none otherwise.
fn slowed(span: SpanUs, times: u32, random: &mut SeededRandom) -> Duration {
    let usual = span.draw(random);
    if times <= 1 { usual } else { usual.max(Duration::from_millis(1)) * times }
}
