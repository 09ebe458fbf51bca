//! The rules of Raft, one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use consensus_api::errands::{Errand, Proposal};
use consensus_api::{Blob, Engine, EngineError, Input, LogIndex, NodeId, ReadMode, ReadReady, Refusal, Role};
use engine_raft::Raft;
use engine_raft::message::{AppendOutcome, AppendReply, Conflict, Message, RequestVote};

// Durability.

#[test]
fn a_request_for_votes_leaves_only_once_the_own_ballot_is_durable() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    assert_eq!(node.sent(), []);
    node.sync();
    let request = RequestVote { forced: true, ..asking(1, 1, nowhere()) };
    assert_eq!(node.sent(), [(2, Message::RequestVote(request)), (3, Message::RequestVote(request))]);
}

#[test]
fn a_word_to_take_over_waits_for_no_write_and_what_it_brings_about_does() {
    let mut old = leader();
    old.propose(1);
    old.step(Input::TransferLeadership { id: request(1, 2), to: Some(NodeId(2)) });
    old.sent();
    old.hear(2, matched(1, 1, 2));
    assert!(!old.unsynced.is_empty(), "its own copy is still on its way to the disk");
    let word = old.sent_to(2).into_iter().find(|message| matches!(message, Message::HandOver(_))).unwrap();
    let mut next = Node::blank(2);
    next.hear(1, append(1, 1, nowhere(), vec![entry(1, 1, 1), entry(2, 1, 1)], 1));
    next.sync();
    next.sent();
    next.hear(1, word);
    assert_eq!(next.sent(), [], "its ballot would be used again after a restart");
    next.sync();
    assert!(matches!(&next.sent()[..], [(1, Message::RequestVote(_)), (3, Message::RequestVote(_))]));
}

#[test]
fn the_own_vote_counts_only_once_it_is_durable() {
    let mut node = Node::on(config(1), voters(&[1]), Disk::default());
    node.step(Input::Tick);
    assert_eq!(node.role(), Role::Candidate);
    node.sync();
    assert_eq!((node.role(), node.commit()), (Role::Leader, 1));
}

#[test]
fn the_completion_of_an_earlier_write_does_not_count_the_own_vote() {
    let mut node = Node::blank(1);
    node.hear(2, append(1, 2, nowhere(), vec![entry(1, 1, 2)], 0));
    node.step(Input::Campaign);
    node.hear(2, vote(2, 1, true));
    node.sync_some(1);
    assert_eq!(node.role(), Role::Candidate);
    node.sync_some(1);
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_vote_leaves_only_once_it_is_durable() {
    let mut node = Node::blank(1);
    node.hear(2, request_vote(4, 2, nowhere()));
    assert_eq!(node.sent(), []);
    node.sync();
    assert_eq!(node.sent(), [(2, vote(4, 2, true))]);
}

#[test]
fn a_second_copy_of_the_request_is_answered_no_sooner_than_the_first() {
    let mut node = Node::blank(1);
    node.hear(2, request_vote(4, 2, nowhere()));
    node.hear(2, request_vote(4, 2, nowhere()));
    assert_eq!(node.sent(), []);
}

#[test]
fn an_acknowledgement_leaves_only_once_its_entries_are_durable() {
    let mut node = Node::blank(1);
    node.hear(2, append(1, 2, nowhere(), vec![entry(1, 1, 2)], 0));
    node.hear(2, append(1, 2, nowhere(), vec![entry(1, 1, 2)], 0));
    assert_eq!(node.sent(), [], "the copy finds the entry in the log, but not yet on the disk");
    node.sync();
    assert_eq!(node.sent(), [(2, matched(1, 2, 1)), (2, matched(1, 2, 1))]);
}

#[test]
fn a_heartbeat_reply_shows_a_new_term_only_once_it_is_durable_and_then_waits_for_nothing() {
    let mut node = Node::blank(1);
    node.hear(2, heartbeat(3, 2, 0, 0, 1));
    assert_eq!(node.sent(), []);
    node.sync();
    let reply = |round| (2, heartbeat_reply(3, 2, round));
    assert_eq!(node.sent(), [reply(1)]);
    node.hear(2, append(3, 2, nowhere(), vec![entry(1, 3, 2)], 0));
    node.hear(2, heartbeat(3, 2, 0, 0, 2));
    assert_eq!(node.sent(), [reply(2)], "though the entry is still on its way to the disk");
}

#[test]
fn a_leader_sends_its_entries_without_waiting_for_its_own_disk() {
    let mut node = leader();
    node.propose(1);
    assert!(!node.unsynced.is_empty());
    assert!(matches!(&node.sent_to(2)[..], [Message::Append(append)] if append.entries.len() == 1));
}

#[test]
fn a_leaders_own_copy_counts_only_once_it_is_durable() {
    let mut node = leader();
    node.propose(1);
    node.hear(2, matched(1, 1, 2));
    assert_eq!(node.commit(), 1, "one durable copy of three");
    node.sync();
    assert_eq!(node.commit(), 2);
}

#[test]
fn two_followers_commit_without_the_leaders_disk() {
    let mut node = leader();
    node.propose(1);
    node.hear(2, matched(1, 1, 2));
    node.hear(3, matched(1, 1, 2));
    assert_eq!(node.commit(), 2);
}

#[test]
fn the_late_completion_of_an_overwritten_write_vouches_for_nothing() {
    let mut node = Node::blank(1);
    node.hear(2, append(2, 2, nowhere(), vec![entry(1, 2, 2)], 0));
    node.hear(3, append(3, 3, nowhere(), vec![entry(1, 3, 3)], 0));
    assert_eq!(node.unsynced.len(), 2);
    node.sync_some(1);
    assert_eq!(node.sent(), [(2, matched(2, 2, 1))], "the first entry was durable when the leader of term 2 hears so");
    node.sync_some(1);
    assert_eq!(node.sent(), [(3, matched(3, 3, 1))]);
}

#[test]
fn a_restart_keeps_term_and_vote() {
    let mut node = Node::blank(1);
    node.hear(2, request_vote(4, 2, nowhere()));
    node.sync();
    node.restart(0);
    node.hear(3, request_vote(4, 3, nowhere()));
    node.sync();
    assert_eq!(node.sent_to(3), [vote(4, 3, false)]);
    node.step(Input::Campaign);
    assert_eq!(node.term(), 5, "a term is never used twice");
}

// Replication.

#[test]
fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut node = Node::with_disk(1, Disk::with(&[1, 2], ballot(3, 0), 1));
    elect(&mut node);
    node.hear(2, matched(4, 1, 2));
    node.hear(3, matched(4, 1, 2));
    assert_eq!(node.commit(), 1, "figure 8: a later leader may still overwrite it");
    node.hear(2, matched(4, 1, 3));
    node.sync();
    assert_eq!(node.commit(), 3, "with the leader's own no-op, everything below is committed");
}

#[test]
fn the_logs_meet_after_one_round_trip_for_each_term_that_differs() {
    let mut node = Node::with_disk(1, Disk::with(&[1, 1, 1, 1, 1, 4, 4, 6, 6, 6], ballot(6, 0), 5));
    let mut follower = Node::with_disk(2, Disk::with(&[1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3], ballot(6, 0), 5));
    elect(&mut node);
    let mut conflicts = Vec::new();
    for _ in 0..6 {
        node.answer_read_backs();
        for message in node.sent_to(2) {
            follower.hear(1, message);
        }
        follower.sync();
        for message in follower.sent_to(1) {
            if let Message::AppendReply(AppendReply { outcome: AppendOutcome::Conflict(conflict), .. }) = &message {
                conflicts.push((conflict.prev.0, conflict.x_term.unwrap()));
            }
            node.hear(2, message);
        }
        node.sync();
    }
    assert_eq!(conflicts, [(10, 3), (8, 2)]);
    assert_eq!((node.commit(), follower.last()), (11, 11));
}

#[test]
fn a_late_answer_to_an_earlier_probe_moves_nothing() {
    let mut node = leader();
    node.propose(1);
    node.hear(2, matched(1, 1, 2));
    let conflict = Conflict { prev: LogIndex(1), x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex::ZERO };
    node.sent();
    node.hear(
        2,
        Message::AppendReply(AppendReply { ballot: ballot(1, 1), outcome: AppendOutcome::Conflict(conflict) }),
    );
    assert_eq!(node.sent_to(2), [], "what was acknowledged is not sent again");
}

#[test]
fn a_copy_of_an_append_neither_appends_twice_nor_cuts_off_what_followed() {
    let mut node = Node::blank(1);
    let first = append(1, 2, nowhere(), vec![entry(1, 1, 2)], 0);
    node.hear(2, first.clone());
    node.hear(2, append(1, 2, position(1, 1, 2), vec![entry(2, 1, 2), entry(3, 1, 2)], 0));
    node.sync();
    node.sent();
    node.hear(2, first);
    assert_eq!(node.last(), 3);
    assert!(node.unsynced.is_empty(), "nothing is written again");
    assert_eq!(node.sent(), [(2, matched(1, 2, 3))]);
}

#[test]
fn only_what_contradicts_the_leader_is_cut_off() {
    let mut node = Node::with_disk(1, Disk::with(&[1, 2, 2, 2], ballot(2, 0), 1));
    node.hear(3, append(3, 3, position(1, 1, 9), vec![entry(2, 2, 9), entry(3, 3, 3)], 0));
    node.sync();
    assert_eq!(node.last(), 3);
    assert_eq!(node.disk.entries[&LogIndex(2)], entry(2, 2, 9));
    assert_eq!(node.disk.entries[&LogIndex(3)], entry(3, 3, 3));
}

#[test]
fn the_commit_index_never_passes_what_is_verified() {
    let mut node = Node::with_disk(1, Disk::with(&[1, 2, 2], ballot(2, 0), 1));
    node.hear(3, heartbeat(3, 3, 3, 0, 1));
    assert_eq!(node.commit(), 1, "entries 2 and 3 are another leader's, whatever the heartbeat says");
    node.hear(3, append(3, 3, position(1, 1, 9), vec![entry(2, 3, 3), entry(3, 3, 3)], 1));
    assert_eq!(node.commit(), 3, "what was told too early is remembered");
}

#[test]
fn a_restarted_follower_commits_what_it_acknowledged_without_another_entry() {
    let mut node = Node::blank(2);
    node.hear(1, append(1, 1, nowhere(), vec![entry(1, 1, 1)], 0));
    node.sync();
    node.restart(0);
    node.hear(1, heartbeat(1, 1, 1, 1, 9));
    assert_eq!(node.commit(), 1);
}

#[test]
fn the_news_of_a_commit_travels_at_once_and_is_not_answered_twice() {
    let mut node = leader();
    node.propose(1);
    node.sync();
    node.sent();
    node.hear(2, matched(1, 1, 2));
    let news = node.sent_to(2);
    assert!(matches!(&news[..], [Message::Heartbeat(heartbeat)] if heartbeat.commit == LogIndex(2)), "{news:?}");
    let mut follower = Node::blank(2);
    follower.hear(1, append(1, 1, nowhere(), vec![entry(1, 1, 1), entry(2, 1, 1)], 1));
    follower.sync();
    follower.sent();
    follower.hear(1, news[0].clone());
    assert_eq!((follower.commit(), follower.sent().len()), (2, 1));
    follower.hear(1, news[0].clone());
    assert_eq!(follower.sent(), []);
}

#[test]
fn a_follower_far_behind_catches_up_from_the_log_store() {
    let mut settings = config(1);
    settings.limits.window_bytes_max = 500;
    settings.limits.message_bytes_max = 2_000;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    for sequence in 1..=1_000 {
        node.propose(sequence);
        node.sync();
        node.hear(3, matched(1, 1, node.last()));
    }
    assert_eq!(node.commit(), 1_001);
    let mut follower = Node::blank(2);
    let mut rounds = 0;
    while follower.last() < 1_001 {
        rounds += 1;
        assert!(rounds < 200, "stuck at {}", follower.last());
        node.pass(10);
        node.hear(3, heartbeat_reply(1, 1, 0));
        node.answer_read_backs();
        for message in node.sent_to(2) {
            follower.hear(1, message);
        }
        follower.sync();
        for message in follower.sent_to(1) {
            node.hear(2, message);
        }
    }
    assert_eq!(follower.commit(), 1_001);
}

#[test]
fn a_silent_peer_gets_one_probe_in_each_interval() {
    let mut node = leader();
    let ack = |node: &mut Node| node.hear(3, heartbeat_reply(1, 1, 0));
    for _ in 0..11 {
        node.tick(10);
        ack(&mut node);
    }
    node.sent();
    for sequence in 1..=50 {
        node.propose(sequence);
    }
    node.tick(10);
    let appends: Vec<Message> =
        node.sent_to(2).into_iter().filter(|message| matches!(message, Message::Append(_))).collect();
    assert!(matches!(&appends[..], [Message::Append(probe)] if probe.entries.is_empty()), "{appends:?}");
}

#[test]
fn what_is_lost_is_sent_again() {
    let mut node = leader();
    node.propose(1);
    node.sent();
    for _ in 0..4 {
        node.tick(10);
        node.hear(2, heartbeat_reply(1, 1, 0));
    }
    let again = |message: &Message| matches!(message, Message::Append(append) if append.entries.len() == 1);
    assert!(node.sent_to(2).iter().any(again));
}

// Reads.

#[test]
fn a_paused_leader_steps_down_before_it_answers_a_read() {
    let mut node = leader();
    node.step(Input::Read { id: request(1, 1), mode: ReadMode::Index });
    let round = |message: Message| match message {
        Message::Heartbeat(heartbeat) => heartbeat.round,
        other => panic!("{other:?}"),
    };
    let round = node.sent_to(2).into_iter().map(round).last().unwrap();
    node.pass(101);
    node.hear(2, heartbeat_reply(1, 1, round));
    assert_eq!(node.role(), Role::Follower);
    assert_eq!(node.reads_ready, []);
    assert_eq!(node.refused[0].reason, Refusal::NotLeader { leader: None });
}

#[test]
fn a_new_leaders_reads_cover_its_no_op() {
    let mut node = Node::with_disk(1, Disk::with(&[1, 1], ballot(1, 0), 0));
    elect(&mut node);
    node.step(Input::Read { id: request(1, 1), mode: ReadMode::Index });
    let round = node.sent().into_iter().rev().find_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    node.hear(2, heartbeat_reply(2, 1, round.unwrap()));
    node.tick(10);
    let round = round.unwrap() + 1;
    node.hear(2, heartbeat_reply(2, 1, round));
    assert_eq!(node.reads_ready, [ReadReady { id: request(1, 1), index: LogIndex(3) }]);
}

#[test]
fn a_read_whose_question_was_lost_is_asked_again() {
    let mut node = Node::blank(2);
    node.hear(1, heartbeat(1, 1, 0, 0, 1));
    node.step(Input::Read { id: request(2, 1), mode: ReadMode::Index });
    let question =
        Message::Errand(Errand::Read { ballot: ballot(1, 1), mode: ReadMode::Index, ids: vec![request(2, 1)] });
    assert_eq!(node.sent_to(1), std::slice::from_ref(&question));
    for round in 2..=12 {
        node.pass(10);
        node.hear(1, heartbeat(1, 1, 0, 0, round));
    }
    node.sync();
    assert!(node.sent_to(1).contains(&question));
}

// Proposals.

fn forwarded(sequence: u64) -> Message {
    let proposals = vec![Proposal { id: request(2, sequence), data: Blob::from("value") }];
    Message::Errand(Errand::Propose { ballot: ballot(1, 1), proposals })
}

#[test]
fn a_forwarded_proposal_is_appended_once() {
    let mut node = leader();
    node.hear(2, forwarded(1));
    node.hear(2, forwarded(1));
    assert_eq!(node.last(), 2);
}

#[test]
fn a_copy_that_arrives_after_the_leader_stepped_down_is_not_refused() {
    let mut node = leader();
    node.hear(2, forwarded(1));
    node.pass(101);
    node.step(Input::Tick);
    assert_eq!(node.role(), Role::Follower);
    node.sent();
    node.hear(2, forwarded(1));
    assert_eq!(node.sent(), [], "it was appended, and the next leader may commit it");
    node.hear(2, forwarded(2));
    assert!(matches!(&node.sent()[..], [(2, Message::Errand(Errand::Refuse { .. }))]), "this one was never here");
}

#[test]
fn a_copy_that_arrives_after_a_restart_is_met_with_silence() {
    let mut node = leader();
    node.hear(2, forwarded(1));
    node.sync();
    node.restart(0);
    elect(&mut node);
    node.sent();
    node.hear(2, forwarded(1));
    assert_eq!((node.last(), node.sent()), (3, vec![]));
}

#[test]
fn what_exceeds_a_bound_is_refused_by_name() {
    let mut settings = config(1);
    settings.limits.open_entries_max = 2;
    settings.limits.command_bytes_max = 100;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    node.propose(1);
    elect(&mut node);
    node.propose(2);
    node.propose(3);
    node.step(Input::Propose { id: request(1, 4), data: Blob::from(vec![0; 101]) });
    let reasons: Vec<Refusal> = node.refused.iter().map(|refused| refused.reason.clone()).collect();
    assert_eq!(reasons, [Refusal::NoLeader, Refusal::Busy, Refusal::TooLarge { bytes: 101, limit: 100 }]);
}

// Recovery.

#[test]
fn a_disk_that_contradicts_itself_is_refused() {
    let sound = || Disk::with(&[1, 2, 2], ballot(2, 0), 1);
    let mut hole = sound();
    hole.entries.remove(&LogIndex(2));
    let mut falling = sound();
    falling.entries.insert(LogIndex(3), entry(3, 1, 9));
    let mut ahead = sound();
    ahead.hard_state = Some(consensus_api::engine::encode_ballot(ballot(1, 0)));
    let mut beyond = sound();
    beyond.commit = LogIndex(4);
    for (what, disk) in
        [("a hole", hole), ("a term that falls", falling), ("a term to come", ahead), ("a commit", beyond)]
    {
        let recovered = disk.recovered(voters(&[1, 2, 3]));
        let error = Raft::recover(config(1), recovered, Default::default()).expect_err(what);
        assert!(matches!(error, EngineError::Log { .. }), "{what}: {error}");
    }
    let mut foreign = sound();
    foreign.hard_state = Some(bytes::Bytes::from_static(b"not a ballot"));
    let error = Raft::recover(config(1), foreign.recovered(voters(&[1])), Default::default()).expect_err("foreign");
    assert!(matches!(error, EngineError::HardState { .. }), "{error}");
}
