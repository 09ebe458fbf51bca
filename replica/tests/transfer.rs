//! Transfers over a network that loses, doubles, reorders, damages and is cut, in virtual time.

#![allow(clippy::unwrap_used)]

mod transfer_world;

use std::time::Duration;

use consensus_api::{LogIndex, Member, Membership, MonoTime, NodeId, SendSnapshot, SnapshotStore, StoreId};
use proptest::prelude::*;
use replica::transfer::{
    Courier, Deed, Ended, Rate, Receiving, RefusedBecause, Sending, TransferMessage, TransferSettings, Wish,
};
use transfer_world::{Network, World, content, manifest, settings};

const AT_START: MonoTime = MonoTime::from_micros(1_000_000);

fn at(millis: u64) -> MonoTime {
    AT_START + Duration::from_millis(millis)
}

fn network() -> impl Strategy<Value = Network> {
    (0_u64..300, 0_u64..300, 0_u64..50, 0_u64..400).prop_map(|(lost, doubled, damaged, delay_ms)| Network {
        lost_permille: lost,
        doubled_permille: doubled,
        damaged_permille: damaged,
        delay_ms_max: delay_ms,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Cuts and crashes of either end come in the first half minute, of loss there is no end.
    #[test]
    fn a_snapshot_always_arrives_whole(
        network in network(),
        bytes in 0_u64..3000,
        cuts in prop::collection::vec(0_u64..30_000, 0..4),
        crashes in prop::collection::vec((0_u64..30_000, 1_u64..=2, any::<bool>()), 0..4),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed, network, 2);
        world.keep(NodeId(1), 100, bytes);
        world.want(NodeId(1), NodeId(2), LogIndex(100));
        for start in cuts {
            world.cut(at(start), at(start + 3000));
        }
        for (when, node, survives) in crashes {
            world.crash(NodeId(node), at(when), survives);
        }
        world.run_until(at(240_000), |world| world.applied(NodeId(2)) == LogIndex(100));
        prop_assert_eq!(world.applied(NodeId(2)), LogIndex(100));
    }

    /// The store of this world checks nothing, so a piece of another snapshot would stay in.
    #[test]
    fn two_senders_of_different_snapshots_never_make_a_mixture(
        network in network(),
        (first, second) in (1_u64..3000, 1_u64..3000),
        newer_at in 0_u64..5_000,
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed, network, 3);
        world.keep(NodeId(1), 100, first);
        world.keep(NodeId(2), 120, second);
        world.want(NodeId(1), NodeId(3), LogIndex(100));
        world.want(NodeId(2), NodeId(3), LogIndex(120));
        // One that is newer than both replaces what is being sent.
        world.run_until(at(newer_at), |_| false);
        world.keep(NodeId(1), 140, first);
        world.run_until(at(240_000), |world| world.applied(NodeId(3)) >= LogIndex(120));
        prop_assert!(world.applied(NodeId(3)) >= LogIndex(120));
    }
}

#[test]
fn what_survived_a_cut_is_not_sent_again() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 100_000);
    world.want(NodeId(1), NodeId(2), LogIndex(100));
    for cut in [200, 2000] {
        world.cut(at(cut), at(cut + 1500));
    }
    world.crash(NodeId(2), at(4000), true);
    world.crash(NodeId(1), at(5500), true);
    world.run_until(at(60_000), |world| world.applied(NodeId(2)) == LogIndex(100));
    assert_eq!(world.applied(NodeId(2)), LogIndex(100));
    let again = world.chunk_bytes - 100_000;
    assert!(again <= 6 * settings().window_bytes, "{again} bytes were sent again, for two cuts and two crashes");
}

#[test]
fn a_transfer_keeps_to_its_rate_and_reaches_it() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 100_000);
    world.want(NodeId(1), NodeId(2), LogIndex(100));
    world.run_until(at(60_000), |world| world.applied(NodeId(2)) == LogIndex(100));
    let took = world.now.since(AT_START);
    // 100,000 bytes at 20,000 a second.
    assert!(took >= Duration::from_millis(4900), "{took:?}");
    assert!(took <= Duration::from_millis(6000), "{took:?}");
}

#[test]
fn a_snapshot_that_is_kept_no_longer_gives_way_to_a_newer_one() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 60_000);
    world.want(NodeId(1), NodeId(2), LogIndex(100));
    world.run_until(at(500), |_| false);
    world.node(NodeId(1)).store.forget(100);
    world.keep(NodeId(1), 150, 500);
    world.run_until(at(60_000), |world| world.applied(NodeId(2)) >= LogIndex(100));
    assert_eq!(world.applied(NodeId(2)), LogIndex(150));
}

#[test]
fn a_peer_that_has_arrived_is_left_alone_and_the_log_behind_its_snapshot_is_kept_for_a_while() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 1000);
    world.want(NodeId(1), NodeId(2), LogIndex(100));
    world.run_until(at(60_000), |world| world.applied(NodeId(2)) == LogIndex(100));
    let arrived = world.now;
    world.run_until(arrived + Duration::from_secs(1), |_| false);
    let held = world.held(NodeId(1));
    assert_eq!((held.log_from, held.sending.len()), (Some(LogIndex(100)), 0));
    world.want_no_more();
    world.run_until(arrived + Duration::from_secs(40), |_| false);
    assert_eq!(world.held(NodeId(1)).log_from, None, "but not for ever");
}

#[test]
fn a_sender_that_nobody_answers_sends_no_more_than_a_window_and_gives_up() {
    let snapshot = std::sync::Arc::new(manifest(100, 10_000));
    let mut sending = Sending::new(snapshot.clone(), settings(), AT_START);
    let rate = Rate::new(u64::MAX);
    let (mut offers, mut bytes) = (0, 0);
    for millis in 0..40_000 {
        while let Some(wish) = sending.next(at(millis), &rate) {
            match wish {
                Wish::Send(_) => offers += 1,
                Wish::Read { offset, bytes_max, .. } => {
                    let read = content(100, 10_000).slice(offset as usize..offset as usize + bytes_max);
                    bytes += read.len() as u64;
                    sending.chunk(read).unwrap();
                }
            }
        }
        if millis == 10 {
            sending.hear(at(millis), &TransferMessage::Have { id: snapshot.id, offset: 0 });
        }
    }
    assert_eq!((sending.ended(), bytes), (Some(&Ended::Silent), settings().window_bytes));
    assert!((28..=31).contains(&offers), "{offers} offers in thirty seconds");
}

/// A receiver and what it wants done.
fn receiver(applied: u64) -> (Receiving, Vec<Deed>) {
    (Receiving::new(TransferSettings::default(), LogIndex(applied)), Vec::new())
}

fn offer(index: u64) -> TransferMessage {
    TransferMessage::Offer { manifest: manifest(index, 100) }
}

fn replies(deeds: &mut Vec<Deed>) -> Vec<TransferMessage> {
    let messages = deeds.drain(..).filter_map(|deed| match deed {
        Deed::Send { message, .. } => Some(message),
        _ => None,
    });
    messages.collect()
}

#[test]
fn an_offer_that_is_no_newer_than_the_tables_is_answered_with_what_is_applied() {
    let (mut receiving, mut deeds) = receiver(100);
    receiving.hear(AT_START, NodeId(1), offer(100), &mut deeds);
    let installed = TransferMessage::Installed { id: manifest(100, 100).id, index: LogIndex(100) };
    assert_eq!(replies(&mut deeds), [installed]);
    assert_eq!(receiving.incoming(), None);
}

#[test]
fn a_newer_offer_of_the_same_sender_replaces_what_is_being_received_and_an_older_one_does_not() {
    let (mut receiving, mut deeds) = receiver(0);
    for (index, expected) in [(100, 100), (120, 120), (110, 120)] {
        receiving.hear(AT_START, NodeId(1), offer(index), &mut deeds);
        receiving.begun(manifest(index, 100).id, Ok(0), &mut deeds);
        assert_eq!(receiving.incoming().unwrap().position.index, LogIndex(expected));
    }
}

#[test]
fn another_sender_waits_until_the_first_is_silent() {
    let (mut receiving, mut deeds) = receiver(0);
    receiving.hear(at(0), NodeId(1), offer(100), &mut deeds);
    receiving.begun(manifest(100, 100).id, Ok(0), &mut deeds);
    deeds.clear();
    receiving.hear(at(4000), NodeId(2), offer(120), &mut deeds);
    let busy = TransferMessage::Refused { id: manifest(120, 100).id, why: RefusedBecause::Busy };
    assert_eq!(replies(&mut deeds), [busy]);
    receiving.hear(at(5000), NodeId(2), offer(120), &mut deeds);
    assert_eq!(receiving.incoming().unwrap().position.index, LogIndex(120));
}

#[test]
fn a_damaged_chunk_is_asked_for_again_and_never_stored() {
    let (mut receiving, mut deeds) = receiver(0);
    let id = manifest(100, 100).id;
    receiving.hear(AT_START, NodeId(1), offer(100), &mut deeds);
    receiving.begun(id, Ok(40), &mut deeds);
    deeds.clear();
    let sound = TransferMessage::chunk(id, 40, content(100, 100).slice(40..60));
    let TransferMessage::Chunk { bytes, crc, .. } = sound.clone() else { unreachable!() };
    let damaged = TransferMessage::Chunk { id, offset: 40, bytes, crc: crc ^ 1 };
    receiving.hear(AT_START, NodeId(1), damaged, &mut deeds);
    assert_eq!(deeds.len(), 1);
    assert_eq!(replies(&mut deeds), [TransferMessage::Have { id, offset: 40 }]);
    receiving.hear(AT_START, NodeId(1), sound, &mut deeds);
    assert!(matches!(&deeds[..], [Deed::Append { offset: 40, .. }]), "{deeds:?}");
}

#[test]
fn a_store_that_takes_nothing_ends_the_reception_with_its_reason_and_the_next_offer_begins_anew() {
    let (mut receiving, mut deeds) = receiver(0);
    let id = manifest(100, 100).id;
    receiving.hear(AT_START, NodeId(1), offer(100), &mut deeds);
    receiving.begun(id, Err("no room".into()), &mut deeds);
    let refused = TransferMessage::Refused { id, why: RefusedBecause::Failed("no room".into()) };
    assert_eq!(replies(&mut deeds), [refused]);
    receiving.hear(AT_START, NodeId(1), offer(100), &mut deeds);
    assert!(matches!(&deeds[..], [Deed::Begin(_)]), "{deeds:?}");
}

#[test]
fn a_snapshot_that_cannot_be_installed_there_is_not_sent_a_second_time() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 1000);
    world.node(NodeId(2)).store.refuses(100);
    world.want(NodeId(1), NodeId(2), LogIndex(100));
    world.run_until(at(20_000), |world| world.takes > 0);
    assert!(world.takes > 0, "a new one is wanted in its place");
    world.keep(NodeId(1), 130, 1000);
    world.run_until(at(60_000), |world| world.applied(NodeId(2)) >= LogIndex(100));
    assert_eq!(world.applied(NodeId(2)), LogIndex(130));
    assert_eq!(world.node(NodeId(1)).store.kept().unwrap().len(), 2);
}

#[test]
fn nothing_is_sent_to_a_peer_that_has_left_and_nothing_kept_for_it() {
    let mut world = World::new(1, Network::default(), 2);
    world.keep(NodeId(1), 100, 3000);
    let store = world.node(NodeId(1)).store.clone();
    let mut courier = Courier::new(store, settings(), LogIndex(100));
    for peer in [2, 3] {
        courier.wanted(AT_START, SendSnapshot { to: NodeId(peer), at_least: LogIndex(100) });
    }
    assert_eq!(courier.held(AT_START).sending.len(), 2);
    let stays = (NodeId(2), Member { address: "127.0.0.1:2".into(), store: StoreId(2) });
    courier.stay_with(&Membership::of_voters([stays]));
    let work = courier.work(AT_START);
    assert!(!work.messages.is_empty() && work.messages.iter().all(|(to, _)| *to == NodeId(2)));
    courier.stay_with(&Membership::default());
    assert_eq!((courier.held(AT_START).sending.len(), courier.held(AT_START).log_from), (0, None));
}
