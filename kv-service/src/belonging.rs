//! Whether this node belongs to its cluster, and with what say.
//!
//! ```text
//!   how it stands, looked at now and then ─┬─ a learner that has yet to vote ─▶ asks its own log for that, until it votes
//!                                          └─ no member any more ─▶ says so once, with what to do, and serves on
//! ```
//!
//! The wish to vote is on the command line: a node that is started with `--join` and without `--learner` asks for a vote for
//! as long as it finds itself a learner that has never voted, also after a restart. Whoever has voted, as its tables tell,
//! and does no more was demoted or removed by somebody: that is not undone by a command line that nobody has changed.

use std::sync::Arc;
use std::time::Duration;

use consensus_api::{AppliedMembership, EngineStatus, Membership, ReplicatedLog, RequestError, Tables};
use tokio::time::Instant;

use crate::service::{Identity, Service};

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
pub async fn watch<T: Tables>(service: Arc<Service<T>>, wants_vote: bool) {
    let promoted = async {
        if wants_vote {
            become_voter(&service).await;
        }
    };
    tokio::join!(promoted, say_when_removed(&*service.log, service.identity));
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

/// Asks until this node votes, unless it has done so before.
async fn become_voter<T: Tables>(service: &Service<T>) {
    let node = service.identity.node;
    let mut said = String::new();
    loop {
        let status = service.log.status().engine;
        // Where they cannot be read the node stops.
        let Ok(applied) = service.applied_members() else { return };
        match next(&service.identity, &status, &applied) {
            Next::Done => return tracing::info!(version = status.membership.version, "this node votes"),
            Next::HasVoted => {
                let promote = format!("kv-service members promote {node}");
                return tracing::info!("this node has voted before, --join asks for no vote again ('{promote}' does)");
            }
            Next::Wait => {}
            Next::Ask(target) => match service.log.change_membership(Arc::new(target), PROMOTION_PATIENCE).await {
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
        tokio::time::sleep(LOOK).await;
    }
}

/// What a node that is to vote does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It votes.
    Done,
    /// It does not vote any more, because somebody wanted that.
    HasVoted,
    /// It has yet to learn that it was added, or who leads, or what came of a change.
    Wait,
    /// It asks for these members.
    Ask(Membership),
}

fn next(identity: &Identity, status: &EngineStatus, applied: &AppliedMembership) -> Next {
    let (members, node) = (&status.membership, identity.node);
    // What is in force and what is applied are a moment apart, in this order or that.
    if status.is_changing || applied.latest.version != members.version {
        return Next::Wait;
    }
    if identity.is_in(members) && members.voters.contains(&node) {
        return Next::Done;
    }
    if applied.voted.contains_key(&node) {
        return Next::HasVoted;
    }
    if !identity.is_in(members) || status.leader.is_none() {
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
        let next_of = |status: &EngineStatus| next(&ME, status, &AppliedMembership::founded(status.membership.clone()));
        assert_eq!(next_of(&standing(&[])), Next::Wait, "it has yet to learn that it was added");
        assert_eq!(next_of(&standing(&[member(4, 45)])), Next::Wait, "a namesake");
        let learner = standing(&[member(4, 44)]);
        let Next::Ask(target) = next_of(&learner) else { panic!("it asks") };
        assert!(target.voters.contains(&NodeId(4)) && target.learners.is_empty());
        assert_eq!(target.version, learner.membership.version);
        assert_eq!(next_of(&EngineStatus { leader: None, ..learner.clone() }), Next::Wait);
        assert_eq!(next_of(&EngineStatus { is_changing: true, ..learner.clone() }), Next::Wait);
        let voter = EngineStatus { membership: Arc::new(target), ..learner };
        assert_eq!(next_of(&EngineStatus { is_changing: true, ..voter.clone() }), Next::Wait);
        assert_eq!(next_of(&voter), Next::Done);
    }

    #[test]
    fn whoever_has_voted_and_was_demoted_or_removed_asks_no_more_once_its_tables_tell() {
        let mut applied = AppliedMembership::founded(standing(&[member(4, 44)]).membership);
        let (one, four) = (member(1, 11), member(4, 44));
        let voting = Membership { version: 1, ..Membership::of_voters([one, four.clone()]) };
        let mut now = EngineStatus { membership: Arc::new(voting), ..standing(&[]) };
        assert!(applied.take(LogIndex(5), &now.membership));
        assert_eq!(next(&ME, &now, &applied), Next::Done);
        for left in [standing(&[four]), standing(&[])] {
            let version = now.membership.version + 1;
            now.membership = Arc::new(Membership { version, ..Membership::clone(&left.membership) });
            assert_eq!(next(&ME, &now, &applied), Next::Wait, "its tables have yet to tell");
            assert!(applied.take(LogIndex(5 + version), &now.membership));
            assert_eq!(next(&ME, &now, &applied), Next::HasVoted);
        }
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
