//! A snapshot is taken, and the log trimmed behind it: in the order of the replica's snapshots thread and of its writer.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{AppliedState, Input, LogIndex, LogPosition, LogStore, NodeId, SharedEntry, SnapshotStore};
use replica::{trim_target, would_remove_what_is_sent};

use super::{Order, Report, WantedTrim, covered, kept};
use crate::agenda::Task;
use crate::checks::{Kept, Passage, Trim, Violation};
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// Taking.
impl<P: Protocol> World<P> {
    /// Somebody asks a node for a snapshot, to be taken beside everything else.
    pub fn order_snapshot(&mut self, id: NodeId) {
        self.order(id, Order::Demand);
    }

    pub(super) fn order(&mut self, id: NodeId, order: Order) {
        if let Some(process) = self.process_mut(id) {
            process.desk.ordered = process.desk.ordered.max(Some(order));
            self.begin_to_take(id);
        }
    }

    /// Where the policy says so, one is taken.
    pub(crate) fn look_at_policy(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let local = node.local(self.now);
        if node.process.as_mut().is_some_and(|process| process.desk.policy.is_due(local, process.core.applied())) {
            self.order(id, Order::Due);
        }
    }

    fn begin_to_take(&mut self, id: NodeId) {
        let due = self.now + self.work(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let boot = node.boot;
        let Some(process) = node.process.as_mut() else { return };
        if process.desk.ordered.is_some() && !std::mem::replace(&mut process.desk.is_taking, true) {
            self.agenda.enter(due, Task::Take { node: id, boot });
        }
    }

    /// The tables as they are now are a snapshot, if there is room for it.
    pub(crate) fn take_snapshot(&mut self, id: NodeId) -> Result<(), Violation> {
        let before = self.turned_away(id);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let local = node.local(self.now);
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        process.desk.is_taking = false;
        let is_demanded = process.desk.ordered.take() == Some(Order::Demand);
        if !is_demanded && would_remove_what_is_sent(&kept(&node.snapshots), &process.desk.courier.held(local)) {
            self.report(id, Report::PutOff);
            return Ok(());
        }
        // As a checkpoint does, it makes some of what it covers durable in the tables too.
        node.tables.persist(self.random.below(node.tables.unflushed() as u64 + 1) as usize);
        let taken = node.snapshots.take().ok();
        self.note_refusals(id, before)?;
        if let Some(manifest) = &taken {
            // What it is compared with where it is installed.
            self.compare_digest(id)?;
            self.note(Happening::SnapshotTaken(id, manifest.position.index));
            if self.moment(id, Moment::NextSnapshotTaken)? {
                return Ok(());
            }
        }
        match taken {
            Some(manifest) => {
                self.report(id, Report::Taken(manifest.position.index));
                self.want_trim(id)?;
            }
            None => self.report(id, Report::NotTaken),
        }
        self.begin_to_take(id);
        Ok(())
    }
}

/// Trimming.
impl<P: Protocol> World<P> {
    /// Finds out how far the log may be trimmed behind the newest snapshot.
    pub(crate) fn want_trim(&mut self, id: NodeId) -> Result<(), Violation> {
        let tail_entries = self.config.snapshots.tail_entries;
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let Some(process) = &node.process else { return Ok(()) };
        let mut covered = covered(&node.snapshots).into_iter();
        let (Some(newest), older) = (covered.next(), covered.next()) else { return Ok(()) };
        let held = process.desk.courier.held(node.local(self.now));
        let target = trim_target(newest, older, tail_entries, node.persisted(), &held);
        if target <= node.disk.base().index {
            return Ok(());
        }
        let kept = Some(Kept { newest, older, tail_entries, log_from: held.log_from });
        match node.disk.read(target..=target, 0) {
            Ok(entries) => {
                if let Some(entry) = entries.first() {
                    let base = LogPosition { index: entry.index, ballot: entry.ballot };
                    self.report(id, Report::TrimWanted(WantedTrim { base, kept }));
                }
                Ok(())
            }
            Err(error) => self.disk_failed(id, error),
        }
    }

    /// The log is to be trimmed after everything that was written before.
    pub(super) fn queue_trim(&mut self, id: NodeId, wanted: WantedTrim) {
        if let Some(process) = self.process_mut(id) {
            let after = process.writes.back().map(|write| write.id).unwrap_or_default();
            process.trims.push_back((after, wanted));
            self.begin_sync(id);
        }
    }

    /// The trims whose turn has come are performed, and the engine hears of each.
    pub(crate) fn trim_log(&mut self, id: NodeId) -> Result<(), Violation> {
        while let Some(wanted) = self.process_mut(id).and_then(|process| process.next_trim()) {
            self.trim_to(id, wanted)?;
        }
        Ok(())
    }

    fn trim_to(&mut self, id: NodeId, WantedTrim { base, kept }: WantedTrim) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let status = process.core.engine().status();
        let input: Input<P::Message> = process.desk.installations.trimmed(base, || status.membership);
        let is_installation = matches!(input, Input::SnapshotInstalled { .. });
        let (before, from) = (node.disk.durable_entries(), node.disk.base().index);
        let hard_state = node.disk.durable_hard_state();
        let is_kept = is_installation && is_planted(Bug::LogKeptByInstallation);
        if let Err(error) = if is_kept { Ok(()) } else { node.disk.trim(base) } {
            return self.disk_failed(id, error);
        }
        let persisted = node.persisted();
        let trim = Trim { base, kept: kept.filter(|_| !is_installation), before, hard_state, persisted };
        self.checks.trimmed((id, &node.disk), &trim)?;
        let entries = trim.before.iter().filter(|entry| entry.index <= base.index).count() as u64;
        if base.index > from {
            self.note(Happening::LogTrimmed { node: id, through: base.index, entries });
        }
        if self.moment(id, Moment::NextTrim)? {
            return Ok(());
        }
        let cause =
            if is_installation { Happening::GoesOnFrom(id, base.index) } else { Happening::Trimmed(id, base.index) };
        if !is_installation {
            return self.input(id, cause, input);
        }
        let own = trim.before.iter().find(|entry| entry.index == base.index);
        self.tell_of_installation(id, base, own, cause, input)
    }

    /// The engine hears that a snapshot stands for the log up to `base`, where the disk held `own` before.
    fn tell_of_installation(
        &mut self,
        id: NodeId,
        base: LogPosition,
        own: Option<&SharedEntry>,
        cause: Happening<P::Message>,
        input: Input<P::Message>,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(id) else { return Ok(()) };
        let own = process.entry_at(base.index, own);
        // A Raft engine may have put another entry there, which it has yet to hand out. A Paxos slot stands by itself.
        let is_known = !process.is_unsettled || !P::ROUND_IS_EPOCH;
        let before = process.core.engine().status().last_index;
        let next = process.next_write();
        if let Input::SnapshotInstalled { base, log_time, membership } = &input {
            let state = AppliedState { position: *base, log_time: *log_time, membership: Some(membership.clone()) };
            self.checks.heard_of_installation(id, next, &state);
        }
        self.input(id, cause, input)?;
        if is_known && let Some(after) = self.status(id).map(|status| status.last_index) {
            self.checks.went_on_after(id, &Passage { base, own: own.map(|own| own.ballot), before, after })?;
        }
        self.moment(id, Moment::NextInstalled).map(drop)
    }

    /// What a node's log no longer holds.
    pub fn trimmed_through(&self, id: NodeId) -> LogIndex {
        self.nodes.get(&id).map_or(LogIndex::ZERO, |node| node.disk.base().index)
    }
}
