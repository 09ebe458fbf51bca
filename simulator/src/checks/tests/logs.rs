//! What is on disks, what is chosen by that, and what messages say of it.

use consensus_api::LogPosition;

use super::*;
use crate::protocol::{Held, Under};

#[test]
fn another_value_at_a_committed_index_is_found() {
    let mut scene = Scene::new(RAFT);
    scene.carry_out(&entry(1, 1, 1)).expect("is committed");
    let found = scene.commit(TWO, &entry(1, 2, 2));
    assert!(matches!(found, Err(Violation::Agreement { node: TWO, .. })), "{found:?}");
}

#[test]
fn the_same_value_under_another_ballot_agrees() {
    let mut scene = Scene::new(PAXOS);
    scene.carry_out(&entry(1, 1, 1)).expect("is committed");
    assert_eq!(scene.commit(TWO, &entry(1, 2, 1)), Ok(()));
}

#[test]
fn a_commit_that_a_minority_has_accepted_is_found() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put(vec![entry(1, 1, 1)])).expect("is the first");
    let found = scene.commit(ONE, &entry(1, 1, 1));
    assert!(matches!(found, Err(Violation::NotChosen { node: ONE, chosen: None, .. })), "{found:?}");
}

#[test]
fn a_commit_of_another_value_than_the_chosen_one_is_found() {
    let mut scene = Scene::new(PAXOS);
    for node in [ONE, TWO] {
        scene.write(node, put(vec![entry(1, 1, 1)])).expect("is the first");
    }
    scene.write(THREE, put_in(2, vec![entry(1, 2, 2)])).expect("one alone chooses nothing");
    let found = scene.commit(THREE, &entry(1, 2, 2));
    assert!(matches!(found, Err(Violation::NotChosen { node: THREE, chosen: Some(_), .. })), "{found:?}");
}

#[test]
fn copies_of_an_earlier_term_choose_nothing_until_one_of_the_leaders_own_is_on_a_majority() {
    let mut scene = Scene::new(RAFT);
    let old = entry(1, 2, 1);
    scene.write(ONE, put_in(2, vec![old.clone()])).expect("is the first");
    scene.write(TWO, put_in(4, vec![old.clone()])).expect("is a copy");
    scene.write(ONE, put_in(4, vec![])).expect("is a vote");
    assert!(matches!(scene.commit(ONE, &old), Err(Violation::NotChosen { .. })));

    let mut scene = Scene::new(RAFT);
    for node in [ONE, TWO] {
        scene.write(node, put_in(4, vec![old.clone(), entry(2, 4, 2)])).expect("is the leader's log");
    }
    assert_eq!(scene.commit(ONE, &old), Ok(()));
}

#[test]
fn two_values_that_majorities_accept_one_after_the_other_are_found() {
    let mut scene = Scene::new(PAXOS);
    for node in [ONE, TWO] {
        scene.write(node, put(vec![entry(1, 1, 1)])).expect("is the first");
    }
    scene.write(TWO, put_in(2, vec![entry(1, 2, 2)])).expect("one alone chooses nothing");
    let found = scene.write(THREE, put_in(2, vec![entry(1, 2, 2)]));
    assert!(matches!(found, Err(Violation::ChosenTwice { index: LogIndex(1), .. })), "{found:?}");
}

#[test]
fn a_raft_entry_that_chooses_another_log_below_it_is_found() {
    let mut scene = Scene::new(RAFT);
    for node in [ONE, TWO] {
        scene.write(node, put(vec![entry(1, 1, 1)])).expect("is the first");
    }
    let log = vec![entry(1, 2, 2), entry(2, 3, 3)];
    scene.write(TWO, put_in(3, log.clone())).expect("one alone chooses nothing");
    let found = scene.write(THREE, put_in(3, log));
    assert!(matches!(found, Err(Violation::ChosenTwice { index: LogIndex(1), .. })), "{found:?}");
}

#[test]
fn a_chosen_value_that_a_quorum_no_longer_holds_when_it_is_committed_is_found() {
    let mut scene = Scene::new(RAFT);
    let entry = entry(1, 1, 1);
    for node in [ONE, TWO] {
        scene.write(node, put(vec![entry.clone()])).expect("is the first");
    }
    scene.write(TWO, removal(1)).expect("nobody has committed it");
    let found = scene.commit(ONE, &entry);
    assert_eq!(found, Err(Violation::NotOnAQuorum { index: LogIndex(1), holders: vec![ONE] }));
}

#[test]
fn a_committed_value_that_a_quorum_loses_later_is_found() {
    let mut scene = Scene::new(RAFT);
    scene.carry_out(&entry(1, 1, 1)).expect("is committed");
    let found = scene.write(TWO, removal(1));
    assert!(matches!(found, Err(Violation::NotOnAQuorum { .. })), "{found:?}");
}

#[test]
fn an_entry_that_is_applied_before_it_is_logged_is_found() {
    let mut scene = Scene::new(RAFT);
    scene.carry_out(&entry(1, 1, 1)).expect("is committed");
    let found = scene.commit(THREE, &entry(1, 1, 1));
    assert_eq!(found, Err(Violation::AppliedBeforeLogged { node: THREE, index: LogIndex(1) }));
}

#[test]
fn two_values_under_one_ballot_are_found() {
    let mut scene = Scene::new(PAXOS);
    scene.write(ONE, put(vec![entry(1, 1, 1)])).expect("is the first");
    let found = scene.write(TWO, put(vec![entry(1, 1, 2)]));
    assert!(matches!(found, Err(Violation::LogMatching { node: TWO, .. })), "{found:?}");
}

#[test]
fn two_values_of_one_round_are_found_in_raft_alone() {
    for (round_is_epoch, is_found) in [(RAFT, true), (PAXOS, false)] {
        let mut scene = Scene::new(round_is_epoch);
        scene.write(ONE, put(vec![entry(1, 1, 1)])).expect("is the first");
        let other = Entry { ballot: Ballot::new(1, TWO), ..(*entry(1, 1, 2)).clone() };
        let vote = Some(encode_ballot(Ballot::new(1, TWO)));
        let found = scene.write(TWO, Write { hard_state: vote, ..put(vec![Arc::new(other)]) });
        assert_eq!(matches!(found, Err(Violation::LogMatching { node: TWO, .. })), is_found, "{found:?}");
    }
}

/// A leader of round 3 sends these.
fn carried(prev: Option<LogPosition>, entries: &[SharedEntry]) -> Option<Carried<'_>> {
    Some(Carried { ballot: Some(Ballot::new(3, ONE)), prev, entries })
}

fn after(index: u64, round: u64) -> Option<LogPosition> {
    Some(LogPosition { index: LogIndex(index), ballot: Ballot::new(round, ONE) })
}

#[test]
fn a_value_that_is_sent_binds_though_no_disk_holds_it_yet() {
    let mut scene = Scene::new(PAXOS);
    scene.sent(ONE, &Vouched::default(), carried(None, &[entry(5, 3, 1)])).expect("is the first");
    let found = scene.sent(ONE, &Vouched::default(), carried(None, &[entry(5, 3, 2)]));
    assert!(matches!(found, Err(Violation::LogMatching { node: ONE, .. })), "{found:?}");
    let found = scene.write(TWO, put_in(3, vec![entry(5, 3, 2)]));
    assert!(matches!(found, Err(Violation::LogMatching { node: TWO, .. })), "{found:?}");
}

#[test]
fn logs_that_part_below_a_common_entry_are_found_in_raft_alone() {
    for (round_is_epoch, is_found) in [(RAFT, true), (PAXOS, false)] {
        let mut scene = Scene::new(round_is_epoch);
        scene.write(ONE, put_in(3, vec![entry(1, 1, 1), entry(2, 3, 3)])).expect("is the first");
        let found = scene.write(TWO, put_in(3, vec![entry(1, 2, 2), entry(2, 3, 3)]));
        assert_eq!(matches!(found, Err(Violation::LogsPart { node: TWO, .. })), is_found, "{found:?}");
    }
}

#[test]
fn a_message_whose_entries_follow_another_one_is_found() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put_in(3, vec![entry(1, 1, 1), entry(2, 3, 3)])).expect("is the first");
    let right = scene.sent(ONE, &Vouched::default(), carried(after(1, 1), &[entry(2, 3, 3), entry(3, 3, 4)]));
    assert_eq!(right, Ok(()));
    let found = scene.sent(ONE, &Vouched::default(), carried(after(1, 2), &[entry(2, 3, 3)]));
    assert!(matches!(found, Err(Violation::LogsPart { index: LogIndex(2), .. })), "{found:?}");
}

#[test]
fn a_suffix_that_is_kept_behind_another_entry_and_a_hole_are_found_in_raft() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put(vec![entry(1, 1, 1), entry(2, 1, 2)])).expect("is the first");
    let found = scene.write(ONE, put_in(2, vec![entry(1, 2, 3)]));
    assert!(matches!(found, Err(Violation::LogsPart { index: LogIndex(2), .. })), "{found:?}");
    let found = Scene::new(RAFT).write(ONE, put(vec![entry(2, 1, 2)]));
    assert!(matches!(found, Err(Violation::LogsPart { index: LogIndex(2), below: None, .. })), "{found:?}");
}

#[test]
fn writes_of_one_sync_are_each_taken_as_they_found_the_log() {
    let mut scene = Scene::new(RAFT);
    let first = put(vec![entry(1, 1, 1), entry(2, 1, 2)]);
    let second = Write { remove_from: Some(LogIndex(1)), ..put_in(3, vec![entry(1, 2, 3), entry(2, 3, 4)]) };
    assert_eq!(scene.sync(ONE, &[first.clone(), second]), Ok(()));
    assert_eq!(scene.sync(TWO, &[first]), Ok(()));
}

#[test]
fn a_message_that_vouches_for_what_is_in_memory_alone_is_found() {
    let mut scene = Scene::new(RAFT);
    let held = Held { index: LogIndex(1), under: Under::AtLeast(Ballot::new(1, ONE)) };
    let vote = Vouched { ballot: Some(Ballot::new(3, ONE)), ..Vouched::default() };
    let accept = Vouched { held: vec![held], ..Vouched::default() };
    assert!(scene.sent(ONE, &vote, None).is_err());
    assert!(scene.sent(ONE, &accept, None).is_err());
    scene.write(ONE, put_in(3, vec![entry(1, 1, 1)])).expect("is the first");
    assert_eq!(scene.sent(ONE, &vote, None), Ok(()));
    assert_eq!(scene.sent(ONE, &accept, None), Ok(()));
}

#[test]
fn an_acknowledgement_while_the_old_entry_is_still_on_disk_is_found() {
    let mut scene = Scene::new(RAFT);
    // The old one may be of an earlier term, or of a later one as in figure 8 of the paper.
    scene.write(TWO, put_in(2, vec![entry(1, 1, 1), entry(2, 2, 2)])).expect("is the first");
    scene.sent(ONE, &Vouched::default(), carried(after(0, 0), &[entry(1, 1, 1), entry(2, 1, 3)])).expect("leads");
    scene.write(TWO, put_in(3, vec![])).expect("is a promise");
    let matched = |index| {
        let held = vec![Held { index: LogIndex(index), under: Under::LeaderOf(Ballot::new(3, ONE)) }];
        Vouched { ballot: Some(Ballot::new(3, NodeId::NONE)), held, ..Vouched::default() }
    };
    assert_eq!(scene.sent(TWO, &matched(1), None), Ok(()));
    let found = scene.sent(TWO, &matched(2), None);
    assert!(matches!(found, Err(Violation::NotOnDisk { node: TWO, .. })), "{found:?}");
    let replaced = Write { remove_from: Some(LogIndex(2)), ..put_in(3, vec![entry(2, 1, 3)]) };
    scene.write(TWO, replaced).expect("replaces it");
    assert_eq!(scene.sent(TWO, &matched(2), None), Ok(()));
}

#[test]
fn what_a_leader_has_below_its_first_entries_is_known_from_what_they_follow() {
    let mut scene = Scene::new(RAFT);
    scene.write(TWO, put_in(3, vec![entry(1, 2, 1)])).expect("is the first");
    scene.sent(ONE, &Vouched::default(), carried(after(1, 1), &[])).expect("probes");
    let held = vec![Held { index: LogIndex(1), under: Under::LeaderOf(Ballot::new(3, ONE)) }];
    assert!(scene.sent(TWO, &Vouched { held, ..Vouched::default() }, None).is_err());
}

#[test]
fn a_vote_on_disk_binds_to_one_candidate_of_a_term() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put_in(3, vec![])).expect("is the first");
    let vouched = |node| Vouched { ballot: Some(Ballot::new(3, node)), ..Vouched::default() };
    assert!(scene.sent(ONE, &vouched(TWO), None).is_err());
    assert_eq!(scene.sent(ONE, &vouched(NodeId::NONE), None), Ok(()));
}
