//! How a leader comes and goes, one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::*;
use consensus_api::{Engine, HardState, Input, LogTime, NodeId, Role};
use engine_raft::message::{Message, PreVote, PreVoteReply, RequestVote};

#[test]
fn a_vote_for_an_earlier_campaign_is_not_counted() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    node.step(Input::Campaign);
    node.sync();
    node.hear(2, vote(1, 1, true));
    assert_eq!(node.role(), Role::Candidate);
    node.hear(2, vote(2, 1, true));
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_log_that_is_behind_gets_no_vote() {
    for (last, granted) in
        [(position(9, 2, 9), false), (position(2, 3, 9), false), (position(3, 3, 9), true), (position(1, 4, 9), true)]
    {
        let mut node = Node::with_disk(1, Disk::with(&[1, 3, 3], ballot(3, 0), 0));
        node.hear(2, request_vote(5, 2, last));
        node.sync();
        assert_eq!(node.sent_to(2), [vote(5, 2, granted)], "for a log that ends at {last:?}");
    }
}

#[test]
fn a_voter_that_hears_a_leader_helps_nobody_to_depose_it() {
    let mut node = Node::blank(1);
    node.hear(2, heartbeat(1, 2, 0, 0, 1));
    node.sync();
    node.sent();
    node.hear(3, Message::PreVote(PreVote { ballot: ballot(2, 3), last: nowhere() }));
    let reply = PreVoteReply { ballot: ballot(2, 3), promised: ballot(1, 0), granted: false };
    assert_eq!(node.sent(), [(3, Message::PreVoteReply(reply))]);
    node.hear(3, request_vote(2, 3, nowhere()));
    node.sync();
    assert_eq!((node.sent(), node.term()), (vec![], 1));
    node.pass(100);
    node.hear(3, request_vote(2, 3, nowhere()));
    assert_eq!(node.term(), 2, "a dead leader blocks nobody for longer than the election timeout");
}

#[test]
fn a_forced_election_is_answered_even_while_a_leader_is_heard() {
    let mut node = Node::blank(1);
    node.hear(2, heartbeat(1, 2, 0, 0, 1));
    let request = RequestVote { forced: true, ..asking(2, 3, nowhere()) };
    node.hear(3, Message::RequestVote(request));
    node.sync();
    assert_eq!(node.sent_to(3), [vote(2, 3, true)]);
}

#[test]
fn a_longer_log_in_a_lower_term_learns_the_higher_one_from_a_refused_pre_vote() {
    let mut long = Node::with_disk(1, Disk::with(&[1, 1, 1], ballot(3, 0), 0));
    let mut short = Node::with_disk(2, Disk::with(&[1], ballot(5, 0), 0));
    long.tick(200);
    for granted in [false, true] {
        let question = long.sent_to(2).pop().unwrap();
        short.hear(1, question);
        let answer = short.sent_to(1).pop().unwrap();
        assert!(matches!(&answer, Message::PreVoteReply(reply) if reply.granted == granted), "{answer:?}");
        long.hear(2, answer);
    }
    assert_eq!((long.term(), long.role()), (6, Role::Candidate), "above the shorter log's term");
}

#[test]
fn a_request_for_votes_is_repeated_until_it_is_answered() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    node.sync();
    node.sent();
    node.tick(9);
    assert_eq!(node.sent(), []);
    node.tick(1);
    assert!(matches!(&node.sent()[..], [(2, Message::RequestVote(_)), (3, Message::RequestVote(_))]));
}

#[test]
fn a_learner_never_campaigns_and_yet_has_a_vote_for_who_asks() {
    let mut members = voters(&[2, 3]);
    members.learners.insert(NodeId(1));
    let mut node = Node::on(config(1), members, Disk::default());
    node.tick(10_000);
    node.step(Input::Campaign);
    assert_eq!((node.role(), node.term()), (Role::Learner, 0));
    node.hear(2, request_vote(1, 2, nowhere()));
    node.sync();
    assert_eq!(node.sent_to(2), [vote(1, 2, true)], "it may have been promoted without knowing");
}

#[test]
fn a_leader_of_an_earlier_term_is_told_and_steps_down() {
    let mut node = Node::with_disk(2, Disk::with(&[], ballot(7, 0), 0));
    let mut old = leader();
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    let nack = node.sent_to(1).pop().unwrap();
    old.hear(2, nack);
    assert_eq!((old.role(), old.term()), (Role::Follower, 7));
}

#[test]
fn a_candidate_that_becomes_the_only_voter_waits_no_longer_than_it_has_pledged() {
    let hard_state = HardState { ballot: ballot(1, 2), pledge: Duration::from_millis(100) }.encode();
    let mut node = Node::with_disk(1, Disk { hard_state: Some(hard_state), ..Disk::default() });
    let membership = founded(&[1]);
    let (base, log_time) = (position(5, 1, 2), LogTime::default());
    node.step(Input::SnapshotInstalled { base, log_time, membership });
    node.sync();
    assert_eq!(node.role(), Role::Candidate, "it is bound by what it pledged before it started");
    for _ in 0..20 {
        if node.role() == Role::Candidate {
            node.now = node.raft.deadline();
            node.step(Input::Tick);
        }
    }
    assert_eq!(node.role(), Role::Leader);
}

/// Its disk is gone, and with it what it promised there: by the founders, whom it starts with, it would be elected alone.
#[test]
fn a_node_whom_the_members_know_by_another_disk_is_no_voter() {
    use consensus_api::{Engine, Input, Member, Membership, MonoTime, NodeId, Recovered, Role, StoreId};
    let member = Member { address: "127.0.0.1:1".into(), store: StoreId(1) };
    let founders = Membership::of_voters([(NodeId(1), member)]);
    for (store, role) in
        [(Some(StoreId(1)), Role::Candidate), (None, Role::Candidate), (Some(StoreId(2)), Role::Learner)]
    {
        let config = consensus_api::EngineConfig { store, ..common::config(1) };
        let now = MonoTime::from_micros(1);
        let mut node =
            engine_raft::Raft::recover(config, Recovered::blank(founders.clone()), now).expect("a blank disk");
        node.step(now, Input::Campaign);
        node.take_effects();
        assert_eq!(node.status().role, role, "{store:?}");
    }
}
