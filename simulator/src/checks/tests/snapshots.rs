//! What is about trimmed logs and installed snapshots.

use consensus_api::{AppliedState, LogPosition, Member, SnapshotId, SnapshotManifest, StoreId};

use super::*;

fn position(index: u64, round: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), ballot: Ballot::new(round, ONE) }
}

/// Three entries, chosen, and on the disks of nodes 1 and 2.
fn carried_out(round_is_epoch: bool) -> Scene {
    let mut scene = Scene::new(round_is_epoch);
    for index in 1..=3 {
        scene.carry_out(&entry(index, 1, index)).expect("holds");
    }
    scene
}

impl Scene {
    /// Node 1's log is trimmed, and what `meanwhile` does happens to it along with that.
    fn trim(&mut self, base: u64, persisted: u64, meanwhile: impl FnOnce(&Disk)) -> Result<(), Violation> {
        let disk = &self.disks[0];
        let trim = Trim {
            base: position(base, 1),
            is_installation: false,
            before: disk.durable_entries(),
            hard_state: disk.durable_hard_state(),
            persisted: LogIndex(persisted),
        };
        disk.trim(trim.base).expect("memory does not fail");
        meanwhile(disk);
        self.checks.trimmed((ONE, disk), &trim)
    }
}

#[test]
fn what_is_chosen_and_persisted_may_be_trimmed() {
    assert_eq!(carried_out(PAXOS).trim(3, 3, |_| ()), Ok(()));
}

#[test]
fn a_log_that_is_trimmed_past_the_tables_is_found() {
    assert!(matches!(carried_out(PAXOS).trim(3, 2, |_| ()), Err(Violation::Trimming { .. })));
}

#[test]
fn a_slot_that_is_accepted_and_not_chosen_is_not_to_be_trimmed() {
    let mut scene = carried_out(PAXOS);
    scene.write(ONE, put(vec![entry(4, 1, 4)])).expect("one of three");
    assert!(matches!(scene.trim(4, 4, |_| ()), Err(Violation::Trimming { .. })));
}

#[test]
fn trimming_changes_nothing_above() {
    let emptied = |disk: &Disk| disk.restart_at(position(2, 1)).expect("memory does not fail");
    assert!(matches!(carried_out(PAXOS).trim(2, 3, emptied), Err(Violation::Trimming { .. })));
}

#[test]
fn an_acceptor_that_forgets_is_found_in_paxos_alone() {
    let mut scene = carried_out(PAXOS);
    assert!(matches!(scene.write(THREE, put(vec![entry(4, 2, 4)])), Ok(())));
    assert!(matches!(scene.write(THREE, removal(4)), Err(Violation::Accepts { .. })));
    let mut scene = carried_out(RAFT);
    scene.write(ONE, put(vec![entry(4, 1, 4)])).expect("holds");
    assert_eq!(scene.write(ONE, removal(4)), Ok(()));
}

#[test]
fn an_acceptor_that_accepts_under_a_lower_ballot_is_found() {
    let mut scene = Scene::new(PAXOS);
    scene.write(THREE, put_in(5, vec![entry(1, 5, 1)])).expect("holds");
    assert!(matches!(scene.write(THREE, put_in(5, vec![entry(1, 4, 2)])), Err(Violation::Accepts { .. })));
}

fn members() -> Membership {
    Membership::of_voters([(ONE, Member { address: "one".into(), store: StoreId(1) })])
}

/// Node 1 has applied three entries; node 2 installs a snapshot of that.
fn install(state: AppliedState, membership: Membership) -> Result<(), Violation> {
    let mut scene = carried_out(RAFT);
    let entries: Vec<SharedEntry> = (1..=3).map(|index| entry(index, 1, index)).collect();
    scene.checks.applied(ONE, &entries).expect("holds");
    let position = position(3, 1);
    let log_time = LogTime::default();
    let manifest = SnapshotManifest { id: SnapshotId(1), position, log_time, membership, files: Vec::new() };
    scene.checks.installed(TWO, &manifest, &state, &members())
}

#[test]
fn a_snapshot_without_its_members_is_found() {
    let state = |membership| AppliedState { position: position(3, 1), membership, ..AppliedState::default() };
    assert_eq!(install(state(Some(Arc::new(members()))), members()), Ok(()));
    for (in_tables, in_manifest) in
        [(None, members()), (Some(Arc::new(members())), Membership::default()), (None, Membership::default())]
    {
        assert!(matches!(install(state(in_tables), in_manifest), Err(Violation::Installation { .. })));
    }
}

#[test]
fn a_snapshot_that_is_not_on_the_chain_is_found() {
    let state =
        AppliedState { position: position(4, 1), membership: Some(Arc::new(members())), ..AppliedState::default() };
    assert!(matches!(install(state, members()), Err(Violation::Chain { .. })));
}

#[test]
fn raft_drops_what_followed_another_entry_than_the_snapshots_last() {
    let (own, base) = (entry(3, 1, 3), position(3, 2));
    let went_on = |round_is_epoch, own: &Entry, last| {
        Checks::new(round_is_epoch).went_on_after(ONE, base, Some(own), LogIndex(last))
    };
    assert!(matches!(went_on(RAFT, &own, 4), Err(Violation::Installation { .. })));
    assert_eq!(went_on(RAFT, &own, 3), Ok(()));
    assert_eq!(went_on(RAFT, &entry(3, 2, 3), 4), Ok(()));
    assert_eq!(went_on(PAXOS, &own, 4), Ok(()));
}

/// Until the engine has heard of the snapshot its writes may still go on from its own entry there.
#[test]
fn a_suffix_behind_another_boundary_is_found_once_the_engine_has_heard_of_it() {
    for (hears, is_found) in [(false, false), (true, true)] {
        let mut scene = Scene::new(RAFT);
        scene.write(THREE, put_in(1, vec![entry(1, 1, 1), entry(2, 1, 2), entry(3, 1, 3)])).expect("holds");
        let own = &scene.disks[2];
        let trim = Trim {
            base: position(2, 2),
            is_installation: true,
            before: own.durable_entries(),
            hard_state: own.durable_hard_state(),
            persisted: LogIndex(2),
        };
        own.trim(trim.base).expect("memory does not fail");
        // That nothing is chosen here is another matter.
        let _ = scene.checks.trimmed((THREE, own), &trim);
        if hears {
            scene.checks.heard_of_installation(THREE, WriteId(1));
        }
        let found = scene.write(THREE, put_in(2, vec![]));
        assert_eq!(matches!(found, Err(Violation::LogsPart { .. })), is_found, "{found:?}");
    }
}
