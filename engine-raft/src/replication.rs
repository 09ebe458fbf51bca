//! The leader's side of replication: sending entries, counting acknowledgements, committing.
//!
//! ```text
//!            ┌───────┐  Matched   ┌───────────┐
//!    ──────▶ │ Probe │ ─────────▶ │ Replicate │   Probe: one message per interval or answer, until the logs meet
//!            │       │ ◀───────── │           │   Replicate: as many as the limits allow, without waiting
//!            └───────┘  Conflict, └───────────┘
//!                ▲      no answer      │ needs what is trimmed
//!                └─────[ Snapshot ]◀───┘
//! ```
//!
//! Entries leave when the effects are taken, so that everything that was proposed since goes in one message, and they
//! do not wait for this node's disk (thesis §10.2.1). This node's own copy counts toward the quorum when it is durable.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    Ballot, Effects, EngineConfig, LogIndex, LogPosition, MonoTime, NodeId, Outgoing, SharedEntry, WriteId,
};

use crate::Raft;
use crate::catch_up::ReadBacks;
use crate::log::Log;
use crate::message::{Append, AppendOutcome, AppendReply, Heartbeat, HeartbeatReply, Message};
use crate::planted;
use crate::role::{Leader, Phase, Progress, RoleState};

/// A peer that answers nothing for this many heartbeat intervals has lost what is in flight to it.
const STALL_INTERVALS: u32 = 4;

/// What sending to a peer needs of the rest of the engine.
pub(crate) struct Sender<'a> {
    pub(crate) ballot: Ballot,
    pub(crate) now: MonoTime,
    pub(crate) config: &'a EngineConfig,
    pub(crate) log: &'a Log,
    pub(crate) read_backs: &'a mut ReadBacks,
    pub(crate) effects: &'a mut Effects<Message>,
}

impl Raft {
    /// The leader's knowledge and what it takes to act on it, if this node leads.
    pub(crate) fn leading(&mut self) -> Option<(&mut Leader, Sender<'_>)> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let sender = Sender {
            ballot: self.ballot,
            now: self.now,
            config: &self.config,
            log: &self.log,
            read_backs: &mut self.read_backs,
            effects: &mut self.effects,
        };
        Some((leader, sender))
    }

    /// Every interval: reassures everyone, starts a read round, probes anew, gives up on what was lost, and lets those go
    /// who were removed.
    pub(crate) fn check_heartbeat_timer(&mut self) {
        if !matches!(&self.role, RoleState::Leader(leader) if self.now >= leader.heartbeat_at) {
            return;
        }
        self.let_retire();
        let Some((leader, sender)) = self.leading() else { return };
        let timing = &sender.config.timing;
        leader.heartbeat_at = sender.now + timing.heartbeat_interval;
        leader.heartbeat_due = true;
        let round = leader.reads.start_round();
        leader.lease.round_started(round, sender.now);
        for progress in leader.peers.values_mut() {
            let stalled_since = progress.in_flight.stalled_since().unwrap_or(sender.now);
            let stalled = sender.now.since(stalled_since) >= timing.heartbeat_interval * STALL_INTERVALS;
            let lost = (stalled || progress.is_silent(sender.now, timing)) && !is_planted(Bug::LossNeverNoticed);
            match &mut progress.phase {
                Phase::Probe { asked } | Phase::Snapshot { asked, .. } => *asked = false,
                Phase::Replicate if lost => progress.probe_from(progress.matched.next()),
                Phase::Replicate => {}
            }
        }
    }

    /// Sends what there is to send: entries to those who lack them, the news of the commit index to the others, and
    /// heartbeats when they are due or reads wait for a round.
    pub(crate) fn replicate(&mut self) {
        let (me, membership) = (self.config.node, self.membership.clone());
        let Some((leader, mut sender)) = self.leading() else { return };
        let reads_wait = leader.reads.wants_round(me, planted::quorums(&membership));
        if reads_wait {
            let round = leader.reads.start_round();
            leader.lease.round_started(round, sender.now);
        }
        let heartbeat_due = std::mem::take(&mut leader.heartbeat_due);
        let round = leader.reads.round();
        for (peer, progress) in &mut leader.peers {
            sender.send_entries_due(*peer, progress);
            let silent = progress.is_silent(sender.now, &sender.config.timing);
            let has_news = progress.told_commit < Some(sender.log.commit());
            if heartbeat_due || (!silent && (reads_wait || has_news)) {
                sender.send_heartbeat(*peer, progress, round);
            }
        }
        let confirmed = leader.reads.take_confirmed(me, planted::quorums(&membership));
        self.answer_reads(confirmed);
    }

    /// Takes the answer to an `Append` of this leadership. Where the peer has not been asked anything yet, it answers what it
    /// was asked before it was this peer, perhaps with another disk ([`membership`](crate::membership)).
    pub(crate) fn on_append_reply(&mut self, from: NodeId, reply: AppendReply) {
        if reply.ballot != self.ballot {
            return;
        }
        let Some((leader, sender)) = self.leading() else { return };
        let Some(progress) = leader.peers.get_mut(&from).filter(|progress| progress.was_asked()) else { return };
        progress.heard_at = sender.now;
        leader.contact.heard(from, sender.now);
        match reply.outcome {
            AppendOutcome::Matched { through } => {
                assert!(through <= sender.log.last_index(), "{from} acknowledged {through}, which was never sent");
                progress.matched = progress.matched.max(through);
                progress.next = progress.next.max(progress.matched.next());
                progress.in_flight.answered_through(through, sender.now);
                if through == progress.matched {
                    progress.phase = Phase::Replicate;
                }
                self.advance_commit();
            }
            AppendOutcome::Conflict(conflict) => progress.back_off(&conflict, sender.log),
        }
    }

    /// Takes the answer to a heartbeat of this leadership. What it confirms is looked at when the effects are taken; the
    /// lease grows at once. An answer to a round that was never started is no answer.
    pub(crate) fn on_heartbeat_reply(&mut self, from: NodeId, reply: HeartbeatReply) {
        let takes_any = is_planted(Bug::EarlierEpochsRoundCounted);
        let (me, ballot, membership) = (self.config.node, self.ballot, self.membership.clone());
        let Some((leader, sender)) = self.leading() else { return };
        let was_asked = reply.ballot == ballot && reply.round <= leader.reads.round();
        let Some(progress) =
            leader.peers.get_mut(&from).filter(|progress| was_asked && progress.was_asked() || takes_any)
        else {
            return;
        };
        progress.heard_at = sender.now;
        leader.contact.heard(from, sender.now);
        if let Some(retiring) = &mut progress.retiring {
            retiring.answered(reply.round);
        }
        leader.reads.acknowledge(from, reply.round);
        leader.lease.answered((from, reply.round), reply.pledge, sender.now, me, planted::quorums(&membership));
    }

    /// The log store has caught up: this node's own copy counts that far.
    pub(crate) fn count_own_copy(&mut self) {
        let Some((leader, sender)) = self.leading() else { return };
        leader.durable = sender.log.durable_through();
        self.advance_commit();
    }

    /// Commits what a quorum holds durably, if it ends in an entry of the own term. A leader that votes no more is not
    /// asked for its own copy.
    ///
    /// An entry of an earlier term is never committed by counting (paper figure 8): a leader of term 4 finds that its
    /// entry of term 2 is on a majority, commits it and stops; the node with an entry of term 3 at that index is elected
    /// by the others, for its log ends in a later term, and overwrites what was committed.
    fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (me, last) = (self.config.node, self.log.last_index());
        let durable = if is_planted(Bug::OwnCopyBeforeDurable) { last } else { leader.durable };
        let membership = &self.membership;
        let known = |node| leader.peers.get(&node).map_or(LogIndex::ZERO, |progress| progress.matched);
        let matched = |node| known(node).max(planted::stand_in(membership, me, node).map_or(LogIndex::ZERO, known));
        let held = planted::quorums(membership).highest(|node| if node == me { durable } else { matched(node) });
        let is_own = self.log.ballot_at(held) == Some(self.ballot) || is_planted(Bug::OldEntriesCounted);
        if held <= self.log.commit() || !is_own {
            return;
        }
        self.log.commit_through(held);
        while let Some((index, bytes)) = leader.open.front().copied()
            && index <= held
        {
            leader.open.pop_front();
            leader.open_bytes -= bytes;
        }
    }
}

impl Sender<'_> {
    fn send_entries_due(&mut self, peer: NodeId, progress: &mut Progress) {
        match progress.phase {
            Phase::Probe { asked: false } | Phase::Snapshot { asked: false, .. } => self.probe(peer, progress),
            Phase::Probe { .. } | Phase::Snapshot { .. } => {}
            Phase::Replicate => self.pipeline(peer, progress),
        }
    }

    /// Asks whether the peer has the entry before `next`. A peer that answers gets a first message of entries along;
    /// one that is silent is not worth the bytes.
    fn probe(&mut self, peer: NodeId, progress: &mut Progress) {
        let base = self.log.base();
        let Some(prev) = self.log.position_at(progress.next.previous()) else {
            self.want_snapshot(peer, progress);
            return self.send_append(peer, progress, base, Vec::new());
        };
        progress.phase = Phase::Probe { asked: true };
        let entries = if progress.is_silent(self.now, &self.config.timing) {
            Vec::new()
        } else {
            self.log.window().run(progress.next, self.log.last_index(), self.config.limits.message_bytes_max)
        };
        self.send_append(peer, progress, prev, entries);
    }

    /// Sends everything from `next` on, as far as the limits allow. What has left the window is read back first.
    fn pipeline(&mut self, peer: NodeId, progress: &mut Progress) {
        let limits = &self.config.limits;
        let last = self.log.last_index();
        while progress.next <= last && progress.reading.is_none() && progress.in_flight.has_room(limits) {
            if self.log.position_at(progress.next.previous()).is_none() {
                return self.probe(peer, progress);
            }
            let entries = self.log.window().run(progress.next, last, limits.message_bytes_max);
            if entries.is_empty() {
                return self.read_back_for(peer, progress);
            }
            self.send_next(peer, progress, entries);
        }
    }

    /// Sends these entries, the first of which is at `next`, and takes them for received.
    pub(crate) fn send_next(&mut self, peer: NodeId, progress: &mut Progress, entries: Vec<SharedEntry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let Some(prev) = self.log.position_at(first.index.previous()) else { return };
        let bytes = entries.iter().map(|entry| entry.size_bytes()).sum();
        progress.next = last.index.next();
        progress.in_flight.sent(last.index, bytes, self.now);
        self.send_append(peer, progress, prev, entries);
    }

    fn send_append(&mut self, peer: NodeId, progress: &mut Progress, prev: LogPosition, entries: Vec<SharedEntry>) {
        progress.told_commit = Some(self.log.commit());
        let append = Append { ballot: self.ballot, prev, entries, commit: self.log.commit() };
        self.send(peer, Message::Append(append));
    }

    fn send_heartbeat(&mut self, peer: NodeId, progress: &mut Progress, round: u64) {
        progress.told_commit = Some(self.log.commit());
        let heartbeat = Heartbeat { ballot: self.ballot, commit: self.log.commit(), matched: progress.matched, round };
        self.send(peer, Message::Heartbeat(heartbeat));
    }

    /// A leader's messages wait for no write: its ballot was durable before it was elected.
    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.messages.push(Outgoing { to, lane: message.lane(), after: WriteId(0), message });
    }
}
