#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::faults::Change;

const LEN: usize = 1200;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn link(change: &Change) -> Link {
    let mut link = Link::new(LinkName::new(1, 2), 7);
    link.set_faults(Faults::default().with(change).unwrap());
    link
}

/// The fates of `count` packets, one every `every`.
fn fates(link: &mut Link, count: u32, every: Duration) -> Vec<Fate> {
    (0..count).map(|number| link.offer(every * number, LEN)).collect()
}

fn arrivals(fates: &[Fate]) -> Vec<Duration> {
    let at = |fate: &Fate| match fate {
        Fate::Delivered { at, .. } => Some(*at),
        Fate::Dropped(_) => None,
    };
    fates.iter().filter_map(at).collect()
}

fn share(permille: u16) -> Option<Share> {
    Some(Share::of_thousand(permille))
}

#[test]
fn a_whole_link_delivers_at_once() {
    let mut link = link(&Change::default());
    assert_eq!(link.offer(ms(3), LEN), Fate::Delivered { at: ms(3), copy_at: None });
    assert!(link.arrive());
    assert_eq!((link.counters().packets, link.counters().delivered, link.counters().bytes), (1, 1, LEN as u64));
}

#[test]
fn the_same_seed_decides_the_same_fates_and_another_seed_others() {
    let stormy = Change {
        jitter_us: Some(7_000),
        loss: share(100),
        duplicate: share(100),
        reorder: share(100),
        ..Change::default()
    };
    let run = |name, seed| {
        let mut link = Link::new(name, seed);
        link.set_faults(Faults::default().with(&stormy).unwrap());
        fates(&mut link, 500, ms(1))
    };
    let name = LinkName::new(1, 2);
    assert_eq!(run(name, 7), run(name, 7));
    assert_ne!(run(name, 7), run(name, 8));
    assert_ne!(run(name, 7), run(name.reverse(), 7), "the two directions do not suffer alike");
}

#[test]
fn the_fates_of_a_seed_stay_what_they_are() {
    let mut link =
        link(&Change { delay_us: Some(10_000), jitter_us: Some(4_000), loss: share(300), ..Change::default() });
    let text: Vec<String> = fates(&mut link, 6, ms(1))
        .iter()
        .map(|fate| match fate {
            Fate::Delivered { at, .. } => format!("{} µs", at.as_micros()),
            Fate::Dropped(cause) => format!("{cause:?}"),
        })
        .collect();
    assert_eq!(text, ["13062 µs", "17974 µs", "13962 µs", "Loss", "14492 µs", "17064 µs"]);
}

#[test]
fn a_setting_shifts_nobody_elses_chance() {
    let lost = |change: &Change| -> Vec<bool> {
        fates(&mut link(change), 1000, ms(1)).iter().map(|fate| matches!(fate, Fate::Dropped(_))).collect()
    };
    let plain = lost(&Change { loss: share(50), ..Change::default() });
    let delayed = lost(&Change { loss: share(50), jitter_us: Some(9_000), duplicate: share(500), ..Change::default() });
    assert_eq!(plain, delayed);
    let more = lost(&Change { loss: share(100), ..Change::default() });
    assert!(plain.iter().zip(&more).all(|(few, many)| *many || !few), "what is lost at 5 % is lost at 10 %");
}

#[test]
fn shares_are_kept_over_many_packets() {
    let mut link = link(&Change { loss: share(50), duplicate: share(200), reorder: share(100), ..Change::default() });
    fates(&mut link, 100_000, Duration::from_micros(10));
    let counters = link.counters();
    assert!((4_700..5_300).contains(&counters.dropped_loss), "{counters:?}");
    assert!((18_400..19_600).contains(&counters.duplicated), "{counters:?}");
    assert!((9_000..10_000).contains(&counters.reordered), "{counters:?}");
}

#[test]
fn everything_or_nothing_is_lost_at_the_ends_of_the_scale() {
    let mut all = link(&Change { loss: share(1000), ..Change::default() });
    assert!(arrivals(&fates(&mut all, 1000, ms(1))).is_empty());
    let mut none = link(&Change { loss: share(0), ..Change::default() });
    assert_eq!(arrivals(&fates(&mut none, 1000, ms(1))).len(), 1000);
}

#[test]
fn a_delay_keeps_the_order_and_jitter_does_not() {
    let mut even = link(&Change { delay_us: Some(20_000), ..Change::default() });
    assert_eq!(arrivals(&fates(&mut even, 3, ms(1))), [ms(20), ms(21), ms(22)]);
    let mut uneven = link(&Change { delay_us: Some(20_000), jitter_us: Some(5_000), ..Change::default() });
    let arrivals = arrivals(&fates(&mut uneven, 10_000, ms(1)));
    assert!(!arrivals.is_sorted());
    let extra: Vec<Duration> = (0..).map(ms).zip(&arrivals).map(|(sent, at)| *at - sent - ms(20)).collect();
    let mean = extra.iter().sum::<Duration>() / 10_000;
    assert!((ms(4)..ms(6)).contains(&mean), "{mean:?}");
    assert!(extra.iter().all(|extra| *extra <= ms(40)), "bounded by eight means");
}

#[test]
fn a_delay_of_a_fraction_of_a_millisecond_is_kept_to_the_microsecond() {
    let us = Duration::from_micros;
    let mut near = link(&Change { delay_us: Some(250), ..Change::default() });
    assert_eq!(arrivals(&fates(&mut near, 3, us(10))), [us(250), us(260), us(270)]);
    let mut uneven = link(&Change { delay_us: Some(250), jitter_us: Some(40), ..Change::default() });
    let arrivals = arrivals(&fates(&mut uneven, 10_000, us(10)));
    let extra: Duration = (0..).map(|number| us(10 * number + 250)).zip(&arrivals).map(|(due, at)| *at - due).sum();
    assert!((us(38)..us(42)).contains(&(extra / 10_000)), "{:?}", extra / 10_000);
}

#[test]
fn a_packet_that_is_held_back_is_overtaken() {
    let mut link = link(&Change { reorder: share(100), ..Change::default() });
    let arrivals = arrivals(&fates(&mut link, 1000, ms(1)));
    assert!(!arrivals.is_sorted());
    let late = (0..).map(ms).zip(&arrivals).filter(|(sent, at)| **at == *sent + REORDER_HOLD).count();
    assert_eq!(late as u64, link.counters().reordered);
}

#[test]
fn a_rate_spaces_packets_and_drops_what_its_queue_cannot_hold() {
    // 1200 bytes take 10 ms, and five of them fit in.
    let mut link = link(&Change { rate_bytes_per_s: Some(120_000), queue_bytes: Some(6_000), ..Change::default() });
    let burst: Vec<Fate> = (0..8).map(|_| link.offer(ms(100), LEN)).collect();
    assert_eq!(arrivals(&burst), [ms(110), ms(120), ms(130), ms(140), ms(150)]);
    assert_eq!(link.counters().dropped_queue, 3);
    assert_eq!(arrivals(&[link.offer(ms(120), LEN)]), [ms(160)], "room again as the queue empties");
    assert_eq!(arrivals(&[link.offer(ms(500), LEN)]), [ms(510)], "an idle link saves nothing up");
}

#[test]
fn a_rate_that_is_lifted_leaves_no_queue_behind() {
    let mut link = link(&Change { rate_bytes_per_s: Some(1_000), ..Change::default() });
    link.offer(ms(0), LEN);
    link.set_faults(Faults::default());
    assert_eq!(arrivals(&[link.offer(ms(1), LEN)]), [ms(1)]);
}

#[test]
fn a_cut_takes_what_enters_and_what_is_under_way() {
    let mut link = link(&Change { delay_us: Some(20_000), ..Change::default() });
    assert!(matches!(link.offer(ms(0), LEN), Fate::Delivered { .. }));
    link.set_faults(link.faults().with(&Change::cut(true)).unwrap());
    assert_eq!(link.offer(ms(1), LEN), Fate::Dropped(DropCause::Cut));
    assert!(!link.arrive(), "the first one was under way");
    assert_eq!((link.counters().dropped_cut, link.counters().delivered), (2, 0));
    link.set_faults(link.faults().with(&Change::cut(false)).unwrap());
    assert_eq!(arrivals(&[link.offer(ms(30), LEN)]), [ms(50)], "healed, with its other faults");
}
