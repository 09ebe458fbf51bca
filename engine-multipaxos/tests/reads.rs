//! Reads under a lease and what acceptors owe a leader that holds one, reads by a quorum, ticks, and how reads are asked
//! for; one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::*;
use consensus_api::engine::encode_ballot;
use consensus_api::errands::Errand;
use consensus_api::{
    Engine, EngineConfig, HardState, Input, LeaseTiming, LogIndex, LogPosition, LogTime, NodeId, Payload, ReadMode,
    ReadReady, Refusal, Role,
};
use engine_multipaxos::message::{Message, Nack, PreCheck, PreCheckReply, Prepare, ReadQuery, ReadReport};

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
    Message::Prepare(Prepare { ballot: ballot(round, candidate), from: LogIndex(1), forced: true })
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
    node.paxos.give_up_lease();
    assert!(!is_served(&mut node, 1, ReadMode::Lease));
    let round = *rounds(&node.sent()).last().unwrap();
    node.hear(2, pledging_reply(ballot(1, 1), round, 0, 100));
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
    node.hear(3, Message::PreCheck(PreCheck { ballot: ballot(2, 3) }));
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

// Reads by a quorum.

fn report(round: u64, accepted: u64, chosen: u64) -> Message {
    report_of_boot(1, round, accepted, chosen)
}

fn report_of_boot(boot: u64, round: u64, accepted: u64, chosen: u64) -> Message {
    let (accepted_through, chosen_through) = (LogIndex(accepted), LogIndex(chosen));
    Message::ReadReport(ReadReport { boot, round, accepted_through, chosen_through })
}

fn query(round: u64) -> Message {
    Message::ReadQuery(ReadQuery { boot: 1, round })
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
    read(&mut node, 1, ReadMode::Quorum);
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
    read(&mut node, 1, ReadMode::Quorum);
    node.hear(2, report(1, 6, 5));
    assert_eq!(node.reads_ready, [], "6 may have been acknowledged");
    node.hear(2, accept(ballot(3, 2), vec![entry(6, 3, 2)], 6));
    assert_eq!(node.reads_ready, [ready(1, 6)]);
}

#[test]
fn a_lower_answer_of_another_acceptor_sets_a_read_free() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1, ReadMode::Quorum);
    node.hear(2, report(1, 6, 5));
    assert_eq!(node.reads_ready, []);
    node.hear(3, report(1, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)], "1 and 3 are a quorum that has not accepted 6");
}

#[test]
fn while_reads_are_held_up_the_question_is_put_again_and_a_lower_answer_counts() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1, ReadMode::Quorum);
    node.hear(2, report(1, 6, 5));
    node.sent();
    assert!(node.paxos.deadline() <= node.now + node.config.timing.heartbeat_interval);
    node.tick(10);
    assert_eq!(node.sent(), [(2, query(2)), (3, query(2))]);
    node.hear(3, report(2, 5, 5));
    assert_eq!(node.reads_ready, [ready(1, 5)]);
    assert_eq!(node.sent(), []);
}

#[test]
fn an_answer_to_an_earlier_round_or_life_is_no_answer() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1, ReadMode::Quorum);
    node.hear(2, report(1, 5, 5));
    read(&mut node, 2, ReadMode::Quorum);
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
    read(&mut node, 11, ReadMode::Quorum);
    assert_eq!(node.sent(), []);
    node.hear(2, report(1, 5, 5));
    assert_eq!(node.reads_ready.len(), 10);
    assert_eq!(node.sent(), [(2, query(2)), (3, query(2))]);
}

#[test]
fn who_has_not_answered_is_asked_again_in_the_same_round() {
    let mut node = acceptor(5, 5);
    read(&mut node, 1, ReadMode::Quorum);
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
    read(&mut node, 1, ReadMode::Quorum);
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
    read(&mut node, 1, ReadMode::Quorum);
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
        read(&mut node, sequence, ReadMode::Quorum);
    }
    assert_eq!(node.refused.iter().map(|refused| refused.reason.clone()).collect::<Vec<_>>(), [Refusal::Busy]);
}

#[test]
fn the_only_voter_is_a_quorum() {
    let mut node = Node::on(config(1), voters(&[1]), Disk::default());
    node.step(Input::Tick);
    node.sync();
    node.propose(1);
    read(&mut node, 2, ReadMode::Quorum);
    assert_eq!(node.reads_ready, [], "what it has accepted is not on its disk");
    node.sync();
    assert_eq!(node.reads_ready, [ready(2, 1)]);
}

// Ticks.

fn ticks(node: &Node) -> usize {
    node.unsynced.iter().flat_map(|write| &write.entries).filter(|entry| entry.payload == Payload::Tick).count()
}

#[test]
fn an_idle_leader_ticks_when_asked_and_the_log_time_goes_forward() {
    let mut node = leader();
    node.step(Input::KeepTime { every: Some(Duration::from_millis(30)) });
    node.propose(1);
    node.sync();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    let before = node.disk.entries[&LogIndex(1)].log_time;
    assert!(node.paxos.deadline() <= node.now + Duration::from_millis(30));
    node.tick(29);
    assert_eq!(ticks(&node), 0);
    node.tick(1);
    assert_eq!(ticks(&node), 1);
    node.sync();
    assert_eq!(node.disk.entries[&LogIndex(2)].log_time, LogTime { millis: before.millis + 30 });
}

#[test]
fn who_appends_otherwise_does_not_tick_and_nobody_ticks_who_was_not_asked() {
    let mut node = leader();
    for sequence in 1..=10 {
        if sequence == 6 {
            node.step(Input::KeepTime { every: Some(Duration::from_millis(20)) });
        }
        node.propose(sequence);
        node.hear(2, accepted(ballot(1, 1), &[(sequence, sequence)], 0));
        node.sync();
        node.tick(15);
        assert_eq!(ticks(&node), 0);
    }
    node.step(Input::KeepTime { every: None });
    node.tick(50);
    assert_eq!(ticks(&node), 0);
}

#[test]
fn a_leader_without_a_quorum_does_not_fill_its_log_with_ticks() {
    let mut settings = config(1);
    settings.timing.check_quorum = false;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    node.step(Input::KeepTime { every: Some(Duration::from_millis(10)) });
    for _ in 0..50 {
        node.tick(10);
        assert!(node.paxos.deadline() > node.now);
        node.sync();
    }
    assert_eq!(node.last(), 1);
}

#[test]
fn a_follower_remembers_the_wish_and_ticks_once_it_leads_and_not_before_its_takeover_is_done() {
    let mut node = Node::blank(1);
    node.step(Input::KeepTime { every: Some(Duration::from_millis(30)) });
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.sync();
    node.tick(60);
    assert_eq!(node.last(), 1);
    let b = elect(&mut node);
    node.sync();
    node.tick(30);
    assert_eq!(node.last(), 1, "what it took over is not chosen again");
    node.hear(2, accepted(b, &[(1, 1)], 0));
    assert_eq!((node.last(), ticks(&node)), (2, 1));
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
    assert_eq!(node.id(), NodeId(1));
}
