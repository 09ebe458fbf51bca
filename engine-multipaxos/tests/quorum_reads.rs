//! Reads by a quorum of acceptors, which ask no leader: one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use consensus_api::engine::encode_ballot;
use consensus_api::{Engine, Input, LogIndex, LogPosition, Payload, ReadMode, ReadReady, Refusal, Role};
use engine_multipaxos::message::{Message, ReadQuery, ReadReport};

fn read(node: &mut Node, sequence: u64) {
    node.step(Input::Read { id: request(1, sequence), mode: ReadMode::Quorum });
}

fn report(round: u64, accepted: u64, chosen: u64) -> Message {
    report_of_boot(1, round, accepted, chosen)
}

fn report_of_boot(boot: u64, round: u64, accepted: u64, chosen: u64) -> Message {
    let (accepted_through, chosen_through) = (LogIndex(accepted), LogIndex(chosen));
    Message::ReadReport(ReadReport { boot, round, accepted_through, chosen_through })
}

fn query(round: u64) -> Message {
    wanting(round, 0)
}

/// Asked while reads are held up by this slot.
fn wanting(round: u64, wants: u64) -> Message {
    Message::ReadQuery(ReadQuery { boot: 1, round, wants: LogIndex(wants) })
}

fn ready(sequence: u64, index: u64) -> ReadReady {
    ReadReady { id: request(1, sequence), index: LogIndex(index) }
}

/// Node 1, which has accepted `accepted` slots, knows the first `chosen` of them to be chosen, and knows no leader.
fn acceptor(accepted: u64, chosen: u64) -> Node {
    let slots: Vec<(u64, u64)> = (1..=accepted).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk::with(&slots, ballot(2, 9), chosen));
    node.take();
    node
}

#[test]
fn a_quorum_is_read_without_a_leader() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    assert_eq!(node.sent(), [(2, query(1)), (3, query(1))]);
    assert_eq!(node.reads_ready, [], "one is no quorum");
    node.hear(3, report(1, 4, 4));
    assert_eq!(node.reads_ready, [ready(1, 5)]);
    assert_eq!((node.role(), node.refused.len()), (Role::Follower, 0));
}

#[test]
fn what_an_acceptor_tells_covers_what_it_has_accepted_and_what_it_has_learnt() {
    let mut node = acceptor(5, 3);
    node.hear(2, query(7));
    assert_eq!(node.sent(), [(2, report(7, 5, 3))]);
    let compacted = Disk { base: LogPosition { index: LogIndex(9), ballot: ballot(2, 9) }, ..Disk::default() };
    let mut node =
        Node::with_disk(1, Disk { applied: LogIndex(9), hard_state: Some(encode_ballot(ballot(2, 9))), ..compacted });
    node.hear(2, query(8));
    assert_eq!(node.sent(), [(2, report(8, 9, 9))]);
}

#[test]
fn an_accepted_slot_that_is_not_chosen_holds_a_read_up_until_it_is() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.hear(2, report(1, 6, 5));
    assert_eq!(node.reads_ready, [], "6 may have been acknowledged");
    node.hear(2, accept(ballot(3, 2), vec![entry(6, 3, 2)], 6));
    assert_eq!(node.reads_ready, [ready(1, 6)]);
}

#[test]
fn a_lower_answer_of_another_acceptor_sets_a_read_free() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.hear(2, report(1, 6, 5));
    assert_eq!(node.reads_ready, []);
    node.hear(3, report(1, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)], "1 and 3 are a quorum that has not accepted 6");
}

#[test]
fn while_reads_are_held_up_the_question_is_put_again_and_a_lower_answer_counts() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.hear(2, report(1, 6, 5));
    node.sent();
    assert!(node.paxos.deadline() <= node.now + node.config.timing.heartbeat_interval);
    node.tick(10);
    assert_eq!(node.sent(), [(2, wanting(2, 6)), (3, wanting(2, 6))]);
    node.hear(3, report(2, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)]);
    assert_eq!(node.sent(), []);
}

#[test]
fn an_answer_to_an_earlier_round_or_life_is_no_answer() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.hear(2, report(1, 5, 5));
    read(&mut node, 2);
    node.hear(3, report(1, 5, 5));
    node.hear(3, report_of_boot(0, 2, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)]);
    node.hear(3, report(2, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5), ready(2, 5)]);
}

#[test]
fn reads_that_come_together_share_a_round_and_those_that_come_during_it_the_next() {
    let mut node = acceptor(5, 5);
    for sequence in 1..=10 {
        node.paxos.step(node.now, Input::Read { id: request(1, sequence), mode: ReadMode::Quorum });
    }
    node.take();
    assert_eq!(node.sent(), [(2, query(1)), (3, query(1))]);
    read(&mut node, 11);
    assert_eq!(node.sent(), []);
    node.hear(2, report(1, 5, 5));
    assert_eq!(node.reads_ready.len(), 10);
    assert_eq!(node.sent(), [(2, query(2)), (3, query(2))]);
}

#[test]
fn who_has_not_answered_is_asked_again_in_the_same_round() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.sent();
    node.tick(9);
    assert_eq!(node.sent(), []);
    node.tick(1);
    assert_eq!(node.sent(), [(2, query(1)), (3, query(1))]);
    node.hear(2, report(1, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)]);
    assert!(node.paxos.deadline() > node.now + node.config.timing.heartbeat_interval, "there is nothing more to ask");
}

#[test]
fn a_node_that_lags_learns_what_is_chosen_though_nobody_leads() {
    let mut node = acceptor(0, 0);
    read(&mut node, 1);
    node.sent();
    node.hear(2, report(1, 2, 2));
    assert_eq!(node.sent(), [(2, learn_request(1, 2))]);
    assert_eq!(node.reads_ready, []);
    node.hear(2, learned(vec![entry(1, 1, 2), entry(2, 1, 2)]));
    assert_eq!(node.reads_ready, [ready(1, 2)]);
    node.sync();
    assert_eq!(node.handed_out(), [1, 2]);
}

#[test]
fn what_a_node_learns_for_a_read_is_asked_for_again_if_it_is_lost() {
    let mut node = acceptor(0, 0);
    read(&mut node, 1);
    node.hear(2, report(1, 2, 2));
    let mut asked = 0;
    for round in 2..=8 {
        node.sent();
        node.tick(10);
        node.hear(3, report(round, 2, 2));
        asked += node.sent().iter().filter(|(to, message)| (*to, message) == (3, &learn_request(1, 2))).count();
    }
    assert_eq!(asked, 1, "after four heartbeat intervals");
}

#[test]
fn reads_by_a_quorum_are_bounded() {
    let mut settings = config(1);
    settings.limits.reads_max = 2;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    for sequence in 1..=3 {
        read(&mut node, sequence);
    }
    assert_eq!(node.refused.iter().map(|refused| refused.reason.clone()).collect::<Vec<_>>(), [Refusal::Busy]);
}

#[test]
fn the_only_voter_is_a_quorum() {
    let mut node = Node::on(config(1), voters(&[1]), Disk::default());
    node.step(Input::Tick);
    node.sync();
    node.propose(1);
    read(&mut node, 2);
    assert_eq!(node.reads_ready, [], "what it has accepted is not on its disk");
    node.sync();
    assert_eq!(node.reads_ready, [ready(2, 1)]);
}

/// The leader of 6.1, whose quorum, 1 and 2, had nothing above slot 7; 3 has accepted slot 8 from an earlier one.
fn leader_below_a_stray_slot() -> Node {
    let mut node = acceptor(7, 7);
    elect(&mut node);
    node.tick(1);
    node.sync();
    node.sent();
    node
}

fn noops_at(node: &Node) -> Vec<u64> {
    let entries = node.unsynced.iter().flat_map(|write| &write.entries);
    entries.filter(|entry| entry.payload == Payload::Noop).map(|entry| entry.index.0).collect()
}

#[test]
fn a_slot_that_nobody_would_propose_for_is_filled_by_a_leader_that_reads() {
    let mut node = leader_below_a_stray_slot();
    let led = node.promised();
    read(&mut node, 1);
    node.hear(3, report(1, 8, 7));
    assert_eq!((node.reads_ready.len(), noops_at(&node)), (0, vec![8]), "2 is gone, and 3 has accepted 8");
    let accepts = node.sent_to(3).iter().filter(|message| matches!(message, Message::Accept(_))).count();
    assert_eq!(accepts, 1, "it leaves at once");
    node.sync();
    node.hear(3, accepted(led, &[(8, 8)], 7));
    assert_eq!(node.reads_ready, [ready(1, 8)]);
}

#[test]
fn a_slot_that_nobody_would_propose_for_is_filled_by_a_leader_that_is_asked() {
    let mut node = leader_below_a_stray_slot();
    node.hear(3, query(1));
    assert_eq!(noops_at(&node), [0; 0], "no read is held up yet");
    node.hear(3, wanting(2, 8));
    assert_eq!(noops_at(&node), [8]);
    node.hear(3, wanting(2, 8));
    assert_eq!(noops_at(&node), [8], "once is enough");
}

#[test]
fn the_question_that_is_put_again_says_what_holds_the_read_up() {
    let mut node = acceptor(7, 7);
    read(&mut node, 1);
    node.hear(3, report(1, 8, 7));
    node.sent();
    node.tick(10);
    assert_eq!(node.sent(), [(2, wanting(2, 8)), (3, wanting(2, 8))]);
}

#[test]
fn a_leader_that_is_asked_fills_no_more_than_a_window_and_believes_no_more() {
    let mut settings = config(1);
    settings.limits.reconfiguration_window = 4;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    for wants in [5, u64::MAX] {
        node.hear(3, wanting(1, wants));
        assert_eq!(noops_at(&node), [0; 0], "no acceptor can have accepted {wants}");
    }
    node.propose(1);
    node.hear(3, wanting(1, 4));
    assert_eq!(noops_at(&node), [2, 3, 4]);
}

#[test]
fn a_follower_that_is_asked_proposes_nothing() {
    let mut node = acceptor(7, 7);
    node.hear(3, wanting(1, 8));
    assert_eq!(node.last(), 7);
}

#[test]
fn a_read_that_waits_for_a_round_whose_questions_were_lost_is_not_forgotten() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1);
    node.hear(2, report(1, 6, 5));
    node.tick(10);
    assert_eq!(node.sent().last(), Some(&(3, wanting(2, 6))));
    node.hear(2, accept(ballot(3, 2), vec![entry(6, 3, 2)], 6));
    assert_eq!(node.reads_ready, [ready(1, 6)], "round 2 was for this one alone, and nobody has answered it");
    node.sent();
    read(&mut node, 2);
    assert_eq!(node.sent(), [], "one round at a time");
    for _ in 0..3 {
        let deadline = node.paxos.deadline();
        assert!(deadline > node.now && deadline <= node.now + node.config.timing.heartbeat_interval);
        node.now = deadline;
        node.step(Input::Tick);
        assert_eq!(node.sent(), [(2, query(2)), (3, query(2))]);
    }
    node.hear(3, report(2, 6, 6));
    assert_eq!(node.sent(), [(2, query(3)), (3, query(3))]);
    node.hear(3, report(3, 6, 6));
    assert_eq!(node.reads_ready, [ready(1, 6), ready(2, 6)]);
}
