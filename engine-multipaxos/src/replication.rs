//! The leader's side of replication: sending values, counting acceptances, slot by slot.
//!
//! ```text
//!   proposals ──▶ open slots ──Accept, as many as the limits allow──▶ acceptors
//!                     ▲                                                  │
//!                     └──Accepted: each slot by itself, in any order ────┘
//!                     │
//!                     ▼
//!              chosen through = the prefix of which every slot has a quorum ──watermark──▶ everyone
//! ```
//!
//! Entries leave when the effects are taken, so that everything that was proposed since goes in one message, and they
//! do not wait for this node's disk. This node's own acceptance counts toward the quorum when it is durable.
//!
//! No Accept depends on another. One that is lost holds nothing up but its own slots; it is sent again, or the peer
//! learns what was chosen there ([`catch_up`](crate::catch_up)). A peer that is so far behind that the window lacks its
//! slots is left to learn them.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, Effects, EngineConfig, LogIndex, MonoTime, NodeId, Outgoing, WriteId};

use crate::MultiPaxos;
use crate::log::Log;
use crate::message::{Accept, Accepted, Heartbeat, HeartbeatReply, Message};
use crate::open_slots::OpenSlots;
use crate::role::{Leader, Progress, RoleState};

/// A slot that a peer was sent and has not accepted for this many heartbeat intervals, while it is the first such one,
/// was lost on the way.
const STALL_INTERVALS: u32 = 4;

/// What sending to a peer needs of the rest of the engine.
pub(crate) struct Sender<'a> {
    pub(crate) ballot: Ballot,
    pub(crate) now: MonoTime,
    pub(crate) config: &'a EngineConfig,
    pub(crate) log: &'a Log,
    pub(crate) effects: &'a mut Effects<Message>,
}

impl MultiPaxos {
    /// The leader's knowledge and what it takes to act on it, if this node leads.
    pub(crate) fn leading(&mut self) -> Option<(&mut Leader, Sender<'_>)> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let sender = Sender {
            ballot: self.ballot,
            now: self.now,
            config: &self.config,
            log: &self.log,
            effects: &mut self.effects,
        };
        Some((leader, sender))
    }

    /// Every interval: reassures everyone, starts a read round, and gives up on what was lost.
    pub(crate) fn check_heartbeat_timer(&mut self) {
        let Some((leader, sender)) = self.leading() else { return };
        if sender.now < leader.heartbeat_at {
            return;
        }
        let timing = &sender.config.timing;
        leader.heartbeat_at = sender.now + timing.heartbeat_interval;
        leader.heartbeat_due = true;
        let round = leader.reads.start_round();
        leader.lease.round_started(round, sender.now);
        for (peer, progress) in &mut leader.peers {
            let first_without = leader.open.first_without(*peer);
            if progress.is_stalled(first_without, sender.now, timing.heartbeat_interval * STALL_INTERVALS) {
                progress.resume_from(first_without);
            }
        }
    }

    /// Sends what there is to send: values to those who lack them, the news of the watermark to the others, and
    /// heartbeats when they are due or reads wait for a round. A silent peer gets the heartbeats that are due and
    /// nothing else: its first answer brings it back.
    pub(crate) fn replicate(&mut self) {
        let (me, present) = (self.config.node, self.present());
        let Some((leader, mut sender)) = self.leading() else { return };
        let reads_wait = leader.reads.wants_round(me, present.quorums());
        if reads_wait {
            let round = leader.reads.start_round();
            leader.lease.round_started(round, sender.now);
        }
        let heartbeat_due = std::mem::take(&mut leader.heartbeat_due);
        let round = leader.reads.round();
        for (peer, progress) in &mut leader.peers {
            let silent = progress.is_silent(sender.now, &sender.config.timing);
            if !silent {
                sender.pipeline(*peer, progress, &leader.open);
            }
            let has_news = progress.told_chosen < sender.log.chosen_through();
            if heartbeat_due || (!silent && (reads_wait || has_news)) {
                sender.send_heartbeat(*peer, progress, round);
            }
        }
        let confirmed = leader.reads.take_confirmed(me, present.quorums());
        self.answer_reads(confirmed);
    }

    /// Takes the answer to an `Accept` of this leadership.
    pub(crate) fn on_accepted(&mut self, from: NodeId, reply: Accepted) {
        if reply.ballot != self.ballot || !self.hear_from(from, reply.chosen_through) {
            return;
        }
        let (log, RoleState::Leader(leader)) = (&self.log, &mut self.role) else { return };
        for (first, last) in reply.slots {
            assert!(last < leader.open.next(), "{from} accepted {last}, which was never sent");
            leader.open.accepted(from, (first, last), |slot, nodes| log.decide(slot, nodes));
            if let Some(progress) = leader.peers.get_mut(&from) {
                progress.in_flight.answered_within(first, last, self.now);
            }
        }
        self.advance_chosen();
    }

    /// Takes the answer to a heartbeat of this leadership. What it confirms is looked at when the effects are taken; the
    /// lease grows at once. An answer to a round that was never started is no answer.
    pub(crate) fn on_heartbeat_reply(&mut self, from: NodeId, reply: HeartbeatReply) {
        let takes_any = is_planted(Bug::EarlierEpochsRoundCounted);
        let ballot = self.ballot;
        let was_asked =
            self.leading().is_some_and(|(leader, _)| reply.ballot == ballot && reply.round <= leader.reads.round());
        if !(was_asked || takes_any) || !self.hear_from(from, reply.chosen_through) {
            return;
        }
        let (me, now, present) = (self.config.node, self.now, self.present());
        if let Some((leader, _)) = self.leading() {
            leader.reads.acknowledge(from, reply.round);
            leader.lease.answered((from, reply.round), reply.pledge, now, me, present.quorums());
        }
    }

    /// Notes that a peer has answered in the own ballot, and how much it knows to be chosen. False unless this node
    /// leads, and `from` is a peer.
    fn hear_from(&mut self, from: NodeId, chosen_through: LogIndex) -> bool {
        let Some((leader, sender)) = self.leading() else { return false };
        let Some(progress) = leader.peers.get_mut(&from) else { return false };
        if progress.is_silent(sender.now, &sender.config.timing) {
            progress.resume_from(leader.open.first_without(from));
        }
        (progress.heard_at, progress.has_answered) = (sender.now, true);
        progress.known = progress.known.max(chosen_through);
        progress.in_flight.answered_through(chosen_through, sender.now);
        leader.contact.heard(from, sender.now);
        // It followed an earlier leader further than the quorum that elected this one. What it knows to be chosen it
        // does not accept again, so if the others are gone this node must learn it from there.
        if chosen_through > sender.log.chosen_through() {
            self.ask_to_learn(from, chosen_through);
        }
        true
    }

    /// These runs of slots have reached the disk: this node's own acceptance counts where no later write of the slot is
    /// under way. Take slot 5, accepted under 1.2 and, before that write is done, re-proposed under 3.1: the first
    /// write's completion does not vouch for the second.
    pub(crate) fn count_own_accepts(&mut self, written: &[(LogIndex, LogIndex)]) {
        let (log, RoleState::Leader(leader)) = (&self.log, &mut self.role) else { return };
        for (first, last) in written {
            let first = *first.max(&log.chosen_through().next());
            for slot in (first.0..=last.0).map(LogIndex) {
                if log.is_durable(slot) {
                    leader.open.accepted(self.config.node, (slot, slot), |slot, nodes| log.decide(slot, nodes));
                }
            }
        }
        self.advance_chosen();
    }

    fn advance_chosen(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        self.log.choose_through(leader.open.close_chosen());
    }
}

impl Sender<'_> {
    /// Sends everything from the cursor on, as far as the limits allow.
    fn pipeline(&mut self, peer: NodeId, progress: &mut Progress, open: &OpenSlots) {
        let limits = &self.config.limits;
        while progress.next < open.next() && progress.in_flight.has_room(limits) {
            let entries = self.log.window().run(progress.next, open.next().previous(), limits.message_bytes_max);
            let Some(last) = entries.last().map(|entry| entry.index) else {
                // Chosen long ago, and gone from the window: the peer learns it.
                let chosen_through = self.log.chosen_through();
                assert!(progress.next <= chosen_through, "open slot {} is not in the window", progress.next);
                progress.next = chosen_through.next();
                continue;
            };
            let bytes = entries.iter().map(|entry| entry.size_bytes()).sum();
            progress.next = last.next();
            progress.in_flight.sent(last, bytes, self.now);
            progress.told_chosen = self.log.chosen_through();
            let accept = Accept { ballot: self.ballot, entries, chosen_through: self.log.chosen_through() };
            self.send(peer, Message::Accept(accept));
        }
    }

    fn send_heartbeat(&mut self, peer: NodeId, progress: &mut Progress, round: u64) {
        progress.told_chosen = self.log.chosen_through();
        let heartbeat = Heartbeat { ballot: self.ballot, chosen_through: self.log.chosen_through(), round };
        self.send(peer, Message::Heartbeat(heartbeat));
    }

    /// A leader's messages wait for no write: its ballot was durable before it was elected.
    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.messages.push(Outgoing { to, lane: message.lane(), after: WriteId(0), message });
    }
}
