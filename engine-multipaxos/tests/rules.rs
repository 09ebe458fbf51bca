//! The rules of Multi-Paxos in steady state, one claim each, driven by hand: durability, slots that are accepted and
//! chosen by themselves, watermarks, learning, reads, proposals. How a leader comes is in `election.rs`, how the
//! log is trimmed and replaced in `snapshots.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{
    Disk, Node, accept, accepted, ballot, config, elect, entry, heartbeat, heartbeat_reply, leader, learn_request,
    learned, learned_of, promise, request, under, voters,
};
use consensus_api::engine::encode_ballot;
use consensus_api::errands::{Errand, Proposal};
use consensus_api::{Blob, Engine, EngineError, Input, LogIndex, MonoTime, ReadMode, ReadReady, Refusal, Role};
use engine_multipaxos::MultiPaxos;
use engine_multipaxos::message::{Message, Nack};

// Durability.

#[test]
fn an_acceptance_leaves_only_once_it_is_durable() {
    let mut node = Node::blank(1);
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    assert_eq!(node.sent(), [], "the copy finds the value in the log, but not yet on the disk");
    assert_eq!(node.unsynced_puts(), [(1, 1)], "and it is not written again");
    node.sync();
    assert_eq!(node.sent(), [(2, accepted(ballot(1, 2), &[(1, 1)], 0)), (2, accepted(ballot(1, 2), &[(1, 1)], 0))]);
}

#[test]
fn accepting_raises_the_promise_in_the_same_write() {
    let mut node = Node::blank(1);
    node.hear(2, accept(ballot(5, 2), vec![entry(1, 5, 2)], 0));
    let write = node.unsynced.front().unwrap();
    assert_eq!(write.hard_state, Some(encode_ballot(ballot(5, 2))));
    assert_eq!(write.entries, [entry(1, 5, 2)]);
    node.sync();
    node.sent();
    node.hear(3, accept(ballot(4, 3), vec![entry(1, 4, 3)], 0));
    assert_eq!(node.sent(), [(3, Message::Nack(Nack { ballot: ballot(4, 3), promised: ballot(5, 2) }))]);
}

#[test]
fn a_heartbeat_reply_shows_a_new_ballot_only_once_it_is_durable_and_then_waits_for_nothing() {
    let mut node = Node::blank(1);
    node.hear(2, heartbeat(ballot(3, 2), 0, 1));
    assert_eq!(node.sent(), []);
    node.sync();
    assert_eq!(node.sent(), [(2, heartbeat_reply(ballot(3, 2), 1, 0))]);
    node.hear(2, accept(ballot(3, 2), vec![entry(1, 3, 2)], 0));
    node.hear(2, heartbeat(ballot(3, 2), 0, 2));
    assert_eq!(node.sent(), [(2, heartbeat_reply(ballot(3, 2), 2, 0))], "while the acceptance waits for the disk");
    node.hear(2, heartbeat(ballot(3, 2), 0, 2));
    assert_eq!(node.sent(), [], "a round is answered once");
}

#[test]
fn a_leader_sends_without_waiting_for_its_own_disk_and_counts_itself_only_after_it() {
    let mut node = leader();
    node.propose(1);
    assert!(matches!(node.sent_to(2).as_slice(), [Message::Accept(accept)] if accept.entries.len() == 1));
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    assert_eq!(node.chosen(), 0, "one acceptor is no quorum");
    node.sync();
    assert_eq!(node.chosen(), 1);
}

#[test]
fn two_followers_choose_without_the_leaders_disk() {
    let mut node = leader();
    node.propose(1);
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    node.hear(3, accepted(ballot(1, 1), &[(1, 1)], 0));
    assert_eq!((node.chosen(), node.handed_out()), (1, vec![]));
    node.sync();
    assert_eq!(node.handed_out(), [1], "the tables must not get ahead of the own log");
}

#[test]
fn an_acceptance_of_an_earlier_ballot_is_not_counted() {
    let mut node = leader();
    node.hear(3, heartbeat(ballot(2, 3), 0, 1));
    assert_eq!(elect(&mut node), ballot(3, 1));
    node.propose(1);
    node.sync();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    assert_eq!(node.chosen(), 0);
    node.hear(2, accepted(ballot(3, 1), &[(1, 1)], 0));
    assert_eq!(node.chosen(), 1);
}

// Slots and watermarks.

#[test]
fn slots_are_chosen_in_any_order_and_delivered_in_order() {
    let mut node = leader();
    for sequence in 1..=3 {
        node.propose(sequence);
    }
    node.hear(2, accepted(ballot(1, 1), &[(3, 3)], 0));
    node.hear(3, accepted(ballot(1, 1), &[(2, 3)], 0));
    node.hear(2, accepted(ballot(1, 1), &[(2, 2)], 0));
    assert_eq!(node.chosen(), 0, "2 and 3 are chosen, 1 is not");
    node.hear(3, accepted(ballot(1, 1), &[(1, 1)], 0));
    node.sync();
    assert_eq!((node.chosen(), node.handed_out()), (3, vec![1, 2, 3]));
}

#[test]
fn a_follower_accepts_slots_in_any_order_and_delivers_them_in_order() {
    let mut node = Node::blank(1);
    let b = ballot(1, 2);
    node.hear(2, accept(b, vec![entry(3, 1, 2)], 3));
    node.sync();
    assert_eq!(node.chosen(), 0);
    node.hear(2, accept(b, vec![entry(1, 1, 2)], 3));
    node.sync();
    assert_eq!((node.chosen(), node.handed_out()), (1, vec![1]));
    node.hear(2, accept(b, vec![entry(2, 1, 2)], 3));
    node.sync();
    assert_eq!((node.chosen(), node.handed_out()), (3, vec![1, 2, 3]));
}

#[test]
fn a_watermark_chooses_only_what_was_accepted_under_its_ballot() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2), (2, 2)], ballot(2, 9), 0));
    node.hear(3, accept(ballot(3, 3), vec![entry(2, 3, 3)], 2));
    assert_eq!(node.chosen(), 0, "slot 1 is held under another ballot, and may have been chosen otherwise");
    node.hear(3, learned(vec![entry(1, 3, 3)]));
    node.sync();
    assert_eq!(node.chosen(), 2);
    assert_eq!(node.committed, [entry(1, 3, 3), entry(2, 3, 3)], "as it was, in fact");
}

#[test]
fn a_slot_that_is_known_to_be_chosen_takes_no_accept() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2), (2, 2)], ballot(2, 9), 2));
    let again = [1, 2].map(|slot| under(&entry(slot, 2, 9), ballot(3, 3)));
    node.hear(3, accept(ballot(3, 3), again.to_vec(), 0));
    assert_eq!(node.unsynced_puts(), []);
    node.sync();
    assert_eq!(node.sent(), [(3, accepted(ballot(3, 3), &[], 2))]);
}

#[test]
#[should_panic(expected = "two values at 1")]
fn a_chosen_slot_that_is_offered_another_value_stops_the_node() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2)], ballot(2, 9), 1));
    node.hear(3, accept(ballot(3, 3), vec![entry(1, 3, 3)], 0));
}

#[test]
fn the_news_of_the_watermark_travels_at_once() {
    let mut node = leader();
    node.propose(1);
    node.sent();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    node.sync();
    let round = 1;
    assert_eq!(node.sent(), [2, 3].map(|peer| (peer, heartbeat(ballot(1, 1), 1, round))));
}

#[test]
fn a_lost_accept_is_sent_again_from_the_first_slot_that_the_peer_lacks() {
    let mut node = leader();
    for sequence in 1..=3 {
        node.propose(sequence);
    }
    node.sent();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1), (3, 3)], 0));
    for round in 1..=5 {
        node.tick(11);
        node.hear(2, heartbeat_reply(ballot(1, 1), round, 0));
    }
    let again = node.sent_to(2).into_iter().find_map(|message| match message {
        Message::Accept(accept) => accept.entries.first().map(|entry| entry.index),
        _ => None,
    });
    assert_eq!(again, Some(LogIndex(2)));
}

/// The slots of the Accepts for node 2 among what was sent since the last look, message by message.
fn accepts_for_2(node: &mut Node) -> Vec<Vec<u64>> {
    let accepts = node.sent_to(2).into_iter().filter_map(|message| match message {
        Message::Accept(accept) => Some(accept.entries.iter().map(|entry| entry.index.0).collect()),
        _ => None,
    });
    accepts.collect()
}

#[test]
fn one_lost_accept_is_sent_again_though_all_others_are_answered() {
    let (mut node, b) = (leader(), ballot(1, 1));
    node.propose(1);
    assert_eq!(accepts_for_2(&mut node), [[1]], "and this one is lost; node 3 is down");
    let mut slot = 1;
    while node.chosen() == 0 && slot < 60 {
        slot += 1;
        node.pass(1);
        node.propose(slot);
        node.sync();
        for slots in accepts_for_2(&mut node) {
            node.hear(2, accepted(b, &[(slots[0], slots[slots.len() - 1])], 0));
        }
    }
    assert!((40..60).contains(&slot), "after four heartbeat intervals at one proposal a millisecond, not {slot}");
    assert_eq!(node.chosen(), slot);
}

#[test]
fn a_late_answer_to_a_part_of_a_lost_message_does_not_stand_for_the_rest() {
    let (mut node, b) = (leader(), ballot(1, 1));
    for sequences in [1..=5, 6..=10] {
        for sequence in sequences {
            let data = Blob::from("value");
            node.paxos.step(node.now, Input::Propose { id: request(1, sequence), data });
        }
        node.take();
    }
    let (low, high): (Vec<u64>, Vec<u64>) = ((1..=5).collect(), (6..=10).collect());
    assert_eq!(accepts_for_2(&mut node), [low, high], "the first is lost, the second is answered slowly");
    let wait = |node: &mut Node, round: u64| {
        node.tick(11);
        node.hear(2, heartbeat_reply(b, round, 0));
        accepts_for_2(node)
    };
    let all: Vec<u64> = (1..=10).collect();
    let again: Vec<_> = (1..=5).flat_map(|round| wait(&mut node, round)).collect();
    assert_eq!(again, [all], "and this one is lost too");
    node.hear(2, accepted(b, &[(6, 10)], 0));
    let again: Vec<_> = (6..=11).flat_map(|round| wait(&mut node, round)).collect();
    assert_eq!(again.first().and_then(|slots| slots.first()), Some(&1));
}

#[test]
fn a_silent_peer_gets_heartbeats_only_and_everything_once_it_answers() {
    let mut node = leader();
    for round in 1..=12 {
        node.tick(10);
        node.hear(2, heartbeat_reply(ballot(1, 1), round, 0));
    }
    node.sent();
    node.propose(1);
    node.tick(10);
    assert!(node.sent_to(3).iter().all(|message| matches!(message, Message::Heartbeat(_))));
    node.hear(3, heartbeat_reply(ballot(1, 1), 12, 0));
    assert!(matches!(node.sent_to(3).as_slice(), [Message::Accept(accept)] if accept.entries.len() == 1));
}

// Learning.

#[test]
fn a_gap_is_learnt_only_if_it_stays() {
    let mut node = Node::blank(1);
    let b = ballot(1, 2);
    node.hear(2, accept(b, vec![entry(2, 1, 2)], 0));
    node.hear(2, heartbeat(b, 2, 1));
    node.hear(2, heartbeat(b, 2, 2));
    node.sync();
    node.sent();
    node.pass(10);
    node.hear(2, heartbeat(b, 2, 3));
    assert_eq!(node.sent(), [(2, heartbeat_reply(b, 3, 0)), (2, learn_request(1, 1))]);
    node.hear(2, heartbeat(b, 2, 3));
    assert_eq!(node.sent(), [], "one request at a time");
    node.hear(2, learned(vec![entry(1, 1, 2)]));
    node.sync();
    assert_eq!((node.chosen(), node.handed_out()), (2, vec![1, 2]));
}

#[test]
fn what_was_chosen_is_learnt_page_by_page_from_the_log_store() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut settings = config(2);
    settings.limits.message_bytes_max = 300;
    let mut knows = Node::on(settings, voters(&[1, 2, 3]), Disk::with(&slots, ballot(2, 9), 9));
    let mut lags = Node::blank(1);
    let b = ballot(3, 2);
    knows.disk.hard_state = Some(encode_ballot(b));
    lags.hear(2, heartbeat(b, 9, 1));
    lags.pass(10);
    lags.hear(2, heartbeat(b, 9, 2));
    lags.sync();
    let mut pages = 0;
    while let Some(question) = lags.sent().into_iter().find(|(_, message)| matches!(message, Message::LearnRequest(_)))
    {
        knows.hear(1, question.1);
        knows.answer_read_backs();
        let answers = knows.sent_to(1);
        assert_eq!(answers.len(), 1, "one page");
        pages += 1;
        lags.hear(2, answers.into_iter().next().unwrap());
    }
    lags.sync();
    assert_eq!((lags.chosen(), lags.handed_out()), (9, (1..=9).collect()));
    assert!((3..9).contains(&pages), "{pages} pages");
}

#[test]
fn what_the_log_store_still_holds_under_an_earlier_ballot_is_told_to_nobody() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk::with(&slots, ballot(2, 9), 1));
    node.hear(3, learned(vec![entry(2, 3, 3)]));
    assert_eq!(node.chosen(), 2);
    node.hear(2, learn_request(1, 2));
    node.answer_read_backs();
    let told = learned_of(vec![entry(1, 2, 9)], 2);
    assert_eq!(node.sent(), [(2, told)], "the write of what was chosen in 2 is under way");
}

#[test]
fn a_value_chosen_above_the_promise_raises_it() {
    let mut node = leader();
    node.propose(1);
    node.hear(3, learned(vec![entry(1, 4, 2)]));
    assert_eq!((node.role(), node.promised(), node.chosen()), (Role::Follower, ballot(4, 2), 1));
    node.sync();
    assert_eq!(node.committed, [entry(1, 4, 2)], "not what it had proposed itself");
}

#[test]
fn an_old_leader_that_returns_learns_what_was_chosen_instead() {
    let mut node = leader();
    node.propose(1);
    node.propose(2);
    node.sync();
    let b = ballot(2, 3);
    node.hear(3, accept(b, vec![entry(3, 2, 3)], 2));
    node.pass(10);
    node.hear(3, heartbeat(b, 3, 1));
    node.pass(10);
    node.hear(3, heartbeat(b, 3, 2));
    node.sync();
    assert!(node.sent_to(3).contains(&learn_request(1, 2)), "its own values for 1 and 2 are not taken for chosen");
    node.hear(3, learned(vec![entry(1, 2, 3), entry(2, 2, 3)]));
    node.sync();
    assert_eq!(node.committed, [1, 2, 3].map(|slot| entry(slot, 2, 3)));
    assert_eq!(node.disk.entries[&LogIndex(1)], entry(1, 2, 3));
}

#[test]
fn a_leader_learns_from_a_follower_that_knows_more_to_be_chosen() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2)], ballot(2, 9), 0));
    let b = elect(&mut node);
    node.hear(3, accepted(b, &[], 1));
    assert!(node.sent_to(3).contains(&learn_request(1, 1)));
    node.hear(3, learned(vec![entry(1, 2, 9)]));
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 1));
}

#[test]
fn a_follower_with_a_gap_keeps_no_more_in_memory_than_the_window_allows() {
    let mut settings = config(1);
    settings.limits.window_bytes_max = 300;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    let b = ballot(1, 2);
    node.hear(2, accept(b, (2..=30).map(|slot| entry(slot, 1, 2)).collect(), 30));
    node.sync();
    node.hear(2, accept(b, vec![entry(1, 1, 2)], 30));
    node.sync();
    assert_eq!(node.chosen(), 30);
    assert!(node.handed_out().len() < 10, "the rest has left the window");
    node.answer_read_backs();
    assert_eq!(node.handed_out(), (1..=30).collect::<Vec<_>>());
}

#[test]
fn who_learns_faster_than_its_disk_writes_waits_for_the_disk() {
    let mut settings = config(1);
    settings.limits.window_bytes_max = 300;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    let b = ballot(1, 2);
    node.hear(2, heartbeat(b, 20, 1));
    node.pass(10);
    node.hear(2, heartbeat(b, 20, 2));
    node.sync();
    assert!(node.sent().contains(&(2, learn_request(1, 20))));
    node.hear(2, learned((1..=10).map(|slot| entry(slot, 1, 2)).collect()));
    for round in 3..=9 {
        node.pass(10);
        node.hear(2, heartbeat(b, 20, round));
    }
    assert!(node.sent().iter().all(|(_, message)| !matches!(message, Message::LearnRequest(_))));
    node.sync();
    assert_eq!(node.sent(), [(2, learn_request(11, 20))]);
}

#[test]
fn an_answer_without_news_is_followed_by_the_next_question() {
    let mut node = Node::blank(1);
    let b = ballot(1, 2);
    node.hear(2, accept(b, vec![entry(3, 1, 2)], 5));
    node.hear(2, heartbeat(b, 5, 1));
    node.pass(10);
    node.hear(2, heartbeat(b, 5, 2));
    node.sync();
    assert!(node.sent().contains(&(2, learn_request(1, 2))));
    node.hear(2, accept(b, vec![entry(1, 1, 2), entry(2, 1, 2)], 5));
    node.sync();
    node.sent();
    node.hear(2, learned(vec![entry(1, 1, 2), entry(2, 1, 2)]));
    assert_eq!(node.sent(), [(2, learn_request(4, 5))], "what it holds has come from the leader meanwhile");
    node.hear(2, learned(vec![entry(1, 1, 2), entry(2, 1, 2)]));
    assert_eq!(node.sent(), [], "a copy answers nothing");
}

// Reads.

#[test]
fn a_new_leaders_reads_cover_what_it_took_over() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2), (2, 2)], ballot(2, 9), 0));
    let b = elect(&mut node);
    node.step(Input::Read { id: request(1, 1), mode: ReadMode::Index });
    node.hear(2, heartbeat_reply(b, 1, 0));
    assert!(node.reads_ready.is_empty(), "the round had started before the read came");
    node.hear(2, heartbeat_reply(b, 2, 0));
    assert_eq!(node.chosen(), 0);
    assert_eq!(node.reads_ready, [ReadReady { id: request(1, 1), index: LogIndex(2) }]);
}

#[test]
fn a_paused_leader_steps_down_before_it_answers_a_read() {
    let mut node = leader();
    node.step(Input::Read { id: request(1, 1), mode: ReadMode::Index });
    node.pass(150);
    node.hear(2, heartbeat_reply(ballot(1, 1), 1, 0));
    assert_eq!(node.role(), Role::Follower);
    assert!(node.reads_ready.is_empty());
    assert_eq!(node.refused[0].reason, Refusal::NotLeader { leader: None });
}

// Proposals.

fn forwarded(sequence: u64) -> Message {
    let proposals = vec![Proposal { id: request(2, sequence), data: Blob::from("value") }];
    Message::Errand(Errand::Propose { ballot: ballot(1, 1), proposals })
}

#[test]
fn a_forwarded_proposal_is_proposed_once() {
    let mut node = leader();
    node.hear(2, forwarded(1));
    node.hear(2, forwarded(1));
    assert_eq!(node.last(), 1);
}

#[test]
fn a_copy_that_arrives_after_the_leader_stepped_down_is_not_refused() {
    let mut node = leader();
    node.hear(2, forwarded(1));
    node.hear(3, heartbeat(ballot(2, 3), 0, 1));
    node.sync();
    node.sent();
    node.hear(2, forwarded(1));
    assert_eq!(node.sent(), [], "the first copy may yet be chosen");
    node.hear(2, forwarded(2));
    assert!(matches!(node.sent().as_slice(), [(2, Message::Errand(Errand::Refuse { .. }))]), "this one cannot be");
}

#[test]
fn what_exceeds_a_bound_is_refused_by_name() {
    let mut settings = config(1);
    settings.limits.open_entries_max = 2;
    settings.limits.command_bytes_max = 10;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    for sequence in 1..=3 {
        node.propose(sequence);
    }
    node.step(Input::Propose { id: request(1, 4), data: Blob::from("eleven bytes") });
    let reasons: Vec<Refusal> = node.refused.iter().map(|refused| refused.reason.clone()).collect();
    assert_eq!(reasons, [Refusal::Busy, Refusal::TooLarge { bytes: 12, limit: 10 }]);
}

// Recovery.

#[test]
fn a_disk_that_contradicts_itself_is_refused() {
    let recover = |disk: Disk| MultiPaxos::recover(config(1), disk.recovered(voters(&[1, 2, 3])), MonoTime::default());
    let hole_below_commit = Disk::with(&[(1, 2), (3, 2)], ballot(2, 9), 3);
    let accepted_above_promise = Disk::with(&[(1, 3)], ballot(2, 9), 0);
    let applied_beyond_the_log = Disk { applied: LogIndex(1), ..Disk::default() };
    for disk in [hole_below_commit, accepted_above_promise, applied_beyond_the_log] {
        assert!(matches!(recover(disk), Err(EngineError::Log { .. })));
    }
    let torn = Disk { hard_state: Some(vec![1, 2, 3].into()), ..Disk::default() };
    assert!(matches!(recover(torn), Err(EngineError::HardState { .. })));
    let holes_above_commit = Disk::with(&[(1, 2), (3, 2)], ballot(2, 9), 1);
    assert!(recover(holes_above_commit).is_ok());
}

#[test]
fn the_only_voter_leads_at_once_and_chooses_with_its_own_disk() {
    let mut node = Node::on(config(1), voters(&[1]), Disk::default());
    node.step(Input::Tick);
    node.sync();
    assert_eq!(node.role(), Role::Leader);
    node.propose(1);
    assert_eq!(node.chosen(), 0);
    node.sync();
    assert_eq!((node.chosen(), node.handed_out()), (1, vec![1]));
}

#[test]
fn a_promise_that_comes_after_the_victory_changes_nothing() {
    let mut node = leader();
    node.propose(1);
    node.hear(3, promise(ballot(1, 1), 1, Vec::new(), None, 0));
    assert_eq!((node.role(), node.last()), (Role::Leader, 1));
}
