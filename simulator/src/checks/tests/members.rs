//! What is about members that change.

use consensus_api::{AppliedMembership, AppliedState, LogPosition};

use super::*;

/// An entry of node 1 that makes it the only voter, in this version.
fn alone(index: u64, version: u64) -> SharedEntry {
    let members = founders().members.into_iter().filter(|(node, _)| *node == ONE);
    let membership = Arc::new(Membership { version, ..Membership::of_voters(members) });
    let payload = Payload::Membership { id: id(index), membership };
    Arc::new(Entry { index: LogIndex(index), ballot: Ballot::new(1, ONE), log_time: LogTime::default(), payload })
}

/// Multi-Paxos with a window of two slots; in the first all three have chosen node 1 alone.
fn narrowed() -> Scene {
    let mut scene = Scene { checks: Checks::new(PAXOS, founders(), 2), ..Scene::new(PAXOS) };
    scene.carry_out(&alone(1, 1)).expect("two of three have it");
    scene
}

#[test]
fn in_multi_paxos_a_change_counts_a_window_behind_its_slot() {
    let mut scene = narrowed();
    scene.write(ONE, put(vec![entry(3, 1, 3)])).expect("holds");
    assert_eq!(scene.commit(ONE, &entry(3, 1, 3)), Ok(()), "1 decides there alone");
    scene.write(ONE, put(vec![entry(2, 1, 2)])).expect("holds");
    assert!(matches!(scene.commit(ONE, &entry(2, 1, 2)), Err(Violation::NotChosen { .. })), "and not there");
}

#[test]
fn a_slot_that_is_filled_before_it_is_known_who_decides_there_is_found() {
    let found = narrowed().write(TWO, put(vec![entry(4, 1, 4)]));
    assert_eq!(found, Err(Violation::TooEarly { node: TWO, index: LogIndex(4) }));
}

#[test]
fn in_raft_a_change_counts_from_the_moment_that_the_leader_logs_it() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put(vec![entry(1, 1, 1)])).expect("holds");
    assert!(matches!(scene.commit(ONE, &entry(1, 1, 1)), Err(Violation::NotChosen { .. })), "one of three has it");

    let mut scene = Scene::new(RAFT);
    let logs = |scene: &mut Scene, write: &Write| {
        let disks = Scene::owned(&scene.disks);
        scene.checks.logs(owner(ONE), write, &disks)
    };
    let first = put(vec![entry(1, 1, 1)]);
    logs(&mut scene, &first).expect("holds");
    scene.write(ONE, first).expect("holds");
    logs(&mut scene, &put(vec![alone(2, 1)])).expect("holds");
    assert_eq!(scene.commit(ONE, &entry(1, 1, 1)), Ok(()), "it is the one of one");
}

#[test]
fn a_vote_from_a_disk_that_nobody_has_named_is_found() {
    let checks = checks(RAFT);
    assert_eq!(checks.voted(owner(ONE)), Ok(()));
    for voter in [(ONE, StoreId(7)), owner(NodeId(4))] {
        assert!(matches!(checks.voted(voter), Err(Violation::Members { .. })), "{voter:?}");
    }
}

#[test]
fn a_void_change_that_is_taken_and_another_one_that_is_not_are_found() {
    let mut scene = narrowed();
    scene.carry_out(&alone(2, 1)).expect("holds");
    for (index, is_void) in [(1, false), (2, true)] {
        assert_eq!(scene.checks.named(ONE, LogIndex(index), is_void), Ok(()));
        let found = scene.checks.named(ONE, LogIndex(index), !is_void);
        assert!(matches!(found, Err(Violation::Members { .. })), "{index}");
    }
}

#[test]
fn tables_that_name_other_members_are_found() {
    let scene = narrowed();
    let founders = AppliedMembership::founded(Arc::new(founders()));
    let position = LogPosition { index: LogIndex(1), ballot: Ballot::ZERO };
    let found = |membership| {
        let state = AppliedState { position, membership: Some(membership), ..AppliedState::default() };
        scene.checks.members_at(TWO, &state)
    };
    assert!(matches!(found(founders.clone()), Err(Violation::Members { node: TWO, .. })));
    let mut applied = founders;
    let Payload::Membership { membership, .. } = alone(1, 1).payload.clone() else { panic!("it names members") };
    assert!(applied.take(LogIndex(1), &membership));
    assert_eq!(found(applied), Ok(()));
}

#[test]
fn a_leader_that_does_not_vote_and_one_that_goes_by_other_members_are_found() {
    let mut checks = checks(PAXOS);
    let four = NodeId(4);
    let found = checks.stepped(four, &status(Role::Leader, Ballot::new(3, four), 0));
    assert!(matches!(found, Err(Violation::Members { node, .. }) if node == four), "{found:?}");
    let others = EngineStatus { membership: Arc::default(), ..status(Role::Follower, Ballot::ZERO, 0) };
    assert!(matches!(checks.stepped(ONE, &others), Err(Violation::Members { node: ONE, .. })));
}
