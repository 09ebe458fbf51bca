//! Each check finds what it is there to find, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use consensus_api::engine::encode_ballot;
use consensus_api::{Blob, LogStore, LogTime, Membership, Payload, Role, WriteId};

use super::*;
use crate::protocol::Held;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn id(sequence: u64) -> RequestId {
    RequestId { origin: ONE, boot: 1, sequence }
}

fn entry(index: u64, round: u64, sequence: u64) -> SharedEntry {
    let payload = Payload::Command { id: id(sequence), data: Blob::from("a") };
    let ballot = Ballot::new(round, ONE);
    Arc::new(Entry { index: LogIndex(index), ballot, log_time: LogTime::default(), payload })
}

fn put(entries: Vec<SharedEntry>) -> Write {
    Write { id: WriteId(1), entries, ..Write::default() }
}

/// Three disks, of which these nodes' hold the entry.
fn disks(holders: &[u64], entry: &SharedEntry) -> Vec<Disk> {
    let disk = |node| {
        let disk = Disk::new();
        if holders.contains(&node) {
            disk.write(&[put(vec![entry.clone()])]).expect("memory does not fail");
        }
        disk
    };
    (1..=3).map(disk).collect()
}

fn owned(disks: &[Disk]) -> Vec<OwnedDisk<'_>> {
    disks.iter().zip(1..).map(|(disk, node)| (NodeId(node), disk)).collect()
}

fn commit(checks: &mut Checks, node: usize, entry: &SharedEntry, disks: &[Disk]) -> Result<(), Violation> {
    let owned = owned(disks);
    checks.committed(owned[node - 1], std::slice::from_ref(entry), &owned)
}

fn status(role: Role, ballot: Ballot, commit: u64) -> EngineStatus {
    EngineStatus {
        role,
        leader: None,
        ballot,
        commit_index: LogIndex(commit),
        last_index: LogIndex(commit),
        base_index: LogIndex::ZERO,
        membership: Arc::new(Membership::default()),
    }
}

#[test]
fn another_value_at_a_committed_index_is_found() {
    let mut checks = Checks::new(true);
    let (first, second) = (entry(1, 1, 1), entry(1, 2, 2));
    commit(&mut checks, 1, &first, &disks(&[1, 2], &first)).expect("is committed");
    let found = commit(&mut checks, 2, &second, &disks(&[1, 2], &second));
    assert!(matches!(found, Err(Violation::Agreement { node: TWO, .. })), "{found:?}");
}

#[test]
fn the_same_value_under_another_ballot_agrees() {
    let mut checks = Checks::new(false);
    let (first, second) = (entry(1, 1, 1), entry(1, 2, 1));
    commit(&mut checks, 1, &first, &disks(&[1, 2], &first)).expect("is committed");
    assert_eq!(commit(&mut checks, 2, &second, &disks(&[1, 2], &second)), Ok(()));
}

#[test]
fn a_commit_that_a_minority_holds_is_found() {
    let entry = entry(1, 1, 1);
    let found = commit(&mut Checks::new(true), 1, &entry, &disks(&[1], &entry));
    assert_eq!(found, Err(Violation::NotOnAQuorum { index: LogIndex(1), holders: vec![ONE] }));
}

#[test]
fn a_committed_value_that_a_quorum_loses_later_is_found() {
    let mut checks = Checks::new(true);
    let entry = entry(1, 1, 1);
    let disks = disks(&[1, 2], &entry);
    commit(&mut checks, 1, &entry, &disks).expect("is committed");
    let removal = Write { id: WriteId(2), remove_from: Some(LogIndex(1)), ..Write::default() };
    disks[1].write(std::slice::from_ref(&removal)).expect("memory does not fail");
    let found = checks.written(TWO, &[removal], &owned(&disks));
    assert!(matches!(found, Err(Violation::NotOnAQuorum { .. })), "{found:?}");
}

#[test]
fn an_entry_that_is_applied_before_it_is_logged_is_found() {
    let entry = entry(1, 1, 1);
    let found = commit(&mut Checks::new(true), 3, &entry, &disks(&[1, 2], &entry));
    assert_eq!(found, Err(Violation::AppliedBeforeLogged { node: NodeId(3), index: LogIndex(1) }));
}

#[test]
fn two_leaders_of_a_round_are_one_too_many_in_raft_alone() {
    for (round_is_epoch, is_found) in [(true, true), (false, false)] {
        let mut checks = Checks::new(round_is_epoch);
        checks.stepped(ONE, &status(Role::Leader, Ballot::new(3, ONE), 0)).expect("leads");
        let second = checks.stepped(TWO, &status(Role::Leader, Ballot::new(3, TWO), 0));
        assert_eq!(second.is_err(), is_found);
    }
}

#[test]
fn what_goes_back_is_found() {
    let mut checks = Checks::new(true);
    checks.stepped(ONE, &status(Role::Follower, Ballot::new(3, TWO), 5)).expect("is the first");
    assert!(checks.stepped(ONE, &status(Role::Follower, Ballot::new(2, TWO), 5)).is_err());
    assert!(checks.stepped(ONE, &status(Role::Follower, Ballot::new(3, TWO), 4)).is_err());
}

#[test]
fn a_second_vote_in_a_term_is_found_and_a_higher_ballot_of_a_round_is_not() {
    for (round_is_epoch, is_found) in [(true, true), (false, false)] {
        let mut checks = Checks::new(round_is_epoch);
        let vote = |node| Write { hard_state: Some(encode_ballot(Ballot::new(3, node))), ..Write::default() };
        checks.written(ONE, &[vote(ONE)], &[]).expect("is the first");
        assert_eq!(checks.written(ONE, &[vote(TWO)], &[]).is_err(), is_found);
    }
}

#[test]
fn two_values_under_one_ballot_are_found() {
    let mut checks = Checks::new(false);
    checks.written(ONE, &[put(vec![entry(1, 1, 1)])], &[]).expect("is the first");
    let found = checks.written(TWO, &[put(vec![entry(1, 1, 2)])], &[]);
    assert!(matches!(found, Err(Violation::LogMatching { node: TWO, .. })), "{found:?}");
}

#[test]
fn a_request_that_is_carried_out_twice_or_after_its_refusal_is_found() {
    let mut checks = Checks::new(true);
    let (first, again, refused) = (entry(1, 1, 1), entry(2, 1, 1), entry(3, 1, 3));
    commit(&mut checks, 1, &first, &disks(&[1, 2], &first)).expect("is committed");
    assert!(commit(&mut checks, 1, &again, &disks(&[1, 2], &again)).is_err());
    checks.refused(id(3), &Refusal::Busy).expect("is not committed");
    assert!(commit(&mut checks, 1, &refused, &disks(&[1, 2], &refused)).is_err());
    assert!(checks.refused(id(1), &Refusal::Busy).is_err());
}

#[test]
fn a_read_below_what_a_client_saw_before_is_found() {
    let mut checks = Checks::new(true);
    checks.read_asked(id(1));
    checks.read_served(id(1), LogIndex(5)).expect("nothing was visible before");
    checks.read_asked(id(2));
    let found = checks.read_served(id(2), LogIndex(4));
    assert_eq!(found, Err(Violation::StaleRead { id: id(2), served: LogIndex(4), floor: LogIndex(5) }));
}

#[test]
fn tables_that_differ_are_found() {
    let mut checks = Checks::new(true);
    checks.digest(ONE, LogIndex(5), [1; 32]).expect("is the first");
    checks.digest(TWO, LogIndex(6), [2; 32]).expect("stands elsewhere");
    assert!(checks.digest(TWO, LogIndex(5), [2; 32]).is_err());
}

#[test]
fn a_message_that_vouches_for_what_is_in_memory_alone_is_found() {
    let checks = Checks::new(true);
    let disk = Disk::new();
    let held = Held { index: LogIndex(1), ballot: Ballot::new(1, ONE) };
    let vote = Vouched { ballot: Some(Ballot::new(3, TWO)), held: vec![] };
    let accept = Vouched { ballot: None, held: vec![held] };
    assert!(checks.sent((ONE, &disk), &vote).is_err());
    assert!(checks.sent((ONE, &disk), &accept).is_err());
    let hard_state = Some(encode_ballot(Ballot::new(3, TWO)));
    disk.write(&[Write { hard_state, ..put(vec![entry(1, 1, 1)]) }]).expect("memory does not fail");
    assert_eq!(checks.sent((ONE, &disk), &vote), Ok(()));
    assert_eq!(checks.sent((ONE, &disk), &accept), Ok(()));
}

#[test]
fn a_vote_on_disk_binds_to_one_candidate_of_a_term() {
    let checks = Checks::new(true);
    let disk = Disk::new();
    let hard_state = Some(encode_ballot(Ballot::new(3, TWO)));
    disk.write(&[Write { hard_state, ..Write::default() }]).expect("memory does not fail");
    let vouched = |node| Vouched { ballot: Some(Ballot::new(3, node)), held: vec![] };
    assert!(checks.sent((ONE, &disk), &vouched(ONE)).is_err());
    assert_eq!(checks.sent((ONE, &disk), &vouched(NodeId::NONE)), Ok(()));
}
