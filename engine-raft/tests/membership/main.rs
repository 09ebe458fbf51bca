//! How members come and go, one claim each, driven by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod asked;
mod disks;
mod leases;
mod peers;
mod removed;
mod steps;

use std::sync::Arc;

use common::*;
use consensus_api::errands::Errand;
use consensus_api::{
    AppliedMembership, Engine, Input, LeaseTiming, LogIndex, Member, NodeId, Payload, ReadMode, Refusal, Role, StoreId,
};
use engine_raft::message::{AppendOutcome, AppendReply, Conflict, Message};

/// A leader in term 1 of these voters, of whom the first ones answer, with these learners that have caught up; the entry
/// that names them is committed, at 2.
fn leader_of(voting: &[u64], learning: &[u64]) -> Node {
    leader_with(config(1), voting, learning)
}

fn leader_with(config: consensus_api::EngineConfig, voting: &[u64], learning: &[u64]) -> Node {
    let mut node = Node::on(config, voters(voting), Disk::default());
    node.step(Input::Campaign);
    node.sync();
    let others = || voting.iter().chain(learning).filter(|id| **id != 1);
    others().for_each(|other| node.hear(*other, vote(1, 1, true)));
    node.sync();
    others().for_each(|other| node.hear(*other, matched(1, 1, 1)));
    node.change(1, members(0, voting, learning));
    node.sync();
    others().for_each(|other| node.hear(*other, matched(1, 1, 2)));
    others().for_each(|other| node.hear(*other, heartbeat_reply(1, 1, 1)));
    assert_eq!((node.role(), node.commit(), node.refusals()), (Role::Leader, 2, vec![]));
    node.sent();
    node
}

fn acknowledge(node: &mut Node, through: u64, by: &[u64]) {
    by.iter().for_each(|peer| node.hear(*peer, matched(1, 1, through)));
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.0).collect()
}

/// The payloads of what the leader has sent this peer.
fn sent_payloads(node: &mut Node, peer: u64) -> Vec<Payload> {
    let appends = node.sent_to(peer).into_iter().filter_map(|message| match message {
        Message::Append(append) => Some(append.entries),
        _ => None,
    });
    appends.flatten().map(|entry| entry.payload.clone()).collect()
}

/// Lets an election timeout pass, in which these answer and nobody else does.
fn only_these_answer(node: &mut Node, peers: &[u64]) {
    for _ in 0..10 {
        node.tick(10);
        acknowledge(node, 1, peers);
    }
}

/// A leader of 1, 2 and 3 that has removed 3, and has committed that by 2.
fn without_three() -> Node {
    let mut node = leader_of(&[1, 2, 3], &[]);
    node.change(2, members(1, &[1, 2], &[]));
    node.sync();
    acknowledge(&mut node, 3, &[2]);
    assert_eq!((node.commit(), node.contact_ids()), (3, vec![1, 2, 3]));
    node
}

fn last_round(node: &mut Node) -> u64 {
    let rounds = node.sent().into_iter().filter_map(|(_, message)| match message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    rounds.max().unwrap()
}
