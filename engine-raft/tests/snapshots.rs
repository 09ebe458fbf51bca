//! Where the log gives way to a snapshot, one claim each, driven by hand: what is trimmed, who needs what is trimmed, what
//! an installation keeps, and what it tells of the term.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{
    Disk, Node, append, ballot, config, elect, entry, founded, heartbeat, leader, matched, nowhere, position, voters,
};
use consensus_api::engine::encode_ballot;
use consensus_api::{Engine, Input, LogIndex, LogPosition, LogTime, NodeId, Role, SendSnapshot};
use engine_raft::Raft;
use engine_raft::message::{AppendOutcome, AppendReply, Conflict, Message, Nack};

#[test]
fn a_peer_that_needs_what_is_trimmed_gets_a_snapshot_and_then_the_rest() {
    let mut disk = Disk::with(&[1, 1, 1], ballot(1, 0), 3);
    disk.applied = LogIndex(3);
    disk.trim(position(3, 1, 9));
    let mut node = Node::with_disk(1, disk);
    elect(&mut node);
    node.sent();
    let conflict = Conflict { prev: LogIndex(3), x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex(1) };
    node.hear(
        2,
        Message::AppendReply(AppendReply { ballot: ballot(2, 1), outcome: AppendOutcome::Conflict(conflict) }),
    );
    assert_eq!(node.snapshots.len(), 1);
    assert_eq!((node.snapshots[0].to, node.snapshots[0].at_least), (NodeId(2), LogIndex(3)));
    node.sent();
    node.hear(2, matched(2, 1, 3));
    assert!(matches!(&node.sent_to(2)[..], [Message::Append(append)] if append.prev.index == LogIndex(3)));
}

#[test]
fn an_installed_snapshot_keeps_what_follows_its_last_entry_and_removes_what_follows_another() {
    for (terms, kept) in [([1, 1, 2, 2], 4), ([1, 1, 1, 1], 3)] {
        let mut node = Node::with_disk(1, Disk::with(&terms, ballot(2, 0), 0));
        let base = position(3, 2, 9);
        let membership = founded(&[1, 2, 3]);
        node.disk.trim(base);
        node.step(Input::SnapshotInstalled { base, log_time: LogTime::default(), membership });
        assert_eq!((node.commit(), node.last()), (3, kept));
        let mut written = Disk { entries: node.disk.entries.clone(), ..Disk::default() };
        node.unsynced.iter().for_each(|write| written.apply(write));
        assert_eq!(written.entries.len() as u64, kept - 3, "what is removed is removed from the disk");
        node.disk.applied = LogIndex(3);
        node.restart(0);
        assert_eq!(node.last(), kept, "also if the node stops before the removal is written");
    }
}

/// What a node finds that stopped right after it had installed a snapshot at `at`, whose own log has these terms: the
/// driver has trimmed the log, and tells what stood at the snapshot's position.
fn after_installation(terms: &[u64], at: consensus_api::LogPosition) -> consensus_api::Recovered {
    let mut disk = Disk::with(terms, ballot(terms[terms.len() - 1], 0), 0);
    let own = disk.entries.get(&at.index).map(|entry| entry.ballot);
    disk.trim(at);
    disk.applied = at.index;
    let mut recovered = disk.recovered(voters(&[1, 2, 3]));
    recovered.applied = at;
    own.into_iter().for_each(|ballot| recovered.log.runs.set(at.index, ballot));
    recovered
}

#[test]
fn after_an_installation_a_suffix_behind_another_entry_goes_with_the_first_write_whatever_its_terms() {
    // Terms that rise tell nothing: only the entry at the snapshot's position does.
    for (terms, removed) in [([1, 1, 3, 4], false), ([1, 1, 2, 4], true), ([1, 1, 2, 2], true), ([1, 1, 4, 4], true)] {
        let recovered = after_installation(&terms, position(3, 3, 9));
        let mut raft = Raft::recover(config(1), recovered, Default::default()).expect("recovers");
        let status = raft.status();
        assert_eq!((status.base_index, status.commit_index), (LogIndex(3), LogIndex(3)), "{terms:?}");
        assert_eq!(status.last_index, LogIndex(if removed { 3 } else { 4 }), "{terms:?}");
        let cut = raft.take_effects().write.and_then(|write| write.remove_from);
        assert_eq!(cut, removed.then_some(LogIndex(4)), "{terms:?}");
    }
}

fn snapshot(base: LogPosition) -> Input<Message> {
    Input::SnapshotInstalled { base, log_time: LogTime::default(), membership: founded(&[1, 2, 3]) }
}

#[test]
fn an_installed_snapshot_keeps_term_and_vote() {
    let mut node = Node::with_disk(1, Disk::with(&[1], ballot(7, 3), 1));
    let base = position(6, 4, 2);
    node.disk.trim(base);
    node.step(snapshot(base));
    assert!(node.unsynced.iter().all(|write| write.hard_state.is_none()));
    node.disk.applied = LogIndex(6);
    node.restart(node.unsynced.len());
    assert_eq!((node.raft.status().ballot, node.commit()), (ballot(7, 3), 6));
}

#[test]
fn what_a_newer_leader_has_appended_since_stays_behind_a_snapshot_that_comes_late() {
    let mut node = Node::with_disk(1, Disk::with(&[2, 2, 2], ballot(2, 0), 0));
    node.hear(3, append(4, 3, position(3, 2, 9), vec![entry(4, 4, 3), entry(5, 4, 3)], 0));
    node.sync();
    node.disk.trim(position(3, 2, 9));
    node.step(snapshot(position(3, 2, 9)));
    assert_eq!((node.commit(), node.last()), (3, 5));
    node.sent();
    node.hear(3, heartbeat(4, 3, 5, 5, 1));
    assert_eq!(node.commit(), 5, "what it has acknowledged counts on");
}

#[test]
fn a_snapshot_that_overtakes_the_leaders_own_entries_is_followed_by_them() {
    let mut node = Node::with_disk(1, Disk::with(&[2, 2, 2], ballot(2, 0), 0));
    node.hear(3, heartbeat(4, 3, 3, 0, 1));
    node.step(snapshot(position(3, 4, 3)));
    assert_eq!((node.term(), node.commit(), node.last()), (4, 3, 3));
    node.hear(3, append(4, 3, position(3, 4, 3), vec![entry(4, 4, 3)], 4));
    assert_eq!(node.commit(), 4);
}

#[test]
fn a_leader_that_a_snapshot_overtakes_steps_down_for_good() {
    let mut node = leader();
    node.propose(1);
    node.propose(2);
    node.step(snapshot(position(4, 1, 9)));
    assert_eq!((node.role(), node.commit(), node.term()), (Role::Follower, 4, 2));
    node.propose(3);
    assert_eq!(node.last(), 4, "it writes no second entry at an index and a term that it has used");
}

#[test]
fn a_leader_whose_own_entry_is_the_snapshots_last_leads_on() {
    let mut node = leader();
    node.propose(1);
    node.propose(2);
    node.step(snapshot(position(2, 1, 1)));
    assert_eq!((node.role(), node.commit(), node.term(), node.last()), (Role::Leader, 2, 1, 3));
    node.propose(3);
    assert_eq!(node.last(), 4);
}

/// Figure 8 of the paper: an entry of term 3 is committed by the leader of term 7, while the leader of term 5, which had
/// another one there, has yet to hear of it.
#[test]
fn what_a_follower_has_acknowledged_to_a_leader_whose_term_is_over_binds_it_no_more() {
    let mut node = Node::blank(1);
    node.hear(3, append(5, 3, nowhere(), vec![entry(1, 5, 3), entry(2, 5, 3)], 0));
    node.sync();
    node.sent();
    node.step(snapshot(position(1, 3, 2)));
    assert_eq!((node.commit(), node.last()), (1, 1));
    node.hear(3, heartbeat(5, 3, 0, 2, 1));
    node.sync();
    let over = Message::Nack(Nack { ballot: ballot(5, 3), promised: node.raft.status().ballot });
    assert_eq!(node.sent(), [(3, over)]);
}

#[test]
fn nor_does_it_after_a_stop_before_the_engine_had_heard_of_the_snapshot() {
    let recovered = after_installation(&[1, 1, 5, 5], position(3, 3, 9));
    let mut raft = Raft::recover(config(1), recovered, Default::default()).expect("recovers");
    assert_eq!((raft.status().ballot, raft.status().last_index), (ballot(6, 0), LogIndex(3)));
    raft.step(Default::default(), Input::Message { from: NodeId(3), message: heartbeat(5, 3, 0, 4, 1) });
    let effects = raft.take_effects();
    let write = effects.write.expect("the removal");
    assert_eq!(write.hard_state, Some(encode_ballot(ballot(6, 0))));
    let over = Message::Nack(Nack { ballot: ballot(5, 3), promised: ballot(6, 0) });
    let sent: Vec<_> = effects.messages.into_iter().map(|outgoing| (outgoing.after, outgoing.message)).collect();
    assert_eq!(sent, [(write.id, over)], "once that is durable");
}

#[test]
fn nothing_of_a_leader_with_another_entry_where_the_log_begins_is_put_behind_a_snapshot() {
    for first in [0, 1] {
        let mut node = Node::with_disk(1, Disk::with(&[], ballot(4, 0), 0));
        node.step(snapshot(position(1, 3, 2)));
        let prev = if first == 0 { nowhere() } else { position(1, 5, 3) };
        let entries = (first + 1..=2).map(|index| entry(index, 5, 3)).collect();
        node.hear(3, append(5, 3, prev, entries, 0));
        node.sync();
        assert_eq!((node.last(), node.sent()), (1, vec![]), "from {first} on");
    }
}

/// Node 1 of three, whose log of nine entries is committed up to 7 and trimmed up to 5.
fn compacted() -> Node {
    let mut disk = Disk { applied: LogIndex(7), ..Disk::with(&[2; 9], ballot(2, 9), 7) };
    disk.trim(position(5, 2, 9));
    Node::with_disk(1, disk)
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
    assert_eq!((ahead.commit(), behind.commit()), (7, 0), "no quorum holds what follows the base without a snapshot");
    assert!(ahead.snapshots.iter().all(|wanted| *wanted == SendSnapshot { to: NodeId(2), at_least: LogIndex(5) }));
    assert!((1..=16).contains(&ahead.snapshots.len()), "asked for once in an election timeout");
}
