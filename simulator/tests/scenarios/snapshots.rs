//! Snapshots on their way and at their end: older ones, doubled ones, two at once, damaged ones, and crashes at every
//! step of an installation.

use std::time::Duration;

use consensus_api::{LogIndex, NodeId};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::plan::{Fault, Kind, Moment, Target};
use simulator::trace::Happening;
use simulator::{Protocol, WorldConfig};

use crate::stage::{ONE, Stage, THREE, TWO, Words, holds};

stories! {
    both {
        a_proposal_that_is_doubled_across_a_change_of_leader_and_a_snapshot_is_applied_once,
        a_snapshot_older_than_what_is_applied_changes_nothing,
        pieces_that_are_lost_doubled_and_reordered_make_one_snapshot,
        two_snapshots_in_quick_succession_end_in_the_newer_state,
        a_crash_of_the_receiver_at_every_step_leaves_the_old_state_or_the_new,
        a_crash_of_the_sender_at_every_step_ends_in_another_transfer,
        a_crash_after_the_hard_state_and_before_the_snapshot_keeps_both_as_they_were,
        a_full_disk_takes_no_snapshot_and_the_replica_goes_on,
        a_full_disk_receives_no_snapshot_until_there_is_room,
        a_snapshot_that_is_spoilt_at_rest_is_refused_and_another_one_fetched,
        a_chunk_that_is_damaged_on_its_way_is_sent_again,
    }
    raft { what_followed_another_entry_than_the_snapshots_last_is_removed }
    multi_paxos { what_was_accepted_above_a_snapshot_stays }
}

/// 3 has missed so many appends of "x", and what it lacks is no longer in the others' logs.
fn behind_snapshots<P: Words>(config: WorldConfig, entries: usize) -> Stage<P> {
    let mut stage = Stage::<P>::with_short_logs(config);
    holds(stage.world.flush_tables(THREE));
    stage.isolate(THREE);
    for _ in 0..entries {
        stage.append(ONE, "k", "x");
        stage.run_for(Duration::from_millis(5));
    }
    stage.take_snapshot(ONE);
    stage.take_snapshot(TWO);
    let applied = stage.world.applied(THREE).expect("it runs");
    assert!(stage.world.trimmed_through(ONE) > applied && stage.world.trimmed_through(TWO) > applied);
    stage
}

/// As [`behind_snapshots`], with some entries, and nothing goes wrong by itself.
fn behind<P: Words>() -> Stage<P> {
    behind_snapshots(WorldConfig::default(), 20)
}

fn ends_with<P: Words>(stage: &mut Stage<P>, value: &str) {
    stage.converges(&[ONE, TWO, THREE]);
    for node in [ONE, TWO, THREE] {
        assert_eq!(stage.value(node, "k").as_deref(), Some(value), "at {node}");
    }
}

/// 3 has forwarded an append to 1 and hears nothing of it any more. A copy is still on its way when 3 has been restored
/// from a snapshot that holds its effect, and 1 has led, died, and leads again.
fn a_proposal_that_is_doubled_across_a_change_of_leader_and_a_snapshot_is_applied_once<P: Words>() {
    let mut stage = Stage::<P>::with_short_logs(WorldConfig::default());
    let x = stage.append(THREE, "k", "x");
    assert_eq!(stage.double(THREE, ONE, "Propose"), 1);
    let mut copies = stage.hold(THREE, ONE, "Propose");
    assert_eq!(copies.len(), 2);
    let late = copies.split_off(1);
    stage.hand_in(copies);
    stage.isolate(THREE);
    stage.run(1);
    assert_eq!(stage.value(TWO, "k").as_deref(), Some("x"));
    assert!(!stage.acknowledged(x), "3 has heard of it");

    stage.take_snapshot(TWO);
    stage.crash(ONE);
    stage.world.heal();
    stage.campaign(TWO);
    stage.run(3);
    assert_eq!(stage.value(THREE, "k").as_deref(), Some("x"));
    assert!(stage.installed(THREE) > 0, "3 was not restored from a snapshot");
    stage.restart(ONE);
    stage.run(1);
    stage.campaign(ONE);
    stage.run(1);
    assert!(stage.leads(ONE));
    stage.hand_in(late);
    stage.must_acknowledge(ONE);
    ends_with(&mut stage, "x");
}

/// 2's snapshot is older than the one of 1's that 3 has installed.
fn a_snapshot_older_than_what_is_applied_changes_nothing<P: Words>() {
    let mut stage = behind::<P>();
    stage.append(ONE, "k", "y");
    stage.run(1);
    stage.take_snapshot(ONE);
    stage.world.mend(ONE, THREE);
    stage.world.mend(THREE, ONE);
    stage.run(3);
    let (applied, installed) = (stage.world.applied(THREE).expect("it runs"), stage.installed(THREE));
    assert!(installed > 0 && stage.world.kept_snapshots(TWO)[0].position.index < applied);

    stage.world.heal();
    for _ in 0..2 {
        holds(stage.world.offer_snapshot(TWO, THREE));
        stage.run(1);
    }
    let answers = |happening: &Happening<P::Message>| matches!(happening, Happening::PieceReceived(THREE, TWO, words) if words.starts_with("Installed"));
    assert!(stage.history().iter().any(answers), "3 was not offered it");
    assert_eq!(stage.installed(THREE), installed);
    assert!(stage.world.applied(THREE).expect("it runs") >= applied);
    ends_with(&mut stage, &("x".repeat(20) + "y"));
}

fn pieces_that_are_lost_doubled_and_reordered_make_one_snapshot<P: Words>() {
    let mut stage = behind::<P>();
    let mut links = stage.links();
    (links.loss_permille, links.duplicate_permille, links.tail_mean_us) = (100, 1000, 5_000);
    stage.world.set_links(links);
    stage.world.heal();
    stage.run(6);
    assert_eq!(stage.installed(THREE), 1);
    stage.world.set_links(simulator::world::LinkFaults { loss_permille: 0, ..links });
    ends_with(&mut stage, &"x".repeat(20));
}

/// Both offer theirs at once, and 2's is the newer one.
fn two_snapshots_in_quick_succession_end_in_the_newer_state<P: Words>() {
    let mut stage = behind::<P>();
    stage.append(ONE, "k", "y");
    stage.run(1);
    stage.take_snapshot(TWO);
    let [one, two] = [ONE, TWO].map(|node| stage.world.kept_snapshots(node)[0].position.index);
    assert!(two > one);
    stage.world.heal();
    holds(stage.world.offer_snapshot(ONE, THREE));
    holds(stage.world.offer_snapshot(TWO, THREE));
    stage.run(4);
    holds(stage.world.offer_snapshot(TWO, THREE));
    stage.run(4);
    assert!((1..=2).contains(&stage.installed(THREE)));
    assert!(stage.world.applied(THREE) >= Some(two));
    ends_with(&mut stage, &("x".repeat(20) + "y"));
}

/// Whatever step it is, and whether or not what was received so far survives.
fn a_crash_of_the_receiver_at_every_step_leaves_the_old_state_or_the_new<P: Words>() {
    use Moment::{NextChunkReceived, NextInstall, NextInstalled, NextSwap, NextTrim};
    for moment in [NextChunkReceived, NextInstall, NextSwap, NextTrim, NextInstalled] {
        for seed in 0..6 {
            let mut stage = behind::<P>();
            let old = stage.world.applied(THREE).expect("it runs");
            let new = stage.world.kept_snapshots(ONE)[0].position.index;
            let fault = stage.inflict(Fault::Crash(Target::Node(THREE), moment), seed);
            stage.world.heal();
            stage.run(3);
            assert!(!stage.world.is_up(THREE), "{moment}: it has not come to that");
            let is_swapped = !matches!(moment, NextChunkReceived | NextInstall);
            assert_eq!(stage.installed(THREE), u64::from(is_swapped), "{moment}");
            holds(stage.world.relieve(&fault));
            let found = stage.world.applied(THREE).expect("it runs again");
            assert_eq!(found, if is_swapped { new } else { old }, "{moment}: a mixture");
            ends_with(&mut stage, &"x".repeat(20));
        }
    }
}

fn a_crash_of_the_sender_at_every_step_ends_in_another_transfer<P: Words>() {
    use Moment::{NextChunkSent, NextSnapshotTaken, NextTrim};
    for moment in [NextSnapshotTaken, NextTrim, NextChunkSent] {
        let mut stage = behind::<P>();
        let fault = stage.inflict(Fault::Crash(Target::Node(ONE), moment), 1);
        stage.append(ONE, "k", "y");
        stage.run_for(Duration::from_millis(20));
        stage.take_snapshot(ONE);
        stage.world.heal();
        stage.run(2);
        assert!(!stage.world.is_up(ONE), "{moment}: it has not come to that");
        holds(stage.world.relieve(&fault));
        stage.settles_within(10);
        assert!(stage.installed(THREE) > 0, "{moment}");
        ends_with(&mut stage, &("x".repeat(20) + "y"));
    }
}

/// 3 has voted in a later epoch, which is on its disk; the snapshot of that epoch's leader is not.
fn a_crash_after_the_hard_state_and_before_the_snapshot_keeps_both_as_they_were<P: Words>() {
    let mut stage = behind::<P>();
    let (applied, before) = (stage.world.applied(THREE).expect("it runs"), stage.ballot_on_disk(THREE));
    let fault = stage.inflict(Fault::Crash(Target::Node(THREE), Moment::NextInstall), 3);
    stage.world.heal();
    stage.campaign(TWO);
    stage.run(4);
    assert!(!stage.world.is_up(THREE));
    let promised = stage.ballot_on_disk(THREE);
    assert!(promised > before, "3 has promised nothing since");
    holds(stage.world.relieve(&fault));
    assert_eq!((stage.world.applied(THREE), stage.ballot(THREE)), (Some(applied), promised));
    ends_with(&mut stage, &"x".repeat(20));
    assert!(stage.ballot_on_disk(THREE) >= promised);
}

fn a_full_disk_takes_no_snapshot_and_the_replica_goes_on<P: Words>() {
    let mut stage = behind::<P>();
    let kept = stage.world.kept_snapshots(ONE);
    let fault = stage.inflict(Fault::NoRoom(Target::Node(ONE)), 1);
    stage.append(ONE, "k", "y");
    stage.run(1);
    stage.world.order_snapshot(ONE);
    stage.run(1);
    assert_eq!((stage.counts().of(Kind::NoRoom), stage.world.kept_snapshots(ONE)), (1, kept.clone()));
    stage.must_acknowledge(ONE);
    holds(stage.world.relieve(&fault));
    stage.world.order_snapshot(ONE);
    stage.run(1);
    assert!(stage.world.kept_snapshots(ONE)[0].position.index > kept[0].position.index);
    stage.world.heal();
    ends_with(&mut stage, &("x".repeat(20) + "y"));
}

fn a_full_disk_receives_no_snapshot_until_there_is_room<P: Words>() {
    let mut stage = behind::<P>();
    let applied = stage.world.applied(THREE);
    let fault = stage.inflict(Fault::NoRoom(Target::Node(THREE)), 1);
    stage.world.heal();
    stage.run(4);
    assert_eq!((stage.counts().of(Kind::NoRoom), stage.installed(THREE)), (1, 0));
    assert!(stage.world.is_up(THREE) && stage.world.applied(THREE) == applied, "the old state stands");
    stage.must_acknowledge(ONE);
    holds(stage.world.relieve(&fault));
    stage.run(2);
    assert_eq!(stage.installed(THREE), 1);
    ends_with(&mut stage, &"x".repeat(20));
}

/// The sender reads what is spoilt, and its checksum of the chunk is right: the receiver finds it at the end.
fn a_snapshot_that_is_spoilt_at_rest_is_refused_and_another_one_fetched<P: Words>() {
    let mut stage = behind::<P>();
    for node in [ONE, TWO] {
        stage.inflict(Fault::Spoil(Target::Node(node)), 1);
    }
    let applied = stage.world.applied(THREE);
    stage.world.heal();
    stage.run(6);
    assert!(stage.counts().snapshots_refused > 0, "nobody has noticed");
    assert!(stage.installed(THREE) == 1 && stage.world.applied(THREE) > applied);
    ends_with(&mut stage, &"x".repeat(20));
}

fn a_chunk_that_is_damaged_on_its_way_is_sent_again<P: Words>() {
    let mut stage = behind_snapshots::<P>(WorldConfig { garbled_permille: 400, ..WorldConfig::default() }, 20);
    stage.world.heal();
    stage.run(6);
    assert!(stage.counts().chunks_garbled > 0);
    assert_eq!((stage.counts().snapshots_refused, stage.installed(THREE)), (0, 1));
    ends_with(&mut stage, &"x".repeat(20));
}

/// 1 has written ten entries that nobody else knows of, and is sent a snapshot that ends among them; it dies once its
/// engine has heard of it, with all that is durable or, where `is_durable`, a moment later.
fn snapshot_among_stray_entries<P: Words>(is_durable: bool) -> (Stage<P>, LogIndex) {
    let mut stage = Stage::<P>::with_short_logs(WorldConfig::default());
    stage.isolate(ONE);
    for _ in 0..10 {
        stage.append(ONE, "k", "stray");
    }
    stage.run_for(Duration::from_millis(20));
    stage.campaign(TWO);
    stage.run(1);
    for _ in 0..3 {
        stage.append(TWO, "k", "x");
        stage.run_for(Duration::from_millis(20));
    }
    for node in [TWO, THREE] {
        stage.take_snapshot(node);
    }
    let base = stage.world.kept_snapshots(TWO)[0].position.index;
    assert!(stage.last(ONE) > base && stage.world.trimmed_through(TWO) == base);
    let fault = (!is_durable).then(|| stage.inflict(Fault::Crash(Target::Node(ONE), Moment::NextInstalled), 1));
    stage.world.heal();
    stage.run(3);
    assert_eq!(stage.installed(ONE), 1);
    assert_eq!(stage.world.is_up(ONE), fault.is_none());
    (stage, base)
}

fn strays<P: Protocol + Words>(stage: &Stage<P>, node: NodeId, base: LogIndex) -> usize {
    let entries = stage.world.disk(node).expect("it has one").durable_entries();
    entries.iter().filter(|entry| entry.index > base && entry.ballot.round == 1).count()
}

/// The entry of 1's at the snapshot's last index was another one, so what followed it belongs to no log.
fn what_followed_another_entry_than_the_snapshots_last_is_removed() {
    let (mut stage, base) = snapshot_among_stray_entries::<Raft>(true);
    assert_eq!(strays(&stage, ONE, base), 0);
    ends_with(&mut stage, "xxx");

    // The crash comes before the removal is on disk: a start makes up for it.
    let (mut stage, base) = snapshot_among_stray_entries::<Raft>(false);
    assert!(strays(&stage, ONE, base) > 0, "it was removed before the crash");
    stage.restart(ONE);
    assert_eq!(stage.last(ONE), base);
    ends_with(&mut stage, "xxx");
}

/// A snapshot says nothing of the slots above it: what 1 has accepted there binds it as before.
fn what_was_accepted_above_a_snapshot_stays() {
    let (mut stage, base) = snapshot_among_stray_entries::<MultiPaxos>(false);
    let accepted = strays(&stage, ONE, base);
    assert!(accepted > 0);
    let ballot = stage.ballot_on_disk(ONE);
    stage.restart(ONE);
    assert_eq!(strays(&stage, ONE, base), accepted);
    assert!(stage.last(ONE) > base && stage.ballot(ONE) >= ballot);
    ends_with(&mut stage, "xxx");
}
