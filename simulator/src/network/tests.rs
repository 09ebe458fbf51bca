//! What links promise whatever else they do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const LINK: (NodeId, NodeId, Lane) = (A, B, Lane::Replication);

fn network(faults: LinkFaults) -> (Network, SeededRandom) {
    (Network::new(3, faults), SeededRandom::new(7))
}

#[test]
fn a_link_takes_no_more_than_its_bound_and_takes_again_when_something_leaves() {
    let (mut network, mut random) = network(LinkFaults { on_the_way_max: 3, ..LinkFaults::default() });
    let mut send = |network: &mut Network, link| network.send(link, MonoTime::default(), &mut random);
    for _ in 0..3 {
        assert!(matches!(send(&mut network, LINK), Fate::Arrives(_, None)));
    }
    assert_eq!(send(&mut network, LINK), Fate::NoRoom);
    assert!(matches!(send(&mut network, (A, B, Lane::Control)), Fate::Arrives(..)), "lanes do not fill each other");
    assert!(matches!(send(&mut network, (B, A, Lane::Replication)), Fate::Arrives(..)), "nor do directions");
    network.left(A, B, Lane::Replication);
    assert!(matches!(send(&mut network, LINK), Fate::Arrives(..)));
}

#[test]
fn copies_count_toward_the_bound() {
    let faults = LinkFaults { on_the_way_max: 3, duplicate_permille: 1000, ..LinkFaults::default() };
    let (mut network, mut random) = network(faults);
    let fates: Vec<Fate> = (0..3).map(|_| network.send(LINK, MonoTime::default(), &mut random)).collect();
    let now = MonoTime::default();
    assert_eq!(fates, [Fate::Arrives(now, Some(now)), Fate::Arrives(now, None), Fate::NoRoom]);
}

#[test]
fn a_link_cut_twice_is_whole_when_both_cuts_have_ended() {
    let (mut network, _) = network(LinkFaults::default());
    assert!(network.cut(A, B));
    assert!(!network.cut(A, B));
    assert!(!network.mend(A, B) && network.is_cut(A, B));
    assert!(network.mend(A, B) && !network.is_cut(A, B));
    assert!(!network.mend(A, B), "it was whole already");
}

#[test]
fn a_link_clogged_twice_is_free_when_both_clogs_have_ended() {
    let (mut network, _) = network(LinkFaults::default());
    network.clog(A, B);
    network.clog(A, B);
    assert!(!network.unclog(A, B) && network.is_clogged(A, B));
    assert!(network.unclog(A, B) && !network.is_clogged(A, B));
}

#[test]
fn weather_ends_in_any_order_and_the_last_holds() {
    let (mut network, _) = network(LinkFaults::default());
    let loss = |loss_permille| LinkFaults { loss_permille, ..LinkFaults::default() };
    network.begin_weather(1, loss(10));
    network.begin_weather(2, loss(20));
    assert_eq!(network.faults().loss_permille, 20);
    network.end_weather(1);
    assert_eq!(network.faults().loss_permille, 20);
    network.end_weather(2);
    assert_eq!(network.faults().loss_permille, 0);
}

#[test]
fn an_ordered_lane_stays_in_order_through_spikes() {
    let faults = LinkFaults {
        delay: SpanUs::new(10, 2000),
        tail_mean_us: 1000,
        spikes_permille: 100,
        in_order: true,
        ..LinkFaults::default()
    };
    let (mut network, mut random) = network(faults);
    let arrivals: Vec<MonoTime> = (0..500)
        .map(|micros| match network.send(LINK, MonoTime { micros }, &mut random) {
            Fate::Arrives(due, _) => due,
            fate => panic!("{fate:?}"),
        })
        .collect();
    assert!(arrivals.is_sorted());
    assert!(arrivals.last().is_some_and(|last| last.micros > 20_000), "there was no spike in {arrivals:?}");
}
