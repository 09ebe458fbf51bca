//! Bugs that are planted on purpose ([`consensus_api::planted`]), where it takes more than a condition. Elsewhere the
//! condition stands where the code would go right.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Membership, NodeId, Refusal, WriteId, quorum};

use crate::MultiPaxos;
use crate::log::Log;
use crate::message::{Accept, Accepted, Message};
use crate::role::Leader;

/// The write that a message waits for, unless it is planted that it does not.
pub(crate) fn waits_for(after: WriteId, message: &Message) -> WriteId {
    let bug = match message {
        Message::Promise(_) => Bug::VoteBeforeDurable,
        Message::Prepare(_) => Bug::CampaignBeforeDurable,
        Message::Accepted(_) => Bug::AcceptBeforeDurable,
        _ => return after,
    };
    if is_planted(bug) { WriteId(0) } else { after }
}

impl Log {
    /// Whether a plant has these nodes choose something where it takes a majority of these members.
    pub(crate) fn decide_wrongly(&self, members: &Membership, nodes: &[NodeId]) -> bool {
        if is_planted(Bug::LearnerCounted) {
            let count = nodes.iter().filter(|node| members.contains(**node)).count();
            return count >= quorum::majority(members.voters.len());
        }
        let previous = self.memberships().settled().previous.as_ref();
        is_planted(Bug::OldMembersDecideAlone)
            && previous.is_some_and(|old| old.quorums().reached(|node| nodes.contains(&node)))
    }
}

impl MultiPaxos {
    /// Tells clients of this node that what it proposed as a leader was not carried out, though it may be.
    pub(crate) fn refuse_open(&mut self, led: &Leader) {
        let open = self.log.window().iter_from(self.log.chosen_through().next());
        let own = open.filter(|entry| entry.index < led.open.next());
        let ids: Vec<_> = own.filter_map(|entry| entry.payload.request_id()).collect();
        let (node, boot) = (self.config.node, self.config.boot);
        for id in ids.into_iter().filter(|id| (id.origin, id.boot) == (node, boot)) {
            self.refuse(id, Refusal::NotLeader { leader: self.leader() });
        }
    }

    /// Accepts under a higher ballot, and leaves the promise where it is.
    pub(crate) fn accept_unpromised(&mut self, from: NodeId, accept: Accept) {
        let chosen_through = self.log.chosen_through();
        let mut slots = Vec::new();
        for entry in accept.entries.into_iter().filter(|entry| entry.index > chosen_through) {
            slots.push((entry.index, entry.index));
            self.log.accept(entry);
        }
        self.send_promise(from, Message::Accepted(Accepted { ballot: accept.ballot, slots, chosen_through }));
    }
}
