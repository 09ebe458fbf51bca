//! What is asked of a change before it begins, and who may ask for one.

use super::*;

#[test]
fn no_change_begins_before_the_leader_has_committed_an_entry_of_its_own_term() {
    let mut node = Node::on(config(2), voters(&[1, 2, 3, 4]), Disk::with(&[1], ballot(1, 0), 1));
    node.step(Input::Campaign);
    node.sync();
    [3, 4].into_iter().for_each(|peer| node.hear(peer, vote(2, 2, true)));
    node.sync();
    assert_eq!(node.role(), Role::Leader);
    node.change(1, members(0, &[2, 3, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![Refusal::NotReady], 2));
    [3, 4].into_iter().for_each(|peer| node.hear(peer, matched(2, 2, 2)));
    node.change(2, members(0, &[2, 3, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn of_two_leaders_that_change_the_same_members_only_one_has_a_majority() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 5], &[1, 2, 3, 4], config);
    cluster.elect(1);
    cluster.change(1, 1, members(0, &[1, 2, 3, 4], &[5]));
    // S1 adds S5 in its own log alone.
    cluster.cut = [1].into();
    cluster.change(1, 2, members(1, &[1, 2, 3, 4, 5], &[]));
    // S2 is elected by S2, S3 and S4, and reaches S3 alone, with whom it is a majority without S1.
    cluster.cut = [1, 2].into();
    cluster.node(2).step(Input::Campaign);
    cluster.node(2).sync();
    let request = cluster.node(2).sent_to(3).pop().unwrap();
    for voter in [3, 4] {
        cluster.node(voter).hear(2, request.clone());
        cluster.node(voter).sync();
        let vote = cluster.node(voter).sent_to(2).pop().unwrap();
        cluster.node(2).hear(voter, vote);
    }
    cluster.cut = [1, 4, 5].into();
    cluster.settle();
    let committed = cluster.nodes[&2].commit();
    cluster.change(2, 1, members(1, &[2, 3, 4], &[5]));
    assert_eq!(cluster.nodes[&2].role(), Role::Leader);
    // S1 is elected by S1, S4 and S5, a majority of five.
    cluster.cut = [2, 3].into();
    cluster.node(1).pass(200);
    for _ in 0..2 {
        cluster.node(1).step(Input::Campaign);
        cluster.settle();
    }
    assert_eq!((cluster.nodes[&1].role(), cluster.nodes[&1].term()), (Role::Leader, 3));
    assert_eq!(cluster.nodes[&2].commit(), committed, "so S2 and S3 must not have committed anything");
    assert_eq!(cluster.node(2).refusals(), [Refusal::NotReady]);
}

#[test]
fn one_change_goes_on_at_a_time() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.change(2, members(1, &[1, 2, 3, 4], &[5]));
    node.change(3, members(2, &[1, 2, 3, 4, 5], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![Refusal::ChangePending], 3));
}

#[test]
fn a_change_that_was_meant_for_other_members_is_refused() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(0, &[1, 2, 3, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::MembershipMoved { asked: 0, present: 1 }]);
}

#[test]
fn whoever_is_to_vote_is_a_learner_with_that_disk_wherever_it_is_by_now() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    let of_four = |address: &str, store| {
        let mut target = members(1, &[1, 2, 3, 4], &[]);
        target.members.insert(NodeId(4), Member { address: address.into(), store: StoreId(store) });
        target
    };
    node.change(2, members(1, &[1, 2, 3, 7], &[4]));
    node.change(3, of_four("node-4:1", 44));
    for refusal in node.refusals() {
        assert!(matches!(&refusal, Refusal::InvalidMembership { reason } if reason.contains("learner")), "{refusal}");
    }
    assert_eq!(node.last(), 2);
    node.change(4, of_four("elsewhere:1", 4));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn a_learner_becomes_a_voter_only_if_it_answers_and_does_not_lag() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    (0..1_025).for_each(|sequence| node.propose(10 + sequence));
    node.sync();
    acknowledge(&mut node, 1_027, &[2]);
    assert_eq!(node.commit(), 1_027);
    let target = || members(1, &[1, 2, 3, 4], &[]);
    node.change(2, target());
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 1_025 }]);
    acknowledge(&mut node, 3, &[4]);
    for _ in 0..10 {
        node.tick(10);
        acknowledge(&mut node, 1_027, &[2, 3]);
    }
    node.change(3, target());
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 1_024 }], "it is silent");
    acknowledge(&mut node, 3, &[4]);
    node.change(4, target());
    assert_eq!((node.refusals(), node.membership().voters.len()), (vec![], 4));
}

#[test]
fn a_learner_that_has_not_answered_at_all_does_not_become_a_voter() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2, 3], &[4]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    node.change(3, members(2, &[1, 2, 3, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 3 }], "however short the log is");
}

#[test]
fn a_learner_that_has_everything_and_was_heard_long_ago_does_not_become_a_voter() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    only_these_answer(&mut node, &[2, 3]);
    node.change(2, members(1, &[1, 2, 3, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::LearnerLags { node: NodeId(4), behind: 0 }]);
    node.hear(4, heartbeat_reply(1, 1, 1));
    node.change(3, members(1, &[1, 2, 3, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn a_change_that_leaves_voters_of_whom_no_majority_answers_is_refused() {
    let mut node = leader_of(&[1, 2, 3, 4], &[]);
    only_these_answer(&mut node, &[2, 3]);
    node.change(2, members(1, &[1, 4], &[]));
    assert_eq!(node.refusals(), [Refusal::NoLiveMajority { voters: 2, answering: 1 }], "it answers itself");
    node.change(3, members(1, &[3, 4], &[1]));
    assert_eq!(node.refusals(), [Refusal::NoLiveMajority { voters: 2, answering: 1 }], "it will not vote");
    assert_eq!(node.last(), 2, "nothing has begun");
    node.change(4, members(1, &[1, 2, 4], &[]));
    assert_eq!((node.refusals(), node.last()), (vec![], 3), "two of these three answer");
}

#[test]
fn who_only_learns_may_change_whoever_answers() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    only_these_answer(&mut node, &[2]);
    node.change(2, members(1, &[1, 2, 3], &[4, 5]));
    assert_eq!((node.refusals(), node.last()), (vec![], 3));
}

#[test]
fn a_learner_has_the_log_and_no_say() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.propose(2);
    node.sync();
    assert_eq!(sent_payloads(&mut node, 4).len(), 1);
    acknowledge(&mut node, 3, &[4, 5]);
    assert_eq!(node.commit(), 2);
    node.step(Input::Read { id: request(1, 3), mode: ReadMode::Index });
    let round = node.sent().iter().find_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    [4, 5].into_iter().for_each(|peer| node.hear(peer, heartbeat_reply(1, 1, round.unwrap())));
    assert_eq!(node.reads_ready, [], "nor in a read");
}

#[test]
fn a_follower_passes_a_change_on_and_hears_if_it_is_refused() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4], &[1, 2, 3], config);
    cluster.elect(1);
    cluster.change(2, 1, members(0, &[1, 2, 3], &[4]));
    assert_eq!(cluster.members(3), members(1, &[1, 2, 3], &[4]));
    let asked = Errand::ChangeMembership {
        ballot: ballot(1, 1),
        id: request(2, 1),
        target: Arc::new(members(1, &[1, 2, 3], &[])),
    };
    cluster.node(1).hear(2, Message::Errand(asked));
    assert_eq!(cluster.members(1).version, 1, "an id is admitted once");
    cluster.change(4, 1, members(0, &[1], &[]));
    assert_eq!(cluster.node(4).refusals(), [Refusal::MembershipMoved { asked: 0, present: 1 }]);
}
