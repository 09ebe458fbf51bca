//! Logs that were compacted past what a peer still needs, and nodes that come back to them: under load, again and again,
//! and as proposers.

use std::time::Duration;

use consensus_api::{Limits, LogIndex};
use engine_multipaxos::MultiPaxos;
use simulator::WorldConfig;
use simulator::trace::Happening;

use crate::stage::{ONE, Stage, THREE, TWO, Words, holds, often};

stories! {
    both {
        a_follower_that_was_away_for_thousands_of_entries_comes_back_under_load,
        a_slow_replica_is_not_locked_in_a_sequence_of_snapshots,
        the_log_is_kept_for_a_peer_until_it_has_gone_on_from_its_snapshot,
        what_arrives_late_for_a_compacted_index_changes_nothing,
    }
    raft {}
    multi_paxos {
        a_proposer_that_is_behind_the_others_snapshots_catches_up_before_it_leads,
        an_acceptor_that_compacts_between_two_pages_of_its_promise_says_what_is_chosen,
        a_slot_that_is_accepted_and_not_known_to_be_chosen_is_never_compacted,
    }
}

/// A command each millisecond.
fn load<P: Words>(stage: &mut Stage<P>, ms: u64) {
    for number in 0..ms {
        stage.put(ONE, format!("k{}", number % 50), vec![b'v'; 64]);
        stage.run_for(Duration::from_millis(1));
        if number % 50 == 0 {
            for node in stage.world.ids() {
                holds(stage.world.flush_tables(node));
            }
        }
    }
}

fn behind<P: Words>(stage: &Stage<P>) -> u64 {
    let applied = |node| stage.world.applied(node).expect("it runs").0;
    applied(ONE).saturating_sub(applied(THREE))
}

fn a_follower_that_was_away_for_thousands_of_entries_comes_back_under_load<P: Words>() {
    let mut stage = Stage::<P>::with_short_logs(WorldConfig { snapshots: often(300), ..WorldConfig::default() });
    stage.isolate(THREE);
    load(&mut stage, 4000);
    assert!(behind(&stage) > 3900);
    let on_disk = stage.world.disk(ONE).expect("it has one").durable_entries().len();
    assert!(on_disk < 1000, "the log has grown to {on_disk} entries");
    stage.world.heal();
    load(&mut stage, 2000);
    assert!((1..=2).contains(&stage.installed(THREE)), "{} installations", stage.installed(THREE));
    assert!(behind(&stage) < 100, "3 is {} entries behind", behind(&stage));
    stage.converges(&[ONE, TWO, THREE]);
    assert!(stage.counts().entries_trimmed > 3000);
}

/// Snapshots are taken several times while one is on its way to 3, and the log behind them is trimmed each time.
fn a_slow_replica_is_not_locked_in_a_sequence_of_snapshots<P: Words>() {
    let mut snapshots = often(40);
    snapshots.transfer.bytes_per_second = 20_000;
    let mut stage = Stage::<P>::with_short_logs(WorldConfig { snapshots, ..WorldConfig::default() });
    stage.isolate(THREE);
    load(&mut stage, 500);
    stage.world.heal();
    let taken = stage.counts().snapshots_taken;
    load(&mut stage, 3000);
    assert!(stage.counts().snapshots_taken > taken + 3, "no snapshot was taken meanwhile");
    assert!((1..=2).contains(&stage.installed(THREE)), "{} installations", stage.installed(THREE));
    assert!(behind(&stage) < 100, "3 is {} entries behind", behind(&stage));
    stage.converges(&[ONE, TWO, THREE]);
}

/// After its snapshot has arrived 3 is cut off again, for less than the time for which the log is kept.
fn the_log_is_kept_for_a_peer_until_it_has_gone_on_from_its_snapshot<P: Words>() {
    let mut snapshots = often(40);
    snapshots.transfer.keep_log_for = Duration::from_secs(5);
    let mut stage = Stage::<P>::with_short_logs(WorldConfig { snapshots, ..WorldConfig::default() });
    stage.isolate(THREE);
    load(&mut stage, 300);
    stage.world.heal();
    while stage.installed(THREE) == 0 {
        load(&mut stage, 10);
    }
    load(&mut stage, 5);
    stage.isolate(THREE);
    load(&mut stage, 500);
    assert!(stage.world.trimmed_through(ONE) <= stage.world.applied(THREE).expect("it runs"));
    stage.world.heal();
    load(&mut stage, 500);
    assert_eq!(stage.installed(THREE), 1, "it was sent another one");
    stage.converges(&[ONE, TWO, THREE]);
}

/// A copy of what 1 has sent for an index arrives at 2 when 2 has applied it, taken a snapshot and let go of it.
fn what_arrives_late_for_a_compacted_index_changes_nothing<P: Words>() {
    let mut stage = Stage::<P>::with_short_logs(WorldConfig::default());
    let x = stage.append(ONE, "k", "x");
    assert_eq!(stage.double(ONE, TWO, P::ACCEPT), 1);
    let mut copies = stage.hold(ONE, TWO, P::ACCEPT);
    let late = copies.split_off(1);
    stage.hand_in(copies);
    stage.run(1);
    assert!(stage.acknowledged(x));
    stage.take_snapshot(TWO);
    let base = stage.world.trimmed_through(TWO);
    assert!(base >= stage.world.acknowledged_at(x).expect("it is"));

    stage.hand_in(late);
    stage.run(1);
    assert!(!stage.on_disk(TWO, x), "what is compacted comes back");
    stage.must_acknowledge(ONE);
    stage.converges(&[ONE, TWO, THREE]);
    assert_eq!(stage.value(TWO, "k").as_deref(), Some("x"));
}

/// 3 campaigns against 2, whose log begins far above 3's. "I have nothing there" must not be what 3 hears.
fn a_proposer_that_is_behind_the_others_snapshots_catches_up_before_it_leads() {
    let mut stage = Stage::<MultiPaxos>::with_short_logs(WorldConfig::default());
    stage.isolate(THREE);
    for _ in 0..30 {
        stage.append(ONE, "k", "x");
        stage.run_for(Duration::from_millis(10));
    }
    stage.take_snapshot(TWO);
    let base = stage.world.trimmed_through(TWO);
    stage.crash(ONE);
    stage.world.heal();
    while !stage.leads(THREE) {
        stage.campaign(THREE);
        stage.run_for(Duration::from_millis(100));
    }
    assert!(stage.installed(THREE) > 0 && stage.world.applied(THREE) >= Some(base), "it leads before it has caught up");
    let promises = stage.letters(TWO, THREE, MultiPaxos::VOTE);
    let says = format!("chosen={base}");
    assert!(promises.iter().any(|promise| promise.contains(&says)), "{promises:?}");
    let wanted = |happening: &Happening<_>| matches!(happening, Happening::SnapshotWanted(TWO, to) if to.to == THREE);
    assert!(stage.history().iter().any(wanted), "3's questions were not answered with a snapshot");
    stage.must_acknowledge(THREE);
    stage.converges(&[TWO, THREE]);
    assert_eq!(stage.value(THREE, "k"), Some("x".repeat(30)));
}

/// Each page of 2's promise holds one entry. After the first one 2 takes a snapshot, and its log begins behind the page
/// that 3 asks for next.
fn an_acceptor_that_compacts_between_two_pages_of_its_promise_says_what_is_chosen() {
    let limits = Limits { message_bytes_max: 64, ..Limits::default() };
    let mut stage = Stage::<MultiPaxos>::with_short_logs(WorldConfig { limits, ..WorldConfig::default() });
    stage.isolate(THREE);
    for _ in 0..10 {
        stage.append(ONE, "k", "x");
        stage.run_for(Duration::from_millis(20));
    }
    stage.run(1);
    let before = stage.world.applied(THREE).expect("it runs");
    stage.crash(ONE);
    stage.lose_all();
    stage.world.heal();
    stage.campaign(THREE);
    stage.write(THREE);
    assert_eq!(stage.deliver_kind(THREE, TWO, MultiPaxos::CANVASS), 1);
    stage.write(TWO);
    assert_eq!(stage.on_the_way(TWO, THREE, MultiPaxos::VOTE), 1);
    holds(stage.world.flush_tables(TWO));
    stage.world.order_snapshot(TWO);
    stage.settle();
    stage.write(TWO);
    let base = stage.world.trimmed_through(TWO);
    assert!(base > LogIndex(before.0 + 2), "2 has not compacted what it was asked for");

    stage.settles_within(10);
    let pages = stage.letters(TWO, THREE, MultiPaxos::VOTE);
    assert!(pages[0].contains("next="), "the promise has one page: {pages:?}");
    stage.must_acknowledge(THREE);
    stage.converges(&[TWO, THREE]);
    assert_eq!(stage.value(THREE, "k"), Some("x".repeat(10)));
}

/// 2 has accepted what nobody has told it to be chosen. However often it takes snapshots, its log goes on holding that.
fn a_slot_that_is_accepted_and_not_known_to_be_chosen_is_never_compacted() {
    let mut stage = Stage::<MultiPaxos>::with_short_logs(WorldConfig { snapshots: often(1), ..WorldConfig::default() });
    stage.append(ONE, "k", "x");
    stage.run(1);
    stage.world.cut(TWO, ONE);
    stage.isolate(THREE);
    let open = stage.append(ONE, "k", "y");
    stage.run_for(Duration::from_millis(30));
    let accepted = stage.index_on_disk(TWO, open).expect("2 has accepted it");
    for _ in 0..3 {
        stage.take_snapshot(TWO);
    }
    assert!(stage.world.trimmed_through(TWO) > LogIndex::ZERO, "nothing was compacted");
    assert_eq!(stage.index_on_disk(TWO, open), Some(accepted));
    stage.world.heal();
    stage.converges(&[ONE, TWO, THREE]);
    assert_eq!(stage.value(TWO, "k").as_deref(), Some("xy"));
}
