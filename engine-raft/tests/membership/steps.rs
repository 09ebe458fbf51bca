//! One voter, or several: by which entries a change goes, and who decides meanwhile.

use super::*;

#[test]
fn one_voter_more_takes_one_entry_which_decides_the_moment_it_is_in_the_log() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(1, &[1, 2, 3, 4], &[]));
    let status = node.raft.status();
    assert_eq!((*status.membership == members(2, &[1, 2, 3, 4], &[]), status.is_changing), (true, true));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 2, "two of four");
    acknowledge(&mut node, 3, &[4]);
    assert_eq!((node.commit(), node.last()), (3, 3), "three of four, the new one among them");
    assert!(!node.raft.status().is_changing);
    assert_eq!(node.committed.last().unwrap().payload.request_id(), Some(request(1, 2)));
}

#[test]
fn several_voters_at_once_take_two_entries_and_both_majorities_for_the_first() {
    let mut node = leader_of(&[1, 2, 3], &[4, 5]);
    node.change(2, members(1, &[1, 4, 5], &[]));
    let joint = node.membership();
    assert_eq!((ids(&joint.voters), ids(&joint.outgoing), joint.version), (vec![1, 4, 5], vec![1, 2, 3], 2));
    assert_eq!(joint.members.len(), 5, "whoever votes has an address");
    node.sync();
    acknowledge(&mut node, 3, &[2, 3]);
    assert_eq!(node.commit(), 2, "all of the old, and one of the new");
    acknowledge(&mut node, 3, &[5]);
    assert_eq!((node.commit(), node.last()), (3, 4), "the second entry follows at once");
    assert_eq!(node.membership(), members(3, &[1, 4, 5], &[]));
    node.sync();
    acknowledge(&mut node, 4, &[2, 3]);
    assert_eq!(node.commit(), 3, "the old ones have no say in the second");
    acknowledge(&mut node, 4, &[4]);
    assert_eq!(node.commit(), 4);
    let completed: Vec<_> = node.committed.iter().map(|entry| entry.payload.request_id()).collect();
    assert_eq!(completed, [None, Some(request(1, 1)), None, Some(request(1, 2))], "by the last entry and no other");
}

#[test]
fn both_halves_elect_while_the_members_change() {
    let mut joint = members(1, &[1, 4, 5], &[]);
    joint.outgoing = voters(&[1, 2, 3]).voters;
    let mut disk = Disk::with(&[1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, joint));
    let mut node = Node::with_disk(1, disk);
    node.step(Input::Campaign);
    node.sync();
    assert_eq!(node.sent().iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 4, 5]);
    node.hear(2, vote(2, 1, true));
    node.hear(3, vote(2, 1, true));
    assert_eq!(node.role(), Role::Candidate, "three of the old, and one of the new");
    node.hear(4, vote(2, 1, true));
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn a_new_leader_ends_a_change_that_it_finds_half_done_once_its_no_op_is_committed() {
    let mut joint = members(1, &[1, 4, 5], &[]);
    joint.outgoing = voters(&[1, 2, 3]).voters;
    let mut disk = Disk::with(&[1], ballot(1, 0), 2);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, joint));
    let mut node = Node::with_disk(1, disk);
    node.step(Input::Campaign);
    node.sync();
    [2, 4].into_iter().for_each(|peer| node.hear(peer, vote(2, 1, true)));
    node.sync();
    node.hear(2, matched(2, 1, 3));
    assert_eq!((node.role(), node.last()), (Role::Leader, 3), "though the first entry was known to be committed");
    node.sent();
    node.hear(4, matched(2, 1, 3));
    assert_eq!((node.commit(), node.membership()), (3, members(2, &[1, 4, 5], &[])));
    let ends = sent_payloads(&mut node, 4).pop().unwrap();
    assert_eq!(ends.request_id(), Some(request(9, 1_002)), "for whoever asked for the change");
}

#[test]
fn what_was_appended_before_a_change_is_counted_by_those_who_vote_now() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.propose(5);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[3]);
    assert_eq!(node.commit(), 2, "3 was there when the entry was appended, and votes no more");
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 3);
}

#[test]
fn a_leader_that_gets_company_decides_alone_no_more() {
    let mut node = leader_of(&[1], &[2]);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    assert_eq!(node.commit(), 2);
    acknowledge(&mut node, 3, &[2]);
    assert_eq!(node.commit(), 3);
    node.restart(0);
    node.step(Input::Tick);
    node.sync();
    assert_eq!(node.role(), Role::Follower, "nor is it elected alone");
}

#[test]
fn a_leader_of_two_removes_the_other_without_asking_it() {
    let mut node = leader_of(&[1, 2], &[]);
    node.change(2, members(1, &[1], &[]));
    assert_eq!(node.commit(), 2);
    node.sync();
    assert_eq!((node.commit(), node.role()), (3, Role::Leader));
    for _ in 0..100 {
        node.tick(10);
    }
    assert_eq!((node.role(), node.contact_ids()), (Role::Leader, vec![1]), "and needs to hear from nobody");
}

#[test]
fn the_last_voter_does_not_depose_the_leader_that_is_leaving_it() {
    let mut node = Node::on(config(1), voters(&[1, 2]), Disk::default());
    let leaving = naming(1, 1, 2, members(1, &[1], &[]));
    node.hear(2, append(1, 2, nowhere(), vec![leaving], 0));
    node.sync();
    node.tick(10);
    assert_eq!((node.role(), node.term()), (Role::Follower, 1), "though it decides alone by now");
    let deadline = node.raft.deadline();
    assert!(deadline > node.now && deadline < node.now + std::time::Duration::from_millis(200));
    node.now = deadline;
    node.step(Input::Tick);
    node.sync();
    assert_eq!(node.role(), Role::Leader, "it waits for its word no longer than for any other leader's");
}

#[test]
fn the_last_voter_keeps_after_a_restart_what_it_has_pledged_to_a_leader_that_left() {
    let mut settings = config(1);
    settings.timing.lease = Some(LeaseTiming::default());
    let mut node = Node::on(settings, voters(&[1, 2]), Disk::default());
    node.hear(2, heartbeat(1, 2, 0, 0, 1));
    node.hear(2, append(1, 2, nowhere(), vec![naming(1, 1, 2, members(1, &[1], &[]))], 1));
    node.sync();
    node.restart(0);
    node.step(Input::Tick);
    node.sync();
    assert_ne!(node.role(), Role::Leader, "that leader may hold a lease by it");
    node.tick(100);
    node.sync();
    assert_eq!(node.role(), Role::Leader);
}

#[test]
fn one_becomes_three_becomes_five_becomes_three_while_clients_write() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 5], &[1], config);
    cluster.run(20);
    let steps: [(&[u64], &[u64]); 6] = [
        (&[1], &[2, 3]),
        (&[1, 2, 3], &[]),
        (&[1, 2, 3], &[4, 5]),
        (&[1, 2, 3, 4, 5], &[]),
        (&[3, 4, 5], &[1, 2]),
        (&[3, 4, 5], &[]),
    ];
    for (sequence, (voting, learning)) in (10..).zip(steps) {
        let leader = cluster.nodes.values().find(|node| node.role() == Role::Leader).unwrap().id().0;
        let version = cluster.members(leader).version;
        cluster.node(leader).propose(100 + sequence);
        cluster.change(leader, sequence, members(version, voting, learning));
        cluster.run(400);
        let leader = cluster.nodes.values().find(|node| node.role() == Role::Leader).expect("somebody leads");
        assert!(leader.membership().names_the_same(&members(0, voting, learning)), "{:?}", leader.membership());
        assert!(voting.contains(&leader.id().0));
        let leader = leader.id().0;
        cluster.node(leader).restart(0);
        cluster.run(400);
    }
    let commits: Vec<u64> = [3, 4, 5].map(|id| cluster.nodes[&id].commit()).into();
    assert!(commits.iter().all(|commit| *commit == commits[0]) && commits[0] > 12);
    assert_eq!([1, 2].map(|id| cluster.nodes[&id].role()), [Role::Learner, Role::Learner]);
}
