//! Disks that tear, rot, fill up and fail: what a node has told anybody is there or the node does not run, and it never
//! says "I don't have it" of what it has had.

use consensus_api::{Limits, NodeId, RequestId};
use simulator::WorldConfig;
use simulator::disk::{Ailment, Damage, DiskError, Fate, Spot};
use simulator::faults::Survivors;
use simulator::plan::{Fault, Target};
use simulator::trace::Happening;

use crate::stage::{ONE, Stage, THREE, TWO, Words, holds};

stories! {
    both {
        of_a_torn_tail_only_what_nobody_was_told_of_is_cut_off,
        a_corrupt_record_is_never_answered_with_i_do_not_have_it,
        a_record_that_belongs_elsewhere_is_not_taken_for_the_right_one,
        a_leader_that_reads_a_misplaced_record_stops_and_sends_nothing_of_it,
        a_node_whose_sync_has_failed_is_finished_though_the_next_would_succeed,
        a_full_disk_acknowledges_nothing,
        a_leader_that_cannot_read_its_log_stops_and_sends_nothing_malformed,
    }
    raft {}
    multi_paxos {}
}

/// The power fails with two records under way: torn, missing, or out of order, they are cut off from the first that is
/// not whole. What was acknowledged lies below, and stays.
fn of_a_torn_tail_only_what_nobody_was_told_of_is_cut_off<P: Words>() {
    let tails =
        [([Fate::Torn, Fate::Whole], false), ([Fate::Missing, Fate::Whole], false), ([Fate::Whole, Fate::Torn], true)];
    for (fates, first_survives) in tails {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        let a = stage.append(ONE, "k", "a");
        stage.stabilize();
        assert!(stage.acknowledged(a) && stage.on_disk(TWO, a));
        let b = stage.append(ONE, "k", "b");
        stage.deliver(ONE, TWO);
        let c = stage.append(ONE, "k", "c");
        stage.deliver(ONE, TWO);
        assert_eq!(stage.world.at_stake(TWO).writes, 2);
        assert_eq!(stage.on_the_way(TWO, ONE, P::ACCEPTED), 0, "2 has told of what is not synced");

        holds(stage.world.crash_with(TWO, &fates, Survivors::default()));
        assert_eq!(stage.counts().tails_cut, 1, "nothing was cut off");
        assert!(stage.on_disk(TWO, a), "what was acknowledged is cut off");
        assert_eq!((stage.on_disk(TWO, b), stage.on_disk(TWO, c)), (first_survives, false), "{fates:?}");
        stage.restart(TWO);
        stage.converges(&[ONE, TWO, THREE]);
        assert!(stage.acknowledged(b) && stage.acknowledged(c));
        assert_eq!(stage.value(TWO, "k").as_deref(), Some("abc"));
    }
}

/// What a start of the node was refused for.
fn refused_start<P: Words>(stage: &mut Stage<P>, node: NodeId) -> Option<DiskError> {
    stage.history().iter().rev().find_map(|happening| match happening {
        Happening::NotStarted(who, error) if *who == node => Some(*error),
        _ => None,
    })
}

/// x is acknowledged by 1 and 2; then 2's disk loses a record in the middle of its log, whichever it is, and 1 is down.
/// If 2 started without it, 2 and 3 would elect a leader that has never heard of x.
fn damage_in_the_middle<P: Words>(damage: Damage, error: fn(Spot) -> DiskError) {
    for seed in 0..4 {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        stage.isolate(THREE);
        for letter in ["x", "y"] {
            let id = stage.append(ONE, "k", letter);
            stage.exchange(&[ONE, TWO]);
            assert!(stage.acknowledged(id) && !stage.on_disk(THREE, id));
        }
        stage.inflict(Fault::Damage(Target::Node(TWO), damage), seed);
        stage.crash(TWO);
        stage.crash(ONE);
        stage.lose_all();
        stage.world.heal();

        stage.restart(TWO);
        assert!(!stage.world.is_up(TWO), "2 runs on a log with a hole in it");
        let told = refused_start(&mut stage, TWO).expect("2 has said why");
        let (DiskError::Corrupt(spot) | DiskError::Misplaced(spot)) = told else { panic!("{told}") };
        assert_eq!(told, error(spot));
        stage.run(20);
        assert_eq!(stage.world.leader(), None, "3 is elected without those who know of x");

        stage.restart(ONE);
        stage.settles_within(10);
        stage.must_acknowledge(THREE);
        stage.converges(&[ONE, THREE]);
        assert_eq!(stage.value(THREE, "k").as_deref(), Some("xy"));
    }
}

/// A checksum that is not right, in the middle of the log.
fn a_corrupt_record_is_never_answered_with_i_do_not_have_it<P: Words>() {
    damage_in_the_middle::<P>(Damage::Corrupt, DiskError::Corrupt);
}

/// A checksum that is right, of a record for another index or another group.
fn a_record_that_belongs_elsewhere_is_not_taken_for_the_right_one<P: Words>() {
    damage_in_the_middle::<P>(Damage::Misplaced, DiskError::Misplaced);
}

/// 3 is so far behind that the leader must read back what it needs.
fn with_a_follower_far_behind<P: Words>() -> Stage<P> {
    let limits = Limits { window_bytes_max: 4096, message_bytes_max: 1024, ..Limits::default() };
    let mut stage = Stage::running_with(WorldConfig { limits, ..WorldConfig::default() });
    stage.campaign(ONE);
    stage.run(1);
    stage.isolate(THREE);
    let ids: Vec<RequestId> = (0..100).map(|number| stage.put(ONE, format!("k{number}"), vec![b'v'; 100])).collect();
    stage.run(2);
    assert!(stage.leads(ONE) && ids.iter().all(|id| stage.acknowledged(*id)));
    stage
}

/// The leader meets a bad record, or nothing at all, where it must read for 3: it stops. 2 and 3 go on, and 3 catches up.
fn must_go_on_without_the_leader<P: Words>(stage: &mut Stage<P>) {
    assert_eq!(stage.counts().disk_failures, 1);
    assert!(!stage.world.is_up(ONE), "1 goes on with a log that it cannot read");
    let leader = stage.settles_within(10);
    stage.must_acknowledge(leader);
    stage.converges(&[TWO, THREE]);
    assert_eq!(stage.value(THREE, "k99").map(|value| value.len()), Some(100));
}

/// The checksum is right and the record stands at another's place: a leader that sent it as what it was asked for would
/// put it into other logs.
fn a_leader_that_reads_a_misplaced_record_stops_and_sends_nothing_of_it<P: Words>() {
    let mut met = 0;
    for seed in 0..8 {
        let mut stage = with_a_follower_far_behind::<P>();
        stage.inflict(Fault::Damage(Target::Node(ONE), Damage::Misplaced), seed);
        stage.world.heal();
        stage.run(4);
        if stage.counts().disk_failures == 0 {
            // The record's entry is still in memory, or 3 has it already.
            stage.converges(&[ONE, TWO, THREE]);
            continue;
        }
        met += 1;
        must_go_on_without_the_leader(&mut stage);
        stage.restart(ONE);
        assert!(!stage.world.is_up(ONE), "a later start is no better");
    }
    assert!(met >= 4, "only {met} of 8 damaged records were read");
}

/// Reads fail while the leader brings 3 up. It must not send what it did not read, nor skip it.
fn a_leader_that_cannot_read_its_log_stops_and_sends_nothing_malformed<P: Words>() {
    let mut stage = with_a_follower_far_behind::<P>();
    let fault = stage.inflict(Fault::Disk(Target::Node(ONE), Ailment::ReadsFail), 1);
    stage.world.heal();
    stage.run(4);
    must_go_on_without_the_leader(&mut stage);
    stage.restart(ONE);
    assert_eq!(refused_start(&mut stage, ONE), Some(DiskError::ReadFailed));
    holds(stage.world.relieve(&fault));
    stage.converges(&[ONE, TWO, THREE]);
}

/// 2's disk fails while it writes an entry without which there is no quorum: 2 stops, and nobody hears that it has the
/// entry, until it runs again on a disk that has it.
fn fails_while_it_writes<P: Words>(ailment: Ailment) {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.isolate(THREE);
    stage.stabilize();
    let heard = stage.received(TWO, ONE, P::ACCEPTED);
    let fault = stage.inflict(Fault::Disk(Target::Node(TWO), ailment), 1);
    let x = stage.append(ONE, "k", "x");
    stage.stabilize();
    assert_eq!(stage.counts().disk_failures, 1, "the disk has not failed");
    assert!(!stage.world.is_up(TWO), "2 goes on after its disk has failed");
    assert_eq!(stage.received(TWO, ONE, P::ACCEPTED), heard, "2 has acknowledged what it could not write");
    assert!(!stage.acknowledged(x));
    // A sync that has failed once succeeds the next time, and proves nothing by it.
    let still_ill = stage.world.disk(TWO).expect("it has one").suffers(ailment);
    assert_eq!(still_ill, ailment == Ailment::Full);
    if still_ill {
        stage.restart(TWO);
        assert!(!stage.world.is_up(TWO));
        assert_eq!(refused_start(&mut stage, TWO), Some(DiskError::Full));
    }
    holds(stage.world.relieve(&fault));
    stage.run(3);
    assert!(stage.acknowledged(x) && stage.on_disk(TWO, x));
}

/// An fsync fails once. Linux then marks the pages clean, so that the next one succeeds and what was to be written is
/// nowhere.
fn a_node_whose_sync_has_failed_is_finished_though_the_next_would_succeed<P: Words>() {
    fails_while_it_writes::<P>(Ailment::SyncFails);
}

/// No space is left: a clear error, at the write and at every start until there is room.
fn a_full_disk_acknowledges_nothing<P: Words>() {
    fails_while_it_writes::<P>(Ailment::Full);
}
