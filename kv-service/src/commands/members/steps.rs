//! From what the members are to what they are to be: the next step, by what one look shows and nothing else.
//!
//! ```text
//!   add       unknown ─▶ learner ─ has caught up ─▶ voter
//!   replace   unknown ─▶ learner ─ has caught up ─▶ voter, and the other one gone: one change
//!   remove    member ──▶ gone
//! ```

use std::fmt;

use consensus_api::membership_change::LEARNER_LAG_MAX;
use kv_client::protocol::{MemberReply, MemberRequest, MembersReply};

use super::MembersError;

/// What is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The node is a member, at this address; a voter, unless it is to be a learner.
    Add {
        /// Which node.
        id: u64,
        /// Where its peers find it.
        address: String,
        /// Its data directory's id, 32 hexadecimal digits.
        store: String,
        /// It need not vote.
        learner: bool,
    },
    /// The node votes.
    Promote {
        /// Which node.
        id: u64,
    },
    /// The node does not vote, and stays.
    Demote {
        /// Which node.
        id: u64,
    },
    /// The node is no member.
    Remove {
        /// Which node.
        id: u64,
    },
    /// One node votes, and another one is no member.
    Replace {
        /// Which one goes.
        old: u64,
        /// Which one comes.
        new: u64,
        /// Its address and its data directory's id, where it may be no member yet.
        place: Option<(String, String)>,
    },
}

/// What one look at the members leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The goal is reached.
    Done,
    /// Something must come first by itself.
    Wait(Waits),
    /// The cluster is asked for a step.
    Ask(Step),
}

/// What comes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A learner catches up.
    Learner { id: u64, behind: u64 },
    /// A learner has yet to be heard of.
    Silent { id: u64 },
    /// The change comes into force.
    Change,
    /// Another change is under way.
    Other,
    /// Something else that may pass.
    Trouble(String),
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waits::Learner { id, behind } => write!(f, "node {id} catches up, {behind} entries behind"),
            Waits::Silent { id } => {
                write!(f, "node {id} has not been heard of yet; check that it runs, at that address")
            }
            Waits::Change => write!(f, "the change comes into force"),
            Waits::Other => write!(f, "another change of the members is under way"),
            Waits::Trouble(reason) => write!(f, "{reason}"),
        }
    }
}

/// One request of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) request: Request,
    what: What,
}

/// How it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `POST /v1/members`
    Add(MemberRequest),
    /// `DELETE /v1/members/{id}`
    Remove(u64),
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Learns(u64),
    Votes(u64),
    Moves(u64),
    Goes(u64),
    Replaces { old: u64, new: u64 },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Learns(id) => write!(f, "node {id} is a learner"),
            What::Votes(id) => write!(f, "node {id} votes"),
            What::Moves(id) => write!(f, "node {id} has its new address"),
            What::Goes(id) => write!(f, "node {id} is removed"),
            What::Replaces { old, new } => write!(f, "node {new} votes instead of node {old}"),
        }
    }
}

impl Step {
    /// What whoever asks for it should know first.
    pub(super) fn warning(&self, now: &MembersReply) -> Option<String> {
        let (id, what) = match self.what {
            What::Goes(id) => (id, "removed"),
            What::Replaces { old, .. } => (old, "replaced"),
            What::Learns(id) => (id, "a learner"),
            What::Votes(_) | What::Moves(_) => return None,
        };
        (now.leader_id == Some(id)).then(|| format!("node {id} leads; it hands over once it is {what}"))
    }
}

/// Whether a learner that is so far behind may vote.
pub(super) fn is_near(behind: u64) -> bool {
    behind <= LEARNER_LAG_MAX
}

impl Goal {
    /// What comes next, as the members are now.
    pub(super) fn next(&self, now: &MembersReply) -> Result<Next, MembersError> {
        match self {
            Goal::Add { id, address, store, learner } => {
                Ok(match member(now, *id) {
                    // A member with another data directory: the cluster refuses that, and says why.
                    found if found.is_none_or(|found| found.store != *store) => learn(*id, address, store),
                    Some(found) if found.address != *address => moves(found, address),
                    Some(found) if *learner || found.voter => settled(now),
                    Some(found) => promote(now, found, None),
                    None => learn(*id, address, store),
                })
            }
            Goal::Promote { id } => match member(now, *id) {
                None => Err(MembersError::NoMember { node: *id }),
                Some(found) if found.voter => Ok(settled(now)),
                Some(found) => Ok(promote(now, found, None)),
            },
            Goal::Demote { id } => match member(now, *id) {
                None => Err(MembersError::NoMember { node: *id }),
                Some(found) if found.voter => Ok(demote(*id)),
                Some(_) => Ok(settled(now)),
            },
            Goal::Remove { id } => Ok(match member(now, *id) {
                None => settled(now),
                Some(found) if found.outgoing && !found.voter => Next::Wait(Waits::Change),
                Some(_) => remove(*id),
            }),
            Goal::Replace { old, new, place } => replace(now, *old, *new, place.as_ref()),
        }
    }

    /// What is said where it is reached.
    pub(super) fn reached(&self) -> String {
        match self {
            Goal::Add { id, learner: true, .. } => format!("node {id} is a member"),
            Goal::Add { id, .. } | Goal::Promote { id } => format!("node {id} votes"),
            Goal::Demote { id } => format!("node {id} is a learner"),
            Goal::Remove { id } => format!("node {id} is removed"),
            Goal::Replace { old, new, .. } => format!("node {new} votes instead of node {old}"),
        }
    }

    /// What is said where there was nothing to do.
    pub(super) fn reached_already(&self) -> String {
        match self {
            Goal::Add { id, learner: true, .. } => format!("node {id} is a member already"),
            Goal::Add { id, .. } | Goal::Promote { id } => format!("node {id} votes already"),
            Goal::Demote { id } => format!("node {id} is a learner already"),
            Goal::Remove { id } => format!("node {id} is no member, nothing was to be done"),
            Goal::Replace { old, new, .. } => {
                format!("node {new} votes and node {old} is no member, nothing was to be done")
            }
        }
    }
}

fn replace(now: &MembersReply, old: u64, new: u64, place: Option<&(String, String)>) -> Result<Next, MembersError> {
    let goes = member(now, old);
    Ok(match (member(now, new), goes) {
        (None, None) => return Err(MembersError::NoMember { node: old }),
        (None, Some(_)) => {
            let (address, store) = place.ok_or(MembersError::NotJoined { node: new })?;
            learn(new, address, store)
        }
        (Some(comes), None) if comes.voter => settled(now),
        (Some(_), None) => return Err(MembersError::NoMember { node: old }),
        (Some(comes), Some(goes)) if comes.voter => {
            if goes.outgoing && !goes.voter {
                Next::Wait(Waits::Change)
            } else {
                remove(old)
            }
        }
        (Some(comes), Some(_)) => promote(now, comes, Some(old)),
    })
}

fn member(now: &MembersReply, id: u64) -> Option<&MemberReply> {
    now.members.iter().find(|member| member.id == id)
}

/// All is as it should be, once it is in force.
fn settled(now: &MembersReply) -> Next {
    if now.changing { Next::Wait(Waits::Change) } else { Next::Done }
}

fn add(what: What, request: MemberRequest) -> Next {
    Next::Ask(Step { request: Request::Add(request), what })
}

fn learn(id: u64, address: &str, store: &str) -> Next {
    let (address, store) = (Some(address.to_owned()), Some(store.to_owned()));
    add(What::Learns(id), MemberRequest { id, address, store, learner: true, ..MemberRequest::default() })
}

/// A voter that moves stays one.
fn moves(found: &MemberReply, address: &str) -> Next {
    let (id, learner) = (found.id, !found.voter);
    add(What::Moves(id), MemberRequest { id, address: Some(address.to_owned()), learner, ..MemberRequest::default() })
}

fn demote(id: u64) -> Next {
    add(What::Learns(id), MemberRequest { id, learner: true, ..MemberRequest::default() })
}

/// A learner that is far behind is waited for, and one that the leader has not heard of: on a short log that is not far behind
/// either, but as a voter it would hold up the others from the first moment. Where it is not the leader who tells the members,
/// the leader judges.
fn promote(now: &MembersReply, found: &MemberReply, replaces: Option<u64>) -> Next {
    let id = found.id;
    match (found.matched_index, found.behind) {
        (Some(1..), Some(behind)) if !is_near(behind) => Next::Wait(Waits::Learner { id, behind }),
        (None | Some(0), _) if is_by_leader(now) => Next::Wait(Waits::Silent { id }),
        _ => {
            let what = replaces.map_or(What::Votes(id), |old| What::Replaces { old, new: id });
            add(what, MemberRequest { id, replaces, ..MemberRequest::default() })
        }
    }
}

/// Whether it is the leader who tells the members: others know how far they are themselves, and nobody else.
fn is_by_leader(now: &MembersReply) -> bool {
    now.leader_id.and_then(|leader| member(now, leader)).is_some_and(|leader| leader.matched_index.is_some())
}

fn remove(id: u64) -> Next {
    Next::Ask(Step { request: Request::Remove(id), what: What::Goes(id) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn seen(id: u64, voter: bool, matched: Option<u64>) -> MemberReply {
        MemberReply {
            id,
            address: format!("h:{id}"),
            store: format!("{id:032x}"),
            voter,
            outgoing: false,
            matched_index: matched,
            behind: matched.map(|matched| 9000 - matched),
        }
    }

    /// Nodes 1 to 3 vote, node 1 leads and tells it, and this one is there too.
    fn with(fourth: Option<MemberReply>) -> MembersReply {
        let members = (1..=3).map(|id| seen(id, true, Some(9000))).chain(fourth).collect();
        MembersReply { version: 3, changing: false, leader_id: Some(1), cluster_id: "c".into(), members }
    }

    fn fourth(learner: bool) -> Goal {
        Goal::Add { id: 4, address: "h:4".into(), store: format!("{:032x}", 4), learner }
    }

    fn asked(next: Next) -> (Request, String) {
        let Next::Ask(step) = next else { panic!("nothing is asked: {next:?}") };
        let said = step.to_string();
        (step.request, said)
    }

    fn posted(next: Next) -> MemberRequest {
        let (Request::Add(request), _) = asked(next) else { panic!("nothing is added") };
        request
    }

    #[test]
    fn a_new_node_learns_catches_up_and_votes() {
        let goal = fourth(false);
        let first = posted(goal.next(&with(None)).unwrap());
        assert!(first.learner && first.address.is_some() && first.store.is_some());
        let silent = goal.next(&with(Some(seen(4, false, None)))).unwrap();
        assert_eq!(silent, Next::Wait(Waits::Silent { id: 4 }));
        let behind = goal.next(&with(Some(seen(4, false, Some(10))))).unwrap();
        assert_eq!(behind, Next::Wait(Waits::Learner { id: 4, behind: 8990 }));
        let near = posted(goal.next(&with(Some(seen(4, false, Some(8900))))).unwrap());
        assert_eq!(near, MemberRequest { id: 4, ..MemberRequest::default() });
        assert_eq!(goal.next(&with(Some(seen(4, true, Some(9000))))).unwrap(), Next::Done);
    }

    #[test]
    fn a_learner_that_is_to_stay_one_is_there_at_once() {
        let goal = fourth(true);
        assert!(posted(goal.next(&with(None)).unwrap()).learner);
        assert_eq!(goal.next(&with(Some(seen(4, false, None)))).unwrap(), Next::Done);
    }

    #[test]
    fn of_whom_the_leader_does_not_tell_the_leader_judges() {
        let mut of_a_follower = with(Some(seen(4, false, None)));
        for member in &mut of_a_follower.members {
            (member.matched_index, member.behind) = (None, None);
        }
        let request = posted(fourth(false).next(&of_a_follower).unwrap());
        assert_eq!(request, MemberRequest { id: 4, ..MemberRequest::default() });
    }

    #[test]
    fn a_member_that_has_moved_keeps_its_part() {
        let moved = |voter| {
            let found = MemberReply { address: "h:9".into(), ..seen(4, voter, Some(9000)) };
            posted(fourth(false).next(&with(Some(found))).unwrap())
        };
        assert_eq!((moved(true).learner, moved(false).learner), (false, true));
        assert_eq!((moved(true).address.as_deref(), moved(true).store), (Some("h:4"), None));
    }

    #[test]
    fn an_id_with_another_disk_is_for_the_cluster_to_refuse() {
        let other = MemberReply { store: "0".repeat(32), ..seen(4, true, Some(9000)) };
        assert!(posted(fourth(false).next(&with(Some(other))).unwrap()).store.is_some());
    }

    #[test]
    fn nothing_is_done_before_the_change_is_in_force() {
        let changing = MembersReply { changing: true, ..with(Some(seen(4, true, Some(9000)))) };
        assert_eq!(fourth(false).next(&changing).unwrap(), Next::Wait(Waits::Change));
        let mut leaving = changing;
        (leaving.members[3].voter, leaving.members[3].outgoing) = (false, true);
        assert_eq!(Goal::Remove { id: 4 }.next(&leaving).unwrap(), Next::Wait(Waits::Change));
    }

    #[test]
    fn one_change_puts_a_node_in_anothers_place_once_it_has_caught_up() {
        let goal = Goal::Replace { old: 2, new: 4, place: None };
        assert!(matches!(goal.next(&with(None)), Err(MembersError::NotJoined { node: 4 })));
        let lags = goal.next(&with(Some(seen(4, false, Some(10))))).unwrap();
        assert!(matches!(lags, Next::Wait(Waits::Learner { id: 4, .. })));
        let (request, said) = asked(goal.next(&with(Some(seen(4, false, Some(9000))))).unwrap());
        assert_eq!(request, Request::Add(MemberRequest { id: 4, replaces: Some(2), ..MemberRequest::default() }));
        assert_eq!(said, "node 4 votes instead of node 2");
        let mut done = with(Some(seen(4, true, Some(9000))));
        assert_eq!(asked(goal.next(&done).unwrap()).0, Request::Remove(2));
        done.members.remove(1);
        assert_eq!(goal.next(&done).unwrap(), Next::Done);
    }

    #[test]
    fn whoever_is_unknown_is_named_unless_it_is_to_go() {
        let now = with(None);
        for goal in [Goal::Promote { id: 9 }, Goal::Demote { id: 9 }, Goal::Replace { old: 9, new: 8, place: None }] {
            assert!(matches!(goal.next(&now), Err(MembersError::NoMember { node: 9 })), "{goal:?}");
        }
        assert_eq!(Goal::Remove { id: 9 }.next(&now).unwrap(), Next::Done);
    }

    #[test]
    fn a_leader_that_goes_hands_over_and_that_is_said_before() {
        let warning = |id| {
            let Next::Ask(step) = (Goal::Remove { id }).next(&with(None)).unwrap() else { panic!("nothing is asked") };
            step.warning(&with(None))
        };
        assert!(warning(1).unwrap().contains("hands over"));
        assert_eq!(warning(2), None);
    }
}
