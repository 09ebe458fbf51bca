//! Each check finds what it is there to find, and nothing else. What is about logs is in [`logs`], and what is about
//! snapshots in [`snapshots`], what is about sessions in [`sessions`], what is about members in [`members`].

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod logs;
mod members;
mod sessions;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus_api::engine::encode_ballot;
use consensus_api::{Blob, LogStore, LogTime, Member, Membership, Payload, Role, WriteId};

use super::*;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// The ballots of a Raft round are one epoch.
const RAFT: bool = true;
/// Every Paxos ballot is one.
const PAXOS: bool = false;

fn id(sequence: u64) -> RequestId {
    RequestId { origin: ONE, boot: 1, sequence }
}

/// The command of this number, under a ballot of node 1.
fn entry(index: u64, round: u64, sequence: u64) -> SharedEntry {
    let payload = Payload::Command { id: id(sequence), data: Blob::from("a") };
    let ballot = Ballot::new(round, ONE);
    Arc::new(Entry { index: LogIndex(index), ballot, log_time: LogTime::default(), payload })
}

/// Entries, put by a node that has promised the first round of node 1.
fn put(entries: Vec<SharedEntry>) -> Write {
    put_in(1, entries)
}

/// Entries, put by a node that has promised this round of node 1.
fn put_in(round: u64, entries: Vec<SharedEntry>) -> Write {
    let hard_state = Some(encode_ballot(Ballot::new(round, ONE)));
    Write { id: WriteId(1), hard_state, entries, ..Write::default() }
}

fn removal(from: u64) -> Write {
    Write { id: WriteId(2), remove_from: Some(LogIndex(from)), ..Write::default() }
}

/// The disk of a node that has had no other.
fn owner(node: NodeId) -> Identity {
    (node, StoreId(node.0.into()))
}

/// Of three founders.
fn founders() -> Membership {
    let member = |node: NodeId| (node, Member { address: format!("{node}:1"), store: owner(node).1 });
    Membership::of_voters([ONE, TWO, THREE].map(member))
}

fn checks(round_is_epoch: bool) -> Checks {
    Checks::new(round_is_epoch, founders(), 64)
}

/// The checks, and the three disks that they look at.
struct Scene {
    checks: Checks,
    disks: [Disk; 3],
}

impl Scene {
    fn new(round_is_epoch: bool) -> Scene {
        Scene { checks: checks(round_is_epoch), disks: std::array::from_fn(|_| Disk::new()) }
    }

    fn owned(disks: &[Disk; 3]) -> Vec<OwnedDisk<'_>> {
        disks.iter().zip(1..).map(|(disk, node)| (owner(NodeId(node)), disk)).collect()
    }

    fn disk(&self, node: NodeId) -> &Disk {
        &self.disks[node.0 as usize - 1]
    }

    /// The node's disk performs these writes with one sync.
    fn sync(&mut self, node: NodeId, writes: &[Write]) -> Result<(), Violation> {
        self.disk(node).write(writes).expect("memory does not fail");
        self.checks.written(owner(node), writes, &Scene::owned(&self.disks))
    }

    fn write(&mut self, node: NodeId, write: Write) -> Result<(), Violation> {
        self.sync(node, &[write])
    }

    fn commit(&mut self, node: NodeId, entry: &SharedEntry) -> Result<(), Violation> {
        let owned = Scene::owned(&self.disks);
        self.checks.committed((node, &self.disks[node.0 as usize - 1]), std::slice::from_ref(entry), &owned)
    }

    /// The entry is written at nodes 1 and 2, and committed by node 1.
    fn carry_out(&mut self, entry: &SharedEntry) -> Result<(), Violation> {
        self.write(ONE, put(vec![entry.clone()]))?;
        self.write(TWO, put(vec![entry.clone()]))?;
        self.commit(ONE, entry)
    }

    fn sent(&mut self, node: NodeId, vouched: &Vouched, carried: Option<Carried<'_>>) -> Result<(), Violation> {
        self.sent_by(node, LogIndex::ZERO, vouched, carried)
    }

    /// As [`Scene::sent`], of a node that knows everything up to `commit` to be committed.
    fn sent_by(
        &mut self,
        node: NodeId,
        commit: LogIndex,
        vouched: &Vouched,
        carried: Option<Carried<'_>>,
    ) -> Result<(), Violation> {
        self.checks.sent((node, &self.disks[node.0 as usize - 1]), commit, vouched, carried.as_ref())
    }
}

fn status(role: Role, ballot: Ballot, commit: u64) -> EngineStatus {
    EngineStatus {
        role,
        leader: None,
        ballot,
        commit_index: LogIndex(commit),
        last_index: LogIndex(commit),
        base_index: LogIndex::ZERO,
        membership: Arc::new(founders()),
        is_changing: false,
        progress: BTreeMap::new(),
    }
}

#[test]
fn two_leaders_of_a_round_are_one_too_many_in_raft_alone() {
    for (round_is_epoch, is_found) in [(RAFT, true), (PAXOS, false)] {
        let mut checks = checks(round_is_epoch);
        checks.stepped(ONE, &status(Role::Leader, Ballot::new(3, ONE), 0)).expect("leads");
        let second = checks.stepped(TWO, &status(Role::Leader, Ballot::new(3, TWO), 0));
        assert_eq!(second.is_err(), is_found);
    }
}

#[test]
fn a_node_that_leads_once_more_in_the_same_ballot_after_a_restart_is_a_second_leader() {
    for round_is_epoch in [RAFT, PAXOS] {
        let mut checks = checks(round_is_epoch);
        let (ballot, blank) = (Ballot::new(3, ONE), status(Role::Follower, Ballot::ZERO, 0));
        checks.started((ONE, &Disk::new()), &blank, LogIndex::ZERO).expect("is blank");
        checks.stepped(ONE, &status(Role::Leader, ballot, 0)).expect("leads");
        checks.stepped(ONE, &status(Role::Leader, ballot, 1)).expect("still does");
        checks.started((ONE, &Disk::new()), &blank, LogIndex::ZERO).expect("has nothing on disk");
        let found = checks.stepped(ONE, &status(Role::Leader, ballot, 0));
        assert_eq!(found, Err(Violation::TwoLeaders { ballot, node: ONE, other: ONE }));
    }
}

#[test]
fn a_leader_in_a_ballot_of_another_node_is_found() {
    let ballot = Ballot::new(3, TWO);
    let found = checks(PAXOS).stepped(ONE, &status(Role::Leader, ballot, 0));
    assert_eq!(found, Err(Violation::TwoLeaders { ballot, node: ONE, other: TWO }));
}

#[test]
fn what_goes_back_is_found() {
    let mut checks = checks(RAFT);
    checks.stepped(ONE, &status(Role::Follower, Ballot::new(3, TWO), 5)).expect("is the first");
    assert!(checks.stepped(ONE, &status(Role::Follower, Ballot::new(2, TWO), 5)).is_err());
    assert!(checks.stepped(ONE, &status(Role::Follower, Ballot::new(3, TWO), 4)).is_err());
}

#[test]
fn a_ballot_that_a_restart_loses_is_found_unless_the_disk_was_wiped() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put_in(3, vec![])).expect("is the first");
    let found =
        scene.checks.started((ONE, &Disk::new()), &status(Role::Follower, Ballot::new(2, ONE), 0), LogIndex::ZERO);
    assert!(matches!(found, Err(Violation::WentBack { node: ONE, .. })), "{found:?}");
    scene.checks.wiped(ONE);
    assert_eq!(
        scene.checks.started((ONE, &Disk::new()), &status(Role::Follower, Ballot::ZERO, 0), LogIndex::ZERO),
        Ok(())
    );
}

#[test]
fn a_ballot_that_goes_back_on_disk_is_found() {
    let mut scene = Scene::new(PAXOS);
    scene.write(ONE, put_in(3, vec![])).expect("is the first");
    let found = scene.write(ONE, put_in(2, vec![]));
    assert!(matches!(found, Err(Violation::WentBack { node: ONE, .. })), "{found:?}");
}

#[test]
fn a_second_vote_in_a_term_is_found_and_a_higher_ballot_of_a_round_is_not() {
    for (round_is_epoch, is_found) in [(RAFT, true), (PAXOS, false)] {
        let mut scene = Scene::new(round_is_epoch);
        let vote = |node| Write { hard_state: Some(encode_ballot(Ballot::new(3, node))), ..Write::default() };
        scene.write(ONE, vote(ONE)).expect("is the first");
        assert_eq!(scene.write(ONE, vote(TWO)).is_err(), is_found);
    }
}

#[test]
fn a_node_that_skips_or_repeats_an_entry_is_found() {
    for wrong in [entry(3, 1, 3), entry(1, 1, 1)] {
        let mut checks = checks(RAFT);
        checks.applied(ONE, &[entry(1, 1, 1)]).expect("is the first");
        let found = checks.applied(ONE, &[wrong]);
        assert!(matches!(found, Err(Violation::Chain { node: ONE, .. })), "{found:?}");
    }
}

#[test]
fn a_node_that_applies_another_history_is_found_and_another_ballot_is_no_other_history() {
    let mut checks = checks(PAXOS);
    checks.applied(ONE, &[entry(1, 1, 1), entry(2, 1, 2)]).expect("is the first");
    checks.applied(TWO, &[entry(1, 2, 1)]).expect("is the same value");
    let found = checks.applied(TWO, &[entry(2, 1, 3)]);
    assert!(matches!(found, Err(Violation::Chain { node: TWO, index: LogIndex(2), .. })), "{found:?}");
}

#[test]
fn after_a_restart_a_node_goes_on_from_what_its_tables_have_applied() {
    let follower = status(Role::Follower, Ballot::ZERO, 0);
    let scene = || {
        let mut checks = checks(RAFT);
        checks.started((ONE, &Disk::new()), &follower, LogIndex::ZERO).expect("is blank");
        checks.applied(ONE, &[entry(1, 1, 1), entry(2, 1, 2)]).expect("is the first");
        checks
    };
    let mut checks = scene();
    checks.started((ONE, &Disk::new()), &follower, LogIndex(1)).expect("a batch was lost");
    assert_eq!(checks.applied(ONE, &[entry(2, 1, 2)]), Ok(()));
    for wrong in [entry(1, 1, 1), entry(3, 1, 3), entry(2, 1, 4)] {
        let mut checks = scene();
        checks.started((ONE, &Disk::new()), &follower, LogIndex(1)).expect("a batch was lost");
        let found = checks.applied(ONE, &[wrong]);
        assert!(matches!(found, Err(Violation::Chain { node: ONE, .. })), "{found:?}");
    }
    let found = scene().started((ONE, &Disk::new()), &follower, LogIndex(3));
    assert!(matches!(found, Err(Violation::Chain { node: ONE, index: LogIndex(3), .. })), "{found:?}");
}

#[test]
fn a_request_that_is_carried_out_twice_or_after_its_refusal_is_found() {
    let is_about = |found: Result<(), Violation>, sequence| match found {
        Err(Violation::Request { id: found, .. }) => found == id(sequence),
        _ => false,
    };
    let mut scene = Scene::new(PAXOS);
    scene.carry_out(&entry(1, 1, 1)).expect("is carried out once");
    assert!(is_about(scene.carry_out(&entry(2, 1, 1)), 1));
    scene.checks.refused(id(3), &Refusal::Busy).expect("is not committed");
    assert!(is_about(scene.carry_out(&entry(3, 1, 3)), 3));
    assert!(is_about(scene.checks.refused(id(1), &Refusal::Busy), 1));
}

#[test]
fn an_acknowledgement_of_what_is_not_committed_there_is_found() {
    let mut scene = Scene::new(PAXOS);
    scene.carry_out(&entry(1, 1, 1)).expect("is carried out");
    assert_eq!(scene.checks.acknowledged(id(1), LogIndex(1)), Ok(()));
    assert!(scene.checks.acknowledged(id(1), LogIndex(2)).is_err());
    assert!(scene.checks.acknowledged(id(2), LogIndex(1)).is_err());
}

#[test]
fn a_read_below_what_a_client_saw_before_is_found() {
    let mut checks = checks(RAFT);
    checks.read_asked(id(1));
    checks.read_served(id(1), LogIndex(5)).expect("nothing was visible before");
    checks.read_asked(id(2));
    let found = checks.read_served(id(2), LogIndex(4));
    assert_eq!(found, Err(Violation::StaleRead { id: id(2), served: LogIndex(4), floor: LogIndex(5) }));
}

#[test]
fn tables_that_differ_are_found() {
    let mut checks = checks(RAFT);
    checks.digest(ONE, LogIndex(5), [1; 32]).expect("is the first");
    checks.digest(TWO, LogIndex(6), [2; 32]).expect("stands elsewhere");
    assert!(checks.digest(TWO, LogIndex(5), [2; 32]).is_err());
}

#[test]
fn muted_checks_find_nothing_and_still_know_what_clients_were_told() {
    let mut scene = Scene::new(PAXOS);
    scene.checks.mute();
    scene.write(ONE, put(vec![entry(1, 1, 1)])).expect("is the first");
    assert_eq!(scene.write(TWO, put(vec![entry(1, 1, 2)])), Ok(()));
    assert_eq!(scene.commit(THREE, &entry(1, 1, 3)), Ok(()));
    assert_eq!(scene.checks.acknowledged(id(4), LogIndex(1)), Ok(()));
    assert_eq!(scene.checks.requests.acknowledged_at(id(4)), Some(LogIndex(1)));
}
