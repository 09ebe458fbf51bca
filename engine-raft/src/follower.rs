//! The follower's side of replication: accepting entries, acknowledging them, learning what is committed.
//!
//! ```text
//!   Append ──▶ has prev? ──no──▶ Conflict: where the logs part
//!                  │yes
//!                  ▼
//!              entries in the log, verified grows ──durable──▶ Matched{verified}
//!                  │
//!                  ▼
//!              commit = min(leader's commit, verified)
//! ```
//!
//! Why `verified` bounds the commit index: a heartbeat may overtake the entries that it tells to be committed, and what
//! stands at those indexes until then may be another leader's. Only what an `Append` of this term has matched, or what
//! this node has acknowledged in this term, is known to be the leader's.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Ballot, LogIndex, NodeId};

use crate::Raft;
use crate::message::{Append, AppendOutcome, AppendReply, Conflict, Heartbeat, HeartbeatReply, Message};

impl Raft {
    /// Takes the leader's entries, if the log has the entry before them.
    pub(crate) fn on_append(&mut self, from: NodeId, append: Append) {
        if !is_consecutive(&append) || !self.follow(from, append.ballot) || self.contradicts_base(&append) {
            return;
        }
        if let Some(conflict) = self.conflict_with(&append) {
            let reply = AppendReply { ballot: append.ballot, outcome: AppendOutcome::Conflict(conflict) };
            let after = self.ballot_write;
            return self.send_after(from, after, Message::AppendReply(reply));
        }
        let through = LogIndex(append.prev.index.0 + append.entries.len() as u64);
        for entry in append.entries {
            // What is trimmed was committed, and is the leader's too.
            if entry.index > self.log.base().index {
                self.log.accept(entry);
            }
        }
        self.allegiance.verified = self.allegiance.verified.max(through).max(self.log.commit());
        self.allegiance.owes_reply = true;
        self.learn_commit(append.commit);
    }

    /// Where the logs part, if this one lacks the entry before the first of the message. Below the commit index they
    /// cannot: whoever is elected has everything that is committed (paper §5.4.3, Leader Completeness).
    fn conflict_with(&self, append: &Append) -> Option<Conflict> {
        let prev = append.prev;
        let own = self.log.ballot_at(prev.index);
        if prev.index <= self.log.commit() {
            let agrees = own.is_none_or(|ballot| ballot.round == prev.ballot.round);
            assert!(agrees, "the leader's log contradicts the committed entry {}", prev.index);
            return None;
        }
        if own.is_some_and(|ballot| ballot.round == prev.ballot.round) {
            return None;
        }
        let term = self.log.term_around(prev.index);
        Some(Conflict {
            prev: prev.index,
            x_term: term.map(|(term, ..)| term),
            x_index: term.map_or(LogIndex::ZERO, |(_, first, _)| first.max(self.log.commit().next())),
            x_len: self.log.last_index(),
        })
    }

    /// Takes the leader's reassurance, and answers the first of each read round. A copy of a round that was answered is
    /// news of the commit index alone; if the answer was lost, the next interval begins another round.
    pub(crate) fn on_heartbeat(&mut self, from: NodeId, heartbeat: Heartbeat) {
        if !self.follow(from, heartbeat.ballot) {
            return;
        }
        self.learn_matched(heartbeat.matched);
        self.learn_commit(heartbeat.commit);
        self.repeat_reads();
        if heartbeat.round > self.allegiance.answered_round {
            self.allegiance.answered_round = heartbeat.round;
            let (round, pledge) = (heartbeat.round, self.pledge.length(self.now));
            let reply = HeartbeatReply { ballot: heartbeat.ballot, round, pledge };
            self.record_pledge();
            // It confirms that no higher term was adopted, and so shows this one as adopted.
            let after = self.ballot_write;
            self.send_after(from, after, Message::HeartbeatReply(reply));
        }
    }

    /// Takes up what it has acknowledged in this ballot, as the leader remembers it. Where it has nothing at all, another disk
    /// under its name has, and there is nothing to take up; where it has less, its own disk has lost what it vouched for.
    fn learn_matched(&mut self, matched: LogIndex) {
        let last = self.log.last_index();
        if last > LogIndex::ZERO {
            assert!(matched <= last, "{matched} was acknowledged, but the log ends at {last}");
            self.allegiance.verified = self.allegiance.verified.max(matched);
        }
    }

    /// Commits what the leader has committed, as far as it is verified to be here. What is told too early is remembered.
    fn learn_commit(&mut self, told: LogIndex) {
        let allegiance = &mut self.allegiance;
        allegiance.leader_commit = allegiance.leader_commit.max(told);
        let last = self.log.last_index();
        let known = if is_planted(Bug::CommitBeyondVerified) { last } else { allegiance.verified };
        let commit = allegiance.leader_commit.min(known);
        self.log.commit_through(commit);
    }

    /// Acknowledges everything verified, in one answer for all the messages since the last one. It waits for the latest
    /// write, pending or under way: even entries that were here before may still be on their way to the disk.
    pub(crate) fn acknowledge(&mut self) {
        if !std::mem::take(&mut self.allegiance.owes_reply) {
            return;
        }
        if let Some(leader) = self.allegiance.leader {
            let ballot = Ballot::new(self.ballot.round, leader);
            let outcome = AppendOutcome::Matched { through: self.allegiance.verified };
            self.send_promise(leader, Message::AppendReply(AppendReply { ballot, outcome }));
        }
    }
}

/// Whether the entries follow `prev` and each other, as every leader sends them.
fn is_consecutive(append: &Append) -> bool {
    append.entries.iter().zip(append.prev.index.0 + 1..).all(|(entry, index)| entry.index.0 == index)
}
