//! Whether this node belongs to its cluster, and with what say.
//!
//! ```text
//!   how it stands, looked at now and then ─┬─ a learner that is to vote ─▶ asks its own log for that, until it votes
//!                                          └─ no member any more ─▶ says so once, with what to do, and serves on
//! ```
//!
//! The wish to vote is kept nowhere but on the command line: a node that is started with `--join` and without `--learner`
//! asks for a vote whenever it finds itself a learner, also after a restart; started without `--join` it stays what it is.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::{EngineStatus, Membership, ReplicatedLog, RequestError};
use tokio::time::Instant;

use crate::service::Identity;

/// What a node says of itself that is no member.
pub const NO_MEMBER: &str = "this node is no member of the cluster, as far as it knows: it was removed, or has yet to learn \
                             that it was added; stop it, or have it added ('kv-service members', POST /v1/members)";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A node that is no member and has heard no leader for so long is told of no more by anybody.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a vote is waited for at a time: a newcomer may have to be sent all there is.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(60);

/// Sees to both, until it is dropped.
pub async fn watch(log: Arc<dyn ReplicatedLog>, identity: Identity, wants_vote: bool) {
    let promoted = async {
        if wants_vote {
            become_voter(&*log, identity).await;
        }
    };
    tokio::join!(promoted, say_when_removed(&*log, identity));
}

/// Warns once when the node finds that it is no member any more, and never returns.
async fn say_when_removed(log: &dyn ReplicatedLog, identity: Identity) {
    let mut sight = Sight::new(identity, Instant::now());
    loop {
        let status = log.status().engine;
        if sight.is_lost(&status, Instant::now()) {
            tracing::warn!(node = identity.node.0, version = status.membership.version, "{NO_MEMBER}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks until this node votes, or was removed.
async fn become_voter(log: &dyn ReplicatedLog, identity: Identity) {
    let mut was_member = false;
    let mut said = String::new();
    loop {
        let status = log.status().engine;
        match next(&identity, &status, was_member) {
            Next::Done => return tracing::info!(version = status.membership.version, "this node votes"),
            Next::Gone => return,
            Next::Wait => {}
            Next::Ask(target) => match log.change_membership(Arc::new(target), PROMOTION_PATIENCE).await {
                // Seen at once, and not at the next look.
                Ok(_) => continue,
                Err(RequestError::Stopped { .. }) => return,
                Err(error) => {
                    let error = error.to_string();
                    if error != said {
                        tracing::info!(%error, "no vote yet, asking again");
                        said = error;
                    }
                }
            },
        }
        was_member |= identity.is_in(&status.membership);
        tokio::time::sleep(LOOK).await;
    }
}

/// What a learner that is to vote does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It votes.
    Done,
    /// It was removed.
    Gone,
    /// It has yet to learn that it was added, or who leads.
    Wait,
    /// It asks for these members.
    Ask(Membership),
}

fn next(identity: &Identity, status: &EngineStatus, was_member: bool) -> Next {
    let (members, node) = (&status.membership, identity.node);
    if !identity.is_in(members) {
        return if was_member { Next::Gone } else { Next::Wait };
    }
    if members.voters.contains(&node) {
        return if status.is_changing { Next::Wait } else { Next::Done };
    }
    if status.leader.is_none() || status.is_changing {
        return Next::Wait;
    }
    let mut target = Membership::clone(members);
    target.learners.remove(&node);
    target.voters.insert(node);
    Next::Ask(target)
}

/// What the node has seen of its membership.
struct Sight {
    identity: Identity,
    was_member: bool,
    heard_at: Instant,
    told: bool,
}

impl Sight {
    fn new(identity: Identity, now: Instant) -> Sight {
        Sight { identity, was_member: false, heard_at: now, told: false }
    }

    /// Whether it is now clear that the node is no member, for the first time since it was one. A node that is being told
    /// of its cluster by a leader may yet learn that it was added.
    fn is_lost(&mut self, status: &EngineStatus, now: Instant) -> bool {
        if self.identity.is_in(&status.membership) {
            (self.was_member, self.told, self.heard_at) = (true, false, now);
            return false;
        }
        if status.leader.is_some() {
            self.heard_at = now;
        }
        let lost = self.was_member || now.duration_since(self.heard_at) >= SILENCE;
        lost && !std::mem::replace(&mut self.told, lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeMap;

    use consensus_api::{Ballot, ClusterId, EngineName, LogIndex, Member, NodeId, Role, StoreId};

    use super::*;

    const ME: Identity =
        Identity { cluster_id: ClusterId(0xc1), engine: EngineName::new("raft"), node: NodeId(4), store: StoreId(44) };

    fn member(node: u64, store: u128) -> (NodeId, Member) {
        (NodeId(node), Member { address: format!("127.0.0.1:{node}"), store: StoreId(store) })
    }

    /// Node 1 votes and leads; these are learners.
    fn standing(learners: &[(NodeId, Member)]) -> EngineStatus {
        let mut membership = Membership::of_voters([member(1, 11)]);
        membership.learners = learners.iter().map(|(node, _)| *node).collect();
        membership.members.extend(learners.iter().cloned());
        EngineStatus {
            role: Role::Learner,
            leader: Some(NodeId(1)),
            ballot: Ballot::ZERO,
            commit_index: LogIndex::ZERO,
            last_index: LogIndex::ZERO,
            base_index: LogIndex::ZERO,
            membership: Arc::new(membership),
            is_changing: false,
            progress: BTreeMap::new(),
        }
    }

    #[test]
    fn a_learner_asks_for_a_vote_once_it_finds_itself_among_the_members_and_knows_who_leads() {
        assert_eq!(next(&ME, &standing(&[]), false), Next::Wait, "it has yet to learn that it was added");
        let learner = standing(&[member(4, 44)]);
        let Next::Ask(target) = next(&ME, &learner, false) else { panic!("it asks") };
        assert!(target.voters.contains(&NodeId(4)) && target.learners.is_empty());
        assert_eq!(target.version, learner.membership.version);
        assert_eq!(next(&ME, &EngineStatus { leader: None, ..learner.clone() }, true), Next::Wait);
        assert_eq!(next(&ME, &EngineStatus { is_changing: true, ..learner.clone() }, true), Next::Wait);
        let voter = EngineStatus { membership: Arc::new(target), ..learner };
        assert_eq!(next(&ME, &EngineStatus { is_changing: true, ..voter.clone() }, true), Next::Wait);
        assert_eq!(next(&ME, &voter, true), Next::Done);
    }

    #[test]
    fn a_learner_that_was_removed_asks_no_more_nor_does_it_for_a_namesake() {
        assert_eq!(next(&ME, &standing(&[]), true), Next::Gone);
        assert_eq!(next(&ME, &standing(&[member(4, 45)]), true), Next::Gone);
    }

    #[test]
    fn a_node_that_was_removed_is_told_of_once_and_again_only_after_it_was_taken_back() {
        let now = Instant::now();
        let (in_it, out) = (standing(&[member(4, 44)]), standing(&[]));
        let mut sight = Sight::new(ME, now);
        assert!(!sight.is_lost(&in_it, now));
        assert!(sight.is_lost(&out, now) && !sight.is_lost(&out, now));
        assert!(!sight.is_lost(&in_it, now));
        assert!(sight.is_lost(&out, now));
    }

    #[test]
    fn a_node_that_is_told_of_its_cluster_by_a_leader_may_yet_be_a_member_and_one_that_is_told_nothing_is_none() {
        let now = Instant::now();
        let mut sight = Sight::new(ME, now);
        assert!(!sight.is_lost(&standing(&[]), now + 2 * SILENCE), "somebody leads");
        let alone = EngineStatus { leader: None, ..standing(&[]) };
        assert!(!sight.is_lost(&alone, now + 2 * SILENCE));
        assert!(sight.is_lost(&alone, now + 3 * SILENCE) && !sight.is_lost(&alone, now + 9 * SILENCE));
    }
}
