//! Handing over, one claim each: when the word is given and what is refused until then, who is bound by what, and what
//! happens when nobody takes over.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;

use common::cluster::Cluster;
use common::{
    Disk, Node, accepted, ballot, config, elect, heartbeat, heartbeat_reply, pledging_reply, request, voters,
};
use consensus_api::errands::Errand;
use consensus_api::hand_over::HandOver;
use consensus_api::{Ballot, Engine, Input, LeaseTiming, LogIndex, NodeId, ReadMode, Refusal, Refused, Role};
use engine_multipaxos::message::{Message, Prepare, ReadQuery};

fn leader() -> (Node, Ballot) {
    let mut node = Node::on(config(1), voters(&[1, 2, 3]), Disk::default());
    let b = elect(&mut node);
    (node, b)
}

fn transfer(node: &mut Node, to: Option<u64>) {
    node.step(Input::TransferLeadership { id: request(1, 9), to: to.map(NodeId) });
}

fn words(node: &mut Node, to: u64) -> usize {
    node.sent_to(to).iter().filter(|message| matches!(message, Message::HandOver(_))).count()
}

fn refusals(node: &mut Node) -> Vec<Refusal> {
    std::mem::take(&mut node.refused).into_iter().map(|refused| refused.reason).collect()
}

#[test]
fn leadership_moves_to_whom_it_is_handed_and_nothing_is_lost_or_done_twice() {
    let mut cluster = Cluster::of(3, &voters(&[1, 2, 3]), |_| {});
    cluster.run(100);
    let old = cluster.leader();
    let to = (1..=3).find(|id| *id != old).unwrap();
    let ids: Vec<_> = (0..5).map(|_| cluster.propose(old)).collect();
    cluster.transfer(old, Some(to));
    cluster.run(6);
    assert_eq!(cluster.leader(), to, "within a few round trips, long before anybody suspects");
    cluster.run(20);
    assert!((1..=3).all(|at| ids.iter().all(|id| cluster.has_applied(at, *id))));
    assert_eq!(cluster.refusals(old), []);
}

#[test]
fn a_follower_forwards_the_wish_and_the_most_advanced_voter_leads() {
    let mut cluster = Cluster::of(3, &voters(&[1, 2, 3]), |_| {});
    cluster.run(100);
    let old = cluster.leader();
    let others: BTreeSet<u64> = (1..=3).filter(|id| *id != old).collect();
    let lagging = *others.first().unwrap();
    cluster.off.insert(lagging);
    cluster.propose(old);
    cluster.run(10);
    cluster.off.clear();
    cluster.transfer(lagging, None);
    cluster.off.insert(lagging);
    cluster.run(2);
    cluster.off.clear();
    cluster.transfer(*others.last().unwrap(), None);
    cluster.run(8);
    assert_eq!(cluster.leader(), *others.last().unwrap());
}

#[test]
fn the_word_is_given_when_nothing_is_open_and_the_successor_knows_it() {
    let (mut node, b) = leader();
    node.propose(1);
    transfer(&mut node, Some(2));
    assert_eq!(words(&mut node, 2), 0, "a slot is open");
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    assert_eq!((node.chosen(), words(&mut node, 2)), (1, 0), "and then 2 does not know that it is chosen");
    node.hear(2, heartbeat_reply(b, 1, 1));
    let word = Message::HandOver(HandOver { ballot: b });
    assert!(node.sent_to(2).contains(&word));
}

#[test]
fn meanwhile_proposals_are_refused_with_the_name_of_the_successor() {
    let (mut node, _) = leader();
    node.propose(1);
    transfer(&mut node, Some(2));
    node.propose(2);
    node.step(Input::ChangeMembership { id: request(1, 3), target: voters(&[1, 2, 3]).into() });
    let to = Refusal::NotLeader { leader: Some(NodeId(2)) };
    assert_eq!(refusals(&mut node), [to.clone(), to]);
    assert_eq!(node.last(), 1);
}

#[test]
fn the_word_is_repeated_and_after_an_election_timeout_the_leader_says_so_and_goes_on() {
    let (mut node, b) = leader();
    transfer(&mut node, Some(2));
    let mut given = words(&mut node, 2);
    for round in 1..=9 {
        node.tick(10);
        node.hear(2, heartbeat_reply(b, round, 0));
        node.hear(3, heartbeat_reply(b, round, 0));
        given += words(&mut node, 2);
    }
    assert!((9..=10).contains(&given), "{given} times in 90 ms");
    node.tick(10);
    assert_eq!(refusals(&mut node), [Refusal::TransferFailed { to: Some(NodeId(2)) }]);
    node.propose(1);
    assert_eq!((node.role(), node.last()), (Role::Leader, 1));
    assert_eq!(refusals(&mut node), []);
}

#[test]
fn whoever_cannot_lead_is_refused_by_name() {
    let (mut node, _) = leader();
    transfer(&mut node, Some(9));
    assert_eq!(refusals(&mut node), [Refusal::NotAVoter { node: NodeId(9) }]);
    transfer(&mut node, Some(1));
    assert_eq!((refusals(&mut node), words(&mut node, 1)), (vec![], 0), "it leads already");
    let mut alone = Node::on(config(1), voters(&[1]), Disk::default());
    alone.step(Input::Tick);
    alone.sync();
    transfer(&mut alone, None);
    assert_eq!(refusals(&mut alone), [Refusal::TransferFailed { to: None }]);
    let mut follower = Node::blank(2);
    follower.step(Input::TransferLeadership { id: request(2, 1), to: None });
    assert_eq!(refusals(&mut follower), [Refusal::NoLeader]);
}

#[test]
fn a_second_wish_is_answered_with_the_name_of_the_successor_whoever_it_names() {
    let (mut node, _) = leader();
    transfer(&mut node, None);
    for to in [Some(3), Some(1), None] {
        transfer(&mut node, to);
        assert_eq!(refusals(&mut node), [Refusal::NotLeader { leader: Some(NodeId(2)) }], "of equals the lowest id");
    }
}

#[test]
fn nothing_is_proposed_for_reads_by_a_leader_that_hands_over() {
    let (mut node, _) = leader();
    transfer(&mut node, Some(2));
    node.hear(3, Message::ReadQuery(ReadQuery { boot: 1, round: 1, wants: LogIndex(2) }));
    assert_eq!(node.last(), 0);
}

#[test]
fn a_forwarded_wish_is_looked_at_once() {
    let (mut node, b) = leader();
    let wish = Message::Errand(Errand::TransferLeadership { ballot: b, id: request(3, 1), to: Some(NodeId(8)) });
    node.hear(3, wish.clone());
    node.hear(3, wish);
    let refused = vec![Refused { id: request(3, 1), reason: Refusal::NotAVoter { node: NodeId(8) } }];
    assert_eq!(node.sent_to(3), [Message::Errand(Errand::Refuse { refused })]);
}

#[test]
fn the_word_counts_from_the_leader_of_the_present_ballot_and_has_the_successor_campaign_at_once() {
    let mut node = Node::blank(2);
    let word = |round, leader| Message::HandOver(HandOver { ballot: ballot(round, leader) });
    node.hear(1, heartbeat(ballot(3, 1), 0, 1));
    node.hear(1, word(2, 1));
    node.hear(3, word(3, 1));
    assert_eq!(node.role(), Role::Follower, "neither an earlier ballot's nor somebody else's");
    node.hear(1, word(3, 1));
    node.sync();
    let (from, released_by) = (LogIndex(1), Some(ballot(3, 1)));
    let prepare = Message::Prepare(Prepare { ballot: ballot(4, 2), from, forced: true, released_by });
    assert_eq!(node.role(), Role::Candidate);
    assert!(node.sent_to(3).contains(&prepare));
}

#[test]
fn a_leader_that_was_not_heard_of_before_hands_over_like_any_other() {
    let mut node = Node::blank(2);
    node.hear(1, Message::HandOver(HandOver { ballot: ballot(3, 1) }));
    assert_eq!((node.role(), node.promised()), (Role::Candidate, ballot(4, 2)));
}

fn leasing(id: u64) -> consensus_api::EngineConfig {
    let mut settings = config(id);
    settings.timing.lease = Some(LeaseTiming { clock_drift_ppm: 10_000 });
    settings
}

#[test]
fn voters_owe_nothing_to_a_leader_that_has_handed_over_and_what_they_owe_to_others_they_keep() {
    let ask = |released_by| {
        let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
        node.hear(1, heartbeat(ballot(1, 1), 0, 1));
        hears_released(&mut node, ballot(2, 2), released_by)
    };
    assert!(ask(Some(ballot(1, 1))), "it was 1's");
    assert!(!ask(Some(ballot(1, 2))), "2 was owed nothing");
    assert!(!ask(None));
}

/// Whether the node promises this ballot to its owner, to whom the leader of another one has handed over.
fn hears_released(node: &mut Node, ballot: Ballot, released_by: Option<Ballot>) -> bool {
    node.sync();
    node.sent();
    let prepare = Prepare { ballot, from: LogIndex(1), forced: true, released_by };
    node.hear(ballot.node.0, Message::Prepare(prepare));
    node.sync();
    matches!(node.sent_to(ballot.node.0).as_slice(), [Message::Promise(_)])
}

#[test]
fn what_is_owed_to_a_leader_that_was_elected_again_since_it_handed_over_is_kept() {
    let mut node = Node::on(leasing(3), voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(ballot(5, 1), 0, 1));
    node.hear(1, heartbeat(ballot(6, 1), 0, 1));
    assert!(!hears_released(&mut node, ballot(6, 2), Some(ballot(5, 1))), "it has a lease in 6.1");
    node.pass(100);
    assert!(hears_released(&mut node, ballot(6, 2), Some(ballot(5, 1))), "and that is over now");
}

#[test]
fn what_is_owed_to_an_earlier_leader_is_kept_when_a_later_one_hands_over() {
    let mut node = Node::on(leasing(4), voters(&[1, 2, 3, 4]), Disk::default());
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    node.pass(50);
    node.hear(2, heartbeat(ballot(2, 2), 0, 1));
    assert!(!hears_released(&mut node, ballot(3, 3), Some(ballot(2, 2))), "1 may count on it for 50 ms more");
    node.pass(50);
    assert!(hears_released(&mut node, ballot(3, 3), Some(ballot(2, 2))));
}

#[test]
fn the_lease_ends_before_the_word_is_given_and_stays_ended_if_nobody_takes_over() {
    let mut node = Node::on(leasing(1), voters(&[1, 2, 3]), Disk::default());
    let b = elect(&mut node);
    let lease_read = |node: &mut Node, sequence| {
        node.step(Input::Read { id: request(1, sequence), mode: ReadMode::Lease });
        !std::mem::take(&mut node.reads_ready).is_empty()
    };
    node.tick(10);
    node.hear(2, pledging_reply(b, 1, 0, 100));
    node.hear(2, pledging_reply(b, 2, 0, 100));
    assert!(lease_read(&mut node, 1));
    transfer(&mut node, Some(3));
    assert!(!lease_read(&mut node, 2));
    node.pass(90);
    node.hear(2, pledging_reply(b, 2, 0, 100));
    node.tick(10);
    assert_eq!((node.role(), refusals(&mut node).len()), (Role::Leader, 1));
    let round = 3;
    node.hear(2, pledging_reply(b, round, 0, 100));
    node.reads_ready.clear();
    assert!(!lease_read(&mut node, 3), "whom it handed over to may have been elected by voters that owe it nothing");
    assert_eq!(node.paxos.status().role, Role::Leader);
}
