//! A snapshot is taken, and the log trimmed behind it: in the order of the replica's snapshots thread and of its writer.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Input, LogIndex, LogPosition, LogStore, NodeId, SharedEntry, SnapshotStore};
use replica::{trim_target, would_remove_what_is_sent};

use super::{Report, kept, newest};
use crate::agenda::Task;
use crate::checks::{Trim, Violation};
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// Taking.
impl<P: Protocol> World<P> {
    /// A node is to take a snapshot, beside everything else.
    pub fn order_snapshot(&mut self, id: NodeId) {
        if let Some(process) = self.process_mut(id) {
            process.desk.ordered = true;
            self.begin_to_take(id);
        }
    }

    /// Where the policy says so, one is taken.
    pub(crate) fn look_at_policy(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let local = node.local(self.now);
        if node.process.as_mut().is_some_and(|process| process.desk.policy.is_due(local)) {
            self.order_snapshot(id);
        }
    }

    fn begin_to_take(&mut self, id: NodeId) {
        let due = self.now + self.work(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let boot = node.boot;
        let Some(process) = node.process.as_mut() else { return };
        if process.desk.ordered && !std::mem::replace(&mut process.desk.is_taking, true) {
            self.agenda.enter(due, Task::Take { node: id, boot });
        }
    }

    /// The tables as they are now are a snapshot, if there is room for it.
    pub(crate) fn take_snapshot(&mut self, id: NodeId) -> Result<(), Violation> {
        let before = self.turned_away(id);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let local = node.local(self.now);
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        (process.desk.ordered, process.desk.is_taking) = (false, false);
        let would_remove = would_remove_what_is_sent(&kept(&node.snapshots), &process.desk.courier.held(local));
        // As a checkpoint does, it makes some of what it covers durable in the tables too.
        node.tables.persist(self.random.below(node.tables.unflushed() as u64 + 1) as usize);
        let taken = if would_remove { None } else { node.snapshots.take().ok() };
        self.note_refusals(id, before)?;
        if let Some(manifest) = &taken {
            // What it is compared with where it is installed.
            self.compare_digest(id)?;
            self.note(Happening::SnapshotTaken(id, manifest.position.index));
            if self.moment(id, Moment::NextSnapshotTaken)? {
                return Ok(());
            }
        }
        let index = taken.map(|manifest| manifest.position.index);
        self.report(id, Report::Taken(index));
        if index.is_some() {
            self.want_trim(id)?;
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
        let Some(newest) = newest(&node.snapshots) else { return Ok(()) };
        let held = process.desk.courier.held(node.local(self.now));
        let target = trim_target(newest, tail_entries, node.persisted(), &held);
        // Damage that is trimmed before anybody meets it is none; where there is some it is to be met.
        if target <= node.disk.base().index || node.disk.is_damaged() {
            return Ok(());
        }
        match node.disk.read(target..=target, 0) {
            Ok(entries) => {
                if let Some(entry) = entries.first() {
                    let position = LogPosition { index: entry.index, ballot: entry.ballot };
                    self.report(id, Report::TrimWanted(position));
                }
                Ok(())
            }
            Err(error) => self.disk_failed(id, error),
        }
    }

    /// The log is to be trimmed after everything that was written before.
    pub(super) fn queue_trim(&mut self, id: NodeId, base: LogPosition) {
        if let Some(process) = self.process_mut(id) {
            let after = process.writes.back().map(|write| write.id).unwrap_or_default();
            process.trims.push_back((after, base));
            self.begin_sync(id);
        }
    }

    /// The trims whose turn has come are performed, and the engine hears of each.
    pub(crate) fn trim_log(&mut self, id: NodeId) -> Result<(), Violation> {
        while let Some(base) = self.process_mut(id).and_then(|process| process.next_trim()) {
            self.trim_to(id, base)?;
        }
        Ok(())
    }

    fn trim_to(&mut self, id: NodeId, base: LogPosition) -> Result<(), Violation> {
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
        let trim = Trim { base, is_installation, before, hard_state, persisted };
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
        let is_known = !process.is_unsettled;
        self.checks.heard_of_installation(id, process.next_write());
        self.input(id, cause, input)?;
        if is_known && let Some(status) = self.status(id) {
            self.checks.went_on_after(id, base, own.as_deref(), status.last_index)?;
        }
        self.moment(id, Moment::NextInstalled).map(drop)
    }

    /// What a node's log no longer holds.
    pub fn trimmed_through(&self, id: NodeId) -> LogIndex {
        self.nodes.get(&id).map_or(LogIndex::ZERO, |node| node.disk.base().index)
    }
}
