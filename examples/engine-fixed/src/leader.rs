//! The leader: appends what is proposed, sends what its own disk holds, and counts who has it.
//!
//! ```text
//!                      ack                      no answer for a while
//!   next = None ──────────────▶ next = acked + 1 ──────────────▶ next = None
//!   (heartbeats only)           (entries, as many as the limits allow)
//! ```
//!
//! A heartbeat is answered by how far the peer's disk has the log. So a peer of which nothing is known, one that has
//! restarted and one to which something was lost are all the same: the next answer tells where to go on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use consensus_api::errands::{Admission, Errand, Proposal};
use consensus_api::flow::InFlight;
use consensus_api::{
    Ballot, EngineConfig, Entry, LogClock, LogIndex, Membership, MonoTime, NodeId, Payload, ReadBackId, ReadReady,
    Refusal, Refused, RequestId, SendSnapshot, SharedEntry,
};

use crate::log::Log;
use crate::message::Message;
use crate::{FixedLeader, Part};

/// A peer that answers nothing for this many heartbeat intervals has lost what is in flight to it.
const STALL_INTERVALS: u32 = 4;

/// What the leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) ballot: Ballot,
    pub(crate) heartbeat_at: MonoTime,
    heartbeat_due: bool,
    peers: BTreeMap<NodeId, Peer>,
    clock: LogClock,
    admission: Admission,
    // Where this life began: what an earlier one has acknowledged lies no further.
    began_at: LogIndex,
    // Its entries that are not committed yet, with their sizes.
    open: VecDeque<(LogIndex, usize)>,
    open_bytes: usize,
}

/// What the leader knows of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// Its disk holds everything up to here.
    pub(crate) acked: LogIndex,
    /// The next entry to send; `None` until it has answered.
    pub(crate) next: Option<LogIndex>,
    pub(crate) in_flight: InFlight,
    pub(crate) told_commit: LogIndex,
    /// The request for entries that it needs and that have left the window.
    pub(crate) reading: Option<ReadBackId>,
    /// When a snapshot was last asked for it.
    pub(crate) snapshot_at: Option<MonoTime>,
}

impl Leader {
    pub(crate) fn new(config: &EngineConfig, membership: &Membership, log: &Log, now: MonoTime) -> Leader {
        Leader {
            ballot: Ballot::new(config.boot, config.node),
            heartbeat_at: now,
            heartbeat_due: false,
            peers: membership.peers_of(config.node).map(|peer| (peer, Peer::default())).collect(),
            clock: LogClock::start(log.time(), now),
            admission: Admission::default(),
            began_at: log.last(),
            open: VecDeque::new(),
            open_bytes: 0,
        }
    }

    pub(crate) fn progress(&self) -> BTreeMap<NodeId, LogIndex> {
        self.peers.iter().map(|(node, peer)| (*node, peer.acked)).collect()
    }

    pub(crate) fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.get_mut(&node)
    }

    /// Nobody else commits anything, so a read asks nobody. An earlier life may have acknowledged what this one has yet to
    /// find committed: that is waited for.
    pub(crate) fn read(&self, id: RequestId, log: &Log) -> ReadReady {
        ReadReady { id, index: log.commit().max(self.began_at) }
    }

    /// Every interval: reassures everyone, and takes what a silent peer was sent for lost.
    fn check_heartbeat(&mut self, config: &EngineConfig, now: MonoTime) {
        if now < self.heartbeat_at {
            return;
        }
        let interval = config.timing.heartbeat_interval;
        self.heartbeat_at = now + interval;
        self.heartbeat_due = true;
        for peer in self.peers.values_mut() {
            if peer.in_flight.stalled_since().is_some_and(|since| now.since(since) >= interval * STALL_INTERVALS) {
                *peer = Peer { acked: peer.acked, snapshot_at: peer.snapshot_at, ..Peer::default() };
            }
        }
    }
}

impl FixedLeader {
    pub(crate) fn append_command(&mut self, proposal: Proposal) -> Result<(), Refusal> {
        let (limits, window_bytes) = (&self.config.limits, self.log.window().size_bytes());
        let Part::Leading(leader) = &self.part else { return Err(Refusal::NoLeader) };
        let is_full = leader.open.len() >= limits.open_entries_max || leader.open_bytes >= limits.open_bytes_max;
        // What the own disk has yet to write cannot leave the window.
        if is_full || window_bytes >= limits.window_bytes_max + limits.open_bytes_max {
            return Err(Refusal::Busy);
        }
        self.append(Payload::Command { id: proposal.id, data: proposal.data });
        Ok(())
    }

    fn append(&mut self, payload: Payload) {
        let Part::Leading(leader) = &mut self.part else { return };
        self.timekeeper.appended(self.now);
        let log_time = leader.clock.stamp(self.now).max(self.log.time());
        let entry = Arc::new(Entry { index: self.log.last().next(), ballot: leader.ballot, log_time, payload });
        leader.open.push_back((entry.index, entry.size_bytes()));
        leader.open_bytes += entry.size_bytes();
        self.log.accept(entry);
    }

    /// A follower forwards commands of its clients. What was meant for an earlier life of this node may have been appended
    /// by it, so it is met with silence, and so is a copy.
    pub(crate) fn on_forwarded(&mut self, from: NodeId, ballot: Ballot, proposals: Vec<Proposal>) {
        let mut refused = Vec::new();
        for proposal in proposals {
            let id = proposal.id;
            let Part::Leading(leader) = &mut self.part else { return };
            if ballot == leader.ballot && leader.admission.admit(id) {
                refused.extend(self.append_command(proposal).err().map(|reason| Refused { id, reason }));
            }
        }
        if !refused.is_empty() {
            self.send(from, Message::Errand(Errand::Refuse { refused }));
        }
    }

    pub(crate) fn on_forwarded_reads(&mut self, from: NodeId, ballot: Ballot, ids: Vec<RequestId>) {
        if let Part::Leading(leader) = &self.part
            && ballot == leader.ballot
        {
            let ready = ids.into_iter().map(|id| leader.read(id, &self.log)).collect();
            self.send(from, Message::Errand(Errand::ReadIndex { ready }));
        }
    }

    pub(crate) fn on_ack(&mut self, from: NodeId, ballot: Ballot, through: LogIndex) {
        let (now, again_after) = (self.now, self.config.timing.election_timeout);
        let (last, base) = (self.log.last(), self.log.base());
        let Part::Leading(leader) = &mut self.part else { return };
        let Some(peer) = leader.peers.get_mut(&from).filter(|_| ballot == leader.ballot) else { return };
        assert!(through <= last, "{from} acknowledged {through}, which was never sent");
        peer.acked = peer.acked.max(through);
        peer.in_flight.answered_through(through, now);
        peer.next = peer.next.max(Some(peer.acked.next()));
        if peer.acked < base {
            peer.next = None;
            if peer.snapshot_at.is_none_or(|asked| now.since(asked) >= again_after) {
                peer.snapshot_at = Some(now);
                self.effects.snapshots.push(SendSnapshot { to: from, at_least: base });
            }
        }
        self.advance_commit();
    }

    /// Commits what a majority of the voters has on disk.
    pub(crate) fn advance_commit(&mut self) {
        let (me, durable) = (self.config.node, self.log.durable());
        let Part::Leading(leader) = &mut self.part else { return };
        let acked = |node| leader.peers.get(&node).map_or(LogIndex::ZERO, |peer| peer.acked);
        let held = self.membership.quorums().highest(|node| if node == me { durable } else { acked(node) });
        self.log.commit_through(held);
        while let Some((index, bytes)) = leader.open.front().copied()
            && index <= held
        {
            leader.open.pop_front();
            leader.open_bytes -= bytes;
        }
    }

    /// When the log's time is to be carried forward: not while something is open, which will do that.
    pub(crate) fn tick_deadline(&self, leader: &Leader) -> MonoTime {
        if leader.open.is_empty() { self.timekeeper.deadline() } else { MonoTime::NEVER }
    }

    pub(crate) fn check_timers(&mut self) {
        match &mut self.part {
            Part::Leading(leader) => leader.check_heartbeat(&self.config, self.now),
            Part::Following(follower) => {
                self.effects.refused.extend(follower.check_silence(self.now, &self.config.timing));
            }
        }
        if matches!(&self.part, Part::Leading(leader) if self.now >= self.tick_deadline(leader)) {
            self.append(Payload::Tick);
        }
    }

    /// Sends everyone what they lack of what is on this node's disk, and heartbeats when they are due or tell of a commit.
    ///
    /// Why not before it is on disk, as Raft does: take an entry 5 that both followers have and this disk has not. They
    /// commit it; this node restarts, and appends another 5. An engine with elections has ballots to tell the two apart.
    pub(crate) fn replicate(&mut self) {
        let (durable, commit, base) = (self.log.durable(), self.log.commit(), self.log.base());
        let limits = &self.config.limits;
        let Part::Leading(leader) = &mut self.part else { return };
        let ballot = leader.ballot;
        let heartbeat_due = std::mem::take(&mut leader.heartbeat_due);
        let mut batches: Vec<(NodeId, Vec<SharedEntry>)> = Vec::new();
        for (to, peer) in &mut leader.peers {
            peer.next = peer.next.filter(|next| *next > base);
            while let Some(next) = peer.next
                && next <= durable
                && peer.reading.is_none()
                && peer.in_flight.has_room(limits)
            {
                let entries = self.log.window().run(next, durable, limits.message_bytes_max);
                if entries.is_empty() {
                    let wanted = self.read_backs.ask(Some(*to), next, durable, limits.message_bytes_max);
                    peer.reading = Some(wanted.id);
                    self.effects.read_back.push(wanted);
                } else {
                    peer.sent(&entries, commit, self.now);
                    batches.push((*to, entries));
                }
            }
            if heartbeat_due || peer.next.is_some() && peer.told_commit < commit {
                peer.told_commit = commit;
                batches.push((*to, Vec::new()));
            }
        }
        for (to, entries) in batches {
            self.send(to, Message::Append { ballot, entries, commit });
        }
    }
}

impl Peer {
    /// Notes that these are on their way.
    pub(crate) fn sent(&mut self, entries: &[SharedEntry], commit: LogIndex, now: MonoTime) {
        let Some(last) = entries.last() else { return };
        self.next = Some(last.index.next());
        self.told_commit = commit;
        self.in_flight.sent(last.index, entries.iter().map(|entry| entry.size_bytes()).sum(), now);
    }
}
