//! How a leader comes: pre-check, promises page by page, catching up, the highest ballot for each slot.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{
    Disk, Node, accept, accepted, ballot, config, elect, entry, heartbeat, leader, learn_request, learned, prepare,
    promise, promise_above, under, voters,
};
use consensus_api::{Input, LogIndex, LogPosition, NodeId, Payload, Role, SharedEntry};
use engine_multipaxos::message::{Message, Nack, PreCheck, PreCheckReply, Prepare};

fn candidate(disk: Disk) -> Node {
    let mut node = Node::with_disk(1, disk);
    node.step(Input::Campaign);
    node.sync();
    node.answer_read_backs();
    node.sent();
    node
}

/// What the node proposes to a peer, all messages together.
fn proposed_to(node: &mut Node, peer: u64) -> Vec<SharedEntry> {
    let accepts = node.sent_to(peer).into_iter().filter_map(|message| match message {
        Message::Accept(accept) => Some(accept.entries),
        _ => None,
    });
    accepts.flatten().collect()
}

// Durability.

#[test]
fn a_prepare_leaves_only_once_the_own_promise_is_durable() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    assert_eq!(node.sent(), []);
    node.sync();
    let question =
        Message::Prepare(Prepare { ballot: ballot(1, 1), from: LogIndex(1), forced: true, released_by: None });
    assert_eq!(node.sent(), [(2, question.clone()), (3, question)]);
}

#[test]
fn the_own_promise_counts_only_once_it_is_durable() {
    let mut node = Node::blank(1);
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.step(Input::Campaign);
    node.hear(2, promise(ballot(2, 1), 1, Vec::new(), None, 0));
    node.sync_some(1);
    assert_eq!(node.role(), Role::Candidate, "an earlier write is done, that of the promise is not");
    node.sync();
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_promise_leaves_only_once_it_is_durable_and_a_copy_no_sooner() {
    let mut node = Node::blank(1);
    node.hear(2, prepare(ballot(4, 2), 1));
    node.hear(2, prepare(ballot(4, 2), 1));
    assert_eq!(node.sent(), []);
    node.sync();
    assert_eq!(node.sent().first(), Some(&(2, promise(ballot(4, 2), 1, Vec::new(), None, 0))));
}

#[test]
fn a_promise_waits_for_the_accepts_that_it_tells_of() {
    let mut node = Node::blank(1);
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.sync();
    node.sent();
    node.hear(2, accept(ballot(1, 2), vec![entry(2, 1, 2)], 0));
    node.hear(
        3,
        Message::Prepare(Prepare { ballot: ballot(2, 3), from: LogIndex(1), forced: true, released_by: None }),
    );
    node.sync_some(1);
    assert_eq!(node.sent(), [(2, accepted(ballot(1, 2), &[(2, 2)], 0))], "the promise is not durable yet");
    node.sync();
    assert_eq!(node.sent(), [(3, promise(ballot(2, 3), 1, vec![entry(1, 1, 2), entry(2, 1, 2)], None, 0))]);
}

#[test]
fn a_restart_never_uses_a_ballot_twice() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    node.sync();
    node.restart(0);
    assert_eq!(node.promised(), ballot(1, 1));
    node.hear(2, promise(ballot(1, 1), 1, Vec::new(), None, 0));
    assert_eq!(node.role(), Role::Follower, "a promise to the earlier life elects nobody");
    node.step(Input::Campaign);
    assert_eq!(node.promised(), ballot(2, 1));
}

// Who may be elected, and when.

#[test]
fn a_promise_of_an_earlier_campaign_is_not_counted() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    node.sync();
    node.step(Input::Campaign);
    node.sync();
    node.hear(2, promise(ballot(1, 1), 1, Vec::new(), None, 0));
    assert_eq!((node.role(), node.promised()), (Role::Candidate, ballot(2, 1)));
}

#[test]
fn a_promise_below_the_own_one_is_refused_and_the_candidate_goes_above() {
    let mut node = Node::with_disk(1, Disk::with(&[], ballot(7, 3), 0));
    node.hear(2, prepare(ballot(4, 2), 1));
    let nack = Message::Nack(Nack { ballot: ballot(4, 2), promised: ballot(7, 3) });
    assert_eq!(node.sent(), [(2, nack)]);

    let mut node = candidate(Disk::default());
    node.hear(2, Message::Nack(Nack { ballot: ballot(1, 1), promised: ballot(7, 3) }));
    assert_eq!(node.role(), Role::Follower);
    node.step(Input::Campaign);
    assert_eq!(node.promised(), ballot(8, 1));
}

#[test]
fn a_voter_that_hears_a_leader_helps_nobody_to_depose_it_unless_forced() {
    let mut node = Node::blank(1);
    node.hear(2, heartbeat(ballot(1, 2), 0, 1));
    node.sync();
    node.sent();
    node.hear(3, Message::PreCheck(PreCheck { ballot: ballot(2, 3), from: LogIndex(1) }));
    let no = PreCheckReply { ballot: ballot(2, 3), promised: ballot(1, 2), granted: false };
    assert_eq!(node.sent(), [(3, Message::PreCheckReply(no))]);
    node.hear(3, prepare(ballot(2, 3), 1));
    assert_eq!((node.sent(), node.promised()), (vec![], ballot(1, 2)));
    node.hear(
        3,
        Message::Prepare(Prepare { ballot: ballot(2, 3), from: LogIndex(1), forced: true, released_by: None }),
    );
    assert_eq!(node.promised(), ballot(2, 3));
}

#[test]
fn a_refused_pre_check_goes_above_the_promise_at_once() {
    let mut node = Node::blank(1);
    node.tick(200);
    assert_eq!(node.sent_to(2), [Message::PreCheck(PreCheck { ballot: ballot(1, 1), from: LogIndex(1) })]);
    let no = PreCheckReply { ballot: ballot(1, 1), promised: ballot(6, 3), granted: false };
    node.hear(2, Message::PreCheckReply(no));
    assert_eq!(node.sent_to(2), [Message::PreCheck(PreCheck { ballot: ballot(7, 1), from: LogIndex(1) })]);
    assert_eq!(node.promised(), ballot(0, 0), "and promises nothing by asking");
    let yes = PreCheckReply { ballot: ballot(7, 1), promised: ballot(6, 3), granted: true };
    node.hear(2, Message::PreCheckReply(yes));
    assert_eq!((node.role(), node.promised()), (Role::Candidate, ballot(7, 1)));
}

#[test]
fn a_learner_never_campaigns_and_yet_promises_to_who_asks() {
    let mut node = Node::on(config(9), voters(&[1, 2, 3]), Disk::default());
    node.tick(10_000);
    node.step(Input::Campaign);
    let asked = node.sent();
    assert!(asked.iter().all(|(_, message)| matches!(message, Message::LearnRequest(_))), "it asks what is chosen");
    assert_eq!((node.role(), asked.len()), (Role::Learner, 3));
    node.hear(2, prepare(ballot(1, 2), 1));
    node.sync();
    assert_eq!(node.sent(), [(2, promise(ballot(1, 2), 1, Vec::new(), None, 0))]);
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut node = leader();
    for _ in 0..11 {
        node.tick(10);
    }
    assert_eq!(node.role(), Role::Follower);
}

// Promises and what they carry.

#[test]
fn a_promise_counts_at_its_last_page() {
    let mut node = candidate(Disk::default());
    let b = ballot(1, 1);
    node.hear(2, promise(b, 1, vec![entry(1, 0, 9)], Some(2), 0));
    assert_eq!(node.role(), Role::Candidate);
    let next = Message::Prepare(Prepare { ballot: b, from: LogIndex(2), forced: true, released_by: None });
    assert_eq!(node.sent(), [(2, next)]);
    node.hear(2, promise(b, 1, vec![entry(1, 0, 9)], None, 0));
    assert_eq!(node.role(), Role::Candidate, "a copy of an earlier page is not the last one");
    node.hear(2, promise(b, 2, vec![entry(2, 0, 9)], None, 0));
    assert_eq!((node.role(), node.last()), (Role::Leader, 2));
}

#[test]
fn a_page_that_has_left_the_window_is_read_back() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut settings = config(1);
    settings.limits.message_bytes_max = 300;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::with(&slots, ballot(2, 9), 0));
    let (b, mut from, mut found) = (ballot(3, 2), 1, Vec::new());
    loop {
        node.hear(2, prepare(b, from));
        node.answer_read_backs();
        node.sync();
        let page = node.sent().into_iter().find_map(|(_, message)| match message {
            Message::Promise(promise) => Some(promise),
            _ => None,
        });
        let page = page.expect("a page");
        assert!(page.accepted.len() <= 4, "a page is bounded");
        found.extend(page.accepted.iter().map(|entry| entry.index.0));
        match page.next {
            Some(next) => from = next.0,
            None => break,
        }
    }
    assert_eq!(found, (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_promise_to_who_asks_from_below_the_base_begins_above_what_is_chosen() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk { applied: LogIndex(7), ..Disk::with(&slots, ballot(2, 9), 7) });
    node.step(Input::Trimmed { base: LogPosition { index: LogIndex(3), ballot: ballot(2, 9) } });
    node.hear(2, prepare(ballot(3, 2), 3));
    node.sync();
    assert_eq!(node.sent(), [(2, promise_above(3, ballot(3, 2), 3, vec![entry(8, 2, 9), entry(9, 2, 9)], None, 7))]);
    node.hear(2, prepare(ballot(3, 2), 4));
    node.answer_read_backs();
    let accepted = (4..=9).map(|slot| entry(slot, 2, 9)).collect();
    assert_eq!(node.sent(), [(2, promise_above(3, ballot(3, 2), 4, accepted, None, 7))], "who has the base gets all");
}

#[test]
fn a_candidate_keeps_nothing_of_what_it_must_catch_up_over() {
    let (mut told, mut spared) = (candidate(Disk::default()), candidate(Disk::default()));
    let b = ballot(1, 1);
    told.hear(2, promise(b, 1, (3..=6).map(|slot| entry(slot, 0, 9)).collect(), None, 5));
    spared.hear(2, promise(b, 1, vec![entry(6, 0, 9)], None, 5));
    assert_eq!(told.sent(), [(2, learn_request(1, 5))]);
    assert_eq!(told.paxos, spared.paxos);
}

#[test]
fn an_own_promise_of_many_pages_is_gathered_without_nesting() {
    let mut settings = config(1);
    settings.limits.message_bytes_max = 1;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    let slots = 50_000;
    node.hear(2, accept(ballot(1, 2), (1..=slots).map(|slot| entry(slot, 1, 2)).collect(), 0));
    node.sync();
    elect(&mut node);
    assert_eq!(node.last(), slots, "one slot a page");
}

#[test]
fn a_page_being_read_back_is_dropped_when_a_higher_ballot_comes() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk::with(&slots, ballot(2, 9), 0));
    node.hear(2, prepare(ballot(3, 2), 1));
    node.hear(3, prepare(ballot(4, 3), 1));
    node.sync();
    node.answer_read_backs();
    let to: Vec<u64> = node.sent().into_iter().map(|(to, _)| to).collect();
    assert_eq!(to, [3]);
}

#[test]
fn the_highest_ballot_of_each_slot_wins_and_holes_become_no_ops() {
    let mut node = candidate(Disk::with(&[(11, 2), (13, 1)], ballot(3, 9), 0));
    let b = ballot(4, 1);
    assert_eq!(node.promised(), b);
    node.hear(2, promise(b, 1, vec![entry(11, 3, 9), entry(14, 3, 9)], None, 0));
    assert_eq!(node.role(), Role::Leader);
    let proposed = proposed_to(&mut node, 3);
    assert_eq!(proposed.len(), 14);
    assert_eq!(proposed[10], under(&entry(11, 3, 9), b));
    assert_eq!(proposed[11].payload, Payload::Noop);
    assert_eq!(proposed[12], under(&entry(13, 1, 9), b));
    assert_eq!(proposed[13], under(&entry(14, 3, 9), b));
}

#[test]
fn a_re_proposed_slot_counts_the_own_disk_only_after_the_new_write() {
    let mut node = candidate(Disk::with(&[(1, 2)], ballot(2, 9), 0));
    let b = node.promised();
    node.hear(2, promise(b, 1, Vec::new(), None, 0));
    node.hear(2, accepted(b, &[(1, 1)], 0));
    assert_eq!(node.chosen(), 0, "the own copy is on disk, but under the earlier ballot");
    node.sync();
    assert_eq!(node.chosen(), 1);
}

#[test]
fn the_late_completion_of_an_earlier_write_of_the_slot_vouches_for_nothing() {
    let mut node = Node::blank(1);
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.hear(2, promise(ballot(1, 2), 1, Vec::new(), None, 0));
    node.step(Input::Campaign);
    let b = node.promised();
    node.hear(2, promise(b, 1, Vec::new(), None, 0));
    node.hear(3, promise(b, 1, vec![entry(1, 1, 2)], None, 0));
    assert_eq!(node.role(), Role::Leader, "by the promises of the others, before its own disk has done anything");
    node.hear(2, accepted(b, &[(1, 1)], 0));
    node.sync_some(1);
    assert_eq!(node.chosen(), 0);
    node.sync();
    assert_eq!(node.chosen(), 1);
}

#[test]
fn a_candidate_learns_what_a_promise_shows_to_be_chosen() {
    let mut node = candidate(Disk::default());
    let b = ballot(1, 1);
    node.hear(2, promise(b, 1, vec![entry(1, 0, 9), entry(2, 0, 9), entry(3, 0, 9)], None, 2));
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 2));
    let proposed: Vec<u64> = proposed_to(&mut node, 3).iter().map(|entry| entry.index.0).collect();
    assert_eq!(proposed, [3], "what is chosen is not proposed again");
}

#[test]
fn a_candidate_catches_up_to_what_is_compacted_before_it_leads() {
    let mut node = candidate(Disk::default());
    let b = ballot(1, 1);
    node.hear(2, promise(b, 1, vec![entry(4, 0, 9)], None, 3));
    assert_eq!(node.role(), Role::Candidate);
    assert_eq!(node.sent(), [(2, learn_request(1, 3))]);
    node.hear(2, learned(vec![entry(1, 0, 9), entry(2, 0, 9)]));
    assert_eq!(node.role(), Role::Candidate);
    assert_eq!(node.sent(), [(2, learn_request(3, 3))]);
    node.hear(2, learned(vec![entry(3, 0, 9)]));
    assert_eq!((node.role(), node.chosen(), node.last()), (Role::Leader, 3, 4));
}

#[test]
fn a_candidate_gathers_its_own_accepts_from_its_disk() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk::with(&slots, ballot(2, 9), 0));
    let b = elect(&mut node);
    assert_eq!(node.last(), 9);
    node.hear(2, accepted(b, &[(1, 9)], 0));
    node.sync();
    assert_eq!(node.chosen(), 9);
    assert_eq!(node.disk.entries[&LogIndex(1)], under(&entry(1, 2, 9), b));
}

/// Who is silent is asked as often as in Raft, so that a lost message costs both as much.
#[test]
fn what_was_lost_on_the_way_is_asked_for_again_and_a_page_that_may_come_from_a_disk_less_often() {
    let mut node = candidate(Disk::default());
    node.hear(2, promise(ballot(1, 1), 1, vec![entry(1, 0, 9)], Some(2), 0));
    node.sent();
    let ask = |from| {
        Message::Prepare(Prepare { ballot: ballot(1, 1), from: LogIndex(from), forced: true, released_by: None })
    };
    for _ in 0..3 {
        node.tick(10);
        assert_eq!(node.sent(), [(3, ask(1))], "what 2 was asked for may still be on its way");
    }
    node.tick(10);
    assert_eq!(node.sent(), [(2, ask(2)), (3, ask(1))]);
}

#[test]
#[should_panic(expected = "two values at 1 under")]
fn two_values_under_one_ballot_stop_the_node() {
    let mut node = candidate(Disk::with(&[(1, 2)], ballot(2, 9), 0));
    let mut other = (*entry(1, 2, 9)).clone();
    other.payload = Payload::Noop;
    let b = node.promised();
    assert_eq!(b.node, NodeId(1));
    node.hear(2, promise(b, 1, vec![other.into()], None, 0));
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
        let mut node = engine_multipaxos::MultiPaxos::recover(config, Recovered::blank(founders.clone()), now)
            .expect("a blank disk");
        node.step(now, Input::Campaign);
        node.take_effects();
        assert_eq!(node.status().role, role, "{store:?}");
    }
}
