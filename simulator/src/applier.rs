//! What the applier's thread does in service: applies committed entries in batches, tells their proposers, and puts
//! snapshots in the place of the tables, one job after another.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::membership::VOID_REPLY;
use consensus_api::{Input, NodeId, Payload, SharedEntry, SnapshotManifest, StateMachine};

use crate::agenda::Task;
use crate::answers::Answer;
use crate::checks::Violation;
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::{World, disks};

/// Tables are compared after each application that ends at a multiple of this, and now and then besides: a hash over
/// all of them each time would be most of the work.
const DIGEST_EVERY: u64 = 8;

/// What the applier is asked.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Apply these, the next in order.
    Apply {
        /// How many installations the engine had heard of when it handed them out.
        epoch: u64,
        /// The entries.
        entries: Vec<SharedEntry>,
    },
    /// Put this snapshot in the place of the tables.
    Install(Arc<SnapshotManifest>),
}

/// What is done at once: the first job, with those that wait behind it and are of its kind. Entries of another epoch
/// than the tables' own belong to tables that were replaced, and are passed over.
pub(crate) fn next_job(jobs: &mut VecDeque<Job>, own: u64) -> Option<Job> {
    let mut all = Vec::new();
    while let Some(Job::Apply { .. }) = jobs.front() {
        if let Some(Job::Apply { epoch, entries }) = jobs.pop_front()
            && epoch == own
        {
            all.extend(entries);
        }
    }
    if all.is_empty() { jobs.pop_front() } else { Some(Job::Apply { epoch: own, entries: all }) }
}

impl<P: Protocol> World<P> {
    pub(crate) fn hand_over(&mut self, id: NodeId, entries: Vec<SharedEntry>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        self.checks.committed((id, &node.disk), &entries, &disks(&self.nodes))?;
        self.note(Happening::Committed(id, entries.clone()));
        let Some(process) = self.process_mut(id) else { return Ok(()) };
        process.desk.policy.count(&entries);
        let epoch = process.desk.installations.epoch();
        self.hand_in_job(id, Job::Apply { epoch, entries });
        Ok(())
    }

    pub(crate) fn hand_in_job(&mut self, id: NodeId, job: Job) {
        let is_first = self.process(id).is_some_and(|process| process.jobs.is_empty());
        if is_first {
            self.apply_soon(id);
        }
        if let Some(process) = self.process_mut(id) {
            process.jobs.push_back(job);
        }
    }

    fn apply_soon(&mut self, id: NodeId) {
        let due = self.now + self.work(id);
        if let Some(node) = self.nodes.get(&id) {
            self.agenda.enter(due, Task::Apply { node: id, boot: node.boot });
        }
    }

    /// The applier does its next job.
    pub(crate) fn apply(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(process) = self.process_mut(id) else { return Ok(()) };
        let job = next_job(&mut process.jobs, process.epoch);
        if !process.jobs.is_empty() {
            self.apply_soon(id);
        }
        match job {
            Some(Job::Apply { entries, .. }) => self.apply_entries(id, entries),
            Some(Job::Install(manifest)) => self.install(id, &manifest),
            None => Ok(()),
        }
    }

    fn apply_entries(&mut self, id: NodeId, entries: Vec<SharedEntry>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        // Most of what the machine reads is in the tables' memory.
        if let Err(error) = node.disk.read_tables()
            && self.random.below(4) == 0
        {
            return self.disk_failed(id, error);
        }
        let replies =
            process.apply(&entries).map_err(|error| Violation::Engine { node: id, what: error.to_string() })?;
        let Some(through) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        self.checks.applied(id, &entries)?;
        self.check_members(id, &entries, &replies)?;
        for news in self.checks.replied(id, &entries, &replies)? {
            self.note(Happening::Session(id, news));
        }
        if through.0.is_multiple_of(DIGEST_EVERY) {
            self.compare_digest(id)?;
        }
        self.note(Happening::Applied(id, through));
        if self.moment(id, Moment::NextApply)? || self.answer_proposers(id, &entries, replies)? {
            return Ok(());
        }
        let Some(process) = self.process_mut(id) else { return Ok(()) };
        process.desk.installations.applied(through);
        let boot = self.feed(id, Input::Applied { through });
        self.keep_time(id);
        boot.map_or(Ok(()), |boot| self.settle_soon(id, boot))
    }

    /// Where entries name members, the tables name those that all tables do.
    fn check_members(&mut self, id: NodeId, entries: &[SharedEntry], replies: &[Bytes]) -> Result<(), Violation> {
        let names = |entry: &SharedEntry| matches!(entry.payload, Payload::Membership { .. });
        if !entries.iter().any(names) {
            return Ok(());
        }
        let Some(state) = self.process(id).and_then(|process| process.machine.applied().ok()) else { return Ok(()) };
        for (entry, reply) in entries.iter().zip(replies).filter(|(entry, _)| names(entry)) {
            let is_void = reply.as_ref() == VOID_REPLY;
            self.checks.named(id, entry.index, is_void)?;
            self.note(Happening::Named(id, entry.clone(), is_void));
        }
        self.checks.members_at(id, &state)
    }

    /// As the applier does: the clients first, one by one, and then the engine. True where a crash comes between.
    fn answer_proposers(
        &mut self,
        id: NodeId,
        entries: &[SharedEntry],
        replies: Vec<Bytes>,
    ) -> Result<bool, Violation> {
        let Some(boot) = self.nodes.get(&id).map(|node| node.boot) else { return Ok(true) };
        let through = entries.last().map(|entry| entry.index).unwrap_or_default();
        for (entry, reply) in entries.iter().zip(replies) {
            if let Some(request) = entry.payload.request_id()
                && (request.origin, request.boot) == (id, boot)
            {
                self.checks.acknowledged(request, entry.index)?;
                if self.reading.contains_key(&request) {
                    self.serve_read_at(id, request, through)?;
                } else {
                    self.note(Happening::Acknowledged(request, entry.index));
                    self.answer(Answer::Done { id: request, reply });
                }
                if self.moment(id, Moment::NextAnswer)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
