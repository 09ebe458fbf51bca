//! The follower's side of replication, in the words of Paxos the acceptor and the learner: accepting values, answering,
//! finding out what is chosen.
//!
//! ```text
//!   Accept ──▶ below the promise? ──yes──▶ Nack
//!                  │no: the promise rises with it
//!                  ▼
//!              each slot for itself ──chosen already──▶ no accept: the answer says "chosen through"
//!                  │
//!                  ▼
//!              in the log ──durable──▶ Accepted{slots}
//!
//!   watermark ──▶ slots up to it that were accepted under its ballot are chosen
//!                 the first that was not is a gap: learn it, if it does not close by itself
//! ```

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{LogIndex, NodeId};

use crate::MultiPaxos;
use crate::message::{Accept, Accepted, Heartbeat, HeartbeatReply, Message};

impl MultiPaxos {
    /// Accepts the leader's values. Accepting raises the promise too, in the same write. Take a node that accepts under
    /// 5.1 and leaves its promise at 3.3: it would then accept under 4.2, over a value that 5.1 has chosen by its help.
    pub(crate) fn on_accept(&mut self, from: NodeId, accept: Accept) {
        let under_one_ballot = accept.entries.iter().all(|entry| entry.ballot == accept.ballot);
        if is_planted(Bug::AcceptLeavesPromise) && under_one_ballot && accept.ballot > self.ballot {
            return self.accept_unpromised(from, accept);
        }
        if !under_one_ballot || !self.follow(from, accept.ballot) {
            return;
        }
        if self.outruns_disk() {
            return self.learn_watermark(accept.chosen_through);
        }
        let owed = self.allegiance.owes_accepted.get_or_insert_default();
        for entry in accept.entries {
            if entry.index > self.log.chosen_through() {
                add(owed, entry.index);
                self.log.accept(entry);
            } else {
                // Whoever was promised by a quorum proposes for a chosen slot what was chosen there, or nothing.
                self.log.assert_same_value(&entry);
            }
        }
        self.learn_watermark(accept.chosen_through);
    }

    /// Takes the leader's reassurance, and answers the first of each read round. A copy of a round that was answered is
    /// news of the watermark alone; if the answer was lost, the next interval begins another round.
    pub(crate) fn on_heartbeat(&mut self, from: NodeId, heartbeat: Heartbeat) {
        if !self.follow(from, heartbeat.ballot) {
            return;
        }
        self.learn_watermark(heartbeat.chosen_through);
        self.watch_gap(from);
        self.repeat_reads();
        if heartbeat.round > self.allegiance.answered_round {
            self.allegiance.answered_round = heartbeat.round;
            let chosen_through = self.log.chosen_through();
            let (round, pledge) = (heartbeat.round, self.pledge.length(self.now));
            let reply = HeartbeatReply { ballot: heartbeat.ballot, round, chosen_through, pledge };
            self.record_pledge();
            self.record_members();
            // It confirms that no higher ballot was promised, and so shows this one as promised.
            let after = self.ballot_write();
            self.send_after(from, after, Message::HeartbeatReply(reply));
        }
    }

    /// Whether what this node has yet to write is more than the window should hold besides what a leader may have open.
    /// Accepts are dropped until some of it is written, as if the network had lost them: the leader cannot tell how much
    /// waits here, for a slot that others have chosen is no longer in flight to it, and so it sends the next. What is
    /// open is always taken, or slots that need this node would wait for its disk one by one.
    fn outruns_disk(&mut self) -> bool {
        let limits = &self.config.limits;
        let (window_bytes_max, open_bytes_max) = (limits.window_bytes_max, limits.open_bytes_max);
        self.log.evict(window_bytes_max, false);
        self.log.waits_for_disk(window_bytes_max + open_bytes_max)
    }

    /// Advances over what is chosen up to the watermark and accepted under its ballot. What is told too early is
    /// remembered: the Accept may still be under way.
    fn learn_watermark(&mut self, told: LogIndex) {
        self.allegiance.watermark = self.allegiance.watermark.max(told);
        self.log.choose_accepted(self.ballot, self.allegiance.watermark);
    }

    /// Acknowledges everything accepted, in one answer for all the messages since the last one. It waits for the latest
    /// write, pending or under way: even values that were here before may still be on their way to the disk.
    pub(crate) fn acknowledge(&mut self) {
        if let Some(slots) = self.allegiance.owes_accepted.take() {
            self.record_members();
            let chosen_through = self.log.chosen_through();
            let reply = Accepted { ballot: self.ballot, slots, chosen_through };
            self.send_promise(self.ballot.node, Message::Accepted(reply));
        }
    }
}

/// Adds a slot to ranges that mostly grow at their end.
fn add(ranges: &mut Vec<(LogIndex, LogIndex)>, slot: LogIndex) {
    match ranges.last_mut() {
        Some((_, last)) if last.next() == slot => *last = slot,
        _ => ranges.push((slot, slot)),
    }
}
