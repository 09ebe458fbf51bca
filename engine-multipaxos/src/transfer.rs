//! A leader hands over on purpose: because somebody in charge wants it, or because it votes no more.
//!
//! ```text
//!   TransferLeadership ──▶ lease given up; proposals refused with the successor's name
//!                               │ nothing is open, and the successor knows it
//!                               ▼
//!                          HandOver{ballot} ──▶ campaigns: Prepare{forced, released by that ballot} ──▶ leads
//!                               │
//!                          an election timeout later, this node leads still: refused by name, and it goes on
//! ```
//!
//! (Raft thesis §3.10, and [`consensus_api::hand_over`].) In Multi-Paxos any voter could be told at once, since whoever is
//! elected gathers what it lacks; that it waits until there is nothing to gather makes the election one round trip.

use consensus_api::errands::Order;
use consensus_api::hand_over::{HandOver, Transfer};
use consensus_api::{LogIndex, MonoTime, NodeId, Refusal, Refused, RequestId};

use crate::MultiPaxos;
use crate::message::Message;
use crate::role::{Leader, RoleState};

impl MultiPaxos {
    /// A client of this node wants another leader.
    pub(crate) fn on_transfer_leadership(&mut self, id: RequestId, to: Option<NodeId>) {
        self.on_order(id, Order::TransferLeadership(to));
    }

    /// Begins to hand over to this voter, or to the most advanced one. To hand over to itself there is nothing to do.
    pub(crate) fn begin_transfer(&mut self, id: Option<RequestId>, to: Option<NodeId>) -> Result<(), Refusal> {
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        self.check_not_handing_over()?;
        let to = match to {
            Some(node) if !self.latest().is_voter(node) => return Err(Refusal::NotAVoter { node }),
            Some(node) => node,
            None => self.most_advanced(leader).ok_or(Refusal::TransferFailed { to: None })?,
        };
        if to == self.config.node {
            return Ok(());
        }
        self.give_up_lease();
        let (now, timing) = (self.now, &self.config.timing);
        let RoleState::Leader(leader) = &mut self.role else { return Err(Refusal::NoLeader) };
        leader.transfer = Some(Transfer::new(id, to, timing, now));
        // What the successor knows it tells in answer to a heartbeat.
        leader.heartbeat_at = now;
        Ok(())
    }

    /// The voter among the others that knows most to be chosen, of those that were heard lately; of several the one with the
    /// lowest id.
    fn most_advanced(&self, leader: &Leader) -> Option<NodeId> {
        let others = self.latest().voters.iter().filter_map(|node| Some((*node, leader.peers.get(node)?)));
        let heard = others.filter(|(_, progress)| !progress.is_silent(self.now, &self.config.timing));
        heard.max_by_key(|(node, progress)| (progress.known, std::cmp::Reverse(*node))).map(|(node, _)| node)
    }

    /// Proposals are refused meanwhile, for whoever asks to ask the successor.
    pub(crate) fn check_not_handing_over(&self) -> Result<(), Refusal> {
        match &self.role {
            RoleState::Leader(leader) => match &leader.transfer {
                Some(transfer) => Err(Refusal::NotLeader { leader: Some(transfer.to) }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Sends the word when the successor has everything, and gives up when it does not come to lead. Who votes no more
    /// gives up leading, too.
    pub(crate) fn check_transfer_timer(&mut self) {
        let (now, interval, ballot) = (self.now, self.config.timing.heartbeat_interval, self.ballot);
        let chosen_through = self.log.chosen_through();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let (id, to) = (transfer.id, transfer.to);
        if transfer.is_over(now) {
            leader.transfer = None;
            return match id {
                Some(id) => self.refuse_asker(Refused { id, reason: Refusal::TransferFailed { to: Some(to) } }),
                None => self.become_follower(None),
            };
        }
        let known = leader.peers.get(&to).map_or(LogIndex::ZERO, |progress| progress.known);
        let has_everything = known >= chosen_through && leader.open.is_empty() && leader.gathering.reported.is_empty();
        if has_everything && transfer.is_due(now, interval) {
            self.send(to, Message::HandOver(HandOver { ballot }));
        }
    }

    /// When to look at it again.
    pub(crate) fn transfer_deadline(&self) -> MonoTime {
        match &self.role {
            RoleState::Leader(leader) => leader.transfer.as_ref().map_or(MonoTime::NEVER, Transfer::deadline),
            _ => MonoTime::NEVER,
        }
    }

    /// The leader of this ballot wants this node to lead instead. It relies on nothing that was pledged to it, so neither
    /// this node nor those whom it asks for promises need to wait.
    pub(crate) fn on_hand_over(&mut self, from: NodeId, word: HandOver) {
        if word.ballot < self.ballot || !self.follow(from, word.ballot) {
            return;
        }
        self.release_pledge(word.ballot);
        self.campaign(true, Some(word.ballot));
    }
}
