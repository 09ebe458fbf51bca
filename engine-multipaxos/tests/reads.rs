//! Reads under a lease, what acceptors owe a leader that holds one, and how reads are asked for; one claim each, driven
//! by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::*;
use consensus_api::engine::encode_ballot;
use consensus_api::errands::Errand;
use consensus_api::{
    Engine, EngineConfig, HardState, Input, LeaseTiming, LogIndex, NodeId, Payload, ReadMode, ReadReady, Refusal, Role,
};
use engine_multipaxos::message::{Message, Nack, PreCheck, PreCheckReply, Prepare};

/// One of three, with an election timeout of 100 ms and clocks that drift by up to 1 %: a lease of 98 ms.
fn leasing(id: u64) -> EngineConfig {
    let mut settings = config(id);
    settings.timing.lease = Some(LeaseTiming { clock_drift_ppm: 10_000 });
    settings
}

fn node(id: u64) -> Node {
    Node::on(leasing(id), voters(&[1, 2, 3]), Disk::default())
}

/// Node 1, which leads in ballot 1.1, whose first slot is chosen and whose round 1, begun just now, nobody has answered
/// yet.
fn leasing_leader() -> Node {
    let mut node = node(1);
    elect(&mut node);
    node.propose(1);
    node.sync();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    assert_eq!(node.chosen(), 1);
    node.sent();
    node
}

fn read(node: &mut Node, sequence: u64, mode: ReadMode) {
    node.step(Input::Read { id: request(1, sequence), mode });
}

fn is_served(node: &mut Node, sequence: u64, mode: ReadMode) -> bool {
    read(node, sequence, mode);
    node.reads_ready.iter().any(|ready| ready.id == request(1, sequence))
}

fn rounds(sent: &[(u64, Message)]) -> Vec<u64> {
    sent.iter()
        .filter_map(|(_, message)| if let Message::Heartbeat(it) = message { Some(it.round) } else { None })
        .collect()
}

fn forced(round: u64, candidate: u64) -> Message {
    Message::Prepare(Prepare { ballot: ballot(round, candidate), from: LogIndex(1), forced: true, released_by: None })
}

fn promised(round: u64, candidate: u64, node: &Node) -> Message {
    promise(ballot(round, candidate), 1, node.disk.entries.values().cloned().collect(), None, node.chosen())
}

/// Node 2 or 3, which has accepted the leader's first value and has just heard its heartbeat.
fn pledged(id: u64) -> Node {
    let mut node = node(id);
    node.hear(1, accept(ballot(1, 1), vec![entry(1, 1, 1)], 0));
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    node.sync();
    node.sent();
    node
}

// The leader's side.

#[test]
fn under_a_lease_a_read_is_served_at_once() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    read(&mut node, 1, ReadMode::Lease);
    assert_eq!(node.reads_ready, [ReadReady { id: request(1, 1), index: LogIndex(1) }]);
    assert_eq!(node.sent(), [], "nobody is asked");
}

#[test]
fn a_lease_ends_by_the_reading_that_came_with_the_step() {
    let mut node = leasing_leader();
    node.pass(9);
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    node.pass(89);
    assert!(is_served(&mut node, 1, ReadMode::Lease), "98 ms after the round began");
    assert_eq!(rounds(&node.sent()), [2, 2]);
    node.pass(1);
    assert!(!is_served(&mut node, 2, ReadMode::Lease));
    assert_eq!(node.role(), Role::Leader, "it heard a quorum 90 ms ago");
    node.hear(3, pledging_reply(ballot(1, 1), 2, 0, 100));
    assert_eq!(node.reads_ready.len(), 1, "it waits for a round that began after it came");
    node.hear(3, pledging_reply(ballot(1, 1), 3, 0, 100));
    assert_eq!(node.reads_ready.len(), 2);
}

#[test]
fn ordinary_heartbeats_renew_the_lease_without_a_message_more() {
    let mut node = leasing_leader();
    for round in 2..50 {
        node.tick(10);
        assert_eq!(rounds(&node.sent()), [round, round]);
        node.hear(3, pledging_reply(ballot(1, 1), round, 0, 100));
        assert!(is_served(&mut node, round, ReadMode::Lease));
        assert_eq!(node.sent(), []);
    }
}

#[test]
fn answers_without_a_pledge_make_no_lease() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 0));
    node.hear(3, pledging_reply(ballot(1, 1), 1, 0, 0));
    assert!(!is_served(&mut node, 1, ReadMode::Lease));
}

#[test]
fn without_leases_a_lease_read_is_an_index_read() {
    let mut node = leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    read(&mut node, 1, ReadMode::Lease);
    assert_eq!(node.reads_ready, []);
    let round = *rounds(&node.sent()).last().unwrap();
    node.hear(2, heartbeat_reply(ballot(1, 1), round, 0));
    assert_eq!(node.reads_ready, [ReadReady { id: request(1, 1), index: LogIndex(0) }]);
}

#[test]
fn no_lease_serves_before_the_own_epoch_has_begun() {
    let disk = Disk::with(&[(1, 2), (2, 2)], ballot(2, 9), 0);
    let mut node = Node::on(leasing(1), voters(&[1, 2, 3]), disk);
    let b = elect(&mut node);
    node.sync();
    node.hear(2, pledging_reply(b, 1, 0, 100));
    assert!(!is_served(&mut node, 1, ReadMode::Lease), "what it took over is not chosen again");
    node.hear(2, accepted(b, &[(1, 2)], 0));
    assert!(is_served(&mut node, 2, ReadMode::Lease));
    let round = *rounds(&node.sent()).last().unwrap();
    node.hear(2, pledging_reply(b, round, 0, 100));
    assert!(node.reads_ready.contains(&ReadReady { id: request(1, 1), index: LogIndex(2) }));
}

#[test]
fn a_leader_that_is_to_hand_over_gives_its_lease_up_and_gets_no_other() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    node.step(Input::TransferLeadership { id: request(1, 9), to: Some(NodeId(3)) });
    assert!(!is_served(&mut node, 1, ReadMode::Lease));
    for _ in 0..2 {
        let round = *rounds(&node.sent()).last().unwrap();
        node.hear(2, pledging_reply(ballot(1, 1), round, 0, 100));
    }
    assert_eq!(node.reads_ready.len(), 1, "by its round");
    assert!(!is_served(&mut node, 2, ReadMode::Lease));
}

#[test]
fn a_leader_that_has_stepped_down_serves_nothing_under_its_lease() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    node.hear(3, forced(2, 3));
    assert_eq!(node.role(), Role::Follower);
    read(&mut node, 1, ReadMode::Lease);
    assert_eq!(node.refused[0].reason, Refusal::NoLeader);
}

#[test]
fn the_only_voter_needs_nobodys_pledge_and_waits_for_nobody_after_a_restart() {
    let mut node = Node::on(leasing(1), voters(&[1]), Disk::default());
    for _ in 0..2 {
        node.step(Input::Tick);
        node.sync();
        assert_eq!(node.role(), Role::Leader);
        assert!(is_served(&mut node, 1, ReadMode::Lease));
        node.restart(0);
    }
}

// The voter's side.

#[test]
fn a_pledge_is_on_the_disk_before_the_first_answer_leaves_and_is_not_written_again() {
    let mut node = node(2);
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    assert_eq!(node.sent(), []);
    node.sync();
    assert_eq!(node.sent(), [(1, pledging_reply(ballot(1, 1), 1, 0, 100))]);
    let kept = HardState::decode(node.disk.hard_state.as_deref()).unwrap();
    assert_eq!((kept.ballot.round, kept.pledge), (1, Duration::from_millis(100)));
    node.hear(1, heartbeat(ballot(1, 1), 0, 2));
    assert!(node.unsynced.is_empty());
    assert_eq!(node.sent(), [(1, pledging_reply(ballot(1, 1), 2, 0, 100))]);
}

#[test]
fn a_voter_that_followed_before_leases_were_on_records_the_first_pledge_alone() {
    let disk = Disk::with(&[], ballot(1, 1), 0);
    let mut node = Node::on(leasing(2), voters(&[1, 2, 3]), disk);
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    assert_eq!(node.sent(), []);
    node.sync();
    assert_eq!(node.sent(), [(1, pledging_reply(ballot(1, 1), 1, 0, 100))]);
    assert!(!HardState::decode(node.disk.hard_state.as_deref()).unwrap().pledge.is_zero());
}

#[test]
fn a_forced_election_is_not_even_looked_at_while_the_pledge_lasts_and_then_succeeds() {
    for check_quorum in [false, true] {
        let mut settings = leasing(2);
        settings.timing.check_quorum = check_quorum;
        let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
        node.hear(1, accept(ballot(1, 1), vec![entry(1, 1, 1)], 0));
        node.sync();
        node.sent();
        node.pass(99);
        node.hear(3, forced(2, 3));
        assert_eq!((node.sent(), node.promised().round), (vec![], 1));
        node.pass(1);
        node.hear(3, forced(2, 3));
        node.sync();
        assert_eq!(node.sent(), [(3, promised(2, 3, &node))]);
    }
}

#[test]
fn whatever_is_switched_off_a_pledge_holds() {
    let mut settings = leasing(2);
    settings.timing.check_quorum = false;
    settings.timing.pre_check = false;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    node.sync();
    node.sent();
    node.hear(3, prepare(ballot(2, 3), 1));
    assert_eq!((node.sent(), node.promised().round), (vec![], 1));
    node.hear(3, Message::PreCheck(PreCheck { ballot: ballot(2, 3), from: LogIndex(1) }));
    let no = PreCheckReply { ballot: ballot(2, 3), promised: ballot(1, 1), granted: false };
    assert_eq!(node.sent(), [(3, Message::PreCheckReply(no))]);
}

#[test]
fn who_held_the_lease_and_leads_no_more_may_have_the_promise_at_once() {
    let mut node = pledged(2);
    node.hear(1, forced(2, 1));
    node.sync();
    assert_eq!(node.sent(), [(1, promised(2, 1, &node))]);
}

#[test]
fn a_candidate_keeps_its_own_pledge_and_counts_its_own_promise_only_then() {
    let mut node = pledged(2);
    node.step(Input::Campaign);
    node.sync();
    node.answer_read_backs();
    node.hear(3, promise(ballot(2, 2), 1, Vec::new(), None, 0));
    assert_eq!(node.role(), Role::Candidate, "its own promise would be the second");
    node.tick(99);
    assert_eq!(node.role(), Role::Candidate);
    node.tick(10);
    assert_eq!(node.role(), Role::Leader, "it looks again every heartbeat interval");
}

#[test]
fn what_a_node_learns_of_higher_ballots_does_not_end_its_pledge() {
    let mut node = pledged(2);
    node.step(Input::Campaign);
    node.sync();
    node.hear(3, Message::Nack(Nack { ballot: ballot(2, 2), promised: ballot(7, 3) }));
    assert_eq!(node.role(), Role::Follower);
    node.hear(3, forced(8, 3));
    assert_eq!(node.promised(), ballot(2, 2), "it has pledged not to");
}

#[test]
fn a_forced_election_makes_the_leader_step_down_and_succeeds_when_the_pledges_are_over() {
    let (mut one, mut two, mut three) = (leasing_leader(), pledged(2), pledged(3));
    two.step(Input::Campaign);
    let mut waited = 0;
    while two.role() != Role::Leader {
        two.sync();
        two.answer_read_backs();
        for (to, message) in two.sent() {
            if to == 1 { &mut one } else { &mut three }.hear(2, message);
        }
        for (from, node) in [(1, &mut one), (3, &mut three)] {
            node.sync();
            node.answer_read_backs();
            for message in node.sent_to(2) {
                two.hear(from, message);
            }
        }
        assert_eq!(one.role(), Role::Follower);
        waited += 10;
        assert!(waited <= 200, "two election timeouts");
        for node in [&mut one, &mut two, &mut three] {
            node.pass(10);
        }
        two.step(Input::Tick);
    }
    assert!(waited >= 100);
}

/// The candidate, 3, is cut off from the leader, 1, which so hears of no election and goes on to lead.
#[test]
fn a_forced_election_of_which_the_leader_hears_nothing_succeeds_too() {
    let mut node = pledged(2);
    let mut told = Vec::new();
    for step in 0..10 {
        assert_eq!(node.promised().round, 1, "what was pledged is kept");
        node.hear(3, forced(2, 3));
        node.hear(1, heartbeat(ballot(1, 1), 0, 2 + step));
        node.sync();
        told.extend(node.sent());
        node.pass(10);
    }
    let unpledged = |round| (1, heartbeat_reply(ballot(1, 1), round, 0));
    assert_eq!(told, (2..12).map(unpledged).collect::<Vec<_>>());
    node.hear(3, forced(2, 3));
    node.sync();
    assert_eq!(node.sent(), [(3, promised(2, 3, &node))]);
}

#[test]
fn a_forced_campaign_outlives_what_was_pledged_before_it_was_heard_of() {
    for seed in 0..50 {
        let mut settings = leasing(2);
        settings.seed = seed;
        let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
        node.step(Input::Campaign);
        node.sync();
        for _ in 0..19 {
            node.tick(10);
        }
        assert_eq!(node.role(), Role::Candidate);
        assert!(node.sent().iter().all(|(_, message)| matches!(message, Message::Prepare(_))));
    }
}

#[test]
fn where_leases_are_on_a_leader_minds_its_quorum_whatever_is_switched_off() {
    let mut settings = leasing(1);
    settings.timing.check_quorum = false;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    node.tick(99);
    assert_eq!(node.role(), Role::Leader);
    node.tick(1);
    assert_eq!(node.role(), Role::Follower);
}

#[test]
fn an_answer_to_a_round_that_was_never_started_is_passed_over() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), u64::MAX, 0, 100));
    assert_eq!(node.role(), Role::Leader);
    assert!(!is_served(&mut node, 1, ReadMode::Lease) && !is_served(&mut node, 2, ReadMode::Index));
}

#[test]
fn a_restarted_voter_keeps_still_for_as_long_as_it_may_have_pledged() {
    for lease in [Some(LeaseTiming::default()), None] {
        let mut node = pledged(2);
        node.config.timing.lease = lease;
        node.restart(0);
        let began = node.now;
        node.hear(3, forced(2, 3));
        assert_eq!((node.sent(), node.promised().round), (vec![], 1), "with leases {lease:?}");
        node.now = began + Duration::from_micros(99_999);
        node.hear(3, forced(2, 3));
        assert_eq!(node.promised().round, 1);
        node.pass(1);
        node.hear(3, forced(2, 3));
        node.sync();
        assert_eq!(node.sent(), [(3, promised(2, 3, &node))]);
    }
}

#[test]
fn a_restarted_voter_waits_for_as_long_as_it_pledged_and_not_for_what_it_would_pledge_now() {
    let mut node = pledged(2);
    node.config.timing.election_timeout = Duration::from_millis(20);
    node.restart(0);
    for _ in 0..9 {
        assert!(node.paxos.deadline() >= node.now + Duration::from_millis(10), "there is nothing to do yet");
        node.tick(10);
        assert_eq!((node.role(), node.promised().round), (Role::Follower, 1));
    }
    node.tick(10);
    assert_eq!(node.role(), Role::Candidate);
}

#[test]
fn a_voter_that_never_pledged_votes_at_once_after_a_restart() {
    let mut node = Node::with_disk(2, Disk { hard_state: Some(encode_ballot(ballot(1, 1))), ..Disk::default() });
    node.hear(3, prepare(ballot(2, 3), 1));
    node.sync();
    assert_eq!(node.sent(), [(3, promised(2, 3, &node))]);
}

// How reads are asked for.

#[test]
fn a_follower_asks_for_each_read_in_its_mode_and_asks_again_in_it() {
    let mut node = Node::blank(2);
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    node.sync();
    node.sent();
    let id = |sequence| request(2, sequence);
    for (sequence, mode) in [(1, ReadMode::Lease), (2, ReadMode::Index)] {
        node.paxos.step(node.now, Input::Read { id: id(sequence), mode });
    }
    node.take();
    let ask =
        |mode, sequence| (1, Message::Errand(Errand::Read { ballot: ballot(1, 1), mode, ids: vec![id(sequence)] }));
    let both = [ask(ReadMode::Index, 2), ask(ReadMode::Lease, 1)];
    assert_eq!(node.sent(), both);
    node.pass(100);
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    assert_eq!(node.sent(), both, "the question or its answer may be lost");
}

#[test]
fn a_leader_serves_what_is_forwarded_in_the_mode_that_it_was_asked_in() {
    let mut node = leasing_leader();
    node.hear(2, pledging_reply(ballot(1, 1), 1, 0, 100));
    let ask =
        |mode, sequence| Message::Errand(Errand::Read { ballot: ballot(1, 1), mode, ids: vec![request(2, sequence)] });
    node.hear(2, ask(ReadMode::Index, 1));
    assert!(node.sent().iter().all(|(_, message)| !matches!(message, Message::Errand(_))));
    node.hear(2, ask(ReadMode::Lease, 2));
    let ready = vec![ReadReady { id: request(2, 2), index: LogIndex(1) }];
    assert_eq!(node.sent(), [(2, Message::Errand(Errand::ReadIndex { ready }))]);
}

#[test]
fn a_read_in_the_log_is_a_command_that_says_nothing() {
    let mut node = leader();
    read(&mut node, 1, ReadMode::Log);
    let put = node.unsynced.back().unwrap().entries[0].clone();
    assert!(matches!(&put.payload, Payload::Command { id, data } if *id == request(1, 1) && data.0.is_empty()));
}

#[test]
fn what_exceeds_the_bound_on_reads_is_refused() {
    let mut settings = leasing(1);
    settings.limits.reads_max = 2;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    for sequence in 1..=3 {
        read(&mut node, sequence, ReadMode::Lease);
    }
    assert_eq!(node.refused.iter().map(|refused| refused.reason.clone()).collect::<Vec<_>>(), [Refusal::Busy]);
}
