//! Peers come and go, and come back from the same disk or from another.

use super::*;

#[test]
fn a_new_member_is_fed_from_the_moment_it_is_named() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2, 3], &[4]));
    assert_eq!(node.contact_ids(), [1, 2, 3, 4]);
    assert!(node.raft.status().progress.contains_key(&NodeId(4)));
    assert!(node.sent().iter().any(|(to, message)| *to == 4 && matches!(message, Message::Append(_))));
    let conflict = Conflict { prev: LogIndex(3), x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex::ZERO };
    let reply = AppendReply { ballot: ballot(1, 1), outcome: AppendOutcome::Conflict(conflict) };
    node.hear(4, Message::AppendReply(reply));
    assert_eq!(sent_payloads(&mut node, 4).len(), 3, "from the beginning");
}

#[test]
fn whoever_is_removed_is_told_so_and_then_left_alone() {
    let mut node = without_three();
    node.tick(10);
    let told = node.sent_to(3);
    assert!(told.iter().any(|message| matches!(message, Message::Heartbeat(it) if it.commit == LogIndex(3))));
    acknowledge(&mut node, 3, &[3]);
    node.tick(10);
    assert_eq!(node.contact_ids(), [1, 2, 3], "it has the entry, and may not know yet that it is committed");
    let round = last_round(&mut node);
    node.hear(3, heartbeat_reply(1, 1, round));
    node.tick(10);
    assert_eq!((node.contact_ids(), node.sent_to(3)), (vec![1, 2], vec![]));
    assert_eq!(*node.contacts, node.membership());
}

#[test]
fn whoever_is_removed_and_does_not_answer_is_left_alone_after_two_election_timeouts() {
    let mut node = without_three();
    let mut pass = |millis: u64| {
        for _ in 0..millis / 10 {
            node.tick(10);
            acknowledge(&mut node, 3, &[2]);
        }
        node.contact_ids()
    };
    assert_eq!(pass(200), [1, 2, 3]);
    assert_eq!(pass(20), [1, 2]);
}

#[test]
fn whoever_is_removed_gets_no_snapshot_any_more() {
    let mut node = without_three();
    node.apply();
    node.trim(position(3, 1, 1));
    let refuse = |node: &mut Node, prev: LogIndex| {
        let conflict = Conflict { prev, x_term: None, x_index: LogIndex::ZERO, x_len: LogIndex(1) };
        let reply = AppendReply { ballot: ballot(1, 1), outcome: AppendOutcome::Conflict(conflict) };
        node.hear(3, Message::AppendReply(reply));
        node.tick(10);
        std::mem::take(&mut node.snapshots).len()
    };
    assert_eq!(refuse(&mut node, LogIndex(2)), 0);
    node.change(3, members(2, &[1, 2], &[3]));
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 3, &[2]);
    }
    let last = node.raft.status().last_index;
    assert!(refuse(&mut node, last) > 0, "but as a member it does");
}

#[test]
fn of_whoever_comes_back_nothing_is_known_from_whatever_disk() {
    for store in [3, 33] {
        let mut node = without_three();
        let mut target = members(2, &[1, 2], &[3]);
        target.members.insert(NodeId(3), Member { address: "node-3:1".into(), store: StoreId(store) });
        node.change(3, target);
        assert_eq!(node.refusals(), []);
        assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex::ZERO, "it may have died in between");
        assert_eq!(node.contacts.members[&NodeId(3)].store, StoreId(store));
    }
}

#[test]
fn an_answer_from_before_a_removal_is_true_of_the_same_disk() {
    let mut node = without_three();
    for _ in 0..30 {
        node.tick(10);
        acknowledge(&mut node, 3, &[2]);
    }
    assert_eq!(node.contact_ids(), [1, 2]);
    acknowledge(&mut node, 2, &[3]);
    node.change(3, members(2, &[1, 2], &[3]));
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex::ZERO, "nothing is known of who begins anew");
    acknowledge(&mut node, 2, &[3]);
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex(2));
}

#[test]
fn what_waited_behind_a_change_is_no_answer_of_the_disk_that_it_names() {
    let mut node = without_three();
    let mut target = members(2, &[1, 2], &[3]);
    target.members.insert(NodeId(3), Member { address: "node-3:1".into(), store: StoreId(33) });
    node.raft.step(node.now, Input::ChangeMembership { id: request(1, 3), target: Arc::new(target) });
    for answer in [matched(1, 1, 2), heartbeat_reply(1, 1, 1)] {
        node.raft.step(node.now, Input::Message { from: NodeId(3), message: answer });
    }
    node.take();
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex::ZERO, "it answers what nobody has asked yet");
    acknowledge(&mut node, 1, &[3]);
    assert_eq!(node.raft.status().progress[&NodeId(3)], LogIndex(1), "and then it has been asked");
}

#[test]
fn a_blank_node_goes_on_whatever_an_earlier_disk_of_it_has_acknowledged() {
    let mut node = Node::blank(3);
    node.hear(1, heartbeat(1, 1, 7, 7, 1));
    node.sync();
    assert_eq!((node.sent(), node.commit()), (vec![(1, heartbeat_reply(1, 1, 1))], 0));
    node.hear(1, append(1, 1, nowhere(), vec![entry(1, 1, 1)], 7));
    assert_eq!(node.commit(), 1, "what it has by now, and no more");
}

#[test]
#[should_panic(expected = "7 was acknowledged, but the log ends at 1")]
fn a_node_whose_disk_has_lost_what_it_vouched_for_stops() {
    let mut node = Node::with_disk(3, Disk::with(&[1], ballot(1, 0), 0));
    node.hear(1, heartbeat(1, 1, 7, 7, 1));
}
