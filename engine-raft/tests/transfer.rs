//! How leadership is handed over, one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use consensus_api::errands::{Errand, Proposal};
use consensus_api::hand_over::HandOver;
use consensus_api::{
    Blob, Engine, EngineConfig, Input, LeaseTiming, LogIndex, NodeId, ReadMode, Refusal, Refused, Role,
};
use engine_raft::message::{Message, RequestVote};

fn word(term: u64, leader: u64) -> Message {
    Message::HandOver(HandOver { ballot: ballot(term, leader) })
}

fn words(node: &mut Node) -> Vec<u64> {
    let sent = node.sent().into_iter();
    sent.filter(|(_, message)| matches!(message, Message::HandOver(_))).map(|(to, _)| to).collect()
}

fn leasing(id: u64) -> EngineConfig {
    let mut settings = config(id);
    settings.timing.lease = Some(LeaseTiming::default());
    settings
}

/// A candidate's request that says which leader has handed over to it, and in which term.
fn released(term: u64, candidate: u64, by: (u64, u64)) -> Message {
    let released_by = Some(ballot(by.0, by.1));
    Message::RequestVote(RequestVote { forced: true, released_by, ..asking(term, candidate, position(9, 1, 9)) })
}

// The leader.

#[test]
fn a_leader_hands_over_once_the_successor_has_everything() {
    let mut node = leader();
    node.propose(1);
    node.transfer(2, Some(3));
    assert_eq!(words(&mut node), [], "it lacks an entry");
    node.hear(2, matched(1, 1, 2));
    assert_eq!(words(&mut node), []);
    node.hear(3, matched(1, 1, 2));
    assert_eq!(words(&mut node), [3]);
}

#[test]
fn a_leader_that_hands_over_takes_nothing_new() {
    let mut node = leader();
    node.transfer(1, Some(3));
    node.propose(2);
    node.change(3, members(0, &[1, 2], &[]));
    node.step(Input::Read { id: request(1, 4), mode: ReadMode::Log });
    node.transfer(5, Some(2));
    let elsewhere = || Refusal::NotLeader { leader: Some(NodeId(3)) };
    assert_eq!(node.refusals(), [elsewhere(), elsewhere(), elsewhere(), elsewhere()], "to be asked again there");
    node.sent();
    let proposals = vec![Proposal { id: request(2, 1), data: Blob::from("value") }];
    node.hear(2, Message::Errand(Errand::Propose { ballot: ballot(1, 1), proposals }));
    let refused = vec![Refused { id: request(2, 1), reason: elsewhere() }];
    assert_eq!(node.sent(), [(2, Message::Errand(Errand::Refuse { refused }))]);
    node.step(Input::KeepTime { every: Some(Duration::from_millis(1)) });
    node.tick(5);
    assert_eq!(node.last(), 1);
    assert!(node.raft.deadline() > node.now);
}

#[test]
fn a_leader_that_hands_over_serves_reads_by_rounds() {
    let mut node = leader();
    node.transfer(1, Some(3));
    node.step(Input::Read { id: request(1, 2), mode: ReadMode::Index });
    node.hear(2, heartbeat_reply(1, 1, 2));
    assert_eq!((node.reads_ready.len(), node.refusals()), (1, vec![]));
}

#[test]
fn the_word_is_said_again_every_interval() {
    let mut node = leader();
    node.transfer(1, Some(3));
    assert_eq!(words(&mut node), [3]);
    node.tick(9);
    assert_eq!(words(&mut node), []);
    node.tick(1);
    assert_eq!(words(&mut node), [3]);
}

#[test]
fn a_leader_whose_successor_does_not_take_over_goes_on_and_says_so() {
    let mut node = leader();
    node.transfer(1, Some(3));
    for _ in 0..9 {
        node.tick(10);
        node.hear(2, matched(1, 1, 1));
    }
    assert_eq!(node.refusals(), []);
    assert!(node.raft.deadline() <= node.now + Duration::from_millis(10));
    node.tick(10);
    assert_eq!(node.refusals(), [Refusal::TransferFailed { to: Some(NodeId(3)) }]);
    node.propose(2);
    assert_eq!((node.refusals(), node.last(), node.role()), (vec![], 2, Role::Leader));
}

#[test]
fn the_word_is_not_said_any_more_in_the_last_interval() {
    for (millis, expected) in [(89, vec![3]), (90, vec![])] {
        let mut node = leader();
        node.propose(1);
        node.transfer(2, Some(3));
        node.tick(50);
        node.hear(2, matched(1, 1, 2));
        node.tick(millis - 50);
        node.sent();
        node.hear(3, matched(1, 1, 2));
        assert_eq!(words(&mut node), expected, "{millis} ms after it was asked for");
    }
}

#[test]
fn a_successor_that_acts_late_takes_over_all_the_same() {
    let mut cluster = Cluster::of(&[1, 2, 3], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.node(1).transfer(1, Some(3));
    assert_eq!(words(cluster.node(1)), [3]);
    cluster.cut = [3].into();
    cluster.run(110);
    let refused = cluster.node(1).refusals().pop().unwrap();
    assert_eq!(refused, Refusal::TransferFailed { to: Some(NodeId(3)) });
    assert!(refused.to_string().contains("it still may"), "{refused}");
    assert_eq!(cluster.nodes[&1].role(), Role::Leader);
    cluster.cut.clear();
    cluster.node(3).hear(1, word(1, 1));
    cluster.settle();
    assert_eq!(cluster.nodes[&3].role(), Role::Leader);
}

#[test]
fn who_asked_elsewhere_hears_that_it_failed() {
    let mut node = leader();
    let errand = |id| Errand::TransferLeadership { ballot: ballot(1, 1), id, to: Some(NodeId(3)) };
    node.hear(2, Message::Errand(errand(request(2, 1))));
    for _ in 0..9 {
        node.tick(10);
        node.hear(2, matched(1, 1, 1));
    }
    node.sent();
    node.tick(10);
    let refused = vec![Refused { id: request(2, 1), reason: Refusal::TransferFailed { to: Some(NodeId(3)) } }];
    assert!(node.sent_to(2).contains(&Message::Errand(Errand::Refuse { refused })));
    node.hear(2, Message::Errand(errand(request(2, 1))));
    assert_eq!(words(&mut node), [], "a copy of the request is met with silence");
}

#[test]
fn a_follower_passes_the_request_on() {
    let mut cluster = Cluster::of(&[1, 2, 3], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.node(2).transfer(1, Some(3));
    cluster.settle();
    assert_eq!((cluster.nodes[&3].role(), cluster.nodes[&1].role()), (Role::Leader, Role::Follower));
    cluster.node(2).transfer(2, Some(9));
    cluster.settle();
    assert_eq!(cluster.node(2).refusals(), [Refusal::NotAVoter { node: NodeId(9) }]);
}

// Whom.

#[test]
fn only_a_voter_is_handed_over_to_and_to_itself_there_is_nothing_to_do() {
    let mut node = Node::on(config(1), members(0, &[1, 2, 3], &[4]), Disk::default());
    node.transfer(1, None);
    elect(&mut node);
    node.transfer(2, Some(4));
    node.transfer(3, Some(1));
    node.propose(4);
    assert_eq!(node.refusals(), [Refusal::NoLeader, Refusal::NotAVoter { node: NodeId(4) }]);
}

#[test]
fn where_nobody_is_named_it_is_the_most_advanced_voter_that_is_heard() {
    let mut node = Node::on(config(1), voters(&[1, 2, 3, 4, 5]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    [2, 3].into_iter().for_each(|peer| node.hear(peer, vote(1, 1, true)));
    node.propose(1);
    node.propose(2);
    node.hear(5, matched(1, 1, 3));
    for _ in 0..10 {
        node.tick(10);
        node.hear(2, matched(1, 1, 1));
        node.hear(4, matched(1, 1, 2));
        node.hear(3, matched(1, 1, 2));
    }
    node.transfer(3, None);
    node.sync();
    node.propose(4);
    assert_eq!(node.refusals(), [Refusal::NotLeader { leader: Some(NodeId(3)) }], "5 has more, but is silent");
}

#[test]
fn a_leader_that_hears_nobody_else_has_nobody_to_hand_over_to() {
    let mut node = Node::on(config(1), voters(&[1]), Disk::default());
    node.step(Input::Tick);
    node.sync();
    node.transfer(1, None);
    assert_eq!((node.refusals(), node.role()), (vec![Refusal::TransferFailed { to: None }], Role::Leader));
}

// The successor.

#[test]
fn a_successor_campaigns_at_once_and_says_by_whose_word() {
    let mut node = Node::blank(2);
    node.hear(1, append(1, 1, nowhere(), vec![entry(1, 1, 1)], 1));
    node.sync();
    node.sent();
    node.hear(1, word(1, 1));
    assert_eq!((node.role(), node.term(), node.sent()), (Role::Candidate, 2, vec![]), "its ballot is not durable yet");
    node.sync();
    let request = RequestVote { forced: true, released_by: Some(ballot(1, 1)), ..asking(2, 2, position(1, 1, 1)) };
    assert_eq!(node.sent(), [(1, Message::RequestVote(request)), (3, Message::RequestVote(request))]);
    node.hear(1, word(1, 1));
    assert_eq!(node.term(), 2, "a copy changes nothing");
}

#[test]
fn nobody_campaigns_by_the_word_of_a_leader_whose_term_is_over_or_of_anybody_else() {
    let mut node = Node::blank(2);
    node.hear(3, heartbeat(5, 3, 0, 0, 1));
    node.hear(1, word(4, 1));
    node.hear(1, word(5, 3));
    assert_eq!((node.role(), node.term()), (Role::Follower, 5));
}

#[test]
fn a_learner_does_not_campaign_whoever_wants_it() {
    let mut node = Node::on(config(4), members(0, &[1, 2, 3], &[4]), Disk::default());
    node.hear(1, word(1, 1));
    assert_eq!((node.role(), node.term()), (Role::Learner, 1));
}

#[test]
fn a_second_campaign_is_the_candidates_own() {
    let mut node = Node::blank(2);
    node.hear(1, word(1, 1));
    node.sync();
    node.sent();
    node.step(Input::Campaign);
    node.sync();
    let request = RequestVote { forced: true, ..asking(3, 2, nowhere()) };
    assert_eq!(node.sent_to(1), [Message::RequestVote(request)]);
}

// Leases.

#[test]
fn voters_owe_nothing_more_to_a_leader_that_has_handed_over() {
    let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    node.sync();
    node.sent();
    node.hear(2, Message::RequestVote(RequestVote { forced: true, ..asking(2, 2, position(9, 1, 9)) }));
    node.sync();
    assert_eq!((node.sent_to(2), node.term()), (vec![], 1), "it is bound, though the election is forced");
    node.hear(2, released(2, 2, (1, 1)));
    node.sync();
    assert_eq!(node.sent_to(2), [vote(2, 2, true)]);
}

#[test]
fn the_word_of_one_leader_releases_nobody_from_what_is_owed_to_another() {
    let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    node.hear(2, released(2, 2, (1, 4)));
    assert_eq!(node.term(), 1);
    node.pass(100);
    node.hear(1, heartbeat(2, 1, 0, 0, 1));
    node.hear(2, released(2, 2, (1, 1)));
    node.hear(2, Message::RequestVote(RequestVote { forced: true, ..asking(3, 2, position(9, 1, 9)) }));
    assert_eq!(node.term(), 2, "that leader has been elected again since, and relies on what it hears now");
}

#[test]
fn the_word_of_one_term_releases_nobody_from_what_is_owed_in_a_later_one() {
    let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(2, 1, 0, 0, 1));
    node.hear(2, released(7, 2, (1, 1)));
    assert_eq!(node.term(), 2, "however high the term is in which its successor comes to campaign");
    node.hear(2, released(7, 2, (2, 1)));
    assert_eq!(node.term(), 7);
}

#[test]
fn a_word_of_a_later_term_than_any_that_was_heard_of_releases_too() {
    let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    node.hear(2, released(4, 2, (3, 1)));
    node.sync();
    assert!(node.sent_to(2).contains(&vote(4, 2, true)), "who has led in term 3 relies on nothing of term 1");
}

#[test]
fn a_successor_owes_nothing_to_who_has_handed_over_to_it() {
    let mut node = Node::on(leasing(2), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    node.hear(1, word(1, 1));
    node.sync();
    node.hear(3, vote(2, 2, true));
    assert_eq!(node.role(), Role::Leader, "its own vote counts at once");
}

#[test]
fn with_leases_leadership_moves_as_fast_as_without() {
    for settings in [config, leasing] {
        let mut cluster = Cluster::of(&[1, 2, 3], &[1, 2, 3], settings);
        cluster.elect(1);
        cluster.run(30);
        for (sequence, to) in (1..).zip([2, 3, 1]) {
            let leader = cluster.nodes.values().find(|node| node.role() == Role::Leader).unwrap().id().0;
            cluster.node(leader).transfer(sequence, Some(to));
            cluster.settle();
            assert_eq!(cluster.nodes[&to].role(), Role::Leader, "in no time");
            cluster.run(4);
        }
    }
}

#[test]
fn a_transfer_goes_on_while_the_members_change() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 5], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.change(1, 1, members(0, &[1, 2, 3], &[4, 5]));
    cluster.cut = [4, 5].into();
    cluster.node(1).change(2, members(1, &[1, 4, 5], &[]));
    cluster.settle();
    assert!(cluster.nodes[&1].raft.status().is_changing, "the new ones are cut off");
    cluster.node(1).transfer(3, Some(2));
    cluster.settle();
    cluster.cut.clear();
    cluster.run(300);
    assert_eq!(cluster.members(5), members(3, &[1, 4, 5], &[]), "whoever leads by then has ended the change");
    let leaders: Vec<u64> =
        cluster.nodes.values().filter(|node| node.role() == Role::Leader).map(|it| it.id().0).collect();
    assert!(leaders.len() == 1 && [1, 4, 5].contains(&leaders[0]), "{leaders:?}");
    assert_eq!(cluster.nodes[&leaders[0]].raft.status().membership, Arc::new(members(3, &[1, 4, 5], &[])));
    assert!(cluster.nodes[&leaders[0]].raft.status().commit_index > LogIndex(4));
}
