//! Where the log gives way to a snapshot, one claim each, driven by hand: what is trimmed, who needs what is trimmed, what
//! an installation keeps, and what a candidate does that only a snapshot can bring up.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::{
    Disk, Node, accept, accepted, ballot, config, entry, heartbeat, leader, learn_request, learned, learned_of,
    prepare, promise, promise_above, under, voters,
};
use consensus_api::{
    AppliedMembership, Engine, Input, LogIndex, LogPosition, LogTime, MonoTime, NodeId, Payload, Role, SendSnapshot,
};
use engine_multipaxos::MultiPaxos;
use engine_multipaxos::message::Message;

#[test]
fn a_peer_that_lacks_what_is_trimmed_gets_a_snapshot_asked_for_once_in_a_while() {
    let mut disk = Disk::with(&[(1, 2), (2, 2), (3, 2)], ballot(2, 9), 3);
    disk.applied = LogIndex(3);
    let mut node = Node::with_disk(1, disk);
    let base = LogPosition { index: LogIndex(2), ballot: ballot(2, 9) };
    node.disk.trim(base);
    node.step(Input::Trimmed { base });
    node.hear(2, learn_request(1, 3));
    node.hear(2, learn_request(1, 3));
    assert_eq!(node.snapshots, [SendSnapshot { to: NodeId(2), at_least: LogIndex(2) }]);
    assert_eq!(node.sent(), [2, 2].map(|to| (to, learned_of(Vec::new(), 3))), "and is told how far the log is chosen");
    node.pass(100);
    node.hear(2, learn_request(1, 3));
    assert_eq!(node.snapshots.len(), 2);
    node.sent();
    node.hear(2, learn_request(3, 3));
    assert_eq!(node.sent(), [(2, learned(vec![entry(3, 2, 9)]))]);
}

fn snapshot(index: u64) -> Input<Message> {
    let base = LogPosition { index: LogIndex(index), ballot: ballot(4, 2) };
    Input::SnapshotInstalled {
        base,
        log_time: LogTime::default(),
        membership: AppliedMembership::founded(Arc::new(voters(&[1, 2, 3]))),
    }
}

#[test]
fn an_installed_snapshot_keeps_every_accept_above_it() {
    let mut node = Node::blank(1);
    let b = ballot(4, 2);
    node.hear(2, accept(b, vec![entry(7, 4, 2), entry(9, 4, 2)], 0));
    node.sync();
    node.step(snapshot(6));
    assert_eq!((node.chosen(), node.last()), (6, 9));
    node.hear(2, heartbeat(b, 9, 1));
    assert_eq!((node.chosen(), node.handed_out()), (7, vec![7]));
    node.step(snapshot(5));
    assert_eq!(node.chosen(), 7, "an older one changes nothing");
}

#[test]
fn after_an_installation_every_accept_above_it_is_there_whatever_stood_where_it_ends() {
    let mut disk = Disk::with(&[(1, 2), (3, 2), (4, 2), (6, 3)], ballot(3, 9), 1);
    let at = LogPosition { index: LogIndex(3), ballot: ballot(4, 2) };
    disk.trim(at);
    disk.applied = at.index;
    let mut recovered = disk.recovered(voters(&[1, 2, 3]));
    recovered.applied = at;
    recovered.log.runs.set(at.index, ballot(2, 9));
    let mut paxos = MultiPaxos::recover(config(1), recovered, MonoTime::default()).unwrap();
    let status = paxos.status();
    assert_eq!((status.base_index, status.commit_index, status.last_index), (LogIndex(3), LogIndex(3), LogIndex(6)));
    assert_eq!(paxos.take_effects().write, None, "and nothing of it is removed");
}

#[test]
fn what_was_to_be_handed_out_before_a_snapshot_in_the_same_batch_is_not() {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk::with(&slots, ballot(2, 9), 9));
    node.step(Input::Tick);
    let request = node.read_back.pop().unwrap();
    let entries = node.disk.read(request);
    node.paxos.step(node.now, Input::EntriesRead { id: request.id, entries });
    node.step(snapshot(7));
    assert_eq!(node.handed_out(), [8, 9]);
}

#[test]
fn a_leader_that_a_snapshot_overtakes_steps_down() {
    let mut node = leader();
    node.propose(1);
    node.step(snapshot(3));
    assert_eq!((node.role(), node.chosen()), (Role::Follower, 3));
}

#[test]
fn an_installed_snapshot_keeps_the_promise() {
    let mut node = Node::with_disk(1, Disk::with(&[(1, 2)], ballot(7, 3), 1));
    node.disk.trim(LogPosition { index: LogIndex(6), ballot: ballot(4, 2) });
    node.step(snapshot(6));
    assert!(node.unsynced.iter().all(|write| write.hard_state.is_none()));
    node.disk.applied = LogIndex(6);
    node.restart(node.unsynced.len());
    assert_eq!((node.promised(), node.chosen()), (ballot(7, 3), 6));
}

/// Node 1 of three, which knows 1 to 7 to be chosen, holds 8 and 9 too, and has trimmed the first 5.
fn compacted() -> Node {
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut node = Node::with_disk(1, Disk { applied: LogIndex(7), ..Disk::with(&slots, ballot(2, 9), 7) });
    let base = LogPosition { index: LogIndex(5), ballot: ballot(2, 9) };
    node.disk.trim(base);
    node.step(Input::Trimmed { base });
    node
}

#[test]
fn whatever_is_asked_at_compacted_slots_is_answered_with_chosen_through() {
    let (mut node, b) = (compacted(), ballot(3, 2));
    node.hear(2, prepare(b, 1));
    node.hear(2, accept(b, (1..=5).map(|slot| under(&entry(slot, 2, 9), b)).collect(), 0));
    node.hear(2, learn_request(1, 7));
    assert_eq!(node.unsynced_puts(), [], "nothing compacted is accepted anew");
    node.sync();
    let mut sent = node.sent();
    let answers = [
        promise_above(5, b, 1, vec![entry(8, 2, 9), entry(9, 2, 9)], None, 7),
        accepted(b, &[], 7),
        learned_of(Vec::new(), 7),
    ];
    for answer in answers {
        let at = sent.iter().position(|(to, message)| (*to, message) == (2, &answer));
        sent.remove(at.expect("an answer"));
    }
    assert_eq!(sent, []);
    assert_eq!(node.snapshots, [SendSnapshot { to: NodeId(2), at_least: LogIndex(5) }], "though it does not lead");
}

#[test]
fn a_candidate_behind_the_others_snapshots_leads_once_it_has_one_and_what_follows_it() {
    let mut node = Node::blank(1);
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    node.sent();
    node.hear(2, promise(b, 1, vec![entry(9, 0, 9)], None, 7));
    assert_eq!(node.sent(), [(2, learn_request(1, 7))]);
    node.hear(2, learned_of(Vec::new(), 7));
    node.tick(45);
    assert!(!node.sent().contains(&(2, learn_request(1, 7))), "it is not asked for over and over what it cannot tell");
    assert_eq!((node.role(), node.last()), (Role::Candidate, 0), "nothing that was compacted is taken for a hole");
    let base = LogPosition { index: LogIndex(6), ballot: ballot(0, 9) };
    let membership = AppliedMembership::founded(Arc::new(voters(&[1, 2, 3])));
    node.step(Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
    assert_eq!(node.sent(), [(2, learn_request(7, 7))]);
    node.hear(2, learned(vec![entry(7, 0, 9)]));
    assert_eq!((node.role(), node.chosen(), node.last()), (Role::Leader, 7, 9));
    node.sync();
    assert_eq!(node.disk.entries[&LogIndex(8)].payload, Payload::Noop);
    assert_eq!(node.disk.entries[&LogIndex(9)], under(&entry(9, 0, 9), b));
}

#[test]
fn a_candidate_learns_from_whose_log_still_holds_it_before_it_asks_for_a_snapshot() {
    let mut node = Node::on(config(1), voters(&[1, 2, 3, 4, 5]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    node.sent();
    node.hear(2, promise_above(6, b, 1, Vec::new(), None, 9));
    node.hear(3, promise_above(0, b, 1, Vec::new(), None, 7));
    assert_eq!(node.sent(), [(3, learn_request(1, 7))]);
    node.hear(3, learned((1..=7).map(|slot| entry(slot, 0, 9)).collect()));
    assert_eq!(node.role(), Role::Candidate, "somebody knows more");
    assert_eq!(node.sent(), [(2, learn_request(8, 9))], "which its log holds, now that the rest is here");
    node.hear(2, learned(vec![entry(8, 0, 9), entry(9, 0, 9)]));
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 9));
}

#[test]
fn what_an_acceptor_compacts_between_two_pages_is_not_taken_for_never_accepted() {
    let mut settings = config(1);
    settings.limits.message_bytes_max = 300;
    let slots: Vec<(u64, u64)> = (1..=9).map(|slot| (slot, 2)).collect();
    let mut acceptor = Node::on(settings, voters(&[1, 2, 3]), Disk::with(&slots, ballot(2, 9), 0));
    let mut candidate = Node::blank(2);
    candidate.hear(1, accept(ballot(2, 1), Vec::new(), 0));
    candidate.step(Input::Campaign);
    candidate.sync();
    let page = |acceptor: &mut Node, question: Message| {
        acceptor.hear(2, question);
        acceptor.answer_read_backs();
        acceptor.sync();
        acceptor.sent_to(2).pop().expect("a page")
    };
    let first = page(&mut acceptor, candidate.sent_to(1).pop().unwrap());
    candidate.hear(1, first);
    let Some(Message::Prepare(next)) = candidate.sent_to(1).pop() else { panic!("no question for the next page") };
    assert!((2..=5).contains(&next.from.0));

    acceptor.hear(3, learned((1..=7).map(|slot| entry(slot, 2, 9)).collect()));
    acceptor.step(Input::Tick);
    while !acceptor.read_back.is_empty() {
        acceptor.answer_read_backs();
    }
    let base = LogPosition { index: LogIndex(6), ballot: ballot(2, 9) };
    acceptor.disk.trim(base);
    acceptor.step(Input::Applied { through: LogIndex(7) });
    acceptor.step(Input::Trimmed { base });

    let second = page(&mut acceptor, Message::Prepare(next));
    let above = vec![entry(8, 2, 9), entry(9, 2, 9)];
    assert_eq!(second, promise_above(6, next.ballot, next.from.0, above, None, 7));
    candidate.hear(1, second);
    assert_eq!((candidate.role(), candidate.last()), (Role::Candidate, 0), "it fills no hole where there is none");
    assert_eq!(candidate.sent_to(1), [learn_request(1, 7)]);
}

#[test]
fn a_candidate_that_must_catch_up_does_not_gather_what_it_will_learn() {
    let slots: Vec<(u64, u64)> = (2..=90).map(|slot| (slot, 2)).collect();
    let mut settings = config(1);
    settings.limits.message_bytes_max = 1;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::with(&slots, ballot(2, 9), 0));
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    assert_eq!(node.read_back.len(), 1, "the first page of its own promise");
    node.hear(2, promise(b, 1, Vec::new(), None, 88));
    node.answer_read_backs();
    assert_eq!(node.read_back, [], "the next begins at 89, which is in the window");
    node.hear(2, learned((1..=88).map(|slot| entry(slot, 2, 9)).collect()));
    assert_eq!((node.role(), node.chosen(), node.last()), (Role::Leader, 88, 90));
}

#[test]
fn who_only_a_snapshot_can_bring_up_does_not_keep_the_other_from_leading() {
    let (mut ahead, mut behind) = (compacted(), Node::blank(2));
    for _ in 0..300 {
        for (to, message) in ahead.sent() {
            if to == 2 {
                behind.hear(1, message);
            }
        }
        for (to, message) in behind.sent() {
            if to == 1 {
                ahead.hear(2, message);
            }
        }
        for node in [&mut ahead, &mut behind] {
            node.tick(5);
            node.sync();
            node.answer_read_backs();
        }
    }
    assert_eq!((ahead.role(), behind.role()), (Role::Leader, Role::Follower));
    assert_eq!((ahead.chosen(), behind.chosen()), (9, 0), "it accepts what follows the base before it has a snapshot");
    assert!(ahead.snapshots.iter().all(|wanted| *wanted == SendSnapshot { to: NodeId(2), at_least: LogIndex(5) }));
    assert!((1..=16).contains(&ahead.snapshots.len()), "asked for once in an election timeout");
}
