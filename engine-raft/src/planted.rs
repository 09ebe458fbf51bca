//! Bugs that are planted on purpose ([`consensus_api::planted`]), where it takes more than a condition. Elsewhere the
//! condition stands where the code would go right.

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Refusal, WriteId};

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
