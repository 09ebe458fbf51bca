//! What a node holds in memory has a bound, whoever is dead and whatever hangs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Disk, Node, accept, accepted, ballot, config, elect, entry, heartbeat_reply, request, voters};
use consensus_api::{Blob, Engine, EngineConfig, Input, LogIndex, LogPosition, Refusal};
use engine_multipaxos::message::Message;

/// A node with a small window.
fn settings() -> EngineConfig {
    let mut settings = config(1);
    settings.limits.window_bytes_max = 20_000;
    settings.limits.open_bytes_max = 20_000;
    settings
}

/// How much there is of the engine, as it prints itself: every entry, run, slot and set that it holds.
fn size(node: &Node) -> usize {
    format!("{:?}", node.paxos).len()
}

#[test]
fn a_leader_with_a_dead_follower_does_not_grow_over_a_million_entries() {
    let mut node = Node::on(settings(), voters(&[1, 2, 3]), Disk::default());
    let b = elect(&mut node);
    let (batch, total) = (100, 1_000_000);
    let mut sizes = Vec::new();
    for round in 1..=total / batch {
        for sequence in (round - 1) * batch + 1..=round * batch {
            node.paxos.step(node.now, Input::Propose { id: request(1, sequence), data: Blob::from("value") });
        }
        node.tick(10);
        let (last, chosen) = (node.last(), node.chosen());
        node.hear(2, accepted(b, &[(chosen + 1, last)], chosen));
        node.hear(2, heartbeat_reply(b, round, chosen));
        node.sync();
        let applied = LogIndex(node.committed.last().expect("entries to apply").index.0);
        node.committed.clear();
        node.step(Input::Applied { through: applied });
        if round % 100 == 0 {
            let base = LogPosition { index: LogIndex(applied.0 - 500), ballot: b };
            node.disk.trim(base);
            node.step(Input::Trimmed { base });
            sizes.push(size(&node));
            let to_the_dead = node.sent_to(3);
            let is_heartbeat = |message: &Message| matches!(message, Message::Heartbeat(_));
            assert!(round == 100 || to_the_dead.len() <= 100 && to_the_dead.iter().all(is_heartbeat));
        }
    }
    assert_eq!((node.chosen(), node.refused.len(), node.snapshots.len()), (total, 0, 0));
    let (first, most) = (sizes[1], sizes.iter().copied().max().unwrap());
    assert!(most < first + first / 4 && most < 500_000, "from {first} to {most}");
}

#[test]
fn a_leader_whose_disk_hangs_takes_no_more_than_its_memory_holds() {
    let mut node = Node::on(settings(), voters(&[1, 2, 3]), Disk::default());
    let b = elect(&mut node);
    for sequence in 1..=2_000 {
        node.propose(sequence);
        let last = node.last();
        for peer in [2, 3] {
            node.hear(peer, accepted(b, &[(last, last)], last));
        }
    }
    assert_eq!(node.chosen(), node.last(), "a quorum goes on without this disk");
    let taken = node.last();
    assert!(taken < 1_000 && node.refused.iter().all(|refused| refused.reason == Refusal::Busy), "{taken} taken");
    node.sync();
    node.refused.clear();
    node.propose(2_001);
    assert_eq!((node.last(), node.refused.len()), (taken + 1, 0));
}

#[test]
fn a_follower_whose_disk_hangs_takes_no_more_than_its_memory_holds() {
    let mut node = Node::on(settings(), voters(&[1, 2, 3]), Disk::default());
    let b = ballot(1, 2);
    for slot in 1..=2_000 {
        node.hear(2, accept(b, vec![entry(slot, 1, 2)], slot));
    }
    let taken = node.last();
    assert!(taken < 1_000, "{taken} taken, all of them chosen by the others");
    node.sync();
    node.hear(2, accept(b, vec![entry(taken + 1, 1, 2)], 2_000));
    assert_eq!(node.chosen(), taken + 1, "it goes on once its disk does");
}
