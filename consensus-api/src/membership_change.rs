//! What may be asked for of the members, and by which steps it is reached: the same under every engine.
//!
//! ```text
//!   target ──next_step──▶ newcomers as learners ──they catch up──▶ the target itself
//!                               │                                      │
//!                               ▼ check                                ▼ check, and each new voter has caught up
//!                           one change                             one change
//! ```
//!
//! A change names the version of the members that it is meant for, and is refused or void where they have changed
//! meanwhile. How one change comes into force is the engine's.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::engine::Refusal;
use crate::ids::NodeId;
use crate::membership::Membership;
use crate::quorum::majority;

/// The most members of a cluster, learners included.
pub const MEMBERS_MAX: usize = 32;
/// The longest address of a member, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// By how many entries a learner may be behind what is committed and still become a voter: so few that it has them
/// within a few round trips. Until then it would count for the size of a quorum and not help to reach it.
pub const LEARNER_LAG_MAX: u64 = 1024;

/// Whether `target` may follow `present` in one change, as far as the two tell.
///
/// # Errors
/// [`Refusal::MembershipMoved`] where it was meant for other members, and [`Refusal::InvalidMembership`].
pub fn check(present: &Membership, target: &Membership) -> Result<(), Refusal> {
    if target.version != present.version {
        return Err(Refusal::MembershipMoved { asked: target.version, present: present.version });
    }
    let invalid = |reason: String| Err(Refusal::InvalidMembership { reason });
    if target.is_joint() {
        return invalid("who votes until the change is done is for the engine to say; name no outgoing voters".into());
    }
    if target.voters.is_empty() {
        return invalid("the last voter cannot be removed; add another one first".into());
    }
    if let Some(node) = target.voters.intersection(&target.learners).next() {
        return invalid(format!("node {node} is both a voter and a learner; name it once"));
    }
    let named: BTreeSet<NodeId> = target.voters.union(&target.learners).copied().collect();
    if !named.iter().eq(target.members.keys()) || named.contains(&NodeId::NONE) {
        return invalid(
            "every voter and learner has an id from 1 on and an address, and nobody else has; name each with both"
                .into(),
        );
    }
    if named.len() > MEMBERS_MAX {
        return invalid(format!("{} members, over the limit of {MEMBERS_MAX}; remove others first", named.len()));
    }
    check_places(present, target)
}

/// Where members are, and on which disk: addresses differ, and whoever votes keeps its disk.
fn check_places(present: &Membership, target: &Membership) -> Result<(), Refusal> {
    let mut addresses = BTreeSet::new();
    for (node, member) in &target.members {
        let address = &member.address;
        if let Err(remedy) = check_address(address) {
            let reason = format!("\"{}\" of node {node} is no {remedy}", address.escape_debug());
            return Err(Refusal::InvalidMembership { reason });
        }
        if !addresses.insert(address) {
            let reason = format!(
                "node {node} has the address {address} of another one; give it one of its own, or remove the other one first"
            );
            return Err(Refusal::InvalidMembership { reason });
        }
        let before = present.members.get(node);
        if before.is_some_and(|before| before.store != member.store) && present.is_voter(*node) {
            let reason = format!(
                "node {node} votes, and would come back with another disk that has forgotten what it promised; remove it first, and then add it as a learner"
            );
            return Err(Refusal::InvalidMembership { reason });
        }
    }
    Ok(())
}

/// Whether others can dial it: `host:port`, of a name or a literal address. What it is not, with the remedy, otherwise.
fn check_address(address: &str) -> Result<(), &'static str> {
    const FORM: &str = "host:port; write a name or an address and a port, as 10.0.0.4:7004 or [fd00::4]:7004";
    const LONG: &str = "host:port of 300 bytes at most; use a shorter name of the host";
    const EVERYWHERE: &str = "place that others can dial; name the address by which they reach the node";
    let (host, port) = address.rsplit_once(':').ok_or(FORM)?;
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(LONG);
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(FORM);
    }
    match address.parse::<SocketAddr>() {
        Ok(literal) if literal.ip().to_canonical().is_unspecified() => Err(EVERYWHERE),
        Ok(_) => Ok(()),
        Err(_) if host.is_empty() || host.chars().any(is_foreign_to_names) => Err(FORM),
        // Resolvers take "0" and its like for 0.0.0.0.
        Err(_) if host.chars().all(|char| matches!(char, '0' | '.')) => Err(EVERYWHERE),
        Err(_) => Ok(()),
    }
}

fn is_foreign_to_names(char: char) -> bool {
    char.is_whitespace() || char.is_control() || matches!(char, ':' | '[' | ']')
}

/// Whether a majority of those who are to vote `answers`, if others are to vote than now. Without it the change could not
/// even be undone: take voters 1 to 4, of which 4 is dead, and 3 removed. Of 1, 2, 4 two are a majority; of 1 and 4, once 2
/// is removed as well, one is none.
///
/// # Errors
/// [`Refusal::NoLiveMajority`].
pub fn check_live(present: &Membership, target: &Membership, answers: impl Fn(NodeId) -> bool) -> Result<(), Refusal> {
    let (voters, answering) = (target.voters.len(), target.voters.iter().filter(|node| answers(**node)).count());
    if present.voters == target.voters || answering >= majority(voters) {
        return Ok(());
    }
    Err(Refusal::NoLiveMajority { voters, answering })
}

/// Who would vote in `target` and does not in `present`.
pub fn new_voters<'a>(present: &'a Membership, target: &'a Membership) -> impl Iterator<Item = NodeId> + 'a {
    target.voters.difference(&present.voters).copied()
}

/// The next change on the way from `present` to `target`; `None` where that is reached. Whoever is to vote and is no
/// member yet, or one with another disk, becomes a learner first.
pub fn next_step(present: &Membership, target: &Membership) -> Option<Membership> {
    if present.names_the_same(target) {
        return None;
    }
    let is_known = |node: &NodeId| {
        let store = |membership: &Membership| membership.members.get(node).map(|member| member.store);
        store(present).is_some_and(|known| store(target) == Some(known))
    };
    let newcomers: BTreeSet<NodeId> = target.voters.iter().filter(|node| !is_known(node)).copied().collect();
    if newcomers.iter().all(|node| present.is_voter(*node)) {
        return Some(Membership { version: present.version, ..target.clone() });
    }
    let mut step = present.clone();
    for node in newcomers.iter().filter(|node| !present.is_voter(**node)) {
        step.learners.insert(*node);
        step.members.extend(target.members.get(node).map(|member| (*node, member.clone())));
    }
    Some(step)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use super::*;
    use crate::ids::StoreId;
    use crate::membership::Member;

    fn member(node: u64) -> (NodeId, Member) {
        (NodeId(node), Member { address: format!("127.0.0.1:{node}"), store: StoreId(node.into()) })
    }

    fn of(voters: &[u64], learners: &[u64]) -> Membership {
        let mut membership = Membership::of_voters(voters.iter().copied().map(member));
        membership.learners = learners.iter().copied().map(NodeId).collect();
        membership.members.extend(learners.iter().copied().map(member));
        membership
    }

    fn reason(target: &Membership) -> String {
        let reason = check(&of(&[1, 2, 3], &[]), target).expect_err("refused").to_string();
        assert!(reason.contains("; "), "what is wrong; what to do: {reason}");
        reason
    }

    #[test]
    fn any_set_of_voters_and_learners_with_addresses_may_follow_any_other() {
        for (voters, learners) in [(&[1][..], &[][..]), (&[4, 5, 6, 7], &[1, 2]), (&[1, 2, 3], &[4])] {
            assert_eq!(check(&of(&[1, 2, 3], &[]), &of(voters, learners)), Ok(()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name_and_with_the_remedy() {
        assert!(reason(&of(&[], &[1])).contains("last voter"));
        assert!(reason(&of(&[1, 2], &[2])).contains("both a voter and a learner"));
        let change = |change: fn(&mut Membership)| {
            let mut target = of(&[1, 2], &[4]);
            change(&mut target);
            reason(&target)
        };
        assert!(change(|target| target.version = 7).contains('7'));
        assert!(change(|target| target.outgoing = target.voters.clone()).contains("for the engine"));
        assert!(change(|target| target.members.clear()).contains("an address"));
        assert!(
            change(|target| target.members.get_mut(&NodeId(4)).unwrap().address = "x".into()).contains("host:port")
        );
        assert!(
            change(|target| target.members.get_mut(&NodeId(4)).unwrap().address = "127.0.0.1:1".into())
                .contains("of another one")
        );
        assert!(
            change(|target| target.members.get_mut(&NodeId(2)).unwrap().store = StoreId(9)).contains("remove it first")
        );
        let many: Vec<u64> = (1..=33).collect();
        assert!(reason(&of(&many, &[])).contains("over the limit"));
    }

    #[test]
    fn a_member_is_where_others_can_dial_it() {
        let at = |address: &str| {
            let mut target = of(&[1, 2], &[4]);
            target.members.get_mut(&NodeId(4)).unwrap().address = address.to_owned();
            check(&of(&[1, 2, 3], &[]), &target)
        };
        for address in ["10.0.0.4:7004", "[fd00::4]:7004", "[fe80::4%2]:7004", "node-4.example.org:7004", "node_4:1"] {
            assert_eq!(at(address), Ok(()), "{address}");
        }
        for address in ["", "x", ":1", "x:", "x:0", "x:70000", "::1:7004", "[::1:1", "a b:1", "a:1 ", "a\n:1"] {
            let refused = at(address).expect_err(address).to_string();
            assert!(refused.contains("host:port") && refused.contains("as 10.0.0.4:7004"), "{refused}");
        }
        let long = at(&format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX))).expect_err("too long").to_string();
        assert!(long.contains(&ADDRESS_BYTES_MAX.to_string()) && long.contains("shorter"), "{long}");
        for address in ["0.0.0.0:7004", "[::]:7004", "[::ffff:0.0.0.0]:7004", "0:7004", "0.0:7004"] {
            let refused = at(address).expect_err(address).to_string();
            assert!(refused.contains("by which they reach"), "{refused}");
        }
    }

    #[test]
    fn no_change_leaves_voters_of_whom_no_majority_answers() {
        let (present, answers) = (of(&[1, 2, 3], &[]), |node: NodeId| node != NodeId(3));
        assert_eq!(check_live(&present, &of(&[1, 2], &[]), answers), Ok(()));
        assert_eq!(check_live(&present, &present, |_| false), Ok(()), "nobody else is to vote");
        let refused = Refusal::NoLiveMajority { voters: 2, answering: 1 };
        assert_eq!(check_live(&present, &of(&[1, 3], &[]), answers), Err(refused));
    }

    #[test]
    fn whoever_is_to_vote_is_a_learner_first() {
        let (present, target) = (of(&[1, 2, 3], &[]), of(&[1, 3, 7], &[]));
        let first = next_step(&present, &target).unwrap();
        assert_eq!(first, of(&[1, 2, 3], &[7]));
        assert_eq!(next_step(&first, &target).unwrap(), target);
        assert_eq!(next_step(&target, &target), None);
    }

    #[test]
    fn a_learner_with_another_disk_is_known_anew() {
        let present = of(&[1], &[2]);
        let mut target = of(&[1, 2], &[]);
        target.members.get_mut(&NodeId(2)).unwrap().store = StoreId(22);
        let first = next_step(&present, &target).unwrap();
        assert_eq!((first.voters.len(), first.members[&NodeId(2)].store), (1, StoreId(22)));
        assert_eq!(next_step(&first, &target).unwrap(), target);
    }
}
