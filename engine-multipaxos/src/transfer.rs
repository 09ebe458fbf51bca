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

use consensus_api::errands::{Errand, Order};
use consensus_api::hand_over::{HandOver, Transfer};
use consensus_api::{LogIndex, MonoTime, NodeId, Refusal, Refused, RequestId};

use crate::MultiPaxos;
use crate::message::Message;
use crate::role::RoleState;

impl MultiPaxos {
    /// A client of this node wants another leader.
    pub(crate) fn on_transfer_leadership(&mut self, id: RequestId, to: Option<NodeId>) {
        let taken = match &self.role {
            RoleState::Leader(_) => self.transfer_leadership(Some(id), to),
            RoleState::Follower { leader: Some(_) } => self.errands.order(id, Order::TransferLeadership(to)),
            _ => Err(Refusal::NoLeader),
        };
        if let Err(reason) = taken {
            self.refuse(id, reason);
        }
    }

    /// Begins to hand over, to the most advanced voter that was heard lately if nobody is named. Where this node is named
    /// there is nothing to do.
    pub(crate) fn transfer_leadership(&mut self, id: Option<RequestId>, to: Option<NodeId>) -> Result<(), Refusal> {
        if to == Some(self.config.node) {
            return Ok(());
        }
        let RoleState::Leader(leader) = &self.role else { return Err(Refusal::NoLeader) };
        if leader.transfer.as_ref().is_some_and(|transfer| transfer.id.is_some()) {
            return Err(Refusal::Busy);
        }
        let to = match to {
            Some(node) if !self.latest().is_voter(node) => return Err(Refusal::NotAVoter { node }),
            Some(node) => node,
            None => self.successor().ok_or(Refusal::TransferFailed { to: None })?,
        };
        self.give_up_lease();
        let (now, timing) = (self.now, &self.config.timing);
        let RoleState::Leader(leader) = &mut self.role else { return Err(Refusal::NoLeader) };
        leader.transfer = Some(Transfer::new(id, to, timing, now));
        // What the successor knows it tells in answer to a heartbeat.
        leader.heartbeat_at = now;
        Ok(())
    }

    /// The voter that knows most to be chosen, of those heard lately.
    fn successor(&self) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let (latest, timing) = (self.latest(), &self.config.timing);
        let fit = leader
            .peers
            .iter()
            .filter(|(node, progress)| latest.is_voter(**node) && !progress.is_silent(self.now, timing));
        fit.max_by_key(|(node, progress)| (progress.known, **node)).map(|(node, _)| *node)
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
                Some(id) => self.refuse_anyones(id, Refusal::TransferFailed { to: Some(to) }),
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

    pub(crate) fn refuse_anyones(&mut self, id: RequestId, reason: Refusal) {
        if id.origin == self.config.node {
            self.refuse(id, reason);
        } else {
            let refused = vec![Refused { id, reason }];
            self.send(id.origin, Message::Errand(Errand::Refuse { refused }));
        }
    }
}
