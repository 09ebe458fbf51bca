//! How members come and go, one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::*;
use consensus_api::errands::Errand;
use consensus_api::{
    AppliedMembership, Engine, Input, LeaseTiming, LogIndex, Member, NodeId, Payload, ReadMode, Refusal, Role, StoreId,
};
use engine_raft::message::{AppendOutcome, AppendReply, Conflict, Message};

/// A leader in term 1 of these voters, of whom the first ones answer, with these learners that have caught up; the entry
/// that names them is committed, at 2.
fn leader_of(voting: &[u64], learning: &[u64]) -> Node {
    leader_with(config(1), voting, learning)
}

fn leader_with(config: consensus_api::EngineConfig, voting: &[u64], learning: &[u64]) -> Node {
    let mut node = Node::on(config, voters(voting), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let others = || voting.iter().chain(learning).filter(|id| **id != 1);
    others().for_each(|other| node.hear(*other, vote(1, 1, true)));
    node.sync();
    others().for_each(|other| node.hear(*other, matched(1, 1, 1)));
    node.change(1, members(0, voting, learning));
    node.sync();
    others().for_each(|other| node.hear(*other, matched(1, 1, 2)));
    others().for_each(|other| node.hear(*other, heartbeat_reply(1, 1, 1)));
    assert_eq!((node.role(), node.commit(), node.refusals()), (Role::Leader, 2, vec![]));
    node.sent();
    node
}

fn acknowledge(node: &mut Node, through: u64, by: &[u64]) {
    by.iter().for_each(|peer| node.hear(*peer, matched(1, 1, through)));
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.0).collect()
}

/// The payloads of what the leader has sent this peer.
fn sent_payloads(node: &mut Node, peer: u64) -> Vec<Payload> {
    let appends = node.sent_to(peer).into_iter().filter_map(|message| match message {
        Message::Append(append) => Some(append.entries),
        _ => None,
    });
    appends.flatten().map(|entry| entry.payload.clone()).collect()
}

// One voter, or several.

#[test]
fn one_voter_more_takes_one_entry_which_decides_the_moment_it_is_in_the_log() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(1, &[1, 2, 3, 4], &[]));
    let status = node.raft.status();
    assert_eq!((*status.membership == members(2, &[1, 2, 3, 4], &[]), status.is_changing), (true, true));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 2, "two of four");
    acknowledge(&mut node, 3, &[4]);
    assert_eq!((node.commit(), node.last()), (3, 3), "three of four, the new one among them");
    assert!(!node.raft.status().is_changing);
    assert_eq!(node.committed.last().unwrap().payload.request_id(), Some(request(1, 2)));
}

#[test]
fn several_voters_at_once_take_two_entries_and_both_majorities_for_the_first() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.change(2, members(1, &[1, 4, 5], &[]));
    let joint = node.membership();
    assert_eq!((ids(&joint.voters), ids(&joint.outgoing), joint.version), (vec![1, 4, 5], vec![1, 2, 3], 2));
    assert_eq!(joint.members.len(), 5, "whoever votes has an address");
    node.sync();
    acknowledge(&mut node, 3, &[2, 3]);
    assert_eq!(node.commit(), 2, "all of the old, and one of the new");
    acknowledge(&mut node, 3, &[5]);
    assert_eq!((node.commit(), node.last()), (3, 4), "the second entry follows at once");
    assert_eq!(node.membership(), members(3, &[1, 4, 5], &[]));
    node.sync();
    acknowledge(&mut node, 4, &[2, 3]);
    assert_eq!(node.commit(), 3, "the old ones have no say in the second");
    acknowledge(&mut node, 4, &[4]);
    assert_eq!(node.commit(), 4);
    let completed: Vec<_> = node.committed.iter().map(|entry| entry.payload.request_id()).collect();
    assert_eq!(completed, [None, Some(request(1, 1)), None, Some(request(1, 2))], "by the last entry and no other");
}

#[test]
fn both_halves_elect_while_the_members_change() {
    let mut joint = members(1, &[1, 4, 5], &[]);
    joint.outgoing = voters(&[1, 2, 3]).voters;
    let mut disk = Disk::with(&[1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, joint));
    let mut node = Node::with_disk(1, disk);
    node.step(Input::Campaign);
    node.sync();
    assert_eq!(node.sent().iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 4, 5]);
    node.hear(2, vote(2, 1, true));
    node.hear(3, vote(2, 1, true));
    assert_eq!(node.role(), Role::Candidate, "three of the old, and one of the new");
    node.hear(4, vote(2, 1, true));
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_new_leader_ends_a_change_that_it_finds_half_done_once_its_no_op_is_committed() {
    let mut joint = members(1, &[1, 4, 5], &[]);
    joint.outgoing = voters(&[1, 2, 3]).voters;
    let mut disk = Disk::with(&[1], ballot(1, 0), 2);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, joint));
    let mut node = Node::with_disk(1, disk);
    node.step(Input::Campaign);
    node.sync();
    [2, 4].into_iter().for_each(|peer| node.hear(peer, vote(2, 1, true)));
    node.sync();
    node.hear(2, matched(2, 1, 3));
    assert_eq!((node.role(), node.last()), (Role::Leader, 3), "though the first entry was known to be committed");
    node.sent();
    node.hear(4, matched(2, 1, 3));
    assert_eq!((node.commit(), node.membership()), (3, members(2, &[1, 4, 5], &[])));
    let ends = sent_payloads(&mut node, 4).pop().unwrap();
    assert_eq!(ends.request_id(), Some(request(9, 1_002)), "for whoever asked for the change");
}

#[test]
fn what_was_appended_before_a_change_is_counted_by_those_who_vote_now() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.propose(5);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[3]);
    assert_eq!(node.commit(), 2, "3 was there when the entry was appended, and votes no more");
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 3);
}

// What is asked of a change.

#[test]
fn no_change_begins_before_the_leader_has_committed_an_entry_of_its_own_term() {
    let mut node = Node::on(config(2), voters(&[1, 2, 3, 4]), Disk::with(&[1], ballot(1, 0), 1));
    node.step(Input::Campaign);
    node.sync();
    [3, 4].into_iter().for_each(|peer| node.hear(peer, vote(2, 2, true)));
    node.sync();
    assert_eq!(node.role(), Role::Leader);
    node.change(1, members(0, &[2, 3, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![Refusal::NotReady], 2));
    [3, 4].into_iter().for_each(|peer| node.hear(peer, matched(2, 2, 2)));
    node.change(2, members(0, &[2, 3, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn of_two_leaders_that_change_the_same_members_only_one_has_a_majority() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 5], &[1, 2, 3, 4], config);
    cluster.elect(1);
    cluster.change(1, 1, members(0, &[1, 2, 3, 4], &[5]));
    // S1 adds S5 in its own log alone.
    cluster.cut = [1].into();
    cluster.change(1, 2, members(1, &[1, 2, 3, 4, 5], &[]));
    // S2 is elected by S2, S3 and S4, and reaches S3 alone, with whom it is a majority without S1.
    cluster.cut = [1, 2].into();
    cluster.node(2).step(Input::Campaign);
    cluster.node(2).sync();
    let request = cluster.node(2).sent_to(3).pop().unwrap();
    for voter in [3, 4] {
        cluster.node(voter).hear(2, request.clone());
        cluster.node(voter).sync();
        let vote = cluster.node(voter).sent_to(2).pop().unwrap();
        cluster.node(2).hear(voter, vote);
    }
    cluster.cut = [1, 4, 5].into();
    cluster.settle();
    let committed = cluster.nodes[&2].commit();
    cluster.change(2, 1, members(1, &[2, 3, 4], &[5]));
    assert_eq!(cluster.nodes[&2].role(), Role::Leader);
    // S1 is elected by S1, S4 and S5, a majority of five.
    cluster.cut = [2, 3].into();
    cluster.node(1).pass(200);
    for _ in 0..2 {
        cluster.node(1).step(Input::Campaign);
        cluster.settle();
    }
    assert_eq!((cluster.nodes[&1].role(), cluster.nodes[&1].term()), (Role::Leader, 3));
    assert_eq!(cluster.nodes[&2].commit(), committed, "so S2 and S3 must not have committed anything");
    assert_eq!(cluster.node(2).refusals(), [Refusal::NotReady]);
}

#[test]
fn one_change_goes_on_at_a_time() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.change(2, members(1, &[1, 2, 3, 4], &[5]));
    node.change(3, members(2, &[1, 2, 3, 4, 5], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![Refusal::ChangePending], 3));
}

#[test]
fn a_change_that_was_meant_for_other_members_is_refused() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(0, &[1, 2, 3, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::MembershipMoved { asked: 0, present: 1 }]);
}

#[test]
fn whoever_is_to_vote_is_a_learner_with_that_disk_wherever_it_is_by_now() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    let of_four = |address: &str, store| {
        let mut target = members(1, &[1, 2, 3, 4], &[]);
        target.members.insert(NodeId(4), Member { address: address.into(), store: StoreId(store) });
        target
    };
    node.change(2, members(1, &[1, 2, 3, 7], &[4]));
    node.change(3, of_four("node-4:1", 44));
    for refusal in node.refusals() {
        assert!(matches!(&refusal, Refusal::InvalidMembership { reason } if reason.contains("learner")), "{refusal}");
    }
    assert_eq!(node.last(), 2);
    node.change(4, of_four("elsewhere:1", 4));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn a_learner_becomes_a_voter_only_if_it_answers_and_does_not_lag() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    (0..1_025).for_each(|sequence| node.propose(10 + sequence));
    node.sync();
    acknowledge(&mut node, 1_027, &[2]);
    assert_eq!(node.commit(), 1_027);
    let target = || members(1, &[1, 2, 3, 4], &[]);
    node.change(2, target());
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 1_025 }]);
    acknowledge(&mut node, 3, &[4]);
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 1_027, &[2, 3]);
    }
    node.change(3, target());
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 1_024 }], "it is silent");
    acknowledge(&mut node, 3, &[4]);
    node.change(4, target());
    assert_eq!((node.refusals(), node.membership().voters.len()), (vec![], 4));
}

#[test]
fn a_learner_that_has_not_answered_at_all_does_not_become_a_voter() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2, 3], &[4]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    node.change(3, members(2, &[1, 2, 3, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 3 }], "however short the log is");
}

#[test]
fn a_learner_has_the_log_and_no_say() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.propose(2);
    node.sync();
    assert_eq!(sent_payloads(&mut node, 4).len(), 1);
    acknowledge(&mut node, 3, &[4, 5]);
    assert_eq!(node.commit(), 2);
    node.step(Input::Read { id: request(1, 3), mode: ReadMode::Index });
    let round = node.sent().iter().find_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    [4, 5].into_iter().for_each(|peer| node.hear(peer, heartbeat_reply(1, 1, round.unwrap())));
    assert_eq!(node.reads_ready, [], "nor in a read");
}

#[test]
fn a_follower_passes_a_change_on_and_hears_if_it_is_refused() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.change(2, 1, members(0, &[1, 2, 3], &[4]));
    assert_eq!(cluster.members(3), members(1, &[1, 2, 3], &[4]));
    let asked = Errand::ChangeMembership {
        ballot: ballot(1, 1),
        id: request(2, 1),
        target: Arc::new(members(1, &[1, 2, 3], &[])),
    };
    cluster.node(1).hear(2, Message::Errand(asked));
    assert_eq!(cluster.members(1).version, 1, "an id is admitted once");
    cluster.change(4, 1, members(0, &[1], &[]));
    assert_eq!(cluster.node(4).refusals(), [Refusal::MembershipMoved { asked: 0, present: 1 }]);
}

// Peers come and go.

#[test]
fn a_new_member_is_fed_from_the_moment_it_is_named() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2, 3], &[4]));
    assert_eq!(node.contact_ids(), [1, 2, 3, 4]);
    assert!(node.raft.status().progress.contains_key(&NodeId(4)));
    assert!(node.sent().iter().any(|(to, message)| *to == 4 && matches!(message, Message::Append(_))));
    let conflict = Conflict { prev: LogIndex(3), x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex::ZERO };
    let reply = AppendReply { ballot: ballot(1, 1), outcome: AppendOutcome::Conflict(conflict) };
    node.hear(4, Message::AppendReply(reply));
    assert_eq!(sent_payloads(&mut node, 4).len(), 3, "from the beginning");
}

/// A leader of 1, 2 and 3 that has removed 3, and has committed that by 2.
fn without_three() -> Node {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!((node.commit(), node.contact_ids()), (3, vec![1, 2, 3]));
    node
}

fn last_round(node: &mut Node) -> u64 {
    let rounds = node.sent().into_iter().filter_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    rounds.max().unwrap()
}

#[test]
fn whoever_is_removed_is_told_so_and_then_left_alone() {
    let mut node = without_three();
    node.tick(10);
    let told = node.sent_to(3);
    assert!(told.iter().any(|message| matches!(message, Message::Heartbeat(it) if it.commit == LogIndex(3))));
    acknowledge(&mut node, 3, &[3]);
    node.tick(10);
    assert_eq!(node.contact_ids(), [1, 2, 3], "it has the entry, and may not know yet that it is committed");
    let round = last_round(&mut node);
    node.hear(3, heartbeat_reply(1, 1, round));
    node.tick(10);
    assert_eq!((node.contact_ids(), node.sent_to(3)), (vec![1, 2], vec![]));
    assert_eq!(*node.contacts, node.membership());
}

#[test]
fn whoever_is_removed_and_does_not_answer_is_left_alone_after_two_election_timeouts() {
    let mut node = without_three();
    let mut pass = |millis: u64| {
        for _ in 0..millis / 10 {
            node.tick(10);
            acknowledge(&mut node, 3, &[2]);
        }
        node.contact_ids()
    };
    assert_eq!(pass(200), [1, 2, 3]);
    assert_eq!(pass(20), [1, 2]);
}

#[test]
fn whoever_is_removed_gets_no_snapshot_any_more() {
    let mut node = without_three();
    node.apply();
    node.trim(position(3, 1, 1));
    let conflict = Conflict { prev: LogIndex(2), x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex(1) };
    let refuse = |node: &mut Node| {
        let reply = AppendReply { ballot: ballot(1, 1), outcome: AppendOutcome::Conflict(conflict) };
        node.hear(3, Message::AppendReply(reply));
        node.tick(10);
        std::mem::take(&mut node.snapshots).len()
    };
    assert_eq!(refuse(&mut node), 0);
    node.change(3, members(2, &[1, 2], &[3]));
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 3, &[2]);
    }
    assert!(refuse(&mut node) > 0, "but as a member it does");
}

#[test]
fn whoever_comes_back_from_the_same_disk_is_believed_and_from_another_one_not() {
    for (store, known) in [(3, LogIndex(2)), (33, LogIndex::ZERO)] {
        let mut node = without_three();
        let mut target = members(2, &[1, 2], &[3]);
        target.members.insert(NodeId(3), Member { address: "node-3:1".into(), store: StoreId(store) });
        node.change(3, target);
        assert_eq!(node.refusals(), []);
        assert_eq!(node.raft.status().progress[&NodeId(3)], known, "it had acknowledged 2 with its first disk");
        assert_eq!(node.contacts.members[&NodeId(3)].store, StoreId(store));
    }
}

#[test]
fn an_answer_from_before_a_removal_is_true_of_the_same_disk() {
    let mut node = without_three();
    for _ in 0..30 {
        node.tick(10);
        acknowledge(&mut node, 3, &[2]);
    }
    assert_eq!(node.contact_ids(), [1, 2]);
    acknowledge(&mut node, 2, &[3]);
    node.change(3, members(2, &[1, 2], &[3]));
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex::ZERO, "nothing is known of who begins anew");
    acknowledge(&mut node, 2, &[3]);
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex(2));
}

// What is overwritten, trimmed and recovered.

#[test]
fn a_leader_whose_change_is_overwritten_goes_back_to_the_members_before() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(1, &[2, 3, 4], &[]));
    node.sync();
    assert_eq!(node.contact_ids(), [1, 2, 3, 4]);
    node.hear(2, append(2, 2, position(2, 1, 1), vec![entry(3, 2, 2)], 2));
    let status = node.raft.status();
    assert_eq!((node.membership(), status.is_changing), (members(1, &[1, 2, 3], &[4]), false));
    assert_eq!((status.role, node.contact_ids()), (Role::Follower, vec![1, 2, 3, 4]));
    node.sync();
    node.tick(300);
    assert_eq!(node.role(), Role::Candidate, "it votes as before");
}

#[test]
fn contacts_keep_those_to_whom_an_overwritten_entry_would_give_the_word_back() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2], &[]));
    node.step(Input::Message { from: NodeId(3), message: request_vote(2, 3, position(1, 1, 1)) });
    node.sync();
    node.pass(200);
    node.hear(3, request_vote(2, 3, position(9, 9, 9)));
    assert_eq!((node.role(), node.contact_ids()), (Role::Follower, vec![1, 2, 3]), "3 may yet lead");
    node.sync();
    node.restart(0);
    node.step(Input::Tick);
    assert_eq!((node.membership().voters.len(), node.contact_ids()), (2, vec![1, 2, 3]), "also after a restart");
}

#[test]
fn a_restart_takes_up_the_members_that_the_log_names_last() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 2);
    disk.entries.insert(LogIndex(3), naming(3, 1, 9, members(1, &[1, 2], &[])));
    disk.entries.insert(LogIndex(4), naming(4, 1, 9, members(2, &[1, 2], &[3])));
    disk.applied = LogIndex(3);
    disk.commit = LogIndex(3);
    let mut node = Node::with_disk(1, disk);
    assert_eq!((node.membership(), node.raft.status().is_changing), (members(2, &[1, 2], &[3]), true));
    node.hear(2, append(2, 2, position(3, 1, 9), vec![entry(4, 2, 2)], 3));
    assert_eq!(node.membership(), members(1, &[1, 2], &[]), "those of the tables");
}

#[test]
fn members_on_the_disk_that_do_not_follow_each_other_are_refused() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 0);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, members(2, &[1, 2], &[])));
    let error = engine_raft::Raft::recover(config(1), disk.recovered(voters(&[1, 2, 3])), Default::default());
    assert!(error.expect_err("refused").to_string().contains("version 2 after version 0"));
}

#[test]
fn a_snapshot_leaves_nothing_of_members_that_were_overwritten_elsewhere() {
    // S1 names itself and S2 without committing it; meanwhile others have committed another 2, and more.
    let mut disk = Disk::with(&[1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(2), naming(2, 1, 1, members(1, &[1, 2], &[])));
    disk.entries.insert(LogIndex(3), entry(3, 1, 1));
    let mut node = Node::with_disk(1, disk);
    assert_eq!(node.membership().voters.len(), 2);
    let mut told = AppliedMembership::founded(Arc::new(voters(&[1, 2, 3])));
    assert!(told.take(LogIndex(2), &Arc::new(members(1, &[1, 2, 3], &[4]))));
    node.install(position(3, 2, 2), told);
    assert_eq!(node.membership(), members(1, &[1, 2, 3], &[4]));
    node.sync();
    node.step(Input::Campaign);
    node.sync();
    node.hear(2, vote(3, 1, true));
    assert_eq!(node.role(), Role::Leader, "two of three");
}

#[test]
fn a_snapshot_leaves_members_that_the_log_names_above_it() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(3), naming(3, 1, 1, members(1, &[1, 2], &[])));
    let mut node = Node::with_disk(1, disk);
    node.install(position(2, 1, 9), founded(&[1, 2, 3]));
    assert_eq!((node.last(), node.membership().voters.len()), (3, 2));
}

// Who is removed.

#[test]
fn a_leader_that_removes_itself_leads_until_that_is_committed_and_hands_over() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[2, 3], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!((node.role(), node.commit()), (Role::Leader, 2), "its own copy does not count");
    node.propose(3);
    assert_eq!(node.refusals(), []);
    node.sync();
    acknowledge(&mut node, 4, &[3]);
    assert_eq!(node.commit(), 3);
    assert!(node.sent().iter().any(|(to, message)| *to == 3 && matches!(message, Message::HandOver(_))));
    node.propose(4);
    assert_eq!(node.refusals(), [Refusal::NotLeader { leader: Some(NodeId(3)) }]);
    node.hear(3, request_vote(2, 3, position(4, 1, 1)));
    assert_eq!(node.role(), Role::Leader, "it hears a quorum, and this is not a forced election");
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 4, &[2]);
    }
    assert_eq!(node.role(), Role::Learner, "it has no reason to go on");
    node.tick(1_000);
    node.step(Input::Campaign);
    assert_eq!((node.role(), node.term()), (Role::Learner, 1), "nor to begin again");
}

#[test]
fn the_members_go_on_without_a_leader_that_has_removed_itself() {
    let mut cluster = Cluster::of(&[1, 2, 3], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.change(1, 1, members(0, &[2, 3], &[]));
    let next = [2, 3].into_iter().find(|id| cluster.nodes[id].role() == Role::Leader).expect("at once");
    assert_eq!(cluster.nodes[&1].role(), Role::Learner);
    cluster.node(next).propose(9);
    cluster.settle();
    cluster.run(50);
    assert_eq!(cluster.nodes[&2].commit(), cluster.nodes[&3].commit());
    assert_eq!(cluster.nodes[&next].contact_ids(), [2, 3]);
}

#[test]
fn a_leader_that_stops_before_its_removal_is_committed_leads_once_more_to_commit_it() {
    let mut cluster = Cluster::of(&[1, 2], &[1, 2], config);
    cluster.elect(1);
    cluster.cut = [2].into();
    cluster.change(1, 1, members(0, &[2], &[]));
    cluster.node(1).restart(0);
    assert_eq!(cluster.nodes[&1].role(), Role::Follower, "without its vote, or its log, the other is not elected");
    cluster.cut.clear();
    cluster.run(1_000);
    assert_eq!(cluster.nodes[&2].role(), Role::Leader);
    assert_eq!((cluster.nodes[&1].role(), cluster.members(2)), (Role::Learner, members(1, &[2], &[])));
}

#[test]
fn a_removed_node_that_does_not_know_it_disturbs_nobody() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4], &[1, 2, 3, 4], config);
    cluster.elect(1);
    cluster.cut = [4].into();
    cluster.change(1, 1, members(0, &[1, 2, 3], &[]));
    cluster.run(500);
    assert_eq!(cluster.nodes[&1].contact_ids(), [1, 2, 3]);
    cluster.cut.clear();
    cluster.run(2_000);
    assert_eq!((cluster.nodes[&1].role(), cluster.nodes[&1].term()), (Role::Leader, 1));
    assert_eq!(cluster.members(4).version, 0, "it asks around for ever, and nobody helps it");
    let last = position(9, 9, 4);
    cluster.node(2).hear(4, request_vote(7, 4, last));
    assert_eq!(cluster.nodes[&2].term(), 1, "nor if it campaigned without asking");
}

#[test]
fn a_read_counts_no_answer_of_a_voter_that_was_removed_since() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.step(Input::Read { id: request(1, 5), mode: ReadMode::Index });
    let round = last_round(&mut node);
    node.step(Input::Read { id: request(1, 6), mode: ReadMode::Index });
    node.change(2, members(1, &[1, 2], &[]));
    node.hear(3, heartbeat_reply(1, 1, round));
    assert_eq!(node.reads_ready, [], "1 and 3 were a majority");
    node.hear(2, heartbeat_reply(1, 1, round));
    assert_eq!(node.reads_ready.len(), 1);
}

// One, and two.

#[test]
fn a_leader_that_gets_company_decides_alone_no_more() {
    let mut node = leader_of(&[1], &[2]);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    assert_eq!(node.commit(), 2);
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 3);
    node.restart(0);
    node.step(Input::Tick);
    node.sync();
    assert_eq!(node.role(), Role::Follower, "nor is it elected alone");
}

#[test]
fn a_leader_of_two_removes_the_other_without_asking_it() {
    let mut node = leader_of(&[1, 2], &[]);
    node.change(2, members(1, &[1], &[]));
    assert_eq!(node.commit(), 2);
    node.sync();
    assert_eq!((node.commit(), node.role()), (3, Role::Leader));
    for _ in 0..100 {
        node.tick(10);
    }
    assert_eq!((node.role(), node.contact_ids()), (Role::Leader, vec![1]), "and needs to hear from nobody");
}

#[test]
fn the_last_voter_does_not_depose_the_leader_that_is_leaving_it() {
    let mut node = Node::on(config(1), voters(&[1, 2]), Disk::default());
    let leaving = naming(1, 1, 2, members(1, &[1], &[]));
    node.hear(2, append(1, 2, nowhere(), vec![leaving], 0));
    node.sync();
    node.tick(10);
    assert_eq!((node.role(), node.term()), (Role::Follower, 1), "though it decides alone by now");
    let deadline = node.raft.deadline();
    assert!(deadline > node.now && deadline < node.now + std::time::Duration::from_millis(200));
    node.now = deadline;
    node.step(Input::Tick);
    node.sync();
    assert_eq!(node.role(), Role::Leader, "it waits for its word no longer than for any other leader's");
}

#[test]
fn the_last_voter_keeps_after_a_restart_what_it_has_pledged_to_a_leader_that_left() {
    let mut settings = config(1);
    settings.timing.lease = Some(LeaseTiming::default());
    let mut node = Node::on(settings, voters(&[1, 2]), Disk::default());
    node.hear(2, heartbeat(1, 2, 0, 0, 1));
    node.hear(2, append(1, 2, nowhere(), vec![naming(1, 1, 2, members(1, &[1], &[]))], 1));
    node.sync();
    node.restart(0);
    node.step(Input::Tick);
    node.sync();
    assert_ne!(node.role(), Role::Leader, "that leader may hold a lease by it");
    node.tick(100);
    node.sync();
    assert_eq!(node.role(), Role::Leader);
}

// Leases and check-quorum.

#[test]
fn a_lease_is_counted_anew_by_whoever_votes_from_now_on() {
    let mut settings = config(1);
    settings.timing.lease = Some(LeaseTiming::default());
    let mut node = leader_with(settings, &[1, 2, 3], &[4]);
    node.tick(10);
    let round = last_round(&mut node);
    node.hear(3, pledging_reply(1, 1, round, 100));
    let is_served = |node: &mut Node, sequence| {
        node.step(Input::Read { id: request(1, sequence), mode: ReadMode::Lease });
        node.reads_ready.iter().any(|ready| ready.id == request(1, sequence))
    };
    assert!(is_served(&mut node, 11));
    node.change(2, members(1, &[1, 2, 3, 4], &[]));
    assert!(!is_served(&mut node, 12), "two of four");
    node.hear(4, pledging_reply(1, 1, round, 100));
    assert!(is_served(&mut node, 13));
}

#[test]
fn voters_that_are_new_have_an_election_timeout_to_answer_their_leader() {
    let mut node = leader_of(&[1], &[2]);
    node.tick(300);
    acknowledge(&mut node, 2, &[2]);
    node.tick(90);
    node.change(2, members(1, &[1, 2], &[]));
    assert_eq!(node.refusals(), []);
    node.tick(90);
    assert_eq!(node.role(), Role::Leader, "though it has heard nobody for longer");
    node.tick(10);
    assert_eq!(node.role(), Role::Follower);
}

#[test]
fn one_becomes_three_becomes_five_becomes_three_while_clients_write() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 5], &[1], config);
    cluster.run(20);
    let steps: [(&[u64], &[u64]); 6] = [
        (&[1], &[2, 3]),
        (&[1, 2, 3], &[]),
        (&[1, 2, 3], &[4, 5]),
        (&[1, 2, 3, 4, 5], &[]),
        (&[3, 4, 5], &[1, 2]),
        (&[3, 4, 5], &[]),
    ];
    for (sequence, (voting, learning)) in (10..).zip(steps) {
        let leader = cluster.nodes.values().find(|node| node.role() == Role::Leader).unwrap().id().0;
        let version = cluster.members(leader).version;
        cluster.node(leader).propose(100 + sequence);
        cluster.change(leader, sequence, members(version, voting, learning));
        cluster.run(400);
        let leader = cluster.nodes.values().find(|node| node.role() == Role::Leader).expect("somebody leads");
        assert!(leader.membership().names_the_same(&members(0, voting, learning)), "{:?}", leader.membership());
        assert!(voting.contains(&leader.id().0));
        let leader = leader.id().0;
        cluster.node(leader).restart(0);
        cluster.run(400);
    }
    let commits: Vec<u64> = [3, 4, 5].map(|id| cluster.nodes[&id].commit()).into();
    assert!(commits.iter().all(|commit| *commit == commits[0]) && commits[0] > 12);
    assert_eq!([1, 2].map(|id| cluster.nodes[&id].role()), [Role::Learner, Role::Learner]);
}
