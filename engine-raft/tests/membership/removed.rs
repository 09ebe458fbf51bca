//! Who is removed, the leader too.

use super::*;

#[test]
fn a_leader_that_removes_itself_leads_until_that_is_committed_and_hands_over() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[2, 3], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!((node.role(), node.commit()), (Role::Leader, 2), "its own copy does not count");
    node.propose(3);
    assert_eq!(node.refusals(), []);
    node.sync();
    acknowledge(&mut node, 4, &[3]);
    assert_eq!(node.commit(), 3);
    assert!(node.sent().iter().any(|(to, message)| *to == 3 && matches!(message, Message::HandOver(_))));
    node.propose(4);
    assert_eq!(node.refusals(), [Refusal::NotLeader { leader: Some(NodeId(3)) }]);
    node.hear(3, request_vote(2, 3, position(4, 1, 1)));
    assert_eq!(node.role(), Role::Leader, "it hears a quorum, and this is not a forced election");
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 4, &[2]);
    }
    assert_eq!(node.role(), Role::Learner, "it has no reason to go on");
    node.tick(1_000);
    node.step(Input::Campaign);
    assert_eq!((node.role(), node.term()), (Role::Learner, 1), "nor to begin again");
}

#[test]
fn the_members_go_on_without_a_leader_that_has_removed_itself() {
    let mut cluster = Cluster::of(&[1, 2, 3], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.change(1, 1, members(0, &[2, 3], &[]));
    let next = [2, 3].into_iter().find(|id| cluster.nodes[id].role() == Role::Leader).expect("at once");
    assert_eq!(cluster.nodes[&1].role(), Role::Learner);
    cluster.node(next).propose(9);
    cluster.settle();
    cluster.run(50);
    assert_eq!(cluster.nodes[&2].commit(), cluster.nodes[&3].commit());
    assert_eq!(cluster.nodes[&next].contact_ids(), [2, 3]);
}

#[test]
fn a_leader_that_stops_before_its_removal_is_committed_leads_once_more_to_commit_it() {
    let mut cluster = Cluster::of(&[1, 2], &[1, 2], config);
    cluster.elect(1);
    cluster.cut = [2].into();
    cluster.change(1, 1, members(0, &[2], &[]));
    cluster.node(1).restart(0);
    assert_eq!(cluster.nodes[&1].role(), Role::Follower, "without its vote, or its log, the other is not elected");
    cluster.cut.clear();
    cluster.run(1_000);
    assert_eq!(cluster.nodes[&2].role(), Role::Leader);
    assert_eq!((cluster.nodes[&1].role(), cluster.members(2)), (Role::Learner, members(1, &[2], &[])));
}

#[test]
fn a_removed_node_that_does_not_know_it_disturbs_nobody() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4], &[1, 2, 3, 4], config);
    cluster.elect(1);
    cluster.cut = [4].into();
    cluster.change(1, 1, members(0, &[1, 2, 3], &[]));
    cluster.run(500);
    assert_eq!(cluster.nodes[&1].contact_ids(), [1, 2, 3]);
    cluster.cut.clear();
    cluster.run(2_000);
    assert_eq!((cluster.nodes[&1].role(), cluster.nodes[&1].term()), (Role::Leader, 1));
    assert_eq!(cluster.members(4).version, 0, "it asks around for ever, and nobody helps it");
    let last = position(9, 9, 4);
    cluster.node(2).hear(4, request_vote(7, 4, last));
    assert_eq!(cluster.nodes[&2].term(), 1, "nor if it campaigned without asking");
}

#[test]
fn a_read_counts_no_answer_of_a_voter_that_was_removed_since() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.step(Input::Read { id: request(1, 5), mode: ReadMode::Index });
    let round = last_round(&mut node);
    node.step(Input::Read { id: request(1, 6), mode: ReadMode::Index });
    node.change(2, members(1, &[1, 2], &[]));
    node.hear(3, heartbeat_reply(1, 1, round));
    assert_eq!(node.reads_ready, [], "1 and 3 were a majority");
    node.hear(2, heartbeat_reply(1, 1, round));
    assert_eq!(node.reads_ready.len(), 1);
}
