//! When a leader carries the log's time forward: one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::*;
use consensus_api::{Engine, Input, LogIndex, LogTime, Payload};

fn ticks(node: &Node) -> usize {
    node.unsynced.iter().flat_map(|write| &write.entries).filter(|entry| entry.payload == Payload::Tick).count()
}

#[test]
fn an_idle_leader_ticks_when_asked_and_the_log_time_goes_forward() {
    let mut node = leader();
    node.step(Input::KeepTime { every: Some(Duration::from_millis(30)) });
    node.propose(1);
    node.sync();
    node.hear(2, accepted(ballot(1, 1), &[(1, 1)], 0));
    let before = node.disk.entries[&LogIndex(1)].log_time;
    assert!(node.paxos.deadline() <= node.now + Duration::from_millis(30));
    node.tick(29);
    assert_eq!(ticks(&node), 0);
    node.tick(1);
    assert_eq!(ticks(&node), 1);
    node.sync();
    assert_eq!(node.disk.entries[&LogIndex(2)].log_time, LogTime { millis: before.millis + 30 });
}

#[test]
fn who_appends_otherwise_does_not_tick_and_nobody_ticks_who_was_not_asked() {
    let mut node = leader();
    for sequence in 1..=10 {
        if sequence == 6 {
            node.step(Input::KeepTime { every: Some(Duration::from_millis(20)) });
        }
        node.propose(sequence);
        node.hear(2, accepted(ballot(1, 1), &[(sequence, sequence)], 0));
        node.sync();
        node.tick(15);
        assert_eq!(ticks(&node), 0);
    }
    node.step(Input::KeepTime { every: None });
    node.tick(50);
    assert_eq!(ticks(&node), 0);
}

#[test]
fn a_leader_without_a_quorum_does_not_fill_its_log_with_ticks() {
    let mut settings = config(1);
    settings.timing.check_quorum = false;
    let mut node = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    node.step(Input::KeepTime { every: Some(Duration::from_millis(10)) });
    for _ in 0..50 {
        node.tick(10);
        assert!(node.paxos.deadline() > node.now);
        node.sync();
    }
    assert_eq!(node.last(), 1);
}

#[test]
fn a_follower_remembers_the_wish_and_ticks_once_it_leads_and_not_before_its_takeover_is_done() {
    let mut node = Node::blank(1);
    node.step(Input::KeepTime { every: Some(Duration::from_millis(30)) });
    node.hear(2, accept(ballot(1, 2), vec![entry(1, 1, 2)], 0));
    node.sync();
    node.tick(60);
    assert_eq!(node.last(), 1);
    let b = elect(&mut node);
    node.sync();
    node.tick(30);
    assert_eq!(node.last(), 1, "what it took over is not chosen again");
    node.hear(2, accepted(b, &[(1, 1)], 0));
    assert_eq!((node.last(), ticks(&node)), (2, 1));
}
