//! A change of role as people and measurements see it: which part begins, and what is counted.
//!
//! ```text
//!   follower ─▶ pre-candidate ─▶ candidate ─▶ leader
//!               asks around,      asks under a
//!               ballot as it was  ballot of its own
//! ```
//!
//! A candidate whose campaign has failed may ask around again; that is no change of role, and is not told.

use std::sync::atomic::Ordering;

use consensus_api::{NodeId, Role, RoleChange};

use crate::counters::Counters;

/// What this node is from now on, in one word.
pub(crate) fn name(node: NodeId, before: &RoleChange, change: &RoleChange) -> &'static str {
    match change.role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate if change.ballot.node == node && change.ballot > before.ballot => "candidate",
        Role::Candidate => "pre-candidate",
        Role::Leader => "leader",
    }
}

/// Counts what begins with the change.
pub(crate) fn count(counters: &Counters, before: &RoleChange, change: &RoleChange) {
    let counter = match change.role {
        Role::Candidate => &counters.elections_started,
        Role::Leader => &counters.leaderships,
        Role::Learner | Role::Follower => return,
    };
    if before.role != change.role {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use consensus_api::Ballot;

    use super::*;
    use crate::counters::ReplicaCounts;

    fn change(role: Role, ballot: (u64, u64)) -> RoleChange {
        RoleChange { role, leader: None, ballot: Ballot::new(ballot.0, NodeId(ballot.1)) }
    }

    #[test]
    fn an_election_is_told_step_by_step_and_counted_once() {
        let counters = Counters::default();
        let story = [
            (change(Role::Follower, (3, 2)), "follower"),
            (change(Role::Candidate, (3, 2)), "pre-candidate"),
            (change(Role::Candidate, (4, 1)), "candidate"),
            (change(Role::Leader, (4, 1)), "leader"),
            (change(Role::Follower, (4, 1)), "follower"),
            // Its last ballot was its own, and it has not raised it.
            (change(Role::Candidate, (4, 1)), "pre-candidate"),
            (change(Role::Follower, (5, 3)), "follower"),
        ];
        for pair in story.windows(2) {
            let [(before, _), (after, expected)] = pair else { unreachable!("windows of two") };
            assert_eq!(name(NodeId(1), before, after), *expected);
            count(&counters, before, after);
        }
        assert_eq!(counters.read(), ReplicaCounts { applied_entries: 0, elections_started: 2, leaderships: 1 });
    }
}
