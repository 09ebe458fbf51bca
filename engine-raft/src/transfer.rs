//! A leader hands over on purpose (thesis §3.10; [`consensus_api::hand_over`] is what both engines share of it).
//!
//! ```text
//!   leader                                              successor                    voters
//!     │ lease given up; proposals refused: "ask the successor"
//!     ├──Append: what it lacks─────────────────────────────▶│
//!     │◀──────────────────────────────Matched, up to the last
//!     ├──HandOver──────────────────────────────────────────▶│ no pre-vote, forced
//!     │                                                     ├──RequestVote, released by its ballot───▶│ owe the leader
//!     ▼ steps down, when it hears of the new term           │◀──Vote──────────────────────────────────│ nothing more
//! ```
//!
//! Nothing of this is needed for safety: the successor campaigns as anybody may. The leader waits until the successor has
//! everything, or voters would refuse it for its log; it takes nothing new meanwhile, or that would never be; and it gives
//! its lease up before, or voters who owe it something would have to wait. If the successor does not lead within an
//! election timeout the leader goes on without a lease, and says so; the word is out, and the successor may act on it yet.
//! A leader that votes no more is not asked for its vote: it hears of the new term by a refusal. It has no reason to go on
//! either, and steps down after that time.

use consensus_api::errands::Order;
use consensus_api::hand_over::{HandOver, Transfer};
use consensus_api::{NodeId, Refusal, Refused, RequestId};

use crate::Raft;
use crate::message::Message;
use crate::role::{Leader, RoleState};

impl Raft {
    /// A client of this node wants another leader.
    pub(crate) fn on_transfer_leadership(&mut self, id: RequestId, to: Option<NodeId>) {
        self.on_order(id, Order::TransferLeadership(to));
    }

    /// Begins to hand over to this voter, or to the most advanced one. To hand over to itself there is nothing to do.
    pub(crate) fn begin_transfer(&mut self, id: Option<RequestId>, to: Option<NodeId>) -> Result<(), Refusal> {
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        if let Some(transfer) = &leader.transfer {
            return Err(Refusal::NotLeader { leader: Some(transfer.to) });
        }
        let to = match to {
            Some(node) if !self.membership.is_voter(node) => return Err(Refusal::NotAVoter { node }),
            Some(node) => node,
            None => self.most_advanced(leader).ok_or(Refusal::TransferFailed { to: None })?,
        };
        if to == self.config.node {
            return Ok(());
        }
        self.give_up_lease();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer::new(id, to, &self.config.timing, self.now));
        }
        Ok(())
    }

    /// The voter among the others that has most of the log, of those that were heard lately; of several the one with the
    /// lowest id.
    fn most_advanced(&self, leader: &Leader) -> Option<NodeId> {
        let others = self.membership.voters.iter().filter_map(|node| Some((*node, leader.peers.get(node)?)));
        let heard = others.filter(|(_, progress)| !progress.is_silent(self.now, &self.config.timing));
        heard.max_by_key(|(node, progress)| (progress.matched, std::cmp::Reverse(*node))).map(|(node, _)| node)
    }

    /// Says the word once the successor has everything, and says it again every heartbeat interval; or gives up.
    pub(crate) fn check_transfer_timer(&mut self) {
        let (now, interval, last) = (self.now, self.config.timing.heartbeat_interval, self.log.last_index());
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let (id, to) = (transfer.id, transfer.to);
        if transfer.is_over(now) {
            leader.transfer = None;
            match id {
                Some(id) => self.refuse_asker(Refused { id, reason: Refusal::TransferFailed { to: Some(to) } }),
                None => self.become_follower(None),
            }
            return;
        }
        let has_everything = leader.peers.get(&to).is_some_and(|progress| progress.matched == last);
        if has_everything && transfer.is_due(now, interval) {
            self.send(to, Message::HandOver(HandOver { ballot: self.ballot }));
        }
    }

    /// The leader of this term wants this node to lead instead. It relies on nothing that was pledged to it, so neither
    /// this node nor those whom it asks for votes need to wait.
    pub(crate) fn on_hand_over(&mut self, from: NodeId, word: HandOver) {
        if word.ballot.round < self.ballot.round || !self.follow(from, word.ballot) {
            return;
        }
        self.pledge.release(from, self.now);
        self.campaign(true, Some(word.ballot));
    }
}
