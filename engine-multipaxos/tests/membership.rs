//! Members that change, one claim each: who decides in which slot, what a leader does before it proposes in slots of new
//! members, who confirms a read, who is told what and refused what; and whole changes, live.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use common::cluster::Cluster;
use common::{
    Disk, Node, accept, accepted, ballot, config, elect, entry, heartbeat, heartbeat_reply, learn_request, learned,
    learned_of, members, naming, pledging_reply, prepare, promise, request, voters,
};
use consensus_api::errands::Errand;
use consensus_api::hand_over::HandOver;
use consensus_api::{
    AppliedMembership, Ballot, Engine, Input, LeaseTiming, LogIndex, LogPosition, LogTime, Membership, NodeId, Payload,
    ReadMode, Refusal, Refused, Role,
};
use engine_multipaxos::message::{Message, PreCheck, PreCheckReply, ReadReport};

/// α in every test here but for those that say otherwise.
const WINDOW: u64 = 4;

fn node_of(id: u64, founders: Membership, disk: Disk) -> Node {
    let mut settings = config(id);
    settings.limits.reconfiguration_window = WINDOW;
    Node::on(settings, founders, disk)
}

/// Node 1 of voters 1, 2 and 3, which leads in 1.1 by the promises of 1 and 2; 4, 5 and 6 learn, and have answered.
fn leader() -> (Node, Ballot) {
    let mut node = node_of(1, members(&[1, 2, 3], &[4, 5, 6]), Disk::default());
    let b = elect(&mut node);
    for learner in [4, 5, 6] {
        node.hear(learner, heartbeat_reply(b, 0, 0));
    }
    (node, b)
}

fn change(node: &mut Node, sequence: u64, target: Membership) {
    node.step(Input::ChangeMembership { id: request(1, sequence), target: target.into() });
}

/// As [`leader`], having proposed these voters in slot 1, which is chosen.
fn leader_that_saw_chosen(target: Membership) -> (Node, Ballot) {
    let (mut node, b) = leader();
    change(&mut node, 1, target);
    assert_eq!(node.refused, []);
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    assert_eq!(node.chosen(), 1);
    node.sync();
    (node, b)
}

/// Node 2 accepts what is open, and more when there is more, until so much is chosen.
fn choose_through(node: &mut Node, b: Ballot, slot: u64) {
    while node.chosen() < slot {
        let (first, before) = (node.chosen() + 1, node.chosen());
        node.sync();
        node.hear(2, accepted(b, &[(first, node.last())], 0));
        assert!(node.chosen() > before);
    }
    node.sync();
}

fn refusals(node: &mut Node) -> Vec<Refusal> {
    std::mem::take(&mut node.refused).into_iter().map(|refused| refused.reason).collect()
}

fn version(node: &Node) -> u64 {
    node.paxos.status().membership.version
}

fn prepares(node: &mut Node) -> Vec<(u64, u64)> {
    let sent = node.sent();
    let asked = sent.iter().filter_map(|(to, message)| match message {
        Message::Prepare(prepare) => Some((*to, prepare.from.0)),
        _ => None,
    });
    asked.collect()
}

// Who decides.

#[test]
fn a_change_is_in_force_a_window_behind_its_slot_and_no_ops_bring_it_there() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 2], &[]));
    assert_eq!((version(&node), node.paxos.status().is_changing), (0, true));
    assert_eq!(node.last(), 3, "half of the window at a time");
    node.hear(2, accepted(b, &[(2, 3)], 1));
    node.sync();
    assert_eq!((node.last(), version(&node)), (4, 0), "and no more than it takes");
    node.hear(2, accepted(b, &[(4, 4)], 3));
    node.sync();
    assert_eq!((node.chosen(), version(&node)), (4, 1));
    node.hear(2, heartbeat_reply(b, 0, 4));
    assert!(!node.paxos.status().is_changing);
}

#[test]
fn a_change_is_done_when_whoever_must_know_it_knows_it_after_a_crash_too() {
    let mut node = node_of(1, members(&[1, 2], &[]), Disk::default());
    let b = elect(&mut node);
    change(&mut node, 1, members(&[1], &[]));
    node.sync();
    for (first, last) in [(1, 1), (2, 3), (4, 4)] {
        node.hear(2, accepted(b, &[(first, last)], 0));
        if last < 4 {
            node.sync();
        }
    }
    assert_eq!(
        (version(&node), node.paxos.status().is_changing),
        (1, true),
        "if it stopped now 2 would have to tell it"
    );
    node.sync();
    assert!(!node.paxos.status().is_changing);
    node.restart(0);
    node.step(Input::Tick);
    node.sync();
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 4));
}

#[test]
fn who_is_told_that_others_are_in_force_answers_when_its_disk_knows_it() {
    let mut node = node_of(2, members(&[1, 2, 3], &[]), Disk::default());
    let log = vec![naming(1, 1, 1, 1, members(&[1, 2], &[])), entry(2, 1, 1), entry(3, 1, 1), entry(4, 1, 1)];
    node.hear(1, accept(ballot(1, 1), log, 0));
    node.sync();
    node.sent();
    node.hear(1, heartbeat(ballot(1, 1), 4, 1));
    assert_eq!((version(&node), node.sent()), (1, vec![]));
    node.sync();
    assert_eq!(node.disk.commit, LogIndex(4));
    assert_eq!(node.sent(), [(1, heartbeat_reply(ballot(1, 1), 1, 4))]);
}

#[test]
fn each_slot_is_decided_by_those_of_its_slot_also_if_it_was_open_when_the_members_changed() {
    let (mut node, b) = leader();
    change(&mut node, 1, members(&[1, 4, 5], &[]));
    node.propose(2);
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    node.hear(4, promise(b, 5, vec![], None, 1));
    node.sync();
    for learner in [4, 5] {
        node.hear(learner, accepted(b, &[(2, 3)], 1));
    }
    assert_eq!(node.chosen(), 1, "2 to 4 are slots of the old members");
    choose_through(&mut node, b, 4);
    assert_eq!(version(&node), 1);
    node.propose(3);
    node.sync();
    for old in [2, 3] {
        node.hear(old, accepted(b, &[(5, 5)], 4));
    }
    assert_eq!(node.chosen(), 4, "5 is not");
    node.hear(5, accepted(b, &[(5, 5)], 4));
    assert_eq!(node.chosen(), 5);
}

#[test]
fn a_learner_counts_for_nothing() {
    let (mut node, b) = leader();
    node.propose(1);
    node.sync();
    for learner in [4, 5, 6] {
        node.hear(learner, accepted(b, &[(1, 1)], 0));
        node.hear(learner, heartbeat_reply(b, 0, 0));
    }
    assert_eq!(node.chosen(), 0);
}

#[test]
fn nobody_proposes_further_than_a_window_above_what_is_chosen() {
    let (mut node, b) = leader();
    for sequence in 1..=5 {
        node.propose(sequence);
    }
    assert_eq!((node.last(), refusals(&mut node)), (4, vec![Refusal::Busy]));
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    node.propose(6);
    assert_eq!(node.last(), 5);
}

#[test]
fn of_two_changes_that_were_meant_for_the_same_members_the_later_is_void() {
    let mut node = node_of(1, members(&[1, 2, 3], &[4]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let (first, second) = (naming(1, 0, 2, 1, members(&[1, 2], &[])), naming(2, 0, 3, 1, members(&[1, 3], &[4])));
    let b = node.promised();
    node.hear(2, promise(b, 1, vec![first, second], None, 0));
    choose_through(&mut node, b, 4);
    let members = node.paxos.status().membership;
    assert_eq!((node.chosen(), members.version), (4, 1));
    assert_eq!(members.voters, BTreeSet::from([1, 2].map(NodeId)));
}

#[test]
fn a_node_that_restarts_between_a_change_and_its_coming_into_force_knows_who_decides_until_then() {
    let founders = members(&[1, 2, 3], &[4]);
    let change = naming(1, 1, 9, 1, members(&[1, 2, 4], &[]));
    let mut from_log = Disk::with(&[(2, 1)], ballot(1, 9), 2);
    from_log.entries.insert(LogIndex(1), change.clone());
    let mut from_tables = from_log.clone();
    let mut applied = AppliedMembership::founded(founders.clone().into());
    let Payload::Membership { membership, .. } = &change.payload else { unreachable!() };
    assert!(applied.take(LogIndex(1), membership));
    from_tables.membership = Some(applied);
    from_tables.applied = LogIndex(2);
    from_tables.trim(LogPosition { index: LogIndex(2), ballot: ballot(1, 9) });
    for disk in [from_log, from_tables] {
        let mut node = node_of(2, founders.clone(), disk);
        assert_eq!((version(&node), node.paxos.status().is_changing), (0, true));
        node.hear(9, accept(ballot(1, 9), vec![entry(3, 1, 9), entry(4, 1, 9)], 4));
        assert_eq!((version(&node), node.paxos.status().is_changing), (1, false));
    }
}

#[test]
fn a_snapshot_brings_its_members_and_what_was_accepted_above_it_may_bring_others() {
    let mut node = node_of(2, members(&[1, 2, 3], &[]), Disk::default());
    let second = naming(12, 1, 9, 2, members(&[2], &[]));
    node.hear(9, accept(ballot(1, 9), vec![second, entry(13, 1, 9)], 0));
    let mut membership = AppliedMembership::founded(members(&[1, 2, 3], &[]).into());
    membership.take(LogIndex(6), &Membership { version: 1, ..members(&[2, 3], &[]) }.into());
    let base = LogPosition { index: LogIndex(11), ballot: ballot(1, 9) };
    node.step(Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
    assert_eq!(version(&node), 1);
    node.hear(9, accept(ballot(1, 9), vec![entry(14, 1, 9), entry(15, 1, 9)], 15));
    assert_eq!(version(&node), 2);
}

// Slots of new members.

#[test]
fn a_leader_proposes_nothing_in_slots_of_new_members_before_a_quorum_of_them_has_promised() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 4, 5], &[]));
    assert_eq!(prepares(&mut node), [(4, 5), (5, 5)], "from their first slot on");
    for sequence in 2..=5 {
        node.propose(sequence);
    }
    assert_eq!((node.last(), refusals(&mut node)), (4, vec![Refusal::Busy]));
    node.sync();
    node.hear(2, accepted(b, &[(2, 4)], 1));
    node.propose(6);
    assert_eq!((node.chosen(), node.last(), refusals(&mut node)), (4, 4, vec![Refusal::Busy]));
    node.hear(5, promise(b, 5, vec![], None, 0));
    node.propose(7);
    assert_eq!((node.last(), refusals(&mut node)), (5, vec![]));
}

#[test]
fn they_are_asked_again_until_they_answer() {
    let (mut node, _) = leader_that_saw_chosen(members(&[4, 5, 6], &[]));
    node.sent();
    node.tick(10);
    assert_eq!(prepares(&mut node), [(4, 5), (5, 5), (6, 5)]);
}

#[test]
fn whoever_has_promised_at_the_election_is_not_asked_again() {
    let (mut node, _) = leader_that_saw_chosen(members(&[1, 2, 3], &[4]));
    assert_eq!(prepares(&mut node), [], "1 and 2 have, for every slot");
    assert_eq!(node.last(), 3, "and the change is brought into force");
}

#[test]
fn what_new_members_have_accepted_under_an_earlier_ballot_is_found_and_proposed_again() {
    let (mut node, b) = leader_that_saw_chosen(members(&[4, 5, 6], &[]));
    let (found, older) = (entry(6, 0, 5), entry(6, 0, 4));
    node.hear(4, promise(b, 5, vec![older], None, 1));
    node.hear(5, promise(b, 5, vec![found.clone()], None, 1));
    choose_through(&mut node, b, 4);
    assert_eq!((node.chosen(), node.last()), (4, 6));
    assert_eq!(node.disk.entries[&LogIndex(5)].payload, Payload::Noop);
    assert_eq!(node.disk.entries[&LogIndex(6)].payload, found.payload);
    assert_eq!(node.disk.entries[&LogIndex(6)].ballot, b);
}

#[test]
fn what_new_members_know_to_be_chosen_is_learnt_before_anything_is_proposed_there() {
    let mut node = node_of(1, members(&[1, 2, 3], &[4, 5, 6]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    let mut log = vec![naming(1, 0, 2, 1, members(&[4, 5, 6], &[]))];
    log.extend((2..=4).map(|slot| entry(slot, 0, 2)));
    node.hear(2, promise(b, 1, log.clone(), None, 0));
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    node.sent();
    node.hear(4, promise(b, 5, vec![], None, 7));
    node.hear(5, promise(b, 5, vec![], None, 1));
    assert_eq!(node.last(), 4);
    assert!(node.sent_to(4).contains(&learn_request(2, 7)));
    log.extend((5..=7).map(|slot| entry(slot, 0, 2)));
    node.hear(4, learned_of(log[1..].to_vec(), 7));
    assert_eq!((node.role(), node.chosen(), version(&node)), (Role::Leader, 7, 1));
    read(&mut node, 9, ReadMode::Index);
    node.sent();
    node.tick(10);
    let round = node.sent_to(5).into_iter().find_map(|message| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    for new in [4, 5] {
        node.hear(new, heartbeat_reply(b, round.unwrap(), 7));
    }
    assert_eq!(node.reads_ready[0].index, LogIndex(7));
}

#[test]
fn a_new_member_that_knows_more_and_is_gone_holds_up_nothing_that_the_others_can_do_without() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 4, 5], &[]));
    node.hear(4, promise(b, 5, vec![], None, 7));
    node.hear(5, promise(b, 5, vec![], None, 1));
    lose(&mut node, b, 4, &[2, 3, 5]);
    assert!(prepares(&mut node).contains(&(5, 5)), "for something may have been left out");
    node.hear(5, promise(b, 5, vec![], None, 1));
    choose_through(&mut node, b, 4);
    node.propose(9);
    assert_eq!(node.last(), 5);
}

/// For longer than an election timeout nothing is heard of `lost`, and these answer.
fn lose(node: &mut Node, b: Ballot, lost: u64, others: &[u64]) {
    for round in 1..=12 {
        node.tick(10);
        for peer in others {
            assert_ne!(*peer, lost);
            node.hear(*peer, heartbeat_reply(b, round, 1));
        }
    }
}

/// 2 has led {1, 4, 5}, and had 5 to 7 chosen by 4 and 5; only 4 was told so.
#[test]
fn what_was_to_be_learnt_from_a_new_member_that_is_gone_is_gathered_from_the_others() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 4, 5], &[]));
    let found: Vec<_> = (5..=7).map(|slot| entry(slot, 0, 2)).collect();
    node.hear(4, promise(b, 5, found.clone(), None, 7));
    node.hear(5, promise(b, 5, found.clone(), None, 1));
    for sequence in 2..=4 {
        node.propose(sequence);
    }
    lose(&mut node, b, 4, &[2, 3, 5]);
    choose_through(&mut node, b, 4);
    assert_eq!(node.last(), 4, "5 reported values that were not kept");
    node.hear(5, promise(b, 5, found.clone(), None, 1));
    node.sync();
    assert_eq!(node.last(), 7);
    for entry in found {
        assert_eq!(node.disk.entries[&entry.index].payload, entry.payload);
    }
}

#[test]
fn a_candidate_that_knows_of_a_change_needs_the_promises_of_both() {
    let mut disk = Disk::with(&[], ballot(1, 9), 1);
    disk.entries.insert(LogIndex(1), naming(1, 1, 9, 1, members(&[1, 4, 5], &[])));
    let mut node = node_of(1, members(&[1, 2, 3], &[4, 5]), disk);
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    assert_eq!(prepares(&mut node), [(2, 2), (3, 2), (4, 2), (5, 2)]);
    node.hear(2, promise(b, 2, vec![], None, 1));
    assert_eq!(node.role(), Role::Candidate);
    node.hear(5, promise(b, 2, vec![], None, 1));
    assert_eq!(node.role(), Role::Leader);
    for sequence in 1..=4 {
        node.propose(sequence);
    }
    assert_eq!(refusals(&mut node), [Refusal::Busy, Refusal::Busy], "two no-ops are open: nobody else need promise");
    assert_eq!(node.last(), 5);
}

#[test]
fn a_candidate_that_learns_of_a_change_asks_those_it_brings() {
    let mut node = node_of(1, members(&[1, 2, 3], &[4, 5, 6]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    node.hear(2, promise(b, 1, vec![], None, 1));
    node.sent();
    node.hear(2, learned(vec![naming(1, 0, 2, 1, members(&[1, 4, 5], &[]))]));
    node.sync();
    assert_eq!((node.role(), prepares(&mut node)), (Role::Candidate, vec![(4, 2), (5, 2)]));
    node.hear(4, promise(b, 2, vec![], None, 0));
    assert_eq!(node.role(), Role::Leader);
}

// Reads.

/// The leader has four slots open, of which the first brings 4, 5 and 6 in place of 1, 2 and 3.
fn about_to_be_replaced() -> (Node, Ballot) {
    let (mut node, b) = leader();
    change(&mut node, 1, members(&[4, 5, 6], &[]));
    for sequence in 2..=4 {
        node.propose(sequence);
    }
    node.sync();
    node.tick(10);
    (node, b)
}

fn read(node: &mut Node, sequence: u64, mode: ReadMode) {
    node.step(Input::Read { id: request(1, sequence), mode });
}

#[test]
fn a_read_is_confirmed_by_those_who_decide_on_the_slot_behind_it_whoever_is_in_force_by_then() {
    let (mut node, b) = about_to_be_replaced();
    read(&mut node, 9, ReadMode::Index);
    node.hear(2, accepted(b, &[(1, 4)], 0));
    assert_eq!((node.chosen(), version(&node)), (4, 1));
    for new in [4, 5] {
        node.hear(new, heartbeat_reply(b, 2, 0));
    }
    assert_eq!(node.reads_ready, [], "what 2 and 3 chose under another ballot 4 and 5 know nothing of");
    node.sent();
    for new in [4, 5] {
        node.hear(new, promise(b, 5, vec![], None, 0));
    }
    let rounds = node.sent_to(4).into_iter().filter_map(|message| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    let round = rounds.max().unwrap();
    for new in [4, 5] {
        node.hear(new, heartbeat_reply(b, round, 4));
    }
    assert_eq!(node.reads_ready.iter().map(|read| read.index.0).collect::<Vec<_>>(), [4], "from where they decide");
}

#[test]
fn a_lease_is_counted_among_those_who_decide_on_the_next_slot() {
    let mut settings = config(1);
    settings.limits.reconfiguration_window = WINDOW;
    settings.timing.lease = Some(LeaseTiming { clock_drift_ppm: 10_000 });
    let mut node = Node::on(settings, members(&[1, 2, 3], &[4, 5]), Disk::default());
    let b = elect(&mut node);
    for learner in [4, 5] {
        node.hear(learner, heartbeat_reply(b, 0, 0));
    }
    change(&mut node, 1, members(&[1, 4, 5], &[]));
    assert_eq!(node.refused, []);
    for sequence in 2..=4 {
        node.propose(sequence);
    }
    node.sync();
    node.tick(10);
    node.hear(2, pledging_reply(b, 1, 0, 100));
    node.hear(2, pledging_reply(b, 2, 0, 100));
    read(&mut node, 8, ReadMode::Lease);
    assert_eq!(std::mem::take(&mut node.reads_ready).len(), 1);
    node.hear(4, promise(b, 5, vec![], None, 0));
    node.hear(2, accepted(b, &[(1, 4)], 0));
    node.hear(4, promise(b, 5, vec![], None, 0));
    assert_eq!(version(&node), 1);
    read(&mut node, 9, ReadMode::Lease);
    assert_eq!(node.reads_ready, [], "2 has pledged, and decides on nothing any more");
    node.hear(5, pledging_reply(b, 2, 4, 100));
    read(&mut node, 10, ReadMode::Lease);
    assert!(node.reads_ready.iter().any(|read| read.id == request(1, 10)));
}

#[test]
fn who_owes_a_lease_to_another_follows_a_leader_and_promises_it_nothing_until_that_is_over() {
    let mut settings = config(4);
    settings.limits.reconfiguration_window = WINDOW;
    settings.timing.lease = Some(LeaseTiming { clock_drift_ppm: 10_000 });
    let mut node = Node::on(settings, members(&[1, 2, 3], &[4, 5, 6]), Disk::default());
    node.hear(1, heartbeat(ballot(1, 1), 0, 1));
    node.pass(50);
    node.hear(2, heartbeat(ballot(2, 2), 0, 1));
    node.sync();
    node.sent();
    assert_eq!(node.paxos.status().leader, Some(NodeId(2)));
    node.pass(49);
    node.hear(2, prepare(ballot(2, 2), 5));
    assert_eq!(node.sent(), [], "1 may count on it for another millisecond");
    node.pass(1);
    node.hear(2, prepare(ballot(2, 2), 5));
    assert_eq!(node.sent(), [(2, promise(ballot(2, 2), 5, vec![], None, 0))]);
}

#[test]
fn a_quorum_read_waits_until_it_knows_who_decides_on_the_slot_behind_it_and_asks_them() {
    let report = |accepted, chosen| {
        let (accepted_through, chosen_through) = (LogIndex(accepted), LogIndex(chosen));
        Message::ReadReport(ReadReport { boot: 1, round: 1, accepted_through, chosen_through })
    };
    let mut node = node_of(3, members(&[1, 2, 3], &[4, 5, 6]), Disk::default());
    node.step(Input::Read { id: request(3, 1), mode: ReadMode::Quorum });
    for old in [1, 2] {
        node.hear(old, report(4, 4));
    }
    assert_eq!(node.sent_to(1).last(), Some(&learn_request(1, 4)));
    let log = [naming(1, 1, 1, 1, members(&[4, 5, 6], &[])), entry(2, 1, 1), entry(3, 1, 1), entry(4, 1, 1)];
    node.hear(1, learned_of(log.to_vec(), 4));
    node.sync();
    assert_eq!((node.chosen(), node.reads_ready.len()), (4, 0), "it knows now that 1 and 2 had no say behind 4");
    node.tick(10);
    let asked = node.sent();
    let is_question = |(_, message): &&(u64, Message)| matches!(message, Message::ReadQuery(_));
    assert_eq!(asked.iter().filter(is_question).map(|(to, _)| *to).collect::<Vec<_>>(), [4, 5, 6]);
    node.hear(4, report(6, 5));
    node.hear(5, report(5, 5));
    node.hear(4, learned_of(vec![entry(5, 2, 4), entry(6, 2, 4)], 6));
    assert_eq!(node.reads_ready.iter().map(|read| read.index.0).collect::<Vec<_>>(), [6]);
}

// What is refused.

#[test]
fn a_change_waits_until_the_leader_knows_what_it_took_over_to_be_chosen() {
    let mut node = node_of(1, members(&[1, 2, 3], &[4]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    node.hear(2, promise(b, 1, vec![entry(1, 0, 2)], None, 0));
    change(&mut node, 1, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), [Refusal::NotReady]);
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    node.hear(4, heartbeat_reply(b, 0, 1));
    change(&mut node, 2, members(&[1, 2, 3, 4], &[]));
    assert_eq!((refusals(&mut node), node.last()), (vec![], 2));
}

#[test]
fn a_second_change_waits_until_the_first_is_in_force() {
    let (mut node, b) = leader();
    let target = |version| Membership { version, ..members(&[1, 2, 3], &[4]) };
    change(&mut node, 1, target(0));
    change(&mut node, 2, target(0));
    assert_eq!(refusals(&mut node), [Refusal::ChangePending], "it is open");
    node.sync();
    node.hear(2, accepted(b, &[(1, 1)], 0));
    change(&mut node, 3, target(1));
    assert_eq!(refusals(&mut node), [Refusal::ChangePending], "it is chosen and not in force");
    node.sync();
    node.hear(2, accepted(b, &[(2, 3)], 0));
    node.sync();
    node.hear(2, accepted(b, &[(4, 4)], 0));
    change(&mut node, 4, target(0));
    assert_eq!(refusals(&mut node), [Refusal::MembershipMoved { asked: 0, present: 1 }]);
    change(&mut node, 5, target(1));
    assert_eq!((refusals(&mut node), node.last()), (vec![], 5));
}

#[test]
fn a_change_that_an_earlier_leader_left_behind_and_nobody_proposes_again_is_not_under_way() {
    let orphan = naming(1, 1, 9, 1, members(&[1], &[]));
    let mut follower = node_of(3, members(&[1, 2, 3], &[]), Disk::default());
    follower.hear(9, accept(ballot(1, 9), vec![orphan.clone()], 0));
    assert!(follower.paxos.status().is_changing);
    follower.hear(2, heartbeat(ballot(2, 2), 0, 1));
    assert!(!follower.paxos.status().is_changing);

    // Its own promise is read back from the disk, and 2 and 3 are faster.
    let mut disk = Disk::with(&[(2, 1), (3, 1), (4, 1)], ballot(1, 9), 0);
    disk.entries.insert(LogIndex(1), orphan);
    let mut node = node_of(1, members(&[1, 2, 3], &[]), disk);
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    for voter in [2, 3] {
        node.hear(voter, promise(b, 1, vec![], None, 0));
    }
    assert_eq!((node.role(), node.paxos.status().is_changing), (Role::Leader, false));
    change(&mut node, 1, members(&[1, 2], &[]));
    assert_eq!(refusals(&mut node), []);
}

#[test]
fn whoever_is_to_vote_is_a_learner_with_the_same_disk_that_has_nearly_everything() {
    let slots: Vec<(u64, u64)> = (1..=1_100).map(|slot| (slot, 1)).collect();
    let mut node = node_of(1, members(&[1, 2, 3], &[4]), Disk::with(&slots, ballot(1, 9), 1_100));
    let b = elect(&mut node);
    change(&mut node, 1, members(&[1, 2, 3, 7], &[]));
    assert!(matches!(refusals(&mut node).as_slice(), [Refusal::InvalidMembership { .. }]), "7 is no member");
    let mut other_disk = members(&[1, 2, 3, 4], &[]);
    other_disk.members.get_mut(&NodeId(4)).unwrap().store = consensus_api::StoreId(44);
    change(&mut node, 2, other_disk);
    assert!(matches!(refusals(&mut node).as_slice(), [Refusal::InvalidMembership { .. }]), "4 has another disk");
    change(&mut node, 3, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), [Refusal::LearnerLags { node: NodeId(4), behind: 1_100 }]);
    node.hear(4, heartbeat_reply(b, 0, 76));
    assert_eq!(node.paxos.status().progress[&NodeId(4)], LogIndex(76));
    change(&mut node, 4, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), []);
}

#[test]
fn a_learner_that_never_answered_or_is_silent_does_not_come_to_vote_however_short_the_log_is() {
    let mut node = node_of(1, members(&[1, 2, 3], &[4]), Disk::default());
    let b = elect(&mut node);
    let lags = [Refusal::LearnerLags { node: NodeId(4), behind: 0 }];
    change(&mut node, 1, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), lags, "it never answered");
    node.hear(4, heartbeat_reply(b, 0, 0));
    for round in 1..=10 {
        node.tick(10);
        node.hear(2, heartbeat_reply(b, round, 0));
    }
    change(&mut node, 2, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), lags, "it is silent");
    node.hear(4, heartbeat_reply(b, 10, 0));
    change(&mut node, 3, members(&[1, 2, 3, 4], &[]));
    assert_eq!(refusals(&mut node), []);
}

#[test]
fn no_change_leaves_voters_of_whom_no_majority_answers() {
    let (mut node, b) = leader();
    for round in 1..=10 {
        node.tick(10);
        node.hear(2, heartbeat_reply(b, round, 0));
    }
    change(&mut node, 1, members(&[1, 3], &[]));
    assert_eq!(refusals(&mut node), [Refusal::NoLiveMajority { voters: 2, answering: 1 }]);
    change(&mut node, 2, members(&[1, 2], &[]));
    assert_eq!(refusals(&mut node), []);
}

#[test]
fn a_forwarded_change_is_admitted_once_and_only_for_the_leaders_ballot() {
    let (mut node, b) = leader();
    let target = |version| Membership { version, ..members(&[1, 2, 3], &[]) }.into();
    let ask = |ballot, sequence, version| {
        Message::Errand(Errand::ChangeMembership { ballot, id: request(3, sequence), target: target(version) })
    };
    node.hear(3, ask(ballot(7, 1), 1, 0));
    node.hear(3, ask(b, 2, 6));
    node.hear(3, ask(b, 2, 0));
    let refused = vec![Refused { id: request(3, 2), reason: Refusal::MembershipMoved { asked: 6, present: 0 } }];
    assert_eq!((node.sent_to(3), node.last()), (vec![Message::Errand(Errand::Refuse { refused })], 0));
    node.hear(3, ask(b, 3, 0));
    assert_eq!(node.last(), 1);
}

// Who is told.

#[test]
fn a_candidate_that_was_removed_and_does_not_know_it_is_told_what_was_chosen_and_helped_by_nobody() {
    let log = [naming(1, 1, 2, 1, members(&[2, 3], &[])), entry(2, 1, 2), entry(3, 1, 2), entry(4, 1, 2)];
    let mut node = node_of(3, members(&[1, 2, 3], &[]), Disk::default());
    node.hear(2, accept(ballot(1, 2), log.to_vec(), 4));
    node.sync();
    node.tick(200);
    node.sent();
    let promised = node.promised();
    node.hear(1, Message::PreCheck(PreCheck { ballot: ballot(9, 1), from: LogIndex(2) }));
    let told = node.sent_to(1);
    let refused = PreCheckReply { ballot: ballot(9, 1), promised, granted: false };
    assert!(told.contains(&Message::PreCheckReply(refused)) && told.contains(&learned_of(log[1..].to_vec(), 4)));
    node.hear(1, prepare(ballot(9, 1), 2));
    assert_eq!((node.promised(), node.sent_to(1)), (promised, vec![learned_of(log[1..].to_vec(), 4)]));
    node.hear(1, prepare(ballot(9, 1), 5));
    assert_eq!(node.promised(), ballot(9, 1), "who knows as much may know better who votes");
}

#[test]
fn whoever_knows_that_it_was_removed_asks_what_is_chosen_and_never_campaigns() {
    let log = vec![naming(1, 1, 2, 1, members(&[2, 3], &[])), entry(2, 1, 2), entry(3, 1, 2), entry(4, 1, 2)];
    let mut node = node_of(1, members(&[1, 2, 3], &[]), Disk::default());
    node.hear(2, accept(ballot(1, 2), log, 4));
    node.sync();
    node.sent();
    node.tick(10_000);
    node.step(Input::Campaign);
    let asked = [2, 3].map(|voter| (voter, learn_request(5, u64::MAX)));
    assert_eq!((node.role(), node.sent()), (Role::Learner, asked.to_vec()));
}

#[test]
fn a_learner_that_hears_nobody_asks_what_is_chosen_and_may_find_that_it_votes() {
    let mut node = node_of(4, members(&[1, 2, 3], &[4]), Disk::default());
    node.tick(200);
    assert_eq!(node.sent_to(3), [learn_request(1, u64::MAX)]);
    node.hear(3, learned_of(vec![naming(1, 1, 2, 1, members(&[4], &[]))], 4));
    assert_eq!((node.role(), node.sent_to(3)), (Role::Follower, vec![learn_request(2, 4)]));
}

// Who is left alone.

/// Node 1 of voters 1, 2 and 3, and what 2 has chosen in 1.2: a change that leaves 1 alone, and everything before that is in
/// force.
fn about_to_be_alone() -> (Node, Vec<consensus_api::SharedEntry>) {
    let log = vec![naming(1, 1, 2, 1, members(&[1], &[])), entry(2, 1, 2), entry(3, 1, 2), entry(4, 1, 2)];
    let mut node = node_of(1, members(&[1, 2, 3], &[]), Disk::default());
    node.hear(2, accept(ballot(1, 2), log[..1].to_vec(), 1));
    node.sync();
    (node, log)
}

#[test]
fn whoever_asks_around_when_it_comes_to_be_alone_leads_at_once() {
    let (mut node, log) = about_to_be_alone();
    node.tick(200);
    assert_eq!(node.role(), Role::Candidate);
    node.hear(2, learned(log[1..].to_vec()));
    node.step(Input::Tick);
    node.sync();
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 4));
}

#[test]
fn a_candidate_that_is_alone_does_not_wait_for_ever_for_whom_it_wanted_to_learn_from() {
    let (mut node, log) = about_to_be_alone();
    node.hear(2, accept(ballot(1, 2), (5..=7).map(|slot| entry(slot, 1, 2)).collect(), 1));
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    node.hear(2, promise(b, 2, log[1..].to_vec(), None, 7));
    node.sync();
    assert_eq!((node.role(), node.chosen()), (Role::Candidate, 4), "alone from here on; 2 knows more, and is gone");
    for _ in 0..30 {
        node.tick(10);
        node.sync();
    }
    assert_eq!((node.role(), node.chosen()), (Role::Leader, 7));
}

#[test]
fn whoever_is_alone_follows_the_leader_that_it_hears_until_that_hands_over_or_is_silent() {
    let alone = || {
        let (mut node, log) = about_to_be_alone();
        node.hear(2, accept(ballot(1, 2), log[1..].to_vec(), 4));
        node.sync();
        assert_eq!((version(&node), node.role()), (1, Role::Follower));
        node
    };
    let mut node = alone();
    node.tick(10);
    assert_eq!(node.paxos.status().leader, Some(NodeId(2)));
    node.hear(2, Message::HandOver(HandOver { ballot: ballot(1, 2) }));
    node.sync();
    assert_eq!(node.role(), Role::Leader);
    let mut node = alone();
    node.tick(200);
    node.sync();
    assert_eq!(node.role(), Role::Leader);
}

// Who is in touch.

#[test]
fn contacts_are_all_who_have_a_say_and_the_removed_until_they_know() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 2], &[4]));
    let contacts =
        |node: &Node| -> Vec<u64> { node.contacts.as_ref().unwrap().members.keys().map(|node| node.0).collect() };
    assert_eq!(contacts(&node), [1, 2, 3, 4, 5, 6], "3, 5 and 6 until the change is in force");
    node.hear(2, accepted(b, &[(2, 3)], 1));
    node.sync();
    node.hear(2, accepted(b, &[(4, 4)], 3));
    node.sync();
    node.hear(2, accepted(b, &[(4, 4)], 3));
    assert_eq!((version(&node), contacts(&node)), (1, vec![1, 2, 3, 4, 5, 6]));
    node.hear(3, heartbeat_reply(b, 0, 4));
    assert_eq!(contacts(&node), [1, 2, 4, 5, 6], "3 knows");
    for round in 1..=20 {
        node.tick(10);
        node.hear(2, heartbeat_reply(b, round, 4));
    }
    assert_eq!(contacts(&node), [1, 2, 4], "5 and 6 had their time");
}

#[test]
fn who_was_removed_and_comes_back_with_another_disk_is_known_to_have_nothing() {
    let (mut node, b) = leader_that_saw_chosen(members(&[1, 2], &[]));
    choose_through(&mut node, b, 4);
    node.hear(3, heartbeat_reply(b, 0, 3));
    let progress = |node: &Node| node.paxos.status().progress.get(&NodeId(3)).copied();
    assert_eq!((version(&node), progress(&node)), (1, Some(LogIndex(3))), "it does not know yet that it was removed");
    let mut renewed = Membership { version: 1, ..members(&[1, 2], &[3]) };
    renewed.members.get_mut(&NodeId(3)).unwrap().store = consensus_api::StoreId(33);
    node.hear(2, heartbeat_reply(b, 0, 4));
    change(&mut node, 2, renewed);
    assert_eq!(refusals(&mut node), []);
    choose_through(&mut node, b, 5);
    assert_eq!(progress(&node), Some(LogIndex::ZERO));
}

/// 3 has promised with a disk that is gone by the time that the members whom the candidate learns of have it vote.
#[test]
fn what_was_promised_on_an_earlier_disk_elects_nobody() {
    let renewed = |voting: &[u64], learning: &[u64]| {
        let mut members = members(voting, learning);
        members.members.get_mut(&NodeId(3)).unwrap().store = consensus_api::StoreId(33);
        members
    };
    let mut node = node_of(1, members(&[1, 2, 3], &[]), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let b = node.promised();
    let mut log = vec![naming(1, 0, 2, 1, members(&[1, 2], &[]))];
    log.extend((2..=4).map(|slot| entry(slot, 0, 2)));
    log.push(naming(5, 0, 2, 2, renewed(&[1, 2], &[3])));
    log.extend((6..=8).map(|slot| entry(slot, 0, 2)));
    log.push(naming(9, 0, 2, 3, renewed(&[1, 2, 3], &[])));
    log.extend((10..=12).map(|slot| entry(slot, 0, 2)));
    node.hear(3, promise(b, 1, vec![], None, 12));
    node.hear(3, learned_of(log, 12));
    node.sync();
    assert_eq!((version(&node), node.role()), (3, Role::Candidate), "3 has to promise with the disk that votes");
    let from = prepares(&mut node).into_iter().rfind(|(to, _)| *to == 3);
    node.hear(3, promise(b, from.unwrap().1, vec![], None, 12));
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_removed_leader_steps_down_where_nobody_is_there_to_lead() {
    let (mut node, b) = about_to_be_replaced();
    node.hear(2, accepted(b, &[(1, 4)], 0));
    assert_eq!((version(&node), node.role()), (1, Role::Leader), "4, 5 and 6 may yet answer");
    for round in 2..=11 {
        node.tick(10);
        for new in [4, 5] {
            node.hear(new, heartbeat_reply(b, round, 0));
        }
    }
    assert_eq!(node.role(), Role::Learner);
}

#[test]
fn leaders_are_heard_whatever_a_follower_knows_of_the_members() {
    let mut node = node_of(2, voters(&[1, 2, 3]), Disk::default());
    node.hear(8, heartbeat(ballot(5, 8), 0, 1));
    assert_eq!(node.paxos.status().leader, Some(NodeId(8)));
}

// Whole changes, live.

fn cluster(founders: &Membership, count: u64) -> Cluster {
    let mut cluster = Cluster::of(count, founders, |config| config.limits.reconfiguration_window = WINDOW);
    cluster.run(60);
    cluster
}

/// Makes these the voters, by way of learners, and waits until they are in force.
fn replace(cluster: &mut Cluster, voting: &[u64]) {
    let leader = cluster.leader();
    let present = cluster.voters_at(leader);
    let newcomers: Vec<u64> = voting.iter().copied().filter(|id| !present.contains(id)).collect();
    let first = cluster.change(leader, &present, &newcomers);
    cluster.run(40);
    let second = cluster.change(leader, voting, &[]);
    cluster.run(60);
    assert_eq!(cluster.refusals(leader), []);
    for id in voting {
        assert_eq!(cluster.voters_at(*id), voting, "at {id}");
        assert!(cluster.has_applied(*id, first) && cluster.has_applied(*id, second));
    }
}

#[test]
fn all_voters_are_replaced_by_others_in_one_change_and_the_old_ones_are_switched_off() {
    let mut cluster = cluster(&voters(&[1, 2, 3]), 6);
    replace(&mut cluster, &[4, 5, 6]);
    assert!((4..=6).contains(&cluster.leader()), "the old leader has handed over");
    assert!((1..=3).all(|id| cluster.node(id).role() == Role::Learner), "and all of the old ones know");
    cluster.off.extend([1, 2, 3]);
    cluster.run(60);
    let id = cluster.propose(5);
    cluster.run(20);
    assert!((4..=6).all(|at| cluster.has_applied(at, id)));
    let leader = cluster.leader();
    cluster.off.insert(leader);
    cluster.run(100);
    let id = cluster.propose(cluster.leader());
    cluster.run(20);
    assert!((4..=6).filter(|at| *at != leader).all(|at| cluster.has_applied(at, id)));
}

#[test]
fn a_cluster_grows_from_one_to_five_and_shrinks_again_while_clients_write() {
    let mut cluster = cluster(&voters(&[1]), 5);
    let mut ids = Vec::new();
    for voting in [&[1, 2, 3][..], &[1, 2, 3, 4, 5], &[3, 4, 5]] {
        for _ in 0..3 {
            let leader = cluster.leader();
            ids.push(cluster.propose(leader));
            cluster.run(3);
        }
        replace(&mut cluster, voting);
    }
    assert!((3..=5).contains(&cluster.leader()));
    assert!((3..=5).all(|at| ids.iter().all(|id| cluster.has_applied(at, *id))));
}

#[test]
fn a_leader_that_removes_itself_hands_over_and_does_not_disturb_the_others() {
    let mut cluster = cluster(&voters(&[1, 2, 3]), 3);
    let old = cluster.leader();
    let rest: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    replace(&mut cluster, &rest);
    let (leader, term) = (cluster.leader(), cluster.nodes[(cluster.leader() - 1) as usize].promised());
    assert!(rest.contains(&leader));
    cluster.run(200);
    assert_eq!((cluster.leader(), cluster.node(leader).promised()), (leader, term));
    assert_eq!(cluster.node(old).role(), Role::Learner);
}

/// 1 has {1, 4, 5} chosen in place of {1, 2, 3}, and commands in their slots; 2 and 3 have accepted the change and hear
/// nothing of all that. One of them is elected by both.
#[test]
fn a_leader_elected_by_the_old_members_finds_what_another_has_had_chosen_by_the_new_ones() {
    let mut cluster = cluster(&members(&[1, 2, 3], &[4, 5]), 5);
    let first = cluster.leader();
    let old: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    let (deaf, has_asked) = (old.clone(), Rc::new(Cell::new(false)));
    let asks = has_asked.clone();
    cluster.loses = Box::new(move |from, to, message| {
        asks.set(asks.get() || deaf.contains(&from) && to == 4 && matches!(message, Message::Prepare(_)));
        let news = match message {
            Message::Heartbeat(heartbeat) => heartbeat.chosen_through,
            Message::Accept(accept) => accept.chosen_through,
            _ => LogIndex::ZERO,
        };
        from == first && deaf.contains(&to) && news > LogIndex::ZERO
    });
    let mut ids = vec![cluster.change(first, &[first, 4, 5], &[])];
    ids.extend((0..3).map(|_| cluster.propose(first)));
    cluster.run(3);
    ids.extend((0..3).map(|_| cluster.propose(first)));
    cluster.run(3);
    assert!(ids.iter().all(|id| cluster.has_applied(first, *id)), "the new members have chosen three commands");
    assert!(old.iter().all(|id| cluster.node(*id).chosen() == 0));
    cluster.run(100);
    assert!(has_asked.get(), "one of the old ones has led, and asked the new ones");
    let id = cluster.propose(cluster.leader());
    cluster.run(20);
    ids.push(id);
    for at in [first, 4, 5] {
        assert!(ids.iter().all(|id| cluster.has_applied(at, *id)), "at {at}");
        assert_eq!(cluster.voters_at(at), BTreeSet::from([first, 4, 5]).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_change_survives_the_crash_of_its_leader_at_any_time() {
    for rounds in 0..12 {
        let mut cluster = cluster(&members(&[1, 2, 3], &[4, 5]), 5);
        let old = cluster.leader();
        let id = cluster.change(old, &[old, 4, 5], &[]);
        cluster.run(rounds);
        cluster.off.insert(old);
        cluster.run(150);
        let leader = cluster.leader();
        let is_done = cluster.has_applied(leader, id);
        assert!(is_done || rounds < 3, "{rounds}");
        assert_eq!(cluster.voters_at(leader).contains(&4), is_done);
        let proposed = cluster.propose(leader);
        cluster.run(30);
        assert!(cluster.has_applied(leader, proposed), "{rounds}");
    }
}

#[test]
fn new_voters_that_do_not_know_it_find_out_from_the_old_ones_that_know_that_they_are_not() {
    let mut cluster = cluster(&members(&[1, 2, 3], &[4, 5, 6]), 6);
    let leader = cluster.leader();
    cluster.change(leader, &[4, 5, 6], &[]);
    // So many messages later the old ones know all, and the new ones have promised and know nothing yet.
    for _ in 0..60 {
        cluster.run(1);
        let all_old_know = (1..=3).all(|id| cluster.node(id).role() == Role::Learner || id == leader);
        if all_old_know && cluster.voters_at(leader) == [4, 5, 6] {
            break;
        }
    }
    for id in 1..=6 {
        cluster.node(id).restart(0);
    }
    cluster.run(200);
    assert!((4..=6).contains(&cluster.leader()));
}
