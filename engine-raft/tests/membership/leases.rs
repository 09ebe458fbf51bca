//! Leases and check-quorum, while the members change.

use super::*;

#[test]
fn a_lease_is_counted_anew_by_whoever_votes_from_now_on() {
    let mut settings = config(1);
    settings.timing.lease = Some(LeaseTiming::default());
    let mut node = leader_with(settings, &[1, 2, 3], &[4]);
    node.tick(10);
    let round = last_round(&mut node);
    node.hear(3, pledging_reply(1, 1, round, 100));
    let is_served = |node: &mut Node, sequence| {
        node.step(Input::Read { id: request(1, sequence), mode: ReadMode::Lease });
        node.reads_ready.iter().any(|ready| ready.id == request(1, sequence))
    };
    assert!(is_served(&mut node, 11));
    node.change(2, members(1, &[1, 2, 3, 4], &[]));
    assert!(!is_served(&mut node, 12), "two of four");
    node.hear(4, pledging_reply(1, 1, round, 100));
    assert!(is_served(&mut node, 13));
}

#[test]
fn voters_that_are_new_have_an_election_timeout_to_answer_their_leader() {
    let mut node = leader_of(&[1], &[2]);
    node.tick(300);
    acknowledge(&mut node, 2, &[2]);
    node.tick(90);
    node.change(2, members(1, &[1, 2], &[]));
    assert_eq!(node.refusals(), []);
    node.tick(90);
    assert_eq!(node.role(), Role::Leader, "though it has heard nobody for longer");
    node.tick(10);
    assert_eq!(node.role(), Role::Follower);
}
