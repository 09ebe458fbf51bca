//! Bugs that are planted on purpose ([`consensus_api::planted`]), where it takes more than a condition. Elsewhere the
//! condition stands where the code would go right.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Membership, NodeId, Quorums, Refusal, WriteId};

use crate::Raft;
use crate::message::Message;
use crate::role::Leader;

/// The write that a message waits for, unless it is planted that it does not.
pub(crate) fn waits_for(after: WriteId, message: &Message) -> WriteId {
    let bug = match message {
        Message::Vote(_) => Bug::VoteBeforeDurable,
        Message::RequestVote(_) => Bug::CampaignBeforeDurable,
        Message::AppendReply(_) => Bug::AcceptBeforeDurable,
        _ => return after,
    };
    if is_planted(bug) { WriteId(0) } else { after }
}

/// The quorums by which these decide, unless it is planted that of two halves the old one decides alone.
pub(crate) fn quorums(membership: &Membership) -> Quorums<'_> {
    if membership.is_joint() && is_planted(Bug::OldMembersDecideAlone) {
        Quorums::new(&membership.outgoing, &membership.outgoing)
    } else {
        membership.quorums()
    }
}

/// Who is asked for a vote: the learners too, where it is planted that theirs count.
pub(crate) fn asked(membership: &Membership) -> impl Iterator<Item = NodeId> + '_ {
    let learners = membership.learners.iter().copied().filter(|_| is_planted(Bug::LearnerCounted));
    membership.all_voters().chain(learners)
}

/// Which learner's copy counts as this voter's, where it is planted that learners count.
pub(crate) fn stand_in(membership: &Membership, me: NodeId, voter: NodeId) -> Option<NodeId> {
    stand_ins(membership, me).find(|(of, _)| *of == voter).map(|(_, learner)| learner)
}

/// As whose a vote counts.
pub(crate) fn counted_as(membership: &Membership, me: NodeId, from: NodeId) -> NodeId {
    stand_ins(membership, me).find(|(_, learner)| *learner == from).map_or(from, |(voter, _)| voter)
}

fn stand_ins(membership: &Membership, me: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
    let counts = is_planted(Bug::LearnerCounted);
    let others = membership.voters.iter().copied().filter(move |voter| counts && *voter != me);
    others.zip(membership.learners.iter().copied())
}

impl Raft {
    /// Tells clients of this node that what it appended as a leader was not carried out, though it may be.
    pub(crate) fn refuse_open(&mut self, led: &Leader) {
        let open = led.open.iter().filter_map(|(index, _)| self.log.window().get(*index));
        let ids: Vec<_> = open.filter_map(|entry| entry.payload.request_id()).collect();
        let (node, boot) = (self.config.node, self.config.boot);
        for id in ids.into_iter().filter(|id| (id.origin, id.boot) == (node, boot)) {
            self.refuse(id, Refusal::NotLeader { leader: self.leader() });
        }
    }
}
