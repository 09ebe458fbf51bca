//! What is about trimmed logs and installed snapshots.

use consensus_api::{AppliedMembership, AppliedState, LogPosition, SnapshotId, SnapshotManifest};

use super::*;
use crate::protocol::{Held, Stretch, Under};

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

/// A snapshot covers three entries, and no more of the log need be there.
const KEPT: Kept = Kept { newest: LogIndex(3), older: None, tail_entries: 0, log_from: None };

impl Scene {
    /// Node 1's log is trimmed, and what `meanwhile` does happens to it along with that.
    fn trim(&mut self, base: u64, persisted: u64, meanwhile: impl FnOnce(&Disk)) -> Result<(), Violation> {
        self.trim_beside(base, persisted, KEPT, meanwhile)
    }

    /// As [`Scene::trim`], where something else is kept.
    fn trim_beside(
        &mut self,
        base: u64,
        persisted: u64,
        kept: Kept,
        meanwhile: impl FnOnce(&Disk),
    ) -> Result<(), Violation> {
        let disk = &self.disks[0];
        let trim = Trim {
            base: position(base, 1),
            kept: Some(kept),
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
fn a_log_that_is_trimmed_one_entry_too_far_is_found_however_much_the_tables_keep() {
    let (older, log_from) = (Some(LogIndex(2)), Some(LogIndex(2)));
    for (kept, through) in [
        (KEPT, 3),
        (Kept { newest: LogIndex(2), ..KEPT }, 2),
        (Kept { tail_entries: 1, ..KEPT }, 2),
        (Kept { tail_entries: 3, older, ..KEPT }, 2),
        (Kept { log_from, ..KEPT }, 2),
    ] {
        assert_eq!(carried_out(PAXOS).trim_beside(through, 3, kept, |_| ()), Ok(()), "{kept:?}");
        let mut scene = carried_out(PAXOS);
        scene.carry_out(&entry(4, 1, 4)).expect("holds");
        let found = scene.trim_beside(through + 1, 4, kept, |_| ());
        assert!(matches!(found, Err(Violation::Trimming { .. })), "{kept:?}");
    }
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

/// What tables name whose members are still the founders.
fn named() -> Option<AppliedMembership> {
    Some(AppliedMembership::founded(Arc::new(founders())))
}

/// Node 1 has applied three entries; node 2 installs a snapshot of that.
fn install(state: AppliedState, membership: Membership) -> Result<(), Violation> {
    let mut scene = carried_out(RAFT);
    let entries: Vec<SharedEntry> = (1..=3).map(|index| entry(index, 1, index)).collect();
    scene.checks.applied(ONE, &entries).expect("holds");
    let position = position(3, 1);
    let log_time = LogTime::default();
    let manifest = SnapshotManifest { id: SnapshotId(1), position, log_time, membership, files: Vec::new() };
    scene.checks.installed(TWO, &manifest, &state)
}

#[test]
fn a_snapshot_without_its_members_is_found() {
    let state = |membership| AppliedState { position: position(3, 1), membership, ..AppliedState::default() };
    assert_eq!(install(state(named()), founders()), Ok(()));
    for (in_tables, in_manifest) in
        [(None, founders()), (named(), Membership::default()), (None, Membership::default())]
    {
        assert!(matches!(install(state(in_tables), in_manifest), Err(Violation::Installation { .. })));
    }
}

#[test]
fn a_snapshot_that_is_not_on_the_chain_is_found() {
    let state = AppliedState { position: position(4, 1), membership: named(), ..AppliedState::default() };
    assert!(matches!(install(state, founders()), Err(Violation::Chain { .. })));
}

#[test]
fn an_installation_keeps_what_is_above_it_unless_raft_had_another_entry_at_its_end() {
    let base = position(3, 2);
    let went_on = |round_is_epoch, own: Option<u64>, (before, after)| {
        let own = own.map(|round| Ballot::new(round, ONE));
        let passage = Passage { base, own, before: LogIndex(before), after: LogIndex(after) };
        checks(round_is_epoch).went_on_after(ONE, &passage).is_err()
    };
    for (round_is_epoch, own, log, is_found) in [
        (RAFT, Some(1), (4, 4), true),
        (RAFT, Some(1), (4, 3), false),
        (RAFT, Some(2), (4, 4), false),
        (RAFT, Some(2), (4, 3), true),
        (RAFT, None, (2, 3), false),
        (PAXOS, Some(1), (4, 4), false),
        (PAXOS, Some(1), (4, 3), true),
        (PAXOS, None, (2, 3), false),
    ] {
        assert_eq!(went_on(round_is_epoch, own, log), is_found, "{round_is_epoch} {own:?} {log:?}");
    }
}

/// Node 1 starts again on these disks, and its engine's log ends at `last`.
fn start(scene: &mut Scene, last: u64) -> Result<(), Violation> {
    let status = EngineStatus { last_index: LogIndex(last), ..status(Role::Follower, Ballot::new(9, ONE), 0) };
    scene.checks.started((ONE, &scene.disks[0]), &status, LogIndex::ZERO)
}

#[test]
fn an_engine_that_starts_without_the_end_of_its_log_is_found() {
    for round_is_epoch in [RAFT, PAXOS] {
        assert_eq!(start(&mut carried_out(round_is_epoch), 3), Ok(()));
        let found = start(&mut carried_out(round_is_epoch), 2);
        assert!(matches!(found, Err(Violation::Installation { .. })), "{found:?}");
    }
}

#[test]
fn an_acceptor_that_starts_from_another_disk_than_it_wrote_is_found() {
    let mut scene = carried_out(PAXOS);
    scene.disks[0].restart_at(position(2, 1)).expect("memory does not fail");
    assert!(matches!(start(&mut scene, 3), Err(Violation::Accepts { .. })));
}

/// Where the terms go down behind the snapshot's last entry, or the log's own entry there is still known, a start removes
/// what follows. Where the log was trimmed before the crash and the terms rise, nobody can tell.
#[test]
fn a_raft_engine_that_starts_with_what_followed_another_entry_is_found() {
    for (own, is_trimmed, is_found) in [(1, true, true), (1, false, true), (5, true, false), (5, false, true)] {
        let mut scene = Scene::new(RAFT);
        scene.write(ONE, put_in(own, vec![entry(1, 1, 1), entry(2, own, 2), entry(3, own, 3)])).expect("holds");
        let disk = &scene.disks[0];
        let (before, hard_state) = (disk.durable_entries(), disk.durable_hard_state());
        let trim = Trim { base: position(2, 3), kept: None, before, hard_state, persisted: LogIndex(2) };
        disk.trim(trim.base).expect("memory does not fail");
        if is_trimmed {
            // That nothing is chosen here is another matter.
            let _ = scene.checks.trimmed((ONE, disk), &trim);
        }
        let found = start(&mut scene, 3);
        assert_eq!(matches!(found, Err(Violation::Installation { .. })), is_found, "{own} {is_trimmed} {found:?}");
    }
}

#[test]
fn a_promise_that_leaves_out_what_was_accepted_is_found() {
    let promise = |first, end: Option<u64>, below, slots: &[(u64, u64)]| {
        let held = |(index, round): &(u64, u64)| Held {
            index: LogIndex(*index),
            under: Under::AtLeast(Ballot::new(*round, ONE)),
        };
        let below = Ballot::new(below, ONE);
        let whole = Some(Stretch { first: LogIndex(first), end: end.map(LogIndex), below });
        Vouched { ballot: Some(below), held: slots.iter().map(held).collect(), whole }
    };
    let leaves_out = |commit, vouched| {
        let mut scene = Scene::new(PAXOS);
        let slots = [(1, 2), (2, 2), (4, 3)];
        scene.write(ONE, put_in(5, slots.map(|(slot, round)| entry(slot, round, slot)).to_vec())).expect("holds");
        matches!(scene.sent_by(ONE, LogIndex(commit), &vouched, None), Err(Violation::Accepts { .. }))
    };
    assert!(!leaves_out(0, promise(1, None, 5, &[(1, 2), (2, 2), (4, 3)])));
    assert!(leaves_out(0, promise(1, None, 5, &[(1, 2), (4, 3)])));
    assert!(leaves_out(0, promise(1, None, 5, &[(1, 2), (2, 2), (4, 2)])), "under a lower ballot");
    assert!(!leaves_out(0, promise(2, Some(4), 5, &[(2, 2)])), "a page in the middle");
    assert!(!leaves_out(0, promise(1, None, 3, &[(1, 2), (2, 2)])), "accepted since");
    assert!(!leaves_out(2, promise(1, None, 5, &[(4, 3)])), "known to be chosen by now");
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
            kept: None,
            before: own.durable_entries(),
            hard_state: own.durable_hard_state(),
            persisted: LogIndex(2),
        };
        own.trim(trim.base).expect("memory does not fail");
        // That nothing is chosen here is another matter.
        let _ = scene.checks.trimmed((THREE, own), &trim);
        if hears {
            scene.checks.heard_of_installation(THREE, WriteId(1), &AppliedState::default());
        }
        let found = scene.write(THREE, put_in(2, vec![]));
        assert_eq!(matches!(found, Err(Violation::LogsPart { .. })), is_found, "{found:?}");
    }
}

/// The engine hears of two snapshots at once. By the first it removes everything behind that, and the write reaches the disk
/// when the second stands for more.
#[test]
fn a_removal_does_not_reach_what_a_later_snapshot_stands_for() {
    let mut scene = Scene::new(RAFT);
    scene.write(ONE, put_in(2, vec![entry(1, 1, 1), entry(2, 1, 2), entry(3, 1, 3), entry(4, 2, 4)])).unwrap();
    for base in [position(2, 1), position(3, 1)] {
        let own = &scene.disks[2];
        let (before, hard_state) = (own.durable_entries(), own.durable_hard_state());
        let trim = Trim { base, kept: None, before, hard_state, persisted: base.index };
        own.trim(base).expect("memory does not fail");
        // That nothing is chosen here is another matter.
        let _ = scene.checks.trimmed((THREE, own), &trim);
        scene.checks.heard_of_installation(THREE, WriteId(1), &AppliedState::default());
    }
    let removal = Write { id: WriteId(1), remove_from: Some(LogIndex(3)), ..Write::default() };
    assert_eq!(scene.write(THREE, removal), Ok(()));
    assert_eq!(scene.write(THREE, put_in(2, vec![entry(4, 2, 4)])), Ok(()));
}
