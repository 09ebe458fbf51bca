//! What a node holds in memory has a bound, whoever is dead and whatever hangs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Disk, Node, append, ballot, config, elect, heartbeat_reply, matched, nowhere, request, voters};
use consensus_api::{Blob, Engine, EngineConfig, Input, LogIndex, LogPosition, Refusal};
use engine_raft::message::Message;

/// A node with a small window.
fn settings() -> EngineConfig {
    let mut settings = config(1);
    settings.limits.window_bytes_max = 20_000;
    settings.limits.open_bytes_max = 20_000;
    settings
}

/// How much there is of the engine, as it prints itself: every entry, run and set that it holds.
fn size(node: &Node) -> usize {
    format!("{:?}", node.raft).len()
}

#[test]
fn a_leader_with_a_dead_follower_does_not_grow_over_a_million_entries() {
    let mut node = Node::on(settings(), voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    let (batch, total) = (100, 1_000_000);
    let mut sizes = Vec::new();
    for round in 1..=total / batch {
        for sequence in (round - 1) * batch + 1..=round * batch {
            node.raft.step(node.now, Input::Propose { id: request(1, sequence), data: Blob::from("value") });
        }
        node.tick(10);
        node.hear(2, matched(1, 1, node.last()));
        node.hear(2, heartbeat_reply(1, 1, round));
        node.sync();
        let applied = LogIndex(node.committed.last().expect("entries to apply").index.0);
        node.committed.clear();
        node.step(Input::Applied { through: applied });
        if round % 100 == 0 {
            let base = LogPosition { index: LogIndex(applied.0 - 500), ballot: ballot(1, 1) };
            node.disk.trim(base);
            node.step(Input::Trimmed { base });
            sizes.push(size(&node));
            let to_the_dead = node.sent_to(3);
            let is_light = |message: &Message| match message {
                Message::Append(append) => append.entries.is_empty(),
                message => matches!(message, Message::Heartbeat(_)),
            };
            assert!(round == 100 || to_the_dead.len() <= 200 && to_the_dead.iter().all(is_light));
        }
    }
    assert_eq!((node.commit(), node.refused.len(), node.snapshots.len()), (total + 1, 0, 0));
    let (first, most) = (sizes[1], sizes.iter().copied().max().unwrap());
    assert!(most < first + first / 4 && most < 500_000, "from {first} to {most}");
}

#[test]
fn a_leader_whose_disk_hangs_takes_no_more_than_its_memory_holds() {
    let mut node = Node::on(settings(), voters(&[1, 2, 3]), Disk::default());
    elect(&mut node);
    for sequence in 1..=2_000 {
        node.propose(sequence);
        for peer in [2, 3] {
            node.hear(peer, matched(1, 1, node.last()));
        }
    }
    assert_eq!(node.commit(), node.last(), "a quorum goes on without this disk");
    let taken = node.last();
    assert!(taken < 1_000 && node.refused.iter().all(|refused| refused.reason == Refusal::Busy), "{taken} taken");
    node.sync();
    node.refused.clear();
    node.propose(2_001);
    assert_eq!((node.last(), node.refused.len()), (taken + 1, 0));
}

/// What a leader sends and a follower does not acknowledge is bounded at the leader, and what is sent again is the same.
#[test]
fn a_follower_whose_disk_hangs_is_sent_no_more_than_its_memory_holds() {
    let mut settings = settings();
    settings.limits.peer_bytes_max = 20_000;
    let mut leads = Node::on(settings.clone(), voters(&[1, 2, 3]), Disk::default());
    elect(&mut leads);
    settings.node.0 = 3;
    let mut hangs = Node::on(settings, voters(&[1, 2, 3]), Disk::default());
    hangs.hear(1, append(1, 1, nowhere(), Vec::new(), 0));
    hangs.sync();
    for round in 1..=2_000 {
        leads.propose(round);
        leads.tick(10);
        leads.sync();
        leads.hear(2, matched(1, 1, leads.last()));
        for (to, message) in leads.sent() {
            if to == 3 {
                hangs.hear(1, message);
            }
        }
        for (to, message) in hangs.sent() {
            if to == 1 {
                leads.hear(3, message);
            }
        }
    }
    assert_eq!(leads.commit(), 2_001);
    assert!(hangs.last() < 1_000, "{} held", hangs.last());
}
