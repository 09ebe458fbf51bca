//! What is overwritten, trimmed, recovered and installed.

use super::*;

#[test]
fn a_leader_whose_change_is_overwritten_goes_back_to_the_members_before() {
    let mut node = leader_of(&[1, 2, 3], &[4]);
    node.change(2, members(1, &[2, 3, 4], &[]));
    node.sync();
    assert_eq!(node.contact_ids(), [1, 2, 3, 4]);
    node.hear(2, append(2, 2, position(2, 1, 1), vec![entry(3, 2, 2)], 2));
    let status = node.raft.status();
    assert_eq!((node.membership(), status.is_changing), (members(1, &[1, 2, 3], &[4]), false));
    assert_eq!((status.role, node.contact_ids()), (Role::Follower, vec![1, 2, 3, 4]));
    node.sync();
    node.tick(300);
    assert_eq!(node.role(), Role::Candidate, "it votes as before");
}

#[test]
fn contacts_keep_those_to_whom_an_overwritten_entry_would_give_the_word_back() {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2], &[]));
    node.step(Input::Message { from: NodeId(3), message: request_vote(2, 3, position(1, 1, 1)) });
    node.sync();
    node.pass(200);
    node.hear(3, request_vote(2, 3, position(9, 9, 9)));
    assert_eq!((node.role(), node.contact_ids()), (Role::Follower, vec![1, 2, 3]), "3 may yet lead");
    node.sync();
    node.restart(0);
    node.step(Input::Tick);
    assert_eq!((node.membership().voters.len(), node.contact_ids()), (2, vec![1, 2, 3]), "also after a restart");
}

#[test]
fn a_restart_takes_up_the_members_that_the_log_names_last() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 2);
    disk.entries.insert(LogIndex(3), naming(3, 1, 9, members(1, &[1, 2], &[])));
    disk.entries.insert(LogIndex(4), naming(4, 1, 9, members(2, &[1, 2], &[3])));
    disk.applied = LogIndex(3);
    disk.commit = LogIndex(3);
    let mut node = Node::with_disk(1, disk);
    assert_eq!((node.membership(), node.raft.status().is_changing), (members(2, &[1, 2], &[3]), true));
    node.hear(2, append(2, 2, position(3, 1, 9), vec![entry(4, 2, 2)], 3));
    assert_eq!(node.membership(), members(1, &[1, 2], &[]), "those of the tables");
}

#[test]
fn members_on_the_disk_that_do_not_follow_each_other_are_refused() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 0);
    disk.entries.insert(LogIndex(2), naming(2, 1, 9, members(2, &[1, 2], &[])));
    let error = engine_raft::Raft::recover(config(1), disk.recovered(voters(&[1, 2, 3])), Default::default());
    assert!(error.expect_err("refused").to_string().contains("version 2 after version 0"));
}

#[test]
fn a_snapshot_leaves_nothing_of_members_that_were_overwritten_elsewhere() {
    // S1 names itself and S2 without committing it; meanwhile others have committed another 2, and more.
    let mut disk = Disk::with(&[1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(2), naming(2, 1, 1, members(1, &[1, 2], &[])));
    disk.entries.insert(LogIndex(3), entry(3, 1, 1));
    let mut node = Node::with_disk(1, disk);
    assert_eq!(node.membership().voters.len(), 2);
    let mut told = AppliedMembership::founded(Arc::new(voters(&[1, 2, 3])));
    assert!(told.take(LogIndex(2), &Arc::new(members(1, &[1, 2, 3], &[4]))));
    node.install(position(3, 2, 2), told);
    assert_eq!(node.membership(), members(1, &[1, 2, 3], &[4]));
    node.sync();
    node.step(Input::Campaign);
    node.sync();
    node.hear(2, vote(3, 1, true));
    assert_eq!(node.role(), Role::Leader, "two of three");
}

#[test]
fn a_snapshot_leaves_members_that_the_log_names_above_it() {
    let mut disk = Disk::with(&[1, 1], ballot(1, 0), 1);
    disk.entries.insert(LogIndex(3), naming(3, 1, 1, members(1, &[1, 2], &[])));
    let mut node = Node::with_disk(1, disk);
    node.install(position(2, 1, 9), founded(&[1, 2, 3]));
    assert_eq!((node.last(), node.membership().voters.len()), (3, 2));
}
